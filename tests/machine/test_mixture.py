"""Gaussian mixtures as machines: densities of PyMC's mixtures, and learning that ends where EM ends."""

import numpy as np
import pymc as pm
import pytest
from options import MASKED
from scipy import stats
from sklearn.cluster import KMeans
from sklearn.mixture import GaussianMixture

import pymc_rbm as pmr
from pymc_rbm.learning.data import observed_machines
from pymc_rbm.learning.defaults import climbs_alone, default_method
from pymc_rbm.learning.estimators.pcd import exact

pytestmark = pytest.mark.interpreted

QUICK = {"progressbar": False, "random_seed": 1, "compile_kwargs": {"mode": "FAST_COMPILE"}}
WEIGHTS, SIGMA = np.array([0.5, 0.2, 0.3]), np.array([0.6, 0.9])
MEANS = np.array([[-2.5, 0.5], [0.5, 1.5], [3.0, -2.0]])
OVERFIT = 10 / (2 * 400)
"""Nats a row that a maximum owes to noise: half a nat for each parameter, over 400 rows."""


def test_density_is_that_of_pymcs_mixtures():
    v = np.random.default_rng(1).normal(0, 3, (9, 2))
    machine = pmr.mixture_machine(WEIGHTS, MEANS, SIGMA)
    b, c, W = machine.parameters[:3]
    ours = pm.logp(pmr.RBM.dist(W, b, c, visible=machine.layers[0].unit, hidden=pmr.Categorical(3)), v).eval()
    components = [pm.MvNormal.dist(mu, np.diag(SIGMA**2)) for mu in MEANS]
    np.testing.assert_allclose(ours, pm.logp(pm.Mixture.dist(WEIGHTS, components), v).eval(), rtol=0, atol=1e-10)
    machine = pmr.mixture_machine(WEIGHTS, MEANS[:, :1], 0.7)
    b, c, W = machine.parameters[:3]
    ours = pm.logp(pmr.RBM.dist(W, b, c, visible=pmr.Gaussian(0.7), hidden=pmr.Categorical(3)), v[:, :1]).eval()
    theirs = pm.logp(pm.NormalMixture.dist(WEIGHTS, MEANS[:, 0], sigma=0.7), v[:, 0]).eval()
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-10)


def test_there_and_back():
    found = pmr.mixture_parameters(pmr.mixture_machine(WEIGHTS, MEANS, SIGMA))
    for key, value in (("weights", WEIGHTS), ("means", MEANS), ("sigma", SIGMA)):
        np.testing.assert_allclose(found[key], value, rtol=1e-12)


def test_refusals():
    with pytest.raises(ValueError, match=r"one one-hot hidden unit; this machine has 3 units Bernoulli"):
        pmr.mixture_parameters(pmr.restricted(np.zeros((2, 3)), np.zeros(2), np.zeros(3), pmr.Gaussian()))
    with pytest.raises(ValueError, match=r"got shapes \(2,\) and \(3, 2\)"):
        pmr.mixture_machine([0.5, 0.5], MEANS, 1.0)


def mixture_rows(n=400):
    rng = np.random.default_rng(2)
    return MEANS[rng.choice(3, n, p=WEIGHTS)] + SIGMA * rng.standard_normal((n, 2))


def deviations(v, means):
    """Standard deviations around the nearest of the means."""
    nearest = ((v[:, None] - means) ** 2).sum(-1).argmin(1)
    return np.sqrt(((v - means[nearest]) ** 2).mean(0))


def em(v, means, iterations=500):
    """EM with one diagonal covariance for all components: the mean log-likelihood that it ends at."""
    weights, variance = np.full(len(means), 1 / len(means)), deviations(v, means) ** 2
    for _ in range(iterations):
        log_p = np.log(weights) - ((v[:, None] - means) ** 2 / (2 * variance) + np.log(2 * np.pi * variance) / 2).sum(
            -1
        )
        top = log_p.max(1, keepdims=True)
        likelihood = (np.log(np.exp(log_p - top).sum(1)) + top[:, 0]).mean()
        r = np.exp(log_p - top)
        r /= r.sum(1, keepdims=True)
        weights, means = r.mean(0), (r.T @ v) / r.sum(0)[:, None]
        variance = (r[:, :, None] * (v[:, None] - means) ** 2).sum((0, 1)) / len(v)
    return likelihood


def learn_mixture(v, start, **options):
    machine = pmr.mixture_machine(np.full(3, 1 / 3), start, deviations(v, start))
    b, c, W = machine.parameters[:3]
    with pm.Model() as model:
        at = {"W": pm.Flat("W", shape=W.shape), "b": pm.Flat("b", shape=b.shape), "c": pm.Flat("c", shape=3)}
        sigma = pm.HalfFlat("sigma", shape=b.shape)
        pmr.RBM("v", **at, visible=pmr.Gaussian(sigma), hidden=pmr.Categorical(3), observed=v)
        learned = pmr.fit(start={"W": W, "b": b, "c": c, "sigma": deviations(v, start)}, **{**QUICK, **options})
    return model, learned


@pytest.mark.parametrize("columns", [1, 2])
def test_the_exact_gradient_ends_where_em_ends(columns):
    v = mixture_rows()[:, :columns]
    start = KMeans(3, n_init=1, random_state=0).fit(v).cluster_centers_
    model, learned = learn_mixture(v, start, epochs=500, method="exact", optimizer="lbfgs")
    found = float(pmr.log_likelihood(v, model, learned)["mean_log_likelihood"]["mean"])
    assert found == pytest.approx(em(v, start), abs=1e-6)
    if columns == 1:  # where scikit-learn has the same model
        theirs = GaussianMixture(3, covariance_type="tied", means_init=start, tol=1e-10, max_iter=5000).fit(v)
        assert found == pytest.approx(theirs.score(v), abs=1e-4)
    components = pmr.mixture_parameters(model, learned)
    assert float(components["weights"].sum()) == pytest.approx(1)
    # A tied standard deviation that is not learned is far off.
    b, c, W = (learned["parameters"][x].values for x in "bcW")
    other = pmr.restricted(W, b, c, pmr.Gaussian(v.std(0)), pmr.Categorical(3))
    other = float(pmr.log_likelihood(v, other)["mean_log_likelihood"]["mean"])
    assert 2 * len(v) * (found - other) > stats.chi2.isf(1e-9, columns)  # the likelihood-ratio test


def test_fit_with_nothing_said_ends_where_em_ends():
    """No start, no method, no rate: at least what EM finds from the best of five starts, less `OVERFIT`."""
    v, columns, components = mixture_rows(), 2, 3
    starts = [KMeans(components, n_init=1, random_state=k).fit(v).cluster_centers_ for k in range(5)]
    with pm.Model() as model:
        W, b, c = pm.Flat("W", shape=(columns, components)), pm.Flat("b", shape=columns), pm.Flat("c", shape=components)
        sigma = pm.HalfFlat("sigma", shape=columns)
        pmr.RBM("v", W, b, c, visible=pmr.Gaussian(sigma), hidden=pmr.Categorical(components), observed=v)
        learned = pmr.fit(**QUICK)
    assert (learned.attrs["method"], learned.attrs["converged"]) == ("exact", 1)
    # The exact gradient with a rate, too, without being told: particles would stay in their component.
    assert default_method([], observed_machines(model), 100) is exact
    found = float(pmr.log_likelihood(v, model, learned)["mean_log_likelihood"]["mean"])
    assert found > max(em(v, start) for start in starts) - OVERFIT


def different(units, rows):
    """So many different rows of bits."""
    return np.arange(rows)[:, None] >> np.arange(units).clip(max=30) & 1


def scale_prior():
    return pm.Normal("W", 0, pm.HalfNormal("scale"), shape=(2, 2))


@pytest.mark.parametrize(
    ("weights", "hidden", "rows", "expected"),
    [
        (lambda: pm.Normal("W", shape=(2, 2)), pmr.Bernoulli(), [[0, 1], [1, 1]], True),
        (lambda: pm.Normal("W", shape=(2, 2)), pmr.Categorical(2), [[0, 1], [1, 1]], True),
        (lambda: pm.Normal("W", shape=(2, 2)), pmr.Gaussian(), [[0, 1], [1, 1]], True),  # the visible side is summed
        (scale_prior, pmr.Bernoulli(), [[0, 1], [1, 1]], False),
        (lambda: pm.Normal("W", shape=(2, 7)), pmr.Bernoulli(), [[0, 1], [1, 1]], True),
        (lambda: pm.Normal("W", shape=(10, 10)), pmr.Bernoulli(), [[0, 1] * 5] * 2, True),
        (lambda: pm.Normal("W", shape=(10, 10)), pmr.Bernoulli(), [[0, 1] * 5] * 6000, True),
        (lambda: pm.Normal("W", shape=(12, 12)), pmr.Bernoulli(), [[0, 1] * 6] * 9999, True),
        (lambda: pm.Normal("W", shape=(15, 12)), pmr.Bernoulli(), [*different(15, 1904)] * 2, True),
        (lambda: pm.Normal("W", shape=(13, 13)), pmr.Bernoulli(), different(13, 2), False),
        (lambda: pm.Normal("W", shape=(200, 12)), pmr.Bernoulli(), different(200, 1904), True),
        (lambda: pm.Normal("W", shape=(200, 12)), pmr.Bernoulli(), different(200, 1905), False),
        (lambda: pm.Normal("W", shape=(16, 16)), pmr.Bernoulli(), [[0, 1] * 8] * 2, False),
        (
            lambda: pm.Normal("W", shape=(2, 2)),
            pmr.Bernoulli(),
            np.ma.masked_array([[0, 1], [1, 1]], [[0, 1], [0, 0]]),
            True,
        ),
    ],
)
@MASKED
def test_when_the_exact_maximum_is_the_default(weights, hidden, rows, expected):
    """At most 1,024 states, or 6,000 states and different rows; complete data, no hierarchy."""
    n = np.shape(rows)[1]
    with pm.Model() as model:
        W = weights()
        m = W.type.shape[1]
        pmr.RBM("v", W, pm.Normal("b", shape=n), np.zeros(m), hidden=hidden, observed=rows)
    assert climbs_alone(model, observed_machines(model)) == expected


@pytest.mark.slow
def test_minibatches_end_near_em():
    """By the exact gradient, σ learned, too: within `OVERFIT`. (Particles stay in their component.)"""
    v = mixture_rows()
    start = KMeans(3, n_init=1, random_state=0).fit(v).cluster_centers_
    model, learned = learn_mixture(v, start, epochs=50, method="exact", learning_rate=0.01)
    likelihood = pmr.log_likelihood(v, model, pmr.averaged(learned))["mean_log_likelihood"]["mean"]
    assert float(likelihood) > em(v, start) - OVERFIT
