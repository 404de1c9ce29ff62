"""Fixtures shared by all tests.

They are the packaged model, a tiny random one, both under either backend, the real data
where they are present, and a browser.
"""

import contextlib
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

# libraries read these when they are imported, which happens inside fixtures and test modules
for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

# Two workers that fill numba's cache of librosa's functions at the same time crash: one cache each.
if worker := os.environ.get("PYTEST_XDIST_WORKER"):
    os.environ["NUMBA_CACHE_DIR"] = str(Path(sys.prefix) / "numba" / worker)


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def nano():
    from musicgen_emotion.models.load import load_model
    from musicgen_emotion.models.registry import nano_folder

    if not (nano_folder() / "config.json").exists():
        pytest.skip("the packaged nano model is missing (make nano)")
    return load_model("nano", device="cpu")


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory):
    from musicgen_emotion.models.tiny import write_random_model

    return write_random_model(tmp_path_factory.mktemp("models") / "tiny", seed=0)


@pytest.fixture(scope="session")
def tiny(tiny_folder):
    from musicgen_emotion.models.load import load_model

    return load_model(tiny_folder, device="cpu")


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    "Exported checkpoints of the tests stay out of the user's cache."
    before = os.environ.get("MGE_CACHE")
    os.environ["MGE_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    yield
    del os.environ["MGE_CACHE"]
    if before is not None:
        os.environ["MGE_CACHE"] = before


@pytest.fixture(scope="session", params=["transformers", "audiocraft"])
def backend(request):
    if request.param == "audiocraft" and importlib.util.find_spec("audiocraft") is None:
        pytest.skip("audiocraft is not installed (`make env` installs it)")
    return request.param


@pytest.fixture(scope="session")
def both_tiny(backend, tiny_folder):
    "The tiny random model under each backend."
    from musicgen_emotion.models.load import load_model

    return load_model(tiny_folder, backend=backend, device="cpu")


@pytest.fixture(scope="session")
def both_nano(backend):
    "The packaged model under each backend."
    from musicgen_emotion.models.load import load_model
    from musicgen_emotion.models.registry import nano_folder

    if not (nano_folder() / "config.json").exists():
        pytest.skip("the packaged nano model is missing (make nano)")
    return load_model("nano", backend=backend, device="cpu")


@pytest.fixture(scope="session")
def data_dir():
    beside_project = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("MGE_DATA", beside_project))
    if not folder.is_dir():
        pytest.skip(f"the real data are not at {folder}; set MGE_DATA")
    return folder


def pytest_collection_modifyitems(items):
    "A test in a browser may run again: on busy machines Chromium loses what a page just kept."
    for item in items:
        if "browser" in item.fixturenames:
            item.add_marker(pytest.mark.flaky(reruns=2))


@pytest.fixture(autouse=True)
def nothing_kept(request):
    "A test in a browser starts without what pages of earlier tests have kept."
    if "browser" in request.fixturenames:
        request.getfixturevalue("browser").forget()


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    from browser import Browser

    opened = Browser(tmp_path_factory.mktemp("browser"))
    yield opened
    opened.close()


@pytest.fixture
def popen():
    "`subprocess.Popen` whose processes and pipes end with the test."
    with contextlib.ExitStack() as stack:

        def start(*arguments, **options):
            process = stack.enter_context(subprocess.Popen(*arguments, **options))
            stack.callback(process.kill)
            return process

        yield start
