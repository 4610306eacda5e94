"""Rise and decline: the distance has no bias and an honest error, and only a decline is called one."""

import numpy as np
import pytest
from scipy import stats

from pymc_rbm.diagnostics import decline
from pymc_rbm.diagnostics.decline import approach
from pymc_rbm.support.convergence import FALSE_ALARM

N, CHAINS, REPEATS = 6, 64, 300
STATES = (np.arange(2**N)[:, None] >> np.arange(N)) & 1
SWEEPS = np.array([0, 1, 2, 4, 8])


def pairs(strength):
    """Probabilities of states in which the units of each of three pairs agree more often than not."""
    agree = (STATES[:, ::2] == STATES[:, 1::2]).sum(1)
    p = np.exp(strength * agree)
    return p / p.sum()


def rows_of(p, n=2000):
    return STATES[np.random.default_rng(9).choice(len(p), n, p=p)]


ROWS = rows_of(pairs(1.5))
WEIGHTS = np.full(len(ROWS), 1 / len(ROWS))


def paths(strengths, repeats=REPEATS, chains=CHAINS, rows=ROWS):
    """Chains that are, at each look, independent draws of a distribution."""
    rng = np.random.default_rng(1)
    for _ in range(repeats):
        looks = [STATES[rng.choice(len(STATES), chains, p=pairs(s))] for s in strengths]
        yield approach(SWEEPS, np.array(looks), rows, np.full(len(rows), 1 / len(rows)))


def exact(strength):
    """The squared distance of all moments, entry by entry."""
    p, mean = pairs(strength), ROWS.mean(0)
    z, data = STATES - mean, ROWS - mean
    first = sum((p @ z[:, i] - data[:, i].mean()) ** 2 for i in range(N))
    second, lacking = 0.0, 0.0
    for i in range(N):
        for j in range(N):
            of_data = (data[:, i] * data[:, j]).mean()
            second += (p @ (z[:, i] * z[:, j]) - of_data) ** 2
            lacking += of_data**2 if i != j else 0.0
    return (first + second) / lacking


def test_the_distance_has_no_bias_and_an_error():
    strengths = 0.0, 0.7, 1.5, 1.4, 2.5
    found = list(paths(strengths))
    values, errors = np.array([x.distance for x in found]), np.array([x.error for x in found])
    known = np.array([exact(s) for s in strengths])
    spread = values.std(0, ddof=1)
    assert (np.abs(values.mean(0) - known) < 4 * spread / np.sqrt(REPEATS)).all()
    # The jackknife's error is a little too large, if anything; that of a deviation is a few percent.
    assert (np.sqrt((errors**2).mean(0)) > 0.85 * spread).all()
    assert (np.sqrt((errors**2).mean(0)) < 1.5 * spread).all()


def test_with_the_same_chains_twice_it_is_biased(monkeypatch):
    """The broken version: the square of a mean, which the test above would refuse."""

    def plain(x, of_data):
        products = x @ x.T
        own = (products + products**2).mean() - 2 * of_data.along(x).mean() + of_data.square
        return float(own), np.full(len(x), own)

    monkeypatch.setattr(decline, "_squared_distance", plain)
    values = np.array([x.distance[2] for x in paths((0.0, 0.7, 1.5, 1.4, 2.5), 100)])
    assert values.mean() - exact(1.5) > 10 * values.std(ddof=1) / 10


@pytest.mark.parametrize(
    "strengths", [(0, 0.5, 1, 1.4, 1.5), (0, 1.5, 1.5, 1.5, 1.5), (0, 0, 0, 0, 0), (1.5, 1.2, 0.8, 0.4, 0.0)]
)
def test_what_is_no_decline(strengths):
    """Approaching, being there, never coming, and leaving from the start."""
    alarms = sum(x.declines for x in paths(strengths, 200))
    assert alarms <= stats.binom.isf(1e-4, 200, FALSE_ALARM)


def test_a_decline():
    found = list(paths((0, 1.0, 1.5, 0.5, 0.0), 50, chains=400))
    assert all(x.declines for x in found)
    assert np.mean([x.nearest == 2 for x in found]) > 0.5
    slight = list(paths((0, 1.0, 1.5, 1.3, 1.3), 50, chains=400))  # by less than a tenth
    assert exact(1.3) < 0.1
    assert not any(x.declines for x in slight)


def test_many_units_and_few_rows_are_summed_the_other_way():
    rows, rng = rows_of(pairs(1.5), 4), np.random.default_rng(2)
    looks, weights = STATES[rng.integers(len(STATES), size=(5, 40))], np.array([0.1, 0.2, 0.3, 0.4])
    often = np.repeat(rows, 3, axis=0)  # the same data by more rows than units
    one, other = approach(SWEEPS, looks, rows, weights), approach(SWEEPS, looks, often, np.repeat(weights / 3, 3))
    np.testing.assert_allclose(one.distance, other.distance, rtol=1e-12)
    np.testing.assert_allclose(one.error, other.error, rtol=1e-12)


def test_data_without_correlations_have_no_distance():
    rows = STATES  # all once
    assert approach(SWEEPS, np.repeat(ROWS[None, :50], 5, 0), rows, np.full(len(rows), 1 / len(rows))) is None
