import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from pytensor.link.numba.linker import NumbaLinker
from pytensor.link.vm import VMLinker

import pymc_rbm as pmr
from pymc_rbm.partition.path import Path
from pymc_rbm.partition.path_graphs import walk_function, walkable
from pymc_rbm.support.compiled import remembered

pytestmark = pytest.mark.interpreted


@pytest.mark.compiled
def test_a_function_serves_only_the_settings_under_which_it_was_asked_for():
    built = []

    @remembered(4)
    def function(name):
        built.append((name, pytensor.config.mode, pytensor.config.floatX))
        x = pt.scalar()
        return pytensor.function([x], x + 1)

    first = function("a")
    with pytensor.config.change_flags(mode="FAST_COMPILE"):
        quick = function("a")
        assert quick is function("a") is not first
    with pytensor.config.change_flags(floatX="float32"):
        assert function("a")(0.5).dtype == "float32"
    assert function("a") is first is not function("b")
    mode = pytensor.config.mode
    assert built == [
        ("a", mode, "float64"),
        ("a", "FAST_COMPILE", "float64"),
        ("a", mode, "float32"),
        ("b", mode, "float64"),
    ]


@pytest.mark.parametrize(
    "linker", [VMLinker, pytest.param(NumbaLinker, marks=[pytest.mark.compiled, pytest.mark.numba])]
)
def test_marks_choose_the_back_end(linker):
    """Of functions that tests compile, and of those that the package has kept since an earlier test."""
    machine = pmr.restricted(np.ones((2, 1)), np.zeros(2), np.zeros(1), visible=pmr.Gaussian(1.0))
    path = Path(walkable(machine), (np.zeros(2), np.zeros(1)))
    x = pt.scalar()
    for function in (pytensor.function([x], x + 1), walk_function(path.template, path.rows, False, path.dtype)):
        assert isinstance(function.maker.linker, linker)
