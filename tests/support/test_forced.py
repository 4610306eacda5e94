"""Random numbers that are given to a graph, not drawn."""

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
import reference as ref

import pymc_rbm as pmr
from pymc_rbm.sampling.sweep import sweeps
from pymc_rbm.support.forced import forced

pytestmark = pytest.mark.interpreted

MACHINE = pmr.restricted(*ref.machine(4, 3, seed=1))


@pytest.mark.parametrize("visible", [pmr.Bernoulli(), pmr.Gaussian(0.7)])
def test_numbers_that_a_generator_draws_give_what_it_gives(visible):
    machine = pmr.restricted(*ref.machine(4, 3, seed=1), visible)
    rng = pt.random.rng()
    state, _ = sweeps(machine, machine.at(np.zeros((5, 4))), rng, 1)
    given, numbers = forced(state)
    drawn = np.random.default_rng(2)
    values = [drawn.random((5, 3)), drawn.random((5, 4)) if visible.finite else drawn.standard_normal((5, 4))]
    expected = pytensor.function([rng], state)(np.random.default_rng(2))
    for one, other in zip(pytensor.function(numbers, given)(*values), expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_loops_are_refused():
    state, _ = sweeps(MACHINE, MACHINE.at(np.zeros((5, 4))), pt.random.rng(), 2)
    with pytest.raises(ValueError, match="force those of one turn"):
        forced(state)
