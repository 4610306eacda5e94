"""The mathematics alone, of all units and of whatever stands for a machine, against the reference's plain sums."""

import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
import pytest
import reference as ref
import xarray as xr
from layered import triangle, weighted_states
from options import QUIET
from pairs import UNITS, rows_of

import pymc_rbm as pmr


@pytest.mark.parametrize("pair", list(zip(UNITS, [*UNITS][3:] + [*UNITS][:3], strict=True)), ids="-".join)
def test_functions_of_any_units(pair):
    """Each family once on either side, as arrays, as a graph and as a machine."""
    (visible, left, _), (hidden, right, m) = (UNITS[x] for x in pair)
    v, rng = rows_of(pair[0])[:3].astype(float), np.random.default_rng(1)
    W = 0.5 * rng.standard_normal((v.shape[1], m * hidden.width))
    b, c = rng.standard_normal(len(W)), rng.standard_normal(W.shape[1])
    units = {"visible": visible, "hidden": hidden}
    states = ref.layer_states(right, m)
    h, weights = np.array([x for x, _ in states], float), np.array([w for _, w in states])
    base = log_base_of_counts(left, v)[:, None] + (log_base_of_counts(right, h) if pair[1] == "binomial" else 0)
    joint = np.array([[ref.pair_energy(left, right, row, x, W, b, c) for x in h] for row in v]) - base
    log_sums = np.array([ref.log_sum(list(row)) for row in weights * (pair[1] != "binomial") - joint])
    p = np.exp(weights * (pair[1] != "binomial") - joint - log_sums[:, None])
    machine = pmr.restricted(W, b, c, visible, hidden)
    with pytensor.config.change_flags(mode="FAST_COMPILE"):
        for parameters, given in (((W, b, c), units), ((machine,), {})):
            found = pmr.energy(v[:, None], h, *parameters, **given)
            np.testing.assert_allclose(found, joint, rtol=1e-10, atol=1e-10)
            np.testing.assert_allclose(pmr.free_energy(v, *parameters, **given), -log_sums, rtol=1e-9)
        for parameters, given in (((W, c), units), ((machine,), {})):
            found = pmr.conditional_hidden(v, *parameters, **given)
            np.testing.assert_allclose(found, p @ h, rtol=1e-7, atol=1e-10)
        some = h[:: max(1, len(h) // 3)]
        back = [pmr.conditional_visible(some, W, b, **units), pmr.conditional_visible(some, machine)]
        np.testing.assert_array_equal(*back)
        symbolic = pmr.free_energy(pt.as_tensor(v), W, b, c, **units)
        np.testing.assert_allclose(symbolic.eval(), -log_sums, rtol=1e-9)


def log_base_of_counts(family, x):
    """log base of counts, which the reference has among the weights of states."""
    table = dict(ref.values(family)) if family[0] == "binomial" else {}
    return np.array([sum(table[entry,] for entry in row) if table else 0.0 for row in x])


W, B, C = ref.machine(4, 3, seed=3)
V = np.array(ref.states(4))


@pytest.fixture(scope="module")
def learned():
    parameters = {"W": (("pixel", "unit"), W), "b": ("pixel", B), "c": ("unit", C)}
    return xr.DataTree.from_dict({"parameters": xr.Dataset(parameters)})


@pytest.fixture(scope="module")
def model():
    with pm.Model() as model:
        W, b, c = (pm.Normal(x, shape=shape) for x, shape in (("W", (4, 3)), ("b", 4), ("c", 3)))
        pmr.RBM("image", W, b, c, observed=V)
    return model


def test_functions_of_models_and_variables(model, learned):
    h = np.array(ref.states(3))[:2]
    for target in (model, model["image"]):
        np.testing.assert_array_equal(pmr.free_energy(V, target, learned), pmr.free_energy(V, W, B, C))
        np.testing.assert_array_equal(pmr.energy(V[:2], h, target, learned=learned), pmr.energy(V[:2], h, W, B, C))
        np.testing.assert_array_equal(pmr.conditional_hidden(V, target, learned), pmr.conditional_hidden(V, W, C))
        np.testing.assert_array_equal(pmr.conditional_visible(h, target, learned), pmr.conditional_visible(h, W, B))


def test_functions_of_one_layer():
    """E(x) = -½ xᵀUx - bᵀx, which is its free energy, too."""
    U = ref.machine(4, 4, seed=4)[0]
    U = np.triu(U, 1) + np.triu(U, 1).T
    expected = [-sum(U[i, j] * x[i] * x[j] for i in range(4) for j in range(i)) - sum(B * x) for x in V]
    machine = pmr.boltzmann(U, B)
    np.testing.assert_allclose(pmr.energy(V, None, machine), expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(pmr.free_energy(V, machine), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda m, t: pmr.free_energy(V, W),
            TypeError,
            "Give W and b and c, or in their place a machine.*ndarray alone",
        ),
        (lambda m, t: pmr.conditional_hidden(V, W), TypeError, "Give W and c, or"),
        (lambda m, t: pmr.free_energy(V, m), ValueError, "random variables without a value.*Pass `learned`"),
        (lambda m, t: pmr.free_energy(V, m, xr.DataTree()), ValueError, "Expected what pymc_rbm.fit returned"),
        (lambda m, t: pmr.free_energy(V, m, t, hidden=pmr.Spin()), ValueError, "biases and units of its own"),
        (
            lambda m, t: pmr.free_energy(np.ma.MaskedArray(V, V > 0), m, t),
            ValueError,
            "missing entries.*log_likelihood",
        ),
        (lambda m, t: pmr.free_energy(V[:, :3], m, t), ValueError, "v has shape.*4 visible units"),
        (lambda m, t: pmr.energy(V, V, pmr.boltzmann(np.zeros((4, 4)), B)), ValueError, "pass None for h"),
        (lambda m, t: pmr.conditional_hidden(V, pmr.boltzmann(np.zeros((4, 4)), B)), ValueError, "no hidden layer"),
    ],
)
def test_refusals(model, learned, call, error, message):
    with pytest.raises(error, match=message):
        call(model, learned)


STAR, CHAIN = (
    pmr.Machine(triangle().layers, [c for c in triangle().couplings if (c.first, c.second) in pairs])
    for pairs in ({(0, 1), (0, 2)}, {(0, 1), (1, 2)})
)


def log_sums(machine):
    """By visible state the log of the sum over the states of all other layers, by plain loops."""
    table = {}
    for (first, *_), weight in weighted_states(machine):
        table.setdefault(tuple(first), []).append(weight)
    return {v: ref.log_sum(weights) for v, weights in table.items()}


@pytest.mark.interpreted
@pytest.mark.parametrize("machine", [STAR, CHAIN], ids=["star", "chain"])
def test_likelihoods_of_three_layers_against_loops(machine):
    sums, v = log_sums(machine), np.array(ref.states(3))
    log_z = ref.log_sum(list(sums.values()))
    assert pmr.log_partition(machine).estimate == pytest.approx(log_z, abs=1e-10)
    log_p = np.array([sums[tuple(x)] for x in v]) - log_z
    np.testing.assert_allclose(pmr.log_likelihood(v, machine, **QUIET)["log_likelihood"]["v"][0, 0], log_p, rtol=1e-9)
    other = np.array([sums[tuple(x)] for x in v ^ [1, 0, 0]]) - log_z
    found = pmr.log_conditional(v, machine, units=[True, False, False], **QUIET)["log_conditional"]
    np.testing.assert_allclose(found, log_p - np.logaddexp(log_p, other), rtol=1e-9)


@pytest.mark.interpreted
def test_a_star_of_three_layers():
    """Hidden layers that are not coupled sum out. What needs two sides says so (tests/test_one_message.py)."""
    sums, v = log_sums(STAR), np.array(ref.states(3))
    log_p = np.array([sums[tuple(x)] for x in v])
    np.testing.assert_allclose(pmr.free_energy(v, STAR), -log_p)
    flipped = [[sums[tuple(x)] for x in v ^ np.eye(3, dtype=int)[i]] for i in range(3)]
    expected = (log_p - np.logaddexp(log_p, flipped)).sum(0)
    np.testing.assert_allclose(pmr.pseudo_log_likelihood(v, STAR), expected, rtol=1e-9)


@pytest.mark.interpreted
@pytest.mark.parametrize("machine", [STAR, CHAIN], ids=["star", "chain"])
def test_units_of_three_layers_are_drawn_given_others(machine):
    sums, row = log_sums(machine), np.ma.masked_array([[1, 0, 1]], [[True, True, False]])
    log_p = np.array([sums[i, j, 1] for i, j in ref.states(2)])
    p = np.exp(log_p - ref.log_sum(list(log_p)))
    found = pmr.inpaint(row, machine, draws=500, tune=50, **QUIET)
    v = found["posterior"]["v"].values.reshape(-1, 3)
    assert (v[:, 2] == 1).all()
    drawn = np.bincount([list(ref.states(2)).index((i, j)) for i, j, _ in v.tolist()], minlength=4)
    n = float(found["convergence"]["ess"].min())
    assert ref.total_variation(drawn, p) < 4 * ref.total_variation_floor(p, n)
    assert ref.total_variation(drawn, np.roll(p, 1)) > 4 * ref.total_variation_floor(p, n)
