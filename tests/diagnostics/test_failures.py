"""Failures with names: machines learned wrongly, one for each, and good ones, of which nothing is said."""

import numpy as np
import pytest
import xarray as xr
from models import groups, model_of
from options import MUTED, QUIET

import pymc_rbm as pmr
from pymc_rbm.diagnostics.dead import dead_units, judge_dead
from pymc_rbm.diagnostics.failures import DEAD_UNITS, FAILURES
from pymc_rbm.diagnostics.verdict import Diagnosis, Finding
from pymc_rbm.learning import trust
from pymc_rbm.learning.schedules import constant

LINES = {n: pmr.datasets.bars_and_stripes(n).values for n in (3, 4)}
FEW = "ignore:Learning ended after", "ignore:What was learned of"


def clusters(rows=1000, n=40, weight=0.7):
    """Two groups of rows of unequal weight, each other's complement but for noise, that no sweep goes between."""
    rng = np.random.default_rng(5)
    centre, first = rng.integers(0, 2, n), rng.random(rows) < weight
    return (np.where(first[:, None], centre, 1 - centre) ^ (rng.random((rows, n)) < 0.05)).astype("int8")


def diagnosed(learned, seed=1, **options):
    found = pmr.diagnose(learned, random_seed=seed, **MUTED, **options)
    agree(found)
    return found


def agree(found):
    """What is named first says nothing else than the verdicts, and each name has its meaning and its remedy."""
    for name, reason in zip(found.failures, found.reasons, strict=False):
        assert name in FAILURES
        assert any(reason.startswith(x.capitalize()) for x in found.failures)
    text = str(found).splitlines()
    assert text[0].startswith(found.summary)
    assert text[1 : 1 + len(found.failures)] == [f"  - {x}" for x in found.reasons[: len(found.failures)]]
    for name in found.failures:
        assert FAILURES[name].remedy in found.advice
        assert any(x.endswith(f"so that {FAILURES[name].meaning}.") for x in found.reasons)
    if {"particles lag", "one mode lost", "data not reachable"} & set(found.failures):
        assert found.chains == "not mixed"
    if {"mode over-weighted", "learned out of equilibrium"} & set(found.failures):
        assert found.learning in ("not finished", "cannot tell")
    if found.failures:
        assert not found or found.failures == ["dead units"]


# ---------------------------------------------------------------------------------------------------- the report


def test_failures_come_first_and_have_names():
    measures = xr.Dataset(coords={"functional": []}).assign(
        {key: ("functional", []) for key in ("rhat", "ess_bulk", "ess_tail", "autocorrelation")}
    )
    plain, named = Finding("not mixed", "The chains disagree."), DEAD_UNITS.finding("finished", "2 units are constant")
    found = Diagnosis.of("v", [plain], measures, [Finding("finished", "Done."), named])
    assert found.failures == ["dead units"]
    assert found.reasons[0].startswith("Dead units: 2 units are constant, so that")
    assert (found.chains, found.learning, found.verdict) == ("not mixed", "finished", "not mixed")
    assert Diagnosis.of("v", [plain], measures).failures == []


def test_all_names_are_documented():
    text = " ".join(Diagnosis.__doc__.split())
    for name, failure in FAILURES.items():
        assert f'"{name}"' in text
        assert not failure.meaning.endswith(".")
        assert failure.remedy.endswith(".")


@pytest.mark.interpreted
def test_dead_units_are_counted():
    """One is off for all states, one on, one has no weights; one is on for one state only, which is not dead."""
    W = np.zeros((4, 5))
    W[:, 0], W[:, 1], W[:, 3], W[:, 4] = 1.0, -1.0, 20.0, 1.0
    machine = pmr.restricted(W, np.zeros(4), np.array([-30.0, 30.0, 0.5, -70.0, 0.0])).numeric()
    states = (np.arange(16)[:, None] >> np.arange(4)) & 1
    rng = np.random.default_rng(1)
    assert dead_units(machine, states.astype("int8"), rng) == {"hidden_idle": 1, "hidden_saturated": 2}
    assert dead_units(machine, states[:15].astype("int8"), rng) == {"hidden_idle": 1, "hidden_saturated": 3}
    real = pmr.restricted(np.zeros((4, 2)), np.zeros(4), np.zeros(2), pmr.Bernoulli(), pmr.Gaussian(1.0)).numeric()
    assert dead_units(real, states.astype("int8"), rng) == {"hidden_idle": 0, "hidden_saturated": 0}


def test_idle_units_are_none_where_learning_has_ended_or_not_begun():
    idle, saturated = {"hidden_idle": 2, "hidden_saturated": 0}, {"hidden_idle": 0, "hidden_saturated": 1}
    assert "2 of 5" in judge_dead(idle, 5, "not finished", learned=True)[0].reason
    assert judge_dead(idle, 5, "finished", learned=True) == []
    assert judge_dead(idle, 5, "not finished", learned=False) == []
    for verdict in ("finished", "not finished", "cannot tell"):
        assert judge_dead(saturated, 5, verdict, learned=True)[0].verdict == verdict


# ------------------------------------------------------------------------------------------------- learned wrongly


@pytest.mark.slow
def test_particles_lag_and_the_rate_is_too_high():
    """Steps that do not become shorter: the last iterate is noise, and its particles are behind it."""
    with model_of(LINES[3], 8, 3.0):
        learned = pmr.fit(1000, method="pcd", learning_rate=constant(3.0), **QUIET)
        slow = pmr.fit(3000, method="pcd", learning_rate=0.3, horizon=3000, **QUIET)
    found = diagnosed(learned)
    assert {"particles lag", "rate too high"} <= set(found.failures)
    assert found.measures["lag_at_least"] > found.measures["rise_that_matters"]
    assert "nats behind the last moves" in found.reasons[0]
    healthy = diagnosed(slow)
    assert not {"particles lag", "rate too high"} & set(healthy.failures)
    assert healthy.measures["lag_at_least"] == 0


@pytest.mark.slow
@pytest.mark.parametrize("how", ["cd", "fast pcd"])
def test_learned_out_of_equilibrium(how):
    """Chains from random starts make lines, and then leave them for pictures that nobody learned."""
    options = {"method": "cd"} if how == "cd" else {"method": "pcd", "horizon": 100_000}
    with model_of(LINES[4], 16):
        learned = pmr.fit(3000 if how == "cd" else 500, learning_rate=0.3, **QUIET, **options)
    found = diagnosed(learned)
    assert "learned out of equilibrium" in found.failures
    distance = found.measures["approach"].values
    assert distance[0] - distance.min() > 0.5
    assert distance[-1] - distance.min() > 0.5


@pytest.mark.slow
def test_a_mode_is_lost_and_its_data_cannot_be_reached():
    """Half of the rows in a hole that takes nine tenths of the units to fall into: particles never do, and learning,
    which begins at the maximum, digs it deeper."""
    rng, pattern = np.random.default_rng(1), np.arange(80) % 2
    holes = pattern ^ (rng.random((300, 80)) < 0.005)
    rows = np.concatenate([holes, rng.integers(0, 2, (300, 80))]).astype("int8")
    start = {"W": (6 * (2.0 * pattern - 1))[:, None], "c": np.array([-180.0]), "b": np.zeros(80)}
    with model_of(rows, 1, 5.0):
        best = pmr.fit(500, method="exact", optimizer="lbfgs", start=start, **QUIET)
        start = {key: best["parameters"][key].values for key in start}
        learned = pmr.fit(5, method="pcd", start=start, learning_rate=0.01, horizon=5, **QUIET)
    at_best, found = diagnosed(best), diagnosed(learned)
    assert at_best.failures == ["data not reachable"]
    assert at_best.learning == "finished"
    assert set(found.failures) >= {"data not reachable", "one mode lost", "mode over-weighted"}
    data, visited = (found.measures[key].values for key in ("mode_data", "mode_visited"))
    assert data[~visited].sum() == pytest.approx(0.5)


@pytest.mark.slow
def test_a_mode_is_over_weighted():
    """Particles hold the shares of the data in both modes, and the machine, which they do not measure, does not."""
    rows = clusters()
    with model_of(rows, 8, 1.0):
        learned = pmr.fit(1000, method="pcd", batch_size=100, learning_rate=0.1, **QUIET)
    found = diagnosed(learned)
    assert "mode over-weighted" in found.failures
    assert "one mode lost" not in found.failures
    machine, data = found.measures["mode_machine"], found.measures["mode_data"]
    assert np.abs(machine - data).max() > 10 * found.measures["mode_machine_error"].max()
    b, c, W = pmr.machine_of(learned).parameters
    hidden = (np.arange(2**8)[:, None] >> np.arange(8)) & 1  # log-weights of one half of all states, by plain sums
    log_p = hidden @ c + np.logaddexp(0, hidden @ W.T + b).sum(1)
    p = np.exp(log_p - log_p.max())
    mean = (p / p.sum()) @ (1 / (1 + np.exp(-(hidden @ W.T + b))))
    ends = [rows[np.abs(rows - x).mean(1) < 0.5].mean(0) for x in (rows[0], 1 - rows[0])]
    share = (mean - ends[1]) @ (ends[0] - ends[1]) / ((ends[0] - ends[1]) ** 2).sum()
    shares = [share, 1 - share]
    assert min(abs(machine.values[0] - x) for x in shares) < 0.1


@pytest.mark.slow
def test_dead_units():
    """A unit that starts far below its threshold stays there, and takes no part in what is learned."""
    start = {"c": np.array([-30.0, 0, 0, 0]), "W": 0.1 * np.random.default_rng(1).standard_normal((9, 4))}
    with model_of(LINES[3], 4, 3.0):
        learned = pmr.fit(2000, method="pcd", start=start, **QUIET)
        climbed = pmr.fit(500, method="exact", optimizer="lbfgs", start=start, **QUIET)
    for run in (learned, climbed):
        found = diagnosed(run)
        assert "dead units" in found.failures
        assert int(found.measures["hidden_saturated"]) == 1
        assert "1 hidden unit has the same mean" in " ".join(found.reasons)
    # A climb cannot bring it back; with other weights for it there is more to gain.
    assert found.learning == "not finished"
    assert "saturated hidden units" in " ".join(found.reasons)


@pytest.mark.slow
def test_drift_to_infinity():
    """Two rows, each of which one hidden unit tells from the other: the surer it is the better, without end."""
    rows = np.repeat([[0, 0, 0, 0, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0, 0, 0]], 10, axis=0)
    options = {"method": "pcd", "learning_rate": 0.1, "horizon": 100_000}
    with model_of(rows, 3):
        learned = pmr.fit(3000, **QUIET, **options)
    assert "drift to infinity" in diagnosed(learned, probes=False).failures
    with model_of(rows, 3, 1.0, 1.0):
        held = pmr.fit(3000, **QUIET, **options)
    assert "drift to infinity" not in diagnosed(held, probes=False).failures


@pytest.mark.slow
@pytest.mark.filterwarnings(*FEW)
def test_ladders_without_their_guards(monkeypatch):
    """Without the trust region updates are taken back; if they are not, and no rung is added, the ladder is torn."""
    rows = clusters(500)
    monkeypatch.setattr(trust, "LEAST", 0.0)
    with model_of(rows, 8, 1.0):
        taken_back = pmr.fit(10, method="ptt", learning_rate=200.0, **QUIET)
        monkeypatch.setattr("pymc_rbm.learning.update.torn", lambda overlaps: False)
        monkeypatch.setattr("pymc_rbm.learning.update.LEAST", 0.0)
        torn = pmr.fit(60, method="ptt", learning_rate=1.0, horizon=1000, **QUIET)
    assert "rate too high" in diagnosed(taken_back, probes=False).failures
    found = diagnosed(torn, probes=False)
    assert "ladder torn" in found.failures
    assert "particles not renewed" in found.failures


# ------------------------------------------------------------------------------------------------------ good ones


def paired():
    """Three of five units go together in 300 rows."""
    rng = np.random.default_rng(1)
    rows = (rng.random((300, 5)) < 0.5).astype("int8")
    rows[:, 1:3] = rows[:, :1] ^ (rng.random((300, 2)) < 0.15)
    return rows


GOOD = {
    "pairs, climbed": (paired, 3, 500, {"method": "exact", "optimizer": "lbfgs"}),
    "pairs, by particles": (paired, 3, 3000, {"method": "pcd", "learning_rate": 0.3}),
    "lines, climbed": (lambda: LINES[3], 6, 500, {"method": "exact", "optimizer": "lbfgs"}),
    "lines, by particles": (lambda: LINES[3], 6, 10_000, {"method": "pcd"}),
    "digits, climbed": (lambda: pmr.datasets.digits().values[:500], 5, 500, {"method": "exact", "optimizer": "lbfgs"}),
    "clusters, climbed": (clusters, 8, 300, {"method": "exact", "optimizer": "lbfgs"}),
    "clusters, along a ladder": (clusters, 8, 300, {"method": "ptt", "batch_size": 100}),
    "groups, along a ladder": (lambda: groups()[0], 8, 100, {"method": "ptt"}),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", GOOD)
def test_nothing_is_said_of_good_machines(kind):
    """In three looks each, 21 in all: a look has four tests with a chance of a hundredth, at most."""
    rows, hidden, epochs, options = GOOD[kind]
    with model_of(rows(), hidden, 3.0 if "lines" in kind else 1.0):
        learned = pmr.fit(epochs, **QUIET, **options)
    found = [diagnosed(learned, seed=s) for s in range(3)]
    assert [x.failures for x in found] == [[]] * 3
    assert all(x.learning == "finished" for x in found)
    if "ladder" in kind:  # of two groups, where draws are fewer, one of the eight tests of a look may fail by chance
        assert sum(x.chains == "not mixed" for x in found) < (2 if "clusters" in kind else 1)
    assert all("approach" in x.measures for x in found)
