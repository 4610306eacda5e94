"""Variables that depend on an RBM's units: stationarity from exact starts, and what a broken correction looks like."""

import numpy as np
import pymc as pm
import pytensor.tensor as pt
import pytest
import reference as ref

import pymc_rbm as pmr
from pymc_rbm import corrections, transitions

W, B, C = ref.machine(4, 3, seed=21)
STATES = np.array(ref.states(4))
HIDDEN = np.array(ref.states(3))
ROWS = 20_000
FLOORS = 4
SEEN = np.array([0.3, 1.2, -0.4, 0.6])


def rows(x):
    return np.tile(x, (ROWS, *[1] * np.ndim(x)))


def normal(v):
    pm.Normal("y", v, 0.7, observed=rows(SEEN))


def flips(v):
    pm.Bernoulli("y", p=0.1 + 0.7 * v, observed=rows([0, 1, 1, 0]))


def linear(v):
    pm.Potential("y", (v @ np.array([1.0, -2, 0.5, 1])).sum())


def total(v):
    pm.Normal("y", v.sum(-1), 0.5, observed=np.full(ROWS, 1.7))


def parity(v):
    pm.Potential("y", pt.switch(pt.eq(v.sum(-1) % 2, 0), 1.5, -1.0))


CASES = {
    normal: (0, lambda s: -sum((y - x) ** 2 for x, y in zip(s, SEEN, strict=True)) / (2 * 0.49)),
    flips: (
        0,
        lambda s: sum(np.log(0.1 + 0.7 * x if y else 0.9 - 0.7 * x) for x, y in zip(s, [0, 1, 1, 0], strict=True)),
    ),
    linear: (0, lambda s: s[0] - 2 * s[1] + 0.5 * s[2] + s[3]),
    total: (1, lambda s: -((1.7 - sum(s)) ** 2) / (2 * 0.25)),
    parity: (1, lambda s: 1.5 if sum(s) % 2 == 0 else -1.0),
}
"""Dependants of v, how many corrected layers they make, and their log-density by plain Python."""


def errors(case):
    """Total variation after one draw from exact starts, in units of its Monte Carlo floor; and the step, its draw."""
    corrected, density = CASES[case]
    p = np.exp(np.array(ref.log_p(W, B, C)) + [density(s) for s in STATES.tolist()])
    p /= p.sum()
    with pm.Model() as model:
        case(pmr.RBM("v", W, B, C, size=ROWS))
        step = pmr.BlockGibbs(rng=3)
    assert len(step._ranges) == corrected
    start = STATES[np.random.default_rng(4).choice(16, size=ROWS, p=p)].astype("int8")
    point, [stats] = step.step({**model.initial_point(), "v": start})
    assert stats["accepted"] == 1 if not corrected else 0.2 < stats["accepted"] < 0.9
    assert stats["flipped"] > 0.05
    counts = np.bincount(ref.index(point["v"]), minlength=16)
    return ref.total_variation(counts, p) / ref.total_variation_floor(p, ROWS)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_stationarity(case):
    assert errors(case) < FLOORS


@pytest.mark.slow
@pytest.mark.parametrize("case", [normal, linear], ids=lambda case: case.__name__)
def test_stationarity_shows_fields_without_the_dependants(monkeypatch, case):
    right = transitions._updated
    monkeypatch.setattr(transitions, "_updated", lambda block, new: transitions.replace(right(block, new), offsets={}))
    assert errors(case) > 2 * FLOORS


@pytest.mark.slow
def test_stationarity_shows_a_ratio_without_the_dependants(monkeypatch):
    """Acceptance by half the log-ratio."""
    right = corrections.accepts
    monkeypatch.setattr(corrections, "accepts", lambda log_ratio, rng: right(log_ratio / 2, rng))
    assert errors(parity) > 2 * FLOORS


def test_real_units_that_a_dependant_joins_are_warned_of():
    """Each alone is exact; a sum of them is sampled, but badly."""
    with pm.Model() as model:
        v = pmr.RBM("v", np.ones((3, 2)) / 4, np.zeros(3), np.zeros(2), visible=pmr.Gaussian())
        pm.Normal("y", v.sum(), 1, observed=0.5)
    with pytest.warns(UserWarning, match="real units of v have dependants that join them"):
        pmr.BlockGibbs(model=model)
    with pm.Model() as model:
        v = pmr.RBM("v", np.ones((3, 2)) / 4, np.zeros(3), np.zeros(2), visible=pmr.Gaussian())
        pm.Normal("y", v, 1, observed=np.zeros(3))
    pmr.BlockGibbs(model=model)
