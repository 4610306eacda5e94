"""Starts that span what a machine can reach: what `diagnose` and `inpaint` see of modes that no chain leaves."""

import warnings

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
import xarray as xr
from options import MUTED
from scipy import stats

import pymc_rbm as pmr
from pymc_rbm.diagnostics.probes import mode_weight_bound
from pymc_rbm.sampling.dispersal import dispersed_states, heated, opposed, spread
from pymc_rbm.support.modes import INTERPRETED

pytestmark = pytest.mark.interpreted

NAN = np.nan


def clusters(centres, weights, sigma=0.1, visible=None):
    """Gaussian clusters (or those of another real unit) with the given weights: one one-hot hidden unit."""
    W = np.atleast_2d(np.asarray(centres, float)).T
    c = np.log(weights) - (W**2).sum(0) / (2 * sigma**2)
    return pmr.restricted(W, np.zeros(len(W)), c, visible or pmr.Gaussian(sigma), pmr.Categorical(len(weights)))


def two_corners(sigma=0.1, distance=5.0):
    """One binary hidden unit moves three visible ones from 0 to ``distance``, with probability one half."""
    c = -3 * distance**2 / (2 * sigma**2)
    return pmr.restricted(np.full((3, 1), distance), np.zeros(3), np.array([c]), pmr.Gaussian(sigma))


def beside():
    """Two real and one binary unit, two clusters of equal weight."""
    W = np.array([[0.0, 5.0], [0.0, 5.0], [-4.0, 4.0]])
    c = [np.log1p(np.exp(4.0)) - np.log1p(np.exp(-4.0)), -50 / 0.02]
    families = pmr.Beside((pmr.Gaussian(0.1), 2), (pmr.Bernoulli(), 1))
    return pmr.restricted(W, np.zeros(3), np.array(c), families, pmr.Categorical(2))


@pytest.fixture
def without_compiling():
    """Slow tests are run on numba, which would compile for minutes here: each machine has units of its own."""
    with pytensor.config.change_flags(mode=INTERPRETED):
        yield


CLUSTERS = np.array([[0.0, 0, 0], [5, 5, 5], [10, 10, 10]])
WEIGHTS = 0.2, 0.5, 0.3
STUCK = {
    "three clusters": (clusters(CLUSTERS, WEIGHTS), CLUSTERS[0]),
    "far from zero": (clusters(1000 + CLUSTERS, WEIGHTS), 1000 + CLUSTERS[1]),
    "one real unit": (clusters([[0.0], [5.0], [10.0]], WEIGHTS), [10.0]),
    "binary hidden": (two_corners(), np.zeros(3)),
    "spin": (pmr.restricted(np.full((2, 1), 2.0), np.zeros(2), np.zeros(1), pmr.Gaussian(0.2), pmr.Spin()), [2.0, 2.0]),
    "binomial": (
        pmr.restricted([[3.0]], np.zeros(1), np.array([-9 / 0.04 * 10 / 2]), pmr.Gaussian(0.2), pmr.Binomial(10)),
        [0.0],
    ),
    "rectified": (clusters([[1.0, 1.0], [6.0, 6.0]], [0.5, 0.5], 0.2, pmr.Rectified(0.2)), [1.0, 1.0]),
    "two rectified": (
        pmr.restricted([[-2.0]], np.array([12.0]), np.array([12.0]), pmr.Rectified(1.0), pmr.Rectified(1.0)),
        [12.0],
    ),
    "two-sided": (
        pmr.restricted(np.full((3, 1), 3.0), np.zeros(3), np.zeros(1), pmr.DReLU(40.0, 40.0, -40.0), pmr.Gaussian(1.0)),
        [1.0, 1.0, 1.0],
    ),
    "beside": (beside(), np.zeros(3)),
}
FAST = ("binary hidden",)


def verdict(machine, seed=1, **options):
    draws = pmr.sample_gibbs(machine, random_seed=seed, **MUTED, **({"draws": 600, "tune": 50} | options))
    return pmr.diagnose(draws, machine, random_seed=seed, **MUTED)


# ------------------------------------------------------------------------------------------------------ starts


def test_few_chains_start_in_all_clusters():
    """Of three chains one in each; without opposites all three would be in one cluster in a ninth of the seeds."""
    for seed in range(10):
        first = dispersed_states(clusters(CLUSTERS, WEIGHTS), 3, np.random.default_rng(seed))
        assert set(first[:, 0].round() // 5) == {0, 1, 2}
        first = dispersed_states(two_corners(), 2, np.random.default_rng(seed))
        assert set(first[:, 0].round() // 5) == {0, 1}


def test_independent_starts_know_biases_and_weights():
    shape, rng = (4000, 3), pt.random.shared_rng(np.random.default_rng(1))
    v = pytensor.function([], spread(clusters(1000 + CLUSTERS, WEIGHTS), shape, rng)[0], mode=INTERPRETED)()
    nearest = abs(v[:, :1] - 1000 - CLUSTERS[:, 0]).argmin(1)
    assert abs(v - 1000 - CLUSTERS[nearest]).max() < 6 * 0.1
    shares = np.bincount(nearest, minlength=3) / 4000  # preferences differ by row, on average they do not
    assert (abs(shares - 1 / 3) < 5 * np.sqrt(2 / 9 / 4000)).all()


def test_starts_of_finite_units_are_what_they_were():
    machine = pmr.restricted(np.ones((5, 2)), np.zeros(5), np.zeros(2))
    own = np.random.default_rng(np.random.default_rng(7).integers(2**63))
    expected = machine.layers[0].unit.dispersed((6, 5), pt.random.shared_rng(own))[1].eval(mode=INTERPRETED)
    np.testing.assert_array_equal(dispersed_states(machine, 6, np.random.default_rng(7)), expected)


@pytest.mark.parametrize(
    ("unit", "first", "others"),
    [
        (pmr.Bernoulli(), [1, 0, 0], [[0, 1, 1]]),
        (pmr.Spin(), [1, -1, -1], [[-1, 1, 1]]),
        (pmr.Binomial(4), [4, 1, 0], [[0, 3, 4]]),
        (pmr.Categorical(3), [1, 0, 0], [[0, 1, 0], [0, 0, 1]]),
        (pmr.Gaussian(2.0), [1.5, -2.0, 0.0], [[-1.5, 2.0, 0.0]]),
        (pmr.Rectified(2.0), [1.5, 2.0, 0.0], [[1.5, 2.0, 0.0]]),
        (pmr.Beside((pmr.Bernoulli(), 1), (pmr.Gaussian(1.0), 2)), [1, 0.5, 2], [[0, -0.5, -2]]),
    ],
)
def test_opposites(unit, first, others):
    x = np.array([first] * (1 + len(others)) + [first], unit.dtype)
    x[1:-1] = np.array(first)[::-1]  # of no account: these follow the first of their block
    found = opposed(unit, pt.as_tensor(x)).eval(mode=INTERPRETED)
    np.testing.assert_array_equal(found, [first, *others, first])
    assert found.dtype == unit.dtype


def test_heat_divides_the_energy_of_real_units():
    """E at β is β·E but for a constant and the base of finite units, which is 0 here."""
    rng = np.random.default_rng(1)
    gaussian, rectified = pmr.Gaussian(rng.uniform(0.5, 2, 3)), pmr.Rectified(1.5)
    two_sided, mixed = pmr.DReLU(1.0, 2.0, 0.5), pmr.Beside((pmr.Gaussian(0.5), 2), (pmr.Bernoulli(), 1))
    for visible in (gaussian, rectified, two_sided, mixed, pmr.Bernoulli()):
        for hidden in (pmr.Bernoulli(), pmr.Gaussian(3.0), pmr.DReLU(3.0, 1.0, -1.0)):
            W, b, c = 0.1 * rng.standard_normal((3, 2)), rng.standard_normal(3), rng.standard_normal(2)
            machine = pmr.restricted(W, b, c, visible, hidden).numeric()
            states = [rng.integers(0, 2, (5, n)).astype("float64") for n in (3, 2)]
            states[1] *= 1 if hidden.finite else rng.uniform(0.1, 2, (5, 2))
            difference = (heated(machine, 0.3).energy(states) - 0.3 * machine.energy(states)).eval(mode=INTERPRETED)
            np.testing.assert_allclose(difference, difference[0], rtol=1e-9, atol=1e-9)


# ----------------------------------------------------------------------------------------------------- verdicts


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=[] if kind in FAST else pytest.mark.slow) for kind in STUCK], ids=str
)
@pytest.mark.usefixtures("without_compiling")
def test_chains_of_real_units_in_one_cluster_are_not_mixed(kind):
    """They agree in everything, and starts about zero, three σ wide, led nowhere else: called mixed before."""
    machine, start = STUCK[kind]
    found = verdict(machine, start=start)
    assert found.verdict == "not mixed", str(found)
    assert "probes" in found.reasons[0]
    assert "probability annealing cannot bound" in found.reasons[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("machine", "options"),
    [
        (clusters(CLUSTERS, WEIGHTS, sigma=3.0), {"sweeps": 5}),
        (two_corners(sigma=2.0, distance=2.0), {}),
        (pmr.restricted(np.full((2, 1), 0.3), np.zeros(2), np.zeros(1), pmr.Gaussian(1.0), pmr.Spin()), {}),
        (pmr.restricted(0.4 * np.eye(3, 2), np.full(3, 50.0), np.ones(2), pmr.Gaussian(1.0), pmr.Gaussian(1.0)), {}),
        (pmr.restricted([[-0.3]], np.array([1.0]), np.array([2.0]), pmr.Rectified(1.0), pmr.Rectified(1.0)), {}),
        (
            pmr.restricted(0.3 * np.ones((3, 2)), np.zeros(3), np.zeros(2), pmr.DReLU(1.0, 2.0, 0.5), pmr.Bernoulli()),
            {},
        ),
        (clusters(CLUSTERS, [1e-6, 1 - 2e-6, 1e-6]), {"start": CLUSTERS[1]}),  # modes of no weight do no harm
    ],
)
@pytest.mark.usefixtures("without_compiling")
def test_machines_that_mix_are_called_so(machine, options):
    found = verdict(machine, draws=1000, **options)
    assert found.verdict == "mixed", str(found)


@pytest.mark.slow
@pytest.mark.usefixtures("without_compiling")
def test_the_weight_of_a_narrow_mode_is_bounded():
    """Its probability is a millionth; the bound is within the e^3·3 that it is given, times what annealing loses."""
    machine = clusters(CLUSTERS, [1e-6, 1 - 2e-6, 1e-6]).numeric()
    rng = np.random.default_rng(1)
    draws, there = (CLUSTERS[k] + 0.1 * rng.standard_normal((50, 3)) for k in (1, 0))
    assert 1e-6 < mode_weight_bound(machine, there[None], draws, rng) < 1e-6 * np.exp(3) * 3 * 10
    assert mode_weight_bound(machine, draws[None], there, rng) > 0.5


# ------------------------------------------------------------------------------------------------------ inpaint


@pytest.mark.filterwarnings("ignore:1 of 1 rows have not converged")
def test_inpainting_two_clusters():
    """One real unit in two clusters of equal weight: it gave 0, converged. Exact is 2.5."""
    machine = clusters([[0.0], [5.0]], [0.5, 0.5])
    for seed in range(5):
        found = pmr.inpaint([NAN], machine, draws=100, tune=20, random_seed=seed, **MUTED)
        assert not found["convergence"]["converged"].any()
        assert float(found["mean"]["v"][0, 0]) == pytest.approx(2.5, abs=0.1)
    # With one of two units given the other is known.
    options = {"draws": 100, "tune": 20, "random_seed": 1, **MUTED}
    found = pmr.inpaint([5.03, NAN], clusters([[0.0, 0.0], [5.0, 5.0]], [0.5, 0.5]), **options)
    assert found["convergence"]["converged"].all()
    assert float(found["mean"]["v"][0, 1]) == pytest.approx(5.0, abs=0.05)
    # Two that are missing hold each other where they began, against the one that is given.
    found = pmr.inpaint([5.03, NAN, NAN], clusters(CLUSTERS, WEIGHTS), **options)
    assert not found["convergence"]["converged"].any()


@pytest.mark.filterwarnings("ignore:1 of 1 rows have not converged")
def test_inpainting_binary_units_with_two_modes():
    """Four chains at random levels are all in one mode for every eighth seed: with pairs of opposites for none."""
    machine = pmr.restricted(np.full((6, 6), 16.0), np.full(6, -48.0), np.full(6, -48.0))
    for seed in range(24):
        found = pmr.inpaint(np.full(6, NAN), machine, draws=20, tune=10, random_seed=seed, **MUTED)
        assert not found["convergence"]["converged"].any(), seed


def healthy(rows, seed=1):
    rng = np.random.default_rng(seed)
    machine = pmr.restricted(0.5 * rng.standard_normal((6, 4)), np.zeros(6), np.zeros(4))
    return machine, np.ma.MaskedArray(rng.integers(0, 2, (rows, 6)), rng.random((rows, 6)) < 0.4)


@pytest.mark.parametrize(("chains", "draws"), [(2, 200), (2, 40)])
def test_what_is_asked_of_ess_is_feasible(chains, draws):
    """Of 2 x 200 draws 400 effective ones were asked: every row had not converged."""
    machine, rows = healthy(20)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = pmr.inpaint(rows, machine, draws=draws, chains=chains, tune=20, random_seed=1, **MUTED)
    of_rows = found["convergence"]
    assert of_rows["converged"].all()
    assert float(of_rows["ess_asked"]) == max(chains * draws / 4, 10 * chains)


def test_a_warning_says_what_was_asked():
    slow = pmr.restricted(np.full((12, 12), 0.5), np.full(12, -3.0), np.full(12, -3.0))  # autocorrelation of tens
    with pytest.warns(UserWarning, match=r"1 of 1 rows .* \(ESS down to \d+ of 400 draws, at least 100 are needed\)"):
        pmr.inpaint(np.full(12, NAN), slow, draws=200, chains=2, tune=50, random_seed=1, **MUTED)
    machine, rows = healthy(3)
    with pytest.warns(UserWarning, match="10 draws a chain are too few"):
        found = pmr.inpaint(rows, machine, draws=10, tune=20, random_seed=1, **MUTED)
    assert not found["convergence"]["converged"].any()


def test_forward_draws_and_learning_start_where_the_machine_is():
    """Particles of real units: half of them the data, so that clusters have some from the first update."""
    import pymc as pm

    rows = CLUSTERS[[0, 0, 1, 2]] + 0.1 * np.random.default_rng(1).standard_normal((4, 3))
    with pm.Model():
        b = pm.Flat("b", shape=3)
        W, c = pm.Normal("W", 0, 1, shape=(3, 2)), pm.Normal("c", 0, 1, shape=2)
        pmr.RBM("v", W, b, c, visible=pmr.Gaussian(0.1), observed=rows)
        learned = pmr.fit(1, chains=40, learning_rate=1e-9, random_seed=1, method="cd", **MUTED)
    assert isinstance(learned, xr.DataTree)
    wide = pmr.restricted(np.zeros((17, 17)), np.full(17, 1000.0), np.zeros(17), pmr.Gaussian(1.0))
    v = pmr.RBM.dist(*(wide.parameters[i] for i in (2, 0, 1)), visible=pmr.Gaussian(1.0), sweeps=0 + 1, shape=(200, 17))
    drawn = pm.draw(v, random_seed=1)
    assert stats.kstest(drawn.ravel() - 1000, "norm").pvalue > 1e-4


def test_no_value_of_a_hidden_unit_is_rare():
    """Then there is no probe of that kind."""
    weights = 0.3 * np.random.default_rng(0).normal(size=(6, 2))
    machine = pmr.restricted(weights, np.zeros(6), np.zeros(2), visible=pmr.Categorical(3))
    draws = pmr.sample_gibbs(machine, draws=300, tune=50, random_seed=1, **MUTED)
    found = pmr.diagnose(draws, machine, random_seed=1, **MUTED)
    assert found.verdict == "mixed", str(found)
    assert "rare" not in found.measures["probe_kind"].values
