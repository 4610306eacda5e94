"""The report on draws along a ladder: weights of two groups with their error, and chains that were not renewed."""

import numpy as np
import pytest
import reference as ref
from options import QUIET
from scipy.stats import chi2

import pymc_rbm as pmr
from pymc_rbm.diagnostics.laddered_draws import two_groups


def switching(rng, stay, share, chains=8, draws=1000):
    """Chains of two states, each of which is redrawn with probability 1 - stay, with normal noise around it."""
    fresh, redrawn = rng.random((chains, draws)) < share, rng.random((chains, draws)) > stay
    state = np.empty((chains, draws))
    state[:, 0] = fresh[:, 0]
    for t in range(1, draws):
        state[:, t] = np.where(redrawn[:, t], fresh[:, t], state[:, t - 1])
    return 4 * state + 0.3 * rng.standard_normal((chains, draws))


@pytest.mark.parametrize(("stay", "share"), [(0.0, 0.5), (0.9, 0.2)])
def test_weights_of_groups_are_within_their_errors(stay, share):
    rng, z = np.random.default_rng(1), []
    for _ in range(20):
        x = np.stack([rng.standard_normal((8, 1000)), switching(rng, stay, share)], -1)
        name, weight, error = two_groups({"projection": x, "free_energy": x[..., 1]})
        assert name == "projection 2"
        z.append((weight - share) / error)
    # Of 20 normal variables the mean, and the sum of squares: its limits are the 1e-5 quantiles of its law.
    assert abs(np.mean(z)) < 4.5 / np.sqrt(20)
    assert chi2.ppf(1e-5, 20) < np.square(z).sum() < chi2.isf(1e-5, 20)


def test_there_is_nothing_to_say_of_one_group_or_of_chains_that_stay():
    rng = np.random.default_rng(2)
    assert two_groups({"projection": rng.standard_normal((4, 500, 2))}) is None
    assert two_groups({"projection": rng.exponential(size=(4, 5000, 1)) ** 0.9}) is None
    assert two_groups({"free_energy": rng.standard_normal((4, 500))}) is None
    assert two_groups({"projection": np.zeros((4, 500, 1))}) is None
    stuck = np.repeat([0.0, 5.0], 2)[:, None, None] + 0.1 * rng.standard_normal((4, 500, 1))
    assert two_groups({"projection": stuck}) is None


@pytest.mark.interpreted
def test_chains_that_were_not_renewed_are_called_so():
    machine = pmr.restricted(*ref.curie_weiss(20, 0.7))
    with pytest.warns(UserWarning, match="weights of modes cannot be trusted"):
        drawn = pmr.sample_gibbs(machine, method="pt", draws=20, tune=0, **QUIET)
    found = pmr.diagnose(drawn, machine, probes=False, **QUIET)
    assert any(x.startswith("Chains not renewed: ") for x in found.reasons)
    assert found.measures["renewals"] == drawn.attrs["renewals"] < 2


def drawn_along_a_ladder(machine, **options):
    return pmr.sample_gibbs(machine, method="pt", chains=16, draws=2000, **QUIET, **options)


@pytest.mark.slow
def test_probes_of_draws_along_a_ladder_swap_along_another():
    """Two modes that plain chains do not leave; chains that swap do, and their draws are mixed."""
    W, b, c = ref.curie_weiss(20, 0.4)
    machine = pmr.restricted(W, b + 0.05, c)
    drawn = drawn_along_a_ladder(machine)
    found = pmr.diagnose(drawn, machine, **QUIET)
    assert found.verdict == "mixed"
    assert not found.measures["probe_away"].any()
    assert "lifts along a ladder" in "".join(found.reasons)
    assert "autocorrelation (lifts)" in str(found)
    # Those of one mode only, which agree, are told from them.
    one = pmr.sample_gibbs(machine, start=np.ones((16, 20), int), chains=16, draws=500, tune=0, **QUIET)
    assert (one["posterior"]["v"].values.mean(-1) > 0.5).all()
    one.attrs.update(method="pt", renewals=10)
    assert pmr.diagnose(one, machine, **QUIET).verdict == "not mixed"


def test_a_mode_that_no_ladder_finds_is_not_called_mixed():
    """Half of the probability is in a narrow mode, which opens late on the way: independent units never come there."""
    n, w = 100, 5.0
    depth = n * (np.log1p(np.exp(w)) - np.log(2))  # both values of the one hidden unit have the same weight
    machine = pmr.restricted(np.full((n, 1), w), np.zeros(n), [-depth])
    drawn = drawn_along_a_ladder(machine, start=np.random.default_rng(1).integers(0, 2, (16, n)), tune=0)
    assert drawn["posterior"]["v"].values.mean((1, 2)).max() < 0.6
    assert not pmr.diagnose(drawn, machine, **QUIET)
