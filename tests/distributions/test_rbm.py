"""Every PyMC verb with an RBM, and the errors for input that cannot be right."""

import warnings

import cloudpickle
import numpy as np
import pandas as pd
import pymc as pm
import pytensor
import pytest
import reference as ref
import xarray as xr

import pymc_rbm as pmr

pytestmark = pytest.mark.interpreted

W, B, C = ref.machine(4, 3, seed=11)
STATES = np.array(ref.states(4))
LOG_P = np.array(ref.log_p(W, B, C))
BIG = [np.zeros((40, 30)), np.zeros(40), np.zeros(30)]


def empirical_error(rows, p):
    """Total variation between rows and p, in units of its Monte Carlo floor."""
    rows = np.reshape(rows, (-1, np.shape(rows)[-1]))
    counts = np.bincount(ref.index(rows), minlength=len(p))
    return ref.total_variation(counts, p) / ref.total_variation_floor(p, len(rows))


# ------------------------------------------------------------------------------------------------ density


def test_logp_against_loops_and_off_the_support():
    np.testing.assert_allclose(pm.logp(pmr.RBM.dist(W, B, C), STATES).eval(), LOG_P, rtol=0, atol=1e-10)
    outside = STATES.copy()
    outside[:, 2] = 2
    assert (pm.logp(pmr.RBM.dist(W, B, C), outside).eval() == -np.inf).all()
    assert pm.logp(pmr.RBM.dist(W, B, C), -STATES[-1]).eval() == -np.inf


@pytest.mark.parametrize("scale", [1, 60])
@pytest.mark.parametrize("sizes", [(3, 5), (5, 3)])
def test_logp_at_large_weights(sizes, scale):
    parameters = ref.machine(*sizes, scale=scale, seed=4)
    value = np.array(ref.states(sizes[0]))
    out = pm.logp(pmr.RBM.dist(*parameters), value).eval()
    np.testing.assert_allclose(out, ref.log_p(*parameters), rtol=1e-10, atol=1e-10)


@pytest.mark.compiled
@pytest.mark.parametrize(("floatX", "tolerance"), [("float32", 1e-5), ("float64", 1e-12)])
def test_both_precisions(floatX, tolerance):
    with pytensor.config.change_flags(floatX=floatX):
        with pm.Model() as model:
            weights = pm.Normal("W", shape=(4, 3))
            v = pmr.RBM("v", weights, B, C, observed=STATES)
        log_p = pm.logp(pmr.RBM.dist(W, B, C), STATES)
        assert log_p.dtype == floatX
        np.testing.assert_allclose(log_p.eval(), LOG_P, atol=tolerance)
        point = {"W": W.astype(floatX)}
        assert model.compile_logp(vars=[v])(point).dtype == floatX
        gradient = model.compile_dlogp()(point)
        assert gradient.dtype == floatX
        assert np.isfinite(gradient).all()
        assert pm.draw(v).shape == STATES.shape


def test_given_log_z_is_used():
    dist = pmr.RBM.dist(W, B, C, log_z=100.0)
    np.testing.assert_allclose(pm.logp(dist, STATES).eval(), LOG_P + ref.log_z(W, B, C) - 100, atol=1e-10)
    big = pmr.RBM.dist(*BIG, log_z=70 * np.log(2))
    assert pm.logp(big, np.ones(40)).eval() == pytest.approx(-40 * np.log(2), abs=1e-10)
    assert pm.draw(dist, random_seed=1).shape == (4,)


def test_batched_parameters():
    many = [ref.machine(4, 3, seed=s) for s in range(5)]
    weights, b, c = (np.stack(x) for x in zip(*many, strict=True))
    dist = pmr.RBM.dist(weights, b, c)
    assert pm.draw(dist, random_seed=1).shape == (5, 4)
    out = pm.logp(dist, STATES[:5]).eval()
    expected = [ref.log_p(*m)[i] for i, m in enumerate(many)]
    np.testing.assert_allclose(out, expected, atol=1e-10)
    covariates = pmr.RBM.dist(W, b, C)  # biases that depend on the row
    expected = [ref.log_p(W, m[1], C)[i] for i, m in enumerate(many)]
    np.testing.assert_allclose(pm.logp(covariates, STATES[:5]).eval(), expected, atol=1e-10)


def test_large_machine_with_constant_parameters_is_unnormalised_in_a_model_only():
    value = np.ones(40, dtype="int8")
    for parameters in (BIG, [pytensor.shared(x) for x in BIG]):
        with pm.Model() as model:
            v = pmr.RBM("v", *parameters)
        assert model.compile_logp()({"v": value}) == pytest.approx(30 * np.log(2))
        assert pm.logp(v, value).eval() == pytest.approx(-40 * np.log(2))


def test_large_machine_with_random_parameters_builds_and_raises():
    with pm.Model() as model:
        weights = pm.Normal("W", shape=(40, 30))
        pmr.RBM("v", weights, BIG[1], BIG[2], observed=np.zeros((5, 40)))
    with pytest.raises(pmr.IntractableError):  # not taken for constants where the weights are still random
        pm.logp(model["v"], np.zeros((5, 40))).eval()
    log_p = model.logp()  # builds
    assert log_p.ndim == 0
    for mode in (None, "FAST_COMPILE"):
        with pytest.raises(pmr.IntractableError, match=r"40x30 machine.*pymc_rbm\.fit.*log_z="):
            model.compile_logp(mode=mode)({"W": BIG[0]})
    with pytest.raises(pmr.IntractableError), model:
        pm.sample(progressbar=False)


# -------------------------------------------------------------------------------------------------- draws


@pytest.mark.parametrize("sizes", [(4, 3), (3, 5)])
def test_exact_draws(sizes):
    parameters = ref.machine(*sizes, seed=8)
    rows = pm.draw(pmr.RBM.dist(*parameters, size=20_000), random_seed=1)
    assert rows.dtype == np.int8
    assert empirical_error(rows, np.exp(ref.log_p(*parameters))) < 4


@pytest.mark.compiled
def test_draws_of_chains(monkeypatch):
    monkeypatch.setattr("pymc_rbm.sampling.forward.is_enumerable", lambda machine: False)
    p = np.exp(LOG_P)
    rows = pm.draw(pmr.RBM.dist(W, B, C, size=20_000, sweeps=50), random_seed=1)
    assert empirical_error(rows, p) < 4
    short = pm.draw(pmr.RBM.dist(10 * W, B, C, size=20_000, sweeps=1), random_seed=1)
    assert empirical_error(short, np.exp(ref.log_p(10 * W, B, C))) > 10  # the stated number of sweeps is what runs


def test_draws_are_reproducible_and_independent():
    for dist in (pmr.RBM.dist(W, B, C), pmr.RBM.dist(*BIG, sweeps=3)):
        first, second = (pm.draw(dist, draws=20, random_seed=7) for _ in range(2))
        np.testing.assert_array_equal(first, second)
        assert (pm.draw(dist, draws=20, random_seed=8) != first).any()
        assert len(np.unique(first, axis=0)) > 1


@pytest.mark.parametrize("mode", ["NUMBA", "FAST_COMPILE", "CVM"])
def test_draws_on_every_installed_back_end(mode, compiler):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "PyTensor could not link to a BLAS")  # of the C back end, on pip's wheels
        dist = pmr.RBM.dist(W, B, C, size=(3, 2))
        out = pm.draw(dist, draws=4, random_seed=1, mode=mode)
    assert out.shape == (4, 3, 2, 4)
    assert set(np.unique(out)) == {0, 1}


def test_shapes():
    assert pm.draw(pmr.RBM.dist(W, B, C)).shape == (4,)
    assert pm.draw(pmr.RBM.dist(W, B, C, size=5)).shape == (5, 4)
    assert pm.draw(pmr.RBM.dist(W, B, C, size=(2, 5))).shape == (2, 5, 4)
    assert pm.draw(pmr.RBM.dist(W, B, C, shape=(7, 4))).shape == (7, 4)
    with pm.Model(coords={"row": range(6), "unit": list("abcd")}) as model:
        pmr.RBM("v", W, B, C, dims=("row", "unit"))
        pmr.RBM("u", W, B, C, dims="unit")
    assert pm.draw(model["v"]).shape == (6, 4)
    assert pm.draw(model["u"]).shape == (4,)


# -------------------------------------------------------------------------------------------------- models


def test_prior_and_posterior_predictive():
    with pm.Model(coords={"unit": range(4)}):
        scale = pm.HalfNormal("scale")
        pmr.RBM("v", scale * W, B, C, observed=xr.DataArray(STATES, dims=("row", "unit")))
        prior = pm.sample_prior_predictive(50, random_seed=1)
        posterior = prior["prior"].to_dataset()
        predictive = pm.sample_posterior_predictive(posterior, random_seed=1, progressbar=False)
    assert prior["prior_predictive"]["v"].shape == (1, 50, 16, 4)
    assert predictive["posterior_predictive"]["v"].shape == (1, 50, 16, 4)
    assert set(np.unique(predictive["posterior_predictive"]["v"])) == {0, 1}


@pytest.mark.compiled
def test_posterior_predictive_follows_the_weights():
    """With b = ±50 the predictive units are certain."""
    with pm.Model():
        b = pm.Normal("b", shape=4)
        pmr.RBM("v", np.zeros((4, 3)), b, C, observed=STATES)
        trace = xr.Dataset({"b": (("chain", "draw", "b_dim_0"), [[[50.0, -50, 50, -50], [-50, 50, -50, 50]]])})
        out = pm.sample_posterior_predictive(trace, random_seed=1, progressbar=False)["posterior_predictive"]["v"]
    assert (out[0, 0] == [1, 0, 1, 0]).all()
    assert (out[0, 1] == [0, 1, 0, 1]).all()


@pytest.mark.parametrize("rows", [STATES[3], STATES])
def test_observed_rows(rows):
    with pm.Model() as model:
        pmr.RBM("v", W, B, C, observed=rows)
    expected = LOG_P[ref.index(np.atleast_2d(rows))].sum()
    assert model.compile_logp()({}) == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("kind", [list, pd.DataFrame, xr.DataArray, np.asarray, lambda x: x.astype(bool)])
def test_kinds_of_observed_data(kind):
    with pm.Model() as model:
        pmr.RBM("v", W, B, C, observed=kind(STATES))
    assert model.compile_logp()({}) == pytest.approx(LOG_P.sum(), abs=1e-9)


def test_a_data_array_brings_dims_and_coords():
    data = xr.DataArray(STATES, dims=("row", "unit"), coords={"unit": list("abcd")})
    with pm.Model(coords={"row": range(16)}) as model:
        pmr.RBM("v", W, B, C, observed=data)
    assert model.named_vars_to_dims["v"] == ("row", "unit")
    assert list(model.coords["unit"]) == list("abcd")


def test_data_parameters_can_be_changed():
    with pm.Model() as model:
        b = pm.Data("b", B)
        data = pm.Data("rows", STATES)
        pmr.RBM("v", W, b, C, observed=data, shape=data.shape)
        log_p = model.compile_logp()
        assert log_p({}) == pytest.approx(LOG_P.sum(), abs=1e-9)
        pm.set_data({"b": B + 1, "rows": STATES[:2]})
        assert log_p({}) == pytest.approx(sum(ref.log_p(W, B + 1, C)[:2]), abs=1e-9)


def test_do_and_observe():
    with pm.Model() as model:
        weights = pm.Normal("W", shape=(4, 3))
        pmr.RBM("v", weights, B, C)
    fixed = pm.do(model, {"W": W})
    assert [x.name for x in fixed.free_RVs] == ["v"]
    assert empirical_error(pm.draw(fixed["v"], draws=3000, random_seed=1), np.exp(LOG_P)) < 4
    observed = pm.observe(model, {"v": STATES[5].astype("int8")})
    assert observed.compile_logp(vars=observed["v"])({"W": W}) == pytest.approx(LOG_P[5], abs=1e-10)


def test_hidden_joint_density():
    with pm.Model() as model:
        v = pmr.RBM("v", W, B, C)
        h = pmr.Hidden("h", v)
    joint = ref.joint(W, B, C)
    log_p = model.compile_logp()
    for i, x in enumerate(ref.states(4)):
        for j, y in enumerate(ref.states(3)):
            point = {"v": np.array(x, "int8"), "h": np.array(y, "int8")}
            assert log_p(point) == pytest.approx(np.log(joint[i, j]), abs=1e-10)
    assert pm.logp(pmr.Hidden.dist(v), [2, 0, 0]).eval({v: np.zeros(4, "int8")}) == -np.inf
    both = np.concatenate(pm.draw([v, h], draws=5000, random_seed=1), axis=1)
    assert empirical_error(both, joint.ravel()) < 4


def test_several_machines_in_one_model():
    with pm.Model() as model:
        v = pmr.RBM("v", W, B, C)
        pmr.RBM("u", W.T, C, B)
        pmr.Hidden("h", v)
    assert pm.draw(model["u"]).shape == (3,)
    with pytest.raises(ValueError, match=r"exactly one RBM, got 2.*model\['v'\]"):
        pmr.log_partition(model)
    assert pmr.log_partition(model["u"]).estimate == pytest.approx(ref.log_z(W.T, C, B), abs=1e-10)


def test_names_in_text_and_graphs():
    graphviz = pytest.importorskip("graphviz")
    with pm.Model() as model:
        weights = pm.Normal("W", shape=(4, 3))
        v = pmr.RBM("v", weights, B, C, observed=STATES)
        pmr.Hidden("h", v)
    text = model.str_repr()
    assert "RBM(W, <constant>, <constant>)" in text
    assert "Hidden(v, W, <constant>)" in text
    assert r"\operatorname{RBM}" in model.str_repr(formatting="latex")
    graph = pm.model_to_graphviz(model)
    assert isinstance(graph, graphviz.Digraph)
    assert "RBM" in graph.source
    assert "W -> v" in graph.source
    assert "v -> h" in graph.source


@pytest.mark.compiled
def test_pickle():
    with pm.Model() as model:
        weights = pm.Normal("W", shape=(4, 3))
        v = pmr.RBM("v", weights, B, C)
        pmr.Hidden("h", v)
    copy = cloudpickle.loads(cloudpickle.dumps(model))
    point = {"W": W, "v": STATES[2].astype("int8"), "h": np.zeros(3, "int8")}
    assert copy.compile_logp()(point) == pytest.approx(model.compile_logp()(point), abs=1e-12)
    dist = cloudpickle.loads(cloudpickle.dumps(pmr.RBM.dist(W, B, C)))
    assert pm.draw(dist).shape == (4,)


def test_starts_are_dispersed_and_follow_the_seed():
    with pm.Model() as model:
        pmr.RBM("v", np.zeros((200, 3)), np.zeros(200), np.zeros(3))
    starts = [model.initial_point(random_seed=s)["v"] for s in range(40)]
    levels = np.mean(starts, axis=1)
    # In truth 1/√12 = 0.29, known to a tenth of it; fair coins would give .035.
    assert levels.std() > 0.15
    np.testing.assert_array_equal(starts[0], model.initial_point(random_seed=0)["v"])
    assert starts[0].dtype == np.int8


# -------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: pmr.RBM.dist(W.T, B, C), r"W \(3, 4\), b \(4,\), c \(3,\).*pass W\.T"),
        (lambda: pmr.RBM.dist(W, B[:2], C), r"b \(2,\).*wrong size"),
        (lambda: pmr.RBM.dist(W[0], B, C), "at least 2 axes"),
        (lambda: pmr.RBM.dist(W, B[0], C), "b must have at least 1 axis"),
        (lambda: pmr.RBM.dist(W * np.nan, B, C), "W contains NaN"),
        (lambda: pmr.RBM.dist(W, B, C + np.inf), "c contains NaN or infinity"),
        (lambda: pmr.RBM.dist(W, B, C, shape=(3, 5)), r"\[3, 5\] does not fit W \(4, 3\).*length 4"),
        (lambda: pmr.RBM.dist(W, B, C, sweeps=0), "sweeps must be a whole number of at least 1, got 0"),
        (lambda: pmr.RBM.dist(W, B, C, sweeps=2.5), "got 2.5"),
        (lambda: pmr.RBM.dist(W, B, C, sweeps=True), "got True"),
        (lambda: pmr.free_energy(STATES.T, W, B, C), r"v has shape \(4, 16\).*length 4"),
        (lambda: pmr.free_energy(STATES * np.nan, W, B, C), "v contains NaN"),
        (lambda: pmr.energy(STATES, STATES, W, B, C), r"h has shape \(16, 4\).*3 hidden units"),
        (lambda: pmr.conditional_hidden(STATES, W.T, C), "shapes do not fit|pass W.T"),
        (lambda: pmr.conditional_visible(STATES, W, B), r"h has shape \(16, 4\)"),
    ],
)
def test_bad_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (STATES[:, :3], r"observed has shape \(16, 3\).*4 visible units"),
        (STATES.T, "transposed"),
        (STATES * 255, "only 0 and 1, got 32 other entries of 64 .such as 255"),
        (STATES - 0.5, "such as -0.5, 0.5"),
        (-STATES, "such as -1"),
        (np.where(STATES, np.nan, 0), "masked_invalid"),
        (np.array([["a", "b", "c", "d"]]), "dtype"),
        (np.float64(1), "shape"),
    ],
)
def test_bad_data(data, message):
    with pm.Model() as model:
        with pytest.raises(ValueError, match=message):
            pmr.RBM("v", W, B, C, observed=data)
        # PyMC itself refuses text and NaN in pm.Data.
        if np.ndim(data) == 2 and data.dtype != "<U1" and not np.isnan(data).any():
            with pytest.raises(ValueError, match=message):
                pmr.RBM("v", W, B, C, observed=pm.Data("rows", data))
    assert "v" not in model.named_vars


def test_dims_that_do_not_fit():
    with pm.Model(coords={"unit": range(5)}), pytest.raises(ValueError, match=r"\[5\] does not fit W \(4, 3\)"):
        pmr.RBM("v", W, B, C, dims="unit")


def test_hidden_takes_the_variable_itself():
    with pm.Model():
        v = pmr.RBM("v", W, B, C)
        with pytest.raises(ValueError, match="not a function of it"):
            pmr.Hidden("h", 1 - v)
        with pytest.raises(ValueError, match="Expected an RBM variable"):
            pmr.Hidden("h", pm.Bernoulli("x", 0.5, shape=4))
        with pytest.raises(ValueError, match="only 0 and 1"):
            pmr.Hidden("h", v, observed=[0, 2, 0])


def test_random_parameters_need_values():
    with pm.Model() as model:
        weights = pm.Normal("W", shape=(4, 3))
        pmr.RBM("v", weights, B, C)
    with pytest.raises(ValueError, match=r"random variables without a value: \['W'\]"):
        pmr.log_partition(model)
