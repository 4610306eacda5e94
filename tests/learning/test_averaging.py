"""The average of the iterates over the second half of learning."""

import numpy as np
import pytest

from pymc_rbm.learning.averaging import POWER, share_behind, weight
from pymc_rbm.learning.schedules import constant, hold_then_fall


def test_running_weights_are_rising_factorials():
    x = np.random.default_rng(0).normal(size=50)
    average = 0.0
    for k, value in enumerate(x, 1):
        average += weight(k) * (value - average)
    counts = np.array([float(k * (k + 1) * (k + 2)) for k in range(1, 51)])
    assert POWER == 3 and weight(0) == weight(1) == 1.0
    np.testing.assert_allclose(average, counts @ x / counts.sum(), rtol=1e-12)


@pytest.mark.parametrize(("power", "of_half"), [(0, 1 / 3), (1, 1 / 6), (2, 1 / 10), (3, 1 / 15)])
def test_share_behind_where_the_rate_falls(power, of_half):
    """The second half is a third of the way, and the average is ``2 / ((p + 2) (p + 3))`` of it behind."""
    rates = np.array([hold_then_fall(0.3)(i / 40_000) for i in range(40_000)])
    assert share_behind(rates, power) == pytest.approx(of_half / 3, rel=2e-3)


def test_share_behind_at_one_rate():
    """Of the second half's way the mean is a half behind; a mean with weights k³ is a fifth behind."""
    rates = np.array([constant(0.1)(i / 40_000) for i in range(40_000)])
    assert share_behind(rates, 0) == pytest.approx(1 / 4, rel=2e-3)
    assert share_behind(rates) == pytest.approx(1 / 10, rel=2e-3)
    assert share_behind(np.zeros(10)) == 0
