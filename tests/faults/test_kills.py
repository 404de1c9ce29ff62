"Work that is killed at random moments ends with the bytes of work that nobody disturbed."

import subprocess
import sys
from pathlib import Path


def test_two_kills_leave_equal_bytes():
    "In a process of its own, which has no threads when it divides."
    script = Path(__file__).with_name("kill_and_resume.py")
    done = subprocess.run(
        [
            sys.executable,
            "-W",
            "ignore",
            str(script),
            "--kills",
            "1",
            "--only",
            "clips",
            "training",
        ],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "2 of 2 with equal bytes"
