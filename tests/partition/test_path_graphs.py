"""Walks along temperatures, by kernel and by the graph that defines them, against plain sums."""

import numpy as np
import pytensor
import pytest
import reference as ref

import pymc_rbm as pmr
from pymc_rbm.kernels import walk
from pymc_rbm.kernels.operations import LevelsKernel, WalkKernel
from pymc_rbm.partition import path_graphs as walks
from pymc_rbm.partition.estimate import log_mean_exp
from pymc_rbm.partition.path import Path
from pymc_rbm.partition.path_graphs import walkable

SIZES = 4, 3
BETA = 0.6
FLOORS = 4
UNITS = {"bernoulli": pmr.Bernoulli(), "spin": pmr.Spin()}
KINDS = {
    "kernel": ("float64", ("bernoulli", "bernoulli")),
    "float32": ("float32", ("bernoulli", "bernoulli")),
    "spins": ("float64", ("spin", "spin")),
    "mixed": ("float32", ("bernoulli", "spin")),
    "graph": ("float64", ("spin", "bernoulli")),
}


def ops(function):
    return {type(node.op) for node in function.maker.fgraph.apply_nodes}


@pytest.fixture(scope="module", params=[pytest.param(x, marks=[pytest.mark.numba] * (x != "graph")) for x in KINDS])
def case(request):
    """A path, and log p(v, h) of its machine at β; "graph" is compiled without the kernel."""
    dtype, units = KINDS[request.param]
    W, b, c = (x.astype(dtype) for x in ref.machine(*SIZES, 1.5, seed=3))
    base = np.array([0.4, -0.8, 0.1, 1.1], dtype), np.array([-0.5, 0.3, 0.9], dtype)
    path = Path(walkable(pmr.restricted(W, b, c, *(UNITS[x] for x in units))), base)
    assert path.dtype == dtype

    def log_joint(beta):
        mixed = beta * W, (1 - beta) * base[0] + beta * b, (1 - beta) * base[1] + beta * c
        left, _, log_p = ref.pair_log_joint((units[0], None), (units[1], None), *mixed, SIZES)
        return np.array([x for x, _ in left]), log_p

    graph = request.param == "graph"
    mode = pytensor.compile.get_default_mode().excluding(*["rbm_kernels"][: int(graph)])
    with pytensor.config.change_flags(mode=mode):
        functions = [walks.walk_function(path.template, False, reverse, dtype) for reverse in (False, True)]
        functions.append(walks.levels_function(path.template, dtype))
        assert all(bool(ops(x) & {WalkKernel, LevelsKernel}) != graph for x in functions)
        yield path, log_joint


def free_energies(log_joint, beta, v):
    left, log_p = log_joint(beta)
    found = [-ref.log_sum(row) for row in log_p.tolist()]
    return np.array([found[np.flatnonzero((left == x).all(1))[0]] for x in v])


@pytest.mark.parametrize("reverse", [False, True])
def test_increments_are_differences_of_free_energies(case, reverse):
    """Of the state before the sweep, in reverse of that after it; rows beyond a whole tile of them, too."""
    path, log_joint = case
    rng = np.random.default_rng(1)
    start = path.base_states(rng, walk.ROWS + 5)
    states, previous = start, 0.9 if reverse else 0.2
    for beta in (0.5, 0.0) if reverse else (0.7, 1.0):
        new, [increments] = path.walk(rng, np.array([previous, beta]), states, reverse)
        at = new[0] if reverse else states[0]
        before, after = (free_energies(log_joint, x, at[-40:]) for x in (previous, beta))
        np.testing.assert_allclose(increments[-40:], before - after, atol=1e-5 if path.dtype == "float32" else 1e-12)
        assert (new[0] != states[0]).any()
        states, previous = new, beta
    assert (start[0] == Path(path.machine, path.base).base_states(np.random.default_rng(1), len(start[0]))[0]).all()


@pytest.mark.parametrize("reverse", [False, True])
def test_a_walk_at_one_temperature_is_stationary(case, reverse):
    """From exact draws at β; a walk at another temperature, or from another base, would be seen."""
    path, log_joint = case
    left, log_p = log_joint(BETA)
    p = np.exp([ref.log_sum(row) for row in log_p.tolist()])
    p /= p.sum()
    n, rng = 20_000, np.random.default_rng(2)

    def errors(walked, beta):
        found = []
        for sweeps in (1, 5):
            start = [left[rng.choice(len(left), n, p=p)].astype("int8")]
            [v], increments = walked.walk(rng, np.full(sweeps + 1, beta), start, reverse)
            assert np.abs(increments).max() < 1e-12
            found.append(ref.total_variation(np.bincount(ref.index(v > 0), minlength=len(left)), p))
        return np.array(found) / ref.total_variation_floor(p, n)

    assert (errors(path, BETA) < FLOORS).all()
    assert errors(path, 0.75)[-1] > FLOORS
    for layer in (0, 1):
        base = [x + 2 * (i == layer) for i, x in enumerate(path.base)]
        assert errors(Path(path.machine, tuple(base)), BETA)[-1] > FLOORS


def test_levels_are_stationary_and_know_their_neighbours(case):
    """Each level from exact draws of its own; steps are differences of free energies of the states that come back."""
    path, log_joint = case
    betas, n, rng = np.array([0.0, 0.5, 1.0]), 20_000, np.random.default_rng(4)
    p = []
    for beta in betas:
        left, log_p = log_joint(beta)
        weights = np.exp([ref.log_sum(row) for row in log_p.tolist()])
        p.append(weights / weights.sum())
    states = np.array([left[rng.choice(len(left), n, p=x)] for x in p], "int8")
    before = states.copy()
    for _ in range(2):
        [states], down, up = path.sweep_levels(rng, betas, [states])

    def errors(order):
        counts = [np.bincount(ref.index(x > 0), minlength=len(left)) for x in states]
        pairs = zip(counts, (p[k] for k in order), strict=True)
        return np.array([ref.total_variation(x, q) / ref.total_variation_floor(q, n) for x, q in pairs])

    assert (errors([0, 1, 2]) < FLOORS).all()
    assert (errors([1, 2, 0]) > FLOORS).all()  # what it would look like if levels were mixed up
    assert (states != before).any()
    rounding = 1e-5 if path.dtype == "float32" else 1e-12
    for k, here in enumerate(betas):
        own = free_energies(log_joint, here, states[k, -40:])
        for found, there in ((down, betas[max(k - 1, 0)]), (up, betas[min(k + 1, 2)])):
            np.testing.assert_allclose(
                found[k, -40:], free_energies(log_joint, there, states[k, -40:]) - own, atol=rounding
            )


def test_the_weights_have_mean_z(case):
    """Forward from base draws, with temperatures so few that the weights matter; without one increment it is seen."""
    path, log_joint = case
    _, log_p = log_joint(1.0)
    rng = np.random.default_rng(3)
    _, increments = path.walk(rng, np.linspace(0, 1, 4), path.base_states(rng, 40_000), False)
    log_z, error = log_mean_exp(path.log_z_base + increments.sum(0))
    exact = ref.log_sum(log_p.ravel().tolist())
    assert abs(log_z - exact) < 4 * error
    assert abs(log_mean_exp(path.log_z_base + increments[1:].sum(0))[0] - exact) > 10 * error


def test_who_walks_by_kernel():
    """Two binary layers whose rows share their parameters; single precision only where all of them have it."""
    W, b, c = (x.astype("float32") for x in ref.machine(*SIZES, 1.0, seed=1))
    assert walkable(pmr.restricted(W, b, c)).dtype == "float32"
    assert walkable(pmr.restricted(W, b, c.astype(float))).dtype == "float64"
    assert walkable(pmr.restricted(W, b, c, hidden=pmr.Categorical(3))).dtype == "float64"
    template = pmr.restricted(W, b, c).template
    rows = walks.walk_function(template, True, False, "float64")
    assert WalkKernel not in ops(rows)
    with pytensor.config.change_flags(mode=pytensor.compile.get_default_mode().excluding("rbm_kernels")):
        assert WalkKernel not in ops(walks.walk_function(template, False, False, "float32"))
