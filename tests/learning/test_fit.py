"""Learning: the gradient, the estimator, what comes back, and what is refused."""

import _signal
import math
import os
import signal
import threading

import arviz as az
import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
import pytest
import reference as ref
import xarray as xr
from limits import best_classes, in_errors
from models import likelihood_of, model_of
from options import MASKED, QUIET
from scipy.optimize import minimize_scalar

import pymc_rbm as pmr
from pymc_rbm.learning.batches import Batches
from pymc_rbm.learning.centring import centred
from pymc_rbm.learning.data import observed_machines
from pymc_rbm.learning.defaults import correlation, curvature, default_method, default_rate
from pymc_rbm.learning.estimators.parallel_tempering import tempered
from pymc_rbm.learning.estimators.pcd import persistent, surrogate_log_partition
from pymc_rbm.support.interrupts import DeferredInterrupt

pytestmark = pytest.mark.interpreted


# ---------------------------------------------------------------------------------------------- the gradient


def test_gradient_with_exact_particles_is_the_enumerated_gradient():
    """Particles drawn exactly, in expectation: the estimate is linear in the particles' empirical distribution."""
    parameters = ref.machine(3, 2, seed=1)
    rows = np.array([[0, 1, 1], [1, 1, 0], [0, 0, 1], [0, 1, 1]])
    inputs = [pt.tensor(dtype="float64", shape=x.shape) for x in parameters]
    particle = pt.tensor(dtype="int8", shape=(1, 3))
    machine = pmr.restricted(*inputs)
    value = -machine.free_energy(rows.astype("int8")).mean() - surrogate_log_partition(machine, particle)
    gradient = pytensor.function([particle, *inputs], pt.grad(value, inputs))
    p = np.exp(ref.log_p(*parameters))
    estimate = [np.zeros(x.shape) for x in parameters]
    for state, weight in zip(ref.states(3), p, strict=True):
        for total, part in zip(estimate, gradient(np.array([state], "int8"), *parameters), strict=True):
            total += weight * part

    # Data minus model moments, by loops.
    joint = ref.joint(*parameters)
    given = joint / joint.sum(1, keepdims=True)
    hidden = np.array([given[ref.states(3).index(tuple(r))] @ np.array(ref.states(2)) for r in rows.tolist()])
    data = [rows.T @ hidden / 4, rows.mean(0), hidden.mean(0)]
    for total, positive, negative in zip(estimate, data, ref.moments(*parameters), strict=True):
        np.testing.assert_allclose(total, positive - negative, rtol=0, atol=1e-8)


@pytest.mark.slow
def test_gradient_of_the_exact_log_density_agrees():
    """The same gradient by automatic differentiation of the enumerated likelihood."""
    parameters = ref.machine(3, 2, seed=1)
    rows = np.array([[0, 1, 1], [1, 1, 0], [0, 0, 1], [0, 1, 1]])
    with pm.Model() as model:
        W = pm.Flat("W", shape=(3, 2))
        b = pm.Flat("b", shape=3)
        c = pm.Flat("c", shape=2)
        pmr.RBM("v", W, b, c, observed=rows)
    point = dict(zip("Wbc", parameters, strict=True))
    out = model.compile_dlogp()(point) / 4
    joint = ref.joint(*parameters)
    given = joint / joint.sum(1, keepdims=True)
    hidden = np.array([given[ref.states(3).index(tuple(r))] @ np.array(ref.states(2)) for r in rows.tolist()])
    data = [rows.T @ hidden / 4, rows.mean(0), hidden.mean(0)]
    expected = [p - n for p, n in zip(data, ref.moments(*parameters), strict=True)]
    np.testing.assert_allclose(out, np.concatenate([x.ravel() for x in expected]), atol=1e-8)


def test_the_negative_phase_is_divided_by_its_own_count():
    parameters = ref.machine(3, 2, seed=1)
    rows = np.array(ref.states(3), "int8")
    machine = pmr.restricted(*parameters)
    once = surrogate_log_partition(machine, rows[:3]).eval()
    twice = surrogate_log_partition(machine, np.concatenate([rows[:3], rows[:3]])).eval()
    assert once == pytest.approx(twice, abs=1e-12)


@pytest.mark.slow
def test_one_update_by_hand():
    """One full-batch iteration of plain gradient ascent, with the particles that it used, repeated in numpy."""
    data = np.array(ref.states(3))[[1, 3, 5, 5]]
    W, b, c = ref.machine(3, 2, scale=0.5, seed=3)
    prior_sd = 0.7
    with pm.Model() as model:
        weights = pm.Normal("W", 0, prior_sd, shape=(3, 2))
        pmr.RBM("v", weights, pm.Flat("b", shape=3), pm.Flat("c", shape=2), observed=data)
        learned = pmr.fit(
            1,
            batch_size=None,
            chains=7,
            optimizer=pm.sgd(learning_rate=0.2),
            centred=False,
            start={"W": W, "b": b, "c": c},
            random_seed=1,
            progressbar=False,
        )
    particles = learned["particle_states"]["v"].values

    def phase(rows):
        hidden = 1 / (1 + np.exp(-(c + rows @ W)))
        return rows.T @ hidden / len(rows), rows.mean(0), hidden.mean(0)

    positive, negative = phase(data), phase(particles)
    gradient = [p - n for p, n in zip(positive, negative, strict=True)]
    gradient[0] = gradient[0] - W / prior_sd**2 / len(data)
    for name, old, step in zip("Wbc", (W, b, c), gradient, strict=True):
        np.testing.assert_allclose(learned["parameters"][name], old + 0.2 * step, atol=1e-12)
    assert observed_machines(model)[0].name == "v"


# ------------------------------------------------------------------------------------------------ it learns


@pytest.mark.slow
def test_bars_and_stripes():
    """With defaults within 0.1 nats of the bound, log 14, in at least 2 of 3 seeds; the averaged iterates in all."""
    data = pmr.datasets.bars_and_stripes(3)
    scores, averages = [], []
    for seed in range(3):
        model = model_of(data, 16)
        with model:
            learned = pmr.fit(10_000, random_seed=seed, progressbar=False)
        scores.append(likelihood_of(model, learned, data))
        averages.append(likelihood_of(model, pmr.averaged(learned), data))
    bound = -np.log(14)
    assert sum(score > bound - 0.1 for score in scores) >= 2, scores
    assert min(averages) > bound - 0.05, averages
    assert max(scores + averages) <= bound + 1e-9


@pytest.mark.slow
def test_digits_beat_independent_pixels():
    data = pmr.datasets.digits()
    train, test = data[:1400], data[1400:]
    model = model_of(train, 8, 1.0)
    with model:
        learned = pmr.fit(100, method="pcd", random_seed=1, progressbar=False)
    means = learned["data"]["v_mean"].values
    independent = (test.values * np.log(means) + (1 - test.values) * np.log1p(-means)).sum(1)
    found = pmr.log_likelihood(test, model, learned)["log_likelihood/v"].values[0, 0]
    assert in_errors(found - independent) > 5


@pytest.mark.slow
def test_hierarchical_scale_and_indirect_weights():
    """Weights as an expression, a learned positive scale: the start must break the symmetry."""
    data = np.repeat(pmr.datasets.bars_and_stripes(2).values, 50, axis=0)
    with pm.Model() as model:
        scale = pm.HalfNormal("scale", 5)
        raw = pm.Normal("raw", 0, 1, shape=(4, 6))
        W = pm.Deterministic("W", scale * raw)
        pmr.RBM("v", W, pm.Flat("b", shape=4), pm.Flat("c", shape=6), observed=data)
        learned = pmr.fit(1000, method="pcd", random_seed=1, progressbar=False)
    estimate = learned["parameters"]
    assert {"scale", "raw", "W", "b", "c"} == set(estimate)
    np.testing.assert_allclose(estimate["W"], estimate["scale"] * estimate["raw"], rtol=1e-10)
    assert np.linalg.matrix_rank(estimate["W"].values, tol=1e-3) > 1
    assert likelihood_of(model, learned, data) > best_classes(data, 3)


@pytest.mark.slow
def test_two_machines_learn_together():
    first, second = pmr.datasets.bars_and_stripes(2).values, np.array(ref.states(3))
    with pm.Model() as model:
        for name, data in (("u", first), ("v", second)):
            n = data.shape[1]
            pmr.RBM(name, pm.Flat(f"W{name}", shape=(n, 2)), pm.Flat(f"b{name}", shape=n), np.zeros(2), observed=data)
        learned = pmr.fit(5, batch_size=3, random_seed=1, progressbar=False)
    assert {"u_free_energy", "v_free_energy"} <= set(learned["particles"])
    assert pmr.log_partition(model["u"], learned).method == "exact"


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", [pm.adam, pm.adam(learning_rate=0.01), pm.nesterov_momentum, pm.rmsprop])
def test_optimisers_of_pymc(optimizer):
    data = pmr.datasets.bars_and_stripes(2)
    with model_of(data):
        learned = pmr.fit(20, optimizer=optimizer, learning_rate=0.01, random_seed=1, progressbar=False)
    assert np.isfinite(learned["parameters"]["W"]).all()


@pytest.mark.slow
@pytest.mark.parametrize("floatX", ["float32", "float64"])
def test_both_precisions(floatX):
    data = pmr.datasets.bars_and_stripes(2)
    with pytensor.config.change_flags(floatX=floatX):
        model = model_of(data)
        with model:
            learned = pmr.fit(20, method="pcd", random_seed=1, progressbar=False)
    assert learned["parameters"]["W"].dtype == floatX


# -------------------------------------------------------------------------------------- centring and methods


def test_centred_gradients_are_those_of_the_centred_parameters():
    """Finite differences of the exact log-likelihood in (W, b~, c~), with b = b~ - W lam and c = c~ - W' mu."""
    W, b, c = ref.machine(3, 2, seed=4)
    rng = np.random.default_rng(5)
    mu, lam = rng.random(3), rng.random(2)
    rows = np.array([1, 3, 3, 6])

    def log_likelihood(W, b_centred, c_centred):
        return np.mean(np.array(ref.log_p(W, b_centred - W @ lam, c_centred - W.T @ mu))[rows])

    point = [W, b + W @ lam, c + W.T @ mu]
    numeric = []
    for k, array in enumerate(point):
        slope = np.zeros(array.shape)
        for index in np.ndindex(array.shape):
            shifted = [[x.copy() for x in point] for _ in range(2)]
            shifted[0][k][index] += 1e-5
            shifted[1][k][index] -= 1e-5
            slope[index] = (log_likelihood(*shifted[0]) - log_likelihood(*shifted[1])) / 2e-5
        numeric.append(slope)

    joint = ref.joint(W, b, c)
    given = joint / joint.sum(1, keepdims=True)
    v, hidden = np.array(ref.states(3))[rows], given[rows] @ np.array(ref.states(2))
    moments = ref.moments(W, b, c)
    plain = [x - y for x, y in zip([v.T @ hidden / 4, v.mean(0), hidden.mean(0)], moments, strict=True)]
    gW, gb, gc = (x.eval() for x in centred(*map(pt.as_tensor, plain), mu, lam))
    np.testing.assert_allclose(gW, numeric[0], atol=1e-8)
    # The biases move by their centred gradient less what the moving weights take away.
    np.testing.assert_allclose(gb, numeric[1] - gW @ lam, atol=1e-8)
    np.testing.assert_allclose(gc, numeric[2] - gW.T @ mu, atol=1e-8)


@pytest.mark.slow
def test_centred_learning_is_invariant_to_flipping_the_data():
    """Data 1 - x give the machine with W -> -W, b -> -b, c -> c + W'1, and the same likelihood."""
    data = np.array(ref.states(4))[[1, 3, 3, 7, 12, 13, 15, 15]]
    W, b, c = ref.machine(4, 3, scale=0.3, seed=6)

    def learn(data, start, centred):
        with pm.Model() as model:
            weights = pm.Flat("W", shape=(4, 3))
            pmr.RBM("v", weights, pm.Flat("b", shape=4), pm.Flat("c", shape=3), observed=data)
            learned = pmr.fit(
                200, method="exact", batch_size=None, chains=5000, centred=centred, start=start,
                learning_rate=0.5, random_seed=1, progressbar=False,
            )  # fmt: skip
        return learned["parameters"], likelihood_of(model, learned, data)

    flipped_start = {"W": -W, "b": -b, "c": c + W.sum(0)}
    results = {}
    for flag in (True, False):
        (first, score), (second, flipped_score) = (
            learn(data, {"W": W, "b": b, "c": c}, flag), learn(1 - data, flipped_start, flag)
        )  # fmt: skip
        results[flag] = [abs(score - flipped_score), float(np.abs(first["W"] + second["W"]).max())]
    # The offsets average over 5,000 particles, whose noise, 0.5/√5000 = 0.007, is what is left of a difference.
    assert results[True][0] < 1e-3
    assert results[True][1] < 1e-2
    assert results[False][1] > 0.3


@pytest.mark.slow
def test_constant_columns_are_harmless():
    data = np.hstack([pmr.datasets.bars_and_stripes(2).values, np.zeros((6, 1)), np.ones((6, 1))])
    with model_of(data):
        learned = pmr.fit(200, method="pcd", random_seed=1, progressbar=False)
    for x in learned["parameters"].data_vars.values():
        assert np.isfinite(x).all()


@pytest.mark.slow
def test_exact_method_reaches_the_optimum():
    """Moments match at the optimum: three units with every pattern's frequency free need three hidden units."""
    data = np.array(ref.states(3))[[0, 0, 1, 2, 3, 3, 3, 4, 5, 6, 7, 7]]
    model = model_of(data, 4)
    with model:
        learned = pmr.fit(
            40_000, method="exact", batch_size=None, chains=2, learning_rate=1.0, random_seed=1, progressbar=False
        )
    b, c, W = pmr.machine_of(model, learned).parameters
    hidden = pmr.conditional_hidden(data, W, c)
    positive = data.T @ hidden / len(data), data.mean(0), hidden.mean(0)
    for p, n in zip(positive, ref.moments(W, b, c), strict=True):
        np.testing.assert_allclose(p, n, atol=2e-3)


@pytest.mark.slow
def test_contrastive_divergence_has_no_chains():
    data = pmr.datasets.bars_and_stripes(3)
    model = model_of(data, 8)
    with model:
        learned = pmr.fit(2000, method="cd", batch_size=5, random_seed=1, progressbar=False)
    assert "particles" not in learned
    assert likelihood_of(model, learned, data) > best_classes(data.values, 4)


def test_unknown_method_and_too_large_for_exact():
    with (
        model_of(DATA),
        pytest.raises(ValueError, match=r"one of \['cd', 'exact', 'fpcd', 'pcd', 'pt', 'ptt', 'ucd'\]"),
    ):
        pmr.fit(1, method="guess", progressbar=False)
    with model_of(np.zeros((3, 22)), 21), pytest.raises(ValueError, match=r"20 where all are binary: sizes \[22, 21\]"):
        pmr.fit(1, method="exact", progressbar=False)


@pytest.mark.slow
def test_averaged_parameters(run):
    """The average over the second half of the iterates, later ones counting more, by hand from single epochs."""
    data = pmr.datasets.bars_and_stripes(2).values
    model = model_of(data, 3)
    options = {"batch_size": None, "chains": 5, "learning_rate": lambda done: 0.1, "horizon": 8, "progressbar": False}
    with model:
        learned = pmr.fit(1, random_seed=1, **options)
        iterates = [learned["parameters"]["W"].values]
        for _ in range(7):
            learned = pmr.fit(1, resume=learned, **options)
            iterates.append(learned["parameters"]["W"].values)
    counts = [k * (k + 1) * (k + 2) for k in (1, 2, 3)]
    by_hand = np.average(iterates[5:], axis=0, weights=counts)
    np.testing.assert_allclose(learned["averaged_parameters"]["W"], by_hand, rtol=1e-12)
    swapped = pmr.averaged(learned)
    np.testing.assert_array_equal(swapped["parameters"]["W"], learned["averaged_parameters"]["W"])
    np.testing.assert_array_equal(learned["parameters"]["W"], iterates[-1])
    assert pmr.log_partition(model, swapped).estimate != pmr.log_partition(model, learned).estimate


# ------------------------------------------------------------------------------------- resume and checkpoints


@pytest.mark.parametrize("optimizer", [pm.sgd, pytest.param(pm.adam, marks=pytest.mark.compiled)])
def test_resume_is_bit_for_bit(tmp_path, optimizer):
    data = pmr.datasets.digits()[:150]
    model = model_of(data, 4)
    options = {"optimizer": optimizer, "learning_rate": 0.01, "batch_size": 40, "chains": 20, "progressbar": False}
    with model:
        whole = pmr.fit(10, random_seed=2, **options)
        half = pmr.fit(5, random_seed=2, horizon=10, checkpoint=tmp_path / "half.nc", checkpoint_every=5, **options)
        with xr.open_datatree(tmp_path / "half.nc") as file:
            again = pmr.fit(5, resume=file.load(), **options)
        direct = pmr.fit(5, resume=half, **options)
    for other in (again, direct):
        assert other.attrs["epochs_done"] == 10
        for group in whole.children:
            xr.testing.assert_equal(other[group].to_dataset(), whole[group].to_dataset())
        assert other["state"].attrs["rng"] == whole["state"].attrs["rng"]
    assert [x.name for x in tmp_path.iterdir()] == ["half.nc"]


def interrupt_soon(status):
    """After the first epoch, so that nothing is compiled any more."""
    if status.epoch == 1:
        threading.Timer(0.5, signal.raise_signal, [signal.SIGINT]).start()


def test_resume_of_an_interrupted_run():
    model = model_of(DATA, 3)
    with model:
        with pytest.warns(UserWarning, match="interrupted"):
            first = pmr.fit(10_000_000, method="pcd", on_epoch=interrupt_soon, random_seed=1, progressbar=False)
        second = pmr.fit(3, method="pcd", resume=first, progressbar=False)
    assert second.attrs["epochs_done"] == first.attrs["epochs_done"] + 3
    assert second["particles"].sizes["draw"] == first["particles"].sizes["draw"] + 3


def test_resume_refuses_another_run(run):
    _, learned, _ = run
    with model_of(DATA):
        with pytest.raises(ValueError, match="another run"):
            pmr.fit(1, resume=learned, progressbar=False)
        with pytest.raises(ValueError, match=r"must come from pymc_rbm\.fit"):
            pmr.fit(1, resume=xr.DataTree(), progressbar=False)


def test_a_failed_checkpoint_leaves_the_old_file(tmp_path, monkeypatch):
    from pymc_rbm.learning.checkpoints import save

    path = tmp_path / "learned.nc"
    path.write_text("old")

    def fail(file):
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        save(xr.DataTree(), path)
    assert path.read_text() == "old"
    assert [x.name for x in tmp_path.iterdir()] == ["learned.nc"]


# ------------------------------------------------------------------------------------------ what comes back


@pytest.fixture(scope="module")
def run():
    data = pmr.datasets.digits()[:300]
    model = model_of(data, 5, 1.0)
    with model:
        return model, pmr.fit(20, chains=30, batch_size=100, sweeps=2, random_seed=3, progressbar=False), data


def test_groups_dims_and_coords(run):
    _, learned, data = run
    assert set(learned.children) == {
        "parameters", "averaged_parameters", "machines", "averaged_machines", "learning", "particles",
        "particle_states", "particle_history", "gradient", "objective", "data", "state",
    }  # fmt: skip
    assert learned["parameters"]["W"].dims == ("pixel", "unit")
    np.testing.assert_array_equal(learned["parameters"]["pixel"], data["pixel"])
    assert dict(learned["learning"].sizes) == {"iteration": 60, "epoch": 20}
    assert learned["particles"]["v_free_energy"].dims == ("chain", "draw")
    assert learned["particles"]["v_free_energy"].shape == (30, 60)
    assert learned["particle_states"]["v"].dims == ("chain", "pixel")
    assert learned["particle_states"]["v"].dtype == np.int8
    assert learned.attrs["interrupted"] == 0
    # The monitors of the last iteration belong to the particles that are returned (before the last update).
    states = learned["particle_states"]["v"].values
    np.testing.assert_allclose(learned["particles"]["v_visible_mean"][:, -1], states.mean(1), rtol=1e-12)


def test_machines_data_and_snapshots(run):
    model, learned, data = run
    for tree in (learned, pmr.averaged(learned)):
        for a, b in zip(pmr.machine_of(tree).parameters, pmr.machine_of(model, tree).parameters, strict=True):
            np.testing.assert_array_equal(a, b)
    assert learned["machines"]["v_weights"].dims == ("pixel", "unit")
    np.testing.assert_array_equal(learned["data"]["v_rows"], data)
    history = learned["particle_history"]
    np.testing.assert_array_equal(history["epoch"], [3, 5, 8, 10, 13, 15, 18, 20])
    np.testing.assert_array_equal(history["v"][-1], learned["particle_states"]["v"])
    with pytest.raises(ValueError, match=r"with the machines \[\], and name=None"):
        pmr.machine_of(xr.DataTree())


def test_gradient_and_its_error(run):
    """By hand from the particles that are returned; the prior is left out."""
    model, learned, data = run
    _, c, W = pmr.machine_of(model, learned).parameters

    def statistics(rows):
        h = 1 / (1 + np.exp(-(c + rows @ W)))
        return np.concatenate([(rows[:, :, None] * h[:, None]).reshape(len(rows), -1), rows, h], axis=1)

    particles = statistics(learned["particle_states"]["v"].values)
    difference = statistics(data.values).mean(0) - particles.mean(0)
    error = particles.std(0, ddof=1) / np.sqrt(len(particles))
    np.testing.assert_allclose(learned["gradient"]["v_gradient_norm"], np.linalg.norm(difference), rtol=1e-9)
    np.testing.assert_allclose(learned["gradient"]["v_gradient_standard_error"], np.linalg.norm(error), rtol=1e-9)


def test_arviz_takes_the_particles(run):
    _, learned, _ = run

    assert float(az.rhat(learned, group="particles")["v_free_energy"]) > 0.9
    assert float(az.ess(learned, group="particles")["v_free_energy"]) > 0
    table = az.summary(learned, group="particles")
    assert "v_free_energy" in table.index
    az.plot_trace(learned, group="particles", var_names=["v_free_energy"])
    az.plot_autocorr(learned, group="particles", var_names=["v_free_energy"])


def test_same_seed_same_result(run):
    model, learned, _ = run
    with model:
        again = pmr.fit(20, chains=30, batch_size=100, sweeps=2, random_seed=3, progressbar=False)
        other = pmr.fit(20, chains=30, batch_size=100, sweeps=2, random_seed=4, progressbar=False)
    for group in ("parameters", "averaged_parameters", "particles", "particle_states", "state"):
        xr.testing.assert_identical(again[group].to_dataset().drop_attrs(), learned[group].to_dataset().drop_attrs())
    assert (other["parameters"]["W"] != learned["parameters"]["W"]).any()


def test_netcdf(run, tmp_path):
    model, learned, data = run
    learned.to_netcdf(tmp_path / "learned.nc")
    with xr.open_datatree(tmp_path / "learned.nc") as again:
        again.load()
    for group in learned.children:
        xr.testing.assert_equal(again[group].to_dataset(), learned[group].to_dataset())
    assert again.attrs["epochs"] == 20
    assert likelihood_of(model, again, data) == pytest.approx(likelihood_of(model, learned, data), abs=1e-12)


def test_generative(run):
    model, learned, data = run
    with pmr.generative(model, learned) as new:
        assert [x.name for x in new.free_RVs] == ["v"]
        assert tuple(new.named_vars_to_dims["v"]) == ("pixel",)
        draws = pm.sample(50, tune=10, chains=2, cores=1, random_seed=1, progressbar=False, quiet=True)
    posterior = draws.posterior
    assert posterior["v"].dims == ("chain", "draw", "pixel")
    b, c, W = pmr.machine_of(model, learned).parameters
    np.testing.assert_allclose(posterior["v_free_energy"], pmr.free_energy(posterior["v"].values, W, b, c), rtol=1e-10)
    np.testing.assert_array_equal(new["W"].get_value(), learned["parameters"]["W"])
    assert new["W"].type.shape == W.shape  # numba takes two seconds for each check of a shape that is not known
    assert pmr.log_partition(new).estimate == pytest.approx(pmr.log_partition(model, learned).estimate, abs=1e-10)
    assert pm.draw(pmr.generative(model, learned, size=3)["v"]).shape == (3, 64)
    assert len(model.observed_RVs) == 1  # the original is untouched
    with pytest.raises(ValueError, match=r"no value for \['W'\]"):
        pmr.generative(model, xr.DataTree.from_dict({"parameters": learned["parameters"].to_dataset().drop_vars("W")}))
    assert data.shape == (300, 64)


@pytest.mark.slow
def test_generative_keeps_hidden_units_data_and_derived_parameters():
    rows = pmr.datasets.bars_and_stripes(2).values
    with pm.Model(coords={"row": range(6), "pixel": range(4), "unit": range(3)}) as model:
        gain = pm.Data("gain", 2.0)
        raw = pm.Normal("raw", 0, 1, dims=("pixel", "unit"))
        W = pm.Deterministic("W", gain * raw, dims=("pixel", "unit"))
        v = pmr.RBM("v", W, np.zeros(4), np.zeros(3), observed=rows, dims=("row", "pixel"))
        pmr.Hidden("h", v, dims=("row", "unit"))
        learned = pmr.fit(5, method="pcd", random_seed=1, progressbar=False)
    with pmr.generative(model, learned) as new:
        draws = pm.sample(20, tune=0, chains=2, cores=1, random_seed=1, progressbar=False, quiet=True)
    assert draws.posterior["h"].dims == ("chain", "draw", "unit")
    assert {"gain", "raw"} == {x.name for x in new.data_vars}
    np.testing.assert_allclose(pmr.machine_of(new).parameters[2], 2 * learned["parameters"]["raw"], rtol=1e-12)


def test_interrupt_returns_what_was_learned():
    data = pmr.datasets.bars_and_stripes(3)
    with model_of(data, 8), pytest.warns(UserWarning, match=r"interrupted in epoch \d+ of 10000000"):
        learned = pmr.fit(10_000_000, method="pcd", on_epoch=interrupt_soon, random_seed=1, progressbar=False)
    assert learned.attrs["interrupted"] == 1
    assert np.isfinite(learned["parameters"]["W"]).all()
    done = learned["learning"].sizes["iteration"]
    assert learned["particles"].sizes["draw"] == done > 0
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_callbacks():
    seen = {"iteration": [], "epoch": []}

    def note(kind, last=None):
        def callback(status):
            seen[kind].append((status.epoch, status.iteration, float(status.monitors["learning_rate"])))
            assert status.learned()["learning"].sizes["iteration"] == status.iteration
            np.testing.assert_array_equal(status.rows()["v"], DATA)
            return last is not None and status.iteration >= last

        return callback

    with model_of(DATA):
        options = {"batch_size": 3, "learning_rate": lambda done: 0.1 * (1 - done), "progressbar": False}
        pmr.fit(2, on_iteration=note("iteration"), on_epoch=note("epoch"), **options)
        stopped = pmr.fit(5, on_iteration=note("iteration", 3), **options)
        at_the_end = pmr.fit(5, on_epoch=note("epoch", 3), **options)
    assert seen["iteration"][:4] == [(0, 1, 0.1), (0, 2, pytest.approx(0.075)), (1, 3, 0.05), (1, 4, 0.025)]
    assert seen["epoch"][:2] == [(1, 2, pytest.approx(0.075)), (2, 4, 0.025)]
    for learned, iterations, epochs in ((stopped, 3, 1), (at_the_end, 4, 2)):
        assert learned.attrs["stopped"] == 1
        assert learned.attrs["interrupted"] == 0
        assert learned["learning"].sizes["iteration"] == iterations
        assert learned.attrs["epochs_done"] == epochs
    with model_of(DATA), pytest.raises(ValueError, match=r"on_epoch must be a callable.*got 3"):
        pmr.fit(1, on_epoch=3, progressbar=False)


@pytest.mark.slow
def test_default_method_and_rate_follow_the_correlation_of_the_data():
    """PCD at 0.1 for weak correlation, which would be less for a strong one; tempering for that, groups or not."""
    rng = np.random.default_rng(1)
    level = rng.random((500, 1))
    groups = (rng.random((500, 30)) < np.where(level < 0.5, 0.9, 0.1)).astype("int8")
    between = (rng.random((500, 30)) < level).astype("int8")  # strong, too, but no groups
    for data, method, splits in ((groups, tempered, True), (between, tempered, False), (DATA, persistent, False)):
        covariance = np.cov(data.T)
        np.fill_diagonal(covariance, 0)
        strength = max(1.0, np.linalg.eigvalsh(covariance)[-1])
        assert (strength > 2) == (data is not DATA)
        with model_of(data, 2) as model:
            found = [correlation(x) for x in observed_machines(model)]
        assert [x.splits for x in found] == [splits]
        assert default_method(found) is method
        assert default_rate(found, persistent) == pytest.approx(0.1 / strength, rel=1e-9)
    with model_of(groups, 24):
        learned = pmr.fit(1, random_seed=1, progressbar=False)
    assert (learned.attrs["method"], learned.attrs["sweeps"]) == ("tempered", 1)
    assert float(learned["learning"]["learning_rate"][0]) == 0.3


@pytest.mark.slow
def test_the_rate_of_a_layer_coupled_to_itself_is_stable():
    """One over the largest eigenvalue of the covariance of all x_i and x_i x_j, here from the matrix itself."""
    rng = np.random.default_rng(1)
    rows = 2.0 * (rng.random((400, 6)) < rng.random((400, 1))) - 1
    statistics = np.array([[*x, *(x[i] * x[j] for i in range(6) for j in range(i))] for x in rows])
    largest = np.linalg.eigvalsh(np.cov(statistics.T, bias=True))[-1]
    assert curvature(rows) == pytest.approx(largest, rel=0.01)
    assert curvature(np.ones((5, 3))) == 0
    with pm.Model() as model:
        u = pm.Normal("u", 0, 1, shape=15)
        U = pt.zeros((6, 6))[np.triu_indices(6, 1)].set(u)
        pmr.BoltzmannMachine("x", U + U.T, pm.Flat("b", shape=6), unit=pmr.Spin(), observed=rows.astype(int))
        found = [correlation(x) for x in observed_machines(model)]
        for estimator in (tempered, persistent):
            assert default_rate(found, estimator) <= 1.01 / largest
        # At ten times the bound of stability, two over the curvature, the exact gradient does not settle.
        ends = [
            pmr.fit(300, method="exact", batch_size=None, chains=2, learning_rate=lambda _, r=r: r, random_seed=1,
                    progressbar=False)
            for r in (1 / largest, 20 / largest)
        ]  # fmt: skip
    free = [float(abs(end["learning"]["x_free_energy_data"][-2:].diff("iteration")).max()) for end in ends]
    assert free[0] < 0.01 < free[1]  # nats that the last update changed


@pytest.mark.slow
def test_early_stopping_on_the_held_out_likelihood():
    """Sixty rows, many hidden units: the held-out likelihood rises and falls, and the best machine is kept."""
    data = pmr.datasets.digits().values[:, 8:40]
    train, test = data[:60], data[1000:1300]
    model = model_of(train, 8)
    with model:
        stop = pmr.StopOnLikelihood(test, patience=3, every=25)
        learned = pmr.fit(5000, method="exact", learning_rate=0.2, on_epoch=stop, random_seed=1, progressbar=False)
    assert learned.attrs["stopped"] == 1
    assert stop.epochs[-1] == learned.attrs["epochs_done"] < 5000
    best = int(np.argmax(stop.values))
    assert best == len(stop.values) - 4
    assert stop.best.attrs["epochs_done"] == stop.epochs[best]
    assert likelihood_of(model, stop.best, test) == pytest.approx(stop.values[best], abs=1e-9)
    with model:
        largest = 8.0  # any gap will do that the first run has passed where it stopped
        gap = pmr.StopOnGap(test, largest=largest, every=25)
        learned = pmr.fit(5000, method="exact", learning_rate=0.2, on_epoch=gap, random_seed=1, progressbar=False)
    assert learned.attrs["stopped"] == 1
    assert gap.values[-1] > largest >= max(gap.values[:-1])
    b, c, W = pmr.machine_of(learned).parameters
    difference = pmr.free_energy(test, W, b, c).mean() - pmr.free_energy(train, W, b, c).mean()
    assert gap.values[-1] == pytest.approx(difference, abs=1e-9)
    with model, pytest.raises(ValueError, match="must contain only 0 and 1"):
        pmr.fit(1, on_epoch=pmr.StopOnGap(test * 2, every=1), progressbar=False)


@pytest.mark.slow
def test_sparsity_target_and_group_prior():
    """A Potential on mean activations moves them to its target; a prior on each unit's scale takes gradients."""
    data = pmr.datasets.digits()[:200].values
    means = {}
    for strength in (0, 1000):
        with pm.Model() as model:
            scale = pm.Gamma("scale", 2, 5, shape=6)
            W = pm.Normal("W", 0, scale, shape=(64, 6))
            c = pm.Flat("c", shape=6)
            pmr.RBM("v", W, pm.Flat("b", shape=64), c, observed=data)
            activation = pmr.conditional_hidden(data, W, c).mean(0)
            pm.Potential("sparse", -strength * len(data) * ((activation - 0.1) ** 2).sum())
            learned = pmr.fit(100, batch_size=None, learning_rate=0.02, random_seed=1, progressbar=False)
        _, c, W = pmr.machine_of(model, learned).parameters
        means[strength] = pmr.conditional_hidden(data, W, c).mean(0)
        assert (learned["parameters"]["scale"] > 0).all()
    # No unit is by itself as near the target, 0.1, as twice the distance that the potential leaves to the farthest.
    assert np.abs(means[1000] - 0.1).max() < 0.05
    assert np.abs(means[0] - 0.1).min() > 0.1


@pytest.mark.compiled
def test_an_interrupt_that_comes_at_once_is_deferred(monkeypatch):
    """A signal between the installation of the handler and the next line."""
    install = _signal.signal

    def and_raise(number, handler):
        previous = install(number, handler)
        if handler is not signal.default_int_handler:
            signal.raise_signal(number)
        return previous

    monkeypatch.setattr(_signal, "signal", and_raise)
    with DeferredInterrupt() as interrupt:
        pass
    assert interrupt.pending
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_progress_bar(capfd, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    with model_of(pmr.datasets.bars_and_stripes(2)):
        pmr.fit(3, method="pcd", random_seed=1)
    shown = capfd.readouterr().out
    assert "Epoch" in shown
    assert "R-hat" in shown


def test_schedule_and_batches():
    shares = (0, 0.25, 0.5, 0.75, 1)
    expected = {
        "constant": [0.4] * 5,
        "hold_then_fall": [0.4, 0.4, 0.4, 0.2, 0],
        "linear": [0.4, 0.3, 0.2, 0.1, 0],
        "cosine": [0.4, 0.4 * (1 + 0.5**0.5) / 2, 0.2, 0.4 * (1 - 0.5**0.5) / 2, 0],
        "robbins_monro": [0.4, 0.4 / 3.5, 0.4 / 6, 0.4 / 8.5, 0.4 / 11],
    }
    for name, values in expected.items():
        rate = getattr(pmr.schedules, name)(0.4)
        assert [rate(x) for x in shares] == pytest.approx(values)
    data = pmr.datasets.bars_and_stripes(2)
    with model_of(data):
        learned = pmr.fit(8, learning_rate=pmr.schedules.linear(0.4), random_seed=1, progressbar=False)
    np.testing.assert_allclose(learned["learning"]["learning_rate"], 0.4 * (1 - np.arange(8) / 8))


def test_batches_of_an_epoch():
    counts, parts = [10, 7, 10, 2], 3
    batches = Batches(counts, parts, np.random.default_rng(1))
    found, first = [], 0
    while first < parts:
        n = batches.together(first)
        found += zip(*batches.rows(first, n), strict=True)
        first += n
    assert [[len(x) for x in part] for part in found] == [[4, 3, 4, 2], [3, 2, 3, 1], [3, 2, 3, 1]]
    for i, n in enumerate(counts):
        seen = np.concatenate([part[i] for part in found])
        assert sorted(seen) == sorted([*range(n)] * (2 if n < parts else 1))
    assert all((part[0] == part[2]).all() for part in found)
    assert not all((part[0][:2] == part[1][:2]).all() for part in found)


# --------------------------------------------------------------------------------------------------- errors

DATA = pmr.datasets.bars_and_stripes(2).values


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"epochs": 0}, "epochs must be a whole number of at least 1, got 0"),
        ({"epochs": 2.5}, "got 2.5"),
        ({"chains": -3}, "chains must be a whole number"),
        ({"sweeps": 0}, "sweeps must be"),
        ({"batch_size": 0}, "batch_size must be"),
        ({"learning_rate": -0.1}, "learning_rate must be a positive number"),
        ({"max_gradient_norm": 0}, "max_gradient_norm must be a positive number, got 0"),
        ({"learning_rate": np.nan}, "learning_rate must be a positive number"),
        ({"start": {"U": np.zeros((4, 4))}}, r"start has the names \['U'\]"),
        ({"start": {"W": np.zeros((4, 5))}}, r"start\['W'\] has shape \(4, 5\).*\(4, 4\)"),
    ],
)
def test_bad_arguments(arguments, message):
    with model_of(DATA), pytest.raises(ValueError, match=message):
        pmr.fit(**{"progressbar": False, **arguments})


@MASKED
def test_what_is_missing_in_all_rows_is_named():
    rows = np.ma.masked_array(DATA, np.zeros(DATA.shape, bool))
    rows[:, 2] = np.ma.masked
    with model_of(rows), pytest.warns(UserWarning, match=r"^\[2\] of 'v' are missing in all rows"):
        pmr.fit(2, method="pcd", **QUIET)


def test_models_that_cannot_be_learned():
    def refuse(build, message):
        with pm.Model() as model:
            build()
        with pytest.raises(ValueError, match=message):
            pmr.fit(model=model, progressbar=False)

    def flat(**kwargs):
        return pmr.RBM("v", pm.Flat("W", shape=(4, 3)), np.zeros(4), np.zeros(3), **kwargs)

    refuse(lambda: pm.Normal("x"), "no observed RBM")
    refuse(flat, "no observed RBM")
    refuse(lambda: (flat(observed=DATA), pm.Bernoulli("z", 0.5)), "z is free and discrete")

    def with_a_dependant():
        flat(observed=np.ma.masked_array(DATA, DATA == 2))
        pm.Potential("p", pm.modelcontext(None)["v"].sum())

    refuse(lambda: pmr.RBM("v", np.zeros((4, 3)), np.zeros(4), np.zeros(3), observed=DATA), "nothing to learn")
    refuse(lambda: flat(observed=DATA[:0]), "at least one row")
    refuse(lambda: flat(observed=DATA, log_z=1.0), "was given log_z")
    refuse(
        lambda: pmr.RBM("v", pm.Flat("W", shape=(len(DATA), 4, 3)), np.zeros(4), np.zeros(3), observed=DATA),
        "only the biases may differ by row",
    )


@pytest.mark.slow
def test_start_of_transformed_and_direct_parameters():
    with pm.Model():
        scale = pm.HalfNormal("scale")
        W = pm.Normal("W", 0, scale, shape=(4, 3))
        pmr.RBM("v", W, pm.Flat("b", shape=4), pm.Flat("c", shape=3), observed=DATA[:4])
        start = {"scale": 2.5, "W": ref.machine(4, 3)[0]}
        learned = pmr.fit(1, start=start, learning_rate=1e-12, random_seed=1, progressbar=False)["parameters"]
    np.testing.assert_allclose(learned["scale"], 2.5, rtol=1e-9)
    np.testing.assert_allclose(learned["W"], start["W"], rtol=1e-9)
    mean = (DATA[:4].sum(0) + 0.5) / 5
    np.testing.assert_allclose(learned["b"], np.log(mean / (1 - mean)), rtol=1e-9, atol=1e-9)


@pytest.mark.slow
def test_observed_hidden_units_count_and_free_ones_do_not():
    """p(v)·p(h | v) with h observed pulls the weights; a free h integrates to one and changes nothing."""

    def learn(**kwargs):
        with pm.Model():
            W = pm.Normal("W", 0, 1, shape=(4, 3))
            v = pmr.RBM("v", W, np.zeros(4), np.zeros(3), observed=DATA)
            if kwargs:
                pmr.Hidden("h", v, **kwargs)
            return pmr.fit(30, method="pcd", random_seed=1, progressbar=False)["parameters"]["W"].values

    alone, free, observed = learn(), learn(shape=(6, 3)), learn(observed=np.ones((6, 3)))
    np.testing.assert_allclose(free, alone, rtol=1e-9)

    def penalised(w):
        """log p(v, h = 1) and prior at equal weights w, which the maximum has by symmetry: 12 of 24 units are on."""
        log_z = np.log(sum(math.comb(4, k) * (1 + np.exp(k * w)) ** 3 for k in range(5)))
        return 12 * 3 * w - 6 * log_z - 12 * w**2 / 2

    best = minimize_scalar(lambda w: -penalised(w), bounds=(-2, 2)).x
    assert observed.mean() > alone.mean() + 0.7 * best  # 30 epochs go most of the way
    with pm.Model():
        v = pmr.RBM("v", pm.Normal("W", 0, 1, shape=(4, 3)), np.zeros(4), np.zeros(3), observed=DATA)
        pm.Normal("y", pmr.Hidden("h", v).sum(), 1, observed=3.0)
        with pytest.raises(ValueError, match=r"hidden units h out.*\['y'\]"):
            pmr.fit(1, progressbar=False)


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", [pm.sgd, pm.sgd(learning_rate=0.5)])
def test_gradients_are_clipped(optimizer):
    options = {"batch_size": None, "learning_rate": 0.5, "progressbar": False}
    with model_of(DATA):
        begin = {"W": np.linspace(0.5, 1.5, 16).reshape(4, 4), "b": np.zeros(4), "c": np.zeros(4)}
        learned = pmr.fit(1, optimizer=optimizer, max_gradient_norm=1e-3, start=begin, random_seed=1, **options)[
            "parameters"
        ]
    moved = np.sqrt(sum(float(((learned[name] - begin[name]) ** 2).sum()) for name in begin))
    assert moved == pytest.approx(0.5e-3, rel=1e-3)


@pytest.mark.slow
def test_divergence_is_said():
    with model_of(DATA), pytest.raises(FloatingPointError, match="Lower learning_rate"), np.errstate(all="ignore"):
        pmr.fit(200, optimizer=pm.sgd(learning_rate=1e308), random_seed=1, progressbar=False)
