"""Random compositions: exact starts, two draws of BlockGibbs, and whatever can be counted after them.

``PYMC_RBM_FUZZ_SEED`` (1120) and ``PYMC_RBM_FUZZ_CASES`` (24) say which of them the slow tests try. A night:
``PYMC_RBM_FUZZ_SEED=$RANDOM PYMC_RBM_FUZZ_CASES=200 pytest -m slow tests/step_methods/test_fuzz.py``.
``Composition(seed)`` prints what a failing one is made of.
"""

import os

import numpy as np
import pymc as pm
import pytensor
import pytest
from compositions import Composition, Mixed
from options import MASKED
from scipy import stats

import pymc_rbm as pmr
from pymc_rbm.step_methods import metropolis as corrections
from pymc_rbm.step_methods import swapping
from pymc_rbm.support.modes import INTERPRETED

pytestmark = [pytest.mark.interpreted, MASKED, pytest.mark.filterwarnings("ignore:The real units of")]

FAST = 20
NIGHTLY = int(os.environ.get("PYMC_RBM_FUZZ_CASES", "24"))
SEED = int(os.environ.get("PYMC_RBM_FUZZ_SEED", "1120"))
FOUND = [44, 1189]
"""Those that once failed: a single unit between walls, whose paths did not compile; visible units with one state."""
STILL = 40429
"""A single unit is free, and has one state but for once in 8,000 times: that no row of 2,000 moves is no fault."""
SWAPPING = [2, 3, 6, 9, 11, 16, 17, 18, 21, 24]
"""Compositions with visible units that are drawn and hidden ones that sum out."""
FAMILY = 1e-3
"""The probability that any of 200 nights' figures is beyond its limit by chance: some 40 figures a composition."""
RARE = 10
"""The expected number of rows that differ below which they are counted."""
LIMIT = stats.norm.isf(FAMILY / (200 * 40) / 2)


def starts(composition, rng):
    """Rows from the exact distribution; and for each pattern of missing units its states, probabilities and cells."""
    x, exact = np.empty(composition.sampled.shape), []
    for k, missing in enumerate(composition.patterns):
        states, p, widths = composition.states(missing)
        own = x[k :: len(composition.patterns)]
        own[:] = states[rng.choice(len(p), size=len(own), p=p)] + widths * (rng.random(own.shape) - 0.5)
        exact.append((states, p, widths))
    return x, exact


def stepped(composition, x, steps=2, **options):
    """Rows after some steps, and how much moved."""
    n, x, sampled = len(composition.v.bias), x.copy(), composition.sampled
    with pm.Model() as model:
        composition.build()
        step = pmr.BlockGibbs(rng=5, sweeps=1 + composition.seed % 2, **options)
    point = model.initial_point(random_seed=1)
    places = {}
    for name in ("v", "v_unobserved", "h", "h_unobserved"):
        if name in point:
            places[name] = sampled & ((np.arange(x.shape[1]) >= n) == (name[0] == "h"))
            point[name] = x[places[name]].reshape(point[name].shape).astype(point[name].dtype)
    moved = 0.0
    for _ in range(steps):
        new, [figures] = step.step(point)
        moved, point = moved + figures["flipped"], new
    for name, place in places.items():
        x[place] = np.ravel(point[name])
    return x, moved


def figures(x):
    """Entries, their squares and products, side by side, without those that repeat others."""
    pairs = [x[:, i] * x[:, j] for i in range(x.shape[1]) for j in range(i, x.shape[1])]
    return np.column_stack([x, *pairs])


def of_rare(z, drawn, exact, p):
    """Deviations; of figures that hardly ever differ from their usual value by how often they do, of which no mean is
    normal.
    """
    usual = exact[p.argmax()]
    often = p @ (exact != usual)
    tail = stats.binom.sf((drawn != usual).sum(0) - 1, len(drawn), np.clip(often, 0, 1))
    return np.where(len(drawn) * often < RARE, stats.norm.isf(np.clip(tail, 1e-300, 0.5)), z)


def z_scores(composition, **options):
    """Deviations of the figures from their exact means in standard errors, and whether what can move did."""
    x, exact = starts(composition, np.random.default_rng([7, composition.seed]))
    ends, moved = stepped(composition, x, **options)
    found, fixed = [], True
    for k, (states, p, widths) in enumerate(exact):
        sampled = composition.sampled[k]
        if not sampled.any():
            continue
        own, each = ends[k :: len(exact), sampled], figures(states[:, sampled])
        n = sampled.sum()
        squares = n + np.flatnonzero([i == j for i in range(n) for j in range(i, n)])
        mean, deviation = p @ each, np.sqrt(p @ (each - p @ each) ** 2)
        mean[squares] += widths[sampled] ** 2 / 12  # of a cell
        drawn = figures(own)
        z = (drawn.mean(0) - mean) / np.maximum(deviation, 1e-9) * np.sqrt(len(own))
        found.append(of_rare(np.where(deviation > 1e-6, z, 0.0), drawn, each, p))
        visible = sampled[: len(composition.v.bias)].sum() or n  # of hidden units if no visible one is free
        usual = (each[:, :visible] == each[p.argmax(), :visible]).all(1)
        fixed &= len(own) * p[~usual].sum() < RARE
    return np.concatenate(found), moved > 0 or fixed


def check(seed, plain=False, **options):
    composition = Composition(seed, plain=plain)
    with pytensor.config.change_flags(mode=INTERPRETED):  # those that are slow, too: a graph is evaluated twice
        z, moved = z_scores(composition, **options)
    assert moved, composition
    assert np.abs(z).max() < LIMIT, f"{composition}: {z.round(1)}"


@pytest.mark.parametrize("seed", range(FAST))
def test_composition(seed):
    check(seed)


def test_compositions_show_a_broken_ratio(monkeypatch):
    """Acceptance by half the log-ratio."""
    real = corrections.accepts
    monkeypatch.setattr(corrections, "accepts", lambda log_ratio, rng: real(log_ratio / 2, rng))
    z, _ = z_scores(Composition(33, plain=True))
    assert np.abs(z).max() > LIMIT


@pytest.fixture
def two_rungs(monkeypatch):
    """The lower of two rungs is drawn anew each time, so that all is in equilibrium from the start."""
    monkeypatch.setattr(swapping, "FIRST_PAIRS", 1)
    monkeypatch.setattr(swapping, "FIRST_ROUNDS", ())
    monkeypatch.setattr(swapping, "MOST_CHAINS", 2)


@pytest.mark.slow
@pytest.mark.parametrize("seed", SWAPPING)
def test_compositions_that_swap_with_exact_draws(seed, two_rungs):
    check(seed, plain=True, method="pt")


@pytest.mark.slow
@pytest.mark.interpreted
def test_compositions_show_a_broken_swap(two_rungs, monkeypatch):
    """By half the difference of log-densities."""
    right = swapping._gain
    monkeypatch.setattr(swapping, "_gain", lambda *arguments: right(*arguments) / 2)
    z, _ = z_scores(Composition(3, plain=True), method="pt")
    assert np.abs(z).max() > LIMIT


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(SEED, SEED + NIGHTLY))
def test_more_compositions(seed):
    check(seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", FOUND)
def test_compositions_that_once_failed(seed):
    check(seed, plain=True)


def test_a_composition_that_hardly_moves_may_stay():
    check(STILL)


def test_the_fast_compositions_have_all_kinds():
    found = [Composition(seed) for seed in range(FAST)]
    assert any(x.general for x in found)
    assert any(isinstance(side, Mixed) for x in found for side in (x.v, x.h))
    assert {"free", "rows", "by row"} <= {x.masking for x in found}
