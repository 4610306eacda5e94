"""Hidden units in one order: symmetries of p(v), and a known posterior that was scrambled."""

import arviz as az
import numpy as np
import pymc as pm
import pytest
import xarray as xr
from models import model_of
from scipy.stats import ortho_group

import pymc_rbm as pmr

pytestmark = pytest.mark.interpreted

V, CHAINS, DRAWS, NOISE = 12, 4, 200, 0.1


def permuted(W, b, c, rng):
    p = rng.permutation(len(c))
    return W[:, p], b, c[p]


def signed(W, b, c, rng):
    W, b, c = permuted(W, b, c, rng)
    signs = rng.choice([-1, 1], len(c))
    return W * signs, b, c * signs


def turned(high):
    """Hidden values 0 to ``high`` turned: h -> high - h, which moves the visible biases."""

    def change(W, b, c, rng):
        W, b, c = permuted(W, b, c, rng)
        turn = rng.random(len(c)) < 0.5
        return np.where(turn, -W, W), b + high * W[:, turn].sum(1), np.where(turn, -c, c)

    return change


def rotated(W, b, c, rng):
    Q = ortho_group.rvs(len(c), random_state=rng)
    return W @ Q.T, b, Q @ c


def categories(W, b, c, rng):
    order = np.concatenate([3 * unit + rng.permutation(3) for unit in rng.permutation(len(c) // 3)])
    return W[:, order], b, c[order]


def within_parts(W, b, c, rng):
    order = np.r_[rng.permutation(2), 2 + rng.permutation(3)]
    return W[:, order], b, c[order]


CASES = {
    "12x2": (pmr.Bernoulli(), 2, permuted, None),
    "binary": (pmr.Bernoulli(), 6, permuted, None),
    "spins": (pmr.Spin(), 3, signed, None),
    "binary turned": (pmr.Bernoulli(), 4, turned(1), None),
    "binomial turned": (pmr.Binomial(3), 3, turned(3), True),
    "gaussian": (pmr.Gaussian(0.4), 3, rotated, None),
    "one-hot": (pmr.Categorical(3), 6, categories, None),
    "rectified": (pmr.Rectified(1.0), 3, permuted, None),
    "two-sided": (pmr.DReLU(), 3, signed, None),
    "beside": (pmr.Beside((pmr.Bernoulli(), 2), (pmr.Categorical(3), 3)), 5, within_parts, None),
}


def model_with(unit, n):
    return model_of(np.eye(2, V, dtype=int), n, 1.0, 1.0, hidden=unit)


def scrambled_draws(n, change, per_chain=True, seed=1):
    """Draws around one machine, scrambled by chain or by draw, with a label of each unit that belongs to it."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(0, 1.5, (V, n)), rng.normal(size=V), rng.normal(size=n)
    arrays = [x + NOISE * rng.standard_normal((CHAINS, DRAWS, *x.shape)) for x in truth]
    for i in range(CHAINS):
        for j in range(DRAWS):
            own = np.random.default_rng(i if per_chain else [i, j])
            for x, new in zip(arrays, change(*(x[i, j] for x in arrays), own), strict=True):
                x[i, j] = new
    dims = ("pixel", "unit"), ("pixel",), ("unit",)
    named = {
        key: (("chain", "draw", *own), x) for key, own, x in zip(("W", "b", "c"), dims, arrays, strict=True)
    }  # fmt: skip
    named["label"] = (("chain", "draw", "unit"), np.abs(arrays[2]))
    data = xr.Dataset(named, coords={"pixel": range(V), "unit": range(n)})
    return xr.DataTree.from_dict({"posterior": data, "sample_stats": xr.Dataset({"x": ("chain", np.zeros(CHAINS))})})


def rhat(tree, names=("W", "c")):
    values = [tree["posterior"][key].values.reshape(CHAINS, DRAWS, -1) for key in names]
    return max(float(az.rhat(x[..., k], chain_axis=0, draw_axis=1)) for x in values for k in range(x.shape[-1]))


def relative_probabilities(tree, hidden, chain, draw):
    """log p(v) of some states, less that of the first: log Z falls out."""
    p = tree["posterior"].dataset.isel(chain=chain, draw=draw)
    v = np.random.default_rng(5).integers(0, 2, (6, V))
    energy = pmr.free_energy(v, pmr.restricted(p["W"].values, p["b"].values, p["c"].values, hidden=hidden))
    return energy - energy[0]


@pytest.mark.parametrize("case", CASES)
def test_a_scrambled_posterior_comes_back(case):
    hidden, n, change, flips = CASES[case]
    model, scrambled = model_with(hidden, n), scrambled_draws(n, change)
    # Chains as far apart as the draws of each give √2.
    assert rhat(scrambled) > np.sqrt(2)
    found = pmr.relabel(scrambled, model, flips=flips)
    assert rhat(found) < 1.03  # of up to 78 entries, each of independent draws
    for i, j in ((0, 0), (2, 30), (3, 199)):
        np.testing.assert_allclose(
            *(relative_probabilities(x, hidden, i, j) for x in (scrambled, found)), rtol=1e-9, atol=1e-9
        )
    assert found["posterior"].dataset.sizes == scrambled["posterior"].dataset.sizes
    assert found["posterior"]["W"].dims == ("chain", "draw", "pixel", "unit")
    assert "x" in found["sample_stats"]
    T = found["relabelling"]["transformation"].values
    np.testing.assert_allclose(T @ T.mT, np.broadcast_to(np.eye(n), T.shape), atol=1e-12)
    np.testing.assert_allclose(found["posterior"]["c"], np.einsum("cdij,cdj->cdi", T, scrambled["posterior"]["c"]))
    if case != "gaussian":  # what has the dim of the units goes with them
        np.testing.assert_allclose(found["posterior"]["label"], abs(found["posterior"]["c"]))
    assert pmr.relabel(scrambled, model["v"], flips=flips).equals(found)
    with model:
        assert pmr.relabel(scrambled, flips=flips).equals(found)


@pytest.mark.parametrize("case", CASES)
def test_each_draw_of_its_own_order(case):
    """The spread within is that of the posterior before it was scrambled: a draw in a wrong order would stand out."""
    hidden, n, change, flips = CASES[case]
    found = pmr.relabel(scrambled_draws(n, change, per_chain=False), model_with(hidden, n), flips=flips)
    spread = found["posterior"]["W"].std(("chain", "draw")).values
    # Known to 2.5 % each; one draw in a wrong order adds a quarter. A rotation that is fitted to noise adds some, too.
    assert spread.min() > 0.8 * NOISE
    assert spread.max() < (1.2 if case != "gaussian" else 2.0) * NOISE


def test_without_turning_binary_units_stay():
    scrambled = scrambled_draws(4, turned(1))
    found = pmr.relabel(scrambled, model_with(pmr.Bernoulli(), 4), flips=False)
    assert rhat(found) > np.sqrt(2)
    xr.testing.assert_identical(found["posterior"]["b"], scrambled["posterior"]["b"])
    assert (found["relabelling"]["transformation"] >= 0).all()
    assert rhat(pmr.relabel(scrambled_draws(3, signed), model_with(pmr.Spin(), 3), flips=False)) > np.sqrt(2)


def test_units_that_differ_stay_apart():
    """With constant hidden biases, or σ, only units with the same ones can change places."""
    scrambled = scrambled_draws(3, permuted)
    with pm.Model() as model:
        W = pm.Normal("W", 0, 1, shape=(V, 3))
        pmr.RBM("v", W, np.zeros(V), np.array([0.0, 0.0, 1.0]), observed=np.eye(2, V, dtype=int))
    T = pmr.relabel(scrambled, model)["relabelling"]["transformation"].values
    assert (T[..., 2, 2] == 1).all()
    assert (T[..., 0, 1] == 1).any() or (T[..., 0, 0] == 1).all()
    with pm.Model() as model:
        W, c = pm.Normal("W", 0, 1, shape=(V, 3)), pm.Normal("c", 0, 1, shape=3)
        hidden = pmr.Gaussian(np.array([0.5, 0.5, 0.7]))
        pmr.RBM("v", W, np.zeros(V), c, hidden=hidden, observed=np.eye(2, V, dtype=int))
    T = pmr.relabel(scrambled, model)["relabelling"]["transformation"].values
    assert (np.abs(T[..., 2, 2]) == 1).all()
    assert set(np.unique(T)) <= {-1, 0, 1}


def test_sampled_hidden_units_go_along():
    scrambled = scrambled_draws(2, turned(1))
    rng = np.random.default_rng(3)
    h = rng.integers(0, 2, (CHAINS, DRAWS, 5, 2))
    scrambled["posterior"] = scrambled["posterior"].dataset.assign(h=(("chain", "draw", "row", "unit"), h))
    model = model_with(pmr.Bernoulli(), 2)
    with model:
        pmr.Hidden("h", model["v"])
    found = pmr.relabel(scrambled, model, flips=True)["posterior"].dataset
    v = rng.integers(0, 2, (3, V))
    before = scrambled["posterior"].dataset
    # -E(v, h) = bᵀv + (vᵀW + c)ᵀh changes by a number that depends on neither v nor h.
    for i, j in ((i, j) for i in range(CHAINS) for j in (0, 50)):
        own, new = (
            (v @ x["b"].values)[:, None] + (v @ x["W"].values + x["c"].values) @ x["h"].values.T
            for x in (before.isel(chain=i, draw=j), found.isel(chain=i, draw=j))
        )
        np.testing.assert_allclose(own - new, (own - new)[0, 0], atol=1e-9)
    assert found["h"].dtype == before["h"].dtype
    assert set(np.unique(found["h"])) <= {0, 1}


def test_what_is_refused():
    scrambled, model = scrambled_draws(2, permuted), model_with(pmr.Bernoulli(), 2)
    with pytest.raises(TypeError, match="Expected a DataTree with draws"):
        pmr.relabel(xr.DataTree(), model)
    with pytest.raises(TypeError, match="within `with model`"):
        pmr.relabel(scrambled)
    with pytest.raises(ValueError, match=r"one of \['v'\], got 'w'"):
        pmr.relabel(scrambled, model, name="w")
    with pytest.raises(ValueError, match=r"W = pymc.Deterministic"):
        pmr.relabel(xr.DataTree.from_dict({"posterior": scrambled["posterior"].dataset.drop_vars("W")}), model)
    without_b = xr.DataTree.from_dict({"posterior": scrambled["posterior"].dataset.drop_vars("b")})
    with pytest.raises(ValueError, match="moves the visible biases"):
        pmr.relabel(without_b, model, flips=True)
    T = pmr.relabel(without_b, model)["relabelling"]["transformation"]
    assert (T >= 0).all()
    with pm.Model() as general:
        pmr.BoltzmannMachine("v", np.zeros((3, 3)), pm.Normal("b", shape=3), observed=np.eye(3, dtype=int))
    with pytest.raises(ValueError, match="a visible and a hidden layer"):
        pmr.relabel(scrambled, general)


@pytest.mark.slow
def test_nuts_of_a_small_machine():
    """R-hat of W says that four chains disagree, though all of them know the same p(v)."""
    truth = np.zeros((V, 2))
    truth[:6, 0], truth[6:, 1] = 4.0, 4.0
    rows = pmr.sample_gibbs(
        pmr.restricted(truth, np.full(V, -2.0), np.full(2, -12.0)),
        draws=100,
        tune=200,
        random_seed=1,
        progressbar=False,
    )
    data = rows["posterior"]["v"].values.reshape(-1, V)[::2]
    with pm.Model() as model:
        W = pm.Normal("W", 0, 2, shape=(V, 2))
        b, c = pm.Normal("b", 0, 3, shape=V), pm.Normal("c", 0, 3, shape=2)
        pmr.RBM("v", W, b, c, observed=data)
        drawn = pm.sample(
            DRAWS, tune=500, chains=CHAINS, cores=1, random_seed=3, progressbar=False, quiet=True,
            compute_convergence_checks=False,
        )  # fmt: skip
    found = pmr.relabel(drawn, model)
    assert rhat(drawn) > 1.3
    assert rhat(found, ("W", "b", "c")) < 1.1
    # Permutations alone are not enough: chains that turned a unit moved the visible biases, too.
    assert rhat(pmr.relabel(drawn, model, flips=False)) > 1.3
