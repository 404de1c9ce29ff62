"The world that all calls of this folder share."

import contextlib
import warnings

import pytest
from world import World


@pytest.fixture(scope="session")
def world(tmp_path_factory, tiny_folder):
    import matplotlib

    matplotlib.use("agg")
    return World(tmp_path_factory.mktemp("world"), tiny_folder)


@pytest.fixture(autouse=True)
def quiet():
    "Small made-up data cause warnings on purpose; figures are closed."
    import matplotlib.pyplot as plt

    with warnings.catch_warnings(), contextlib.ExitStack() as stack:
        warnings.simplefilter("ignore")
        stack.callback(plt.close, "all")
        yield
