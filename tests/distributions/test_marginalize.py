"""Models with the states of small machines summed out: densities against plain sums, draws, posteriors, refusals."""

import math

import arviz as az
import numpy as np
import pymc as pm
import pytensor.tensor as pt
import pytest
import reference as ref
from agreement import distances
from options import MASKED, SILENT
from scipy import stats

import pymc_rbm as pmr

pytestmark = pytest.mark.interpreted

B, C = np.array([0.1, 0.2, -0.3]), np.array([0.5, -1.0])
A = np.array([1.0, 2.0, 4.0])


def everything():
    """v in a mean and a scale, in an index, behind a variable between two others, in a count and in a Potential."""
    with pm.Model() as model:
        W = pm.Normal("W", 0, 1, shape=(3, 2))
        v = pmr.RBM("v", W, B, C)
        scale = pm.HalfNormal("scale")
        pm.Deterministic("total", v.sum())
        pm.Deterministic("double", 2 * scale)
        y = pm.Normal("y", v @ A, scale * (1 + v[0]), observed=[2.0, 3.5])
        x = pm.LogNormal("x", y.sum() * v[1], 1)
        between = pm.Normal("between", x)
        pm.Poisson("count", pt.exp(pt.as_tensor([0.1, 0.7])[v[2].astype("int64")] * between / 10))
        pm.Potential("tilt", v[0] * between / 3)
    return model


def log_normal(x, mean, sd):
    return -((x - mean) ** 2) / (2 * sd**2) - math.log(sd) - math.log(2 * math.pi) / 2


def everything_by_hand(point):
    """The log-density of `everything` on the transformed scale, v summed out by plain loops."""
    scale, x, between, count = (
        math.exp(point["scale_log__"]), math.exp(point["x_log__"]), float(point["between"]), int(point["count"]),
    )  # fmt: skip
    prior = sum(log_normal(w, 0, 1) for w in np.ravel(point["W"]))
    prior += log_normal(scale, 0, 1) + math.log(2) + math.log(scale) + log_normal(between, x, 1)
    terms = []
    for v, log_p in zip(ref.states(3), ref.log_p(point["W"], B, C), strict=True):
        mean = sum(a * vi for a, vi in zip(A, v, strict=True))
        log_p += sum(log_normal(y, mean, scale * (1 + v[0])) for y in (2.0, 3.5))
        log_p += log_normal(math.log(x), 5.5 * v[1], 1)  # the Jacobians of x and of its logarithm cancel
        rate = math.exp((0.1, 0.7)[v[2]] * between / 10)
        log_p += count * math.log(rate) - rate - math.lgamma(count + 1)
        terms.append(log_p + v[0] * between / 3)
    return prior + ref.log_sum(terms)


def some_point(seed=1):
    rng = np.random.default_rng(seed)
    return {
        "W": rng.normal(size=(3, 2)), "scale_log__": rng.normal(), "x_log__": rng.normal(), "between": rng.normal(),
        "count": np.int64(rng.poisson(2)),
    }  # fmt: skip


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_density_is_the_plain_sum(seed):
    model, point = pmr.marginalize(everything(), "v"), some_point(seed)
    assert {x.name for x in model.free_RVs} == {"W", "scale", "x", "between", "count"}
    assert [x.name for x in model.deterministics] == ["double"]
    assert model.compile_logp()(point) == pytest.approx(everything_by_hand(point), rel=1e-10)


def test_its_slopes_are_those_of_the_plain_sum():
    model, point = pmr.marginalize(everything(), ["v"]), some_point()
    slopes = dict(zip(("W", "scale_log__", "x_log__", "between"), [6, 1, 1, 1], strict=True))
    found = iter(model.compile_dlogp([model[x.removesuffix("_log__")] for x in slopes])(point))
    for name, size in slopes.items():
        for i in range(size):
            up, down = ({**point, name: np.array(point[name], dtype=float, copy=True)} for _ in range(2))
            up[name].flat[i] += 1e-5
            down[name].flat[i] -= 1e-5
            by_hand = (everything_by_hand(up) - everything_by_hand(down)) / 2e-5
            assert next(found) == pytest.approx(by_hand, abs=1e-6), name


def test_each_density_is_given_the_variables_before():
    """So is the log-likelihood that PyMC reports of what is observed; what is impossible stays so."""
    with pm.Model() as model:
        v = pmr.RBM("v", np.ones((3, 2)), B, C)
        x = pm.Normal("x", v @ A)
        pm.HalfNormal("positive", 1 + v[0], default_transform=None)
        pm.Normal("y", x + v[1], 1, observed=[0.5, 1.5])
    found = pmr.marginalize(model, ["v"])
    x, positive = -0.3, 0.8
    states, log_p = ref.states(3), ref.log_p(np.ones((3, 2)), B, C)
    of_x = [log_normal(x, float(A @ s), 1) for s in states]
    of_positive = [log_normal(positive, 0, 1 + s[0]) + math.log(2) for s in states]
    of_y = [sum(log_normal(y, x + s[1], 1) for y in (0.5, 1.5)) for s in states]
    without = ref.log_sum(np.add(log_p, of_x) + of_positive)
    posterior = az.from_dict({"posterior": {"x": np.array([[x]]), "positive": np.array([[positive]])}})
    reported = pm.compute_log_likelihood(posterior, model=found, extend_inferencedata=False, progressbar=False)
    by_hand = ref.log_sum(np.add(log_p, of_x) + of_positive + of_y) - without
    np.testing.assert_allclose(reported["y"].values, [[by_hand]], rtol=1e-9)
    assert found.compile_logp()({"x": x, "positive": positive}) == pytest.approx(without + by_hand, rel=1e-9)
    assert found.compile_logp()({"x": x, "positive": -1.0}) == -np.inf


@pytest.mark.compiled
def test_numba_finds_the_same_density():
    model, point = pmr.marginalize(everything(), ["v"]), some_point()
    assert model.compile_logp()(point) == pytest.approx(everything_by_hand(point), rel=1e-10)


def test_where_it_starts_the_density_is_finite():
    model = pmr.marginalize(everything(), ["v"])
    assert np.isfinite(model.compile_logp()(model.initial_point()))


def of_units(kind):
    """A machine of other units: its variable, states and log-probabilities by plain sums."""
    rng = np.random.default_rng(5)
    if kind == "general":
        U = np.triu(rng.normal(size=(3, 3)), 1)
        U, states = U + U.T, ref.states(3)
        energies = [B @ s + 0.5 * np.array(s) @ U @ s for s in states]
        return (lambda: pmr.BoltzmannMachine("v", U, B)), states, [e - ref.log_sum(energies) for e in energies]
    if kind == "log_z":  # what a user gives is taken, be it right or not
        W = rng.normal(size=(3, 2))
        log_p = [x + ref.log_z(W, B, C) - 1.25 for x in ref.log_p(W, B, C)]
        return (lambda: pmr.RBM("v", W, B, C, log_z=1.25)), ref.states(3), log_p
    if kind == "spins":
        W, states = rng.normal(size=(3, 2)), [tuple(2 * x - 1 for x in s) for s in ref.states(3)]
        hidden = [tuple(2 * x - 1 for x in s) for s in ref.states(2)]
        weights = [ref.log_sum([-ref.energy(v, h, W, B, C) for h in hidden]) for v in states]
        return (
            (lambda: pmr.RBM("v", W, B, C, visible=pmr.Spin(), hidden=pmr.Spin())), states,
            [w - ref.log_sum(weights) for w in weights],
        )  # fmt: skip
    W, states = rng.normal(size=(3, 2)), np.eye(3, dtype=int).tolist()  # one unit of three categories
    weights = [ref.log_sum([-ref.energy(v, h, W, B, C) for h in ref.states(2)]) for v in states]
    return (
        (lambda: pmr.RBM("v", W, B, C, visible=pmr.Categorical(3))), states,
        [w - ref.log_sum(weights) for w in weights],
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["general", "spins", "categories", "log_z"])
def test_other_machines(kind):
    machine, states, log_p = of_units(kind)
    with pm.Model() as model:
        pm.Normal("y", machine() @ A, 1, observed=1.5)
    found = pmr.marginalize(model, ["v"]).compile_logp()({})
    terms = [p + log_normal(1.5, float(np.dot(A, s)), 1) for s, p in zip(states, log_p, strict=True)]
    assert found == pytest.approx(ref.log_sum(terms), rel=1e-10)


def test_many_hidden_units_with_random_weights_need_no_log_z():
    """Sums go over the states of v alone, whatever the number of hidden units."""
    rng = np.random.default_rng(2)
    W, b, c, a = rng.normal(0, 0.3, (12, 40)), rng.normal(size=12), rng.normal(size=40), rng.normal(size=12)
    with pm.Model() as model:
        weights = pm.Normal("W", 0, 1, shape=(12, 40))
        pm.Normal("y", pmr.RBM("v", weights, b, c) @ a, 1, observed=0.5)
    v = np.array(ref.states(12))
    log_w = v @ b + np.log1p(np.exp(c + v @ W)).sum(1)
    terms = log_w - 0.5 * (0.5 - v @ a) ** 2 - 0.5 * np.log(2 * np.pi)
    by_hand = ref.log_sum(terms) - ref.log_sum(log_w) + stats.norm.logpdf(W).sum()
    assert pmr.marginalize(model, ["v"]).compile_logp()({"W": W}) == pytest.approx(by_hand, rel=1e-10)


def test_where_only_potentials_depend():
    """The first stands for all of them; where nothing depends, v leaves no trace."""
    rng = np.random.default_rng(3)
    W = rng.normal(size=(3, 2))
    with pm.Model(coords={"unit": range(3)}) as model:
        theta = pm.Normal("theta")
        v, u = pmr.RBM("v", W, B, C), pmr.RBM("u", W, B, C)
        pm.Potential("first", v * theta**2, dims="unit")
        pm.Potential("second", v[0] * theta)
        pm.Potential("third", 2 * theta)
        assert u.name == "u"
    found = pmr.marginalize(model, ["v", "u"])
    assert {x.name for x in found.potentials} == {"first", "third"}
    terms = [p + s[0] * 0.7 + sum(s) * 0.49 for s, p in zip(ref.states(3), ref.log_p(W, B, C), strict=True)]
    by_hand = ref.log_sum(terms) + 1.4 + log_normal(0.7, 0, 1)
    assert found.compile_logp()({"theta": 0.7}) == pytest.approx(by_hand, rel=1e-10)


def test_two_machines_one_below_the_other():
    """A machine whose biases depend on another one keeps log Z of each of that one's states."""
    rng = np.random.default_rng(4)
    W, w = rng.normal(size=(3, 2)), rng.normal(size=(2, 2))
    with pm.Model() as model:
        v = pmr.RBM("v", W, B, C)
        u = pmr.RBM("u", w, v[:2] * 1.5, C)
    found = pmr.marginalize(model, ["v"]).compile_logp()({u.name: np.array([1, 0], dtype="int8")})
    pairs = zip(ref.states(3), ref.log_p(W, B, C), strict=True)
    terms = [p + ref.log_p(w, 1.5 * np.array(s[:2]), C)[ref.states(2).index((1, 0))] for s, p in pairs]
    assert found == pytest.approx(ref.log_sum(terms), rel=1e-10)
    alone = pmr.marginalize(model, ["u", "v"])
    assert not alone.free_RVs


def test_what_depends_on_two_machines_can_lose_one():
    with pm.Model() as model:
        v, u = pmr.RBM("v", np.ones((2, 2)), np.zeros(2), C), pmr.RBM("u", np.ones((2, 2)), np.zeros(2), C)
        pm.Normal("y", v.sum() + u.sum(), observed=1.0)
    with pytest.raises(ValueError, match="y depends on u, and variables that depend on a machine which was summed"):
        pmr.marginalize(model, ["v", "u"])


def test_predictive_draws_are_draws_of_states_first():
    """y tells the state that it came from: their frequencies are p(v), and those of another machine are caught."""
    W = np.array([[1.5, -1.0], [0.5, 2.0], [-2.0, 1.0]])
    with pm.Model() as model:
        v = pmr.RBM("v", W, B, C)
        y = pm.Normal("y", v @ A, 0.01)
        pm.Normal("seen", y + 10 * v[0], 0.01, observed=np.zeros(3))
    found = pmr.marginalize(model, ["v"])
    draws = pm.sample_prior_predictive(2000, model=found, random_seed=1)
    totals = np.rint(draws["prior"]["y"].values.ravel()).astype(int)
    codes = [int(np.dot(A, s)) for s in ref.states(3)]
    counts = [(totals == code).sum() for code in codes]
    assert sum(counts) == 2000
    assert stats.chisquare(counts, 2000 * np.exp(ref.log_p(W, B, C))).pvalue > 1e-4
    assert stats.chisquare(counts, 2000 * np.exp(ref.log_p(W / 2, B, C))).pvalue < 1e-6
    seen = draws["prior_predictive"]["seen"].values.reshape(2000, 3)
    np.testing.assert_allclose(seen, np.repeat((totals + 10 * (totals % 2))[:, None], 3, 1), atol=0.1)
    posterior = az.from_dict({"posterior": {"y": np.zeros((1, 5))}})
    again = pm.sample_posterior_predictive(posterior, model=found, random_seed=1, progressbar=False)
    assert again["posterior_predictive"]["seen"].shape == (1, 5, 3)


REFUSED = {
    "not a machine": ("names", lambda v: None, r"no machine with the name 'names'; its machines are \['v'\]"),
    "not a text": (3, lambda v: None, "names must be names of machines"),
    "hidden units": ("v", lambda v: pmr.Hidden("h", v), "h depends on v, and hidden units"),
    "bounds": ("v", lambda v: pm.Uniform("x", 0, 1 + v[0]), "x depends on v and is sampled between bounds"),
    "masked": (
        "v",
        lambda v: pm.MvNormal("y", v, np.eye(3), observed=np.ma.masked_array(np.zeros(3), [0, 0, 1])),
        "y_.*observed depends on v, and variables with missing entries",
    ),
    "minibatches": (
        "v", lambda v: pm.Normal("y", v.sum(), observed=np.zeros(2), total_size=10), "y depends on v, and minibatches",
    ),
}  # fmt: skip


@MASKED
@pytest.mark.parametrize("case", REFUSED)
def test_what_would_be_wrong_is_refused(case):
    name, add, message = REFUSED[case]
    with pm.Model() as model:
        add(pmr.RBM("v", np.ones((3, 2)), B, C))
    with pytest.raises(TypeError if name == 3 else ValueError, match=message):
        pmr.marginalize(model, [name])


SIZES = {
    "rows": ({"W": np.ones((3, 2)), "shape": (5, 3)}, "v has 2 axes.*A single row is needed"),
    "observed": ({"W": np.ones((3, 2)), "observed": np.ones(3, "int8")}, "v is observed, but only free variables"),
    "masked": ({"W": np.ones((3, 2)), "observed": np.ma.masked_array(np.ones(3, "int8"), [0, 0, 1])}, "v is .*masked"),
    "large": ({"W": np.ones((13, 2))}, r"v has 8.19e\+3 states, and at most 4096"),
    "real": ({"W": np.ones((3, 2)) / 9, "visible": pmr.Gaussian(1.0)}, "v has Infinity states"),
}


@MASKED
@pytest.mark.parametrize("case", SIZES)
def test_variables_that_cannot_be_summed_out_are_refused(case):
    options, message = SIZES[case]
    W = options["W"]
    with pm.Model() as model:
        pmr.RBM("v", W, np.zeros(len(W)), C, **{k: x for k, x in options.items() if k != "W"})
    with pytest.raises(ValueError, match=message):
        pmr.marginalize(model, ["v"])


def test_other_things_than_models_are_refused():
    with pytest.raises(TypeError, match=r"takes a PyMC model first.*marginalize\(model, \['v'\]\)"):
        pmr.marginalize(pmr.restricted(np.ones((3, 2)), B, C), ["v"])
    model = pmr.marginalize(everything(), ["v"])
    with pytest.raises(NotImplementedError, match=r"4 variables depend on the states.*1 of them have values"):
        pm.logp(model["x"], 1.0)


@pytest.mark.slow
@pytest.mark.compiled
def test_nuts_without_the_states_agrees_with_block_gibbs_beside_nuts():
    """Means of everything that is left, within Monte Carlo error; another machine is caught."""
    rng = np.random.default_rng(7)
    W, x = rng.normal(0, 2, (4, 2)), np.array([1.0, -2.0, 0.5, 1.5])
    seen = rng.normal(1, 1.5, 4)

    def model(weights):
        with pm.Model() as made:
            bias, slope = pm.Normal("bias", 0, 1), pm.Normal("slope", 1, 0.3)
            v = pmr.RBM("v", weights, np.ones(4) * bias, C)
            pm.Normal("y", slope * (v @ x), pm.LogNormal("scale", 0.5, 0.3), observed=seen)
        return made

    def sampled(of, draws):
        with of:
            return pm.sample(draws, tune=1000, chains=2, cores=1, target_accept=0.95, random_seed=1, **SILENT)

    names = ["bias", "slope", "scale"]
    states = sampled(model(W), 5000)
    assert distances(sampled(pmr.marginalize(model(W), ["v"]), 2000), states, names).max() < 4
    assert distances(sampled(pmr.marginalize(model(-W), ["v"]), 2000), states, names).max() > 5
