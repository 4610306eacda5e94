"""One walk along the public face at small sizes, on any back end of PyTensor.

All other tests run on its default, which is numba. What is compared with sums by hand here is compiled by whatever the
flag names: ``PYTENSOR_FLAGS=linker=cvm python -m pytest -m linkers`` for C, as `.ci/run` does.
"""

import os
import re

import arviz as az
import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
import pytest
import reference as ref
from options import QUIET, SILENT
from pytensor.compile.mode import predefined_linkers
from scipy import stats

import pymc_rbm as pmr

pytestmark = pytest.mark.linkers

W, B, C = ref.machine(3, 2, 1.5, seed=2)
STATES, P = np.array(ref.states(3)), np.exp(ref.log_p(W, B, C))
OTHER_P = np.exp(ref.log_p(-W, B, C))
ROWS = np.repeat(STATES, [9, 1, 1, 5, 2, 3, 1, 8], axis=0).astype("int8")


@pytest.fixture(autouse=True)
def compiled_in_c(compiler):
    """PyTensor's C back end has its compiler, which other tests do without."""


def fits(states, p):
    """Whether rows of states are independent draws of p."""
    return stats.chisquare(np.bincount(ref.index(states), minlength=len(p)), len(states) * p).pvalue > 1e-4


def within(draws, exact):
    """Whether the means of draws, (chain, draw, unit), are within 4 Monte Carlo errors of exact ones."""
    error = [az.mcse(draws[..., i].astype(float)) for i in range(draws.shape[-1])]
    return (abs(draws.mean((0, 1)) - exact) < 4 * np.asarray(error, dtype=float)).all()


def test_the_flag_chooses_what_compiles():
    flags = re.findall(r"linker=(\w+)", os.environ.get("PYTENSOR_FLAGS", "")) or ["numba"]
    x = pt.vector()
    linker = pm.compile([x], x.sum() + x.max()).maker.linker
    assert type(linker) is type(predefined_linkers[flags[-1]])
    assert flags[-1] == "numba" or pytensor.config.cxx  # without a compiler it would be Python


def test_log_density_and_slopes():
    """log Z and its gradient, -F and its gradient: slopes are data less moments, row by row."""
    with pm.Model() as model:
        parts = [pm.Flat("W", shape=(3, 2)), pm.Flat("b", shape=3), pm.Flat("c", shape=2)]
        pmr.RBM("v", *parts, observed=ROWS)
    point = {"W": W, "b": B, "c": C}
    by_hand = sum(ref.log_p(W, B, C)[k] for k in ref.index(ROWS))
    assert model.compile_logp()(point) == pytest.approx(by_hand, rel=1e-9)
    vh, v, h = ref.moments(W, B, C)
    on = 1 / (1 + np.exp(-(C + ROWS @ W)))
    n = len(ROWS)
    slopes = np.concatenate([(ROWS.T @ on - n * vh).ravel(), ROWS.sum(0) - n * v, on.sum(0) - n * h])
    np.testing.assert_allclose(model.compile_dlogp()(point), slopes, rtol=1e-8, atol=1e-8)


def test_draws():
    v = pmr.RBM.dist(W, B, C)
    drawn = pm.draw(v, 2000, random_seed=1)
    assert fits(drawn, P)
    assert not fits(drawn, OTHER_P)


def test_block_gibbs_beside_nuts():
    """v given what depends on it, and the slope of that."""
    x, seen = np.array([1.0, -1.0, 2.0]), 1.7
    with pm.Model() as model:
        v = pmr.RBM("v", W, B, C)
        slope = pm.Normal("slope")
        pm.Normal("y", slope + v @ x, 1, observed=seen)
        idata = pm.sample(2000, tune=300, chains=2, cores=1, random_seed=1, **SILENT)
    weights = P * np.exp(-((seen - STATES @ x) ** 2) / 4)  # the slope has variance 1, as the noise has
    given = weights / weights.sum() @ STATES
    draws = idata["posterior"]["v"].values
    assert within(draws, given)
    assert not within(draws, P @ STATES)
    residual = np.array([idata["posterior"]["slope"].values]).transpose(1, 2, 0)
    assert within(residual, weights / weights.sum() @ (seen - STATES @ x) / 2)
    assert model.free_RVs


def test_learning_by_exact_and_by_sampled_gradients():
    """At the exact maximum the machine has the data's means; particles come near."""
    with pm.Model() as model:
        pmr.RBM("v", pm.Normal("W", 0, 1, shape=(3, 2)), pm.Flat("b", shape=3), pm.Flat("c", shape=2), observed=ROWS)
        exact = pmr.fit(method="exact", optimizer="lbfgs", **QUIET)
        sampled = pmr.fit(300, method="pcd", learning_rate=0.1, **QUIET)
    means = [pmr.machine_of(model, learned) for learned in (exact, sampled)]
    means = [ref.moments(m.parameters[2], *m.parameters[:2])[1] for m in means]
    np.testing.assert_allclose(means[0], ROWS.mean(0), atol=1e-3)  # biases are free, so that their slopes vanish
    np.testing.assert_allclose(means[1], ROWS.mean(0), atol=4 * 0.5 / np.sqrt(len(ROWS)))


@pytest.mark.parametrize("method", ["gibbs", "pt"])
def test_many_chains(method):
    options = {} if method == "gibbs" else {"method": "pt"}
    run = pmr.sample_gibbs(pmr.restricted(W, B, C), chains=4, draws=1000, tune=50, **options, **QUIET)
    assert within(run["posterior"]["v"].values, P @ STATES)
    assert not within(run["posterior"]["v"].values, OTHER_P @ STATES)


def test_log_z_by_sums_and_by_annealing():
    exact, machine = ref.log_z(W, B, C), pmr.restricted(W, B, C)
    assert pmr.log_partition(machine).estimate == pytest.approx(exact, rel=1e-10)
    annealed = pmr.log_partition(machine, method="ais", temperatures=50, particles=400, **QUIET)
    assert abs(annealed.estimate - exact) < 4 * annealed.standard_error < 0.2


@pytest.mark.filterwarnings("ignore:.*rows have not converged")
def test_missing_units():
    data = np.ma.masked_array(ROWS[::6], np.tile([True, False, False], (len(ROWS[::6]), 1)))
    run = pmr.inpaint(data, pmr.restricted(W, B, C), draws=1000, tune=50, **QUIET)
    known = STATES[:, None, 1:] == np.asarray(data.data)[None, :, 1:]
    weights = P[:, None] * known.all(-1)
    given = (weights * STATES[:, :1]).sum(0) / weights.sum(0)
    found = run["posterior"]["v"].values[..., 0]
    assert within(found, given)
    assert not within(found, np.full(len(given), P @ STATES[:, 0]))


def test_the_verdict():
    machine = pmr.restricted(W, B, C)
    assert pmr.diagnose(pmr.sample_gibbs(machine, chains=4, draws=500, tune=50, **QUIET), machine, **QUIET).mixed


def test_states_summed_out():
    with pm.Model() as model:
        pm.Normal("y", pmr.RBM("v", W, B, C) @ np.array([1.0, -1.0, 2.0]), 1, observed=1.5)
    terms = np.log(P) - (1.5 - STATES @ [1, -1, 2]) ** 2 / 2 - np.log(2 * np.pi) / 2
    assert pmr.marginalize(model, ["v"]).compile_logp()({}) == pytest.approx(ref.log_sum(terms), rel=1e-9)
