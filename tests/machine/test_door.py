"""The one door for data: names rule, and every kind of data means the same in every function."""

import numpy as np
import pandas as pd
import pymc as pm
import pytest
import reference as ref
import scipy.sparse
import xarray as xr
from options import MASKED, QUIET

import pymc_rbm as pmr
from pymc_rbm.learning.data import observed_machines
from pymc_rbm.learning.start import start_values
from pymc_rbm.support.received import receive

pytestmark = [
    MASKED,
    pytest.mark.interpreted,
]
NAMES = list("abcd")
W, B, C = ref.machine(4, 3, scale=1.2, seed=4)
LOG_P = ref.log_p(W, B, C)
V = np.array([[1, 0, 1, 0], [0, 0, 1, 1], [1, 1, 1, 0], [0, 1, 0, 0]])  # square: nothing but names tells its axes apart
MISSING = np.eye(4, dtype=bool)[:, [1, 2, 0, 3]]
NAMED = xr.DataArray(V, dims=("row", "pixel"), coords={"pixel": NAMES, "row": [10, 11, 12, 13]})
ORDER = [2, 0, 3, 1]
MACHINE = pmr.restricted(xr.DataArray(W, dims=("pixel", "unit"), coords={"pixel": NAMES}), B, C)
PLAIN = pmr.restricted(W, B, C)


def network(machine):
    """Below another machine, with the machine's names, if it has any."""
    return pmr.DeepBeliefNetwork.of(machine, pmr.restricted(*ref.machine(3, 2, seed=5)))


def model(observed, machine=MACHINE):
    """The named or the plain machine in a model, W random so that `fit` would learn it."""
    coords = {"pixel": NAMES, "unit": range(3)} if machine is MACHINE else {}
    dims = {"dims": ("pixel", "unit")} if coords else {"shape": (4, 3)}
    with pm.Model(coords=coords) as made:
        pmr.RBM("v", pm.Normal("W", **dims), B, C, observed=observed)
    return made


def rows_of_model(observed, machine):
    [found] = observed_machines(model(observed, machine))
    return found.rows if found.missing is None else np.where(found.missing, -1, found.rows)


# What takes whole rows, and what takes missing entries, too.
WHOLE = {
    "free_energy": lambda v, m: pmr.free_energy(v, m),
    "energy": lambda v, m: pmr.energy(v, V[:, :3], m),
    "conditional_hidden": lambda v, m: pmr.conditional_hidden(v, m),
    "hidden_mean": lambda v, m: pmr.hidden_mean(v, m),
    "pseudo_log_likelihood": lambda v, m: pmr.pseudo_log_likelihood(v, m),
    "sample_gibbs": lambda v, m: pmr.sample_gibbs(m, start=v, draws=1, tune=0, sweeps=1, **QUIET)["posterior"]["v"],
    "features": lambda v, m: network(m).features(v),
    "reconstruct": lambda v, m: network(m).reconstruct(v),
    "bound": lambda v, m: network(m).bound(v, 0.0, draws=2, **QUIET)["bound"]["bound"],
}
INCOMPLETE = {
    "log_likelihood": lambda v, m: pmr.log_likelihood(v, m, **QUIET)["log_likelihood"]["v"],
    "log_conditional": lambda v, m: pmr.log_conditional(v, m, units=np.arange(4) < 2, **QUIET)["log_conditional"],
    "observed": rows_of_model,
}
MASKED_ONLY = {
    "inpaint": lambda v, m: pmr.inpaint(v, m, draws=20, tune=0, chains=2, **QUIET)["mean"]["v"],
    "network.inpaint": lambda v, m: network(m).inpaint(v, draws=2, tune=0, chains=2, **QUIET)["posterior"]["v"],
}
SHUFFLED = {
    "DataArray": NAMED[:, ORDER],
    "transposed": NAMED.T,
    "both": NAMED[:, ORDER].T,
    "frame": pd.DataFrame(V, columns=NAMES)[[NAMES[i] for i in ORDER]],
    "nullable": pd.DataFrame(V, columns=NAMES)[[NAMES[i] for i in ORDER]].astype("Int8"),
    "booleans": pd.DataFrame(V == 1, columns=NAMES)[[NAMES[i] for i in ORDER]].astype("boolean"),
}


def numbers(x, units=None):
    """Numbers in a fixed order of the axes, whatever they are called."""
    if isinstance(x, xr.DataArray) and "pixel" in x.dims and "pixel" in x.coords:
        x = x.sel(pixel=NAMES).transpose(..., "pixel")
    return np.asarray(x)


@pytest.mark.filterwarnings("ignore:.*rows have not converged", "ignore:.*too few to say", "ignore:.*hardly move")
@pytest.mark.parametrize("kind", SHUFFLED)
def test_names_rule(kind):
    """Whatever the order of entries and axes: the result is that of a plain array in the machine's order."""
    data = SHUFFLED[kind]
    for name, call in {**WHOLE, **INCOMPLETE}.items():
        found, expected = numbers(call(data, MACHINE)), np.asarray(call(V, PLAIN))
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12, err_msg=name)
    wrong = pmr.free_energy(V[:, ORDER], PLAIN)
    assert (np.abs(wrong - pmr.free_energy(V, PLAIN)) > 1e-3).any()  # by position it would be another number


@pytest.mark.filterwarnings("ignore:.*rows have not converged", "ignore:.*too few to say", "ignore:.*hardly move")
@pytest.mark.parametrize("kind", ["DataArray", "transposed", "frame", "nullable", "mask"])
def test_missing_is_missing_everywhere(kind):
    """NaN in frames and DataArrays is what a mask is: taken by what can, refused by what cannot, with a way out."""
    masked = np.ma.MaskedArray(V, MISSING)
    named = NAMED.astype(float).where(~MISSING)
    data = {
        "DataArray": named[:, ORDER],
        "transposed": named.T,
        "frame": pd.DataFrame(named.values, columns=NAMES)[[NAMES[i] for i in ORDER]],
        "nullable": pd.DataFrame(named.values, columns=NAMES)[[NAMES[i] for i in ORDER]].astype("Int8"),
        "mask": masked,
    }[kind]
    for name, call in {**INCOMPLETE, **MASKED_ONLY}.items():
        found, expected = numbers(call(data, MACHINE)), np.asarray(call(masked, PLAIN))
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12, err_msg=name)
    for name, call in WHOLE.items():
        with pytest.raises(ValueError, match="missing entries"):
            call(data, MACHINE)
            pytest.fail(name)
    for refused in (pmr.StopOnLikelihood, lambda x: pmr.log_partition(MACHINE, data=x)):
        with pytest.raises(ValueError, match="missing"):
            refused(data)


def test_known_entries_have_their_marginal_probability():
    found = pmr.log_likelihood(NAMED.astype(float).where(~MISSING)[:, ORDER].T, MACHINE, **QUIET)
    states = np.array(ref.states(4))
    for v, missing, value in zip(V, MISSING, found["log_likelihood"]["v"].values.ravel(), strict=True):
        agree = (states == v)[:, ~missing].all(1)
        assert value == pytest.approx(ref.log_sum(list(np.array(LOG_P)[agree])), abs=1e-10)


@pytest.mark.parametrize("name", ["log_likelihood", "log_conditional", "pseudo_log_likelihood", "free_energy"])
def test_results_keep_dims_and_coords_of_the_rows(name):
    call = {**WHOLE, **INCOMPLETE}[name]
    for data in (NAMED, NAMED.T, NAMED[:, ORDER].to_pandas()):
        found = call(data, MACHINE)
        assert found.dims[-1] == "row"
        assert list(found["row"].values) == [10, 11, 12, 13]
    assert getattr(call(V, MACHINE), "dims", ("v_row",))[-1] == "v_row"


@pytest.mark.filterwarnings("ignore:.*rows have not converged", "ignore:.*too few to say")
def test_inpaint_keeps_dims_and_coords_of_the_machine():
    for data in (np.where(MISSING, np.nan, V), pd.DataFrame(np.where(MISSING, np.nan, V))):
        found = pmr.inpaint(data, MACHINE, draws=2, tune=0, chains=2, **QUIET)
        assert found["mean"]["v"].dims == ("v_row", "pixel")
        assert list(found["posterior"]["pixel"].values) == NAMES


# --------------------------------------------------------------------------------------------------- parameters


def test_parameters_are_put_together_by_name():
    expected = pmr.free_energy(V, W, B, C)
    named = xr.DataArray(W, dims=("pixel", "unit"), coords={"pixel": NAMES, "unit": list("xyz")})
    b, c = xr.DataArray(B, {"pixel": NAMES}, "pixel"), xr.DataArray(C, {"unit": list("xyz")}, "unit")
    for weights in (named, named.T):
        np.testing.assert_allclose(pmr.free_energy(V, weights, b[::-1], c[[1, 2, 0]]), expected)
    for weights in (named[::-1], named[::-1].T):
        np.testing.assert_allclose(pmr.free_energy(NAMED, weights, b, c), expected)
        np.testing.assert_allclose(pmr.free_energy(NAMED.to_pandas(), pmr.restricted(weights, b, c)), expected)
        with pm.Model() as made:
            pmr.RBM("v", weights, b, c, observed=NAMED[:, ORDER].T)
        assert made.compile_logp()({}) == pytest.approx(sum(LOG_P[i] for i in ref.index(V)), abs=1e-9)


def test_frames_as_parameters():
    """The index of W names the visible units, its columns the hidden ones."""
    weights, c = pd.DataFrame(W, NAMES, list("xyz")), pd.Series(C, list("xyz"))
    expected = pmr.free_energy(V, W, B, C)
    for b in (pd.Series(B, NAMES), pd.Series(B, NAMES)[NAMES[::-1]]):
        np.testing.assert_allclose(pmr.free_energy(NAMED[:, ORDER].to_pandas(), weights, b, c[list("zxy")]), expected)
        np.testing.assert_allclose(pmr.free_energy(V, weights, b, C), expected)


@pytest.mark.parametrize("dims", [("draw", "pixel"), ("row", "chain")])
def test_names_of_other_axes_are_refused(dims):
    data = xr.DataArray(V, dims=dims)
    with pytest.raises(ValueError, match=r"names of other axes of the result.*data\.rename"):
        pmr.log_likelihood(data, PLAIN, log_z=0.0)


def test_parameters_follow_the_coords_of_the_model():
    b = xr.DataArray(B, {"pixel": NAMES}, "pixel")
    with pm.Model(coords={"pixel": NAMES, "unit": range(3)}) as made:
        weights = pm.Data("W", W, dims=("pixel", "unit"))
        pmr.RBM("v", weights, b[::-1], C, observed=NAMED[:, ORDER])
    assert made.compile_logp()({}) == pytest.approx(sum(LOG_P[i] for i in ref.index(V)), abs=1e-9)


def test_general_machines_by_name():
    U = np.array([[0, 1.5, 0], [1.5, 0, -1], [0, -1, 0]])
    names = list("abc")
    x = xr.DataArray(V[:, :3], dims=("row", "unit"), coords={"unit": names})
    matrix = xr.DataArray(U, {"unit": names, "other": names}, ("unit", "other"))
    b = xr.DataArray(B[:3], {"unit": names}, "unit")
    expected = pmr.free_energy(x.values, pmr.boltzmann(U, B[:3]))
    for bias in (b, b[::-1]):
        machine = pmr.boltzmann(matrix, bias)
        np.testing.assert_allclose(pmr.free_energy(x[:, [2, 0, 1]], machine), expected)
        with pm.Model() as made:
            pmr.BoltzmannMachine("x", matrix, bias, observed=x[:, [1, 2, 0]].T)
        log_z = pmr.log_partition(pmr.boltzmann(U, B[:3])).estimate
        assert made.compile_logp()({}) == pytest.approx(-expected.sum() - 4 * log_z, abs=1e-9)


def test_a_models_names_reach_what_is_made_of_it():
    """The columns of a frame become coords of the units, and data of other functions follow them."""
    with pm.Model() as made:
        pmr.RBM("v", W, B, C, observed=pd.DataFrame(V, columns=NAMES))
    assert made.named_vars_to_dims["v"] == ("v_row", "v_unit")
    assert list(made.coords["v_unit"]) == NAMES
    other = pd.DataFrame(V, columns=NAMES)[[NAMES[i] for i in ORDER]]
    expected = pmr.free_energy(V, W, B, C)
    for target in (made, pmr.machine_of(made)):
        np.testing.assert_allclose(pmr.free_energy(other, target), expected)
    with pytest.raises(ValueError, match=r"not those of the machine.*\['d'\]"):
        pmr.free_energy(other.rename(columns={"d": "e"}), made)


def test_positions_are_no_names():
    """Columns 0 to n - 1 go by position, and so do rows of frames, whose index is a matter of chance."""
    frame = pd.DataFrame(V)
    np.testing.assert_allclose(pmr.free_energy(frame, MACHINE), pmr.free_energy(V, PLAIN))
    with pm.Model(coords={"row": list("wxyz"), "pixel": NAMES}) as made:
        pmr.RBM("v", W, B, C, observed=frame.set_index(np.array([7, 3, 1, 2])), dims=("row", "pixel"))
    np.testing.assert_array_equal(made["v"].tag.observations.data, V)


def test_units_that_are_asked_for_go_by_name():
    asked = xr.DataArray([True, False, False, True], {"pixel": NAMES}, "pixel")
    expected = pmr.log_conditional(V, PLAIN, units=asked.values, **QUIET)["log_conditional"]
    for units in (asked[ORDER], asked[ORDER].to_series(), [NAMES[3], NAMES[0]]):
        found = pmr.log_conditional(V, MACHINE, units=units, **QUIET)["log_conditional"]
        np.testing.assert_allclose(found, expected)


def test_start_values_go_by_name():
    made, starts = model(V), []
    named = xr.DataArray(W, dims=("pixel", "unit"), coords={"pixel": NAMES})
    for value in (W, named[ORDER], named.T):
        starts.append(start_values(made, observed_machines(made), {"W": value}, np.random.default_rng(1))["W"])
    np.testing.assert_array_equal(starts, [W, W, W])
    with pytest.raises(ValueError, match=r"start\['W'\] has dims .*Rename"):
        start_values(made, observed_machines(made), {"W": named.rename(unit="hidden")}, np.random.default_rng(1))


# ----------------------------------------------------------------------------------------------- kinds of data


def test_what_is_received():
    same = {
        "list": V.tolist(),
        "booleans": V == 1,
        "sparse": scipy.sparse.csr_array(V),
        "object": V.astype(object),
        "mixed": pd.DataFrame({"a": V[:, 0], "b": V[:, 1] == 1, "c": V[:, 2] * 1.0, "d": pd.array(V[:, 3], "Int64")}),
        "categories": pd.DataFrame(V).astype("category"),
        "Series": [pd.Series(row) for row in V],
    }
    for name, data in same.items():
        np.testing.assert_array_equal(receive(data).values.astype(int), V, err_msg=name)
        np.testing.assert_allclose(pmr.free_energy(data, PLAIN), pmr.free_energy(V, PLAIN), err_msg=name)
        np.testing.assert_array_equal(rows_of_model(data, PLAIN), V, err_msg=name)
    row = pd.Series(V[0], index=NAMES)[[NAMES[i] for i in ORDER]]
    assert float(pmr.free_energy(row, MACHINE)) == pytest.approx(float(pmr.free_energy(V[0], PLAIN)))


class Polars:
    """A data frame of another package, as far as it needs to be one: columns, types and numbers, no index."""

    columns, dtypes = NAMES[::-1], ("UInt8",) * 4

    def to_numpy(self):
        return np.where(MISSING, np.nan, V)[:, ::-1]


def test_frames_of_other_packages():
    expected = pmr.log_likelihood(np.ma.MaskedArray(V, MISSING), PLAIN, **QUIET)["log_likelihood"]["v"]
    np.testing.assert_allclose(pmr.log_likelihood(Polars(), MACHINE, **QUIET)["log_likelihood"]["v"], expected)


class Column:
    """A column of polars, as far as it is read: a type and its entries."""

    def __init__(self, dtype, entries):
        self.dtype, self.entries = dtype, entries

    def to_list(self):
        return self.entries

    def to_numpy(self):
        return np.array(self.entries, dtype=object)


class Enum:
    """A type of texts in an order of its own."""

    categories = ("low", "high")

    def __str__(self):
        return "Enum(categories=['low', 'high'])"


class PolarsOfTexts(dict):
    """A frame of such columns."""

    columns = property(list)
    dtypes = property(lambda self: [x.dtype for x in self.values()])
    shape = 3, 3

    def to_numpy(self):
        raise AssertionError("columns are read one by one")


def test_categories_of_polars():
    frame = PolarsOfTexts(
        colour=Column("Categorical", ["red", "blue", None]),
        level=Column(Enum(), ["high", "low", "high"]),
        count=Column("Int64", [1, None, 0]),
    )
    got = receive(frame)
    np.testing.assert_array_equal(np.ma.filled(got.values, -1), [[1, 1, 1], [0, 0, -1], [-1, 1, 0]])
    assert got.categories == {0: ["blue", "red"], 1: ["low", "high"]}
    assert got.labels[-1].tolist() == ["colour", "level", "count"]


def test_a_lazy_frame_is_refused():
    lazy = type("LazyFrame", (), {})()
    with pytest.raises(ValueError, match=r"data must be rows of numbers, got a LazyFrame.*Pass data\.collect\(\)"):
        receive(lazy)


LABELS = np.array([[0, 2], [1, 1], [2, 0]])
ONE_HOT = np.eye(3, dtype=int)[LABELS].reshape(3, -1)


def test_labels_are_one_hot_states():
    machine = pmr.restricted(*ref.machine(6, 2, seed=3), pmr.Categorical(3))
    frame = pd.DataFrame({"x": pd.Categorical(list("acb"), list("abc")), "y": pd.Categorical([3, 2, 1])})
    frame["x"], by_text = frame["x"].cat.set_categories(list("abc")), frame.copy()
    by_text["y"] = [2, 1, 0]
    kinds = (LABELS, LABELS.astype(float), scipy.sparse.csr_array(LABELS), pd.DataFrame(LABELS, columns=["x", "y"]))
    for data in kinds:
        np.testing.assert_allclose(pmr.free_energy(data, machine), pmr.free_energy(ONE_HOT, machine))
        found = pmr.log_likelihood(data, machine, log_z=0.0, **QUIET)["log_likelihood"]["v"]
        np.testing.assert_allclose(found, pmr.log_likelihood(ONE_HOT, machine, log_z=0.0)["log_likelihood"]["v"])
        with pm.Model() as made:
            pmr.RBM("v", np.zeros((6, 2)), np.zeros(6), np.zeros(2), visible=pmr.Categorical(3), observed=data)
        np.testing.assert_array_equal(made["v"].tag.observations.data, ONE_HOT)
    texts = np.eye(3)[[[0, 2], [2, 1], [1, 0]]].reshape(3, -1)
    np.testing.assert_allclose(pmr.free_energy(by_text, machine), pmr.free_energy(texts, machine))


def test_missing_labels_are_missing_units():
    machine = pmr.restricted(*ref.machine(6, 2, seed=3), pmr.Categorical(3))
    mask = np.array([[1, 0], [0, 0], [0, 1]], dtype=bool)
    one_hot = np.ma.MaskedArray(ONE_HOT, np.repeat(mask, 3, axis=1))
    expected = pmr.log_likelihood(one_hot, machine, log_z=0.0, **QUIET)["log_likelihood"]["v"]
    for data in (np.ma.MaskedArray(LABELS, mask), pd.DataFrame(np.where(mask, np.nan, LABELS))):
        found = pmr.log_likelihood(data, machine, log_z=0.0, **QUIET)["log_likelihood"]["v"]
        np.testing.assert_allclose(found, expected)


def test_labels_beside_other_units():
    beside = pmr.Beside(pixel=(pmr.Bernoulli(), 2), label=(pmr.Categorical(3), 3))
    machine = pmr.restricted(*ref.machine(5, 2, seed=3), beside)
    rows, whole = np.array([[1, 0, 2], [0, 1, 0]]), np.array([[1, 0, 0, 0, 1], [0, 1, 1, 0, 0]])
    np.testing.assert_allclose(pmr.free_energy(rows, machine), pmr.free_energy(whole, machine))
    for v in (rows, rows[:, :2], whole[:, :2]):
        np.testing.assert_allclose(pmr.classify(v, machine), pmr.classify(whole, machine))


# ------------------------------------------------------------------------------------ values that a model holds


def test_data_that_change_and_stay_states():
    with pm.Model() as made:
        data = pm.Data("data", V.astype(float))
        pmr.RBM("v", pm.Normal("W", shape=(4, 3)), B, C, observed=data)
        pm.set_data({"data": 1.0 - V})
        [found] = observed_machines(made)
    np.testing.assert_array_equal(found.rows, 1 - V)
    assert found.rows.dtype == np.int8


@pytest.mark.parametrize("changed", [0.7, 2.0, -1.0])
def test_the_log_density_of_what_are_no_states(changed):
    """PyMC casts .7 to 0; the log-density is that of no state."""
    with pm.Model() as made:
        data = pm.Data("data", V.astype(float))
        v = pmr.RBM("v", W, B, C, observed=data)
        pmr.Hidden("h", v, observed=np.zeros((4, 3), int))
        log_p = made.compile_logp(vars=v)
        assert log_p({}) == pytest.approx(sum(LOG_P[i] for i in ref.index(V)), abs=1e-9)
        pm.set_data({"data": np.where(np.eye(4) == 1, changed, V)})
        assert log_p({}) == -np.inf


# ------------------------------------------------------------------------------------------------------- masks


def masked_model():
    masked = np.ma.MaskedArray(V, MISSING)
    with pm.Model() as made:
        pmr.RBM("v", pm.Normal("W", shape=(4, 3)), B, C, observed=masked)
    return made, masked


def few_draws(made, draws=3):
    rng = np.random.default_rng(1)
    shapes = {"W": (4, 3), "v_unobserved": (int(MISSING.sum()),)}
    values = {"W": rng.normal(size=(1, draws, 4, 3)), "v_unobserved": np.zeros((1, draws, 4), "int8")}
    data = {key: (("chain", "draw", *(f"{key}_{i}" for i in range(len(shape)))), values[key])
            for key, shape in shapes.items()}  # fmt: skip
    return xr.DataTree.from_dict({"posterior": xr.Dataset(data)})


def test_imputed_entries_are_in_no_reported_likelihood():
    made, masked = masked_model()
    idata = few_draws(made)
    with made, pytest.raises(ValueError, match=r"imputed entries.*pymc_rbm\.log_likelihood"):
        pm.compute_log_likelihood(idata, progressbar=False)
    found = pmr.log_likelihood(masked, made, idata, **QUIET)["log_likelihood"]["v"]
    for draw in range(3):
        weights = idata["posterior"]["W"].values[0, draw]
        one = pmr.log_likelihood(masked, pmr.restricted(weights, B, C), **QUIET)["log_likelihood"]["v"]
        np.testing.assert_allclose(found[0, draw], one.values.ravel(), rtol=1e-10)


def test_the_log_density_of_a_masked_model_is_that_of_its_rows():
    made, _ = masked_model()
    point = {"W": W, "v_unobserved": np.array([1, 0, 1, 1], "int8")}
    rows = V.copy()
    rows[MISSING] = point["v_unobserved"]
    expected = sum(LOG_P[i] for i in ref.index(rows))
    variables = [made["v_observed"], made["v_unobserved"]]
    assert made.compile_logp(vars=variables)(point) == pytest.approx(expected, abs=1e-9)
    gradient = made.compile_dlogp(vars=[made["W"]])(point)
    assert np.isfinite(gradient).all()


def test_infinity_is_not_missing():
    with pytest.raises(ValueError, match="such as inf"):
        pmr.inpaint([[np.inf, 0, 1, np.nan]], PLAIN, **QUIET)
