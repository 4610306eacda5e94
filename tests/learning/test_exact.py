"""Exact learning leaves saddles; one hidden unit, layers of any size, many columns, and noise above the data's."""

import inspect
import itertools
import warnings

import numpy as np
import pymc as pm
import pytest
import reference as ref
from cases import one_hot
from limits import latent_classes
from models import model_of
from options import QUIET
from sklearn.cluster import KMeans

import pymc_rbm as pmr
from pymc_rbm.learning.data import observed_machines
from pymc_rbm.learning.defaults import Correlations, correlation
from pymc_rbm.learning.directions import MOST_COLUMNS
from pymc_rbm.learning.lbfgs import TOLERANCES
from pymc_rbm.learning.restarts import MOST_STARTS
from pymc_rbm.learning.start import mixture_of_groups
from pymc_rbm.machine.enumeration import cheapest_layer, in_powers

pytestmark = pytest.mark.interpreted

PARITY = np.array([v for v in itertools.product([0, 1], repeat=3) if sum(v) % 2 == 0])
"""Four patterns of three bits, no two of which are correlated."""
BOUND, INDEPENDENT = -np.log(4), -3 * np.log(2)


def with_priors(rows, m=2, scale=3.0, **options):
    """Priors on biases, too: every maximum is finite."""
    return model_of(rows, m, scale, 10.0, **options)


def score(model, learned, rows):
    """By the reference: plain sums over all states."""
    machine = pmr.machine_of(model, learned).numeric()
    states = np.array(list(itertools.product([0, 1], repeat=rows.shape[1])))
    log_z = np.logaddexp.reduce([ref.log_weight(machine, v) for v in states])
    return np.mean([ref.log_weight(machine, v) for v in rows]) - log_z


# ---------------------------------------------------------------------------------------------------------- the saddle


@pytest.mark.parametrize("seed", [1, *(pytest.param(i, marks=pytest.mark.slow) for i in range(2, 7))])
def test_parity_is_learned(seed):
    """From small weights alone the climb ends at W = 0 and is content."""
    rows = np.tile(PARITY, (50, 1))
    model = with_priors(rows, 4)
    learned = pmr.fit(model=model, **QUIET | {"random_seed": seed})
    assert learned.attrs["method"] == "exact"
    assert learned.attrs["converged"] == 1
    assert 1 < learned.attrs["starts"] <= MOST_STARTS
    assert BOUND - 0.06 < score(model, learned, PARITY) < BOUND


@pytest.mark.parametrize("seed", range(6))
def test_parity_of_four_bits_is_learned(seed):
    """Starts that agree at the saddle are not enough: six hidden units and this prior reach -2.2555, the rows -2.08."""
    patterns = np.array([v for v in itertools.product([0, 1], repeat=4) if sum(v) % 2 == 0])
    model = model_of(np.tile(patterns, (50, 1)), 6, 1.0)
    learned = pmr.fit(model=model, **QUIET | {"random_seed": seed})
    assert score(model, learned, patterns) == pytest.approx(-2.2555, abs=1e-3)


def test_the_start_that_is_given_is_kept():
    """And where it is a saddle, the answer is, with a warning and not with silence."""
    rows = np.tile(PARITY, (50, 1))
    small = {"W": 1e-2 * np.random.default_rng(1).normal(size=(3, 2)), "b": np.zeros(3), "c": np.zeros(2)}
    model = with_priors(rows)
    with pytest.warns(UserWarning, match=r"independent units: -2\.0794 against -2\.0794.*from 1 start\."):
        learned = pmr.fit(model=model, start=small, **QUIET)
    assert learned.attrs["starts"] == 1
    assert score(model, learned, PARITY) == pytest.approx(INDEPENDENT, abs=1e-6)


def test_a_tight_prior_is_told_of():
    """Four rows and weights near zero by prior: independent units are the best there is."""
    with pytest.warns(UserWarning, match="hardly better than independent units.*a wider prior"):
        learned = pmr.fit(model=with_priors(PARITY, 2, 1.0), **QUIET)
    assert learned.attrs["converged"] == 1


def test_what_needs_no_other_start_is_what_it_was():
    """The first start is kept where no other ends higher, and other starts take nothing from the generator."""
    rng = np.random.default_rng(3)
    rows = (rng.random((60, 3)) < 0.2 + 0.6 * rng.integers(0, 2, (60, 1))).astype(int)
    learned = pmr.fit(model=with_priors(rows, 2), **QUIET)
    first = pmr.fit(model=with_priors(rows, 2), start=start_of(rows, 2), **QUIET)
    assert (learned.attrs["starts"] > 1, first.attrs["starts"]) == (True, 1)
    for x in "Wbc":
        np.testing.assert_array_equal(learned["parameters"][x], first["parameters"][x])


def start_of(rows, m):
    """Where fit starts, with these seeds: an update of no size leaves it there."""
    still = pmr.fit(1, method="exact", optimizer=pm.sgd(learning_rate=0.0), model=with_priors(rows, m), **QUIET)
    return {x: still["parameters"][x].values for x in "Wbc"}


def test_single_precision_converges():
    """To what its rounding allows, and says so truly: by sums in double precision the gradient is as small."""
    rows = np.tile(PARITY, (50, 1))
    with pm.Model():
        W = pm.Normal("W", 0, np.float32(3), shape=(3, 2), dtype="float32")
        b = pm.Normal("b", 0, np.float32(10), shape=3, dtype="float32")
        pmr.RBM("v", W, b, np.zeros(2, "float32"), observed=rows)
        learned = pmr.fit(**QUIET)
    assert learned["parameters"]["W"].dtype == "float32"
    assert learned.attrs["converged"] == 1
    assert learned.attrs["epochs_done"] < 300
    W, b = (learned["parameters"][x].values.astype("float64") for x in "Wb")
    states = np.array(list(itertools.product([0, 1], repeat=3)))
    machine = pmr.restricted(W, b, np.zeros(2)).numeric()
    p = np.exp([ref.log_weight(machine, v) for v in states])
    slope = rows.mean(0) - p @ states / p.sum() - b / 10**2 / len(rows)
    assert abs(slope).max() < 20 * TOLERANCES["float32"]


def test_hidden_columns_that_start_alike_are_parted():
    """As those of pm.find_MAP without jitter, whose gradients are the same; start= from them, too."""
    rng = np.random.default_rng(2)
    which = rng.integers(0, 3, 90)
    rows = (rng.random((90, 6)) < 0.1 + 0.8 * np.eye(3)[which].repeat(2, 1)).astype(int)
    model = with_priors(rows)
    with model, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        alike = pm.find_MAP(progressbar=False, seed=1)["W"]
        jitters = "jitter" in inspect.signature(pm.find_MAP).parameters  # since PyMC 6.4
        apart = pm.find_MAP(progressbar=False, jitter=True, seed=1)["W"] if jitters else None
    np.testing.assert_allclose(alike[:, 0], alike[:, 1], atol=1e-6)
    assert apart is None or abs(apart[:, 0] - apart[:, 1]).max() > 0.5
    same = np.repeat(alike[:, :1], 2, axis=1)
    with pytest.warns(UserWarning, match="start gives 1 hidden unit of 'v' the same weights"):
        learned = pmr.fit(model=model, start={"W": same, "c": np.zeros(2)}, **QUIET)
    with pytest.warns(UserWarning, match="start gives 1 hidden unit"):
        followed = pmr.fit(1, model=model, method="pcd", start={"W": same, "c": np.zeros(2)}, **QUIET)
    for fitted in (learned, pmr.fit(model=model, **QUIET)):
        W = fitted["parameters"]["W"].values
        assert abs(W[:, 0] - W[:, 1]).max() > 0.5
    W = followed["parameters"]["W"].values
    assert abs(W[:, 0] - W[:, 1]).max() > 0.01


@pytest.mark.filterwarnings("ignore::pymc.exceptions.ImputationWarning")
@pytest.mark.parametrize("kind", ["general", "product"])
@pytest.mark.interpreted
def test_hidden_units_that_start_alike_are_parted_where_their_weights_are_expressions(kind):
    """They stayed the same: the matrix of a general machine is made symmetric, so that it is no variable itself."""
    rows = (np.random.default_rng(1).random((60, 4)) < 0.5).astype(float)
    with pm.Model() as model:
        b = pm.Normal("b", shape=4 if kind == "product" else 6)
        if kind == "product":
            A, B = pm.Normal("A", shape=(4, 2)), pm.Normal("B", shape=(2, 3))
            pmr.RBM("v", A @ B, b, np.zeros(3), observed=rows.astype(int))
            alike = {"A": np.zeros((4, 2)), "B": np.ones((2, 3))}
        else:
            hidden = np.ma.masked_all((60, 2))
            pmr.BoltzmannMachine("v", pm.Normal("U", shape=(6, 6)), b, observed=np.ma.hstack([rows, hidden]))
            U = np.triu(np.ones((6, 6)), 1)
            alike, apart = {"U": U, "b": np.zeros(6)}, {"U": U, "b": np.arange(6) / 10}
    options = {"method": "pcd", "learning_rate": 0.1, "chains": 8, "model": model} | QUIET
    with pytest.warns(UserWarning, match="start gives . hidden units? of 'v' the same weights"):
        learned = pmr.fit(2, start=alike, **options)["parameters"]
    x = (learned["A"].values @ learned["B"].values).T if kind == "product" else learned["U"].values[4:, :4]
    assert abs(x[0] - x[1]).max() > 1e-5
    if kind == "general":  # these differ by their biases
        with warnings.catch_warnings():
            warnings.filterwarnings("error", "start gives")
            kept = pmr.fit(1, start=apart, **options | {"learning_rate": 1e-9})["parameters"]["U"]
        np.testing.assert_allclose(kept, apart["U"], atol=1e-6)


# ------------------------------------------------------------------------------------------- one hidden unit, and none


@pytest.mark.parametrize("hidden", [pmr.Bernoulli(), pmr.Spin(), pmr.Categorical(2), pmr.Binomial(2)], ids=repr)
def test_one_hidden_unit_is_learned(hidden):
    """Two latent classes by any name reach the likelihood of EM's."""
    rng = np.random.default_rng(5)
    which = rng.integers(0, 2, (150, 1))
    rows = (rng.random((150, 4)) < 0.15 + 0.7 * which).astype(int)
    model = with_priors(rows, hidden.width, 30.0, hidden=hidden)
    learned = pmr.fit(model=model, **QUIET)
    assert learned.attrs["converged"] == 1
    # What is climbed has the prior of W, too, Normal(0, 30): ΣW²/(2·30²·150), 0.002 for four weights of 11.
    assert score(model, learned, rows) > latent_classes(rows, which[:, 0]) - 0.002


@pytest.mark.parametrize("hidden", [pmr.Bernoulli(), pmr.Spin(), pmr.Categorical(2)], ids=repr)
@pytest.mark.parametrize("visible", [pmr.Bernoulli(), pmr.Gaussian(0.5), pmr.Spin()], ids=repr)
def test_the_start_from_groups_has_their_means(visible, hidden):
    """Given each state of the hidden unit the visible means are the groups', and the states weigh as these do."""
    rng = np.random.default_rng(0)
    which = np.repeat([0, 1], [70, 30])
    p = np.where(which[:, None] == 1, [0.9, 0.8, 0.9], [0.1, 0.1, 0.2])
    rows = p * 4 + rng.normal(0, 0.3, p.shape) if visible.dtype.startswith("float") else rng.random(p.shape) < p
    rows = 2.0 * rows - 1 if isinstance(visible, pmr.Spin) else rows * 1.0
    machine = mixture_of_groups(rows, np.ones(100), visible, hidden, 0)
    states = np.reshape(hidden.states, (2, -1))
    means = machine.mean(0, [None, states]).eval()
    log_p = -machine.free_energy(states, 1).eval()
    shares = np.exp(log_p - np.logaddexp(*log_p))
    found = KMeans(2, n_init=5, random_state=0).fit(rows / rows.std(0)).labels_
    counts = np.bincount(found)
    overall = (rows.sum(0) + visible.middle) / 101  # to which one row of each group shrinks
    expected = np.array([(rows[found == k].sum(0) + overall) / (counts[k] + 1) for k in (0, 1)])
    ours, theirs = np.argsort(means[:, 0]), np.argsort(expected[:, 0])
    np.testing.assert_allclose(means[ours], expected[theirs], rtol=1e-9)
    np.testing.assert_allclose(shares[ours], (counts[theirs] + 1) / 102, rtol=1e-9)


@pytest.mark.parametrize(
    "make",
    [
        lambda: pmr.RBM.dist(np.zeros((5, 0)), np.zeros(5), np.zeros(0)),
        lambda: pmr.RBM.dist(np.zeros((0, 5)), np.zeros(0), np.zeros(5)),
        lambda: pmr.restricted(np.zeros((5, 0)), np.zeros(5), np.zeros(0)),
        lambda: pmr.free_energy(np.zeros(5), np.zeros((5, 0)), np.zeros(5), np.zeros(0)),
        lambda: pmr.hidden_mean(np.zeros(5), pmr.restricted(np.zeros((5, 0)), np.zeros(5), np.zeros(0))),
        lambda: pmr.BoltzmannMachine.dist(np.zeros((0, 0)), np.zeros(0)),
    ],
)
def test_a_side_without_units_is_refused(make):
    with pytest.raises(ValueError, match=r"has shape \(.*0.*at least one unit.*pm\.Bernoulli"):
        make()


def test_a_model_without_hidden_units_is_refused():
    with pytest.raises(ValueError, match=r"W has shape \(3, 0\)"):
        with_priors(PARITY, 0)


# ------------------------------------------------------------------------------------------------------- many units


@pytest.mark.parametrize(
    ("unit", "size", "count"),
    [
        (pmr.Bernoulli(), 1024, 2**1024),
        (pmr.Spin(), 4096, 2**4096),
        (pmr.Categorical(21), 21 * 240, 21**240),
        (pmr.Categorical(5), 5 * 450, 5**450),
        (pmr.Beside((pmr.Bernoulli(), 1023), (pmr.Categorical(3), 6)), 1029, 2**1023 * 9),
    ],
)
def test_states_are_counted_however_many(unit, size, count):
    machine = pmr.restricted(np.full((size, 6000), 0.01), np.zeros(size), np.zeros(6000), unit)
    assert cheapest_layer(machine) == (0, count)
    power = in_powers(count)
    assert len(power) < 12
    assert power[0] == str(count)[0] or power[0] == str(int(str(count)[0]) + 1)
    with pytest.raises(pmr.IntractableError, match=r"have at least .*e\+.* joint states"):
        pmr.log_partition(machine, method="exact")


@pytest.mark.parametrize("m", [2, 18])
def test_a_layer_beyond_all_floats_is_learned_and_drawn(m):
    """2¹¹⁰⁰ states on one side: beside few units, which are enumerated, and beside more."""
    rng = np.random.default_rng(1)
    rows = rng.integers(0, 2, (8, 1100))
    model = with_priors(rows, m)
    learned = pmr.fit(1, method="pcd", chains=4, learning_rate=0.01, sweeps=1, model=model, **QUIET)
    machine = pmr.machine_of(model, learned).numeric()
    v = pmr.RBM.dist(*(machine.parameters[i] for i in (2, 0, 1)), sweeps=2)
    assert pm.draw(v, 2, random_seed=1).shape == (2, 1100)
    with pmr.generative(model, learned) as generative:
        assert np.isfinite(generative.compile_logp()(generative.initial_point()))
    few = rng.random((2, 1100)) < 0.01
    found = pmr.log_likelihood(np.ma.MaskedArray(rows[:2], few), machine, log_z=0.0, progressbar=False)
    assert np.isfinite(found["log_likelihood"]["v"]).all()
    assert not found["missing"]["annealed"].any()


@pytest.mark.slow
@pytest.mark.interpreted  # large here are numbers of states, not the work: compiling was seven eighths of the time
@pytest.mark.filterwarnings("ignore:.*Cannot cache compiled function")  # PyMC's, of constants; it is silent elsewhere
def test_lattices_and_letters_beyond_all_floats():
    rng = np.random.default_rng(1)
    site = np.arange(1024).reshape(32, 32)
    pattern = np.zeros((1024, 1024), bool)
    for axis in (0, 1):
        pattern[site.ravel(), np.roll(site, 1, axis).ravel()] = True
    with pm.Model() as lattice:
        U, b = pm.Normal("U", 0, 0.1, shape=(1024, 1024)), pm.Normal("b", 0, 1, shape=1024)
        spins = 2 * rng.integers(0, 2, (8, 1024)) - 1
        pmr.BoltzmannMachine("x", U, b, unit=pmr.Spin(), pattern=pattern | pattern.T, observed=spins)
    letters = with_priors(one_hot(rng.integers(0, 21, (8, 240)), 21), 8, visible=pmr.Categorical(21))
    stars = with_priors(one_hot(rng.integers(0, 5, (8, 450)), 5), 8, visible=pmr.Categorical(5))
    for model in (lattice, letters, stars):
        learned = pmr.fit(2, chains=4, method="pcd", learning_rate=0.01, sweeps=1, model=model, **QUIET)
        with pmr.generative(model, learned):
            draws = pm.sample(4, tune=2, chains=2, cores=1, compute_convergence_checks=False, **QUIET)
        assert draws["posterior"].sizes["draw"] == 4
        machine = pmr.machine_of(model, learned)
        assert np.isfinite(pmr.log_partition(machine, particles=4, temperatures=5, **QUIET).estimate)
    network = pmr.fit_deep(rng.integers(0, 2, (8, 1030)), [1025, 4], epochs=1, chains=4, **QUIET)
    assert len(network) == 2


# ------------------------------------------------------------------------------------------------------- many columns


def correlated(rows, columns, strong):
    rng = np.random.default_rng(7)
    share = 0.2 + 0.6 * rng.integers(0, 2, (rows, 3))[:, np.arange(columns) % 3] if strong else 0.5
    return (rng.random((rows, columns)) < share).astype("int8")


@pytest.mark.parametrize("strong", [True, False])
def test_many_columns_are_measured_by_products(strong, monkeypatch):
    """The eigenvalue, and the shape along its vector, are those of the matrix."""
    rows = correlated(60, MOST_COLUMNS + 50, strong)
    [x] = observed_machines(with_priors(rows, 1))
    by_products = correlation(x)
    monkeypatch.setattr("pymc_rbm.learning.directions.MOST_COLUMNS", 10**6)
    by_matrix = correlation(x)
    assert by_products.strength == pytest.approx(by_matrix.strength, rel=1e-9)
    assert by_products.bimodality == pytest.approx(by_matrix.bimodality, rel=1e-4)
    assert by_products.splits == by_matrix.splits


def test_constant_columns_have_no_correlation():
    [x] = observed_machines(with_priors(np.ones((5, MOST_COLUMNS + 1), "int8"), 1))
    assert correlation(x).strength == 0


def test_nothing_is_measured_that_is_not_needed(monkeypatch):
    def refuse(x):
        raise AssertionError("measured")

    monkeypatch.setattr("pymc_rbm.learning.defaults.correlation", refuse)
    model = with_priors(PARITY)
    pmr.fit(1, method="pcd", learning_rate=0.1, model=model, **QUIET)
    with pytest.raises(AssertionError, match="measured"):
        pmr.fit(1, method="pcd", model=model, **QUIET)
    assert len(Correlations(observed_machines(model))) == 1


# ------------------------------------------------------------------------------------------------------ noise too large


def real_rows(scale):
    rng = np.random.default_rng(3)
    return scale * (rng.normal(size=(100, 1)) + 0.5 * rng.normal(size=(100, 3)))


ONE = {"epochs": 1, "method": "pcd", "learning_rate": 1e-3, "sweeps": 1, "chains": 2, **QUIET}


@pytest.mark.parametrize(
    ("visible", "which"),
    [
        (pmr.Gaussian(), "3 of the 3"),
        (pmr.Gaussian([0.1, 0.9, 0.1]), "1 of the 3 .*0.9 against 0.2.* for entry 1"),
        (pmr.Beside((pmr.Gaussian(0.1), 1), (pmr.Gaussian(2.0), 2)), "2 of the 3 .*: 2 against 0.2"),
    ],
)
def test_noise_above_the_deviation_of_the_data_is_named(visible, which):
    with pytest.warns(UserWarning, match=f"sigma of {which}.*Standardise the data"):
        pmr.fit(model=with_priors(real_rows(0.2), visible=visible), **ONE)


def test_noise_below_it_or_learned_is_not():
    pmr.fit(model=with_priors(real_rows(1.0), visible=pmr.Gaussian(0.8)), **ONE)
    standard = real_rows(1.0)
    standard = (standard - standard.mean(0)) / standard.std(0)
    pmr.fit(model=with_priors(standard, visible=pmr.Gaussian(1.0)), **ONE)
    with pm.Model() as model:
        sigma = pm.HalfNormal("sigma", 5, initval=3.0)
        pmr.RBM("v", pm.Normal("W", shape=(3, 2)), pm.Flat("b", shape=3), np.zeros(2), visible=pmr.Gaussian(sigma),
                observed=real_rows(0.2))  # fmt: skip
    pmr.fit(model=model, **ONE)
    pmr.fit(model=with_priors(PARITY), **ONE)


def test_rows_that_are_there_twice_are_weights():
    """The climb goes through different rows; likelihood and rows in the result are those of the whole table."""
    rng = np.random.default_rng(3)
    rows, counts = rng.integers(0, 2, (20, 4)), rng.integers(1, 5, 20)
    found = []
    for table, weights in ((rows.repeat(counts, axis=0), None), (rows, counts)):
        with pm.Model():
            pmr.RBM("v", pm.Normal("W", 0, 1, shape=(4, 3)), pm.Flat("b", shape=4), np.zeros(3), observed=table)
            found.append(pmr.fit(progressbar=False, random_seed=1, row_weights=weights))
    assert found[0]["data"].sizes["v_kept_row"] == counts.sum()
    for x in found:
        assert x.attrs["converged"]
    a, b = (np.sort(np.abs(np.linalg.svd(x["parameters"]["W"].values)[1])) for x in found)
    np.testing.assert_allclose(a, b, atol=1e-6)
    np.testing.assert_allclose(*(x["parameters"]["b"] for x in found), atol=1e-6)
