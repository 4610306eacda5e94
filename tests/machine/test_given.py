"""What stands for learned parameters: a dict, one draw, a posterior; and small cases that ended in foreign errors."""

import numpy as np
import pymc as pm
import pytest
import reference as ref
import xarray as xr
from options import QUIET

import pymc_rbm as pmr

pytestmark = pytest.mark.interpreted

RNG = np.random.default_rng(1)
ROWS = RNG.integers(0, 2, (5, 3))
DRAWS = {"W": RNG.normal(size=(2, 3, 3, 2)), "b": RNG.normal(size=(2, 3, 3)), "c": RNG.normal(size=(2, 3, 2))}
MASKED = np.ma.MaskedArray(ROWS, np.arange(3) == np.zeros((5, 1)))


@pytest.fixture(scope="module")
def model():
    with pm.Model(coords={"case": list("abcde"), "pixel": list("xyz")}) as model:
        W = pm.Normal("W", 0, 1, shape=(3, 2), initval=np.full((3, 2), 0.1))
        b, c = pm.Normal("b", 0, 1, shape=3), pm.Normal("c", 0, 1, shape=2)
        pmr.RBM("v", W, b, c, observed=ROWS)
    return model


def posterior():
    dims = ("chain", "draw", "i", "j")
    return xr.Dataset({x: (dims[: v.ndim] if x != "c" else ("chain", "draw", "j"), v) for x, v in DRAWS.items()})


FORMS = {
    "tree": lambda: xr.DataTree.from_dict({"posterior": posterior()}),
    "group": lambda: xr.DataTree.from_dict({"posterior": posterior()})["posterior"],
    "dataset": posterior,
}


def machine_of_draw(chain, draw):
    return pmr.restricted(*(DRAWS[x][chain, draw] for x in "Wbc")).numeric()


def by_draw(function):
    return np.array([[function(machine_of_draw(i, j)) for j in range(3)] for i in range(2)])


def hidden_means(m):
    return 1 / (1 + np.exp(-m.layers[1].bias - ROWS @ m.couplings[0].weights))


@pytest.mark.parametrize("form", FORMS)
def test_a_posterior_is_taken_draw_by_draw(model, form):
    given = FORMS[form]()
    v = xr.DataArray(ROWS, dims=("case", "pixel"), coords={"case": list("abcde")})
    found = pmr.hidden_mean(v, model, given)
    assert found.dims == ("chain", "draw", "case", "hidden")
    assert list(found["case"].values) == list("abcde")
    np.testing.assert_allclose(found, by_draw(hidden_means))
    found = pmr.free_energy(ROWS, model, given)
    assert found.dims[:2] == ("chain", "draw")
    np.testing.assert_allclose(found, by_draw(lambda m: [-ref.log_weight(m, v) for v in ROWS]))
    np.testing.assert_array_equal(pmr.free_energy(ROWS, model, learned=given), found)
    log_z = pmr.log_partition(model, given, progressbar=False)
    states = np.array(ref.states(3))
    expected = by_draw(lambda m: np.logaddexp.reduce([ref.log_weight(m, v) for v in states]))
    assert log_z.dims == ("chain", "draw")
    np.testing.assert_allclose(log_z, expected)
    rows = pmr.log_likelihood(ROWS, model, given, progressbar=False)["log_likelihood"]["v"]
    np.testing.assert_allclose(rows, -found.values - expected[..., None])


WITH_ONE = {
    "generative": lambda model, x: pmr.generative(model, x)["v_free_energy"],
    "plot_filters": lambda model, x: pmr.plot_filters(x),
    "hidden_mean": lambda model, x: pmr.hidden_mean(ROWS, model, x),
    "energy": lambda model, x: pmr.energy(ROWS, np.ones((5, 2)), model, x),
    "conditional_visible": lambda model, x: pmr.conditional_visible(np.ones(2), model, x),
    "log_partition": lambda model, x: pmr.log_partition(model, x),
    "log_likelihood": lambda model, x: pmr.log_likelihood(ROWS, model, x),
    "log_conditional": lambda model, x: pmr.log_conditional(ROWS, model, x, units=np.arange(3) == 0),
    "inpaint": lambda model, x: pmr.inpaint(MASKED[:1], model, x, draws=400, tune=5, **QUIET),
    "pseudo": lambda model, x: pmr.pseudo_log_likelihood(ROWS, model, x),
    "sample_gibbs": lambda model, x: pmr.sample_gibbs(model, x, draws=3, tune=1, chains=2, **QUIET),
}


@pytest.mark.parametrize("name", WITH_ONE)
def test_a_dict_or_a_draw_stands_for_what_fit_returned(model, name):
    for one in (posterior().isel(chain=1, draw=2), {x: v[1, 2] for x, v in DRAWS.items()}):
        assert WITH_ONE[name](model, one) is not None


def test_the_values_of_a_draw_are_its_machine(model):
    found = pmr.machine_of(model, posterior().isel(chain=1, draw=2)).numeric()
    for x, y in zip(found.parameters, machine_of_draw(1, 2).parameters, strict=True):
        np.testing.assert_array_equal(x, y)
    alone = posterior().isel(chain=[1], draw=[2])  # what find_MAP is to return
    np.testing.assert_array_equal(pmr.machine_of(model, alone).couplings[0].weights, DRAWS["W"][1, 2])


@pytest.mark.parametrize("name", ["energy", "conditional_visible", "log_conditional", "pseudo"])
def test_of_a_posterior_each_draw_is_what_that_draw_alone_would_be(model, name):
    found, one = (WITH_ONE[name](model, x) for x in (posterior(), posterior().isel(chain=1, draw=2)))
    if isinstance(found, xr.Dataset):
        assert set(found) == set(one)
        found, one = found["log_conditional"], one["log_conditional"]
    assert found.dims[:2] == ("chain", "draw")
    np.testing.assert_allclose(found[1, 2], one, atol=1e-12)
    assert not np.allclose(found[0, 0], found[1, 2])


def test_of_a_posterior_each_draw_classifies():
    visible = pmr.Beside((pmr.Bernoulli(), 3), label=(pmr.Categorical(3), 3))
    rng = np.random.default_rng(2)
    draws = xr.Dataset({"W": (("chain", "draw", "i", "j"), rng.normal(size=(2, 2, 6, 2)))})
    with pm.Model() as labelled:
        pmr.RBM("v", pm.Normal("W", shape=(6, 2)), np.zeros(6), np.zeros(2), visible=visible)
    found = pmr.classify(ROWS, labelled, draws)
    assert found.sizes["chain"] == found.sizes["draw"] == 2
    np.testing.assert_allclose(found[1, 0], pmr.classify(ROWS, labelled, {"W": draws["W"].values[1, 0]}))
    energy = pmr.marginal_free_energy(ROWS, labelled, draws, parts=["label"])
    alone = pmr.marginal_free_energy(ROWS, labelled, {"W": draws["W"].values[0, 1]}, parts=["label"])
    np.testing.assert_allclose(energy[0, 1], alone)


TAKES_ONE = ["generative", "plot_filters", "inpaint", "sample_gibbs"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", TAKES_ONE)
def test_where_one_value_is_needed_a_posterior_is_refused_with_the_remedy(model, name, form):
    with pytest.raises(ValueError, match=r"posterior over the parameters.*take one draw: .*isel\(chain=0, draw=0\)"):
        WITH_ONE[name](model, FORMS[form]())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m, x: pmr.log_partition(x), "pass the model as target"),
        (lambda m, x: pmr.log_partition(m, x, method="ais"), "take one draw"),
        (lambda m, x: pmr.log_partition({"W": 1}), "target=model, learned=values"),
        (lambda m, x: pmr.hidden_mean(ROWS, m, 3), "got int"),
        (lambda m, x: pmr.hidden_mean(ROWS, m, {"W": np.zeros((3, 2))}), r"without a value: \['b', 'c'\]"),
        (lambda m, x: pmr.generative(m, {"W": np.zeros((3, 2))}), r"no value for \['b', 'c'\]"),
        (lambda m, x: pmr.plot_filters({"U": 1}), r"no 'W' among the parameters.*one of \['U'\]"),
        (lambda m, x: pmr.plot_mixing(x), "No variable of 'posterior' ends in 'free_energy'.*var_names="),
        (lambda m, x: pmr.plot_learning(x), "no group 'learning'"),
        (lambda m, x: pmr.averaged(x), "averaged takes what pymc_rbm.fit returned"),
        (lambda m, x: pmr.diagnose(x, **QUIET), "no visible states"),
    ],
)
def test_refusals_say_what_to_pass(model, call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call(model, FORMS["tree"]())


def test_a_prior_with_an_initval_has_a_generative_model(model):
    """And keeps its initval."""
    new = pmr.generative(model, {x: v[0, 0] for x, v in DRAWS.items()})
    assert [x.name for x in new.free_RVs] == ["v"]
    np.testing.assert_array_equal(model.rvs_to_initial_values[model["W"]], np.full((3, 2), 0.1))


def test_rows_of_which_nothing_is_known():
    """Of families side by side, too: such a row has probability one, and log p of all of it is its likelihood."""
    unit = pmr.Beside(a=(pmr.Bernoulli(), 2), b=(pmr.Categorical(3), 3))
    rng = np.random.default_rng(0)
    beside = pmr.restricted(rng.normal(size=(5, 2)), rng.normal(size=5), rng.normal(size=2), unit)
    rows = np.array([[0, 1, 0, 0, 1], [1, 1, 1, 0, 0]])
    masked = np.ma.MaskedArray(rows, [[True] * 5, [False] * 5])
    found, whole = (pmr.log_likelihood(x, beside)["log_likelihood"]["v"].values[0, 0] for x in (masked, rows))
    assert found[0] == pytest.approx(0, abs=1e-12)
    assert found[1] == pytest.approx(whole[1])
    conditional = pmr.log_conditional(rows, beside, units=np.ones(5, bool))["log_conditional"]
    np.testing.assert_allclose(conditional, whole)


@pytest.mark.slow
def test_a_million_states_in_a_graph_are_no_warning():
    """2¹⁶ states of 16 units are a megabyte, which numba does not keep on disk; strict filters heard of it."""
    rows = np.random.default_rng(0).integers(0, 2, (20, 18))
    with pm.Model():
        W, b = pm.Normal("W", shape=(18, 16)), pm.Normal("b", shape=18)
        v = pmr.RBM("v", W, b, np.zeros(16), observed=rows)
        pmr.fit(1, method="exact", **QUIET)
    assert v is not None
