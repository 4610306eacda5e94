"""Parallel trajectory tempering: no bias at any stage, log Z along the way, steps that swaps can follow."""

import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
import pytest
import reference as ref
import xarray as xr
from limits import in_errors
from models import groups, likelihood_of, model_of
from options import MUTED, QUIET

import pymc_rbm as pmr
from pymc_rbm.learning import trust
from pymc_rbm.learning.estimators import parallel_tempering
from pymc_rbm.learning.stiffness import StiffDirections
from pymc_rbm.learning.trajectory import EVERY
from pymc_rbm.machine.records import recorded_machine
from pymc_rbm.sampling.bottom import exact_draws
from pymc_rbm.sampling.ladder import TORN, Ladder, between, recorded_ladder

BARS = pmr.datasets.bars_and_stripes(3).values
MOST = 4
"""In standard errors."""


def clusters(n=40, rows=4000, weight=0.7, seed=5):
    """Two groups of rows of unequal weight that no sweep goes between, and the centre of the first."""
    rng = np.random.default_rng(seed)
    centre = rng.integers(0, 2, n)
    first = rng.random(rows) < weight
    flipped = rng.random((rows, n)) < 0.05
    return (np.where(first[:, None], centre, 1 - centre) ^ flipped).astype("int8"), centre


def ladder_of(learned):
    machine = recorded_machine(learned)
    name, group = recorded_ladder(learned, machine)
    prefix = f"{name}_ladder_"
    return Ladder.of(
        machine, {key.removeprefix(prefix): x.values for key, x in group.items() if key.startswith(prefix)}
    )


@pytest.fixture(scope="module")
def bars():
    with model_of(BARS, 4, 1.0):
        return pmr.fit(2000, method="ptt", **QUIET)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Learning ended after")
def test_particles_have_the_moments_of_the_machine_at_every_stage(bars):
    """The gradient of each rung's log Z, by all its chains, against enumeration: ten stages of learning and more."""
    rng, ladder = np.random.default_rng(1), ladder_of(bars)
    ladder.reach(ladder.top.machine, rng)
    for t in np.linspace(0.1, 0.9, 8):  # stages between the rungs, too
        ladder.rungs.insert(1, ladder.rungs[1].copy())
        ladder.rungs[1].machine = between(ladder.rungs[0].machine, ladder.rungs[2].machine, 1 - t)
    seen = []
    for i in range(400):
        ladder.lift(rng)
        if i >= 100:
            seen.append([rung.states.copy() for rung in ladder.rungs])
    assert len(ladder.rungs) >= 10
    states = np.array(seen, dtype=float)  # (lifts, rungs, chains, visible)
    for k, rung in enumerate(ladder.rungs):
        b, c, W = rung.machine.parameters
        h = 1 / (1 + np.exp(-(states[:, k] @ W + c)))
        by_chain = np.concatenate(
            [np.einsum("tci,tcj->cij", states[:, k], h).reshape(100, -1) / 300, states[:, k].mean(0), h.mean(0)], axis=1
        )
        exact = np.concatenate([x.ravel() for x in ref.moments(W, b, c)])
        spread = by_chain.std(0, ddof=1) / np.sqrt(100)
        errors = ((by_chain.mean(0) - exact) / np.maximum(spread, 1e-12))[spread > 1e-12]  # at the bottom h is constant
        # Of 49 correlated moments none is beyond four and a half, and together they are as large as chance makes them.
        assert np.abs(errors).max() < 4.5, k
        assert np.sqrt((errors**2).mean()) < 1.6, k


@pytest.mark.slow
def test_log_z_along_the_way_is_covered_and_costs_nothing():
    covered, errors = [], []
    for seed in range(12):
        with model_of(BARS, 4, 1.0):
            learned = pmr.fit(200, method="ptt", random_seed=seed, **MUTED)
        exact, found = pmr.log_partition(learned), pmr.log_partition(learned, method="ladder")
        low, high = found.interval
        covered.append(low <= exact.estimate <= high)
        errors.append((found.estimate - exact.estimate) / found.standard_error)
        assert found.standard_error < 0.05
        assert found.method == "ladder"
    # At least 9 of 12 with a chance of .998 if each is covered with one of .95.
    assert sum(covered) >= 9
    assert abs(in_errors(errors)) < MOST


@pytest.mark.slow
def test_the_recorded_log_z_is_taken_only_for_its_own_machine(tmp_path):
    rows, _ = clusters(rows=500)
    with model_of(rows, 30, 1.0) as model:
        learned = pmr.fit(60, method="ptt", **QUIET)
    path = tmp_path / "learned.nc"
    learned.to_netcdf(path)
    again = xr.open_datatree(path).load()
    found = pmr.log_partition(again, method="ladder")
    assert found.estimate == pmr.log_partition(model, learned, method="ladder").estimate
    assert "bridge sampling along the machines of learning" in str(found)
    other = pmr.averaged(learned) if learned.attrs["iterate"] == "last" else None
    for target in [recorded_machine(learned), *([other] if other is not None else [])]:
        with pytest.raises(ValueError, match="returned with this machine"):
            pmr.log_partition(target, method="ladder")


@pytest.mark.slow
def test_resumed_learning_is_the_same_to_the_bit(tmp_path):
    rows, _ = clusters(rows=300)
    with model_of(rows, 8, 1.0):
        whole = pmr.fit(60, method="ptt", horizon=60, **QUIET)
        half = pmr.fit(30, method="ptt", horizon=60, checkpoint=tmp_path / "half.nc", **QUIET)
        for first in (half, xr.open_datatree(tmp_path / "half.nc").load()):
            rest = pmr.fit(30, method="ptt", horizon=60, resume=first, progressbar=False)
            for group in ("parameters", "particle_states"):
                for key, x in whole[group].items():
                    np.testing.assert_array_equal(rest[group][key], x)
            np.testing.assert_array_equal(rest["ladder"]["v_ladder_states"], whole["ladder"]["v_ladder_states"])
        called = pmr.fit(60, method="ptt", horizon=60, on_iteration=lambda status: False, **QUIET)
    np.testing.assert_array_equal(called["parameters"]["W"], whole["parameters"]["W"])


def lost_groups(monkeypatch, replicas):
    """Of twenty narrow groups of equal weight those whose weight, in exact draws of what was learned, is not a tenth.

    Without swaps with ``replicas`` at higher temperatures the particles swap with earlier machines only.
    """
    if not replicas:
        monkeypatch.setattr(parallel_tempering, "_swapped", lambda values, t, low, swap: values)
    rows, _, centres = groups(100, 10_000, np.full(20, 0.05), 0.01)
    with model_of(rows, 16, 1.0):
        learned = pmr.fit(100, method="ptt", start="low rank", **MUTED, random_seed=1)
    drawn = exact_draws(recorded_machine(learned).numeric(), 10_000, np.random.default_rng(0))
    nearest = np.argmin([(drawn != x).sum(1) for x in centres], axis=0)
    return int((np.bincount(nearest, minlength=20) < 0.005 * len(drawn)).sum())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Learning ended after", "ignore:What was learned")
def test_replicas_at_higher_temperatures_find_modes_where_no_rung_is(monkeypatch):
    assert lost_groups(monkeypatch, replicas=True) == 0
    assert lost_groups(monkeypatch, replicas=False) > 10


@pytest.mark.slow
def test_two_groups_get_their_weights():
    rows, centre = clusters()
    with model_of(rows, 8, 1.0) as model:
        learned = pmr.fit(200, method="ptt", **QUIET)
        drawn = pmr.sample_gibbs(learned, method="ptt", chains=20, draws=1500, tune=100, **QUIET)
    weight = ((drawn["posterior"]["v"].values == centre).mean(-1) > 0.5).mean(1)
    share = ((rows == centre).mean(1) > 0.5).mean()
    # The data's own share is known to .007; draws of the machine to their error.
    error = np.hypot(np.sqrt(share * (1 - share) / len(rows)), weight.std(ddof=1) / np.sqrt(20))
    assert weight.mean() == pytest.approx(share, abs=3 * error + 0.02)
    assert learned["learning"]["v_renewals"][-1] >= 2
    assert learned["learning"]["v_swap_rate"][-1] > TORN
    assert likelihood_of(model, learned, rows) > -0.5 * 40 * np.log(2)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:What was learned", "ignore:Learning ended after")
def test_updates_that_tear_the_ladder_are_taken_back(monkeypatch):
    rows, _ = clusters(rows=500)
    with model_of(rows, 8, 1.0):
        safe = pmr.fit(10, method="ptt", learning_rate=200.0, **QUIET)
    assert safe["learning"]["v_rejected"][-1] <= 1  # of ten swaps; two of eight other seeds have one, and none more
    assert safe["learning"]["step_share"].min() < 0.1
    monkeypatch.setattr(trust, "LEAST", 0.0)
    with model_of(rows, 8, 1.0):
        torn = pmr.fit(10, method="ptt", learning_rate=200.0, **QUIET)
    assert torn["learning"]["v_rejected"][-1] >= 2  # five seeds have 2 to 7
    # Each halves all further steps.
    assert torn["learning"]["step_share"][-1] < 0.5
    assert np.abs(torn["parameters"]["W"]).max() < 500  # 50 steps of 200 times a moment's error of ½ would be 5,000


def test_the_trust_region_measures_acceptance():
    rng = np.random.default_rng(1)
    moves = rng.standard_normal((3, 50)) * np.array([[0.0], [1.0], [5.0]])
    weights = np.exp(-moves)
    exact = np.minimum(weights[:, :, None], weights[:, None, :]).mean((1, 2)) / weights.mean(1)
    x = pt.dmatrix()
    np.testing.assert_allclose(pytensor.function([x], trust._acceptance(x))(moves), exact)


def test_steps_are_short_along_stiff_directions_only():
    """Noisy ascent of ``-Σ Λ_i x_i² / 2``, with the noise of a likelihood: without damping it diverges.

    As in learning, a trust region bounds the way of five updates: here by a divergence of .37 nats.
    """
    stiffness, rate, noise = np.array([40.0, 15.0] + [0.05] * 48), 0.3, 0.02

    def climb(careful):
        # In other coordinates, so that no direction is an axis.
        rng = np.random.default_rng(2)
        turn = np.linalg.qr(rng.standard_normal((50, 50)))[0]
        x, g = pytensor.shared(turn.T @ np.array([0.0, 0.0] + [0.3] * 48), name="x"), pt.dvector()
        stiff, updates = StiffDirections([x], EVERY), {x: x + rate * g}
        if careful:
            updates = stiff.damped(updates, pt.as_tensor(rate))
        step, path = pytensor.function([g], [], updates=updates), []
        for i in range(3000):
            at = turn @ x.get_value()
            path.append(at)
            if i % EVERY == 0 and i and careful:
                stiff.follow(rate, noise)
            step(turn.T @ (-stiffness * at + rng.standard_normal(50) * np.sqrt(noise * stiffness)))
            move, gone = turn @ x.get_value() - at, at - path[i - i % EVERY]
            shares = [z for z in trust.SHARES if (stiffness * (gone + z * move) ** 2).sum() / 2 < 0.37]
            x.set_value(turn.T @ (at + (shares or [0.0])[0] * move))
        return np.array(path)

    wild, found = climb(False), climb(True)
    # Once they are found, stiff directions stay within what noise makes of them: their steps are less than their noise.
    noisy = np.sqrt(noise / stiffness[:2])
    assert (np.abs(wild[1000:, :2]).max(0) > 6 * noisy).all()
    assert (np.abs(found[1000:, :2]).max(0) < 4 * noisy).all()
    # Along the others it is much faster than the largest rate that would be stable everywhere, 2/40.
    decay = np.log(np.abs(found[0, 2:]).mean() / np.abs(found[100, 2:].mean())) / 100
    assert decay > 3 * 2 / 40 * 0.05


def test_it_is_refused_where_rows_have_machines_of_their_own():
    rows, _ = clusters(n=6, rows=30)
    x = np.linspace(-1, 1, 30)[:, None]
    with pm.Model():
        A = pm.Normal("A", 0, 1, shape=(1, 6))
        pmr.RBM("v", pm.Normal("W", 0, 1, shape=(6, 2)), x @ A, np.zeros(2), observed=rows)
        with pytest.raises(ValueError, match="each row needs a chain of its own"):
            pmr.fit(1, method="ptt", **MUTED)


@pytest.mark.filterwarnings("ignore:What was learned", "ignore:Learning ended after")
def test_failures_have_names():
    """A run too short to be renewed, one with a torn ladder, and one whose updates were taken back."""
    rows, _ = clusters(rows=500)
    with model_of(rows, 8, 1.0) as model:
        learned = pmr.fit(4, method="ptt", **QUIET)
    named = {
        "Particles not renewed": {"v_renewals": 1},
        "Ladder torn": {"v_swap_rate": 0.04},
        "Rate too high": {"v_rejected": 10},
    }
    healthy = {"v_renewals": 5, "v_swap_rate": 0.3, "v_rejected": 0}
    for what, wrong in named.items():
        run = learned.copy(deep=True)
        for key, value in (healthy | wrong).items():
            run["learning"][key][-1] = value
        found = pmr.diagnose(run, model, probes=False, **QUIET)
        said = [reason.split(":")[0] for reason in found.reasons]
        assert [x for x in named if x in said] == [what]
        assert not found.mixed


@pytest.mark.filterwarnings("ignore:What was learned", "ignore:Learning ended after")
def test_a_single_chain_has_no_log_z_of_its_ladder():
    """One ensemble has no spread, and so no error: nothing is recorded, and NumPy has nothing to warn of."""
    with model_of(BARS, 4, 1.0):
        learned = pmr.fit(20, method="ptt", chains=1, **QUIET)
    assert "v_log_z_estimate" not in learned["ladder"]
