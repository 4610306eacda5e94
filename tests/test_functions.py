"""The mathematics alone, for units other than 0/1 ones: the functions agree with the reference's plain sums."""

import numpy as np
import pytensor.tensor as pt
import pytest
import reference as ref
from test_pairs import UNITS

import pymc_rbm as pmr


@pytest.mark.parametrize("pair", [("gaussian", "spin"), ("categorical", "binomial")], ids="-".join)
def test_functions_of_any_units(pair):
    (visible, left, _), (hidden, right, _) = (UNITS[x] for x in pair)
    rng = np.random.default_rng(1)
    W = 0.5 * rng.standard_normal((2 * visible.width, 2 * hidden.width))
    b, c = rng.standard_normal(len(W)), rng.standard_normal(W.shape[1])
    units = {"visible": visible, "hidden": hidden}
    v = rng.normal(size=(3, 2)) if pair[0] == "gaussian" else np.eye(3)[rng.integers(3, size=(3, 2))].reshape(3, 6)
    states = ref.layer_states(right, 2)
    h = np.array([x for x, _ in states], float)
    base = np.array([w for _, w in states])  # of counts
    joint = np.array([[ref.pair_energy(left, right, row, x, W, b, c) for x in h] for row in v]) - base
    np.testing.assert_allclose(pmr.energy(v[:, None], h, W, b, c, **units), joint, rtol=1e-10, atol=1e-10)
    expected = [-ref.log_sum((-row).tolist()) for row in joint]
    np.testing.assert_allclose(pmr.free_energy(v, W, b, c, **units), expected, rtol=1e-10)
    p = np.exp(-joint - np.array([ref.log_sum((-row).tolist()) for row in joint])[:, None])
    np.testing.assert_allclose(pmr.conditional_hidden(v, W, c, **units), p @ h, rtol=1e-9, atol=1e-12)
    back = pmr.conditional_visible(h[:2], W, b, **units)
    if pair[0] == "gaussian":
        np.testing.assert_allclose(back, b + h[:2] @ W.T, rtol=1e-10)
    else:
        np.testing.assert_allclose(back.reshape(2, 2, 3).sum(-1), 1, rtol=1e-10)
    symbolic = pmr.free_energy(pt.as_tensor(v), W, b, c, **units)
    np.testing.assert_allclose(symbolic.eval(), expected, rtol=1e-10)
