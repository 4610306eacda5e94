"""log Z of large machines with constant parameters: there where it matters, and nowhere estimated where it does not."""

import time
import warnings
from itertools import pairwise

import arviz as az
import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
import pytest
import reference as ref
import xarray as xr
from scipy.special import logsumexp

import pymc_rbm as pmr
from pymc_rbm.distributions import constant_log_z
from pymc_rbm.distributions.constant_log_z import constant_log_partition
from pymc_rbm.distributions.pymc_internals import ifelse
from pymc_rbm.machine.separate import separate
from pymc_rbm.partition.estimate import LogPartitionEstimate

pytestmark = pytest.mark.interpreted

N = 22  # more units on either side than are enumerated quickly
UNIFORM = np.zeros((N, N)), np.zeros(N), np.zeros(N)
ALSO_UNIFORM = np.zeros((N, N)), np.zeros(N), np.full(N, 5.0)  # hidden units that are nearly always on
LOG_P = -N * np.log(2)
ROWS = np.random.default_rng(0).integers(0, 2, (10, N)).astype("int8")


@pytest.fixture
def estimates(monkeypatch):
    """Machines of which log Z is asked for, nothing remembered from other tests."""
    asked, found = [], constant_log_z.log_partition
    monkeypatch.setattr(constant_log_z, "_known", type(constant_log_z._known)())
    monkeypatch.setattr(constant_log_z, "log_partition", lambda x, **kwargs: asked.append(x) or found(x, **kwargs))
    return asked


def weight_posterior(components, rows):
    """The posterior mean of the first component's weight, uniform before, by quadrature."""
    with pm.Model() as model:
        w = pm.Uniform("w", default_transform=None)
        pm.Mixture("x", w=pt.stack([w, 1 - w]), comp_dists=components, observed=rows)
    log_p, grid = model.compile_logp(), np.linspace(0.0005, 0.9995, 1000)
    values = np.array([log_p({"w": x}) for x in grid])
    p = np.exp(values - values.max())
    return (p * grid).sum() / p.sum()


# -------------------------------------------------------------------------------------- where it matters


def test_two_machines_that_are_both_uniform_weigh_the_same():
    components = [pmr.RBM.dist(*UNIFORM), pmr.RBM.dist(*ALSO_UNIFORM)]
    assert weight_posterior(components, ROWS) == pytest.approx(0.5, abs=1e-6)
    stacked = pmr.RBM.dist(*(np.stack(x) for x in zip(UNIFORM, ALSO_UNIFORM, strict=True)))  # one batch of two
    assert weight_posterior(stacked, ROWS) == pytest.approx(0.5, abs=1e-6)


@pytest.mark.slow
def test_the_posterior_weight_that_is_drawn():
    rows = np.random.default_rng(1).integers(0, 2, (50, 20)).astype("int8")
    with pm.Model():
        w = pm.Beta("w", 1, 1)
        parts = [pmr.RBM.dist(np.zeros((20, 20)), np.zeros(20), np.full(20, c)) for c in (0.0, 5.0)]
        pm.Mixture("x", w=pt.stack([w, 1 - w]), comp_dists=parts, observed=rows)
        drawn = pm.sample(500, tune=500, chains=2, cores=1, random_seed=1, progressbar=False)["posterior"]["w"]
    # Both say the same of every row: the posterior is the prior, of variance 1/12.
    error = np.sqrt(1 / 12 / float(az.ess(drawn)))
    assert abs(float(drawn.mean()) - 0.5) < 4 * error < 0.1


@pytest.mark.slow
@pytest.mark.compiled
def test_an_estimate_is_made_once_and_is_right(estimates):
    parameters, log_z = ref.curie_weiss(N, 0.1), ref.curie_weiss_log_z(N, 0.1)
    x = np.ones(N, dtype="int8")
    expected = pmr.free_energy(x, *parameters)
    for _ in range(2):
        found = float(pm.logp(pmr.RBM.dist(*parameters), x).eval())
    assert len(estimates) == 1
    [estimate] = constant_log_z._known.values()
    assert estimate.method == "compare"
    assert 0 < estimate.standard_error < 0.06
    assert found == pytest.approx(-expected - estimate.estimate, abs=1e-9)
    assert abs(found + expected + log_z) < 4 * estimate.standard_error
    again = pmr.log_partition(pmr.restricted(*parameters), random_seed=0, progressbar=False)
    assert again.estimate == estimate.estimate  # as the docstring says


@pytest.mark.parametrize("mode", ["py", "numba"])
def test_shared_data_may_change(mode):
    mode = pytensor.config.mode if mode == "py" else "NUMBA"
    with pm.Model() as model:
        c = pm.Data("c", ALSO_UNIFORM[2])
        pm.Potential("p", pm.logp(pmr.RBM.dist(*UNIFORM[:2], c), ROWS).sum())
    log_p = model.compile_fn(model.logp(), point_fn=False, mode=mode)
    assert log_p() == pytest.approx(10 * LOG_P, abs=1e-8)
    with model:
        pm.set_data({"c": np.linspace(-3, 3, N)})
    assert log_p() == pytest.approx(10 * LOG_P, abs=1e-8)


def test_switches_and_potentials():
    one, other = pmr.RBM.dist(*UNIFORM), pmr.RBM.dist(*ALSO_UNIFORM)
    with pm.Model() as explicit:
        k = pm.Bernoulli("k", 0.5)
        pm.Potential("p", pt.switch(k, pm.logp(one, ROWS[0]), pm.logp(other, ROWS[0])))
    with pm.Model() as measurable:
        k = pm.Bernoulli("k", 0.5)
        pm.CustomDist(
            "x", k, dist=lambda k, size: pt.switch(k, pmr.RBM.dist(*UNIFORM), pmr.RBM.dist(*ALSO_UNIFORM)),
            observed=ROWS[0],
        )  # fmt: skip
    with pm.Model() as chosen:
        k = pm.Bernoulli("k", 0.5)
        pm.CustomDist(
            "x", k, dist=lambda k, size: pt.stack([pmr.RBM.dist(*UNIFORM), pmr.RBM.dist(*ALSO_UNIFORM)])[k],
            observed=ROWS[0],
        )  # fmt: skip
    with pm.Model() as conditional:
        k = pm.Bernoulli("k", 0.5)
        pm.CustomDist(
            "x", k,
            dist=lambda k, size: ifelse(k > 0, pmr.RBM.dist(*UNIFORM), pmr.RBM.dist(*ALSO_UNIFORM)),
            observed=ROWS[0],
        )  # fmt: skip
    for model in (explicit, measurable, chosen, conditional):
        log_p = model.compile_logp()
        for k in (0, 1):
            assert log_p({"k": np.int64(k)}) == pytest.approx(np.log(0.5) + LOG_P, abs=1e-8)


def test_a_custom_distribution_that_asks_for_the_log_density():
    def log_p(value, W, b, c):
        return pm.logp(pmr.RBM.dist(W, b, c), value)

    with pm.Model() as model:
        pm.CustomDist("x", *ALSO_UNIFORM, logp=log_p, signature="(v,h),(v),(h)->(v)", observed=ROWS)
    assert model.compile_logp()({}) == pytest.approx(10 * LOG_P, abs=1e-8)


@pytest.mark.compiled
def test_the_reported_log_likelihood():
    with pm.Model():
        pm.Normal("z")
        pmr.RBM("v", *ALSO_UNIFORM, observed=ROWS)
        posterior = xr.DataTree.from_dict({"posterior": xr.Dataset({"z": (("chain", "draw"), np.zeros((1, 2)))})})
        found = pm.compute_log_likelihood(posterior, progressbar=False)["log_likelihood"]["v"]
    np.testing.assert_allclose(found, np.full((1, 2, 10), LOG_P), atol=1e-8)


def test_a_model_variable_at_other_values():
    with pm.Model() as model:
        v = pmr.RBM("v", *ALSO_UNIFORM)
        pm.Potential("p", pm.logp(v, ROWS).sum())
    np.testing.assert_allclose(pm.logp(v, ROWS).eval(), LOG_P, atol=1e-8)
    assert model.compile_logp(vars=model.potentials)({"v": ROWS[0]}) == pytest.approx(10 * LOG_P, abs=1e-8)


def test_other_machines():
    n = 24
    general = pmr.BoltzmannMachine.dist(np.zeros((n, n)), np.full(n, 2.0))
    np.testing.assert_allclose(pm.logp(general, np.ones(n, "int8")).eval(), -n * np.log1p(np.exp(-2.0)), atol=1e-8)
    beside = pmr.Beside(a=(pmr.Bernoulli(), 20), b=(pmr.Categorical(3), 30))
    dist = pmr.RBM.dist(np.zeros((50, N)), np.zeros(50), np.ones(N), visible=beside)
    state = np.r_[np.ones(20), np.tile([1, 0, 0], 10)].astype("int8")
    assert pm.logp(dist, state).eval() == pytest.approx(-20 * np.log(2) - 10 * np.log(3), abs=1e-8)
    with pm.Model() as model:
        sizes = (24, 26, 4)
        weights = [np.zeros(pair) for pair in pairwise(sizes)]
        deep = pmr.DeepBoltzmannMachine("v", weights, [np.full(k, 1.0) for k in sizes])
    expected = -28 * np.log1p(np.exp(-1.0))
    assert pm.logp(deep, np.ones(28, "int8")).eval() == pytest.approx(expected, abs=1e-8)
    assert model.compile_logp()({"v": np.ones(28, "int8")}) == pytest.approx(28 + 26 * np.log1p(np.e), abs=1e-8)


def test_given_log_z_is_believed_everywhere(estimates):
    with pm.Model() as model:
        v = pmr.RBM("v", *ALSO_UNIFORM, log_z=3.0, observed=ROWS)
    unnormalised = N * np.log1p(np.exp(5.0))
    assert model.compile_logp()({}) == pytest.approx(10 * (unnormalised - 3), abs=1e-8)
    assert pm.logp(v, ROWS[0]).eval() == pytest.approx(unnormalised - 3, abs=1e-8)
    assert not estimates


def test_single_precision():
    with pytensor.config.change_flags(floatX="float32"):
        found = pm.logp(pmr.RBM.dist(*ALSO_UNIFORM), ROWS).eval()
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, LOG_P, rtol=1e-5)


# -------------------------------------------------------------------------------- where it does not matter


def test_nothing_is_estimated_for_a_factor(estimates):
    """A free, a masked and an observed machine beside a variable for NUTS, none of which reads them."""
    coupled = ref.curie_weiss(N, 0.1)
    masked = np.ma.MaskedArray(ROWS, np.arange(ROWS.size).reshape(ROWS.shape) % 7 == 0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pm.exceptions.ImputationWarning)
        with pm.Model() as model:
            pm.Normal("z")
            pmr.RBM("free", *coupled)
            pmr.RBM("masked", *coupled, observed=masked)
            pmr.RBM("seen", *coupled, observed=ROWS)
            pmr.RBM("by_row", coupled[0], np.zeros((10, N)), coupled[2], observed=ROWS)
    point = model.initial_point(random_seed=1)
    assert np.isfinite(model.compile_logp()(point))
    assert np.isfinite(model.compile_dlogp(vars=[model["z"]])(point)).all()
    assert np.isfinite(list(model.point_logps(point).values())).all()
    function = model.logp_dlogp_function([model["z"]], ravel_inputs=True)
    function.set_extra_values(point)
    log_p, slope = function(np.array([0.5]))
    assert np.isfinite(log_p)
    np.testing.assert_allclose(slope, -0.5)
    assert not estimates
    free = -pmr.free_energy(point["free"], *coupled)
    assert model.compile_logp(vars=[model["free"]])(point) == pytest.approx(float(free), abs=1e-8)


@pytest.mark.slow
def test_sampling_estimates_nothing(estimates):
    parameters = ref.curie_weiss(N, 0.1)
    with pm.Model():
        v = pmr.RBM("v", *parameters, observed=ROWS)
        pmr.Hidden("h", v)
        pm.Normal("z")
        pmr.RBM("u", *parameters)
        pm.sample(
            draws=5, tune=5, chains=1, progressbar=False, random_seed=1, compute_convergence_checks=False
        )  # fmt: skip
    assert not estimates


def test_large_models_build_at_once(estimates):
    rng = np.random.default_rng(0)
    parameters = rng.normal(0, 0.1, (784, 500)), np.zeros(784), np.zeros(500)
    began = time.process_time()
    with pm.Model() as model:
        pmr.RBM("v", *parameters)
        pmr.RBM("seen", *parameters, observed=np.zeros((5, 784), "int8"))
        w = pm.Dirichlet("w", np.ones(2))
        pm.Mixture("x", w, [pmr.RBM.dist(*parameters)] * 2, observed=np.zeros((5, 784), "int8"))
    model.logp()
    assert time.process_time() - began < 10
    assert not estimates


# --------------------------------------------------------------------------------- what is said and refused


def test_what_is_not_reliable_is_said(monkeypatch):
    parameters = ref.curie_weiss(N, 0.1)
    monkeypatch.setattr(constant_log_z, "_known", type(constant_log_z._known)())
    found = LogPartitionEstimate(3.0, 0.5, "compare", reasons=("independent sets of chains disagree",))
    monkeypatch.setattr(constant_log_z, "log_partition", lambda *args, **kwargs: found)
    with pytest.warns(
        UserWarning, match=r"22x22.*3\.000 ± 0\.500, and is not reliable: independent sets of chains disagree.*log_z="
    ):
        pm.logp(pmr.RBM.dist(*parameters), ROWS[0]).eval()
    late = LogPartitionEstimate(3.0, 0.5, "compare", made={"target_met": False, "target_error": 0.05})
    monkeypatch.setattr(constant_log_z, "log_partition", lambda *args, **kwargs: late)
    with pytest.warns(UserWarning, match=r"3\.000 ± 0\.500: the error is above the target of 0\.05"):
        pm.logp(pmr.RBM.dist(*parameters[:2], parameters[2] + 1), ROWS[0]).eval()


def test_an_interrupted_estimate_is_not_kept(monkeypatch):
    parameters = ref.curie_weiss(N, 0.1)
    monkeypatch.setattr(constant_log_z, "_known", type(constant_log_z._known)())
    found = LogPartitionEstimate(3.0, 0.5, "compare", made={"interrupted": True})
    monkeypatch.setattr(constant_log_z, "log_partition", lambda *args, **kwargs: found)
    with pytest.raises(KeyboardInterrupt):
        constant_log_z._estimate(pmr.restricted(*parameters))
    assert not constant_log_z._known


def test_many_machines_that_differ_by_row_are_refused(monkeypatch):
    parameters = ref.curie_weiss(N, 0.1)
    monkeypatch.setattr(constant_log_z, "_known", type(constant_log_z._known)())
    monkeypatch.setattr(
        constant_log_z, "log_partition", lambda x, **kwargs: LogPartitionEstimate(x.layers[0].bias[0], 0.1, "compare")
    )
    biases = np.linspace(0, 1, 10)[:, None] + np.zeros(N)
    some = pm.logp(pmr.RBM.dist(parameters[0], np.repeat(biases[:3], 3, 0), parameters[2]), ROWS[:9]).eval()
    assert some.shape == (9,)
    with pytest.raises(pmr.IntractableError, match=r"10 machines that differ by row.*at most 8.*log_z="):
        pm.logp(pmr.RBM.dist(parameters[0], biases, parameters[2]), ROWS).eval()


def test_the_derivative_of_an_estimate_is_refused():
    b = pytensor.shared(UNIFORM[1])
    with pytest.raises(pmr.IntractableError, match=r"derivative of log Z.*pymc_rbm\.fit"):
        pt.grad(pm.logp(pmr.RBM.dist(UNIFORM[0], b, UNIFORM[2]), ROWS).sum(), b)


# ------------------------------------------------------------------------------------- machines side by side


def test_parts_of_a_machine():
    rng = np.random.default_rng(3)
    W, b, c = np.zeros((30, 28)), rng.standard_normal(30), rng.standard_normal(28)
    W[:3, :4], W[10:16, 4:9], W[20:24, 12:20] = (rng.standard_normal(shape) for shape in ((3, 4), (6, 5), (4, 8)))
    order, other = rng.permutation(30), rng.permutation(28)
    machine = pmr.restricted(W[np.ix_(order, other)], b[order], c[other])
    parts = separate(machine.numeric())
    assert len(parts) == 4
    blocks = [(slice(0, 3), slice(0, 4)), (slice(10, 16), slice(4, 9)), (slice(20, 24), slice(12, 20))]
    alone = [np.delete(np.arange(n), np.r_[tuple(x[i] for x in blocks)]) for i, n in enumerate((30, 28))]
    expected = sum(pmr.log_partition(pmr.restricted(W[v, h], b[v], c[h])).estimate for v, h in blocks)
    expected += np.logaddexp(0, b[alone[0]]).sum() + np.logaddexp(0, c[alone[1]]).sum()
    found = pmr.log_partition(machine)
    assert found.method == "exact"
    assert found.estimate == pytest.approx(expected, abs=1e-10)
    assert pmr.log_partition(machine, method="exact").estimate == found.estimate


def test_parts_of_several_families_and_of_one_layer():
    rng = np.random.default_rng(4)
    visible = pmr.Beside(a=(pmr.Spin(), 24), b=(pmr.Categorical(3), 30), c=(pmr.Gaussian(np.linspace(0.5, 2, 3)), 3))
    W = np.zeros((57, 23))
    W[0, 0], W[1, 0], W[25, 1], W[56, 2] = 1.0, -2.0, 3.0, 0.7
    b, c = rng.standard_normal(57), rng.standard_normal(23)
    sigma = np.linspace(0.5, 2, 3)
    spins = np.logaddexp(b[:24], -b[:24])
    letters = logsumexp(b[24:54].reshape(10, 3), axis=1)
    reals = np.log(sigma * np.sqrt(2 * np.pi))
    hidden = np.logaddexp(0, c)
    first = logsumexp(
        [np.logaddexp(x, -x).sum() + k * c[0] for k in (0, 1) for x in [b[:2] + k * np.array([1.0, -2.0])]]
    )
    letter = logsumexp([logsumexp(b[24:27] + k * np.array([0.0, 3.0, 0.0])) + k * c[1] for k in (0, 1)])
    # A real unit about b, its weight and bias divided by σ²: the mean moves to b + w.
    real = reals[2] + np.logaddexp(0, c[2] + ((b[56] + 0.7) ** 2 - b[56] ** 2) / (2 * sigma[2] ** 2))
    expected = spins[2:].sum() + letters[1:].sum() + reals[:2].sum() + hidden[3:].sum() + first + letter + real
    machine = pmr.restricted(W, b, c, visible=visible)
    assert pmr.log_partition(machine).estimate == pytest.approx(expected, abs=1e-9)

    U = np.zeros((40, 40))
    U[0, 1] = U[1, 0] = 2.0
    b = np.linspace(-1, 1, 40)
    pair = logsumexp([0, b[0], b[1], b[0] + b[1] + 2])
    general = pmr.boltzmann(U, b)
    assert pmr.log_partition(general).estimate == pytest.approx(pair + np.logaddexp(0, b[2:]).sum(), abs=1e-10)


def test_a_coupled_machine_is_one_part():
    parameters = ref.curie_weiss(N, 0.1)
    assert len(separate(pmr.restricted(*parameters).numeric())) == 1
    node = constant_log_partition(pmr.restricted(*UNIFORM))
    assert node.owner.op == constant_log_partition(pmr.restricted(*ALSO_UNIFORM)).owner.op
