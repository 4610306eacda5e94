"""Plain learning of binary units that are all coupled to each other: the exact maximum."""

import numpy as np
import pymc as pm
import pytensor.tensor as pt
import pytest
from options import QUIET

import pymc_rbm as pmr


def network(rows, unit=None, prior=None, bias=None):
    n = rows.shape[1]
    i, j = np.triu_indices(n, 1)
    with pm.Model() as model:
        theta = pm.Flat("theta", shape=len(i)) if prior is None else prior("theta", len(i))
        U = pt.zeros((n, n))[i, j].set(theta)
        b = pm.Flat("b", shape=n) if bias is None else bias("b", n)
        pmr.BoltzmannMachine("x", U + U.T, b, unit=unit, observed=rows)
    return model


def learned_machine(learned, n, unit=None):
    U = np.zeros((n, n))
    U[np.triu_indices(n, 1)] = learned["parameters"]["theta"].values
    return pmr.boltzmann(U + U.T, learned["parameters"]["b"].values, unit)


@pytest.mark.parametrize("unit", [pmr.Bernoulli(), pmr.Spin()])
def test_the_moments_of_14_units_are_those_of_the_rows(unit):
    """Of 16,384 states, by a table of them."""
    rng = np.random.default_rng(0)
    low, high = unit.ends
    rows = np.where(rng.random((400, 14)) < 0.3 + 0.4 * rng.random((400, 1)), high, low)
    learned = pmr.fit(model=network(rows, unit), **QUIET)
    assert learned.attrs["method"] == "exact" and learned.attrs["converged"] == 1
    machine = learned_machine(learned, 14, unit)
    x = np.array(np.meshgrid(*[unit.ends] * 14, indexing="ij"), float).reshape(14, -1).T
    b, U = machine.parameters
    a = x @ b + ((x @ U) * x).sum(1) / 2
    p = np.exp(a - np.logaddexp.reduce(a))
    np.testing.assert_allclose((x * p[:, None]).T @ x, rows.T @ rows / len(rows), atol=1e-4)
    np.testing.assert_allclose(p @ x, rows.mean(0), atol=1e-4)


def test_the_mode_of_18_items(shared_data):
    """As two other routes have it (TRUTHS.md): Cauchy couplings, and thresholds of density exp(μ/2) / (1 + exp(μ))."""
    rows = np.load(shared_data / "psych_adhd18.npz")["x"]
    model = network(
        rows,
        prior=lambda name, n: pm.Cauchy(name, 0, 2.5, shape=n),
        bias=lambda name, n: pm.CustomDist(name, logp=lambda x: x / 2 - pt.softplus(x), shape=n),
    )
    learned = pmr.fit(model=model, **QUIET)
    machine = learned_machine(learned, 18)
    found = pmr.log_likelihood(rows, machine, **QUIET)["log_likelihood"]
    [each] = found.dataset.data_vars.values()
    assert float(each.sum()) == pytest.approx(-2497.8575, abs=2e-3)
