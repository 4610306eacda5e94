"""What depends on an RBM's units: transition matrices, stationarity from exact starts, and broken corrections."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import product

import arviz as az
import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
import pytest
import reference as ref
import scipy
import xarray as xr
from exact_transition import decision_by, transition_matrix
from options import MASKED, SILENT
from pytensor.graph.replace import clone_replace

import pymc_rbm as pmr
from pymc_rbm.machine.targets import check_alone
from pymc_rbm.step_methods import effects
from pymc_rbm.step_methods import joint_moves as joint
from pymc_rbm.step_methods import metropolis as corrections
from pymc_rbm.step_methods import transition as transitions
from pymc_rbm.step_methods import wall_moves as reflections
from pymc_rbm.step_methods.blocks import blocks_of
from pymc_rbm.support.forced import forced

pytestmark = [pytest.mark.interpreted, MASKED]

W, B, C = ref.machine(4, 3, seed=21)
ROWS = 20_000
FLOORS = 4
SEEN = np.array([0.3, 1.2, -0.4, 0.6])
MASK = np.array([True, False, True, True])
"""True where the unit is missing; the other one is 1."""
quick = {"compile_kwargs": {"mode": "FAST_COMPILE"}}


def normal(y, mean, sigma):
    """Log-density but for a constant."""
    return -((y - mean) ** 2) / (2 * sigma**2)


def dot(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True))


def rows(x):
    return np.tile(x, (ROWS, *[1] * np.ndim(x)))


# ------------------------------------------------------------------------------------ finite units, by enumeration


@dataclass
class Dependent:
    """A model of many rows, and the log of the joint density of one row's sampled units by plain Python."""

    build: Callable
    log_density: Callable
    units: dict
    corrected: int = 0

    @property
    def states(self):
        """All joint states of a row, by variable, and their probabilities."""
        each = list(product(*(ref.states(n) for n in self.units.values())))
        log_p = np.array([self.log_density(*state) for state in each])
        return [np.array(x) for x in zip(*each, strict=True)], np.exp(log_p - ref.log_sum(log_p))

    def errors(self):
        """Total variation after one draw from exact starts, in units of its Monte Carlo floor."""
        with pm.Model() as model:
            self.build()
            step = pmr.BlockGibbs(rng=3, **quick)
        assert len(step._ranges) == self.corrected
        states, p = self.states
        chosen = np.random.default_rng(4).choice(len(p), size=ROWS, p=p)
        start = model.initial_point()
        for name, x in zip(self.units, states, strict=True):
            start[name] = x[chosen].reshape(start[name].shape).astype(start[name].dtype)
        point, [stats] = step.step(start)
        # Both answers of a correction come up often, and not everything stays: else nothing is tested.
        assert stats["accepted"] == 1 if not self.corrected else 0.2 < stats["accepted"] < 0.97
        assert stats["flipped"] > 0.03
        ends = np.concatenate([point[name].reshape(ROWS, -1) for name in self.units], axis=1)
        counts = np.bincount(ref.index(ends), minlength=len(p))
        return ref.total_variation(counts, p) / ref.total_variation_floor(p, ROWS)


LOG_P = dict(zip(ref.states(4), ref.log_p(W, B, C), strict=True))


def of_v(dependant, log_density, corrected=0):
    """A case of v alone, its hidden units summed out."""
    return Dependent(
        lambda: dependant(pmr.RBM("v", W, B, C, size=ROWS)),
        lambda v: LOG_P[v] + log_density(v),
        {"v": 4},
        corrected,
    )


def of_both(dependant, log_density, corrected=0):
    """A case in which h is part of the state."""

    def build():
        v = pmr.RBM("v", W, B, C, size=ROWS)
        dependant(v, pmr.Hidden("h", v))

    return Dependent(build, lambda v, h: log_density(v, h) - ref.energy(v, h, W, B, C), {"v": 4, "h": 3}, corrected)


def of_masked(dependant, log_density, corrected=0):
    def build():
        seen = np.ma.MaskedArray(np.ones((ROWS, 4), dtype="int8"), np.tile(MASK, (ROWS, 1)))
        dependant(pmr.RBM("v", W, B, C, observed=seen))

    def full(v):
        v = (v[0], 1, *v[1:])
        return LOG_P[v] + log_density(v)

    return Dependent(build, full, {"v_unobserved": 3}, corrected)


def two_families(joined):
    """Two binary units beside one of three states, seen with noise: each, or a sum of them in two ways."""
    units = pmr.Beside((pmr.Bernoulli(), 2), (pmr.Categorical(3), 3))
    weights, y = ref.machine(5, 2, seed=7), [*SEEN, 0.2]
    through = np.array([[1.0, 0.7, 1.5, -0.5, 0.2], [0.3, -1.0, 0.6, 0.8, -1.2]]) if joined else np.eye(5)

    def build():
        v = pmr.RBM("v", *weights, visible=units, size=ROWS)
        pm.Normal("y", v @ through.T if joined else v, 0.7, observed=rows(y[: len(through)]))

    def log_density(v):
        if sum(v[2:]) != 1:
            return -np.inf
        log_joint = ref.log_sum([-ref.energy(v, h, *weights) for h in ref.states(2)])
        return log_joint + sum(normal(y[i], dot(row, v), 0.7) for i, row in enumerate(through))

    return Dependent(build, log_density, {"v": 5}, corrected=int(joined))


def joined_machines():
    first, second = ref.machine(3, 2, seed=5), ref.machine(2, 2, seed=6)

    def build():
        v, w = pmr.RBM("v", *first, size=ROWS), pmr.RBM("w", *second, size=ROWS)
        pm.Normal("y", v.sum(-1) + 2 * w.sum(-1), 0.8, observed=np.full(ROWS, 2.7))

    log_p = [dict(zip(ref.states(len(m[1])), ref.log_p(*m), strict=True)) for m in (first, second)]
    return Dependent(
        build,
        lambda v, w: log_p[0][v] + log_p[1][w] + normal(2.7, sum(v) + 2 * sum(w), 0.8),
        {"v": 3, "w": 2},
        corrected=2,
    )


def two_hidden():
    """Two observed hidden layers of the same v."""
    seen = (1, 0, 1), (1, 1, 0)

    def build():
        v = pmr.RBM("v", W, B, C, size=ROWS)
        for name, h in zip("hg", seen, strict=True):
            pmr.Hidden(name, v, observed=rows(h))

    def log_density(v):
        log_joint = [-ref.energy(v, h, W, B, C) for h in ref.states(3)]
        return ref.log_sum(log_joint) + sum(-ref.energy(v, h, W, B, C) - ref.log_sum(log_joint) for h in seen)

    return Dependent(build, log_density, {"v": 4}, corrected=1)


def masked_general():
    """A machine coupled to itself, each unit with all others, of which one unit is seen."""
    couplings = (W @ W.T - np.diag((W**2).sum(1))) / 2

    def build():
        seen = np.ma.MaskedArray(np.ones((ROWS, 4), dtype="int8"), np.tile(MASK, (ROWS, 1)))
        x = pmr.BoltzmannMachine("x", couplings, B, observed=seen)
        pm.Normal("y", x.sum(-1), 0.5, observed=np.full(ROWS, 1.7))

    def log_density(x):
        x = (x[0], 1, *x[1:])
        return general(x, couplings, B) + normal(1.7, sum(x), 0.5)

    return Dependent(build, log_density, {"x_unobserved": 3}, corrected=1)


def general(x, U, b):
    return sum(b[i] * x[i] + sum(x[i] * U[i][j] * x[j] / 2 for j in range(len(x))) for i in range(len(x)))


WEIGHTS = np.array([1.0, -2, 0.5])
CASES = {
    "v": of_v(
        lambda v: pm.Normal("y", v, 0.7, observed=rows(SEEN)),
        lambda v: sum(normal(y, x, 0.7) for x, y in zip(v, SEEN, strict=True)),
    ),
    "flips": of_v(
        lambda v: pm.Bernoulli("y", p=0.1 + 0.7 * v, observed=rows([0, 1, 1, 0])),
        lambda v: sum(np.log(0.1 + 0.7 * x if y else 0.9 - 0.7 * x) for x, y in zip(v, [0, 1, 1, 0], strict=True)),
    ),
    "linear": of_v(
        lambda v: pm.Potential("y", (v @ np.array([1.0, -2, 0.5, 1])).sum()),
        lambda v: v[0] - 2 * v[1] + 0.5 * v[2] + v[3],
    ),
    "slice": of_v(
        lambda v: pm.Normal("y", pm.Deterministic("d", 2 * v[..., :3] - 1), 0.7, observed=rows(SEEN[:3])),
        lambda v: sum(normal(y, 2 * x - 1, 0.7) for x, y in zip(v, SEEN[:3], strict=False)),
    ),
    "pieces": of_v(
        lambda v: pm.Normal("y", v.reshape((ROWS, 2, 2))[:, [1, 0], 1], 0.7, observed=rows(SEEN[:2])),
        lambda v: normal(SEEN[0], v[3], 0.7) + normal(SEEN[1], v[1], 0.7),
    ),
    "total": of_v(
        lambda v: pm.Normal("y", v.sum(-1), 0.5, observed=np.full(ROWS, 1.7)),
        lambda v: normal(1.7, sum(v), 0.5),
        corrected=1,
    ),
    "parity": of_v(
        lambda v: pm.Potential("y", pt.switch(pt.eq(v.sum(-1) % 2, 0), 1.5, -1.0)),
        lambda v: 1.5 if sum(v) % 2 == 0 else -1.0,
        corrected=1,
    ),
    "h": of_both(
        lambda v, h: pm.Normal("y", h, 0.7, observed=rows(SEEN[:3])),
        lambda v, h: sum(normal(y, x, 0.7) for x, y in zip(h, SEEN[:3], strict=True)),
    ),
    "regression on h": of_both(
        lambda v, h: pm.Normal("y", h @ WEIGHTS, 0.6, observed=np.full(ROWS, -0.4)),
        lambda v, h: normal(-0.4, dot(h, WEIGHTS), 0.6),
        corrected=1,
    ),
    "v and h": of_both(
        lambda v, h: pm.Potential("y", (v[..., :3] * h @ WEIGHTS).sum()),
        lambda v, h: dot([x * y for x, y in zip(v[:3], h, strict=True)], WEIGHTS),
    ),
    "v and h, squared": of_both(
        lambda v, h: pm.Normal("y", v.sum(-1) - h @ WEIGHTS, 0.9, observed=np.full(ROWS, 2.0)),
        lambda v, h: normal(2.0, sum(v) - dot(h, WEIGHTS), 0.9),
        corrected=2,
    ),
    "masked": of_masked(
        lambda v: pm.Normal("y", v, 0.7, observed=rows(SEEN)),
        lambda v: sum(normal(y, x, 0.7) for x, y in zip(v, SEEN, strict=True)),
    ),
    "masked, total": of_masked(
        lambda v: pm.Normal("y", v.sum(-1), 0.5, observed=np.full(ROWS, 1.7)),
        lambda v: normal(1.7, sum(v), 0.5),
        corrected=1,
    ),
    "masked general machine": masked_general(),
    "two families": two_families(joined=False),
    "two families, joined": two_families(joined=True),
    "two machines": joined_machines(),
    "two hidden layers": two_hidden(),
}


@pytest.mark.parametrize("case", CASES)
def test_stationarity(case):
    assert CASES[case].errors() < FLOORS


@pytest.mark.parametrize("case", ["v", "linear", "h", "masked"])
def test_stationarity_shows_fields_without_the_dependants(monkeypatch, case):
    right = transitions._updated
    monkeypatch.setattr(transitions, "_updated", lambda block, new: transitions.replace(right(block, new), offsets={}))
    assert CASES[case].errors() > 2 * FLOORS


@pytest.mark.parametrize("case", ["parity", "two machines", "masked, total"])
def test_stationarity_shows_a_ratio_without_the_dependants(monkeypatch, case):
    """Acceptance by half the log-ratio."""
    right = corrections.accepts
    monkeypatch.setattr(corrections, "accepts", lambda log_ratio, rng: right(log_ratio / 2, rng))
    assert CASES[case].errors() > 2 * FLOORS


# ------------------------------------------------------------------------------------- transition matrices


def transition_matrices(build, units, turns=(None,), theta=0.5, values=(0, 1)):
    """The exact transition matrix of one move (of each turn) of the step's own graph, and the states."""

    def moved(n, turn):
        with pm.Model() as model:
            build(n)
        block = blocks_of(model, model.free_RVs)[0]
        thetas = dict.fromkeys(block.proposals, pt.constant(np.float64(theta)))
        end, *_ = transitions.one_move(block, block.state, pt.random.rng(), thetas, turn=turn)
        return [model.rvs_to_values[model[name]] for name in units], end[: len(units)]

    found = [transition_matrix(partial(moved, turn=turn), units.values(), values) for turn in turns]
    return [matrix for matrix, _ in found], found[0][1]


TINY = ref.machine(3, 2, seed=2)
PAIR = ref.machine(2, 2, seed=3)
DENSE = np.array([[0, 1.2, -0.7], [1.2, 0, 0.9], [-0.7, 0.9, 0]])
RING = np.roll(np.eye(4), 1, axis=0) + np.roll(np.eye(4), -1, axis=0)


def restricted(n):
    pm.Normal("y", pmr.RBM("v", *TINY, size=n).sum(-1), 0.5, observed=np.full(n, 1.7))


def restricted_and_hidden(n):
    v = pmr.RBM("v", *PAIR, size=n)
    h = pmr.Hidden("h", v)
    pm.Normal("y", v.sum(-1) - 2 * h.sum(-1), 0.9, observed=np.full(n, 0.3))


def dense(n):
    x = pmr.BoltzmannMachine("x", DENSE, TINY[1], size=n)
    pm.Potential("y", pt.switch(pt.eq(x.sum(-1) % 2, 0), 1.5, -1.0))


def spins_in_a_ring(n):
    x = pmr.BoltzmannMachine("x", 0.8 * RING, B, unit=pmr.Spin(), size=n)
    pm.Normal("y", x.sum(-1), 0.9, observed=np.full(n, 1.0))


TINY_P = dict(zip(ref.states(3), ref.log_p(*TINY), strict=True))
KERNELS = {
    restricted: ({"v": 3}, [None], (0, 1), lambda v: TINY_P[v] + normal(1.7, sum(v), 0.5)),
    restricted_and_hidden: (
        {"v": 2, "h": 2},
        [None],
        (0, 1),
        lambda v, h: normal(0.3, sum(v) - 2 * sum(h), 0.9) - ref.energy(v, h, *PAIR),
    ),
    dense: ({"x": 3}, [0, 1, 2], (0, 1), lambda x: general(x, DENSE, TINY[1]) + (-1.0 if sum(x) % 2 else 1.5)),
    spins_in_a_ring: ({"x": 4}, [0, 1], (-1, 1), lambda x: general(x, 0.8 * RING, B) + normal(1.0, sum(x), 0.9)),
}


@pytest.mark.parametrize("build", KERNELS, ids=lambda build: build.__name__)
def test_transition_matrix(build):
    units, turns, values, log_density = KERNELS[build]
    matrices, states = transition_matrices(build, units, turns, values=values)
    log_p = np.array([log_density(*state) for state in states])
    p = np.exp(log_p - ref.log_sum(log_p))
    for matrix in matrices:
        np.testing.assert_allclose(matrix.sum(1), 1, atol=1e-10)
        np.testing.assert_allclose(p @ matrix, p, atol=1e-10)
        if build is not restricted_and_hidden:  # which updates two layers in a fixed order
            flow = p[:, None] * matrix
            np.testing.assert_allclose(flow, flow.T, atol=1e-10)
    once = np.linalg.multi_dot(matrices) if len(matrices) > 1 else matrices[0]
    for row in np.linalg.matrix_power(once, 2000):
        np.testing.assert_allclose(row, p, atol=1e-6)


@pytest.mark.parametrize("build", KERNELS, ids=lambda build: build.__name__)
def test_transition_matrix_shows_a_broken_correction(monkeypatch, build):
    """Half of the dependants' log-density where the proposal leads to."""
    units, turns, values, log_density = KERNELS[build]
    right, calls = transitions.partial, iter(range(1000))

    def broken(effect, given):
        def outputs(state):
            density, slope, curvature = right(effect, given=given)(state)
            return density * (1 if next(calls) % 2 == 0 else 0.5), slope, curvature

        return outputs

    monkeypatch.setattr(transitions, "partial", broken)
    matrices, states = transition_matrices(build, units, turns[:1], values=values)
    log_p = np.array([log_density(*state) for state in states])
    p = np.exp(log_p - ref.log_sum(log_p))
    assert np.abs(p @ matrices[0] - p).max() > 1e-3


# ------------------------------------------------------------------------------- real units, on a grid of two


REAL = np.array([[0.8, -0.5], [0.3, 0.6]]), np.array([0.4, -0.2]), np.array([0.2, -0.4])
BETA = np.array([1.0, 0.7])
CELLS, FINE = 6, 40
REAL_ROWS = 5000


def restricted_log_p(x, y, own):
    """Sum over two binary hidden units; ``own`` is the log-density of a unit without them, apart from its bias."""
    (weights, b, c), terms = REAL, []
    for g in (0, 1):
        for h in (0, 1):
            fields = [b[i] + weights[i, 0] * g + weights[i, 1] * h for i in (0, 1)]
            terms.append(own(x) + own(y) + fields[0] * x + fields[1] * y + c[0] * g + c[1] * h)
    return np.logaddexp.reduce(terms, axis=0)


def gaussian(x, y):
    return restricted_log_p(x, y, lambda v: -(v**2) / 2)


def rectified(x, y):
    return restricted_log_p(x, y, lambda v: np.where(v > 0, -(v**2) / 2, -np.inf))


def two_sided(x, y):
    return restricted_log_p(x, y, lambda v: -np.where(v > 0, 1.0, 2.5) * v**2 / 2 - 0.5 * abs(v))


def coupled(x, y):
    return -(x**2 + y**2) / 2 + 0.6 * x * y + REAL[1][0] * x + REAL[1][1] * y


DRELU = pmr.DReLU(1.0, 2.5, 0.5)
MACHINES = {
    gaussian: lambda n: pmr.RBM("v", *REAL, visible=pmr.Gaussian(), size=n),
    rectified: lambda n: pmr.RBM("v", *REAL, visible=pmr.Rectified(), size=n),
    two_sided: lambda n: pmr.RBM("v", *REAL, visible=DRELU, size=n),
    coupled: lambda n: pmr.BoltzmannMachine("v", np.array([[0, 0.6], [0.6, 0]]), REAL[1], unit=pmr.Gaussian(), size=n),
}


def line(v, n):
    pm.Normal("y", v @ BETA, 0.3, observed=np.full(n, 0.8))


def rates(v, n):
    pm.Poisson("y", pt.exp(v @ BETA), observed=np.full(n, 3))


def outliers(v, n):
    pm.StudentT("y", nu=2, mu=v @ BETA, sigma=0.3, observed=np.full(n, 0.8))


def each(v, n):
    pm.Normal("y", v, 0.5, observed=np.tile(SEEN[:2], (n, 1)))


def scattered(v, n):
    pm.StudentT("y", nu=2, mu=v, sigma=0.4, observed=np.tile([1.5, -0.8], (n, 1)))


LIKELIHOODS = {
    scattered: lambda x, y: -1.5 * (np.log1p(((1.5 - x) / 0.4) ** 2 / 2) + np.log1p(((-0.8 - y) / 0.4) ** 2 / 2)),
    line: lambda x, y: normal(0.8, x + 0.7 * y, 0.3),
    rates: lambda x, y: 3 * (x + 0.7 * y) - np.exp(x + 0.7 * y),
    outliers: lambda x, y: -1.5 * np.log1p(((0.8 - x - 0.7 * y) / 0.3) ** 2 / 2),
    each: lambda x, y: normal(SEEN[0], x, 0.5) + normal(SEEN[1], y, 0.5),
}


def errors_of_real_units(machine, dependant, caution):
    """As `Dependent.errors`, counted in cells of a grid that the starts are drawn from, too; and the acceptance."""
    edges = np.linspace(-5, 5, CELLS * FINE + 1)
    middle, width = (edges[1:] + edges[:-1]) / 2, edges[1] - edges[0]
    log_p = machine(middle[:, None], middle) + LIKELIHOODS[dependant](middle[:, None], middle)
    p = np.exp(log_p - log_p.max())
    p /= p.sum()
    with pm.Model() as model:
        dependant(MACHINES[machine](REAL_ROWS), REAL_ROWS)
        step = pmr.BlockGibbs(rng=3, **quick)
    rng = np.random.default_rng(4)
    start = np.array(np.unravel_index(rng.choice(p.size, size=REAL_ROWS, p=p.ravel()), p.shape)).T
    start = middle[start] + width * (rng.uniform(size=start.shape) - 0.5)
    step.caution[:] = caution
    point, [stats] = step.step({**model.initial_point(), "v": start})
    # Cells of equal probability of each unit, so that all of them are met.
    cuts = [np.searchsorted(p.sum(axis).cumsum(), np.arange(1, CELLS) / CELLS) + 1 for axis in (1, 0)]
    cells = [np.searchsorted(edges[cut], x) for cut, x in zip(cuts, point["v"].T, strict=True)]
    where = [np.searchsorted(cut, np.arange(len(middle)), side="right") for cut in cuts]
    in_cells = np.zeros((CELLS, CELLS))
    np.add.at(in_cells, (where[0][:, None], where[1]), p)
    found = np.bincount(cells[0] * CELLS + cells[1], minlength=CELLS**2)
    return ref.total_variation(found, in_cells.ravel()) / ref.total_variation_floor(in_cells.ravel(), REAL_ROWS), stats[
        "accepted"
    ]


@pytest.mark.parametrize(
    "machine, dependant, caution",
    [
        (gaussian, line, 0),
        (gaussian, line, 0.7),
        (gaussian, rates, 0),
        (gaussian, outliers, 0.7),
        (rectified, line, 0),
        (rectified, line, 0.7),
        (two_sided, each, 0),
        (gaussian, scattered, 0),
        (rectified, scattered, 0.7),
        (coupled, line, 0),
        (coupled, outliers, 0.7),
    ],
)
def test_real_units(machine, dependant, caution):
    error, accepted = errors_of_real_units(machine, dependant, caution)
    assert error < FLOORS
    if dependant is line:  # the conditional is Gaussian, or one that is cut off
        np.testing.assert_allclose(accepted, 1, atol=1e-9)
    else:
        assert 0.05 < accepted < 0.99  # both answers come up often


@pytest.mark.parametrize("machine, dependant", [(gaussian, outliers), (rectified, outliers), (gaussian, scattered)])
def test_real_units_show_a_missing_correction(monkeypatch, machine, dependant):
    right = joint.accepts
    monkeypatch.setattr(joint, "SLOWEST", 0.0)  # small moves hide it
    monkeypatch.setattr(joint, "accepts", lambda log_ratio, rng: right(0 * log_ratio, rng))
    assert errors_of_real_units(machine, dependant, 0)[0] > 1.5 * FLOORS


def test_rectified_units_show_a_wrong_reflection(monkeypatch):
    """At a wall only the velocity of the unit that meets it is turned round, as if units were independent."""

    def alone(velocity, unit, covariance):
        return pt.where(pt.eq(pt.arange(velocity.shape[1]), unit[:, None]), -velocity, velocity)

    monkeypatch.setattr(reflections, "reflected", alone)
    assert errors_of_real_units(rectified, line, 0)[0] > 1.5 * FLOORS


def test_paths_that_meet_too_many_walls_are_refused(monkeypatch):
    monkeypatch.setattr(reflections, "most_walls", lambda n: 2)  # the second one is where the time must be over
    error, accepted = errors_of_real_units(rectified, line, 0)
    assert error < FLOORS
    assert 0.3 < accepted < 0.9  # with as many walls as are counted otherwise it is 1


def test_paths_between_walls_run_back():
    """Energy is kept, and the same path leads back when the velocity is turned round; where walls are too many, too."""
    precision = np.array([[101.0, 90.0, 2.0], [90.0, 101.0, -5.0], [2.0, -5.0, 3.0]])
    covariance, mean, n = np.linalg.inv(precision), np.array([0.3, -0.2, 0.1]), 500
    arguments = [*(pt.dmatrix() for _ in range(3)), pt.dtensor3(), pt.dvector()]
    path = pytensor.function(arguments, reflections.path(*arguments), mode="FAST_COMPILE")
    rng = np.random.default_rng(1)
    place = abs(rng.standard_normal((n, 3))) * 0.3 - mean
    velocity = rng.multivariate_normal(np.zeros(3), covariance, n)
    given = np.tile(mean, (n, 1)), np.tile(covariance, (n, 1, 1)), np.full(n, np.pi / 2)
    end, speed, left = path(place, velocity, *given)
    back, speed_back, left_back = path(end, -speed, *given)
    assert (left == 0).all()
    assert (left_back == 0).all()
    assert (end + mean).min() > 0
    np.testing.assert_allclose(back, place, atol=1e-9)
    np.testing.assert_allclose(-speed_back, velocity, atol=1e-9)
    energies = [
        ((x @ precision) * x).sum(1) + ((v @ precision) * v).sum(1) for x, v in ((place, velocity), (end, speed))
    ]
    np.testing.assert_allclose(*energies, rtol=1e-10)
    # Most have met walls: they are not where they would be without.
    free = place * np.cos(np.pi / 2) + velocity * np.sin(np.pi / 2)
    assert (abs(free - end).max(1) > 1e-6).mean() > 0.5


def test_quadratic_dependants_are_proved_to_be():
    x, data = pt.dvector("x", shape=(4,)), np.ones(2)
    effects_of = {
        True: [
            pm.logp(pm.Normal.dist(pt.dot(np.ones((2, 4)), x), 0.1), data),
            pm.logp(pm.Normal.dist(x[1:3] - x[:2], pt.exp(pt.dscalar())), data),
            pm.logp(pm.Normal.dist(x[[0, 1]] + x.reshape((2, 2)).sum(0), 0.1), data),
            -((x.sum() - 3) ** 2) + 2 * x[0] * x[1],
        ],
        False: [
            pm.logp(pm.Laplace.dist(pt.dot(np.ones((2, 4)), x), 0.1), data),
            pm.logp(pm.Poisson.dist(x.sum()), 3),
            -abs(x.sum() - 300),
            -(pt.maximum(x.sum(), 1) ** 2),
            pt.switch(pt.gt(x.sum(), 100), -(x.sum() ** 2), 0.0),
            -(x.sum() ** 4),
        ],
    }
    for expected, terms in effects_of.items():
        assert [effects.is_quadratic(x, [term]) for term in terms] == [expected] * len(terms)


GIVEN = (1, 0)
"""The hidden units."""
OWN = {
    gaussian: lambda v: -(v @ v) / 2,
    rectified: lambda v: -(v @ v) / 2,
    two_sided: lambda v: -(np.where(v > 0, 1.0, 2.5) * v**2 / 2 + 0.5 * abs(v)).sum(),
}


def numerically(machine, dependant, v, step):
    """Log target, and centre and covariance of the proposal: derivatives by differences. Units may have signs."""
    positive = abs if machine is rectified else lambda v: v
    fields = REAL[0] @ GIVEN + REAL[1]

    def effect(v):
        return LIKELIHOODS[dependant](*positive(v))

    def target(v):
        return OWN[machine](positive(v)) + fields @ positive(v) + effect(v)

    def slope(f, v, by=1e-5):
        return np.array([(f(v + by * e) - f(v - by * e)) / (2 * by) for e in np.eye(2)])

    hessian = slope(lambda v: slope(effect, v, 1e-4), v, 1e-4)
    values, vectors = np.linalg.eigh(np.eye(2) - (hessian + hessian.T) / 2)
    precision = (vectors * (values if values.min() > 0 else np.maximum(abs(values), 1))) @ vectors.T
    covariance = np.linalg.inv(precision)
    return target(v), v + step * covariance @ slope(target, v), step * (2 - step) * covariance


@pytest.mark.parametrize(
    "machine, dependant",
    [
        (machine, dependant)
        for machine, dependant in product([gaussian, rectified, two_sided], [line, rates, outliers])
        if (machine, dependant) != (rectified, line)  # which has none
    ],
)
def test_acceptance_of_real_units(machine, dependant):
    """Proposal and ratio, from which detailed balance follows, at states on all sides of the likelihood's ridge."""
    theta, n = 0.4, 25
    with pm.Model() as model:
        v = MACHINES[machine](n)
        pmr.Hidden("h", v, observed=np.tile(GIVEN, (n, 1)))
        dependant(v, n)
        block = blocks_of(model, [v])[0]
    (end, _), *_ = transitions.one_move(block, block.state, pt.random.rng(), {0: pt.constant(theta)})
    [end], [*hesitation, normal, uniform] = forced([end])
    accepted, _, log_ratio = decision_by(uniform, [end])
    # No hesitation; accepted, whatever the ratio.
    chosen = [(x, pt.zeros((n,))) for x in hesitation] + [(accepted, pt.ones((n,), dtype="bool"))]
    outputs = clone_replace([end, log_ratio], chosen)
    function = pytensor.function([model.rvs_to_values[v], normal], outputs, mode="FAST_COMPILE")
    near = {"rtol": 1e-4, "atol": 1e-4}  # what differences allow
    rng, step = np.random.default_rng(6), np.exp(-theta)
    x, z = rng.normal(size=(2, n, 2))
    x = abs(x) if machine is rectified else x
    ends, log_ratios = function(x, z)
    directions = (function(x, z + e)[0] for e in np.eye(2))
    moves = np.stack([there - ends for there in directions], axis=-1)
    for k in range(n):
        target, centre, covariance = numerically(machine, dependant, x[k], step)
        if machine is not rectified:
            np.testing.assert_allclose(moves[k] @ moves[k].T, covariance, **near)
            np.testing.assert_allclose(ends[k] - moves[k] @ z[k], centre, **near)
        new = centre + np.linalg.inv(np.linalg.cholesky(np.linalg.inv(covariance)).T) @ z[k]
        np.testing.assert_allclose(abs(new), abs(ends[k]), **near)
        back, way_back, spread_back = numerically(machine, dependant, new, step)
        q = scipy.stats.multivariate_normal
        expected = back - target + q.logpdf(x[k], way_back, spread_back) - q.logpdf(new, centre, covariance)
        np.testing.assert_allclose(log_ratios[k], expected, **near)


def test_real_units_of_several_rows_that_a_dependant_joins():
    """All entries are one Gaussian; those that are masked move given the others."""
    seen = np.ma.MaskedArray(np.full((3, 2), 0.5), [[True, False], [True, True], [False, True]])
    with pm.Model() as model:
        v = pmr.RBM("v", 0 * REAL[0], *REAL[1:], visible=pmr.Gaussian(0.7), observed=seen)
        pm.Normal("y", (v @ BETA).sum(), 0.4, observed=2.0)
        step = pmr.BlockGibbs(rng=3, **quick)
    point, draws = model.initial_point(), []
    for _ in range(150):
        point, [stats] = step.step(point)
        np.testing.assert_allclose(stats["accepted"], 1, atol=1e-9)
        draws.append(point["v_unobserved"])
    slopes = np.array([1.0, 1.0, 0.7, 0.7])
    precision = np.diag([1 / 0.49] * 4) + np.outer(slopes, slopes) / 0.16
    covariance = np.linalg.inv(precision)
    mean = covariance @ (np.array([0.4, 0.4, -0.2, -0.2]) / 0.49 + slopes * (2.0 - 0.5 * 1.7) / 0.16)
    error = np.sqrt(np.diag(covariance) / len(draws))
    np.testing.assert_array_less(abs(np.mean(draws, 0) - mean), 4.5 * error)
    apart = np.cov(np.transpose(draws)) - covariance
    scale = np.sqrt((np.outer(np.diag(covariance), np.diag(covariance)) + covariance**2) / len(draws))
    np.testing.assert_array_less(abs(apart), 4.5 * scale)


def test_real_units_come_back_from_a_tail():
    """Where a whole step of Newton's method is refused for ever."""
    with pm.Model() as model:
        v = pmr.RBM("v", *REAL, visible=pmr.Gaussian(), size=2)
        pm.Poisson("y", pt.exp(v @ BETA), observed=[2, 3])
        step = pmr.BlockGibbs(rng=3, **quick)
    point = {**model.initial_point(), "v": np.array([[4.4, 4.4], [0.5, 0.5]])}
    for _ in range(300):
        point, _ = step.step(point)
    # The rate, e^7.5 = 1772 at first, is where a count of 2 with its error of 1.4 can be.
    assert (np.exp(point["v"] @ BETA) < 30).all()


def test_real_units_that_move_without_a_hessian_are_warned_of(monkeypatch):
    def model(dependant):
        with pm.Model() as model:
            v = pmr.RBM("v", np.ones((3, 2)) / 4, np.zeros(3), np.zeros(2), visible=pmr.Gaussian())
            dependant(v)
        return model

    monkeypatch.setattr(effects, "MOST_ENTRIES", 8)
    with pytest.warns(UserWarning, match="depend on the real units of v jointly"):
        blocks_of(joined := model(lambda v: pm.Normal("y", v.sum(), 1, observed=0.5)), joined.free_RVs)
    blocks_of(apart := model(lambda v: pm.Normal("y", v, 1, observed=np.zeros(3))), apart.free_RVs)


# ------------------------------------------------------------------------------------------------ in pm.sample


IMAGE = ref.machine(12, 3, scale=0.7, seed=40)
NOISE = 0.8


@pytest.fixture(scope="module")
def posterior():
    """A noisy 4x3 image, all states of its pixels and hidden units, and their exact probabilities."""
    joint = ref.joint(*IMAGE)
    v, h = np.array(ref.states(12)), np.array(ref.states(3))
    rng = np.random.default_rng(41)
    noisy = v[rng.choice(len(v), p=joint.sum(1))] + NOISE * rng.standard_normal(12)
    likelihood = [np.exp(sum(normal(y, x, NOISE) for x, y in zip(state, noisy, strict=True))) for state in v]
    p = joint * np.array(likelihood)[:, None]
    return noisy, v, h, p / p.sum()


def denoising(noisy, **kwargs):
    v = pmr.RBM("v", *IMAGE, **kwargs)
    pmr.Hidden("h", v)
    pm.Normal("pixel", v, NOISE, observed=noisy)


@pytest.mark.slow
def test_denoising(posterior):
    """Pixels and hidden units by pm.sample, which picks the step, against all states."""
    noisy, v, h, p = posterior
    with pm.Model(coords={"place": range(12)}):
        denoising(noisy, dims="place")
        idata = pm.sample(2000, tune=100, chains=2, cores=1, random_seed=1, **SILENT)
    assert float(idata.sample_stats["accepted"].mean()) == 1
    for name, exact in (("v", p.sum(1) @ v), ("h", p.sum(0) @ h)):
        draws = idata.posterior[name]
        unit = draws.dims[-1]
        ess = np.array([float(az.ess(draws.isel({unit: i}))) for i in range(len(exact))])
        error = np.sqrt(exact * (1 - exact) / ess)
        np.testing.assert_array_less(abs(draws.mean(("chain", "draw")).values - exact), 4.5 * error)
    prior = np.exp(ref.log_p(*IMAGE)) @ v
    assert abs(p.sum(1) @ v - prior).max() > 0.2  # what a step without dependants would find


@pytest.mark.compiled
def test_denoising_from_exact_starts(posterior):
    noisy, v, h, p = posterior
    with pm.Model() as model:
        denoising(rows(noisy), size=ROWS)
        step = pmr.BlockGibbs(rng=3, **quick)
    chosen = np.unravel_index(np.random.default_rng(4).choice(p.size, size=ROWS, p=p.ravel()), p.shape)
    start = {"v": v[chosen[0]].astype("int8"), "h": h[chosen[1]].astype("int8")}
    point, _ = step.step({**model.initial_point(), **start})
    assert (point["v"] != start["v"]).mean() > 0.1
    everything = np.concatenate([np.repeat(v, len(h), axis=0), np.tile(h, (len(v), 1))], axis=1)
    ends = np.concatenate([point["v"], point["h"]], axis=1)
    for some in (slice(0, 6), slice(6, 12), slice(9, 15)):
        exact = np.bincount(ref.index(everything[:, some]), weights=p.ravel(), minlength=64)
        found = np.bincount(ref.index(ends[:, some]), minlength=64)
        assert ref.total_variation(found, exact) < FLOORS * ref.total_variation_floor(exact, ROWS)


@pytest.mark.slow
def test_free_parameters_of_dependants_beside_nuts():
    """Contrast and noise of three noisy copies of v, all unknown: against a grid, all states of v summed."""
    rng = np.random.default_rng(50)
    copies = 1.4 * np.array([1, 0, 1, 1]) + 0.9 * rng.standard_normal((3, 4))
    with pm.Model():
        v = pmr.RBM("v", W, B, C)
        contrast, noise = pm.Normal("contrast", 1, 1), pm.HalfNormal("noise", 1)
        pm.Normal("y", contrast * v, noise, observed=copies)
        idata = pm.sample(800, tune=400, chains=2, cores=1, random_seed=1, target_accept=0.9, **SILENT)
    a, s = np.meshgrid(np.linspace(-3, 5, 300), np.linspace(0.02, 4, 300), indexing="ij")
    log_p = np.array(
        [
            LOG_P[state]
            - (a - 1) ** 2 / 2
            - s**2 / 2
            + sum(normal(y, a * x, s) - np.log(s) for row in copies for x, y in zip(state, row, strict=True))
            for state in ref.states(4)
        ]
    )
    p = np.exp(log_p - log_p.max())
    p /= p.sum()
    states = np.array(ref.states(4))
    exact = [("contrast", (), a), ("noise", (), s), *(("v", (i,), states[:, i][:, None, None]) for i in range(4))]
    for name, where, values in exact:
        draws = idata.posterior[name][(..., *where)]
        mean = (p * values).sum()
        sd = np.sqrt((p * (values - mean) ** 2).sum())
        assert abs(float(draws.mean()) - mean) < 4.5 * sd / np.sqrt(float(az.ess(draws)))


# ------------------------------------------------------------------------------------------------ wrong use


def test_what_looks_at_the_machine_alone_refuses_models_with_dependants():
    with pm.Model() as model:
        v = pmr.RBM("v", W, B, C)
        h = pmr.Hidden("h", v)
        pm.Potential("y", h.sum())
    draws = xr.DataTree.from_dict({"posterior": xr.Dataset({"v": (("chain", "draw", "unit"), np.zeros((2, 4, 4)))})})
    for call in (
        lambda: pmr.inpaint([[1, np.nan, 0, 0]], model),
        lambda: pmr.sample_gibbs(model),
        lambda: pmr.diagnose(draws, model),
    ):
        with pytest.raises(
            ValueError, match=r"the machine into account, but in this model \['y'\] depend on \['h'\]. Draw from"
        ):
            call()
    with pm.Model() as model:
        pmr.Hidden("h", pmr.RBM("v", W, B, C))
    check_alone(model, "inpaint")


def test_real_units_beside_others_that_a_dependant_joins_are_refused():
    units = pmr.Beside((pmr.Bernoulli(), 2), (pmr.Gaussian(), 2))
    with pm.Model() as model:
        v = pmr.RBM("v", W, B, C, visible=units)
        pm.Normal("y", v.sum(), 1, observed=0.5)
    with pytest.raises(
        ValueError, match=r"cannot account for \['y'\], which depend on v, whose units are Beside.*finite"
    ):
        pmr.BlockGibbs(model=model)


@pytest.mark.interpreted
def test_one_row_of_real_units_beside_others():
    """Its loops give back what they take, one row, also where no rewrite of a graph finds that out."""
    W, b, c = 0.1 * np.ones((4, 2)), np.zeros(4), np.zeros(2)
    with pm.Model():
        u = pmr.RBM("u", W, b, c, visible=pmr.Gaussian(1.0), shape=(1, 4))
        r = pmr.RBM("r", W, b, c, visible=pmr.Rectified(1.0), shape=(1, 4))
        pm.Normal("y", (u**2).sum(-1), 1, observed=[3.0])
        pm.Normal("z", r.sum(-1), 1, observed=[3.0])
        draws = pm.sample(5, tune=5, chains=1, cores=1, **SILENT | {"random_seed": 1})["posterior"]
    assert draws["r"].shape == (1, 5, 1, 4)
    assert (draws["r"] >= 0).all()
