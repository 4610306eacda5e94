"""Bounds of learning in updates and seconds."""

import time

import numpy as np
import pymc as pm
import pytest

import pymc_rbm as pmr
from pymc_rbm.learning.budget import Budget

RNG = np.random.default_rng(1)
ROWS = (RNG.integers(0, 2, (75, 1)) ^ (RNG.random((75, 6)) < 0.1)).astype(int)


def model(hidden=3):
    with pm.Model() as made:
        W = pm.Normal("W", 0, 1, shape=(6, hidden))
        pmr.RBM("v", W, pm.Flat("b", shape=6), pm.Flat("c", shape=hidden), observed=ROWS)
    return made


def fit(*args, **options):
    options = {"method": "pcd", "batch_size": 15, "chains": 10, "sweeps": 1, "random_seed": 1} | options
    return pmr.fit(*args, model=model(), progressbar=False, **options)


def test_updates_end_within_an_epoch_and_go_on_there():
    first = fit(updates=13, horizon=6)
    whole = fit(6, horizon=6)
    assert first["learning"].sizes == {"iteration": 13, "epoch": 2}
    assert first.attrs["spent"] == "13 updates" and whole.attrs["spent"] == ""
    rest = fit(updates=17, horizon=6, resume=first)
    assert rest.attrs["epochs_done"] == 6
    for name in ("W", "b", "c"):
        np.testing.assert_array_equal(rest["parameters"][name], whole["parameters"][name])
    np.testing.assert_array_equal(rest["learning"]["learning_rate"], whole["learning"]["learning_rate"])


def test_updates_are_the_whole_of_the_schedule():
    learned = fit(updates=23, learning_rate=0.2)
    np.testing.assert_allclose(
        learned["learning"]["learning_rate"], 0.2 * np.minimum(1, 2 * (1 - np.arange(23) / 23)), rtol=1e-12
    )


def test_what_ends_first_is_the_bound():
    assert fit(2, updates=1000)["learning"].sizes["iteration"] == 10
    assert fit(1000, updates=3)["learning"].sizes["iteration"] == 3


def test_updates_that_rise_still_are_told():
    with pytest.warns(UserWarning, match=r"after 400 updates, as asked for.*fit\(updates=400, resume=learned\)"):
        pmr.fit(updates=400, learning_rate=0.1, sweeps=1, model=model(), progressbar=False, random_seed=1)


def test_seconds_bound_learning_and_the_rate_falls_with_them():
    began = time.perf_counter()
    with pytest.warns(
        UserWarning, match="Learning ended after 1.5 seconds, as asked for, .* updates, and it was not checked"
    ):
        learned = fit(epochs=10**6, seconds=1.5, learning_rate=0.01, method="cd")
    assert learned.attrs["seconds"] > 1.4 and time.perf_counter() - began < 60
    rates = learned["learning"]["learning_rate"].values
    assert learned.attrs["spent"] == "1.5 seconds"
    assert (np.diff(rates) <= 0).all() and rates[0] == 0.01 and rates[-1] < 0.005
    assert 0.2 < (rates == 0.01).mean() < 0.9


@pytest.mark.slow
def test_more_seconds_are_not_fewer_updates():
    """Learning that settles ends by its own judgement, long before the seconds are over."""
    learned = pmr.fit(seconds=3600, learning_rate=0.05, sweeps=1, model=model(), progressbar=False, random_seed=1)
    same = pmr.fit(learning_rate=0.05, sweeps=1, model=model(), progressbar=False, random_seed=1)
    assert learned.attrs["spent"] == "" and learned["learning"].sizes == same["learning"].sizes
    np.testing.assert_allclose(learned["parameters"]["W"], same["parameters"]["W"], atol=0.05)


@pytest.mark.parametrize("bound", [{"updates": 200}, {"seconds": 60.0}, {"epochs": 200}])
def test_a_bound_does_not_change_the_method(bound):
    learned = pmr.fit(**bound, model=model(), progressbar=False, random_seed=1)
    assert learned.attrs["method"] == "exact" and learned.attrs["converged"] and learned.attrs["spent"] == ""


def test_a_climb_that_is_cut_says_so():
    with pytest.warns(UserWarning, match=r"L-BFGS did not reach the maximum in 3 (updates|iterations)") as said:
        pmr.fit(updates=3, model=model(), progressbar=False, random_seed=1)
    assert [x.filename for x in said] == [__file__]  # where it was called


@pytest.mark.parametrize(
    ("bound", "message"),
    [
        ({"updates": 0}, "updates must be a whole number of at least 1, got 0"),
        ({"updates": 2.5}, "updates must be a whole number of at least 1, got 2.5"),
        ({"seconds": 0}, "seconds must be a positive number, got 0"),
        ({"seconds": "a minute"}, "seconds must be a positive number, got 'a minute'"),
    ],
)
def test_bounds_that_are_none(bound, message):
    with pytest.raises(ValueError, match=message):
        pmr.fit(**bound, model=model())


@pytest.mark.interpreted
def test_time_counts_from_the_first_update():
    budget = Budget(seconds=0.05)
    time.sleep(0.06)
    assert budget.time_gone() == 0.0 and budget.spent(1) is None
    time.sleep(0.06)
    assert budget.time_gone() == 1.0 and budget.spent(2) == "0.05 seconds"
