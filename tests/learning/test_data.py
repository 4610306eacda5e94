"""The data that learning sees: missing entries, row weights, sparse and large arrays."""

import tracemalloc

import numpy as np
import pymc as pm
import pytest
import reference as ref
import scipy.sparse
import scipy.stats
import xarray as xr
from models import model_of
from options import MASKED, QUIET
from scipy.special import expit

import pymc_rbm as pmr
from pymc_rbm.distributions.base import LARGE
from pymc_rbm.learning import independence
from pymc_rbm.learning.data import observed_machines
from pymc_rbm.learning.fingerprint import marks_of
from pymc_rbm.learning.gradient_error import gradient_and_error
from pymc_rbm.learning.iteration import Settings
from pymc_rbm.learning.penalties import recorded_objective
from pymc_rbm.learning.update import Learner
from pymc_rbm.units.states import unit_data

pytestmark = [
    MASKED,
    pytest.mark.interpreted,
]
DATA = pmr.datasets.bars_and_stripes(2).values


# --------------------------------------------------------------------------------------------- missing entries


UNITS = {
    # The unit, log p(x | field), and the log-normaliser of b + Wh less that of no field.
    "bernoulli": (
        pmr.Bernoulli(),
        lambda x, f: scipy.stats.bernoulli.logpmf(x, expit(f)),
        lambda f: np.logaddexp(0, f),
    ),
    "binomial": (
        pmr.Binomial(3),
        lambda x, f: scipy.stats.binom.logpmf(x, 3, expit(f)),
        lambda f: 3 * np.logaddexp(0, f),
    ),
    "gaussian": (pmr.Gaussian(0.7), lambda x, f: scipy.stats.norm.logpdf(x, f, 0.7), lambda f: f**2 / (2 * 0.49)),
}


def known_log_likelihood(family, W, b, c, rows, missing):
    """Mean log-probability of what is known: given h the units are independent, so what is missing drops out.

    Biases b may have one row for each of the data's.
    """
    _, log_p, log_z = UNITS[family]
    h = np.array(ref.states(len(c)))
    fields = np.broadcast_to(b, rows.shape)[:, None] + h @ W.T
    log_weights = h @ c + log_z(fields).sum(-1)
    known = np.where(missing[:, None], 0, log_p(rows[:, None], fields)).sum(-1)
    each = [ref.log_sum(list(w + k)) - ref.log_sum(list(w)) for w, k in zip(log_weights, known, strict=True)]
    return np.mean(each)


@pytest.mark.parametrize(("family", "by_row"), [("bernoulli", False), ("binomial", False), ("gaussian", True)])
def test_gradient_with_missing_entries(family, by_row):
    """Mean of the updates at (nearly) fixed parameters against finite differences of the exact likelihood."""
    rng, unit = np.random.default_rng(2), UNITS[family][0]
    rows = rng.normal(size=(12, 3)) if family == "gaussian" else rng.integers(0, np.max(unit.states) + 1, (12, 3))
    missing = rng.random(rows.shape) < 0.4
    missing[0] = True  # a row of which nothing is known
    X = rng.normal(size=(12, 1)) * by_row
    start = dict(zip("WbcA", (*ref.machine(3, 2, seed=4), np.array([[0.5, -1.0, 0.3]])), strict=True))
    rate, piece, pieces, points = 1e-7, 50, 21, []

    def note(status):
        if status.epoch % piece == 0:
            b, c, W = status.machines()["v"].parameters[:3]
            both = np.linalg.lstsq(np.c_[np.ones(12), X], np.broadcast_to(b, (12, 3)))[0]  # b and A of biases by row
            points.append(flat({"W": W, "b": both[0], "c": c, "A": both[1:]}))

    def flat(parameters):
        return np.concatenate([np.ravel(parameters[k]) for k in start])

    with pm.Model():
        W, b, c, A = (pm.Flat(k, shape=x.shape) for k, x in start.items())
        pmr.RBM("v", W, b + X @ A if by_row else b, c, visible=unit, observed=np.ma.masked_array(rows, missing))
        options = {"method": "exact", "batch_size": None, "centred": False, "chains": 2, "progressbar": False}
        options["compile_kwargs"] = {"mode": "FAST_COMPILE"}
        pmr.fit(pieces * piece, start=start, learning_rate=lambda done: rate, on_epoch=note, random_seed=1, **options)
    slopes = np.diff(points, axis=0) / (rate * piece)
    if family == "gaussian":  # W and b move in the unit of measurement of v
        slopes[:, :9] /= 0.49

    def slope_of(rows, missing):
        def value(x):
            W, b, c, A = (
                part.reshape(y.shape) for part, y in zip(np.split(x, [6, 9, 11]), start.values(), strict=True)
            )
            return known_log_likelihood(family, W, b + X @ A, c, rows, missing)

        return np.array([(value(flat(start) + d) - value(flat(start) - d)) / 2e-5 for d in 1e-5 * np.eye(14)])

    error = 5 * slopes.std(0, ddof=1) / np.sqrt(len(slopes)) + 1e-6
    assert (np.abs(slopes.mean(0) - slope_of(rows, missing)) < error).all()
    # The test sees what it should: missing entries read as zeros have another gradient.
    assert (np.abs(slopes.mean(0) - slope_of(rows * ~missing, 0 * missing)) > error).any()


@pytest.mark.parametrize("kind", ["entries", "rows", pytest.param("both", marks=pytest.mark.compiled)])
def test_masked_data_in_fit_and_after(kind, tmp_path):
    data = np.repeat(DATA, 20, axis=0)
    rng = np.random.default_rng(0)
    mask = rng.random(data.shape) < 0.2 if kind != "rows" else np.zeros(data.shape, bool)
    if kind != "entries":
        mask[::5] = True
    with pm.Model(coords={"row": range(120), "pixel": range(4), "unit": range(3)}) as model:
        W = pm.Normal("W", 0, 3, dims=("pixel", "unit"))
        masked = np.ma.masked_array(data, mask)
        v = pmr.RBM("v", W, pm.Flat("b", dims="pixel"), np.zeros(3), observed=masked, dims=("row", "pixel"))
        pmr.Hidden("h", v, dims=("row", "unit"))
        options = {"progressbar": False, "random_seed": 1, "horizon": 20}
        learned = pmr.fit(20, **options)
        half = pmr.fit(10, checkpoint=tmp_path / "half.nc", **options)
        with xr.open_datatree(tmp_path / "half.nc") as file:
            again = pmr.fit(10, resume=file.load(), **options)
        del half
    xr.testing.assert_equal(again["state"].to_dataset(), learned["state"].to_dataset())
    assert learned["machines"]["v_weights"].dims == ("pixel", "v_hidden")
    assert learned["data"]["v_rows"].dims == ("v_kept_row", "pixel")
    mean = np.ma.masked_array(data, mask)
    expected = (mean.sum(0) + 0.5) / (mean.count(0) + 1)
    np.testing.assert_allclose(learned["data"]["v_mean"], expected, rtol=1e-12)
    if kind != "rows":  # what is known stays, and what is missing is drawn
        np.testing.assert_array_equal(learned["data"]["v_rows"].values[~mask], data[~mask])
        drawn = learned["data"]["v_rows"].values[mask]
        assert 0 < drawn.mean() < 1
    with pmr.generative(model, learned) as new:
        assert {x.name for x in new.free_RVs} == {"v", "h"}
    assert pmr.log_partition(model, learned).estimate == pmr.log_partition(learned).estimate


def test_dependants_of_missing_entries_are_refused():
    with model_of(np.ma.masked_array(DATA, DATA * 0 + np.eye(6, 4) == 1), 3) as model:
        pm.Potential("p", model["v"].sum())
        with pytest.raises(ValueError, match=r"free units v_unobserved out.*\['p'\]"):
            pmr.fit(1, progressbar=False)


# -------------------------------------------------------------------------------------------------- row weights


@pytest.mark.parametrize("prior", [pm.Flat, pm.Normal])
def test_weights_are_repeated_rows(prior):
    weights = np.array([1, 3, 0, 2, 1, 1])

    def learn(data, **kwargs):
        with pm.Model():
            W = prior("W", shape=(4, 3))
            pmr.RBM("v", W, pm.Flat("b", shape=4), pm.Flat("c", shape=3), observed=data)
            options = {"method": "exact", "batch_size": None, "chains": 1000, "random_seed": 1, "progressbar": False}
            return pmr.fit(300, centred=False, learning_rate=0.5, **options, **kwargs)

    weighted, repeated = learn(DATA, row_weights=weights), learn(np.repeat(DATA, weights, axis=0))
    for name, x in repeated["parameters"].data_vars.items():
        np.testing.assert_allclose(weighted["parameters"][name], x, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(weighted["data"]["v_mean"], repeated["data"]["v_mean"], rtol=1e-12)
    assert np.abs(learn(DATA)["parameters"]["b"] - repeated["parameters"]["b"]).max() > 1e-3


def test_weighted_batches_are_unbiased():
    """The mean update over many small batches is the update of all rows."""
    weights = np.array([1, 5, 0.2, 2, 1, 1])
    parameters = dict(zip("Wbc", ref.machine(4, 3, seed=4), strict=True))
    moved = {}
    for size in (None, 2):
        with model_of(DATA, 3):
            options = {"method": "exact", "centred": False, "chains": 2, "progressbar": False, "random_seed": 1}
            options |= {"row_weights": {"v": weights}, "start": parameters, "learning_rate": lambda done: 1e-9}
            learned = pmr.fit(50, batch_size=size, **options)
        steps = 1 if size is None else 3
        moved[size] = {k: (learned["parameters"][k].values - parameters[k]) / steps for k in "Wbc"}
    for k in "Wbc":
        np.testing.assert_allclose(moved[2][k], moved[None][k], rtol=1e-4, atol=1e-13)


@pytest.mark.parametrize("bad", [np.ones(5), -np.ones(6), np.zeros(6), np.full(6, np.nan), {"u": np.ones(6)}])
def test_bad_weights(bad):
    with model_of(DATA, 3), pytest.raises(ValueError, match="row_weights"):
        pmr.fit(1, row_weights=bad, progressbar=False)


# ------------------------------------------------------------------------------------------- sparse and large


@pytest.mark.parametrize("kind", [scipy.sparse.csr_matrix, scipy.sparse.csc_array, scipy.sparse.coo_matrix])
def test_sparse_data(kind):
    results = []
    for data in (DATA, kind(DATA.astype(float))):
        with model_of(data, 3):
            results.append(pmr.fit(5, method="pcd", random_seed=1, progressbar=False)["parameters"].to_dataset())
    xr.testing.assert_equal(*(x.drop_attrs() for x in results))
    with pytest.raises(ValueError, match=r"got 2 other entries of 6 \(such as 2, 3\)"):
        model_of(kind(np.array([[2, 0, 1], [0, 3, 0]])), 3)


def test_data_are_not_copied():
    """What PyMC holds is what learning reads, and binary int8 arrays pass the checks as they are."""
    data = np.random.default_rng(0).integers(0, 2, (300, 5)).astype("int8")
    assert unit_data(data, pmr.Bernoulli()) is data
    model = model_of(data, 3)
    settings = Settings(pmr.estimators.persistent, 5, 1, pm.sgd, None, True, {})
    learner = Learner(model, observed_machines(model), settings, None, np.random.default_rng(1))
    held = model.rvs_to_values[model["v"]].data
    assert np.shares_memory(learner._data[0].get_value(borrow=True), held)


@pytest.mark.parametrize("kind", ["array", "file", "DataArray of a file"])
def test_large_data_stay_one_copy(kind, tmp_path):
    """PyMC would make three more of an array, one of them four times as large. A file that is mapped is not read."""
    data = np.random.default_rng(0).integers(0, 2, (2**19, 64), dtype="int8")
    assert data.size > LARGE
    if kind != "array":
        np.save(tmp_path / "data.npy", data)
        data = np.load(tmp_path / "data.npy", mmap_mode="r")
    given = xr.DataArray(data, dims=("row", "item")) if "DataArray" in kind else data
    tracemalloc.start()
    model = model_of(given, 3)
    [x] = observed_machines(model)
    marks_of(model, [x], 100)
    found = [x.mean, independence._means(x.machine, x)]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.shares_memory(x.rows, data)
    assert 2 * x.weights.nbytes < data.nbytes / 3
    assert peak < (data.nbytes if "DataArray" in kind else 2 * x.weights.nbytes)  # PyMC numbers rows that have a dim
    for mean in found:
        np.testing.assert_allclose(mean, data.mean(0), rtol=1e-4)


@pytest.mark.parametrize("learned", [True, False])
def test_large_data_are_data_like_all_others(monkeypatch, learned):
    """In learning, log-densities, likelihoods and predictions."""
    found = []
    for large in (LARGE, 0):
        monkeypatch.setattr("pymc_rbm.distributions.base.LARGE", large)
        with model_of(DATA, 3, 1.0, 1.0) as model:
            assert (model.rvs_to_values[model["v"]].owner is None) == bool(large)
            if learned:
                found.append(pmr.fit(5, method="pcd", **QUIET)["parameters"].dataset.drop_attrs())
                continue
            point = model.initial_point(1)
            idata = pm.sample(3, tune=3, chains=1, **QUIET, compute_convergence_checks=False)
            pm.compute_log_likelihood(idata, progressbar=False)
            drawn = pm.sample_posterior_predictive(idata, random_seed=1, progressbar=False)
            found.append(
                xr.Dataset({"logp": model.compile_logp()(point)})
                .merge(idata["log_likelihood"].dataset.rename(v="rows"))
                .merge(drawn["posterior_predictive"].dataset)
                .drop_attrs()
            )
    xr.testing.assert_equal(*found)


def test_of_very_many_rows_some_are_judged(monkeypatch):
    """The gradient's error and that of the gain then have a share of these rows."""
    data = (np.random.default_rng(0).random((2000, 4)) < [0.2, 0.4, 0.6, 0.8]).astype("int8")
    model = model_of(data, 3)
    settings = Settings(pmr.estimators.persistent, 50, 1, pm.sgd, None, True, {})
    learner = Learner(model, observed_machines(model), settings, None, np.random.default_rng(1))
    machines, found, gains = learner.parameters()[1], [], []
    for most in (10_000, 100):
        monkeypatch.setattr("pymc_rbm.learning.data.MOST_JUDGED", most)
        found.append(gradient_and_error(machines, learner))
        gains.append(independence.sampled_gain(machines["v"], learner.observed[0], learner.particle_states()["v"]))
    assert len(learner.observed[0].judged) == 100
    squares = [float(x["v_gradient_standard_error"]) ** 2 for x in found]
    h = np.asarray(pmr.hidden_mean(data, machines["v"]))
    statistics = np.concatenate([(data[:, :, None] * h[:, None, :]).reshape(2000, -1), data, h], axis=1)
    assert squares[1] - squares[0] == pytest.approx(statistics.var(0).sum() / 100, rel=0.3)
    change = float(abs(found[1]["v_gradient_norm"] - found[0]["v_gradient_norm"]))
    assert 0 < change < 4 * np.sqrt(squares[1] - squares[0])
    assert 0 < abs(gains[1][0] - gains[0][0]) < 4 * np.sqrt(gains[1][1] ** 2 - gains[0][1] ** 2)


def test_what_is_measured_at_the_end_takes_the_memory_of_few_machines(monkeypatch):
    """Rows are summed piece by piece, and no piece's slopes are kept."""
    monkeypatch.setattr("pymc_rbm.learning.goal.CHUNK_ENTRIES", 2**14)
    monkeypatch.setattr("pymc_rbm.learning.data.PIECE", 2**16)
    monkeypatch.setattr("pymc_rbm.learning.data.KEPT_BYTES", 0)
    data = np.random.default_rng(0).integers(0, 2, (1500, 600), dtype="int8")
    with model_of(data, 64, 1.0, 1.0) as model:
        settings = Settings(pmr.estimators.persistent, 50, 1, pm.sgd, None, True, {})
        learner = Learner(model, observed_machines(model), settings, None, np.random.default_rng(1))
    machines = learner.parameters()[1]
    size = 8 * sum(np.size(p) for p in machines["v"].parameters)
    for measure in (
        lambda: gradient_and_error(machines, learner),
        lambda: recorded_objective(model, learner, machines),
    ):
        measure()  # compiles
        tracemalloc.start()
        measure()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 16 * size


def test_deviations_piece_by_piece(monkeypatch):
    rng = np.random.default_rng(0)
    data = rng.normal(1000, [1, 2, 3, 0], (500, 4))
    mask = rng.random(data.shape) < 0.2
    for rows, expected in (
        (data, data.std(0)),
        (np.ma.MaskedArray(data, mask), np.ma.std(np.ma.MaskedArray(data, mask), 0)),
    ):
        monkeypatch.setattr("pymc_rbm.learning.data.PIECE", 64)
        model = model_of(rows, 2, visible=pmr.Gaussian(1.0))
        [x] = observed_machines(model)
        np.testing.assert_allclose(x.deviation[:3], np.asarray(expected)[:3], rtol=1e-12)
        assert x.deviation[3] == 1


def test_wrong_entries_in_large_data_are_counted(monkeypatch):
    monkeypatch.setattr("pymc_rbm.units.states.PIECE", 10)
    data = np.zeros((100, 7))
    data[[3, 40, 99], [1, 2, 6]] = 5, 4, 5
    with pytest.raises(ValueError, match=r"got 3 other entries of 700 \(such as 4, 5\)"):
        unit_data(data, pmr.Bernoulli())
    data[50, 3] = np.nan
    with pytest.raises(ValueError, match="contains NaN"):
        unit_data(data, pmr.Bernoulli())


def test_rows_may_be_called_as_the_variable(monkeypatch):
    """More rows than are kept, on an axis with the name that the package would choose."""
    monkeypatch.setattr("pymc_rbm.learning.data.KEPT_BYTES", 0)
    data = np.tile(DATA, (200, 1))
    with pm.Model(coords={"v_row": range(len(data)), "v_unit": range(4)}):
        W = pm.Flat("W", shape=(4, 2))
        pmr.RBM("v", W, pm.Flat("b", dims="v_unit"), np.zeros(2), observed=data, dims=("v_row", "v_unit"))
        options = {"random_seed": 1, "progressbar": False, "compile_kwargs": {"mode": "FAST_COMPILE"}}
        learned = pmr.fit(1, batch_size=None, chains=2, sweeps=1, **options)
    assert len(data) > 1000
    assert learned["data"]["v_rows"].shape == (1000, 4)
