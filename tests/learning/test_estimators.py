"""The estimators of the negative phase: their bias against the exact gradient, tempering, coupled chains."""

from functools import partial

import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
import pytest
import reference as ref
import xarray as xr
from limits import best_classes
from models import model_of
from pytensor.compile.io import In, Out

import pymc_rbm as pmr
from pymc_rbm.learning.estimators.coupled import unbiased
from pymc_rbm.learning.estimators.parallel_tempering import tempered
from pymc_rbm.learning.estimators.pcd import contrastive, fast_persistent, persistent
from pymc_rbm.learning.estimators.trajectory import trajectory_tempered
from pymc_rbm.learning.history import History
from pymc_rbm.learning.sweeps import MOST_SWEEPS, paced
from pymc_rbm.machine.machine import Layer, Machine
from pymc_rbm.support.modes import INTERPRETED

pytestmark = pytest.mark.interpreted

BARS = pmr.datasets.bars_and_stripes(3).values
MOST = 4
"""In standard errors, or Monte Carlo floors: what is right stays below, what is broken is beyond twice as many."""


class Compiled:
    """An estimator at fixed parameters: each call is one negative phase, its gradient flattened."""

    def __init__(self, estimator, parameters, batch, chains=100, sweeps=1):
        states = np.random.default_rng(0).integers(0, 2, (chains, len(parameters[1]))).astype("int8")
        self.states = pytensor.shared(states, name="v_particles")
        inputs = [pytensor.shared(np.asarray(p)) for p in parameters]
        machine = pmr.restricted(*inputs)
        base = Machine(
            tuple(Layer(layer.unit, np.zeros(np.shape(layer.bias.get_value()))) for layer in machine.layers), ()
        )
        rng = pt.random.rng()
        phase = estimator(machine, base, pt.as_tensor(batch.astype("int8")), self.states, rng, sweeps)
        self.updates = updates = dict(phase.updates)
        if phase.states is not None:
            updates[self.states] = phase.states
        gradient = pt.concatenate([g.ravel() for g in pt.grad(phase.log_z, inputs)])
        self.names = list(phase.report)
        outputs = [Out(phase.rng, borrow=True), gradient, phase.particles, *map(pt.as_tensor, phase.report.values())]
        self.function = pm.compile([In(rng, mutable=True)], outputs, updates=updates)
        self.rng, self.starts = np.random.default_rng(1), phase.starts
        self.start(states)

    def start(self, states):
        """Visible states of the chains, and what else is drawn from these."""
        self.states.set_value(states)
        for shared, draw in self.starts.items():
            shared.set_value(draw(pt.random.shared_rng(np.random.default_rng(2))).eval())

    def __call__(self):
        self.rng, gradient, particles, *report = self.function(self.rng)
        return gradient, particles, dict(zip(self.names, report, strict=True))


def exact_gradient(parameters):
    vh, v, h = ref.moments(*parameters)
    return np.concatenate([vh.ravel(), v, h])


def z_of_means(gradients, expected):
    gradients = np.array(gradients)
    error = gradients.std(0, ddof=1) / np.sqrt(len(gradients))
    return (gradients.mean(0) - expected) / error


# --------------------------------------------------------------------------------------------- coupled chains


@pytest.fixture(scope="module")
def learned_bars():
    """A machine of 3x3 bars and stripes in the middle of learning: it mixes, and CD-1 from the data is biased."""
    model = model_of(BARS, 5)
    with model:
        learned = pmr.fit(1500, learning_rate=0.5, random_seed=1, progressbar=False)
    b, c, W = pmr.machine_of(learned).parameters
    return W, b, c


@pytest.mark.compiled
@pytest.mark.slow
@pytest.mark.parametrize("sweeps", [1, 4])
def test_coupled_chains_are_unbiased(learned_bars, sweeps):
    """2,000 estimates within 4 standard errors of the enumerated gradient; CD-k from the same starts is not."""
    expected = exact_gradient(learned_bars)
    estimate = Compiled(partial(unbiased, most_sweeps=20_000), learned_bars, BARS, chains=14, sweeps=sweeps)
    results = [estimate() for _ in range(2000)]
    z = z_of_means([gradient for gradient, _, _ in results], expected)
    assert np.abs(z).max() < MOST, z
    assert max(float(report["unmet"]) for _, _, report in results) == 0
    biased = Compiled(contrastive, learned_bars, BARS, sweeps=sweeps)
    assert np.abs(z_of_means([biased()[0] for _ in range(2000)], expected)).max() > 2 * MOST


def test_meeting_times_are_those_of_the_chains(learned_bars):
    """Machines without couplings meet in the second sweep at the latest; a truncated run says so."""
    W, b, c = learned_bars
    free = Compiled(unbiased, (0 * W, b, c), BARS, chains=14)
    assert {int(t) for _ in range(20) for t in free()[2]["meeting_time"]} <= {1, 2}
    cut = Compiled(partial(unbiased, most_sweeps=2), learned_bars, BARS, chains=14)
    assert max(float(cut()[2]["unmet"]) for _ in range(20)) > 0


# ------------------------------------------------------------------------------------------------- tempering

# Two modes, all on and all off, that plain Gibbs sampling leaves about once in 1e4 sweeps.
TWO_MODES = np.full((8, 8), 1.2), np.full(8, -4.8), np.full(8, -4.8)


def test_tempered_particles_visit_both_modes_and_plain_ones_do_not():
    share = {}
    for name, estimator in (("tempered", tempered), ("plain", persistent)):
        step = Compiled(estimator, TWO_MODES, np.zeros((1, 8)), chains=100)
        step.start(np.ones((100, 8), "int8"))
        for _ in range(1500):
            _, particles, report = step()
        share[name] = particles.mean()
        if name == "tempered":
            # The temperatures have adapted: rates are alike, to 4 of the errors, 0.05, that shares of 100 chains have.
            assert (report["swap_rate"] > 0.2).all()
            assert np.ptp(report["swap_rate"]) < 0.2
            assert report["inverse_temperature"][[0, -1]].tolist() == [0, 1]
            assert (np.diff(report["inverse_temperature"]) > 0).all()
            assert report["round_trips"] > 100  # more than one a chain
    # The machine is symmetric under v -> 1 - v: half of the particles in each mode, give or take 5 binomial errors.
    assert abs(share["tempered"] - 0.5) < 5 * 0.5 / np.sqrt(100)
    assert share["plain"] > 0.8  # 3 of 100 are expected to have left


def distance_after_swaps(moves):
    """Total variation of the particles from the machine, in Monte Carlo floors: the worst of twelve moves' updates.

    All replicas start from exact draws of their own machines, so a right kernel keeps them there.
    """
    parameters = ref.machine(4, 3, scale=1.5, seed=3)
    temperatures, chains = 4, 20_000
    step = Compiled(
        partial(tempered, temperatures=temperatures, moves=moves), parameters, np.zeros((1, 4)), chains=chains
    )
    rng = np.random.default_rng(5)

    def draws(beta):
        p = np.exp(ref.log_p(*(beta * x for x in parameters)))
        return np.array(ref.states(4), "int8")[rng.choice(16, size=chains, p=p)]

    step.start(draws(1.0))
    [replicas] = [x for x in step.updates if x.name == "v_particles_replicas"]
    replicas.set_value(np.stack([draws(k / (temperatures - 1)) for k in range(temperatures - 1)]))
    exact = np.exp(ref.log_p(*parameters))
    floor = ref.total_variation_floor(exact, chains)
    distances = []
    for _ in range(12 // moves):
        _, particles, report = step()
        distances.append(ref.total_variation(np.bincount(ref.index(particles), minlength=16), exact) / floor)
    assert report["swap_rate"].min() > 0
    return max(distances)


@pytest.mark.parametrize("moves", [1, 2, 4])
def test_tempering_leaves_the_machine_invariant(moves):
    assert distance_after_swaps(moves) < MOST


def test_swaps_that_ignore_the_energies_are_caught(monkeypatch):
    from pymc_rbm.learning.estimators import parallel_tempering

    monkeypatch.setattr(parallel_tempering, "_log_acceptance", lambda *_: pt.zeros(1))
    assert distance_after_swaps(2) > 2 * MOST


@pytest.mark.parametrize(("log_acceptance", "expected"), [(0.0, 1), (-np.inf, 0)])
def test_exact_draws_are_counted_as_they_come_up(monkeypatch, log_acceptance, expected):
    """A round of moves carries what is drawn at the bottom to the top where all swaps are accepted, and else nothing.

    Births go with states: where there is no swap, what stays at the top was never drawn exactly.
    """
    from pymc_rbm.learning.estimators import parallel_tempering

    monkeypatch.setattr(parallel_tempering, "_log_acceptance", lambda *_: pt.as_tensor(np.full(1, log_acceptance)))
    estimator = partial(trajectory_tempered, temperatures=4, moves=4)
    step = Compiled(estimator, ref.machine(4, 3, scale=1.5, seed=3), np.zeros((1, 4)), chains=50)
    [born] = [x for x in step.updates if x.name == "v_particles_born"]
    step()
    assert (born.get_value()[-1] == expected).all()
    assert (born.get_value()[0] == (0 if expected else 1)).all()  # what was at the top first has come down
    first = born.get_value()
    [generation] = [x for x in step.updates if x.name == "v_particles_generation"]
    generation.set_value(np.asarray(7))
    step()
    assert (born.get_value()[-1] == (7 if expected else first[-1])).all()


@pytest.mark.parametrize("estimator", [tempered, trajectory_tempered])
@pytest.mark.parametrize(("option", "message"), [("temperatures", "at least 3, both"), ("moves", "at least 1, each")])
def test_too_few_temperatures_or_moves_are_refused(estimator, option, message):
    with model_of(BARS, 3), pytest.raises(ValueError, match=message):
        pmr.fit(1, method=partial(estimator, **{option: 0}), progressbar=False)


# ------------------------------------------------------------------------------------------------- fast PCD


def test_fast_weights_push_particles_out_of_a_mode():
    """Data in one mode, particles in the other: the fast weights carry them over in a tenth of the time."""
    data = np.zeros((50, 8))
    crossed = {}
    for name, estimator in (("fast", partial(fast_persistent, rate=0.1)), ("plain", persistent)):
        step = Compiled(estimator, TWO_MODES, data, chains=100)
        step.start(np.ones((100, 8), "int8"))
        crossed[name] = 1 - np.mean([step()[1].mean() for _ in range(100)])
    # Of plain ones 1 % cross in 100 updates; a mean of 0.3 over all updates is all particles across for 30 of them.
    assert crossed["fast"] > crossed["plain"] + 0.3


def test_without_a_rate_fast_is_plain(learned_bars):
    """The same numbers as PCD where the fast weights stay at zero."""
    plain, fast = (
        Compiled(persistent, learned_bars, BARS),
        Compiled(partial(fast_persistent, rate=0.0), learned_bars, BARS),
    )
    for _ in range(5):
        for a, b in zip(plain()[:2], fast()[:2], strict=True):
            np.testing.assert_array_equal(a, b)


# ----------------------------------------------------------------------------------------------- all in fit


def test_fast_weights_follow_partial_derivatives():
    """Where b depends on W the derivative by W, with b held, is that of a machine whose b does not."""
    n, m, rng = 9, 4, np.random.default_rng(3)
    W, a, c = rng.normal(size=(n, m)), rng.normal(size=n), rng.normal(size=m)
    found = []
    for at, bias in ((a, lambda x, weights: x - weights.sum(1) / 2), (a - W.sum(1) / 2, lambda x, weights: x)):
        weights, x, own_c = pytensor.shared(W), pytensor.shared(at), pytensor.shared(c)
        machine = pmr.restricted(weights, bias(x, weights), own_c)
        states = pytensor.shared(np.zeros((50, n), "int8"), name="v_particles")
        draws = pt.random.rng("rng")
        phase = fast_persistent(machine, None, pt.as_tensor(BARS), states, draws, 1)
        fast = [value for shared, value in phase.updates.items() if "fast" in shared.name]
        found.append(pytensor.function([draws], fast, mode=INTERPRETED)(np.random.default_rng(1)))
    assert len(found[0]) == 3
    for dependent, plain in zip(*found, strict=True):
        np.testing.assert_allclose(dependent, plain, atol=1e-12)


COMPILED = [pytest.param(method, marks=pytest.mark.compiled) for method in ("fpcd", "pt")]
COMPILED += [pytest.param("ucd", marks=[pytest.mark.compiled, pytest.mark.slow])]


@pytest.mark.parametrize("method", ["pcd", "cd", "exact", *COMPILED])
def test_every_method_learns_and_resumes(method, tmp_path):
    """Bars and stripes, 600 updates: better than four classes; 300 + 300 of them through a file are the same."""
    model = model_of(BARS, 6)
    options = {
        "method": method,
        "chains": 20,
        "learning_rate": 0.5,
        "random_seed": 1,
        "progressbar": False,
        "horizon": 600,
    }
    with model:
        whole = pmr.fit(600, **options)
        half = pmr.fit(300, **options)
        half.to_netcdf(tmp_path / "half.nc")
        with xr.open_datatree(tmp_path / "half.nc") as file:
            again = pmr.fit(300, resume=file.load(), **options)
    assert again["state"].attrs["rng"] == whole["state"].attrs["rng"]
    for group in whole.children:
        xr.testing.assert_equal(again[group].to_dataset(), whole[group].to_dataset())
    b, c, W = pmr.machine_of(whole).parameters
    score = -pmr.free_energy(BARS, W, b, c).mean() - pmr.log_partition(whole).estimate
    assert score > best_classes(BARS, 4)
    assert ("particles" in whole) == (method not in ("cd", "ucd"))
    reports = {"pt": {"v_swap_rate", "v_inverse_temperature", "v_round_trips"}, "ucd": {"v_meeting_time", "v_unmet"}}
    assert reports.get(method, set()) <= set(whole["learning"])


@pytest.mark.compiled
def test_auto_sweeps_follow_the_autocorrelation(tmp_path):
    """A machine held at fixed parameters: slow chains get more sweeps, independent units one."""
    sweeps = {}
    rows = np.repeat([[0] * 8, [1] * 8], 10, axis=0)
    for name, scale in (("slow", 0.75), ("free", 0.0)):
        with pm.Model():
            W = pm.Normal("W", 0, 1, shape=(8, 8))
            pmr.RBM("v", W, pm.Flat("b", shape=8), pm.Flat("c", shape=8), observed=rows)
            start = dict(zip("Wbc", (scale * x for x in TWO_MODES), strict=True))
            start["W"] = start["W"] + 1e-3 * np.random.default_rng(1).standard_normal(
                (8, 8)
            )  # units that are alike are parted
            options = {"method": "pcd", "learning_rate": lambda done: 0.0, "batch_size": None, "progressbar": False}
            learned = pmr.fit(1000, sweeps="auto", start=start, random_seed=1, **options)
            if name == "slow":
                half = pmr.fit(500, sweeps="auto", start=start, random_seed=1, horizon=1000, **options)
                again = pmr.fit(500, sweeps="auto", resume=half, **options)
                xr.testing.assert_equal(again["particles"].to_dataset(), learned["particles"].to_dataset())
        sweeps[name] = learned["learning"]["sweeps"].values
    assert sweeps["slow"][0] == 1
    assert 3 <= sweeps["slow"][-1] <= 50
    assert (sweeps["free"] == 1).all()


def test_frozen_particles_get_the_most_sweeps():
    """Particles that never move show no autocorrelation: that is no reason for few sweeps."""
    history = History(["v"])
    history.add({f"v_{x}": np.full((100, 20), 3.0) for x in ("free_energy", "visible_mean", "hidden_mean")})
    assert paced(history, 1) == 2
    assert paced(history, MOST_SWEEPS) == MOST_SWEEPS


def test_auto_sweeps_need_chains():
    with model_of(BARS, 3):
        for options in ({"method": "cd"}, {"chains": 1}):
            with pytest.raises(ValueError, match='sweeps="auto" measures persistent chains'):
                pmr.fit(1, sweeps="auto", progressbar=False, **options)
        with pytest.raises(ValueError, match="sweeps must be a whole number"):
            pmr.fit(1, sweeps="many", progressbar=False)
