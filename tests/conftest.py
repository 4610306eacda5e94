import os
import signal
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # two processes share two cores; before anything loads NumPy
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import matplotlib
import matplotlib.pyplot as plt
import pytensor
import pytest

from pymc_rbm.support.modes import INTERPRETED

matplotlib.use("Agg")
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # as in a job in the background: tests press Ctrl-C
    signal.signal(signal.SIGINT, signal.default_int_handler)
# Loops of quick modes go without a compiler: where its cache is empty it would take most of their time. Tests of the C
# back end need it: PYTENSOR_FLAGS=linker=cvm.
COMPILER = pytensor.config.cxx
if pytensor.config.linker == "auto":
    pytensor.config.cxx = ""
DEFAULT = pytensor.config.mode


# Numba takes seconds to compile a graph that a test evaluates a few times: most of the time of all tests together. A
# graph means the same on every back end, so tests of what graphs mean (against enumerations, mostly) are `interpreted`.
# On numba, which users have, stay the tests of the kernels, those that evaluate often, at least one of each feature
# (`compiled` where its module is interpreted), and all that are `slow` unless they are marked `interpreted` themselves.
@pytest.fixture(autouse=True, scope="module")
def back_end_of_module(request):
    """In force before any other fixture that tests of a module share."""
    interpreted = request.node.get_closest_marker("interpreted")
    with pytensor.config.change_flags(mode=INTERPRETED if interpreted else DEFAULT):
        yield


@pytest.fixture(autouse=True)
def back_end(request, back_end_of_module):
    """In force in a single test."""
    own, of_test = ({mark.name for mark in marks} for marks in (request.node.own_markers, request.node.iter_markers()))
    interpreted = ("interpreted" in of_test and "slow" not in of_test) or "interpreted" in own
    interpreted &= "compiled" not in of_test
    with pytensor.config.change_flags(mode=INTERPRETED if interpreted else DEFAULT):
        yield


def pytest_runtest_setup(item):
    """Tests of numba's own code are left out where PYTENSOR_FLAGS names another back end, before any fixture."""
    if item.get_closest_marker("numba") and pytensor.config.linker not in ("auto", "numba"):
        pytest.skip(f"this is about numba's code, and the back end is {pytensor.config.linker}")


@pytest.fixture(scope="session")
def shared_data():
    """Folder of reference data beside the checkout; tests that need it are skipped where it is absent."""
    path = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not path.is_dir():
        pytest.skip("the reference data folder ../shared/data is not here")
    return path


@pytest.fixture(autouse=True)
def settings_of_pytensor_stay():
    """A test that leaves another floating type behind would change all that come after it."""
    before = pytensor.config.floatX
    yield
    left, pytensor.config.floatX = pytensor.config.floatX, before
    assert left == before


@pytest.fixture(autouse=True)
def figures_are_closed():
    """A warning about many open figures would meet whichever test opens one figure more."""
    yield
    plt.close("all")


@pytest.fixture
def compiler():
    """For tests of the C back end."""
    with pytensor.config.change_flags(cxx=COMPILER):
        yield
