"""Deep belief networks against plain enumeration: draws, bounds, conditionals, and learning layer by layer."""

import math
import pickle
import signal
from functools import partial
from itertools import pairwise

import arviz as az
import numpy as np
import pymc as pm
import pytest
import reference as ref
import xarray as xr
from enumerated import Enumerated, down, log_bernoulli, up
from limits import best_classes
from options import MUTED

import pymc_rbm as pmr
from pymc_rbm.deep.bound import log_ratios
from pymc_rbm.deep.fit_deep import ALMOST_NOTHING
from pymc_rbm.deep.posterior import _advance_function

pytestmark = pytest.mark.interpreted


def stack(*sizes, seed=3, scale=1.0):
    return [ref.machine(m, n, scale, seed + i) for i, (m, n) in enumerate(pairwise(sizes))]


def network(layers):
    return pmr.DeepBeliefNetwork.of(*(pmr.restricted(*layer) for layer in layers))


CASES = {"6-4-3": stack(6, 4, 3), "4-3-3-2": stack(4, 3, 3, 2)}
cases = pytest.mark.parametrize("case", CASES)


@pytest.fixture(scope="module")
def exact():
    return {name: Enumerated(layers) for name, layers in CASES.items()}


def index_of(paths, layers):
    """The index of each joint state in `Enumerated.paths`, whose layers run like digits."""
    index = 0
    for x, n in zip(layers, (len(x) for x in paths[0]), strict=True):
        index = index * 2**n + ref.index(x)
    return index


def assert_distributed(indices, p, fits=True):
    """Total variation within five standard deviations of what independent draws of p have."""
    n = len(indices)
    found = ref.total_variation(np.bincount(indices, minlength=len(p)), p)
    spread = 0.5 * np.sqrt((1 - 2 / np.pi) * (p * (1 - p)).sum() / n)
    assert (found < ref.total_variation_floor(p, n) + 5 * spread) == fits


# ------------------------------------------------------------------------------------------------- the model


@cases
def test_prior_draws(case, exact):
    layers, dbn = CASES[case], network(CASES[case])
    p = np.exp(exact[case].log_p)
    assert p.sum() == pytest.approx(1, abs=1e-12)
    with dbn.model(size=20_000):
        prior = pm.sample_prior_predictive(1, random_seed=1)["prior"].isel(chain=0, draw=0)
    drawn = [prior[name].values for name in dbn.names]
    assert_distributed(index_of(exact[case].paths, drawn), p)
    # It would show if the layer below had the up-pass's bias, or were drawn from means.
    wrong = [(W, np.roll(b, 1), c) if i == 0 else (W, b, c) for i, (W, b, c) in enumerate(layers)]
    assert_distributed(index_of(exact[case].paths, drawn), np.exp(Enumerated(wrong).log_p), fits=False)
    np.testing.assert_allclose(
        prior["v_mean"][:5], [[1 / (1 + math.exp(-f)) for f in down(layers[0], h)] for h in drawn[1][:5]], rtol=1e-12
    )


def test_density_of_the_model(exact):
    """Whole, in rows, and with missing entries, which sum out."""
    paths, log_p = exact["6-4-3"].paths, exact["6-4-3"].log_p
    dbn, chosen = network(CASES["6-4-3"]), [3, 200, 777]
    model = dbn.model(observed=[paths[k][0] for k in chosen])
    assert model.eval_rv_shapes()["h1"] == (3, 4)
    h = np.array([paths[k][1] for k in chosen], dtype="int8")
    assert model.compile_logp()({"h1": h}) == pytest.approx(log_p[chosen].sum(), abs=1e-9)
    v, h = paths[200]
    masked = np.ma.MaskedArray(v, [0, 1, 0, 0, 1, 1])
    model = dbn.model(observed=masked)
    same = [path for path in paths if path[1] == h and all(path[0][i] == v[i] for i in (0, 2, 3))]
    expected = ref.log_sum([log_p[paths.index(path)] for path in same])
    assert model.compile_logp()({"h1": np.array(h, dtype="int8")}) == pytest.approx(expected, abs=1e-9)
    assert [x.name for x in model.observed_RVs] == ["v_known"]
    assert "v_mean" in model.named_vars


def test_graph_dims_and_coords():
    data = xr.DataArray(np.eye(6, dtype="int8"), dims=("image", "pixel"), coords={"image": list("abcdef")})
    dbn = network(CASES["6-4-3"])
    model = dbn.model(observed=data)
    assert model.named_vars_to_dims["h1"] == ("image", "h1_unit")
    assert model.named_vars_to_dims["v"] == ("image", "v_unit")
    assert list(model.coords["image"]) == list("abcdef")
    graph = str(pm.model_to_graphviz(model))
    for edge in ("h1 -> v", "W1 -> v", "W2 -> h1", "c2 -> h1"):
        assert edge in graph
    assert "~\nRBM" in graph
    assert "~\nBernoulli" in graph
    assert dbn.model(size=4).eval_rv_shapes() == {"h1": (4, 4), "v": (4, 6)}
    assert [x.name for x in dbn.first(1).model().free_RVs] == ["v"]


# -------------------------------------------------------------------------------------------------- the bound


@cases
def test_bound(case, exact):
    dbn, states = network(CASES[case]), np.array(exact[case].visible)
    log_p, expected = exact[case].log_likelihood(), exact[case].bound()
    assert (expected < log_p).all()
    found = dbn.bound(states, draws=4000, random_seed=1, **MUTED)
    rows, mean = found["bound"], found["mean_bound"]
    assert (abs(rows["bound"] - expected) < 5 * rows["error"]).all()
    assert (rows["error"] < 0.1).all()
    assert abs(mean["mean"] - expected.mean()) < 4 * mean["error_of_draws"]
    assert mean["error_of_draws"] < 0.01
    # E_q[w] / Z = p(v), with the relative error of a mean of these weights.
    log_w = log_ratios(dbn.machines, states.astype("int8"), 4000, np.random.default_rng(1))
    w = np.exp(log_w - float(found["log_z"]["estimate"]) - log_p)
    assert (abs(w.mean(0) - 1) < 5 * w.std(0) / np.sqrt(4000)).all()
    assert (rows["importance_weighted"] > rows["bound"]).all()
    # The errors of log Z and of the rows are carried.
    given = pmr.LogPartitionEstimate(float(found["log_z"]["estimate"]), 0.3, "ais")
    carried = dbn.bound(states, given, draws=2, **MUTED)["mean_bound"]
    assert float(carried["error_of_log_z"]) == 0.3
    assert carried["standard_error"] == pytest.approx(np.hypot(0.3, carried["error_of_rows"]))


def test_bound_of_one_machine_is_its_log_likelihood():
    W, b, c = CASES["6-4-3"][0]
    found = network([(W, b, c)]).bound(ref.states(6), **MUTED)["bound"]
    np.testing.assert_allclose(found["bound"], ref.log_p(W, b, c), atol=1e-10)
    assert (found["error"] == 0).all()


@pytest.mark.parametrize("depth", [1, 2])
def test_a_tied_machine_on_top_changes_nothing(depth):
    """Hinton, Osindero & Teh (2006): with W of the machine below upside down the bound is that of the network below."""
    layers = stack(4, 3, 3)[:depth]
    W, b, c = layers[-1]
    tied = Enumerated([*layers, (W.T, c, b)])
    below = ref.log_p(W, b, c) if depth == 1 else Enumerated(layers).bound()
    np.testing.assert_allclose(tied.bound(), below, atol=1e-10)
    np.testing.assert_allclose(tied.log_likelihood(), Enumerated(layers).log_likelihood(), atol=1e-10)
    dbn = network(layers).tied()
    assert len(dbn) == depth + 1
    found = dbn.bound(ref.states(4), draws=500, **MUTED)["bound"]
    if depth == 1:  # q is the exact posterior: every draw gives the same
        np.testing.assert_allclose(found["bound"], below, atol=1e-10)
        np.testing.assert_allclose(found["error"], 0, atol=1e-10)
    else:
        assert (abs(found["bound"] - below) < 5 * found["error"]).all()


def test_gaussian_visible_units():
    """The mixture of normals that the network is: moments of its draws, the bound, the tied top."""
    sigma = np.array([0.7, 1.2])
    rng = np.random.default_rng(2)
    W, b, c = rng.normal(0, 1, (2, 3)), np.array([0.5, -1.0]), rng.normal(0, 1, 3)
    first, top = pmr.restricted(W, b, c, pmr.Gaussian(sigma)), ref.machine(3, 2, seed=9)
    dbn = pmr.DeepBeliefNetwork.of(first, pmr.restricted(*top))
    h = np.array(ref.states(3))
    weights, centres = np.exp(ref.log_p(*top)), np.array([b + W @ x for x in h])
    with dbn.model(size=20_000) as model:
        v = pm.sample_prior_predictive(1, random_seed=1)["prior"]["v"].values[0, 0]
    assert model["v"].owner.op.name == "normal"
    mean = weights @ centres
    covariance = (weights[:, None] * (centres - mean)).T @ (centres - mean) + np.diag(sigma**2)
    spread = np.sqrt(np.diag(covariance))
    assert (abs(v.mean(0) - mean) < 5 * spread / np.sqrt(len(v))).all()
    products = (v - mean)[:, 0] * (v - mean)[:, 1]
    assert abs(products.mean() - covariance[0, 1]) < 5 * products.std() / np.sqrt(len(v))
    x = rng.normal(0, 1.5, (6, 2))
    normal = np.exp(-((x[:, None] - centres) ** 2 / (2 * sigma**2)).sum(-1)) / (2 * np.pi * sigma.prod())
    q = np.array([[math.exp(log_bernoulli(s, c + (row / sigma**2) @ W)) for s in h] for row in x])
    expected = (q * (np.log(weights * normal) - np.log(q))).sum(1)
    found = dbn.bound(x, draws=4000, random_seed=1, **MUTED)["bound"]
    assert (abs(found["bound"] - expected) < 5 * found["error"]).all()
    assert (expected < np.log(normal @ weights)).all()
    alone = pm.logp(pmr.RBM.dist(W, b, c, visible=pmr.Gaussian(sigma)), x).eval()
    tied = pmr.DeepBeliefNetwork.of(first).tied()
    np.testing.assert_allclose(tied.bound(x, draws=3, **MUTED)["bound"]["bound"], alone, atol=1e-9)
    masked = np.ma.MaskedArray(x, [[0, 1]] * 6)
    model = dbn.model(observed=masked)
    state = np.tile(h[5], (6, 1)).astype("int8")
    given = -((x[:, 0] - centres[5, 0]) ** 2) / (2 * sigma[0] ** 2) - math.log(sigma[0] * math.sqrt(2 * math.pi))
    assert model.compile_logp()({"h1": state}) == pytest.approx((np.log(weights[5]) + given).sum(), abs=1e-9)


# ---------------------------------------------------------------------------------------------------- passes


def test_features_and_reconstruction():
    (W1, b1, c1), (W2, b2, c2) = CASES["6-4-3"]
    dbn = network(CASES["6-4-3"])
    data = xr.DataArray(
        np.random.default_rng(1).random((2, 5, 6)), dims=("a", "row", "pixel"), coords={"row": range(3, 8)}
    )

    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    first = sigmoid(c1 + data.values @ W1)  # grey values enter as probabilities
    second = sigmoid(c2 + first @ W2)
    np.testing.assert_allclose(dbn.features(data, 1), first, rtol=1e-12)
    np.testing.assert_allclose(dbn.features(data), second, rtol=1e-12)
    np.testing.assert_allclose(dbn.reconstruct(data, 1), sigmoid(b1 + first @ W1.T), rtol=1e-12)
    np.testing.assert_allclose(dbn.reconstruct(data), sigmoid(b1 + sigmoid(b2 + second @ W2.T) @ W1.T), rtol=1e-12)
    assert dbn.features(data).dims == ("a", "row", "h2_unit")
    assert list(dbn.features(data)["row"]) == list(range(3, 8))
    states = np.tile(np.array([1, 0, 0, 1, 1, 0]), (20_000, 1))
    drawn = dbn.features(states, 2, sampled=True, random_seed=1)
    assert set(np.unique(drawn)) == {0, 1}
    q = np.array([math.exp(log_bernoulli(h, up(CASES["6-4-3"][0], states[0]))) for h in ref.states(4)])
    expected = q @ sigmoid(c2 + np.array(ref.states(4)) @ W2)
    assert (abs(drawn.mean("v_row") - expected) < 5 * 0.5 / np.sqrt(20_000)).all()
    assert (abs(dbn.features(states[0]) - expected) > 5 * 0.5 / np.sqrt(20_000)).any()  # means are no expectations here
    np.testing.assert_array_equal(drawn, dbn.features(states, 2, sampled=True, random_seed=1))


# ------------------------------------------------------------------------------------------------ inpainting


@pytest.mark.parametrize("corrected", [1, 0])
def test_inpainting_leaves_the_conditional_where_it_is(corrected, exact):
    """From exact starts, after 1, 4 and 16 sweeps; without the Metropolis-Hastings test it does not."""
    layers, chains = CASES["6-4-3"], 30_000
    paths, dbn = exact["6-4-3"].paths, network(CASES["6-4-3"])
    known = np.array([1, 1, 0, 0, 1, 0], bool)
    given = np.array([1, 0, 0, 0, 1, 0])
    fits = np.array([all(path[0][i] == given[i] for i in np.flatnonzero(known)) for path in paths])
    p = np.where(fits, np.exp(exact["6-4-3"].log_p), 0)
    p /= p.sum()
    rng = np.random.default_rng(5)
    start = rng.choice(len(p), size=chains, p=p)
    states = [np.array([path[i] for path in paths], "int8")[start] for i in range(len(layers))]
    advance = _advance_function(tuple(machine.template for machine in dbn.machines))
    parameters = [x for machine in dbn.machines for x in machine.parameters]
    mask = np.tile(known, (chains, 1)).astype("int8")
    for sweep in range(1, 17):
        rng, _, *states = advance(rng, corrected, mask, *states, *parameters)
        if sweep in (1, 4, 16):
            assert_distributed(index_of(paths, states), p, fits=bool(corrected))


def test_inpainting(exact):
    states, log_p = np.array(exact["6-4-3"].visible), exact["6-4-3"].log_likelihood()
    dbn = network(CASES["6-4-3"])
    rows = np.ma.MaskedArray(states[[5, 60, 33]], False)
    rows[0, :3], rows[1, 2:] = np.ma.masked, np.ma.masked
    found = dbn.inpaint(rows, draws=2000, tune=50, chains=10, random_seed=1, **MUTED)
    v = found["posterior"]["v"]
    assert v.dims == ("chain", "draw", "v_row", "v_unit")
    assert found["posterior"]["h1"].sizes["h1_unit"] == 4
    assert (v.values[..., ~rows.mask] == rows.compressed()).all()
    for i, row in enumerate(rows):
        fits = (states[:, ~row.mask] == row.compressed()).all(1)
        p = np.where(fits, np.exp(log_p), 0)
        mean = p @ states / p.sum()
        chains = v.isel(v_row=i).mean("draw")
        error = chains.std("chain", ddof=1) / np.sqrt(10) + 1e-12
        assert (abs(chains.mean("chain") - mean) < 6 * error).all()  # Student's t with nine degrees of freedom
    assert 0.02 < float(found["sample_stats"]["accepted"].mean()) < 1
    same = dbn.inpaint(rows, draws=2000, tune=50, chains=10, random_seed=1, **MUTED)
    assert same["posterior"].equals(found["posterior"])
    # One machine is a tied network of two: every proposal is accepted, block Gibbs.
    alone = dbn.first(1).inpaint(rows[0], draws=50, tune=10, chains=3, random_seed=1, **MUTED)
    assert alone["posterior"]["v"].dims == ("chain", "draw", "v_unit")
    assert (alone["sample_stats"]["accepted"] == 1).all()


def test_inpainting_says_when_chains_are_stuck():
    """The up-pass proposes any of 2¹² states, the top machine knows only one."""
    hard = network([(np.zeros((6, 12)), np.zeros(6), np.zeros(12)), (np.zeros((12, 2)), np.full(12, 9.0), np.zeros(2))])
    with pytest.warns(UserWarning, match="accepted less than 2% of their proposals"):
        hard.inpaint(np.zeros((5, 6)), draws=2000, tune=10, random_seed=1, **MUTED)


# ------------------------------------------------------------------------------------------- greedy learning


BARS = pmr.datasets.bars_and_stripes(3)
fast = {"epochs": [3, 2], "random_seed": 1, "batch_size": 7, "chains": 10, "progressbar": False}


@pytest.fixture(scope="module")
def learned():
    return pmr.fit_deep(BARS, [5, 4], **fast)


def test_what_comes_back(learned, tmp_path):
    assert learned.names == ("v", "h1")
    assert learned.dims == ("pixel", "h1_unit", "h2_unit")
    layers = learned.learned.children
    assert list(layers) == ["layer_1", "layer_2"]
    assert [x.attrs["epochs_done"] for x in layers.values()] == [3, 2]
    assert layers["layer_1"]["parameters"]["W1"].dims == ("pixel", "h1_unit")
    assert set(np.unique(layers["layer_2"]["data"]["h1_rows"])) == {0, 1}
    learned.learned.to_netcdf(tmp_path / "network.nc")
    with xr.open_datatree(tmp_path / "network.nc") as file:
        read = pmr.DeepBeliefNetwork(file.load())
    expected = learned.bound(BARS, random_seed=1, **MUTED)
    for other in (read, pickle.loads(pickle.dumps(learned))):
        assert other.bound(BARS, random_seed=1, **MUTED)["bound"].equals(expected["bound"])
        assert other.names == learned.names
        assert other.dims == learned.dims
    assert expected["bound"].sizes == {"image": 14}


def test_the_same_seed_learns_the_same(learned):
    again = pmr.fit_deep(BARS, [5, 4], **fast)
    for a, b in zip(learned.machines, again.machines, strict=True):
        for x, y in zip(a.parameters, b.parameters, strict=True):
            np.testing.assert_array_equal(x, y)
    assert len(learned.first(1)) == 1


def test_options_by_machine_and_machines_on_top(learned):
    priors = [partial(pm.Laplace, mu=0, b=1), pm.Flat]
    used = []

    def watched(k, *args, **kwargs):
        used.append(args[0])
        return priors[k](*args, **kwargs)

    more = pmr.fit_deep(
        BARS,
        [11, 3],
        below=learned.first(1),
        prior=[partial(watched, 0), partial(watched, 1)],
        tied=[True, False],
        copies=3,
        epochs=1,
        batch_size=None,
        chains=5,
        learning_rate=[1e-9, 0.1],
        random_seed=2,
        **MUTED,
    )
    assert used == ["W2", "W3"]
    assert repr(more) == "<DeepBeliefNetwork 9-5-11-3: v, h1, h2>"
    below, tied, _ = more.machines
    np.testing.assert_array_equal(below.parameters[2], learned.machines[0].parameters[2])
    np.testing.assert_allclose(tied.parameters[2][:, :9], below.parameters[2].T, atol=1e-6)
    assert 0 < abs(tied.parameters[2][:, 9:]).max() < 5 * ALMOST_NOTHING
    np.testing.assert_allclose(tied.parameters[0], below.parameters[1], atol=1e-6)
    assert len(more.layers[1]["data"]["h1_rows"]) == 3 * len(BARS)


def test_interrupts(learned):
    def interrupt(status):
        if status.epoch == 2:
            signal.raise_signal(signal.SIGINT)

    with pytest.warns(UserWarning, match="Learning was interrupted in epoch 3 of 9"):
        two = pmr.fit_deep(
            BARS, [4, 3], below=learned.first(1), epochs=9, on_epoch=interrupt, random_seed=1, batch_size=None, **MUTED
        )
    assert len(two) == 2
    assert two.layers[1].attrs["interrupted"] == 1

    def impatient(*args, **kwargs):
        raise KeyboardInterrupt

    with pytest.warns(UserWarning, match="before machine 2 was learned"):
        one = pmr.fit_deep(BARS, [4], below=learned.first(1), prior=impatient, **MUTED)
    assert len(one) == 1
    with pytest.raises(KeyboardInterrupt):
        pmr.fit_deep(BARS, [4], prior=impatient, **MUTED)


def test_a_press_while_machines_are_stacked_loses_nothing_and_is_said(monkeypatch):
    """The first machine is learned already: it is returned, and a warning says that the second is not there."""
    stacked = pmr.DeepBeliefNetwork.of

    def pressed(*layers):
        signal.raise_signal(signal.SIGINT)
        return stacked(*layers)

    monkeypatch.setattr(pmr.DeepBeliefNetwork, "of", pressed)
    few = {"epochs": 1, "method": "pcd", "sweeps": 1, "random_seed": 1}
    with pytest.warns(UserWarning, match="before machine 2 was learned"):
        one = pmr.fit_deep(BARS, [4, 3], **few, **MUTED)
    assert len(one) == 1
    assert len(pmr.fit_deep(BARS, [4], **few, **MUTED)) == 1  # nothing is missing, and nothing is said


def exact_mean_bound(dbn):
    """The bound of a network of two machines, by sums over all states of h¹, vectorised."""
    (first, top), data = dbn.machines, BARS.values
    (b, c, W), (b2, c2, W2) = first.parameters, top.parameters
    h, g = np.array(ref.states(len(c))), np.array(ref.states(len(c2)))
    joint = (h @ b2)[:, None] + g @ c2 + h @ W2 @ g.T
    log_top = np.logaddexp.reduce(joint, 1) - np.logaddexp.reduce(joint, None)
    fields = b + h @ W.T
    log_v = data @ fields.T - np.logaddexp(0, fields).sum(1)
    above = c + data @ W
    log_q = above @ h.T - np.logaddexp(0, above).sum(1)[:, None]
    return (np.exp(log_q) * (log_v + log_top - log_q)).sum(1).mean()


@pytest.mark.slow
def test_a_second_machine_raises_the_bound_on_bars_and_stripes():
    """From a tied start, along the exact gradient: each stage of learning is above the last."""
    exactly = {"method": "exact", "batch_size": None, "chains": 2, "prior": pm.Flat, "random_seed": 1, **MUTED}
    one = pmr.fit_deep(BARS, [6], epochs=3000, learning_rate=0.5, **exactly)
    likelihood = float(one.bound(BARS, **MUTED)["mean_bound"]["mean"])
    bounds = [exact_mean_bound(one.tied())]
    assert bounds[0] == pytest.approx(likelihood, abs=1e-9)
    assert bounds[0] > best_classes(BARS.values, 8)  # something was learned
    for epochs in (30, 300):
        two = pmr.fit_deep(BARS, [9], below=one, tied=True, copies=200, epochs=epochs, learning_rate=0.3, **exactly)
        bounds.append(exact_mean_bound(two))
    assert (np.diff(bounds) > 0).all(), bounds
    found = two.bound(BARS, draws=2000, random_seed=1, **MUTED)["mean_bound"]
    assert abs(found["mean"] - bounds[-1]) < 5 * found["error_of_draws"]
    best = float(np.log(1 / len(BARS)))
    assert bounds[-1] < best


# ---------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"hidden": []}, "at least one machine"),
        ({"hidden": [5, 0]}, "hidden must be a whole number of at least 1, got 0"),
        ({"data": np.ma.masked_equal(BARS.values, 1)}, "missing entries"),
        ({"data": BARS.values * 0.5}, r"data must contain only 0 and 1"),
        ({"data": BARS.values[0]}, r"shape \(rows, visible\), got shape \(9,\)"),
        ({"tied": [False, True]}, "Machine 2 has 4 hidden units, but to be tied it needs at least 9"),
        (
            {"tied": [False, True], "hidden": [4, 9], "visible": pmr.Gaussian(2.0)},
            r"Machine 2 has binary hidden units and cannot be tied to Gaussian\(sigma=2.0\)",
        ),
        ({"tied": True}, "Machine 1 cannot be tied: there is no machine below"),
        ({"epochs": [1, 2, 3]}, "epochs is a list of 3 entries, but there are 2 machines"),
        ({"resume": None}, r"does not take \['resume'\], which pymc_rbm.fit takes for single machines"),
        ({"copies": 0}, "copies must be"),
        ({"below": network(CASES["6-4-3"])}, "data has shape .14, 9., but the machine has 6 visible units"),
    ],
)
def test_fit_deep_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        pmr.fit_deep(**{"data": BARS, "hidden": [5, 4], "progressbar": False, **arguments})


def test_what_is_no_network():
    first, other = pmr.restricted(*ref.machine(6, 4)), pmr.restricted(*ref.machine(3, 2))
    with pytest.raises(ValueError, match=r"Machine 2 must have as visible units.* 4 of Bernoulli.*it has 3 of"):
        pmr.DeepBeliefNetwork.of(first, other)
    with pytest.raises(ValueError, match="children layer_1, layer_2"):
        pmr.DeepBeliefNetwork(xr.DataTree())
    with pytest.raises(ValueError, match="at least one machine"):
        pmr.DeepBeliefNetwork.of()
    with pytest.raises(ValueError, match=r"2 machines need as many different names, got \['v', 'v'\]"):
        pmr.DeepBeliefNetwork.of(first, pmr.restricted(*ref.machine(4, 2)), names=["v", "v"])
    dbn = network(CASES["6-4-3"])
    with pytest.raises(ValueError, match="layer must be at most 2"):
        dbn.features(np.zeros(6), 3)
    with pytest.raises(ValueError, match=r"n must be at most 2, .*got 3"):
        dbn.first(3)
    with pytest.raises(ValueError, match=r"shape \(2, 5\), but the machine has 6 visible"):
        dbn.features(np.zeros((2, 5)))
    with pytest.raises(ValueError, match=r"data contains NaN.*leave such rows out"):
        dbn.features(np.full(6, np.nan))
    with pytest.raises(ValueError, match="only 0 and 1"):
        dbn.bound(np.full((2, 6), 0.5), **MUTED)
    with pytest.raises(ValueError, match="whole rows"):
        dbn.bound(np.ma.masked_equal(np.eye(6, dtype=int), 1), **MUTED)
    with pytest.raises(ValueError, match="leave size out"):
        dbn.model(np.eye(6), size=3)
    spins = pmr.restricted(*ref.machine(6, 4), pmr.Spin())
    with pytest.raises(ValueError, match=r"Spin\(\) units cannot be a PyMC distribution"):
        pmr.DeepBeliefNetwork.of(spins, pmr.restricted(*ref.machine(4, 2))).model()


def test_layers_learned_apart_must_differ_in_name():
    trees = [network([ref.machine(4, 4, seed=k)]).learned["layer_1"] for k in (1, 2)]
    with pytest.raises(ValueError, match=r"need different names, got \('v', 'v'\)"):
        pmr.DeepBeliefNetwork.of(*trees)


@pytest.mark.slow
@pytest.mark.compiled
def test_pm_sample_of_a_network_with_observed_pixels(exact):
    """E[h¹ | known pixels] by pm.sample from an up-pass start, against enumeration."""
    paths, dbn = exact["6-4-3"].paths, network(CASES["6-4-3"])
    masked = np.ma.MaskedArray([1, 0, 0, 1, 0, 1], [0, 0, 1, 1, 0, 1])
    fits = np.array([all(path[0][i] == masked.data[i] for i in (0, 1, 4)) for path in paths])
    p = np.where(fits, np.exp(exact["6-4-3"].log_p), 0)
    expected = p @ np.array([path[1] for path in paths]) / p.sum()
    start = dbn.features(masked.data, 1, sampled=True, random_seed=1).values
    with dbn.model(masked):
        h = pm.sample(
            2000, tune=100, chains=4, cores=1, initvals={"h1": start}, random_seed=1, quiet=True, **MUTED,
            compute_convergence_checks=False,
        )["posterior"]["h1"]  # fmt: skip
    means = h.mean("draw")
    error = az.mcse(h.astype(float)).values
    assert (abs(means.mean("chain") - expected) < 5 * error).all()
