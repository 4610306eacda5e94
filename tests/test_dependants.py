"""What depends on an RBM's units: transition matrices, stationarity from exact starts, and broken corrections."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
import pytest
import reference as ref

import pymc_rbm as pmr
from pymc_rbm import corrections, transitions

W, B, C = ref.machine(4, 3, seed=21)
ROWS = 20_000
FLOORS = 4
SEEN = np.array([0.3, 1.2, -0.4, 0.6])
MASK = np.array([True, False, True, True])
"""True where the unit is missing; the other one is 1."""
quick = {"compile_kwargs": {"mode": "FAST_COMPILE"}}


@pytest.fixture
def python():
    """What is compiled with ``quick`` runs in Python: compiled in a moment, and one draw of many rows is as quick."""
    with pytensor.config.change_flags(cxx=""):
        yield


@pytest.fixture(autouse=True)
def allow_imputation():
    """PyMC's normal notice of masked data."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=pm.exceptions.ImputationWarning)
        yield


def normal(y, mean, sigma):
    """Log-density but for a constant."""
    return -((y - mean) ** 2) / (2 * sigma**2)


def dot(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True))


def rows(x):
    return np.tile(x, (ROWS, *[1] * np.ndim(x)))


# ------------------------------------------------------------------------------------ finite units, by enumeration


@dataclass
class Case:
    """A model of many rows, and the log of the joint density of one row's sampled units by plain Python."""

    build: Callable
    log_density: Callable
    units: dict
    corrected: int = 0

    @property
    def states(self):
        """All joint states of a row, by variable, and their probabilities."""
        each = list(product(*(ref.states(n) for n in self.units.values())))
        log_p = np.array([self.log_density(*state) for state in each])
        return [np.array(x) for x in zip(*each, strict=True)], np.exp(log_p - ref.log_sum(log_p))

    def errors(self):
        """Total variation after one draw from exact starts, in units of its Monte Carlo floor."""
        with pm.Model() as model:
            self.build()
            step = pmr.BlockGibbs(rng=3, **quick)
        assert len(step._ranges) == self.corrected
        states, p = self.states
        chosen = np.random.default_rng(4).choice(len(p), size=ROWS, p=p)
        start = model.initial_point()
        for name, x in zip(self.units, states, strict=True):
            start[name] = x[chosen].reshape(start[name].shape).astype(start[name].dtype)
        point, [stats] = step.step(start)
        assert stats["accepted"] == 1 if not self.corrected else 0.2 < stats["accepted"] < 0.97
        assert stats["flipped"] > 0.03
        ends = np.concatenate([point[name].reshape(ROWS, -1) for name in self.units], axis=1)
        counts = np.bincount(ref.index(ends), minlength=len(p))
        return ref.total_variation(counts, p) / ref.total_variation_floor(p, ROWS)


LOG_P = dict(zip(ref.states(4), ref.log_p(W, B, C), strict=True))


def of_v(dependant, log_density, corrected=0):
    """A case of v alone, its hidden units summed out."""
    return Case(
        lambda: dependant(pmr.RBM("v", W, B, C, size=ROWS)),
        lambda v: LOG_P[v] + log_density(v),
        {"v": 4},
        corrected,
    )


def of_both(dependant, log_density, corrected=0):
    """A case in which h is part of the state."""

    def build():
        v = pmr.RBM("v", W, B, C, size=ROWS)
        dependant(v, pmr.Hidden("h", v))

    return Case(build, lambda v, h: log_density(v, h) - ref.energy(v, h, W, B, C), {"v": 4, "h": 3}, corrected)


def of_masked(dependant, log_density, corrected=0):
    def build():
        seen = np.ma.MaskedArray(np.ones((ROWS, 4), dtype="int8"), np.tile(MASK, (ROWS, 1)))
        dependant(pmr.RBM("v", W, B, C, observed=seen))

    def full(v):
        v = (v[0], 1, *v[1:])
        return LOG_P[v] + log_density(v)

    return Case(build, full, {"v_unobserved": 3}, corrected)


def two_machines():
    first, second = ref.machine(3, 2, seed=5), ref.machine(2, 2, seed=6)

    def build():
        v, w = pmr.RBM("v", *first, size=ROWS), pmr.RBM("w", *second, size=ROWS)
        pm.Normal("y", v.sum(-1) + 2 * w.sum(-1), 0.8, observed=np.full(ROWS, 2.7))

    log_p = [dict(zip(ref.states(len(m[1])), ref.log_p(*m), strict=True)) for m in (first, second)]
    return Case(
        build,
        lambda v, w: log_p[0][v] + log_p[1][w] + normal(2.7, sum(v) + 2 * sum(w), 0.8),
        {"v": 3, "w": 2},
        corrected=2,
    )


def two_hidden():
    """Two observed hidden layers of the same v."""
    seen = (1, 0, 1), (1, 1, 0)

    def build():
        v = pmr.RBM("v", W, B, C, size=ROWS)
        for name, h in zip("hg", seen, strict=True):
            pmr.Hidden(name, v, observed=rows(h))

    def log_density(v):
        log_joint = [-ref.energy(v, h, W, B, C) for h in ref.states(3)]
        return ref.log_sum(log_joint) + sum(-ref.energy(v, h, W, B, C) - ref.log_sum(log_joint) for h in seen)

    return Case(build, log_density, {"v": 4}, corrected=1)


WEIGHTS = np.array([1.0, -2, 0.5])
CASES = {
    "v": of_v(
        lambda v: pm.Normal("y", v, 0.7, observed=rows(SEEN)),
        lambda v: sum(normal(y, x, 0.7) for x, y in zip(v, SEEN, strict=True)),
    ),
    "flips": of_v(
        lambda v: pm.Bernoulli("y", p=0.1 + 0.7 * v, observed=rows([0, 1, 1, 0])),
        lambda v: sum(np.log(0.1 + 0.7 * x if y else 0.9 - 0.7 * x) for x, y in zip(v, [0, 1, 1, 0], strict=True)),
    ),
    "linear": of_v(
        lambda v: pm.Potential("y", (v @ np.array([1.0, -2, 0.5, 1])).sum()),
        lambda v: v[0] - 2 * v[1] + 0.5 * v[2] + v[3],
    ),
    "slice": of_v(
        lambda v: pm.Normal("y", pm.Deterministic("d", 2 * v[..., :3] - 1), 0.7, observed=rows(SEEN[:3])),
        lambda v: sum(normal(y, 2 * x - 1, 0.7) for x, y in zip(v, SEEN[:3], strict=False)),
    ),
    "pieces": of_v(
        lambda v: pm.Normal("y", v.reshape((ROWS, 2, 2))[:, [1, 0], 1], 0.7, observed=rows(SEEN[:2])),
        lambda v: normal(SEEN[0], v[3], 0.7) + normal(SEEN[1], v[1], 0.7),
    ),
    "total": of_v(
        lambda v: pm.Normal("y", v.sum(-1), 0.5, observed=np.full(ROWS, 1.7)),
        lambda v: normal(1.7, sum(v), 0.5),
        corrected=1,
    ),
    "parity": of_v(
        lambda v: pm.Potential("y", pt.switch(pt.eq(v.sum(-1) % 2, 0), 1.5, -1.0)),
        lambda v: 1.5 if sum(v) % 2 == 0 else -1.0,
        corrected=1,
    ),
    "h": of_both(
        lambda v, h: pm.Normal("y", h, 0.7, observed=rows(SEEN[:3])),
        lambda v, h: sum(normal(y, x, 0.7) for x, y in zip(h, SEEN[:3], strict=True)),
    ),
    "regression on h": of_both(
        lambda v, h: pm.Normal("y", h @ WEIGHTS, 0.6, observed=np.full(ROWS, -0.4)),
        lambda v, h: normal(-0.4, dot(h, WEIGHTS), 0.6),
        corrected=1,
    ),
    "v and h": of_both(
        lambda v, h: pm.Potential("y", (v[..., :3] * h @ WEIGHTS).sum()),
        lambda v, h: dot([x * y for x, y in zip(v[:3], h, strict=True)], WEIGHTS),
    ),
    "v and h, squared": of_both(
        lambda v, h: pm.Normal("y", v.sum(-1) - h @ WEIGHTS, 0.9, observed=np.full(ROWS, 2.0)),
        lambda v, h: normal(2.0, sum(v) - dot(h, WEIGHTS), 0.9),
        corrected=2,
    ),
    "masked": of_masked(
        lambda v: pm.Normal("y", v, 0.7, observed=rows(SEEN)),
        lambda v: sum(normal(y, x, 0.7) for x, y in zip(v, SEEN, strict=True)),
    ),
    "masked, total": of_masked(
        lambda v: pm.Normal("y", v.sum(-1), 0.5, observed=np.full(ROWS, 1.7)),
        lambda v: normal(1.7, sum(v), 0.5),
        corrected=1,
    ),
    "two machines": two_machines(),
    "two hidden layers": two_hidden(),
}


@pytest.mark.usefixtures("python")
@pytest.mark.parametrize("case", CASES)
def test_stationarity(case):
    assert CASES[case].errors() < FLOORS


@pytest.mark.usefixtures("python")
@pytest.mark.parametrize("case", ["v", "linear", "h", "masked"])
def test_stationarity_shows_fields_without_the_dependants(monkeypatch, case):
    right = transitions._updated
    monkeypatch.setattr(transitions, "_updated", lambda block, new: transitions.replace(right(block, new), offsets={}))
    assert CASES[case].errors() > 2 * FLOORS


@pytest.mark.usefixtures("python")
@pytest.mark.parametrize("case", ["parity", "two machines", "masked, total"])
def test_stationarity_shows_a_ratio_without_the_dependants(monkeypatch, case):
    """Acceptance by half the log-ratio."""
    right = corrections.accepts
    monkeypatch.setattr(corrections, "accepts", lambda log_ratio, rng: right(log_ratio / 2, rng))
    assert CASES[case].errors() > 2 * FLOORS
