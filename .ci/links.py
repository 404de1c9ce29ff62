"""Broken links and unknown keys of the processed pages; exits with 1 if there are any.

    python .ci/links.py _proc

The preview's checker also names `output-file`, a key that nbdev writes for Quarto and that the preview need not read."""
import subprocess, sys
from pathlib import Path


def main(folder):
    tool = Path(sys.executable).with_name('smalldocs')
    lines = subprocess.run([tool, 'check', folder], capture_output=True, text=True).stdout.splitlines()
    found = [l for l in lines if ': ' in l and 'output-file is not read' not in l]
    sys.stdout.write('\n'.join(found or [f'{folder}: links and keys hold']) + '\n')
    return 1 if found else 0


if __name__ == '__main__': sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else '_proc'))
