"""Units of all families, and all pairs of them."""

from itertools import product

import numpy as np
import reference as ref

import pymc_rbm as pmr

UNITS = {
    "bernoulli": (pmr.Bernoulli(), ("bernoulli", None), 2),
    "spin": (pmr.Spin(), ("spin", None), 2),
    "categorical": (pmr.Categorical(3), ("categorical", 3), 2),
    "binomial": (pmr.Binomial(3), ("binomial", 3), 2),
    "gaussian": (pmr.Gaussian(0.8), ("gaussian", 0.8), 1),
    "rectified": (pmr.Rectified(1.3), ("rectified", 1.3), 1),
    "drelu": (pmr.DReLU(0.7, 2.0, -0.6), ("drelu", (0.7, 2.0, -0.6)), 1),
}
"""The unit, how the reference names it, and how many of them a side has."""

PAIRS = list(product(UNITS, UNITS))


def rows_of(name, n=30):
    rng = np.random.default_rng(5)
    return {
        "bernoulli": lambda: rng.integers(0, 2, (n, 2)),
        "spin": lambda: 2 * rng.integers(0, 2, (n, 2)) - 1,
        "categorical": lambda: np.eye(3, dtype=int)[rng.integers(0, 3, (n, 2))].reshape(n, -1),
        "binomial": lambda: rng.binomial(3, 0.4, (n, 2)),
        "gaussian": lambda: rng.normal(0.3, 1, (n, 1)),
        "rectified": lambda: abs(rng.normal(0.3, 1.2, (n, 1))),
        "drelu": lambda: rng.normal(0.3, 1, (n, 1)),
    }[name]()


def pair_case(pair):
    """A machine, the reference's states of both sides, and its log joint weights."""
    (visible, left, n), (hidden, right, m) = (UNITS[name] for name in pair)
    rng = np.random.default_rng(sum(map(ord, "".join(pair))))
    W = 0.4 * rng.standard_normal((n * visible.width, m * hidden.width))
    b, c = rng.standard_normal(len(W)), rng.standard_normal(W.shape[1])
    states = ref.pair_log_joint(left, right, W, b, c, (n, m))
    return pmr.restricted(W, b, c, visible, hidden), *states


def log_sums(table, axis):
    return np.array([ref.log_sum(list(row)) for row in (table if axis else table.T)])
