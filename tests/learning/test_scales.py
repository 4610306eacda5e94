"""Gaussian machines whose σ is learned."""

import numpy as np
import pymc as pm
import pytest
from limits import in_errors
from options import QUIET
from scipy.stats import norm
from sklearn.datasets import load_digits
from sklearn.decomposition import FactorAnalysis

import pymc_rbm as pmr


def factor_rows(n=300):
    """Two factors, three visible units with standard deviations of their own beside them."""
    rng = np.random.default_rng(4)
    W, sigma = np.array([[2.0, 0.0], [-1.0, 1.5], [0.0, 1.0]]), np.array([0.5, 0.3, 0.8])
    return rng.integers(0, 2, (n, 2)) @ W.T + sigma * rng.standard_normal((n, 3))


def learn_scales(rows, sigma=None, **options):
    n = rows.shape[1]
    with pm.Model() as model:
        W, b, c = pm.Flat("W", shape=(n, 2)), pm.Flat("b", shape=n), pm.Flat("c", shape=2)
        sigma = pm.HalfFlat("sigma", shape=n) if sigma is None else sigma
        pmr.RBM("v", W, b, c, visible=pmr.Gaussian(sigma), observed=rows)
        learned = pmr.fit(**{"epochs": 60, "sweeps": 1, "method": "pcd", **QUIET, **options})
    return model, learned


def mean_log_likelihood(model, learned, rows):
    return float(pmr.log_likelihood(rows, model, learned)["mean_log_likelihood"]["mean"])


@pytest.fixture(scope="module")
def noisy():
    """Default learning, by particles, of data in their own units."""
    return learn_scales(factor_rows())


@pytest.mark.slow
def test_learning_does_not_depend_on_the_unit_of_measurement(noisy):
    """Metres or millimetres: with default rates the same machine, whatever the scale of each column."""
    scale = np.array([0.01, 1.0, 1000.0])
    _, other = learn_scales(factor_rows() * scale)
    at, scaled = noisy[1]["parameters"], other["parameters"]
    np.testing.assert_allclose(scaled["sigma"], at["sigma"] * scale, rtol=1e-5)
    np.testing.assert_allclose(scaled["c"], at["c"], rtol=1e-4, atol=1e-6)
    # It has moved by more than the error of a standard deviation, 1/√600 = 0.04.
    assert float(abs(at["sigma"].values / factor_rows().std(0) - 1).max()) > 0.05


@pytest.mark.interpreted
def test_sigma_is_that_of_the_maximum():
    """At the exact maximum no other σ is better; the factors explain a part, so σ is below the data's deviations."""
    rows = factor_rows()
    model, learned = learn_scales(rows, epochs=1000, method="exact", optimizer="lbfgs")
    best, found = mean_log_likelihood(model, learned, rows), learned["parameters"]["sigma"].values
    assert (found < 0.9 * rows.std(0)).all()  # in truth 0.45, 0.32 and 0.85 of them
    W, b, c = (learned["parameters"][x].values for x in "Wbc")
    for i in range(3):
        for factor in (0.97, 1.03):
            sigma = found * np.where(np.arange(3) == i, factor, 1)
            other = pmr.restricted(W, b, c, pmr.Gaussian(sigma))
            assert mean_log_likelihood(other, None, rows) < best
    gained = pmr.log_likelihood(rows, model, learned)["log_likelihood/v"].values[0, 0]
    assert in_errors(gained - norm.logpdf(rows, rows.mean(0), rows.std(0)).sum(1)) > 5


def test_particles_come_near(noisy):
    rows = factor_rows()
    independent = -0.5 * np.log(2 * np.pi * np.e * rows.var(0)).sum()
    assert mean_log_likelihood(*noisy, rows) > independent


@pytest.mark.slow
def test_standardised_digits():
    """32 binary hidden units, σ learned: beyond factor analysis with 16 factors.

    After 400 epochs it is beyond that with 32, too (-53.3 against -54.3 nats an image; 02_machines.ipynb).
    """
    order = np.random.default_rng(1).permutation(1797)
    raw = load_digits().data[order]
    raw = raw[:, raw.std(0) > 0.5]
    grey = (raw - raw.mean(0)) / raw.std(0) + 0.05 * np.random.default_rng(1).standard_normal(raw.shape)
    test, train = grey[:360], grey[360:]
    n = grey.shape[1]
    with pm.Model() as model:
        W, sigma = pm.Normal("W", 0, 1, shape=(n, 32)), pm.LogNormal("sigma", 0, 1, shape=n)
        at = W, pm.Flat("b", shape=n), pm.Flat("c", shape=32)
        pmr.RBM("v", *at, visible=pmr.Gaussian(sigma), observed=train)
        learned = pmr.averaged(pmr.fit(100, method="pcd", learning_rate=0.1, sweeps=1, **QUIET))
    log_z = pmr.log_partition(model, learned, method="ais", **QUIET)
    assert log_z.reliable
    assert log_z.standard_error < 0.2
    found = pmr.log_likelihood(test, model, learned, log_z=log_z)["mean_log_likelihood"]
    margin = 5 * float(found["error_of_log_z"])
    assert float(found["mean"]) - margin > FactorAnalysis(16).fit(train).score(test)


def test_data_that_differ_by_more_than_the_prior_allows_start_where_the_prior_does():
    """σ up to 1, a deviation of 3: its transformed value is not finite, and learning ended in its first step."""
    rows = 3 * np.random.default_rng(1).standard_normal((100, 3))
    with pm.Model():
        sigma = pm.Uniform("sigma", 0, 1, shape=3)
        W, b, c = pm.Normal("W", 0, 0.1, shape=(3, 2)), pm.Flat("b", shape=3), pm.Flat("c", shape=2)
        pmr.RBM("v", W, b, c, visible=pmr.Gaussian(sigma), observed=rows)
        learned = pmr.fit(3, method="pcd", learning_rate=0.01, **QUIET)
    found = learned["parameters"]["sigma"].values
    assert ((found > 0.5) & (found < 1)).all()
