"""Exact climbs where entries are missing: the likelihood of what is known."""

import itertools

import numpy as np
import pymc as pm
import pytest
from options import MASKED

import pymc_rbm as pmr
from pymc_rbm.learning.data import observed_machines
from pymc_rbm.learning.defaults import climbs_alone
from pymc_rbm.learning.independence import mean_log_likelihood
from pymc_rbm.learning.patterns import Patterns

RNG = np.random.default_rng(5)
COMMON = RNG.integers(0, 2, (40, 1))


def masked(rows, share, units=1):
    """Rows of which some entries are missing, whole units of that many columns."""
    gone = np.random.default_rng(6).random((len(rows), rows.shape[1] // units)) < share
    gone[0] = True  # a row of which nothing is known says nothing
    return np.ma.masked_array(rows, gone.repeat(units, axis=1))


BITS = masked((COMMON ^ (RNG.random((40, 4)) < 0.2)).astype(int), 0.2)
LETTERS = masked(np.eye(3, dtype=int)[(2 * COMMON + (RNG.random((40, 2)) < 0.1)) % 3].reshape(40, 6), 0.25, 3)


def plain_objective(rows, states, W, b, weights):
    """Penalised log-likelihood a row: loops over visible states; hidden bits without biases, N(0, 1) on W."""
    hidden = np.array(list(itertools.product([0, 1], repeat=W.shape[1])))
    logs = {tuple(v): np.logaddexp.reduce([v @ W @ h for h in hidden]) + v @ b for v in states}
    log_z, total = np.logaddexp.reduce(list(logs.values())), 0.0
    for row, weight in zip(rows, weights, strict=True):
        known = ~np.ma.getmaskarray(row)
        fits = [x for v, x in logs.items() if (np.array(v)[known] == np.ma.getdata(row)[known]).all()]
        total += weight * (np.logaddexp.reduce(fits) - log_z)
    return (total - (W**2).sum() / 2) / sum(weights)


@pytest.mark.parametrize(
    ("rows", "visible", "states"),
    [
        (BITS, pmr.Bernoulli(), list(itertools.product([0, 1], repeat=4))),
        pytest.param(
            LETTERS,
            pmr.Categorical(3),
            [np.ravel(x) for x in itertools.product(np.eye(3, dtype=int), repeat=2)],
            marks=pytest.mark.slow,
        ),
    ],
)
@MASKED
def test_the_climb_ends_at_the_maximum_of_what_is_known(rows, visible, states):
    n, weights = rows.shape[1], np.random.default_rng(7).integers(1, 4, len(rows)).astype(float)
    with pm.Model() as model:
        W, b = pm.Normal("W", 0, 1, shape=(n, 3)), pm.Flat("b", shape=n)
        pmr.RBM("v", W, b, np.zeros(3), visible=visible, observed=rows)
        learned = pmr.fit(row_weights=weights, random_seed=1, progressbar=False)
    assert learned.attrs["method"] == "exact" and learned.attrs["converged"]
    at = [learned["parameters"][x].values for x in "Wb"]
    here = plain_objective(rows, states, *at, weights)
    [x] = observed_machines(model, weights)
    machine = pmr.machine_of(model, learned)
    likelihood = mean_log_likelihood(machine, x, pmr.log_partition(machine).estimate)
    np.testing.assert_allclose(likelihood - (at[0] ** 2).sum() / 2 / weights.sum(), here, rtol=1e-10)
    rng = np.random.default_rng(8)
    for _ in range(10):
        W, b = (rng.normal(size=x.shape) for x in at)
        up, down = (plain_objective(rows, states, at[0] + e * W, at[1] + e * b, weights) for e in (1e-4, -1e-4))
        assert abs(up - down) / 2e-4 < 1e-7  # a gradient of 0
        assert max(up, down) <= here + 1e-12


def test_complete_rows_that_differ():
    found = Patterns.of(pmr.Bernoulli(), np.array([[0, 1], [1, 1], [0, 1]]), np.array([1.0, 2, 3]), None)
    np.testing.assert_array_equal(found.states, [[0, 1], [1, 1]])
    np.testing.assert_array_equal(found.weights, [4, 2])


@MASKED
@pytest.mark.parametrize(("units", "gone", "expected"), [(6, 0.02, True), (16, 0.02, False), (12, 0.9, False)])
def test_some_missing_entries_do_not_change_the_method(units, gone, expected):
    rows = masked(np.random.default_rng(1).integers(0, 2, (300, units)), gone)
    with pm.Model() as model:
        W = pm.Normal("W", 0, 1, shape=(units, units))
        pmr.RBM("v", W, pm.Flat("b", shape=units), pm.Flat("c", shape=units), observed=rows)
    assert climbs_alone(model, observed_machines(model)) == expected


@MASKED
def test_too_many_completions_are_refused():
    rows = np.ma.masked_array(np.zeros((3, 20), int), [np.arange(20) < 18] * 3)
    with pm.Model():
        pmr.RBM("v", pm.Normal("W", 0, 1, shape=(20, 2)), np.zeros(20), np.zeros(2), observed=rows)
        with pytest.raises(ValueError, match="at most 65,536 completions"):
            pmr.fit(method="exact", optimizer="lbfgs")
