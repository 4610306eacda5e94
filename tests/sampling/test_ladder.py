"""Ladders: what swaps leave invariant, how rungs come and go, and draws of machines whose own sweeps stay in a mode."""

import math

import numpy as np
import pytest
import reference as ref
from broken import swap_with_wrong_signs
from options import MUTED, QUIET
from scipy.special import erfc

import pymc_rbm as pmr
from pymc_rbm.sampling.ladder import LEAST, TORN, WEAK, Ladder, Rung, acceptance, between, independent, ladder_to

W, B, C = ref.machine(5, 3, scale=1.5, seed=2)
MACHINE = pmr.restricted(W, B, C)
CHAINS = 20_000


def exact_states(machine, rng):
    """Independent draws of the visible units."""
    p = np.exp(ref.log_p(machine.couplings[0].weights, *(layer.bias for layer in machine.layers)))
    return np.array(ref.states(5), "int8")[rng.choice(len(p), size=CHAINS, p=p)], p


def beyond_chance(ladder):
    """By how much the states of each rung are farther from its law than exact draws would be, as a ratio."""
    found = []
    for rung in ladder.rungs:
        weights, biases = rung.machine.couplings[0].weights, [layer.bias for layer in rung.machine.layers]
        p = np.exp(ref.log_p(weights, *biases))
        counts = np.bincount(ref.index(rung.states), minlength=32)
        found.append(ref.total_variation(counts, p) / ref.total_variation_floor(p, CHAINS))
    return max(found)


def in_equilibrium(rng):
    """A ladder of three rungs above the bottom, all of whose states are exact draws."""
    bottom = independent(MACHINE, B, CHAINS, rng)
    machines = [between(bottom.machine, MACHINE, t) for t in (0.3, 0.7, 1.0)]
    return Ladder([bottom, *(Rung.new(machine, exact_states(machine, rng)[0]) for machine in machines)])


def test_lifts_leave_the_law_of_every_rung_as_it_is(monkeypatch):
    rng = np.random.default_rng(1)
    ladder = in_equilibrium(rng)
    for _ in range(3):
        ladder.lift(rng)
        ladder.lift_lower(rng, 1, most=1)
        ladder.swap_top(rng)
    # The mean absolute deviation of a sum of 32 binomial counts: a ratio of 1.5 is many standard errors.
    assert beyond_chance(ladder) < 1.5
    swap_with_wrong_signs(monkeypatch)
    ladder.lift(rng)
    assert beyond_chance(ladder) > 3


def test_acceptances_are_those_of_the_energies():
    rng = np.random.default_rng(2)
    ladder = in_equilibrium(rng)
    # Real units: the two energies differ by normal variables where only a mean moves, and A is erfc(σ/2).
    form = pmr.restricted(np.zeros((2, 1)), np.zeros(2), np.zeros(1), visible=pmr.Gaussian(1.0)).numeric()
    moved = form.with_parameters([np.array([1.2, 0.0]), *form.parameters[1:]])
    x = rng.standard_normal((2, 50_000, 2))
    pair = Rung.new(form, x[0]), Rung.new(moved, x[1] + [1.2, 0.0])
    assert acceptance(*pair) == pytest.approx(erfc(1.2 / 2), abs=4 * 0.5 / np.sqrt(50_000))
    for low, high in zip(ladder.rungs, ladder.rungs[1:], strict=False):
        p, q = (
            np.exp(ref.log_p(r.machine.couplings[0].weights, *(x.bias for x in r.machine.layers))) for r in (low, high)
        )
        exact = np.minimum(np.outer(p, q), np.outer(q, p)).sum()
        assert acceptance(low, high) == pytest.approx(exact, abs=4 * 0.5 / np.sqrt(CHAINS))


def test_rungs_are_added_where_neighbours_would_not_swap_and_left_out_where_they_are_not_needed():
    rng = np.random.default_rng(3)
    machine = pmr.restricted(*ref.curie_weiss(20, 0.3))
    ladder = Ladder([independent(machine, np.zeros(20), 200, rng)])
    ladder.reach(machine, rng)
    assert ladder.top.machine is machine
    assert ladder.acceptances.min() > LEAST - 4 * 0.5 / np.sqrt(200)
    rungs = len(ladder.rungs)
    for k in (1, 2, 2):  # twins of a neighbour
        ladder.rungs.insert(k, ladder.rungs[k].copy())
    ladder.settle_acceptances()
    ladder.thin()
    assert len(ladder.rungs) <= rungs
    assert ladder.acceptances.min() >= TORN
    ladder.rungs = [ladder.rungs[0], ladder.top]
    ladder.settle_acceptances()
    assert ladder.acceptances[0] < WEAK
    for _ in range(20):
        ladder.lift(rng)
        ladder.mend(rng)
    assert ladder.acceptances.min() > WEAK - 4 * 0.5 / np.sqrt(200)


def test_arrays_are_the_whole_ladder():
    rng, again = np.random.default_rng(4), np.random.default_rng(4)
    first = ladder_to(MACHINE, 10, rng)
    again.bit_generator.state = rng.bit_generator.state
    second = Ladder.of(MACHINE, first.arrays())
    for ladder, generator in ((first, rng), (second, again)):
        for _ in range(5):
            ladder.lift_lower(generator, 1, most=1)
            ladder.swap_top(generator)
    for key, x in first.arrays().items():
        np.testing.assert_array_equal(second.arrays()[key], x, err_msg=key)


def weight_of_upper_mode(n, w, tilt):
    """The probability that more than half of the visible units are on (and half of that they are even)."""
    log_p = [
        math.log(math.comb(n, k)) + (tilt - n * w / 2) * k + n * math.log1p(math.exp(w * k + tilt - n * w / 2))
        for k in range(n + 1)
    ]
    p = np.exp(np.array(log_p) - ref.log_sum(log_p))
    return p[n // 2 + 1 :].sum() + p[n // 2] / 2


def upper(idata):
    """By chain, how often more than half of the visible units are on."""
    mean = idata["posterior"]["v"].values.mean(-1)
    return ((mean > 0.5) + (mean == 0.5) / 2).mean(1)


def test_chains_that_swap_give_modes_their_weights_and_plain_ones_do_not():
    n, w, tilt = 20, 0.4, 0.05
    machine, exact = pmr.restricted(*ref.curie_weiss(n, w, tilt)), weight_of_upper_mode(n, w, tilt)
    assert 0.6 < exact < 0.95
    drawn = pmr.sample_gibbs(machine, method="pt", chains=16, draws=1000, tune=300, **QUIET)
    by_chain = upper(drawn)
    assert by_chain.mean() == pytest.approx(exact, abs=4 * by_chain.std(ddof=1) / np.sqrt(16))
    assert by_chain.std(ddof=1) < 0.1
    assert drawn.attrs["renewals"] > 10
    assert drawn.attrs["round_trips"] > 100
    plain = upper(pmr.sample_gibbs(machine, chains=16, draws=1000, tune=300, **QUIET))
    assert np.isin(plain.round(1), (0.0, 1.0)).mean() > 0.7  # most never leave theirs


def test_the_same_seed_gives_the_same_draws_and_few_renewals_are_said():
    machine = pmr.restricted(*ref.curie_weiss(10, 0.5))
    first, second = (pmr.sample_gibbs(machine, method="pt", draws=50, **QUIET) for _ in range(2))
    np.testing.assert_array_equal(first["posterior"]["v"], second["posterior"]["v"])
    with pytest.warns(UserWarning, match="became new ones from the bottom of the ladder 0 times in 2 draws"):
        pmr.sample_gibbs(pmr.restricted(*ref.curie_weiss(20, 0.6)), method="pt", draws=2, tune=0, **QUIET)


def test_what_a_ladder_needs_is_said():
    with pytest.raises(ValueError, match="method must be one of 'gibbs', 'pt', 'ptt', got 'pcd'"):
        pmr.sample_gibbs(MACHINE, method="pcd", **MUTED)
    with pytest.raises(ValueError, match="returned with this machine"):
        pmr.sample_gibbs(MACHINE, method="ptt", **MUTED)


@pytest.mark.slow
def test_draws_along_a_ladder_are_not_condemned_for_what_plain_probes_do():
    """Of three machines with two modes each, no verdict is "not mixed"; plain chains of the same are."""
    for seed, w in enumerate((0.3, 0.35, 0.4)):
        machine = pmr.restricted(*ref.curie_weiss(20, w))
        drawn = pmr.sample_gibbs(
            machine, method="pt", sweeps=4, draws=500, tune=200, progressbar=False, random_seed=seed
        )
        found = pmr.diagnose(drawn, machine, **QUIET)
        assert found.chains != "not mixed", str(found)
        assert "4 lifts a draw" in found.subject
        plain = pmr.sample_gibbs(machine, draws=500, tune=200, progressbar=False, random_seed=seed)
        assert pmr.diagnose(plain, machine, **QUIET).chains == "not mixed"
