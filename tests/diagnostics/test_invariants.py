"""Statistics of posteriors over weights that no change of places or signs alters, and the verdict from them."""

import numpy as np
import pymc as pm
import pytest
import reference as ref
import xarray as xr

import pymc_rbm as pmr

CHAINS, DRAWS, N, M = 4, 150, 5, 3
W, B, C = ref.machine(N, M, scale=1.0, seed=4)
ROWS = np.random.default_rng(0).integers(0, 2, (20, N))


def model_with(unit, rows=ROWS):
    with pm.Model(coords={"item": list("abcde")}) as model:
        w = pm.Normal("W", 0, 1, shape=(N, M))
        b, c = pm.Flat("b", dims="item"), pm.Flat("c", shape=M)
        pmr.RBM("v", w, b, c, hidden=unit, observed=rows)
    return model


def posterior_of(w, b, c, **stats):
    """A tree as pm.sample returns it, from arrays with the axes (chain, draw) first."""
    own = {"W": ("chain", "draw", "i", "j"), "b": ("chain", "draw", "item"), "c": ("chain", "draw", "k")}
    found = {key: (dims, x) for (key, dims), x in zip(own.items(), (w, b, c), strict=True)}
    coords = {"chain": np.arange(w.shape[0]), "draw": np.arange(w.shape[1])}
    tree = {"posterior": xr.Dataset(found, coords)}
    if stats:
        tree["sample_stats"] = xr.Dataset({key: (("chain", "draw"), x) for key, x in stats.items()}, coords)
    return xr.DataTree.from_dict(tree)


def changed(order, turned, unit):
    """W, b and c of the same p(v), with hidden units in another order and some of them turned."""
    w, b, c = W[:, order].copy(), B.copy(), C[order].copy()
    if isinstance(unit, pmr.Bernoulli):  # h -> 1 - h
        b = b + w[:, turned].sum(1)
    w[:, turned], c[turned] = -w[:, turned], -c[turned]
    return w, b, c


@pytest.mark.parametrize("unit", [pmr.Bernoulli(), pmr.Spin()])
def test_they_do_not_change_with_places_and_signs(unit):
    forms = [changed([0, 1, 2], [], unit), changed([2, 0, 1], [], unit), changed([1, 0, 2], [0, 2], unit)]
    draws = posterior_of(*(np.array(x)[None] for x in zip(*forms, strict=True)))
    found = pmr.invariants(draws, model_with(unit))
    assert set(found) == {
        "free_energy_spread", "mean_log_likelihood", "singular_value", "centred_bias", "weight_norm",
    }  # fmt: skip
    for name, x in found.items():
        np.testing.assert_allclose(x.values, x.values[:, :1].repeat(3, axis=1), atol=1e-10, err_msg=str(name))
    if isinstance(unit, pmr.Bernoulli):
        states = ref.states(N)
        log_p = dict(zip(map(tuple, states), ref.log_p(W, B, C), strict=True))
        expected = np.mean([log_p[tuple(row)] for row in ROWS])
        assert float(found["mean_log_likelihood"][0, 0]) == pytest.approx(expected, abs=1e-10)
    assert list(found["centred_bias"].coords["item"].values) == list("abcde")
    turned_without_bias = forms[2][0], B, forms[2][2]
    wrong = pmr.invariants(posterior_of(*(x[None, None] for x in turned_without_bias)), model_with(unit))
    off = wrong["mean_log_likelihood"].item() - found["mean_log_likelihood"].values[0, 0]
    assert (abs(off) > 0.01) == isinstance(unit, pmr.Bernoulli)


def draws_about(unit, shift=0.0, **stats):
    """Independent draws about one machine, each chain with its units in an order of its own."""
    rng = np.random.default_rng(1)
    orders = [[0, 1, 2], [1, 2, 0], [2, 1, 0], [0, 2, 1]]
    found = []
    for chain, order in enumerate(orders):
        w, b, c = changed(order, [], unit)
        w = w * (1 + shift * (chain == 3))
        found.append([x + 0.1 * rng.standard_normal((DRAWS, *x.shape)) for x in (w, b, c)])
    return posterior_of(*map(np.array, zip(*found, strict=True)), **stats)


def test_the_verdict_on_weights():
    model = model_with(pmr.Spin())
    found = pmr.diagnose(draws_about(pmr.Spin()), model["v"])
    assert found.verdict == "mixed"
    assert any("R-hat of W" in x for x in found.reasons)
    assert any("relabel" in x for x in found.advice)
    assert "probes" not in str(found).splitlines()[-1]
    with model:
        assert pmr.diagnose(draws_about(pmr.Spin())).verdict == "mixed"
    apart = pmr.diagnose(draws_about(pmr.Spin(), shift=0.3), model)
    assert apart.verdict == "not mixed"
    diverging = np.zeros((CHAINS, DRAWS), bool)
    diverging[0, 3] = True
    other = pmr.diagnose(draws_about(pmr.Spin(), diverging=diverging), model)
    assert other.verdict == "cannot tell"
    assert "1 draws ended in a divergence" in " ".join(other.reasons)


def test_what_is_refused():
    with pytest.raises(TypeError, match="needs draws of a posterior over weights, got dict"):
        pmr.invariants({"W": W}, model_with(pmr.Bernoulli()))
    with pytest.raises(TypeError, match="invariants needs the model"):
        pmr.invariants(draws_about(pmr.Bernoulli()))
    with pytest.raises(ValueError, match="without a value"):
        pmr.invariants(posterior_of(*(np.zeros((1, 2, *x.shape)) for x in (W, B, C))).posterior.dataset.drop_vars("b"),
                       model_with(pmr.Bernoulli()))  # fmt: skip
