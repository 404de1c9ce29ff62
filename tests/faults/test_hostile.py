"""Hostile values for every argument of every public function that has a valid call.

The values come from the names and annotations of the signatures (`kinds.py`), the valid calls from
`calls.py`. Each outcome must be an error that says in a sentence what is wrong, or a right result:
no NaN without a word, no touched file of somebody else.
"""

import pytest
from calls import CALLS, INNER, public_functions
from hostile import try_function
from left import known_to_be_left

NAMES = [f"{folder}.{name}" for folder, table in CALLS.items() for name in table]
TRIED = [name for name in NAMES if name not in INNER]


@pytest.fixture(scope="module")
def functions():
    return public_functions()


def test_every_call_names_a_public_function(functions):
    assert sorted(set(NAMES) - set(functions)) == []
    assert sorted(INNER - set(NAMES)) == []


# their arguments are names of devices and tables of any kind, for which there are no hostile values
NO_VALUES = ("Descriptor", "Listener", "word", "find", "pick_device")


@pytest.mark.parametrize("name", TRIED)
def test_hostile_values(world, functions, record_property, name):
    folder, short = name.split(".", 1)
    failures, n_values = try_function(world, name, functions[name], CALLS[folder][short])
    record_property("values", n_values)
    assert n_values or name.split(".")[-1].startswith(NO_VALUES)
    left = known_to_be_left()
    new = [failure.line for failure in failures if failure.key not in left]
    assert not new, f"{len(new)} of {n_values} values:\n" + "\n".join(new)
