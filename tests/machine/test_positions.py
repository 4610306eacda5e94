"""Where parameters stand: the orders of compiled functions and files, and of the inputs of Ops."""

import numpy as np
import pytest
import reference as ref

import pymc_rbm as pmr
from pymc_rbm.machine.positions import Parameters

LETTERS = Parameters(("b", "c"), ("W",), ("sigma", "tau"))


def test_the_two_orders_and_back():
    assert LETTERS.flat() == ["b", "c", "W", "sigma", "tau"]
    assert LETTERS.weights_first() == ["W", "b", "c", "sigma", "tau"]
    assert LETTERS.at(LETTERS.flat()) == LETTERS.at_weights_first(LETTERS.weights_first()) == LETTERS
    assert LETTERS.core_ndims.flat() == [1, 1, 2, 1, 1]
    assert LETTERS.map(lambda x, n: x * n, LETTERS.core_ndims).weights == ("WW",)
    for wrong in (LETTERS.flat()[1:], [*LETTERS.flat(), "more"]):
        with pytest.raises(ValueError, match=f"Expected 5 parameters, got {len(wrong)}"):
            LETTERS.at(wrong)


def test_a_machine_knows_its_parameters_by_kind():
    W, b, c = ref.machine(3, 2)
    machine = pmr.restricted(W, b, c, pmr.Gaussian(np.ones(3)), pmr.DReLU(1.0, 2.0, 0.5))
    given = machine.by_kind
    assert (given.biases, given.weights) == ((b, c), (W,))
    assert [np.shape(x) for x in given.own] == [(3,), (), (), ()]
    assert all(x is y for x, y in zip(machine.with_parameters(given).parameters, machine.parameters, strict=True))
    with pytest.raises(ValueError, match="Expected 7 parameters, got 3"):
        machine.with_parameters([b, c, W])
