"""Groups of rows with nothing in between are counted, and nothing else is taken for them."""

import numpy as np
import pytest
from models import groups

import pymc_rbm as pmr
from pymc_rbm.learning.islands import islands


def rows_of(k, flipped, n=100, rows=2000):
    return groups(n, rows, np.full(k, 1 / k), flipped)[0].astype(float)


@pytest.mark.parametrize("k", [2, 3, 5, 8, 20])
@pytest.mark.parametrize("flipped", [0.01, 0.05])
def test_groups_are_counted(k, flipped):
    rows = rows_of(k, flipped)
    assert islands(rows) == k
    assert islands(2 * rows - 1) == k
    assert islands(rows[np.random.default_rng(1).permutation(len(rows))]) == k


def test_missing_entries_stand_at_their_means():
    rows = rows_of(5, 0.01)
    gone = np.random.default_rng(1).random(rows.shape) < 0.1
    assert islands(np.where(gone, rows.mean(0), rows)) == 5


def test_rows_that_hang_together_are_one_group():
    rng = np.random.default_rng(0)
    assert islands(rows_of(1, 0.05)) == 1
    assert islands(pmr.datasets.digits().values.astype(float)) == 1
    assert islands((rng.random((500, 6)) < 0.5).astype(float)) == 1  # each of 64 patterns several times
    assert islands((rng.random((300, 40)) < rng.random((300, 1))).astype(float)) == 1  # totals of any size
    assert islands(np.zeros((50, 3))) == 1
    assert islands(np.eye(2)) == 1
    assert islands(np.zeros((1, 4))) == 1


def test_a_few_rows_apart_are_no_group():
    rows = rows_of(1, 0.05)
    rows[:5] = 1 - rows[:5]
    assert islands(rows) == 1
