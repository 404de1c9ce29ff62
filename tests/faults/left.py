"""Write `left.txt`: hostile values that are not met yet as they should be.

    python tests/faults/left.py [NAME ...]

A line is a function, an argument and labels of `kinds.py`. `test_hostile.py` fails for what is not
in the list, so that nothing gets worse; what is mended is taken out by running this again. With
names, only functions whose names begin so are tried and nothing is written.
"""

import logging
import os
import sys
import tempfile
import warnings
from pathlib import Path

from calls import CALLS, INNER, public_functions
from hostile import try_function
from world import World

LEFT = Path(__file__).with_name("left.txt")


def known_to_be_left():
    "Keys `function argument: label` of the list."
    if not LEFT.exists():
        return set()
    keys = set()
    for line in LEFT.read_text(encoding="utf-8").splitlines():
        place, _, labels = line.partition(": ")
        keys |= {f"{place}: {label}" for label in labels.split(" | ")}
    return keys


def write_left(failures):
    places = {}
    for failure in failures:
        place = f"{failure.function} {failure.argument}"
        places.setdefault(place, []).append(failure.value)
    lines = [f"{place}: {' | '.join(places[place])}\n" for place in sorted(places)]
    LEFT.write_text("".join(lines), encoding="utf-8")


def main(wanted):
    import matplotlib
    import matplotlib.pyplot as plt

    from musicgen_emotion.models.tiny import write_random_model

    matplotlib.use("agg")
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    functions = public_functions()
    failures, n_functions, n_values = [], 0, 0
    with tempfile.TemporaryDirectory(prefix="hostile_") as folder:
        os.environ["MGE_CACHE"] = f"{folder}/cache"
        world = World(Path(folder), write_random_model(Path(folder) / "tiny"))
        for name in (f"{group}.{short}" for group, table in CALLS.items() for short in table):
            if name in INNER or (wanted and not name.startswith(tuple(wanted))):
                continue
            group, short = name.split(".", 1)
            found, n_tried = try_function(world, name, functions[name], CALLS[group][short])
            plt.close("all")
            failures += found
            n_functions += 1
            n_values += n_tried
            if wanted:
                sys.stdout.writelines(failure.line + "\n" for failure in found)
    if not wanted:
        write_left(failures)
    sys.stdout.write(f"{n_functions} functions, {n_values} values, {len(failures)} left\n")


if __name__ == "__main__":
    main(sys.argv[1:])
