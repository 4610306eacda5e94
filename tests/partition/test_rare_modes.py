"""Errors of log Z where a mode is rare or narrow, and where replicas of parallel tempering make few round trips."""

import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.special import logsumexp

import pymc_rbm as pmr
from pymc_rbm.partition import tempering as bridging
from pymc_rbm.partition.bridging import settled, solution
from pymc_rbm.partition.tempering import ENSEMBLES, Replicas, _rhat

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.log_z_calibration import LITTLE
from benchmarks.rare_modes import (
    equal,
    lattice,
    log_weights_of_counts,
    narrow,
    planted,
    rare_modes,
    side_by_side,
)


def as_machine(parameters):
    return parameters if isinstance(parameters, pmr.Machine) else pmr.restricted(*parameters)


# ------------------------------------------------------------------------------------------- the machines


@pytest.mark.interpreted
def test_log_z_of_the_machines_is_known_and_their_modes_are_as_rare_as_they_say():
    small = {
        "equal": equal(8, 6, 1.1, -5, 4, 0.03),
        "narrow": narrow(9, 5, 1.5, 7, 0.05),
        "lattice": lattice(3, 2.2, 0.01),
        "planted": planted((0.7, 0.3), n=8, copies=2),
        "side by side": side_by_side([equal(4, 4, 1.5, -3, 2, 0.05), equal(4, 4, 1.5, -3, 2, 0.1)]),
    }
    for name, (parameters, log_z) in small.items():
        machine = as_machine(parameters)
        assert pmr.log_partition(machine).estimate == pytest.approx(log_z, abs=1e-9), name
    (W, b, c), log_z = small["equal"]
    weights = log_weights_of_counts(8, 6, W[0, 0], b[0], c[0])
    assert np.exp(logsumexp(weights[5:]) - log_z) == pytest.approx(0.03, abs=1e-9)
    x = (np.arange(2**9)[:, None] >> np.arange(9)) & 1
    p = np.exp(-pmr.free_energy(x.astype("int8"), as_machine(small["lattice"][0])) - small["lattice"][1])
    assert p[x.sum(1) > 4].sum() == pytest.approx(0.01, abs=1e-9)


# ------------------------------------------------------------------------------------- draws of replicas


def ladder(rng, draws, levels=4, step=0.0, memory=0.0):
    """Gaussian energy differences whose log Z is zero at each pair; the first half of the draws is ``step`` off."""
    noise = rng.standard_normal((2, draws, levels - 1, ENSEMBLES))
    slow = memory * np.repeat(rng.standard_normal((1, 1, 1, ENSEMBLES)), draws, axis=1)
    shift = step * (np.arange(draws) < draws / 2)[:, None, None] + slow[0]
    # With F_(k+1) - F_k ~ Normal(±½, 1) below and above, both means are those of a log ratio of zero.
    return Replicas(
        0.5 + shift + noise[0], 0.5 - shift + noise[1], np.zeros((draws, ENSEMBLES)), np.zeros(3), np.full(10, 9.0), 0.0
    )


def settled_of(ladder):
    return settled(ladder.up, ladder.down)


def test_stationary_draws_are_all_used_and_their_error_is_right():
    rng = np.random.default_rng(1)
    found = [settled_of(ladder(rng, 400)) for _ in range(100)]
    # Each is taken for moving with a chance of .001: three of them with one of 2e-4.
    assert sum(len(x.influence) == 400 and not x.moves for x in found) > 97
    estimates, errors = np.array([x.steps.sum() for x in found]), np.array([x.standard_error for x in found])
    # The deviation of 100 estimates is known to 7 %.
    assert np.sqrt((errors**2).mean()) == pytest.approx(estimates.std(), rel=0.3)
    assert abs(estimates.mean()) < 4 * estimates.std() / np.sqrt(100)


def test_draws_that_still_move_are_dropped_and_said_where_they_never_settle():
    rng = np.random.default_rng(2)
    moved = ladder(rng, 400, step=0.5)
    assert solution(moved.up, moved.down).moves
    found = settled_of(moved)
    assert len(found.influence) == 200
    assert not found.moves
    assert abs(found.steps.sum()) < 4 * found.standard_error
    # With all of them it is wrong: three steps are off by a half in half of the draws, by 0.75 together.
    assert abs(solution(moved.up, moved.down).steps.sum()) > 0.5
    slope = np.linspace(-3, 3, 400)[:, None, None]
    rising = Replicas(moved.up + slope, moved.down - slope, moved.top_energy, moved.rejection, moved.round_trips, 0.0)
    assert settled_of(rising).moves
    assert len(settled_of(rising).influence) < 100


def test_ensembles_that_disagree_on_log_z_are_seen_where_their_energies_agree():
    found = settled_of(ladder(np.random.default_rng(3), 400, memory=1.0))
    # Ensembles are as far apart as draws of one are: about √2.
    assert _rhat(found.influence.T) > 1.1
    assert _rhat(settled_of(ladder(np.random.default_rng(3), 400)).influence.T) < 1.02
    assert _rhat(1e-12 * np.random.default_rng(3).standard_normal((ENSEMBLES, 50))) == 1  # rounding alone


def test_few_round_trips_are_said():
    quiet = {"least_overlap": 0.3, "rhat": 1.0, "round_trips": 30.0, "drift": 0.0}
    run = Replicas(
        *[np.zeros((9, 2, ENSEMBLES))] * 2, np.zeros((9, ENSEMBLES)), np.zeros(2), np.full(ENSEMBLES, 3.0), 0.0
    )
    assert bridging._reasons(quiet, run, False) == [
        "30 round trips of replicas from the base to the machine are too few (at least 50)"
    ]
    assert bridging._reasons(quiet | {"round_trips": 60.0}, run, False) == []


def test_tempering_that_forgets_its_starts_too_late_says_so():
    """Four modes in 80 dimensions: at this budget log Z is off by nats, and energies of the machine look alike."""
    parameters, log_z = planted((0.25,) * 4, n=80, strength=1.0)
    found = pmr.log_partition(pmr.restricted(*parameters), method="tempering", budget=32_000, random_seed=1)
    assert abs(found.estimate - log_z) > 1  # or the test shows nothing
    assert not found.reliable
    assert abs(found.estimate - log_z) < 3 * found.standard_error + 0.2
    assert "round trips" in str(found)


# ------------------------------------------------------------------------------------------------ annealing


def test_the_error_of_annealing_reaches_as_far_as_one_particle_would_move_it():
    parameters, _ = rare_modes()["modules, modes of 2, 5 and 10 %"]
    found = pmr.log_partition(pmr.restricted(*parameters), method="ais", budget=20_000, random_seed=1)
    weights = np.exp(found.log_weights - found.log_weights.max())
    by_weights = weights.std(ddof=1) / weights.mean() / np.sqrt(len(weights))
    reach = np.log1p(min(0.5, found.diagnostics["unseen_weight"])) / 1.96
    assert reach > by_weights / 2  # or the test shows nothing
    assert found.standard_error == pytest.approx(np.hypot(by_weights, reach), rel=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("method", list(LITTLE))
def test_intervals_cover_where_a_mode_is_rare(method):
    """Eight seeds a machine; `benchmarks/log_z_calibration.py` takes 200 of them."""
    covered = []
    for parameters, log_z in rare_modes().values():
        for seed in range(8):
            found = pmr.log_partition(
                as_machine(parameters), random_seed=seed, progressbar=False, **LITTLE[method]
            )  # fmt: skip
            low, high = found.interval
            covered.append(low - 1e-6 <= log_z <= high + 1e-6)  # a sum has no error but rounding
            assert abs(found.estimate - log_z) <= 3 * found.standard_error + 0.2 or not found.reliable
    # Of 40 with a chance of .95 each, fewer than 33 have one of 1e-3 to cover.
    assert sum(covered) >= 33
