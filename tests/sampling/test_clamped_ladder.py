"""Ladders of rows whose known units are clamped: what swaps leave invariant, and `inpaint` of rows with two modes."""

import math

import numpy as np
import pymc as pm
import pytest
import reference as ref
from broken import swap_with_wrong_signs
from options import MUTED, QUIET

import pymc_rbm as pmr
from pymc_rbm.machine.machine import Coupling, Layer, Machine
from pymc_rbm.sampling.ladder import Ladder, Rung, between, uncoupled

NAN = np.nan
W, B, C = ref.machine(5, 3, scale=1.5, seed=2)
KNOWN = np.array([[1, 0, 0, 1, 0], [0, 0, 0, 0, 0], [0, 1, 1, 0, 1], [1, 1, 1, 1, 1]], bool)
ROWS = np.array([[1, 0, 0, 0, 0], [0, 0, 0, 0, 0], [0, 1, 0, 0, 1], [1, 0, 1, 1, 0]])
STATES = np.array(ref.states(5), "int8")
CHAINS = 5_000


def laws(machine):
    """The probabilities of all states of each row, given its known units."""
    found = []
    for i, (row, known) in enumerate(zip(ROWS, KNOWN, strict=True)):
        b, c = (x.bias if x.bias.ndim == 1 else x.bias[i] for x in machine.layers)
        p = np.exp(ref.log_p(machine.couplings[0].weights, b, c)) * (row == STATES)[:, known].all(1)
        found.append(p / p.sum())
    return found


def in_equilibrium(machine, rng):
    """A ladder of three rungs above independent units, all of whose states are exact draws given the known units."""
    bottom = uncoupled(machine, np.broadcast_to(B[::-1], machine.layers[0].bias.shape))
    machines = [between(bottom, machine, t) for t in (0.0, 0.3, 0.7, 1.0)]
    rungs = []
    for each in machines:
        drawn = [STATES[rng.choice(len(STATES), size=CHAINS, p=p)] for p in laws(each)]
        rungs.append(Rung.new(each, np.stack(drawn, 1), held=KNOWN))
    return Ladder(rungs, np.ones(len(ROWS), int))


def beyond_chance(ladder):
    """By how much the states of each row of each rung are farther from their law than exact draws are, as a ratio."""
    return max(
        ref.total_variation(np.bincount(ref.index(rung.states[:, i]), minlength=32), p)
        / max(ref.total_variation_floor(p, CHAINS), 1e-12)
        for rung in ladder.rungs
        for i, p in enumerate(laws(rung.machine))
    )


@pytest.mark.interpreted
@pytest.mark.parametrize("by_row", [False, True], ids=["one bias", "a bias a row"])
def test_lifts_leave_the_law_of_every_row_on_every_rung_as_it_is(by_row, monkeypatch):
    rng = np.random.default_rng(1)
    b, c = (B + np.linspace(-1, 1, 4)[:, None], np.tile(C, (4, 1))) if by_row else (B, C)
    ladder = in_equilibrium(pmr.restricted(W, b, c), rng)
    for _ in range(3):
        ladder.lift(rng)
    # A total variation of two states has a standard error of .75 of its mean: 5 of them.
    assert beyond_chance(ladder) < 1 + 5 * 0.75
    np.testing.assert_array_equal(ladder.renewals, [0, 0, 0, 3])  # the last row misses nothing
    assert np.shape(ladder.rungs[1].acceptance) == (4,)
    assert ladder.rungs[1].acceptance[3] > ladder.rungs[1].acceptance[1]  # there all swaps are accepted
    swap_with_wrong_signs(monkeypatch)
    for _ in range(2):
        ladder.lift(rng)
    assert beyond_chance(ladder) > 10


def weight_given(k, known_on, known, n, w, tilt):
    """p(more than half of all units on, the half counted as half) given that ``known_on`` of ``known`` units are on."""
    log_p = [
        math.log(math.comb(n - known, on - known_on))
        + (tilt - n * w / 2) * on
        + n * np.logaddexp(0, w * on + tilt - n * w / 2)
        for on in range(known_on, n - known + known_on + 1)
    ]
    p = np.exp(np.array(log_p) - np.logaddexp.reduce(log_p))
    on = np.arange(known_on, n - known + known_on + 1)
    return p @ ((on > k) + (on == k) / 2)


@pytest.mark.slow
def test_rows_with_two_modes_get_their_weights_and_plain_chains_do_not():
    n, w, tilt = 20, 0.4, 0.05
    machine = pmr.restricted(*ref.curie_weiss(n, w, tilt))
    rows = np.full((3, n), NAN)
    rows[1, :2], rows[2, :] = (1, 0), 1
    rows[2, 5] = NAN
    exact = [weight_given(n // 2, 0, 0, n, w, tilt), weight_given(n // 2, 1, 2, n, w, tilt)]
    assert all(0.6 < x < 0.95 for x in exact)
    drawn = pmr.inpaint(rows, machine, method="pt", chains=12, draws=1000, tune=200, **QUIET)
    on = drawn["posterior"]["v"].values.sum(-1)
    upper = ((on > n // 2) + (on == n // 2) / 2).mean(1)
    for i in range(2):
        error = upper[:, i].std(ddof=1) / np.sqrt(12)
        assert error < 0.03
        assert upper[:, i].mean() == pytest.approx(exact[i], abs=4 * error)
    found = drawn["convergence"]
    assert found["converged"].all()
    assert (found["renewals"] >= 2).all()
    assert (found["acceptance"] > 0.1).all()
    assert drawn.attrs["round_trips"] == found["round_trips"].min() > 100
    assert drawn.attrs["method"] == "pt"
    np.testing.assert_array_equal(drawn["posterior"]["v"].values[:, :, 1, :2], np.tile([1, 0], (12, 1000, 1)))
    diagnosis = pmr.diagnose(drawn, machine, **QUIET)
    assert diagnosis.chains != "not mixed"
    assert "autocorrelation (lifts)" in str(diagnosis)
    with pytest.warns(UserWarning, match="take method='pt', whose chains go between modes"):
        plain = pmr.inpaint(rows, machine, chains=12, draws=1000, tune=200, **QUIET)
    on = plain["posterior"]["v"].values.sum(-1)
    assert np.isin(((on > n // 2) + (on == n // 2) / 2).mean(1)[:, :2].round(1), (0.0, 1.0)).mean() > 0.7
    assert pmr.diagnose(plain, machine, **QUIET).chains == "not mixed"


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.5, 0.8])
def test_a_real_unit_of_two_clusters_has_the_exact_mean(share):
    """Clusters at 0 and 5, with σ = .5: one hidden unit says which. The other unit is known, and says nothing."""
    sigma = 0.5
    W = np.array([[5.0], [0.0]])
    c = np.log(share / (1 - share)) - 12.5 / sigma**2
    machine = pmr.restricted(W, np.zeros(2), np.array([c]), visible=pmr.Gaussian(sigma))
    drawn = pmr.inpaint([[NAN, 0.3]], machine, method="pt", chains=20, draws=1000, tune=100, **QUIET)
    upper = (drawn["posterior"]["v"].values[:, :, 0, 0] > 2.5).mean(1)
    error = upper.std(ddof=1) / np.sqrt(20)
    assert error < 0.05
    assert upper.mean() == pytest.approx(share, abs=4 * error)
    assert float(drawn["mean"]["v"][0, 0]) == pytest.approx(5 * share, abs=4 * 5 * error)
    with pytest.warns(UserWarning, match="have not converged"):
        plain = pmr.inpaint([[NAN, 0.3]], machine, chains=20, draws=1000, tune=100, **QUIET)
    assert np.isin((plain["posterior"]["v"].values[:, :, 0, 0] > 2.5).mean(1), (0.0, 1.0)).all()
    assert float(plain["mean"]["v"][0, 0]) == pytest.approx(2.5)  # as many chains start on either side


@pytest.mark.interpreted
def test_few_renewals_are_said_and_the_same_seed_gives_the_same_draws():
    machine = pmr.restricted(*ref.curie_weiss(10, 0.7))
    found = []
    for _ in range(2):
        with pytest.warns(UserWarning, match="all chains of 1 have become new ones from the bottom of the ladder"):
            found.append(pmr.inpaint([NAN] * 10, machine, method="pt", draws=20, tune=2, **QUIET))
        assert not found[-1]["convergence"]["converged"].any()
    assert found[0].equals(found[1])


@pytest.mark.interpreted
def test_what_a_ladder_needs_is_said():
    with pytest.raises(ValueError, match="method must be one of 'gibbs', 'pt', 'ptt', got 'pcd'"):
        pmr.inpaint([NAN] * 5, pmr.restricted(W, B, C), method="pcd", **MUTED)
    with pytest.raises(ValueError, match="returned with this machine"):
        pmr.inpaint([NAN] * 5, pmr.restricted(W, B, C), method="ptt", **MUTED)
    layers = tuple(Layer(pmr.Bernoulli(), np.zeros(2)) for _ in range(3))
    deep = Machine(layers, (Coupling(0, 1, np.eye(2)), Coupling(1, 2, np.eye(2))))
    with pytest.raises(ValueError, match="its hidden units are coupled to each other"):
        pmr.inpaint([NAN] * 2, deep, method="pt", **MUTED)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:What was learned", "ignore:Learning ended after")
def test_the_ladder_of_learning_serves_rows():
    """A machine of two groups, learned along a ladder: half a row is missing, and the other half says nothing."""
    rng = np.random.default_rng(5)
    group = rng.random(500) < 0.7
    left = np.where(rng.random((500, 12)) < 0.04, ~group[:, None], group[:, None])
    data = np.concatenate([left, rng.random((500, 4)) < 0.5], 1).astype(int)
    with pm.Model() as model:
        w, b, c = (pm.Normal(x, 0, 1, shape=n) for x, n in (("W", (16, 4)), ("b", 16), ("c", 4)))
        pmr.RBM("v", w, b, c, observed=data)
        learned = pmr.fit(60, method="ptt", **QUIET)
    row = np.array([NAN] * 12 + [1, 0, 1, 0])
    exact = given_the_rest(pmr.machine_of(model, learned), row)
    drawn = pmr.inpaint(row, learned, method="ptt", chains=20, draws=1000, tune=100, **QUIET)
    upper = (drawn["posterior"]["v"].values[:, :, 0, :12].mean(-1) > 0.5).mean(1)
    error = upper.std(ddof=1) / np.sqrt(20)
    assert error < 0.05
    assert upper.mean() == pytest.approx(exact, abs=4 * error)
    assert drawn.attrs["renewals"] >= 2


def given_the_rest(machine, row):
    """p(more than half of the first twelve units on | the others), by plain sums over their states."""
    weights, (b, c) = machine.couplings[0].weights, (np.asarray(x.bias) for x in machine.layers)
    states = np.array(ref.states(12))
    whole = np.concatenate([states, np.tile(row[12:], (len(states), 1))], 1)
    log_p = whole @ b + np.logaddexp(0, c + whole @ np.asarray(weights)).sum(1)
    p = np.exp(log_p - np.logaddexp.reduce(log_p))
    return p @ (states.mean(1) > 0.5)
