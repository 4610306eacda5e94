"""Any unit beside any unit, any sizes, parameters and masks: formulas against plain sums (hypothesis chooses).

Real units are summed by Gauss-Legendre quadrature, one on a side; two sides of them are left to `test_pairs`.
"""

from functools import lru_cache

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
import reference as ref
from hypothesis import given, settings
from hypothesis import strategies as st
from options import QUIET
from pairs import UNITS

import pymc_rbm as pmr
from pymc_rbm.machine.enumeration import is_tractable, symbolic_log_partition
from pymc_rbm.support.modes import INTERPRETED

pytestmark = pytest.mark.interpreted
CHOSEN = settings(max_examples=25, deadline=None, derandomize=True, database=None)
CLOSE = {"rtol": 1e-6, "atol": 1e-7}  # of the quadrature
STEP = 1e-5
REAL = [name for name, (unit, _, _) in UNITS.items() if not unit.finite]


@st.composite
def machines(draw, names=tuple(UNITS)):
    """Two families, numbers of units and parameters: what both the package and the reference need."""
    first = draw(st.sampled_from(names))
    pair = first, draw(st.sampled_from([x for x in names if first not in REAL or x not in REAL]))
    counts = [1 if name in REAL else draw(st.integers(1, 2)) for name in pair]
    sizes = [n * UNITS[name][0].width for n, name in zip(counts, pair, strict=True)]
    number = st.floats(-1, 1, allow_subnormal=False)
    x = np.array(draw(st.lists(number, min_size=(k := sizes[0] * sizes[1] + sum(sizes)), max_size=k)))
    W, b, c = np.split(x, [sizes[0] * sizes[1], sizes[0] * sizes[1] + sizes[0]])
    return pair, counts, W.reshape(sizes), b, c


def machine_of_pair(pair, W, b, c):
    return pmr.restricted(W, b, c, *(UNITS[name][0] for name in pair))


def summed(pair, counts, W, b, c):
    """States of both sides, and the logs of the weights of all pairs of them."""
    left, right, table = ref.pair_log_joint(*(UNITS[name][1] for name in pair), W, b, c, counts)
    return *(np.array([x for x, _ in side], float) for side in (left, right)), table


@CHOSEN
@given(machines(), st.data())
def test_energies_and_conditional_means(case, data):
    (pair, counts, W, b, c) = case
    v, h, table = summed(pair, counts, W, b, c)
    machine = machine_of_pair(pair, W, b, c)
    i, j = data.draw(st.integers(0, len(v) - 1)), data.draw(st.integers(0, len(h) - 1))
    left, right = (UNITS[name] for name in pair)
    weights = sum(
        dict(ref.values(family))[(int(entry),)]
        for (unit, family, _), x in ((left, v[i]), (right, h[j]))
        for entry in x
        if family[0] == "binomial"
    )  # the base of counts, which the reference has among the weights of states
    expected = ref.pair_energy(left[1], right[1], v[i], h[j], W, b, c) - weights
    np.testing.assert_allclose(pmr.energy(v[i], h[j], machine), expected, **CLOSE)
    p = np.exp(table[i] - ref.log_sum(table[i]))
    np.testing.assert_allclose(pmr.conditional_hidden(v[i], machine), p @ h, **CLOSE)
    p = np.exp(table[:, j] - ref.log_sum(table[:, j]))
    np.testing.assert_allclose(pmr.conditional_visible(h[j], machine), p @ v, **CLOSE)


@CHOSEN
@given(machines())
def test_log_z_and_free_energies(case):
    pair, counts, W, b, c = case
    v, _, table = summed(pair, counts, W, b, c)
    machine = machine_of_pair(pair, W, b, c)
    if is_tractable(machine):
        np.testing.assert_allclose(pmr.log_partition(machine, method="exact").estimate, ref.log_sum(table), **CLOSE)
    if pair[0] not in REAL:
        found = [-ref.log_sum(row) for row in table]
        np.testing.assert_allclose(pmr.free_energy(v, machine), found, **CLOSE)


@CHOSEN
@given(machines([name for name in UNITS if name not in REAL]), st.data())
def test_likelihoods_of_what_is_known(case, data):
    """Whole units of a row are missing, any of them, all or none."""
    pair, counts, W, b, c = case
    v, _, table = summed(pair, counts, W, b, c)
    row = v[data.draw(st.integers(0, len(v) - 1))].astype("int8")
    width = UNITS[pair[0]][0].width
    mask = np.repeat(data.draw(st.lists(st.booleans(), min_size=counts[0], max_size=counts[0])), width)
    agree = ((v == row) | mask).all(1)
    expected = ref.log_sum(table[agree]) - ref.log_sum(table)
    machine, rows = machine_of_pair(pair, W, b, c), np.ma.masked_array(row[None], mask[None])
    found = pmr.log_likelihood(rows, machine, log_z=ref.log_sum(table), **QUIET)["log_likelihood"]["v"]
    np.testing.assert_allclose(found.values.ravel(), [expected], **CLOSE)


@lru_cache(64)
def slope_function(pair, sizes):
    """d log p(v) / dt along a direction of all parameters."""
    W, b, c = (pt.tensor(dtype="float64", shape=shape) for shape in (sizes, sizes[:1], sizes[1:]))
    v = pt.dvector()
    machine = machine_of_pair(pair, np.zeros(sizes), np.zeros(sizes[0]), np.zeros(sizes[1]))
    machine = machine.with_parameters([b, c, W, *machine.parameters[3:]])
    log_p = -machine.free_energy(v) - symbolic_log_partition(machine)
    return pytensor.function([W, b, c, v], pt.grad(log_p, [W, b, c]), mode=INTERPRETED, on_unused_input="ignore")


@CHOSEN
@given(machines([name for name in UNITS if name not in REAL]), st.data())
def test_gradients(case, data):
    """Along a random direction, against central differences of plain sums."""
    pair, counts, *parameters = case
    v, *_ = summed(pair, counts, *parameters)
    i = data.draw(st.integers(0, len(v) - 1))
    rng = np.random.default_rng(data.draw(st.integers(0, 100)))
    along = [rng.standard_normal(x.shape) for x in parameters]

    def log_p(step):
        _, _, table = summed(pair, counts, *(x + step * d for x, d in zip(parameters, along, strict=True)))
        return ref.log_sum(table[i]) - ref.log_sum(table)

    slopes = slope_function(pair, parameters[0].shape)(*parameters, v[i])
    found = sum((s * d).sum() for s, d in zip(slopes, along, strict=True))
    np.testing.assert_allclose(found, (log_p(STEP) - log_p(-STEP)) / (2 * STEP), rtol=1e-5, atol=1e-6)


def test_a_wrong_conditional_is_found(monkeypatch):
    """Broken on purpose: hidden units that do not see their biases."""
    real = pmr.Machine.inflow
    monkeypatch.setattr(pmr.Machine, "inflow", lambda self, *a: real(self, *a) - pt.as_tensor(self.layers[a[0]].bias))
    with pytest.raises(AssertionError):
        test_energies_and_conditional_means.hypothesis.inner_test(
            (("bernoulli", "spin"), [1, 1], np.ones((1, 1)), np.ones(1), np.ones(1)), FirstOnes()
        )


class FirstOnes:
    """What chooses the first state of everything."""

    @staticmethod
    def draw(_):
        return 0
