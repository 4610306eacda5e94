"""Models with the pseudo-likelihood: its values, and what is refused."""

import numpy as np
import pymc as pm
import pytest
from options import MASKED

import pymc_rbm as pmr

pytestmark = pytest.mark.interpreted
RNG = np.random.default_rng(3)
ROWS = RNG.integers(0, 2, (20, 4))
KINDS = {
    "pairs": (ROWS, {}),
    "spins": (2 * ROWS - 1, {"unit": pmr.Spin()}),
    "letters": (RNG.integers(0, 2, (20, 2)), {"unit": pmr.Categorical(2)}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_is_the_sum_of_its_conditionals(kind):
    """By enumeration: each unit given the others is a quotient of two or more joint densities."""
    rows, options = KINDS[kind]
    U = RNG.normal(size=(4, 4))
    U = (U + U.T) * (1 - np.eye(4))
    if kind == "letters":
        U[:2, :2] = U[2:, 2:] = 0
    with pm.Model() as model:
        b = pm.Normal("b", 0, 1, shape=4)
        pmr.BoltzmannMachine("v", U, b, observed=rows, **options)
    at = {"b": RNG.normal(size=4)}
    values = (-1, 1) if kind == "spins" else (0, 1)

    def log_p(x):
        x = np.eye(2)[np.asarray(x, int)].ravel() if kind == "letters" else np.asarray(x, float)
        return at["b"] @ x + x @ U @ x / 2

    wanted = 0.0
    for x in rows.tolist():
        for i in range(len(x)):
            every = [log_p([*x[:i], y, *x[i + 1 :]]) for y in values]
            wanted += log_p(x) - np.log(np.exp(every).sum())
    prior, found = pmr.pseudo_likelihood(model).compile_logp(sum=False)(at)
    assert found.sum() == pytest.approx(wanted, abs=1e-9)
    assert prior.sum() == pytest.approx(model.compile_logp(sum=False)(at)[0].sum())


def test_it_is_differentiable_and_one_row_will_do():
    with pm.Model() as model:
        pmr.RBM("v", pm.Normal("W", 0, 1, shape=(4, 2)), np.zeros(4), np.zeros(2), observed=ROWS[0])
    other, at = pmr.pseudo_likelihood(model), RNG.normal(size=(4, 2))
    ends = [other.compile_logp()({"W": at + s * 1e-5 * np.eye(4)[:, :2]}) for s in (1, -1)]
    slope = other.compile_dlogp()({"W": at}).reshape(4, 2)
    assert slope[0, 0] + slope[1, 1] == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-5)


@MASKED
def test_refusals():
    with pm.Model() as model:
        W = pm.Normal("W", 0, 1, shape=(4, 2))
        pmr.RBM("masked", W, np.zeros(4), np.zeros(2), observed=np.ma.masked_array(ROWS, ROWS == 1))
        pmr.RBM("free", W, np.zeros(4), np.zeros(2))
        pmr.RBM("real", W, np.zeros(4), np.zeros(2), visible=pmr.Gaussian(), observed=np.zeros((3, 4)))
    for name in ("masked", "free"):
        with pytest.raises(ValueError, match=f"{name} must be observed, without missing entries"):
            pmr.pseudo_likelihood(model, names=name)
    with pytest.raises(ValueError, match="finitely many states; real has Gaussian units"):
        pmr.pseudo_likelihood(model, names=["real"])
    with pytest.raises(TypeError, match="pseudo_likelihood takes a PyMC model first"):
        pmr.pseudo_likelihood(ROWS)
