"""Modes that chains stay in: what data, particles and the machine have in them, and when a difference is named."""

import numpy as np
import pytest
from scipy import special, stats

import pymc_rbm as pmr
from pymc_rbm.diagnostics.excursions import Excursions, excursions
from pymc_rbm.diagnostics.modes import Modes, Weights, judge_modes, judge_weights, machine_weights, modes_of
from pymc_rbm.support.convergence import FALSE_ALARM

REPEATS = 300


def corners(data, visited=(True, True), n=12):
    """Two modes, of all units off and of all on."""
    return Modes(np.array([np.zeros(n), np.ones(n)]), np.ones(n), np.array(data), np.array(visited))


def named(findings):
    return [x.failure for x in findings]


def in_modes(counts, n=12):
    return np.repeat([np.zeros(n), np.ones(n)], counts, axis=0).astype("int8")


def test_a_mode_without_particles_is_lost_if_chance_would_not_leave_it_empty():
    assert named(judge_modes(corners((0.7, 0.3)), in_modes((100, 0)))) == ["one mode lost"]
    assert named(judge_modes(corners((0.7, 0.3)), in_modes((99, 1)))) == []
    assert FALSE_ALARM / 2 < 0.96**100
    assert named(judge_modes(corners((0.96, 0.04)), in_modes((100, 0)))) == []
    assert named(judge_modes(corners((0.7, 0.3)), None)) == []


def test_data_that_random_starts_do_not_lead_to():
    away = corners((0.7, 0.3), (True, False))
    [found] = judge_modes(away, None)
    assert found.failure == "data not reachable"
    assert "30% of the data" in found.reason
    assert named(judge_modes(away, None, plain=False)) == []
    assert named(judge_modes(corners((0.95, 0.05), (True, False)), None)) == []


def weighed(share, n=10_000):
    q = np.array([1 - share, share])
    return Weights(q, np.sqrt(q * (1 - q) / n), n, "by exact draws")


def test_weights_cost_what_the_divergence_says():
    """The likelihood of rows by a machine whose modes have other weights, and the same rows within modes."""
    w, q = 0.3, 0.6
    cost = w * np.log(w / q) + (1 - w) * np.log((1 - w) / (1 - q))
    [found] = judge_weights(corners((0.7, 0.3)), weighed(q, 10**8), np.inf, 0.9 * cost, "cannot tell")
    assert found.failure == "mode over-weighted"
    assert found.verdict == "not finished"
    assert f"{cost:.2g} nats" in found.reason
    assert judge_weights(corners((0.7, 0.3)), weighed(q, 10**8), np.inf, 1.1 * cost, "cannot tell") == []
    assert judge_weights(corners((0.7, 0.3)), weighed(q), np.inf, 0.0, "finished") == []
    [lost] = judge_weights(corners((0.7, 0.3)), weighed(1.0), np.inf, 0.01, "not finished")
    assert "inf" not in lost.reason


@pytest.mark.parametrize("kept", [np.inf, 500])
def test_weights_that_agree_are_hardly_ever_named(kept):
    """Whatever matters: rows are those that were learned, or a sample of them."""
    rng, alarms = np.random.default_rng(1), 0
    for _ in range(REPEATS):
        w = 0.3 if kept == np.inf else rng.binomial(kept, 0.3) / kept
        share = rng.binomial(1000, 0.3) / 1000
        alarms += bool(judge_weights(corners((1 - w, w)), weighed(share, 1000), kept, 0.0, "cannot tell"))
    assert alarms <= stats.binom.isf(1e-4, REPEATS, FALSE_ALARM)
    # Without the error, as if draws were the machine, half of them are.
    sure = [weighed(rng.binomial(1000, 0.3) / 1000) for _ in range(REPEATS)]
    sure = [Weights(x.values, 0 * x.errors, x.draws, x.how) for x in sure]
    assert sum(bool(judge_weights(corners((0.7, 0.3)), x, np.inf, 0.0, "cannot tell")) for x in sure) > 0.4 * REPEATS


def hole(weight=0.9, n=80, depth=6.0):
    """A machine with a mode of this probability, around half of the units on, that random states never get to.

    One hidden unit holds it: on, all others go with it; off, all units are fair coins. It comes on where at least nine
    tenths of the units fit. Returns draws of the mode as well.
    """
    pattern = np.arange(n) % 2
    W = depth * (2.0 * pattern - 1)[:, None]
    c = n * np.log(2) + special.logit(weight) - np.logaddexp(0, W).sum()
    machine = pmr.restricted(W, np.zeros(n), np.array([c])).numeric()
    return machine, lambda rows, rng: (rng.random((rows, n)) < special.expit(W[:, 0])).astype("int8")


@pytest.mark.interpreted
def test_modes_are_found_by_chains_and_weighed_exactly():
    machine, draw = hole()
    rng = np.random.default_rng(1)
    rows = np.concatenate([draw(300, rng), rng.integers(0, 2, (100, 80)).astype("int8")])
    found = excursions(machine, rows, np.full(400, 1 / 400), 300, rng)
    assert found.sweeps.tolist() == [0, *(2**k for k in range(10))]
    modes = modes_of(machine, found, rows, np.full(400, 1 / 400))
    order = np.argsort(modes.data)
    assert modes.data[order] == pytest.approx([0.25, 0.75])
    assert not modes.visited[order[1]]
    assert modes.visited[order[0]]
    weights = machine_weights(machine, None, modes, rows, rng)
    assert weights.values[order[1]] == pytest.approx(0.9, abs=5 * 0.003)
    both = np.concatenate([draw(80, rng), rng.integers(0, 2, (20, 80)).astype("int8")])
    assert named(judge_modes(modes, both)) == ["data not reachable"]
    assert named(judge_modes(modes, both[80:])) == ["data not reachable", "one mode lost"]


@pytest.mark.interpreted
def test_chains_that_agree_have_no_modes():
    rng = np.random.default_rng(1)
    machine = pmr.restricted(0.3 * rng.standard_normal((8, 3)), np.zeros(8), np.zeros(3)).numeric()
    rows = rng.integers(0, 2, (100, 8)).astype("int8")
    assert modes_of(machine, excursions(machine, rows, np.full(100, 0.01), 256, rng), rows, np.full(100, 0.01)) is None
    apart = Excursions(np.zeros(0), np.zeros(0), np.zeros((4, 30, 8), "int8"), np.ones((4, 30, 8), "int8"))
    assert modes_of(machine, apart, rows, np.full(100, 0.01)) is not None
