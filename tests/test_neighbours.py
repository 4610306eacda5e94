"""Packages that stand beside PyMC take our models, where they are installed, and we theirs."""

import numpy as np
import pymc as pm
import pytest
import reference as ref
from agreement import distances, mean_and_error
from models import model_of
from options import SILENT

import pymc_rbm as pmr

pytestmark = pytest.mark.filterwarnings("ignore")  # their own
ROWS = np.tile(pmr.datasets.bars_and_stripes(2).values, (10, 1))
CHAINS = {"chains": 2, "cores": 1, "random_seed": 1} | SILENT


def needed(name, package):
    return pytest.importorskip(name, reason=f"{package} is not installed")


# ---------------------------------------------------------------------------------------------- pymc-extras


@pytest.fixture
def pmx():
    return needed("pymc_extras", "pymc-extras")


def test_the_maximum_and_normal_approximations_of_pymc_extras(pmx):
    """`pmx.find_MAP` ends no lower than PyMC's own; the others return draws of all parameters."""
    with model_of(ROWS, 2, 1.0, 1.0) as model:
        best = pm.find_MAP(progressbar=False, seed=1)
        theirs = pmx.find_MAP(method="L-BFGS-B", progressbar=False, random_seed=1)
        laplace = pmx.fit_laplace(progressbar=False, random_seed=1)
        path = pmx.fit_pathfinder(progressbar=False, random_seed=1)
    logp, names = model.compile_logp(), ("W", "b", "c")
    mode = logp({name: theirs["posterior"][name].values.reshape(best[name].shape) for name in names})
    assert mode > logp({name: best[name] for name in names}) - 0.1
    for idata in (laplace, path):
        draws = idata["posterior"]
        assert all(np.isfinite(draws[name].values).all() for name in names)


def test_an_rbm_is_marginalised_by_us_and_not_by_them(pmx):
    """They sum over single units of their own distributions and name the others; our sum leaves a model for them."""
    W, x = np.full((3, 2), 0.5), np.array([1.0, 2, 3])
    with pm.Model() as model:
        v = pmr.RBM("v", W, np.zeros(3), np.zeros(2))
        group = pm.Bernoulli("group", 0.3)
        pm.Normal("z", group * 2.0, 1, observed=1.5)
        pm.Normal("y", v @ x, 1, observed=2.0)
    with pytest.raises(NotImplementedError, match="Cannot marginalize v"):
        pmx.marginalize(model, ["v"])
    both = pmx.marginalize(pmr.marginalize(model, ["v"]), ["group"])
    assert not both.free_RVs
    log_p = zip(ref.states(3), ref.log_p(W, np.zeros(3), np.zeros(2)), strict=True)
    of_y = ref.log_sum([p - (2 - float(x @ v)) ** 2 / 2 for v, p in log_p])
    of_z = ref.log_sum([np.log(0.7) - 1.5**2 / 2, np.log(0.3) - 0.5**2 / 2])
    assert both.compile_logp()({}) == pytest.approx(of_y + of_z - np.log(2 * np.pi), rel=1e-9)


# ----------------------------------------------------------------------------- other programs that run NUTS


def posterior(sampler, prior_mean=0.0):
    """Draws of a posterior with an exact log Z."""
    with pm.Model():
        W, b = pm.Normal("W", prior_mean, 1, shape=(4, 2)), pm.Normal("b", 0, 1, shape=4)
        pmr.RBM("v", W, b, np.array([-1.0, 1.0]), observed=ROWS)
        return pm.sample(1000, tune=1000, nuts_sampler=sampler, **CHAINS)


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["nutpie", "numpyro"])
def test_other_programs_that_run_nuts_agree_with_pymc(sampler):
    """Posterior means within Monte Carlo error; those of another prior are caught."""
    needed(sampler, sampler)
    ours = posterior("pymc")
    assert distances(ours, posterior(sampler), ["b"]).max() < 4
    assert distances(ours, posterior(sampler, prior_mean=-1.0), ["b"]).max() > 5


# ------------------------------------------------------------------------------------------- pymc-bart, bambi


@pytest.mark.slow
def test_sums_of_trees_are_the_biases_of_a_machine():
    """pymc-bart's sampler and NUTS: units are on where a covariate is positive; a shuffled one does not say so."""
    pmb = needed("pymc_bart", "pymc-bart")
    rng = np.random.default_rng(1)
    x = rng.uniform(-1, 1, 80)
    rows = (rng.random((80, 3)) < np.where(x[:, None] > 0, 0.85, 0.15)).astype("int8")

    def step_at_zero(x):
        with pm.Model():
            mean = pmb.BART("mean", x[:, None], rows.mean(1), m=20)
            W = pm.Normal("W", 0, 0.5, shape=(3, 1))
            pmr.RBM("v", W, mean[:, None] * np.ones(3), np.zeros(1), observed=rows)
            draws = pm.sample(200, tune=200, **CHAINS)["posterior"]["mean"]
        step = draws[..., x > 0].mean("mean_dim_0") - draws[..., x < 0].mean("mean_dim_0")
        return step.values.mean(), step.values.std()

    found, spread = step_at_zero(x)
    assert 5 * spread < found < 2 * np.log(0.85 / 0.15) + 4 * spread  # the step of independent units; W explains a part
    by_chance, spread = step_at_zero(rng.permutation(x))
    assert abs(by_chance) < 4 * spread


@pytest.mark.slow
def test_a_bambi_model_and_a_machine_in_one_process():
    """Each keeps its own step methods: a slope as by least squares, and units as by enumeration."""
    bmb = needed("bambi", "bambi")
    pd = needed("pandas", "pandas")
    rng = np.random.default_rng(1)
    x = rng.uniform(-1, 1, 80)
    y = 2 * x + rng.normal(0, 0.5, 80)
    W, b, c = ref.machine(3, 2, seed=1)
    with pm.Model():
        pmr.RBM("v", W, b, c)
        units = pm.sample(2000, tune=0, **CHAINS)
    slope = bmb.Model("y ~ x", pd.DataFrame({"x": x, "y": y})).fit(draws=1000, tune=1000, **CHAINS)
    [mean], [error], [sd] = mean_and_error(slope, "x")
    assert abs(mean - np.polyfit(x, y, 1)[0]) < 4 * error + 0.1 * sd  # its prior is weak, not flat
    found, error, _ = mean_and_error(units, "v")
    exact = np.exp(ref.log_p(W, b, c)) @ np.array(ref.states(3))
    assert (abs(found - exact) < 4 * error).all()
    assert not (abs(found - exact[::-1]) < 4 * error).all()
