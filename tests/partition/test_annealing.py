"""Annealing forward and in reverse, tempering and their errors, against enumeration."""

import signal

import arviz as az
import matplotlib.pyplot as plt
import numpy as np
import pymc as pm
import pytensor.tensor as pt
import pytest
import reference as ref
import xarray as xr
from layered import exact_draws, triangle, weighted_states
from options import SILENT
from scipy import stats

import pymc_rbm as pmr
from pymc_rbm.partition import ais as importance
from pymc_rbm.partition import annealing
from pymc_rbm.partition import tempering as bridging
from pymc_rbm.partition.annealing import adapted, anneal
from pymc_rbm.partition.bennett import log_ratio, root
from pymc_rbm.partition.estimate import log_mean_exp, weight_diagnostics
from pymc_rbm.partition.path import Path
from pymc_rbm.partition.path_graphs import kept_layers, marginal_energy
from pymc_rbm.support.work import Work
from pymc_rbm.units.unit import Unit

SMALL = ref.machine(5, 4, scale=1.0, seed=2)


def path_of(parameters, seed=0):
    """A path from a base that is not the machine's own biases."""
    rng = np.random.default_rng(seed)
    base = tuple(0.7 * rng.standard_normal(len(x)) for x in parameters[1:])
    return Path(pmr.restricted(*parameters), base)


def within(samples, expected, sigmas=4):
    """Whether the mean of independent ``samples`` is within that many standard errors of ``expected``."""
    return abs(np.mean(samples) - expected) < sigmas * np.std(samples, ddof=1) / np.sqrt(len(samples))


# ------------------------------------------------------------------------------------------------------ paths


@pytest.mark.interpreted
@pytest.mark.parametrize("machine", [pmr.restricted(*SMALL), triangle()], ids=["restricted", "three blocks"])
def test_marginal_energy_sums_the_first_block_out(machine):
    first = machine.blocks()[0]
    rest = {}
    for parts, log_weight in weighted_states(machine):
        key = tuple(None if i in first else part for i, part in enumerate(parts))
        rest.setdefault(key, []).append(log_weight)
    for key, log_weights in list(rest.items())[:40]:
        state = [None if part is None else np.array([part], dtype="int8") for part in key]
        assert marginal_energy(machine, state).eval()[0] == pytest.approx(-ref.log_sum(log_weights), abs=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("machine", [pmr.restricted(*SMALL), triangle()], ids=["restricted", "three blocks"])
def test_forward_is_unbiased_for_z(machine):
    path = Path(machine, tuple(np.linspace(-1, 1, len(layer.bias)) for layer in machine.layers))
    log_z = ref.log_sum([t for _, t in weighted_states(machine)])
    with Work(False) as work:
        run = anneal(path, np.linspace(0, 1, 5), np.random.default_rng(1), work, 20_000)
        ratios = np.exp(path.log_z_base + run.increments - log_z)
        assert within(ratios, 1)
        wrong = anneal(WrongStarts(machine, path.base), np.linspace(0, 1, 5), np.random.default_rng(1), work, 20_000)
        assert not within(np.exp(path.log_z_base + wrong.increments - log_z), 1)


class WrongStarts(Path):
    """Broken on purpose: the starts are draws of another base."""

    def base_states(self, rng, rows):
        return Path(self.machine, tuple(-b for b in self.base)).base_states(rng, rows)


@pytest.mark.slow
def test_the_reverse_kernel_reverses():
    """From exact draws, (x, K(x)) and (K̃(y), y) are the same pairs; three blocks, so that the order matters."""
    machine, n = triangle(scale=2.0), 100_000
    path = Path(machine, tuple(np.zeros(len(layer.bias)) for layer in machine.layers))
    rng = np.random.default_rng(5)

    def second_moments(reverse, swapped):
        x = exact_draws(machine, kept_layers(machine), n, rng)
        y, _ = path.walk(rng, np.ones(2), x, reverse)
        x, y = (np.concatenate(parts, 1).astype(float) for parts in ((y, x) if swapped else (x, y)))
        products = x[:, :, None] * y[:, None, :]
        return products.mean(0), products.var(0) / n

    def largest_score(reverse):
        (a, u), (b, w) = second_moments(False, False), second_moments(reverse, True)
        return (np.abs(a - b) / np.sqrt(u + w + 1e-12)).max()

    assert largest_score(True) < 4.5
    assert largest_score(False) > 10  # broken on purpose: the blocks are not undone backwards


@pytest.mark.interpreted
@pytest.mark.parametrize("machine", [pmr.restricted(*SMALL), triangle()], ids=["restricted", "three blocks"])
def test_reverse_is_unbiased_for_one_over_z(machine):
    path = Path(machine, tuple(np.zeros(len(layer.bias)) for layer in machine.layers))
    log_z = ref.log_sum([t for _, t in weighted_states(machine)])
    rng = np.random.default_rng(5)
    starts = exact_draws(machine, kept_layers(machine), 20_000, rng)
    with Work(False) as work:
        run = anneal(path, np.array([1, 0.7, 0.4, 0]), rng, work, 20_000, starts)
    assert within(np.exp(run.increments - path.log_z_base + log_z), 1)
    assert not within(np.exp(path.log_z_base - run.increments - log_z), 1)  # broken on purpose: upside down


@pytest.mark.interpreted
def test_reverse_gives_the_probability_that_annealing_ends_there():
    """u(v) has mean p_ann(v) (Burda, Grosse & Salakhutdinov 2015), which forward annealing shows as frequencies."""
    parameters = ref.machine(3, 2, scale=1.5, seed=4)
    path, betas, n = path_of(parameters), np.array([0, 0.4, 1]), 40_000
    rng = np.random.default_rng(2)
    with Work(False) as work:
        ends = anneal(path, betas, rng, work, n).states[0]
        counts = np.bincount(ref.index(ends), minlength=8)
        backwards, wrong = [], []
        for v in ref.states(3):
            starts = [np.tile(np.array(v, dtype="int8"), (n // 8, 1))]
            run = anneal(path, betas[::-1], rng, work, n // 8, starts)
            log_u = -path.energy(starts) - path.log_z_base + run.increments
            backwards.append((np.exp(log_u).mean(), np.exp(log_u).std() / np.sqrt(n // 8)))
            wrong.append(np.exp(log_u - 2 * run.increments).mean())  # broken on purpose: the weight upside down
    p, error = np.array(backwards).T
    z = (counts / n - p) / np.sqrt(p * (1 - p) / n + error**2)
    assert np.abs(z).max() < 4
    assert p.sum() == pytest.approx(1, abs=4 * np.sqrt((error**2).sum()))
    assert np.abs((counts / n - wrong) / np.sqrt(p * (1 - p) / n + error**2)).max() > 10


def test_the_schedule_evens_the_variance_out():
    """Where all the variance lies in one tenth of the path, nearly all temperatures go there."""
    betas = np.linspace(0, 1, 101)
    variance = np.where((betas[1:] > 0.4) & (betas[1:] <= 0.5), 1.0, 0.0)
    run = importance.Run(np.zeros(3), [], variance, np.zeros(100), 3)
    new = adapted(betas, run, 1000)
    assert new[0] == 0
    assert new[-1] == 1
    assert (np.diff(new) > 0).all()
    # Smoothed by 5 steps to both sides; a tenth is spread evenly, of which a fifth is there: (1 + 0.1/5)/(1 + 0.1).
    assert ((new > 0.35) & (new < 0.55)).mean() == pytest.approx(1.02 / 1.1, abs=1e-3)


# ------------------------------------------------------------------------------------------------- the errors


def test_jackknife():
    rng = np.random.default_rng(1)
    even = 0.01 * rng.standard_normal(500) + 3
    estimate, error = log_mean_exp(even)
    w = np.exp(even)
    assert estimate == pytest.approx(np.log(w.mean()), abs=1e-12)
    assert error == pytest.approx(w.std(ddof=1) / w.mean() / np.sqrt(500), rel=1e-3)
    # Written out: leave one out, by loops.
    few = rng.standard_normal(6)
    left_out = [np.log(np.mean([np.exp(x) for k, x in enumerate(few) if k != i])) for i in range(6)]
    by_loop = np.sqrt(5 / 6 * sum((x - np.mean(left_out)) ** 2 for x in left_out))
    assert log_mean_exp(few)[1] == pytest.approx(by_loop, rel=1e-10)


def test_weight_diagnostics_tell_even_from_heavy_weights():
    rng = np.random.default_rng(3)
    assert weight_diagnostics(0.3 * rng.standard_normal(1000))[1] == []
    found, reasons = weight_diagnostics(5 * rng.standard_normal(1000))
    # With a deviation of 5 a few of a thousand particles have most of the weight.
    assert found["effective_sample_size"] < 30
    assert any("too few" in x for x in reasons)
    heavy = np.log(stats.pareto(0.8).rvs(2000, random_state=4))
    assert weight_diagnostics(heavy)[0]["tail_index"] > 0.7  # from where it is flagged; in truth 1/0.8


@pytest.mark.parametrize("n", [2, 5, 29, 30])
def test_few_particles_are_diagnosed_too(n):
    found, reasons = weight_diagnostics(0.3 * np.random.default_rng(3).standard_normal(n))
    assert np.isnan(found["tail_index"]) == (n < 30)
    assert any(f"{n} particles are too few to see a heavy tail" in x for x in reasons) == (n < 30)


def test_bridge_between_two_known_distributions():
    """Draws of two enumerated distributions; the step is the difference of their log Z."""
    rng = np.random.default_rng(6)
    low, high = rng.standard_normal(20), rng.standard_normal(20)
    n, errors, wrong, ratios, said = 3000, [], [], [], []
    for _ in range(60):
        x, y = (rng.choice(20, n, p=np.exp(-f) / np.exp(-f).sum()) for f in (low, high))
        step = np.log(np.exp(-high).sum() / np.exp(-low).sum())
        errors.append(root((high - low)[x], (low - high)[y]) - step)
        wrong.append(root((low - high)[x], (high - low)[y]) - step)
        ratio, error = log_ratio((low - high)[x], (low - high)[y])
        ratios.append(ratio - step)
        said.append(error)
    assert within(errors, 0)
    assert not within(wrong, 0)
    np.testing.assert_array_equal(ratios, errors)
    # A standard deviation of 60 values is known to 1 / sqrt(120) of itself.
    assert abs(np.std(ratios) / np.mean(said) - 1) < 4 / np.sqrt(120)


def test_rhat_where_nothing_moves():
    assert bridging._rhat(np.ones((10, 50))) == 1
    assert bridging._rhat(np.repeat(np.arange(10.0)[:, None], 50, 1)) == np.inf
    # R-hat of independent draws is about 1 + χ²/(2·500·9), χ² of 9 degrees of freedom.
    assert bridging._rhat(np.random.default_rng(1).standard_normal((10, 500))) < 1 + stats.chi2.isf(1e-6, 9) / 9000


@pytest.mark.parametrize("method", ["ais", "reverse_ais", "tempering", "compare"])
def test_every_method_on_a_small_machine(method):
    parameters = ref.machine(7, 6, scale=1.5, seed=8)
    expected = ref.log_z(*parameters)
    result = pmr.log_partition(pmr.restricted(*parameters), method=method, budget=20_000, random_seed=1)
    again = pmr.log_partition(pmr.restricted(*parameters), method=method, budget=20_000, random_seed=1)
    assert result.estimate == again.estimate
    assert result.method == method
    quantile = stats.t.ppf(1 - 3e-5, result.degrees_of_freedom)
    assert abs(result.estimate - expected) < quantile * result.standard_error
    assert 0 < result.standard_error < 0.2


@pytest.mark.slow
@pytest.mark.parametrize("method", ["ais", "reverse_ais", "tempering", "auto"])
def test_every_method_where_no_layer_can_be_enumerated(method):
    """Three layers, all coupled: given one layer the others do not sum out, so that "auto" compares."""
    machine = triangle()
    expected = ref.log_sum([t for _, t in weighted_states(machine)])
    result = pmr.log_partition(machine, method=method, budget=20_000, random_seed=2)
    quantile = stats.t.ppf(1 - 3e-5, result.degrees_of_freedom)
    assert abs(result.estimate - expected) < quantile * result.standard_error
    with pytest.raises(pmr.IntractableError):
        pmr.log_partition(machine, method="exact")


@pytest.mark.slow
@pytest.mark.parametrize("method", ["ais", "tempering"])
def test_intervals_cover(method):
    """24 random machines: a 95 % interval misses more than 5 with a probability of 0.1 %."""
    hits, narrow, misses = 0, 0, []
    for seed in range(24):
        parameters = ref.machine(12, 12, scale=(0.5, 1, 2, 4)[seed % 4], seed=seed)
        machine = pmr.restricted(*parameters)
        exact = pmr.log_partition(machine, method="exact").estimate
        result = pmr.log_partition(machine, method=method, budget=30_000, random_seed=seed)
        low, high = result.interval
        hits += low <= exact <= high
        narrow += abs(result.estimate - exact) <= 0.5 * result.standard_error
        if abs(result.estimate - exact) > 3 * result.standard_error + 0.2 and result.reliable:
            misses.append(seed)
    least = stats.binom(24, 0.95).ppf(1e-3)
    assert hits >= least
    assert narrow < least  # an interval a quarter as wide would fail
    assert not misses


# --------------------------------------------------------------------------------------------- what is flagged


def trap():
    """Two modes of equal mass; from independent units with the machine's own biases annealing finds one of them."""
    n = 20
    return np.full((n, n), 0.6), np.full(n, -6.0), np.full(n, -6.0)


def test_an_unseen_mode_is_flagged_where_chains_or_data_are_in_it():
    machine = pmr.restricted(*trap())
    exact = pmr.log_partition(machine, method="exact").estimate
    blind = np.full(20, 0.01)
    result = pmr.log_partition(machine, method="ais", base_mean=blind, temperatures=300, random_seed=1)
    assert exact > result.interval[1] + 0.2  # short by log 2 with even weights
    assert result.effective_sample_size > 30
    assert not result.reliable
    assert any("annealing does not go" in reason for reason in result.reasons)
    assert "not reliable" in str(result)


@pytest.mark.parametrize("method", ["ais", "reverse_ais", "tempering", "compare"])
def test_patterns_behind_a_barrier_are_missed_and_flagged(method, monkeypatch):
    """Each hidden unit turns a pattern on; together they have half of the mass or more, and annealing arrives late."""
    rng = np.random.default_rng(0)
    b, W, c = rng.normal(size=30), np.zeros((30, 3)), np.zeros(3)
    for j in range(3):
        W[:, j] = 8 * (2 * rng.integers(0, 2, 30) - 1)
        c[j] = (np.logaddexp(0, b) - np.logaddexp(0, b + W[:, j])).sum()
    machine = pmr.restricted(W, b, c)
    exact = pmr.log_partition(machine, method="exact").estimate
    options = {"method": method, "budget": 100_000, "random_seed": 1}
    result = pmr.log_partition(machine, **options)
    low, high = result.interval
    assert low <= exact <= high or not result.reliable
    if method == "ais":
        assert abs(result.estimate - exact) > 0.5  # half of the mass or more is missed: log 2 or more
        monkeypatch.setattr(importance, "unseen_weight", lambda *arguments: 0.0)  # broken on purpose: nobody looks
        assert pmr.log_partition(machine, **options).reliable


def test_reverse_from_data_brackets():
    """A good path closes the bracket; three temperatures leave a gap that is flagged."""
    parameters = ref.machine(8, 7, scale=1.5, seed=1)
    machine = pmr.restricted(*parameters)
    exact = ref.log_z(*parameters)
    rng = np.random.default_rng(0)
    rows = exact_draws(machine, [0], 300, rng)[0]
    good = pmr.log_partition(machine, method="reverse_ais", data=rows, temperatures=500, particles=300, random_seed=1)
    assert abs(good.estimate - exact) < 0.05 + 4 * good.standard_error
    assert good.parts["ais"].estimate < good.estimate + 4 * np.hypot(
        good.standard_error, good.parts["ais"].standard_error
    )
    poor = pmr.log_partition(
        machine,
        method="reverse_ais",
        data=rows,
        temperatures=2,
        particles=300,
        random_seed=1,
        base_mean=np.full(8, 0.02),
    )
    assert poor.estimate > exact + 4 * poor.standard_error
    assert not poor.reliable


def test_interrupt_returns_what_is_finished(monkeypatch):
    """Ctrl-C in the third of several batches: two batches come back, labelled."""
    machine = pmr.restricted(*ref.machine(40, 30, scale=0.3))
    advance, calls = Work.advance, []

    def press(self, amount):
        advance(self, amount)
        calls.append(amount)
        if len(calls) == press.at:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(annealing, "BATCH_ENTRIES", 20_000)
    monkeypatch.setattr(Work, "advance", press)
    press.at = 6
    result = pmr.log_partition(machine, method="ais", particles=2000, temperatures=20, random_seed=1)
    assert 0 < result.log_weights.size < 2000
    assert result.made["interrupted"]
    assert not result.reliable
    assert f"{result.log_weights.size} of 2000 particles finished" in str(result)


def test_particles_hurry_after_an_interrupt_of_the_first_batch(monkeypatch):
    """They skip temperatures, which costs spread but no bias, and the report says from where on."""
    machine = pmr.restricted(*ref.machine(12, 10, scale=0.5))
    exact = pmr.log_partition(machine, method="exact").estimate
    advance, calls = Work.advance, []

    def press(self, amount):
        advance(self, amount)
        calls.append(amount)
        if calls.count(100_000) == 2 and amount == 100_000:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Work, "advance", press)
    monkeypatch.setattr(annealing, "SEGMENT_ENTRIES", 22 * 100_000)
    result = pmr.log_partition(machine, method="ais", particles=5000, temperatures=1000, random_seed=1)
    assert result.log_weights.size == 5000
    assert result.made["interrupted"]
    assert not result.reliable
    assert "on, 5000 particles took only a few steps" in str(result)
    assert calls[calls.index(100_000) :] == [100_000] * 3  # two segments as planned and one to the end
    assert abs(result.estimate - exact) < 4 * result.standard_error
    assert result.standard_error < 0.1


@pytest.mark.parametrize("method", ["ais", "reverse_ais", "tempering", "compare"])
def test_ctrl_c_at_any_time(method, monkeypatch):
    """Something comes back, labelled, whenever it is pressed."""
    machine = pmr.restricted(*ref.machine(30, 25, scale=0.3))
    advance, interrupted = Work.advance, []
    monkeypatch.setattr(annealing, "BATCH_ENTRIES", 20_000)
    for at in (1, 3, 4, 5, 6, 8, 12, 20, 40, 60):
        calls = []

        def press(self, amount, calls=calls, at=at):
            advance(self, amount)
            calls.append(amount)
            if len(calls) == at:
                signal.raise_signal(signal.SIGINT)

        monkeypatch.setattr(Work, "advance", press)
        result = pmr.log_partition(machine, method=method, particles=800, budget=40_000, random_seed=1)
        if len(calls) < at:
            break
        assert any("interrupted" in reason for reason in result.reasons)
        assert result.made["interrupted"]
        assert np.isfinite(result.estimate)
        interrupted.append(at)
    assert len(interrupted) > 3


# ------------------------------------------------------------------------------------------------- other units


class Sign(Unit):
    """±1, a unit that the package's log Z has never heard of."""

    dtype = "int8"
    states = ((-1.0,), (1.0,))
    middle = 0.0
    support = "-1 and 1"

    def contains(self, x):
        return pt.eq(abs(x), 1)

    def log_base(self, x):
        return pt.zeros_like(x, dtype="float64")

    def log_normaliser(self, field):
        return pt.softplus(2 * field) - field

    def mean(self, field):
        return pt.tanh(field)

    def sample(self, field, rng):
        rng, u = pt.random.uniform(size=field.shape, rng=rng, return_next_rng=True)
        return rng, (2 * pt.lt(u, pt.sigmoid(2 * field)) - 1).astype("int8")

    def dispersed(self, shape, rng):
        rng, u = pt.random.uniform(size=shape, rng=rng, return_next_rng=True)
        return rng, (2 * pt.lt(u, 0.5) - 1).astype("int8")

    def bias_of_mean(self, mean):
        return np.arctanh(mean)


class Waiting(Sign):
    """x ≥ 0 with density exp(f·x): it cannot be normalised unless f < 0."""

    dtype = "float64"
    states = None
    middle = 1.0
    support = "numbers of at least 0"

    def contains(self, x):
        return pt.ge(x, 0)

    def log_normaliser(self, field):
        return pt.switch(pt.lt(field, 0), -pt.log(pt.switch(pt.lt(field, 0), -field, 1.0)), np.inf)

    def mean(self, field):
        return pt.switch(pt.lt(field, 0), -1 / pt.switch(pt.lt(field, 0), field, -1.0), np.inf)

    def sample(self, field, rng):
        rng, u = pt.random.uniform(size=field.shape, rng=rng, return_next_rng=True)
        return rng, -pt.log1p(-u) / pt.maximum(-field, 1e-6)

    def dispersed(self, shape, rng):
        rng, u = pt.random.uniform(size=shape, rng=rng, return_next_rng=True)
        return rng, -3 * pt.log1p(-u)

    def bias_of_mean(self, mean):
        return -1 / mean


@pytest.mark.slow
@pytest.mark.parametrize("method", ["ais", "tempering"])
def test_a_new_unit_needs_nothing_here(method):
    W, b, c = ref.machine(4, 3, scale=0.6, seed=5)
    terms = [
        v @ W @ h + b @ v + c @ h for v in 2 * np.array(ref.states(4)) - 1 for h in 2 * np.array(ref.states(3)) - 1
    ]
    machine = pmr.restricted(W, b, c, visible=Sign(), hidden=Sign())
    result = pmr.log_partition(machine, method=method, budget=20_000, random_seed=1)
    quantile = stats.t.ppf(1 - 3e-5, result.degrees_of_freedom)
    assert abs(result.estimate - ref.log_sum(terms)) < quantile * result.standard_error


@pytest.mark.slow
def test_continuous_units_and_a_machine_that_cannot_be_normalised():
    """∫ Π exp(b v) Π (1 + exp(c + W v)) dv: with one waiting and one binary unit, -1/b - e^c/(b + W)."""
    W, b, c = np.array([[0.5]]), np.array([-1.0]), np.array([0.3])
    machine = pmr.restricted(W, b, c, visible=Waiting())
    result = pmr.log_partition(machine, method="ais", random_seed=1)
    assert abs(result.estimate - np.log(1 + np.exp(0.3) / 0.5)) < 4 * result.standard_error + 1e-9
    with pytest.raises(ValueError, match="cannot be normalised"):
        pmr.log_partition(pmr.restricted(np.array([[1.5]]), b, c, visible=Waiting()), method="ais", random_seed=1)


# -------------------------------------------------------------------------------------------- the result type


def test_the_result_prints_draws_and_becomes_a_datatree(tmp_path):
    machine = pmr.restricted(*ref.machine(6, 5, seed=3))
    for method in ("exact", "ais", "reverse_ais", "tempering", "compare"):
        result = pmr.log_partition(machine, method=method, budget=5000, random_seed=1)
        assert "log Z" in str(result)
        assert "<table>" in result._repr_html_()
        tree = result.to_datatree()
        tree.to_netcdf(tmp_path / f"{method}.nc")
        with xr.open_datatree(tmp_path / f"{method}.nc") as read:
            assert float(read["estimate/estimate"]) == result.estimate
            assert read["estimate"].attrs["reliable"] == result.reliable
        plot = result.plot()
        plot.savefig(tmp_path / f"{method}.png")
        plt.close(plot.viz["figure"].item())
    low, high = result.interval
    assert low < result.estimate < high
    matrix = result.parts["tempering"].diagnostics["overlap"]
    np.testing.assert_allclose(matrix.sum(1), 1)


# ---------------------------------------------------------------------------------------------- likelihoods


@pytest.mark.interpreted
def test_log_likelihood_of_rows_carries_the_error_of_log_z():
    parameters = ref.machine(5, 4, seed=6)
    machine, rows = pmr.restricted(*parameters), np.array(ref.states(5))
    data = xr.DataArray(rows, dims=("case", "unit"), coords={"case": np.arange(32) + 100}, name="u")
    tree = pmr.log_likelihood(data, machine)
    np.testing.assert_allclose(tree["log_likelihood/u"].values[0, 0], ref.log_p(*parameters), atol=1e-10)
    assert tree["log_likelihood/u"].dims == ("chain", "draw", "case")
    assert tree["log_likelihood/u"].case[0] == 100
    log_z = pmr.log_partition(machine, method="ais", budget=20_000, random_seed=1)
    tree = pmr.log_likelihood(data, machine, log_z=log_z)
    summary = tree["mean_log_likelihood"]
    assert float(summary["error_of_log_z"]) == log_z.standard_error
    expected = np.hypot(log_z.standard_error, float(summary["error_of_rows"]))
    assert float(summary["standard_error"]) == pytest.approx(expected)
    rough = pmr.LogPartitionEstimate(log_z.estimate, 50.0, "ais")
    with pytest.warns(UserWarning, match="exceeds the spread of the rows"):
        pmr.log_likelihood(data, machine, log_z=rough)
    with pytest.warns(UserWarning, match="log Z is not reliable"):
        pmr.log_likelihood(data, machine, log_z=pmr.LogPartitionEstimate(1.0, 0.1, "ais", reasons=("a reason",)))


@pytest.mark.slow
def test_a_posterior_over_weights_feeds_loo_and_compare():
    """NUTS on weights of a small machine; each draw's rows by plain sums, then az.loo and az.compare, without glue."""
    rows = np.tile(np.array(ref.states(4))[[1, 3, 3, 3, 12, 12, 15, 2]], (3, 1))
    models = {}
    for label, scale in (("coupled", 1.0), ("independent", 0.0)):
        with pm.Model() as models[label]:
            W = pm.Normal("W", 0, 0.5, shape=(4, 2))
            b = pm.Normal("b", 0, 1, shape=4)
            pmr.RBM("v", scale * W, 2 * b, np.zeros(2), observed=rows)
    model = models["coupled"]
    idata = pm.sample(300, tune=200, chains=2, cores=1, random_seed=1, model=model, **SILENT)
    tree = pmr.log_likelihood(rows, model, idata)
    draw = idata.posterior.isel(chain=1, draw=7)
    log_p = ref.log_p(draw.W.values, 2 * draw.b.values, np.zeros(2))
    np.testing.assert_allclose(tree["log_likelihood/v"][1, 7], [log_p[i] for i in ref.index(rows)], atol=1e-10)
    assert az.loo(tree).p > 0
    compared = az.compare({"coupled": tree, "independent": pmr.log_likelihood(rows, models["independent"], idata)})
    assert compared.index[0] == "coupled"
    draws = tree["log_z"].estimate.values
    given = pmr.log_likelihood(rows, model["v"], idata, log_z=draws + 1)
    np.testing.assert_allclose(given["log_likelihood/v"], tree["log_likelihood/v"] - 1)
    with pytest.raises(ValueError, match="one entry for each chain and draw"):
        pmr.log_likelihood(rows, model, idata, log_z=3.0)
    known = np.ma.masked_equal(rows, 1)  # zeros stand
    summed = pmr.log_likelihood(known, model, idata)["log_likelihood/v"][1, 7]
    agree = [[p for v, p in zip(ref.states(4), log_p, strict=True) if not any(np.array(v)[~m])] for m in known.mask]
    np.testing.assert_allclose(summed, [ref.log_sum(terms) for terms in agree], atol=1e-10)
    with pytest.raises(TypeError, match="needs an RBM variable or a PyMC model"):
        pmr.log_likelihood(rows, pmr.restricted(*SMALL), idata)


@pytest.mark.interpreted
def test_pseudo_log_likelihood():
    parameters = ref.machine(5, 3, scale=1.3, seed=7)
    machine, log_p = pmr.restricted(*parameters), ref.log_p(*parameters)
    states = ref.states(5)
    index = {v: i for i, v in enumerate(states)}
    expected = []
    for v in states:
        total = 0.0
        for i in range(5):
            flipped = tuple(1 - x if k == i else x for k, x in enumerate(v))
            total -= np.log1p(np.exp(log_p[index[flipped]] - log_p[index[v]]))
        expected.append(total)
    exact = pmr.pseudo_log_likelihood(np.array(states), machine)
    np.testing.assert_allclose(exact, expected, atol=1e-10)
    many = np.repeat([states[5]], 4000, axis=0)
    noisy = pmr.pseudo_log_likelihood(many, machine, method="stochastic", random_seed=1)
    assert within(noisy.values, expected[5])
    assert not within(noisy.values / 5, expected[5])  # broken on purpose: a mean over units, no total
    with pytest.raises(ValueError, match="method must be"):
        pmr.pseudo_log_likelihood(many, machine, method="guess")


def test_bad_input():
    machine = pmr.restricted(*SMALL)
    with pytest.raises(ValueError, match="target_error must be a positive number"):
        pmr.log_partition(machine, method="ais", target_error=0)
    with pytest.raises(ValueError, match="budget must be a whole number"):
        pmr.log_partition(machine, method="ais", budget=10)
    with pytest.raises(ValueError, match="last axis of data must have length 5"):
        pmr.log_partition(machine, method="ais", data=np.zeros((3, 4)))
    with pytest.raises(ValueError, match="only 0 and 1, got 10 other entries"):
        pmr.log_likelihood(np.full((2, 5), 2), machine)
    with pytest.raises(ValueError, match="data contains NaN"):
        pmr.log_likelihood(np.full((2, 5), np.nan), machine)
    with pytest.raises(ValueError, match="log_z must be a finite number"):
        pmr.log_likelihood(np.zeros((2, 5)), machine, log_z=np.nan)
    with pytest.raises(ValueError, match="batch axes"):
        pmr.log_partition(pmr.restricted(np.zeros((2, 5, 4)), np.zeros(5), np.zeros(4)), method="ais")
    with pytest.raises(ValueError, match="NaN or infinity"):
        pmr.log_likelihood([[0] * 5], machine.with_parameters([np.zeros(5), np.zeros(4), np.full((5, 4), np.inf)]))


def test_means_and_rows_of_learned_data_are_used():
    machine = pmr.restricted(*SMALL)
    rows = np.array(ref.states(5))
    data = xr.Dataset({"v_mean": ("unit", np.full(5, 0.3)), "v_rows": (("row", "unit"), rows)})
    learned = xr.DataTree.from_dict({"data": data})
    options = {"method": "ais", "temperatures": 20, "random_seed": 1}
    found = pmr.log_partition(machine, learned, **options)
    by_hand = pmr.log_partition(machine, base_mean=np.full(5, 0.3), data=rows, **options)
    assert found.estimate == by_hand.estimate
    assert found.diagnostics["unseen_weight"] == by_hand.diagnostics["unseen_weight"]
    assert found.estimate != pmr.log_partition(machine, **options).estimate
    with pytest.raises(ValueError, match=r"the array of rows in `learned` has shape \(32, 4\).*length 5"):
        wrong = xr.DataTree.from_dict({"data": xr.Dataset({"v_rows": (("row", "unit"), rows[:, :4])})})
        pmr.log_partition(machine, wrong, **options)


@pytest.mark.parametrize("name", ["pylearn2_15", "lz_h10"])
def test_trained_machines_against_plain_annealing(shared_data, name):
    """At equal work, from the data's means against a uniform base: at least five times smaller squared error."""
    with np.load(shared_data / f"rbm_pretrained_{name}.npz") as file:
        parameters = file["W"], file["b"], file["c"]
    machine, digits = pmr.restricted(*parameters), pmr.datasets.from_npz(shared_data / "mnist_bin127.npz").values
    mean = (digits.sum(0) + 0.5) / (len(digits) + 1)
    exact = pmr.log_partition(machine, method="exact").estimate
    result = pmr.log_partition(machine, method="ais", base_mean=mean, temperatures=300, random_seed=1)
    low, high = result.interval
    assert low <= exact <= high or not result.reliable
    assert abs(result.estimate - exact) <= 3 * result.standard_error + 0.2 or not result.reliable
    uniform = Path(machine, tuple(np.zeros_like(x) for x in parameters[1:]))
    with Work(False) as work:
        run = anneal(uniform, np.linspace(0, 1, result.made["sweeps"] // 100), np.random.default_rng(1), work, 100)
    plain, _ = log_mean_exp(uniform.log_z_base + run.increments)
    assert 5 * (result.estimate - exact) ** 2 < (plain - exact) ** 2
