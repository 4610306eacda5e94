"""BlockGibbs: exact transition matrices, stationarity with exact starts, and what broken kernels look like."""

import signal

import arviz as az
import cloudpickle
import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
import pytest
import reference as ref
from exact_transition import transition_matrix
from options import MASKED, SILENT
from pymc.step_methods import STEP_METHODS

import pymc_rbm as pmr
from pymc_rbm.distributions.lookup import dependants
from pymc_rbm.step_methods.block_gibbs import BlockGibbs, register
from pymc_rbm.step_methods.transition import transition_graph

pytestmark = [pytest.mark.interpreted, MASKED]

W, B, C = ref.machine(4, 3, seed=21)
STATES = np.array(ref.states(4), dtype="int8")
ROWS = 40_000
FLOORS = 4
STRONG = 2 * W
"""Weights that make the missing units depend on the observed ones."""
MASK = np.array([True, False, True, False])
"""True where the unit is missing."""


def masked(rows, mask):
    """A masked array."""
    return np.ma.MaskedArray(rows, np.broadcast_to(mask, np.shape(rows)))


# --------------------------------------------------------------------------------- exact transition matrices


def matrix_of(parameters, with_hidden=False):
    """The transition matrix of BlockGibbs."""

    def build(n):
        with pm.Model() as model:
            rvs = [pmr.RBM("v", *parameters, size=n)]
            if with_hidden:
                rvs.append(pmr.Hidden("h", *rvs))
        _, (_, *ends), *_ = transition_graph(model, rvs, 1)
        return [model.rvs_to_values[rv] for rv in rvs], ends[: len(rvs)]

    return transition_matrix(build, np.shape(parameters[0])[: 1 + with_hidden])[0]


@pytest.mark.parametrize("scale", [1.0, 4.0])
def test_transition_matrix_of_v(scale):
    parameters = ref.machine(3, 2, scale=scale, seed=2)
    matrix = matrix_of(parameters)
    p = np.exp(ref.log_p(*parameters))
    np.testing.assert_allclose(matrix.sum(1), 1, atol=1e-10)
    np.testing.assert_allclose(p @ matrix, p, atol=1e-10)
    # v -> h -> v' is reversible with respect to p(v).
    flow = p[:, None] * matrix
    np.testing.assert_allclose(flow, flow.T, atol=1e-10)
    # And it is the product of the conditionals, by loops.
    joint = ref.joint(*parameters)
    expected = (joint / joint.sum(1, keepdims=True)) @ (joint / joint.sum(0)).T
    np.testing.assert_allclose(matrix, expected, atol=1e-10)


def test_transition_matrix_of_v_and_h():
    parameters = ref.machine(3, 2, seed=2)
    p = ref.joint(*parameters).ravel()
    matrix = matrix_of(parameters, with_hidden=True)
    np.testing.assert_allclose(matrix.sum(1), 1, atol=1e-10)
    np.testing.assert_allclose(p @ matrix, p, atol=1e-10)


def test_transition_matrix_shows_a_broken_kernel(monkeypatch):
    parameters = ref.machine(3, 2, seed=2)
    monkeypatch.setattr("pymc_rbm.machine.machine.Machine.field", broken_field("no bias"))
    matrix = matrix_of(parameters)
    p = np.exp(ref.log_p(*parameters))
    assert np.abs(p @ matrix - p).max() > 1e-2


# ---------------------------------------------------------------------------------------------- stationarity


def broken_field(how):
    """A wrong `Machine.field`."""
    right = pmr.Machine.field

    def field(self, layer, state):
        value = right(self, layer, state)
        if how == "half":
            return 0.5 * value
        return value - pt.as_tensor(self.layers[layer].bias)

    return field


class Sampled:
    """A model, exact draws of its sampled variables, the exact distribution, and how to read the draws."""

    def __init__(self, build, start, p, read=None, fixed=None):
        self.build, self.start, self.p = build, start, np.asarray(p)
        self.read = read or (lambda point: ref.index(point["v"]))
        self.fixed = fixed or {}

    def errors(self, sweeps=(1, 4, 16)):
        """Total variation after each number of sweeps from exact starts, in units of its Monte Carlo floor."""
        with self.build() as model:
            out = []
            for n in sweeps:
                step = BlockGibbs(sweeps=n, rng=3, model=model)
                start = self.start(np.random.default_rng(4))
                point, _ = step.step({**model.initial_point(), **self.fixed, **start})
                counts = np.bincount(self.read(point), minlength=len(self.p))
                out.append(ref.total_variation(counts, self.p) / ref.total_variation_floor(self.p, ROWS))
        return np.array(out)


def draw_states(p, n):
    """A function that draws rows exactly."""
    states = np.array(ref.states(n), dtype="int8")
    return lambda rng: states[rng.choice(len(states), size=ROWS, p=p)]


def free():
    p = np.exp(ref.log_p(W, B, C))

    def build():
        with pm.Model() as model:
            pmr.RBM("v", W, B, C, size=ROWS)
        return model

    rows = draw_states(p, 4)
    return Sampled(build, lambda rng: {"v": rows(rng)}, p)


def missing():
    """Units 1 and 3 observed as (0, 1) in every row; the others sampled."""
    data = np.tile(np.array([0, 0, 0, 1]), (ROWS, 1))
    p = np.exp(ref.log_p(STRONG, B, C))
    kept = [i for i, s in enumerate(ref.states(4)) if s[1] == 0 and s[3] == 1]
    p = p[kept] / p[kept].sum()

    def build():
        with pm.Model() as model:
            pmr.RBM("v", STRONG, B, C, observed=masked(data, MASK))
        return model

    rows = draw_states(p, 2)
    return Sampled(
        build,
        lambda rng: {"v_unobserved": rows(rng).ravel()},
        p,
        lambda point: ref.index(point["v_unobserved"].reshape(-1, 2)),
    )


def with_hidden():
    joint = ref.joint(W, B, C).ravel()

    def build():
        with pm.Model() as model:
            pmr.Hidden("h", pmr.RBM("v", W, B, C, size=ROWS))
        return model

    rows = draw_states(joint, 7)

    def start(rng):
        both = rows(rng)
        return {"v": both[:, :4], "h": both[:, 4:]}

    return Sampled(build, start, joint, lambda point: ref.index(np.concatenate([point["v"], point["h"]], axis=1)))


def masked_with_hidden():
    data = np.tile(np.array([0, 0, 0, 1]), (ROWS, 1))
    joint = ref.joint(STRONG, B, C)
    kept = [i for i, s in enumerate(ref.states(4)) if s[1] == 0 and s[3] == 1]
    p = joint[kept].ravel() / joint[kept].sum()

    def build():
        with pm.Model() as model:
            pmr.Hidden("h", pmr.RBM("v", STRONG, B, C, observed=masked(data, MASK)))
        return model

    rows = draw_states(p, 5)

    def start(rng):
        both = rows(rng)
        return {"v_unobserved": both[:, :2].ravel(), "h": both[:, 2:]}

    def read(point):
        return ref.index(np.concatenate([point["v_unobserved"].reshape(-1, 2), point["h"]], axis=1))

    return Sampled(build, start, p, read)


def two_machines():
    other = ref.machine(3, 2, seed=22)
    p = np.outer(np.exp(ref.log_p(W, B, C)), np.exp(ref.log_p(*other))).ravel()

    def build():
        with pm.Model() as model:
            pmr.RBM("u", *other, size=ROWS)
            pmr.RBM("v", W, B, C, size=ROWS)
        return model

    rows = draw_states(p, 7)

    def start(rng):
        both = rows(rng)
        return {"v": both[:, :4], "u": both[:, 4:]}

    return Sampled(build, start, p, lambda point: ref.index(np.concatenate([point["v"], point["u"]], axis=1)))


def random_weights():
    scale = 2.5
    p = np.exp(ref.log_p(scale * W, B, C))

    def build():
        with pm.Model() as model:
            pmr.RBM("v", pm.HalfNormal("scale") * W, B, C, size=ROWS)
        return model

    rows = draw_states(p, 4)
    return Sampled(build, lambda rng: {"v": rows(rng)}, p, fixed={"scale_log__": np.array(np.log(scale))})


def hidden_observed():
    joint = ref.joint(W, B, C)
    given = 5
    p = joint[:, given] / joint[:, given].sum()

    def build():
        with pm.Model() as model:
            v = pmr.RBM("v", pm.Data("W", W), B, C, size=ROWS)
            pmr.Hidden("h", v, observed=np.tile(ref.states(3)[given], (ROWS, 1)))
        return model

    rows = draw_states(p, 4)
    return Sampled(build, lambda rng: {"v": rows(rng)}, p)


def hidden_of_observed():
    joint = ref.joint(W, B, C)
    given = 6
    p = joint[given] / joint[given].sum()

    def build():
        with pm.Model() as model:
            pmr.Hidden("h", pmr.RBM("v", W, B, C, observed=np.tile(ref.states(4)[given], (ROWS, 1))))
        return model

    rows = draw_states(p, 3)
    return Sampled(build, lambda rng: {"h": rows(rng)}, p, lambda point: ref.index(point["h"]))


CASES = [
    free,
    missing,
    with_hidden,
    masked_with_hidden,
    two_machines,
    random_weights,
    hidden_observed,
    hidden_of_observed,
]


# On both back ends where a machine is given by numbers (whose sweeps are kernels) and where weights are random.
COMPILED = [
    pytest.param(case, marks=pytest.mark.compiled, id=f"{case.__name__}, compiled") for case in (free, random_weights)
]


@pytest.mark.parametrize("case", CASES + COMPILED, ids=lambda case: case.__name__)
def test_stationarity(case):
    errors = case().errors()
    assert (errors < FLOORS).all(), errors


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
@pytest.mark.parametrize("how", ["half", "no bias"])
def test_stationarity_shows_a_broken_field(monkeypatch, case, how):
    monkeypatch.setattr("pymc_rbm.machine.machine.Machine.field", broken_field(how))
    monkeypatch.setattr("pymc_rbm.sampling.sweep.is_binary_pair", lambda machine: False)  # kernels do not ask it
    assert (case().errors((1, 4)) > 2 * FLOORS).all()


@pytest.mark.parametrize("case", [missing, masked_with_hidden], ids=lambda case: case.__name__)
def test_stationarity_shows_a_mask_that_is_ignored(monkeypatch, case):
    from pymc_rbm.step_methods import transition as transitions

    right = transitions.run_sweeps
    monkeypatch.setattr(
        transitions, "run_sweeps", lambda machine, state, rng, n, clamped: right(machine, state, rng, n, None)
    )
    assert case().errors((4, 16)).min() > 2 * FLOORS


def test_stationarity_shows_a_stale_hidden_state(monkeypatch):
    """Hidden units drawn given the visible state from before the sweeps."""
    from pymc_rbm.step_methods import transition as transitions

    monkeypatch.setattr(transitions, "_updated", lambda block, new: block)
    assert with_hidden().errors((1, 4)).min() > 2 * FLOORS


def test_stationarity_shows_exchanged_machines(monkeypatch):
    """Both RBMs sampled with a machine of swapped visible bias."""
    from pymc_rbm.step_methods import blocks

    right = blocks.machine_of_rv

    def flipped(rv):
        machine = right(rv)
        b, c, weights = machine.parameters
        return machine.with_parameters([b[::-1], c, weights])

    monkeypatch.setattr(blocks, "machine_of_rv", flipped)
    assert two_machines().errors((1, 4)).min() > 2 * FLOORS


def test_stationarity_shows_frozen_weights(monkeypatch):
    """The prior mean of the scale in place of its current value."""
    case = random_weights()
    case.fixed = {"scale_log__": np.array(0.0)}
    assert case.errors((1, 4)).min() > 2 * FLOORS


# ------------------------------------------------------------------------------------------------- pm.sample


def test_pm_sample_picks_the_step_for_its_variables_only():
    with pm.Model() as model:
        weights = pm.Normal("W", shape=(4, 3))
        v = pmr.RBM("v", weights, B, C)
        h = pmr.Hidden("h", v)
        coin = pm.Bernoulli("coin", 0.5)
        pmr.RBM("m", W, B, C, observed=masked(STATES[:2], MASK))
        whole = np.zeros((2, 4), bool)
        whole[1] = True
        pmr.RBM("w", W, B, C, observed=masked(STATES[:2], whole))
    from pymc.sampling.mcmc import assign_step_methods

    _, selected = assign_step_methods(model)
    names = {method.__name__: {x.name for x in values} for method, values in selected.items()}
    assert names["BlockGibbs"] == {"v", "h", "m_unobserved", "w_unobserved"}
    assert names["NUTS"] == {"W"}
    assert names["BinaryGibbsMetropolis"] == {"coin"}
    assert BlockGibbs.competence(coin) == 0
    assert BlockGibbs.competence(weights, True) == 0
    assert BlockGibbs.competence(v) == BlockGibbs.competence(h) == 3
    before = list(STEP_METHODS)
    register()
    assert before == STEP_METHODS


@pytest.mark.compiled
def test_pm_sample_frequencies():
    with pm.Model():
        pmr.Hidden("h", pmr.RBM("v", W, B, C))
        idata = pm.sample(4000, tune=50, chains=4, cores=1, random_seed=1, block_gibbs={"sweeps": 4}, **SILENT)
    both = np.concatenate([idata.posterior[x].values.reshape(16_000, -1) for x in "vh"], axis=1)
    joint = ref.joint(W, B, C).ravel()
    counts = np.bincount(ref.index(both), minlength=len(joint))
    assert idata.posterior["v"].dtype == np.int8
    # Draws four sweeps apart are all but independent here; R-hat and ESS below say so.
    assert ref.total_variation(counts, joint) < 4 * ref.total_variation_floor(joint, 16_000)


def test_statistics_and_start():
    with pm.Model():
        pmr.RBM("v", W, B, C)
        idata = pm.sample(50, tune=0, chains=6, cores=1, random_seed=1, block_gibbs={"sweeps": 3}, **SILENT)
    stats = idata.sample_stats
    assert {"free_energy", "flipped", "visible_mean", "hidden_mean", "sweeps"} <= set(stats)
    assert stats["sweeps"].dtype == np.int64
    assert (stats["sweeps"] == 3).all()
    assert "energy" not in stats
    v = idata.posterior["v"].values
    np.testing.assert_allclose(stats["free_energy"], pmr.free_energy(v, W, B, C), rtol=1e-10)
    np.testing.assert_allclose(stats["visible_mean"], v.mean(-1))
    np.testing.assert_allclose(stats["hidden_mean"], pmr.conditional_hidden(v, W, C).mean(-1), rtol=1e-10)
    np.testing.assert_allclose(stats["flipped"][:, 1:], (v[:, 1:] != v[:, :-1]).mean(-1))


def test_chains_start_apart():
    """A Curie-Weiss machine that never leaves its mode: dispersed starts must put chains in both."""
    n, w = 20, 2.0
    with pm.Model():
        pmr.RBM("v", np.full((n, n), w), np.full(n, -n * w / 2), np.full(n, -n * w / 2))
        idata = pm.sample(20, tune=0, chains=12, cores=1, random_seed=1, **SILENT)
    level = idata.posterior["v"].values[:, -1].mean(-1)
    assert set(np.round(level)) == {0.0, 1.0}


@pytest.mark.slow
def test_same_draws_on_any_number_of_cores():
    def sample(cores, **kwargs):
        with pm.Model():
            scale = pm.HalfNormal("scale")
            pmr.Hidden("h", pmr.RBM("v", scale * W, B, C, observed=masked(STATES[3:7], MASK)))
            return pm.sample(20, tune=20, chains=3, cores=cores, random_seed=5, **SILENT, **kwargs).posterior

    first = sample(1)
    for other in (sample(3), sample(2, mp_ctx="spawn")):
        for name in ("scale", "v", "h", "v_unobserved"):
            np.testing.assert_array_equal(first[name], other[name])
    assert (first["h"][0] != first["h"][1]).any()


def test_state_is_saved_and_restored():
    with pm.Model() as model:
        pmr.RBM("v", W, B, C)
        step = BlockGibbs(rng=1)
    point = model.initial_point(random_seed=1)
    for _ in range(3):
        point, _ = step.step(point)
    state = cloudpickle.loads(cloudpickle.dumps(step.sampling_state))
    later = [step.step(point)[0]["v"] for _ in range(5)]
    step.sampling_state = state
    again = [step.step(point)[0]["v"] for _ in range(5)]
    np.testing.assert_array_equal(later, again)
    step.setup_chain(np.random.default_rng(9), 0, 10)
    first = [step.step(point)[0]["v"] for _ in range(5)]
    copy = cloudpickle.loads(cloudpickle.dumps(step))
    step.setup_chain(np.random.default_rng(9), 0, 10)
    copy.setup_chain(np.random.default_rng(9), 0, 10)
    np.testing.assert_array_equal(first, [step.step(point)[0]["v"] for _ in range(5)])
    np.testing.assert_array_equal(first, [copy.step(point)[0]["v"] for _ in range(5)])


@pytest.mark.compiled
@pytest.mark.parametrize("floatX", ["float32", "float64"])
def test_sampling_in_both_precisions(floatX):
    with pytensor.config.change_flags(floatX=floatX), pm.Model():
        pmr.Hidden("h", pmr.RBM("v", W, B, C))
        idata = pm.sample(10, tune=0, chains=2, cores=1, random_seed=1, **SILENT)
    assert idata.posterior["h"].shape == (2, 10, 3)


def test_interrupt_keeps_the_draws():
    with pm.Model():
        pmr.RBM("v", np.zeros((200, 200)), np.zeros(200), np.zeros(200))

        def interrupt(trace, draw):
            if draw.draw_idx == 50:
                signal.raise_signal(signal.SIGINT)

        idata = pm.sample(10_000, tune=0, chains=1, cores=1, random_seed=1, callback=interrupt, **SILENT)
    assert 0 < idata.posterior.sizes["draw"] < 10_000


def test_progress_bar(capfd):
    with pm.Model():
        pmr.RBM("v", W, B, C)
        pm.sample(10, tune=0, chains=2, cores=1, random_seed=1, compute_convergence_checks=False)
    shown = capfd.readouterr().out
    assert "Free" in shown
    assert "10" in shown


# ---------------------------------------------------------------------------------------------------- errors


def test_dependants_are_found():
    with pm.Model() as model:
        v = pmr.RBM("v", W, B, C)
        pmr.Hidden("h", v)
        pm.Deterministic("d", v.mean())
        pm.Normal("x")
    assert [x.name for x in dependants(model, model["v"])] == ["h"]


def test_other_refusals():
    with pm.Model() as model:
        v = pmr.RBM("v", W, B, C)
        pmr.Hidden("h", v)
        x = pm.Normal("x")
        with pytest.raises(ValueError, match=r"add \['h'\] to the vars"):
            BlockGibbs([v])
        with pytest.raises(ValueError, match="x is neither"):
            BlockGibbs([x])
        with pytest.raises(ValueError, match="sweeps must be a whole number of at least 1, got -1"):
            BlockGibbs(sweeps=-1)
    assert model is not None


# ----------------------------------------------------------------------------------------------- beside NUTS


@pytest.mark.slow
def test_hierarchical_scale_under_nuts_matches_a_grid():
    """Posterior of a scale of the weights, exact log Z, v observed: NUTS against brute force on a grid."""
    pattern = ref.machine(4, 3, seed=30)[0]
    rng = np.random.default_rng(31)
    truth = np.exp(ref.log_p(1.5 * pattern, B, C))
    rows = np.array(ref.states(4))[rng.choice(16, size=60, p=truth / truth.sum())]
    with pm.Model():
        scale = pm.HalfNormal("scale", 2)
        pmr.RBM("v", scale * pattern, B, C, observed=rows)
        idata = pm.sample(1000, tune=500, chains=4, cores=2, random_seed=1, target_accept=0.9, **SILENT)

    grid = np.linspace(1e-3, 8, 800)
    counts = np.bincount(ref.index(rows), minlength=16)
    log_post = np.array([-(s**2) / 8 + counts @ np.array(ref.log_p(s * pattern, B, C)) for s in grid])
    weight = np.exp(log_post - log_post.max())
    weight /= weight.sum()
    mean = weight @ grid
    sd = np.sqrt(weight @ (grid - mean) ** 2)
    draws = idata.posterior["scale"]
    ess = float(az.ess(draws))
    assert abs(float(draws.mean()) - mean) < 5 * sd / np.sqrt(ess)
    assert abs(float(draws.std()) / sd - 1) < 5 / np.sqrt(2 * ess)


@pytest.mark.slow
def test_compound_step_with_missing_units_matches_a_grid():
    """Scale and missing units together: the marginal posterior of the scale sums the missing units out."""
    pattern = ref.machine(4, 3, seed=30)[0]
    rng = np.random.default_rng(32)
    truth = np.exp(ref.log_p(1.5 * pattern, B, C))
    rows = np.array(ref.states(4))[rng.choice(16, size=30, p=truth / truth.sum())]
    with pm.Model():
        scale = pm.HalfNormal("scale", 2)
        pmr.RBM("v", scale * pattern, B, C, observed=masked(rows, MASK))
        idata = pm.sample(
            2000, tune=1000, chains=4, cores=2, random_seed=1, block_gibbs={"sweeps": 4}, target_accept=0.9, **SILENT
        )
    grid = np.linspace(1e-3, 10, 600)
    pairs = rows[:, ~MASK]

    def log_likelihood(s):
        p = np.exp(ref.log_p(s * pattern, B, C))
        marginal = {}
        for state, probability in zip(ref.states(4), p, strict=True):
            key = (state[1], state[3])
            marginal[key] = marginal.get(key, 0) + probability
        return sum(np.log(marginal[tuple(pair)]) for pair in pairs.tolist())

    log_post = np.array([-(s**2) / 8 + log_likelihood(s) for s in grid])
    weight = np.exp(log_post - log_post.max())
    weight /= weight.sum()
    mean = weight @ grid
    sd = np.sqrt(weight @ (grid - mean) ** 2)
    draws = idata.posterior["scale"]
    assert abs(float(draws.mean()) - mean) < 5 * sd / np.sqrt(float(az.ess(draws)))
