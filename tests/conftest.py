import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # two processes share two cores; before anything loads NumPy
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import matplotlib
import pytensor
import pytest

matplotlib.use("Agg")
# Loops of quick modes go without a compiler: where its cache is empty it would take most of their time.
COMPILER, pytensor.config.cxx = pytensor.config.cxx, ""


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


@pytest.fixture
def compiler():
    """For tests of the C back end."""
    with pytensor.config.change_flags(cxx=COMPILER):
        yield
