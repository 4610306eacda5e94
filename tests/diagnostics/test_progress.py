"""The verdict on learning: right on runs that stopped early and on runs that finished, by known likelihoods."""

from dataclasses import replace

import numpy as np
import pymc as pm
import pytest
import xarray as xr
from models import groups
from options import MUTED
from scipy import special
from scipy.optimize import minimize

import pymc_rbm as pmr
from pymc_rbm.diagnostics.progress import finishing, sampled_rise
from pymc_rbm.diagnostics.progress.completions import data_sums
from pymc_rbm.diagnostics.progress.rise import _climb as climb
from pymc_rbm.diagnostics.progress.rise import climbed
from pymc_rbm.diagnostics.progress.sampled_rise import Sampled, climbed_by_draws
from pymc_rbm.diagnostics.progress.verdict import judge_learning, judge_reach
from pymc_rbm.learning.goal import Goal, Penalty, exact_log_z, free_energies_of
from pymc_rbm.learning.penalties import recorded_penalty

pytestmark = pytest.mark.interpreted
LINES = pmr.datasets.bars_and_stripes(3).values
EVERY = {
    "binary": (pmr.Bernoulli(), pmr.Bernoulli(), 4),
    "spins": (pmr.Spin(), pmr.Spin(), 4),
    "letters": (pmr.Categorical(3), pmr.Bernoulli(), 6),
    "counts": (pmr.Binomial(3), pmr.Bernoulli(), 3),
    "real": (pmr.Gaussian(0.8), pmr.Bernoulli(), 3),
}


def machine_with(visible, hidden, n, m=3, seed=1, scale=0.7):
    rng = np.random.default_rng(seed)
    W, b, c = (scale * rng.standard_normal(shape) for shape in ((n, m), n, m))
    return pmr.restricted(W, b, c, visible, hidden).numeric()


def no_penalty(machine):
    slopes, curvatures = ([np.zeros_like(p) for p in machine.parameters] for _ in range(2))
    return Penalty(list(machine.parameters), slopes, curvatures)


def everything(machine):
    """Weights and biases move, units' own parameters do not."""
    k = len(machine.layers) + len(machine.couplings)
    return [np.full(np.shape(p), i < k) for i, p in enumerate(machine.parameters)]


def goal_of(machine, rows, missing=None, penalty=None):
    rng = np.random.default_rng(1)
    data = data_sums(machine, rows, np.ones(len(rows)), missing, rng)
    return Goal(machine, everything(machine), data, exact_log_z(machine), penalty or no_penalty(machine))


def learning_of(learned):
    """The findings about learning alone, where log Z is exact."""
    machine = pmr.machine_of(learned).numeric()
    climb = {key: learned.attrs[key] for key in ("converged", "left_to_gain")}
    return judge_learning(finishing.measured(learned, "v", machine, None, np.random.default_rng(1)), climb)


def rows_from(machine, n, seed=1):
    found = pmr.sample_gibbs(machine, draws=1, tune=50, chains=n, random_seed=seed, **MUTED)
    return found["last_states"]["v"].values


# ------------------------------------------------------------------------------------------------- the objective


@pytest.mark.parametrize("kind", EVERY)
def test_the_goal_is_the_likelihood(kind):
    """Its value by `log_likelihood`, which enumerates on a way of its own; its gradient by differences."""
    machine = machine_with(*EVERY[kind])
    rows = rows_from(machine, 7)
    goal = goal_of(machine, rows)
    at = goal.packed(machine.parameters)
    value, slope = goal(at)
    known = pmr.log_likelihood(rows, machine, **MUTED)["mean_log_likelihood"]["mean"]
    np.testing.assert_allclose(value, known, rtol=1e-9)
    direction = np.random.default_rng(2).standard_normal(at.size)
    h = 1e-5
    ahead, behind = goal(at + h * direction)[0], goal(at - h * direction)[0]
    np.testing.assert_allclose((ahead - behind) / (2 * h), slope @ direction, rtol=1e-6)


def test_what_is_missing_is_summed_out():
    machine = machine_with(*EVERY["letters"])
    rows = rows_from(machine, 9)
    missing = np.repeat(np.random.default_rng(3).random((9, 2)) < 0.5, 3, axis=1)
    assert missing.any() and not missing.all()
    masked = np.ma.masked_array(rows, missing)
    known = pmr.log_likelihood(masked, machine, **MUTED)["mean_log_likelihood"]["mean"]
    goal = goal_of(machine, np.where(missing, 0, rows).astype(rows.dtype), missing)
    value, slope = goal(at := goal.packed(machine.parameters))
    np.testing.assert_allclose(value, known, rtol=1e-9)
    direction = np.random.default_rng(2).standard_normal(at.size)
    moved = [goal(at + s * 1e-5 * direction)[0] for s in (1, -1)]
    np.testing.assert_allclose((moved[0] - moved[1]) / 2e-5, slope @ direction, rtol=1e-6)


def test_missing_real_entries_are_drawn():
    """Differences of the drawn sum are differences of the likelihood, within Monte Carlo error."""
    machine = machine_with(pmr.Gaussian(1.0), pmr.Bernoulli(), 4)
    other = machine_with(pmr.Gaussian(1.0), pmr.Bernoulli(), 4, scale=0.6)
    rows = rows_from(machine, 5)
    missing = np.random.default_rng(3).random(rows.shape) < 0.4
    sums = data_sums(machine, rows, np.ones(5), missing, np.random.default_rng(1))
    masked = np.ma.masked_array(rows, missing)
    known = [
        pmr.log_likelihood(masked, m, log_z=0.0, **MUTED)["mean_log_likelihood"]["mean"].item()
        for m in (machine, other)
    ]
    n = len(sums.states) / 5
    ratios = sums.of_groups(other)
    a = -free_energies_of(other, sums.states) - sums.offsets
    spread = np.exp(a - a.max()).reshape(5, -1)
    error = np.sqrt((spread.var(1) / spread.mean(1) ** 2).sum() / n) / 5
    assert abs(ratios.mean() - (known[1] - known[0])) < 5 * error
    assert error < 0.02


def test_a_general_machine():
    """U stays symmetric, with zeros on its diagonal."""
    rng = np.random.default_rng(1)
    U = np.triu(rng.standard_normal((5, 5)), 1)
    machine = pmr.boltzmann(U + U.T, rng.standard_normal(5), pmr.Spin()).numeric()
    rows = 2 * rng.integers(0, 2, (40, 5)).astype("int8") - 1
    goal = goal_of(machine, rows)
    goal.masks[1][:] = ~np.eye(5, dtype=bool)
    rise = climbed(goal, 1e-6, np.inf, rng)
    _, slope = goal(goal.packed(machine.parameters))
    full = np.zeros((5, 5))
    full[goal.masks[1]] = slope[5:]
    np.testing.assert_allclose(full, full.T, atol=1e-12)
    with pm.Model() as model:
        pmr.BoltzmannMachine("v", pm.Flat("U", shape=(5, 5)), pm.Flat("b", shape=5), unit=pmr.Spin(), observed=rows)
        learned = pmr.fit(500, method="exact", optimizer="lbfgs", random_seed=1, **MUTED)
        assert learning_of(learned)[0].verdict == "finished"
        best = pmr.log_likelihood(rows, model, learned, **MUTED)["mean_log_likelihood"]["mean"]
    before = pmr.log_likelihood(rows, machine, **MUTED)["mean_log_likelihood"]["mean"]
    np.testing.assert_allclose(rise.gain, float(best - before), atol=1e-5)


# ---------------------------------------------------------------------------------------------------- what fit keeps


def lines_model(prior, hidden=3):
    with pm.Model() as model:
        W = prior()
        pmr.RBM("v", W, pm.Normal("b", 0.5, 2, shape=9), pm.Flat("c", shape=hidden), observed=LINES)
    return model


PRIORS = {
    "normal": lambda: pm.Normal("W", 0.1, 1.5, shape=(9, 3)),
    "rows": lambda: pm.Normal("W", 0, np.linspace(1, 2, 9)[:, None], shape=(9, 3)),
    "logistic": lambda: pm.Logistic("W", 0, 1, shape=(9, 3)),
    "scale": lambda: pm.Normal("W", 0, pm.HalfNormal("scale"), shape=(9, 3)),
}


@pytest.mark.parametrize("kind", PRIORS)
def test_priors_are_kept_to_second_order(kind):
    with lines_model(PRIORS[kind]) as model:
        learned = pmr.fit(2, chains=5, random_seed=1, **MUTED)
    machine = pmr.machine_of(learned).numeric()
    penalty = recorded_penalty(learned, "v", machine)
    values = {key: learned["parameters"][key].values for key in ("W", "b")}
    rest = [x for x in model.free_RVs if x.name in values]
    density = pm.Model.compile_logp(model, vars=rest, jacobian=False)
    point = model.initial_point() | values
    if kind == "scale":
        point["scale_log__"] = np.log(learned["parameters"]["scale"].values)
    rng = np.random.default_rng(1)
    step = 0.01 if kind == "logistic" else 0.3
    moves = {key: step * rng.standard_normal(x.shape) for key, x in values.items()}
    known = density(point | {key: x + moves[key] for key, x in values.items()}) - density(point)
    b, c, W = machine.parameters
    found, _ = penalty([b + moves["b"], c, W + moves["W"]])
    np.testing.assert_allclose(found, known / len(LINES), rtol=1e-4 if kind == "logistic" else 1e-7)
    averaged = pmr.averaged(learned)
    there = recorded_penalty(averaged, "v", pmr.machine_of(averaged).numeric())
    slopes = penalty(there.at)[1]
    for a, z in zip(slopes, there.slopes, strict=True):
        np.testing.assert_allclose(z, a, rtol=1e-9, atol=1e-12)


def test_all_rows_count_not_only_those_kept(monkeypatch):
    """The gradient of 3,000 rows, of which 1,000 are kept."""
    monkeypatch.setattr("pymc_rbm.learning.data.KEPT_BYTES", 0)
    rows = (np.random.default_rng(1).random((3000, 4)) < [0.2, 0.4, 0.6, 0.8]).astype("int8")
    rows[:1000, 1] = rows[:1000, 0]
    with pm.Model() as model:
        pmr.RBM("v", pm.Flat("W", shape=(4, 2)), pm.Flat("b", shape=4), pm.Flat("c", shape=2), observed=rows)
        learned = pmr.fit(1, chains=5, method="pcd", learning_rate=0.1, random_seed=1, **MUTED)
    machine = pmr.machine_of(model, learned).numeric()
    _, slope = goal_of(machine, rows)(at := goal_of(machine, rows).packed(machine.parameters))
    kept = learned["data"]["v_rows"].values
    assert len(kept) == 1000
    penalty, rest = finishing._penalty(learned, "v", machine)
    goal = replace(goal_of(machine, kept, penalty=penalty), rest=rest)
    np.testing.assert_allclose(goal(at)[1], slope, atol=1e-12)
    whole = climbed(goal_of(machine, rows), 1e-3, np.inf, np.random.default_rng(1)).gain
    found = climbed(goal, 1e-3, np.inf, np.random.default_rng(1)).gain
    assert 0.5 * whole < found < whole + 0.02  # never more, but for the rows that are not there
    assert abs(goal_of(machine, kept)(at)[1] - slope).max() > 1e-3


def test_a_converged_climb_is_believed_where_few_rows_are_kept(monkeypatch):
    """Far from where learning ended a gradient says nothing of the 2,000 rows that are gone: it promised 1.2 nats."""
    monkeypatch.setattr("pymc_rbm.learning.data.KEPT_BYTES", 0)
    rows, _, _ = groups(12, flipped=0.1)
    with pm.Model():
        W = pm.Normal("W", 0, 1, shape=(12, 4))
        pmr.RBM("v", W, pm.Flat("b", shape=12), pm.Flat("c", shape=4), observed=rows)
        learned = pmr.fit(random_seed=1, progressbar=False)
    assert learned.attrs["converged"] and len(learned["data"]["v_rows"]) == 1000
    verdicts = {finding.verdict for finding in learning_of(learned)}
    assert verdicts == {"finished"}
    monkeypatch.setattr("pymc_rbm.diagnostics.progress.rise.FAR", np.inf)
    assert "cannot tell" in {finding.verdict for finding in learning_of(learned)}


def test_long_sums_by_kernels_count_as_work():
    """A climb over 2^20 states has fewer iterations: a sum by a kernel has no table of states whose length says so."""
    goals = [goal_of(machine_with(pmr.Bernoulli(), pmr.Bernoulli(), 30, m), np.zeros((5, 30), "int8")) for m in (4, 18)]
    assert goals[0].entries < 34 * 50
    assert goals[1].entries > 48 * 2**18 / 8


# ------------------------------------------------------------------------------------------------------ by draws


def exact_visible(machine, n, rng):
    """Independent visible states, by enumeration."""
    states = (np.arange(2 ** len(machine.parameters[0]))[:, None] >> np.arange(len(machine.parameters[0]))) & 1
    a = -free_energies_of(machine, states.astype("int8"))
    p = np.exp(a - a.max())
    return states[rng.choice(len(p), size=n, p=p / p.sum())].astype("int8")


def sampled_of(goal, rng):
    return Sampled(lambda m: goal.data, lambda m, n: exact_visible(m, n, rng), goal.masks, goal.penalty)


def near_optimum(distance):
    """A machine with a prior, so far from the optimum of lines."""
    machine = machine_with(pmr.Bernoulli(), pmr.Bernoulli(), 9, 4)
    penalty = Penalty(
        [np.zeros_like(p) for p in machine.parameters],
        [np.zeros_like(p) for p in machine.parameters],
        [np.full(np.shape(p), -0.05) for p in machine.parameters],
    )
    goal = goal_of(machine, LINES, penalty=penalty)
    best = minimize(lambda x: [-y for y in goal(x)], goal.packed(machine.parameters), jac=True, method="L-BFGS-B")
    x = best.x + distance * np.random.default_rng(5).standard_normal(best.x.size)
    here = goal_of(goal.machine_at(x), LINES, penalty=penalty)
    return here, -best.fun - here(x)[0]


@pytest.mark.parametrize("distance", [0.0, 0.05, 0.3])
def test_by_draws_as_exactly(distance):
    """The bounds by draws hold the exact rise, in twenty repetitions each; the exact climb finds all of it."""
    (goal, known), matters = near_optimum(distance), 0.05
    assert climbed(goal, 1e-4, np.inf, np.random.default_rng(1)).gain == pytest.approx(known, abs=1e-3)
    found = [
        climbed_by_draws(sampled_of(goal, np.random.default_rng(s)), goal.machine, matters=matters) for s in range(20)
    ]
    for rise in found:
        assert rise.gain - 4 * rise.error <= known + matters / 10
    # All know on which side of what matters the rise is, but for one that errs by two errors, and where it is close.
    if known < 0.8 * matters:
        assert sum(rise.most > matters for rise in found) <= 1
    if known > 1.6 * matters:
        assert all(rise.gain - 2 * rise.error > matters for rise in found)


def test_noise_is_not_taken_for_a_rise():
    """At the maximum the prediction is zero on average; by one half alone it is half a nat a parameter and draw."""
    goal, _ = near_optimum(0.0)
    at, size = goal.packed(goal.machine.parameters), sum(int(m.sum()) for m in goal.masks)
    crossed, plain = [], []
    for seed in range(40):
        sampled = sampled_of(goal, np.random.default_rng(seed))
        halves = [sampled.draw(goal.machine, 500) for _ in range(2)]
        goals = [sampled.goal(goal.machine, x) for x in halves]
        slopes = [g(at)[1] for g in goals]
        steps = [sampled_rise._natural(goals[0], np.concatenate(halves), at, s)[0] for s in slopes]
        crossed.append((steps[0] @ slopes[1] + steps[1] @ slopes[0]) / 4)
        plain.append(steps[0] @ slopes[0] / 2)
    error = np.std(crossed) / np.sqrt(40)
    assert abs(np.mean(crossed)) < 5 * error
    assert np.mean(plain) > 20 * error  # the broken version
    assert np.std(crossed) < 2 * sampled_rise._error(0.0, 500, size)


@pytest.mark.parametrize("width", [None, 4.0])
def test_a_saddle_is_left_by_draws(width):
    """At W = 0 the gradient is zero and, with a prior, nearby too: pairs of units show that there is more to learn."""
    machine = pmr.restricted(np.zeros((9, 8)), np.zeros(9), np.zeros(8)).numeric()
    penalty = no_penalty(machine)
    if width is not None:
        penalty.curvatures[2] = np.full((9, 8), -1 / (width**2 * len(LINES)))
    goal = goal_of(machine, LINES, penalty=penalty)
    assert abs(goal(goal.packed(machine.parameters))[1]).max() < 1e-12
    found = climbed_by_draws(sampled_of(goal, np.random.default_rng(1)), machine, matters=0.05)
    assert found.gain - 4 * found.error > 0.1  # twice what matters
    known = climbed(goal, 0.05, np.inf, np.random.default_rng(1)).gain
    assert found.gain < known


def test_independent_units_have_nothing_to_learn():
    """Data of coins: there is no saddle, and pairs show none."""
    rows = np.random.default_rng(1).integers(0, 2, (5000, 6)).astype("int8")
    machine = pmr.restricted(np.zeros((6, 3)), special.logit(rows.mean(0)), np.zeros(3)).numeric()
    goal = goal_of(machine, rows)
    found = [climbed_by_draws(sampled_of(goal, np.random.default_rng(s)), machine, matters=0.01) for s in range(10)]
    assert np.mean([x.most <= 0.01 for x in found]) >= 0.8
    assert not any(x.gain - 2 * x.error > 0.01 for x in found)


# ---------------------------------------------------------------------------------------------------------- runs


def xor_model(hidden=4):
    rows = np.array([[0, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 0]])
    with pm.Model() as model:
        W = pm.Normal("W", 0, 10, shape=(3, hidden))
        pmr.RBM("v", W, pm.Normal("b", 0, 3, shape=3), pm.Normal("c", 0, 3, shape=hidden), observed=rows)
    return model


def diagnosed(model, *arguments, seed=1, **options):
    with model:
        learned = pmr.fit(*arguments, random_seed=seed, **MUTED, **options)
    return pmr.diagnose(learned, random_seed=1, **MUTED), learned


def paired_rows():
    """Three of five units go together in 300 rows."""
    rng = np.random.default_rng(1)
    rows = (rng.random((300, 5)) < 0.5).astype("int8")
    rows[:, 1:3] = rows[:, :1] ^ (rng.random((300, 2)) < 0.15)
    return rows


def paired_model(hidden=3):
    with pm.Model() as model:
        W = pm.Normal("W", 0, 1, shape=(5, hidden))
        pmr.RBM("v", W, pm.Flat("b", shape=5), pm.Flat("c", shape=hidden), observed=paired_rows())
    return model


@pytest.mark.slow
def test_a_converged_climb_has_finished():
    """Whatever particles did: the gradient was exact."""
    found, learned = diagnosed(paired_model(), 500, method="exact", optimizer="lbfgs")
    assert learned.attrs["converged"]
    assert found.learning == "finished", str(found)
    assert "particles" not in " ".join(found.reasons)
    assert float(found.measures["rise"]) < 1e-4


def test_few_hidden_units_are_no_lack_of_learning():
    """Two units cannot describe lines: the climb has finished, and the draws differ from the data."""
    with pm.Model():
        W = pm.Normal("W", 0, 3, shape=(9, 2))
        pmr.RBM("v", W, pm.Normal("b", 0, 3, shape=9), pm.Normal("c", 0, 3, shape=2), observed=LINES)
        learned = pmr.fit(500, method="exact", optimizer="lbfgs", random_seed=1, **MUTED)
        with pytest.warns(UserWarning, match="did not reach"):
            early = pmr.fit(3, method="exact", optimizer="lbfgs", random_seed=1, **MUTED)
    assert learning_of(learned)[0].verdict == "finished"
    assert learning_of(early)[0].verdict == "not finished"
    [reach] = judge_reach(["projection 1"], "finished")
    assert reach.verdict == "finished"
    assert "add hidden units" in reach.advice


@pytest.mark.filterwarnings("ignore:What was learned of 'v' is hardly better than independent units")
def test_a_climb_that_ends_at_the_saddle():
    """Of parity the pairs say nothing, and the prior makes W = 0 a maximum: other starts tell."""
    with xor_model():
        start = {"W": 0.01 * np.random.default_rng(1).standard_normal((3, 4))}
        learned = pmr.fit(30, method="exact", optimizer="lbfgs", start=start, random_seed=1, **MUTED)
    assert learned.attrs["converged"]
    [found] = learning_of(learned)
    assert found.verdict == "not finished"
    assert "no better than independent units" in found.reason


def test_weights_that_would_grow_for_ever():
    rows = [[0, 0, 1, 1], [1, 1, 0, 0]]
    with pm.Model():
        pmr.RBM("v", pm.Flat("W", shape=(4, 2)), pm.Flat("b", shape=4), pm.Flat("c", shape=2), observed=rows)
        with pytest.warns(UserWarning, match="did not reach"):
            learned = pmr.fit(12, method="exact", optimizer="lbfgs", random_seed=1, **MUTED)
    first, second, *_ = learning_of(learned)
    assert "may have no maximum" in second.reason
    assert "prior on W" in second.advice
    assert first.verdict == second.verdict


@pytest.mark.parametrize("by_draws", [False, True])
def test_a_run_that_has_learned_nothing(by_draws, monkeypatch):
    """Bars and stripes after 50 updates: independent units, whose chains mix best of all."""
    if by_draws:
        monkeypatch.setattr(finishing, "exact_log_z", lambda machine, factors: None)
    with pm.Model() as model:
        pmr.RBM("v", pm.Flat("W", shape=(9, 8)), pm.Flat("b", shape=9), pm.Flat("c", shape=8), observed=LINES)
    found, _ = diagnosed(model, 50, method="pcd")
    assert (found.chains, found.learning, found.verdict) == ("mixed", "not finished", "not finished")
    assert not found and not found.mixed
    assert "independent units" in " ".join(found.reasons)
    assert str(found).startswith("chains: mixed; learning: not finished")
    assert found.measures["rise"] > 0.1  # of log 2⁹ - log 14 = 3.6 nats that there are


@pytest.mark.slow
def test_a_run_that_has_finished():
    """By plain particles, with a prior that holds the weights."""
    found, _ = diagnosed(paired_model(), 3000, method="pcd", sweeps=2, learning_rate=0.3)
    assert (found.chains, found.learning) == ("mixed", "finished"), str(found)
    assert found
    early, _ = diagnosed(paired_model(), 4, method="pcd")
    assert (early.chains, early.learning) == ("mixed", "not finished"), str(early)


@pytest.mark.slow
@pytest.mark.parametrize(("epochs", "least"), [(50, 7.5), (2000, 0.4)])
def test_bars_and_stripes_that_chains_have_not_learned(epochs, least):
    """-11.09 and -3.86 nats, where -3.40 can be had: "mixed", and the gradient of 100 particles is noise."""
    data = pmr.datasets.bars_and_stripes(4).values
    with pm.Model() as model:
        pmr.RBM("v", pm.Flat("W", shape=(16, 16)), pm.Flat("b", shape=16), pm.Flat("c", shape=16), observed=data)
    found, learned = diagnosed(model, epochs, method="pcd")
    known = float(pmr.log_likelihood(data, model, learned, **MUTED)["mean_log_likelihood"]["mean"])
    assert (found.chains, found.learning, found.verdict) == ("mixed", "not finished", "not finished")
    assert least < float(found.measures["rise"]) < -np.log(30) - known + 1e-6
    assert float(found.measures["gradient_ratio"]) < 2


def test_where_nothing_can_be_measured():
    """Neither sums nor draws: a convincing rise of the pseudo-likelihood says no, else nobody can tell."""
    rng = np.random.default_rng(1)
    series = {"steady": rng.standard_normal(100), "rising": rng.standard_normal(100) + np.linspace(-30, 0, 100)}
    for kind, values in series.items():
        learned = xr.DataTree.from_dict({"learning": xr.Dataset({"v_pseudo_log_likelihood": ("epoch", values)})})
        rise, error = finishing._pseudo_trend(learned, "v")
        progress = finishing.Progress(None, 0.1, np.nan, np.nan, np.nan, np.nan, rise, error, True, True)
        [found] = judge_learning(progress, {})
        assert found.verdict == {"steady": "cannot tell", "rising": "not finished"}[kind]
        assert error > 0
    assert judge_learning(progress, {"converged": 1.0, "left_to_gain": 0.0})[0].verdict == "finished"


def test_a_prior_with_a_kink():
    """Laplace: the slope changes at zero, where many weights are. Climbed on, entries keep their signs."""
    rows = paired_rows()
    with pm.Model() as model:
        W = pm.Laplace("W", 0, 0.2, shape=(5, 3))
        pmr.RBM("v", W, pm.Flat("b", shape=5), pm.Flat("c", shape=3), observed=rows)
        start = {"W": np.random.default_rng(1).standard_normal((5, 3))}
        learned = pmr.fit(3, chains=5, method="pcd", start=start, random_seed=1, **MUTED)
    assert not learned["objective"]["v_is_quadratic"]
    machine = pmr.machine_of(learned).numeric()
    goal = goal_of(machine, rows, penalty=finishing._penalty(learned, "v", machine)[0])
    density = model.compile_logp(vars=[model["W"]], jacobian=False)
    start, (_, end, *_) = goal.packed(machine.parameters), climb(goal, goal.packed(machine.parameters), 1e-6)
    signs = np.sign(goal.machine_at(end).parameters[2]) * np.sign(machine.parameters[2])
    assert set(np.unique(signs)) == {0, 1}  # some end at zero, none beyond
    weights = [goal.machine_at(x).parameters[2] for x in (start, end)]
    known = [density(model.initial_point() | {"W": w}) / len(rows) for w in weights]
    found = [goal.penalty(goal.machine_at(x).parameters)[0] for x in (start, end)]
    np.testing.assert_allclose(found[1] - found[0], known[1] - known[0], rtol=1e-6)


def test_weights_that_are_functions_of_what_is_learned():
    """W and W times a scale have the same freedom here, but that is not known: early the verdict is open."""
    with pm.Model():
        W = pm.Deterministic("W", 0.5 * pm.Normal("half", 0, 10, shape=(5, 3)))
        pmr.RBM("v", W, pm.Flat("b", shape=5), pm.Flat("c", shape=3), observed=paired_rows())
        learned = pmr.fit(3, chains=5, method="pcd", random_seed=1, **MUTED)
    assert learned["objective"]["v_is_free"].values.tolist() == [1, 1, 2]
    learned.attrs |= {"converged": 0, "left_to_gain": 1.0}
    assert learning_of(learned)[0].verdict == "cannot tell"


def test_draws_have_no_learning():
    machine = machine_with(*EVERY["binary"])
    found = pmr.diagnose(pmr.sample_gibbs(machine, random_seed=1, **MUTED), random_seed=1, **MUTED)
    assert found.learning is None
    assert found.chains == found.verdict == found.summary
    assert bool(found) == found.mixed == (found.verdict == "mixed")


def test_a_step_off_a_saddle_may_be_too_far_for_half_of_the_draws(monkeypatch):
    """Then the next one is taken: 180 sites of DNA, three of four hidden units without weights, were "finished"."""
    machine = machine_with(*EVERY["binary"])
    goals = [goal_of(machine, rows_from(machine, 20)) for _ in range(2)]
    near, far = np.zeros(3), np.ones(3)
    found = {(0, 0): (0.5, 1e-4, 0.9), (0, 1): (1.2, 1e-3, 0.26), (1, 0): (0.4, 1e-4, 0.9), (1, 1): (1.2, 1e-3, 0.24)}
    monkeypatch.setattr(sampled_rise, "steps_by_pairs", lambda *_: [near, far])
    monkeypatch.setattr(sampled_rise, "gain_by_draws", lambda goal, x: found[int(goal is goals[1]), int(x.any())])
    move = sampled_rise._off_saddle(goals, np.zeros((2, 4)))
    assert move.gain == 0.4 and move.to is near
