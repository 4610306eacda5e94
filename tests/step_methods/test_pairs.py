"""Every pair of units on the two sides of a machine: one row of UNITS is a unit on either side of all others.

Exact answers are plain sums over states, or Gauss-Legendre quadrature where units are real (reference.py).
"""

from functools import lru_cache

import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
import pytest
import reference as ref
from pairs import PAIRS, UNITS, log_sums, pair_case
from scipy import stats

import pymc_rbm as pmr
from pymc_rbm.machine.enumeration import is_tractable, symbolic_log_partition
from pymc_rbm.sampling.sweep import sweep

pytestmark = pytest.mark.interpreted

pairs = pytest.mark.parametrize("pair", PAIRS, ids="-".join)


@lru_cache
@pairs
def test_energies_conditionals_and_log_z(pair):
    machine, left, right, table = pair_case(pair)
    v = np.array([x for x, _ in left], float)
    # Of the quadrature; the weight of a count is its base, and in the free energy.
    log_weight = np.array([w for _, w in left]) if machine.layers[0].unit.states is None else 0.0
    h = np.array([x for x, _ in right], float)
    x, y, k = pt.dmatrix(), pt.dmatrix(), min(5, len(v), len(h))
    log_z = symbolic_log_partition(machine) if is_tractable(machine) else pt.as_tensor(0.0)
    outputs = [
        machine.free_energy(x),
        machine.mean(1, [x, None]),
        machine.mean(0, [None, y]),
        machine.energy([x[:k], y[:k]]),
        log_z,
    ]
    free, hidden, visible, energies, log_z = pytensor.function([x, y], outputs)(v, h)
    joint = [
        ref.pair_energy(UNITS[pair[0]][1], UNITS[pair[1]][1], a, b, *parameters(machine)) - base(pair, a, b)
        for a, b in zip(v[:k], h[:k], strict=True)
    ]
    np.testing.assert_allclose(energies, joint, rtol=1e-10, atol=1e-10)
    # Nodes far out, where the range of the quadrature cuts the other side off, weigh nothing.
    seen = log_sums(table, 1) > log_sums(table, 1).max() - 8
    np.testing.assert_allclose((log_weight - free)[seen], log_sums(table, 1)[seen], rtol=1e-8, atol=1e-8)
    p = np.exp(table - log_sums(table, 1)[:, None])
    np.testing.assert_allclose(hidden[seen], (p @ h)[seen], rtol=1e-7, atol=1e-8)
    p = np.exp(table.T - log_sums(table, 0)[:, None])
    seen = log_sums(table, 0) > log_sums(table, 0).max() - 8
    np.testing.assert_allclose(visible[seen], (p @ v)[seen], rtol=1e-7, atol=1e-8)
    exact = ref.log_sum(list(table.ravel()))
    if is_tractable(machine):
        assert log_z == pytest.approx(exact, abs=1e-9)
        assert pmr.log_partition(machine, method="exact").estimate == pytest.approx(exact, abs=1e-9)
    else:
        with pytensor.config.change_flags(mode="FAST_COMPILE"):  # compiling would be all of the time
            found = pmr.log_partition(machine, method="ais", temperatures=200, random_seed=1, progressbar=False)
        assert abs(found.estimate - exact) < 5 * found.standard_error
        assert found.standard_error < 0.05


def parameters(machine):
    b, c, W = machine.parameters[:3]
    return W, b, c


def base(pair, v, h):
    """log base of the counts in a joint state, which the reference has among the weights of states."""
    counts = [(dict(ref.values(UNITS[name][1])), x) for name, x in zip(pair, (v, h), strict=True) if name == "binomial"]
    return sum(weights[(entry,)] for weights, x in counts for entry in x)


def bins(pair, left, table):
    """Probabilities of the visible states; real ones in bins of equal probability, with the bins' upper ends."""
    p = np.exp(log_sums(table, 1) - log_sums(table, 1).max())
    p /= p.sum()
    if UNITS[pair[0]][0].states is not None:
        return p, None
    nodes = np.array([x[0] for x, _ in left])
    ends = nodes[np.searchsorted(np.cumsum(p), np.arange(1, 12) / 12)]
    return p, ends


def binned(x, left, p, ends):
    if ends is None:
        index = {tuple(state): i for i, (state, _) in enumerate(left)}
        return np.bincount([index[tuple(row)] for row in x.astype(int).tolist()], minlength=len(left))
    return np.histogram(x[:, 0], np.r_[-np.inf, ends, np.inf])[0]


@pairs
def test_sweeps_leave_the_exact_distribution_as_it_is(pair):
    """Chains start from the exact distribution; 1 and 4 sweeps later they must still be there.

    A kernel whose weights are half as large again must not pass.
    """
    machine, left, _, table = pair_case(pair)
    n, rng = 40_000, np.random.default_rng(3)
    p, ends = bins(pair, left, table)
    fine = rng.choice(len(left), n, p=p)
    start = np.array([x for x, _ in left], float)[fine]
    if ends is None:
        expected = p
    else:
        # Quadrature nodes are points: the exact distribution of the bins is found on a far finer grid.
        grid = np.linspace(start.min() - 1e-9, start.max() + 1e-9, 200_001)
        x = pt.dmatrix()
        density = np.exp(-pytensor.function([x], machine.free_energy(x))(grid[:, None]))
        cdf = np.cumsum(density) / density.sum()
        expected = np.diff(np.r_[0, np.interp(ends, grid, cdf), 1])
        start = np.interp(rng.random(n), cdf, grid)[:, None]
    factor, v, generator = pt.dscalar(), pt.matrix(dtype=machine.layers[0].unit.dtype), pt.random.rng()
    b, c, W, *own = machine.parameters
    scaled = machine.with_parameters([b, c, factor * W, *own])
    (new, _), next_rng = sweep(scaled, [v, None], generator)
    run = pytensor.function([generator, v, factor], [next_rng, new])

    def distance(weights, sweeps):
        state, x = np.random.default_rng(5), start.astype(v.dtype)
        for _ in range(sweeps):
            state, x = run(state, x, weights)
        return ref.total_variation(binned(x, left, p, ends), expected)

    floor = ref.total_variation_floor(expected, n)
    assert distance(1.0, 1) < 4 * floor
    assert distance(1.0, 4) < 4 * floor
    assert distance(-2.0, 4) > 4 * floor


# -------------------------------------------------------------------------------------------------------- closed forms


@pytest.mark.slow
@pytest.mark.interpreted
@pytest.mark.parametrize("method", ["ais", "reverse_ais", "tempering"])
@pytest.mark.parametrize(
    "pair",
    [("spin", "categorical"), ("gaussian", "binomial"), ("bernoulli", "rectified"), ("drelu", "bernoulli")],
    ids="-".join,
)
def test_sampled_log_z(pair, method):
    """Each family once, by the methods that sample, against the plain sum or the quadrature."""
    machine, _, _, table = pair_case(pair)
    found = pmr.log_partition(machine, method=method, budget=20_000, random_seed=1, progressbar=False)
    error = stats.t.ppf(1 - 3e-5, found.degrees_of_freedom) * found.standard_error
    assert abs(found.estimate - ref.log_sum(list(table.ravel()))) < error < 1


def test_gaussian_pair():
    machine = pmr.restricted([[0.5]], [1.0], [-0.5], pmr.Gaussian(), pmr.Gaussian())
    assert pmr.log_partition(machine).estimate == pytest.approx(1.856718103, abs=5e-10)


@pytest.fixture(scope="module")
def mixture():
    rng = np.random.default_rng(11)
    return 2 * rng.standard_normal((2, 5)), np.array([0.3, -0.2]), rng.standard_normal(5), np.array([0.6, 0.9])


@pytest.mark.parametrize(("hidden", "log_z"), [(pmr.Categorical(5), 14.3421714), (pmr.Bernoulli(), 46.80320062)])
def test_mixture_of_gaussians_and_five_binary_units(mixture, hidden, log_z):
    W, b, c, sigma = mixture
    machine = pmr.restricted(W, b, c, pmr.Gaussian(sigma), hidden)
    assert pmr.log_partition(machine).estimate == pytest.approx(log_z, abs=5e-8)


def test_a_one_hot_hidden_unit_makes_a_mixture(mixture):
    """log p(v) is that of the mixture with means b + W_k and log-weights c_k + (|b + W_k|² - |b|²)/2σ²."""
    W, b, c, sigma = mixture
    v = np.random.default_rng(1).normal(0, 3, (7, 2))
    out = pm.logp(pmr.RBM.dist(W, b, c, visible=pmr.Gaussian(sigma), hidden=pmr.Categorical(5)), v).eval()
    means = b[:, None] + W
    log_w = c + ((means**2 - b[:, None] ** 2) / (2 * sigma[:, None] ** 2)).sum(0)
    w = np.exp(log_w - ref.log_sum(list(log_w)))
    for row, found in zip(v, out, strict=True):
        density = [
            w[k] * np.prod(np.exp(-((row - means[:, k]) ** 2) / (2 * sigma**2)) / np.sqrt(2 * np.pi) / sigma)
            for k in range(5)
        ]
        assert found == pytest.approx(np.log(sum(density)), abs=1e-10)


@pytest.mark.parametrize("unit", [pmr.Spin(), pmr.Bernoulli()], ids=repr)
def test_ising_ring(unit):
    """16 spins on a ring; a hidden unit on each bond makes the coupling ½ log cosh 2."""
    n, zero_one = 16, isinstance(unit, pmr.Bernoulli)
    W = np.zeros((n, n))
    for i in range(n):
        W[i, i] = W[(i + 1) % n, i] = 4.0 if zero_one else 1.0
    bias = np.full(n, -4.0 if zero_one else 0.0)
    log_p = pm.logp(pmr.RBM.dist(W, bias, bias, visible=unit, hidden=unit), pt.bmatrix("v"))
    v = np.array(ref.states(n), dtype="int8")
    p = np.exp(log_p.eval({"v": v if zero_one else 2 * v - 1}))
    spins = 2.0 * v - 1
    assert p.sum() == pytest.approx(1, abs=1e-9)
    assert p @ (spins[:, 0] * spins[:, 1]) == pytest.approx(0.5802134, abs=5e-8)
