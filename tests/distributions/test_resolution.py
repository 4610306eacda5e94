"""What was learned goes to a model by the names of its units, or is refused: never by position in another order."""

import gc

import numpy as np
import pandas as pd
import pymc as pm
import pytest
import reference as ref
from options import QUIET

import pymc_rbm as pmr

pytestmark = pytest.mark.interpreted
ITEMS = ["car", "pets", "rural", "urban"]
ORDER = [2, 0, 3, 1]
RNG = np.random.default_rng(8)
TABLE = pd.DataFrame((RNG.random((60, 4)) < [0.2, 0.4, 0.6, 0.8]).astype(int), columns=ITEMS)
SHUFFLED = TABLE[[ITEMS[i] for i in ORDER]]
WRONG = r"another model: shapes differ \(|of the model: without \['cats'\] and with \['pets'\]"
HOLES = TABLE.iloc[:3].astype(float)
HOLES.iloc[:, 1] = np.nan


def model_of(table, hidden=3, weight_dims=("item", "unit"), bias_dims="item", bias=0.0):
    """A model whose items are the columns of the table, by name."""
    with pm.Model(coords={"item": list(table.columns), "unit": range(hidden)}) as model:
        W = pm.Normal("W", dims=weight_dims, shape=None if weight_dims else (table.shape[1], hidden))
        b = pm.Normal("b", dims=bias_dims, shape=None if bias_dims else table.shape[1])
        pmr.RBM("v", W, b + bias, pm.Normal("c", dims="unit"), dims=("row", "item"), observed=table)
    return model


def learned_with(model):
    with model:
        return pmr.fit(30, method="pcd", **QUIET)


@pytest.fixture(scope="module")
def given():
    model = model_of(TABLE)
    return model, learned_with(model)


def draws_of(learned):
    return learned["parameters"].to_dataset().expand_dims(chain=[0], draw=[0, 1])


def found(tree):
    """The draws of the model whose columns stand in the order of the run, by ``learned``."""
    return pmr.sample_gibbs(model_of(TABLE), tree, draws=50, **QUIET)


def first_panel(plot):
    return np.sort(plot.viz["plot"].values[0].collections[0].get_offsets().data, 0)


FUNCTIONS = {
    "machine_of": lambda m, x: [by_name(part, m) for part in pmr.machine_of(m, x).parameters],
    "generative": lambda m, x: [by_name(part, m) for part in pmr.machine_of(pmr.generative(m, x)).parameters],
    "log_partition": lambda m, x: pmr.log_partition(m, x, method="exact").estimate,
    "log_partition, ais": lambda m, x: pmr.log_partition(m, x, method="ais", particles=50, temperatures=20, **QUIET),
    "log_likelihood": lambda m, x: pmr.log_likelihood(TABLE, m, x, **QUIET)["log_likelihood"]["v"],
    "pseudo_log_likelihood": lambda m, x: pmr.pseudo_log_likelihood(TABLE, m, x),
    "free_energy": lambda m, x: pmr.free_energy(TABLE, m, learned=x),
    "hidden_mean": lambda m, x: pmr.hidden_mean(TABLE, m, learned=x),
    "log_likelihood of draws": lambda m, x: pmr.log_likelihood(TABLE, m, draws_of(x), **QUIET)["log_likelihood"]["v"],
    "hidden_mean of draws": lambda m, x: pmr.hidden_mean(TABLE, m, learned=draws_of(x)),
    "log_partition of draws": lambda m, x: pmr.log_partition(m, draws_of(x), **QUIET),
    "inpaint": lambda m, x: pmr.inpaint(HOLES, m, x, draws=400, tune=10, **QUIET)["mean"]["v"].sortby("item"),
    "diagnose": lambda m, x: pmr.diagnose(x, m, **QUIET).measures["gained"],
    "diagnose draws": lambda m, x: pmr.diagnose(found(x), m, x, **QUIET).measures["rhat"],
    "plot_projections": lambda m, x: first_panel(pmr.plot_projections(x, m)),
    "plot_projections of draws": lambda m, x: first_panel(pmr.plot_projections(found(x), m, x)),
}


def by_name(x, model):
    """A parameter of a machine with the model's items in alphabetical order."""
    order = np.argsort(list(model.coords["item"]))
    return np.asarray(x)[order] if len(x) == len(ITEMS) else np.asarray(x)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_columns_in_another_order_are_the_same_machine(given, name):
    model, learned = given
    one, other = (FUNCTIONS[name](m, learned) for m in (model, model_of(SHUFFLED)))
    if isinstance(one, pmr.LogPartitionEstimate):
        error = np.hypot(one.standard_error, other.standard_error)
        assert abs(one.estimate - other.estimate) < 4 * error < 0.2
    elif name == "inpaint":
        np.testing.assert_allclose(one, other, atol=5e-3)  # of probabilities that are averaged over 4 x 400 draws
    else:
        for a, b in zip(one, other, strict=True) if isinstance(one, list) else [(one, other)]:
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


def test_constants_of_a_model_keep_their_places(given):
    """What the model gives in its own order, beside what was learned, stays with its item."""
    _, learned = given
    shift = np.array([0.5, -1.0, 2.0, 0.0])
    one, other = model_of(TABLE, bias=shift), model_of(SHUFFLED, bias=shift[ORDER])
    for a, b in zip(*(FUNCTIONS["machine_of"](m, learned) for m in (one, other)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


def test_draws_come_under_the_names_of_the_model(given):
    _, learned = given
    draws = pmr.sample_gibbs(model_of(SHUFFLED), learned, draws=500, chains=40, tune=50, **QUIET)["posterior"]["v"]
    assert list(draws["item"].values) == list(SHUFFLED.columns)
    p = np.exp(-pmr.free_energy(np.array(ref.states(4)), pmr.machine_of(model_of(TABLE), learned)))
    expected = p @ np.array(ref.states(4)) / p.sum()
    by_chain = draws.mean("draw").sel(item=ITEMS)
    z = (by_chain.mean("chain") - expected) / (by_chain.std("chain", ddof=1) / np.sqrt(40))
    assert abs(z).max() < 4.5
    assert np.ptp(expected) > 0.3  # so that other places would be seen


@pytest.mark.parametrize("name", FUNCTIONS)
def test_other_names_and_sizes_are_refused(given, name):
    _, learned = given
    for table, hidden in ((TABLE.rename(columns={"pets": "cats"}), 3), (TABLE, 5)):
        with pytest.raises(ValueError, match=WRONG):
            FUNCTIONS[name](model_of(table, hidden), learned)


@pytest.mark.parametrize("plain", ["W", "b"])
def test_parameters_without_dims_have_no_order(plain):
    """Those of the fitted model are taken by position; of a model with other columns nobody knows whose they are."""
    options = {"weight_dims": None} if plain == "W" else {"bias_dims": None}
    model = model_of(TABLE, **options)
    learned = learned_with(model)
    pmr.machine_of(model, learned)
    for use in (pmr.machine_of, pmr.generative):
        with pytest.raises(ValueError, match=f"in another order than the model, and \\['{plain}'\\] have no dims"):
            use(model_of(SHUFFLED, **options), learned)


def test_plain_values_go_by_position(given):
    model, learned = given
    values = {str(name): x.values for name, x in learned["parameters"].data_vars.items()}
    one, other = pmr.machine_of(model_of(SHUFFLED), values), pmr.machine_of(model, learned)
    for a, b in zip(one.parameters, other.parameters, strict=True):
        np.testing.assert_array_equal(a, b)


def test_models_are_not_sought_among_all_objects(given, monkeypatch):
    """That takes up to a second, of a variable once: its model is remembered."""
    model, learned = given
    searches, all_objects = [], gc.get_objects

    def counted():
        searches.append(1)
        return all_objects()

    monkeypatch.setattr("pymc_rbm.distributions.lookup.gc.get_objects", counted)
    for name in ("machine_of", "generative", "log_partition", "pseudo_log_likelihood", "free_energy"):
        FUNCTIONS[name](model, learned)
    assert not searches
    new = model_of(TABLE)
    for _ in range(3):
        found = pmr.machine_of(new["v"], learned)
    assert len(searches) == 1
    assert list(found.labels.coords["item"]) == ITEMS
