"""Layers that are coupled to themselves and layers of several families, against plain sums over states."""

from itertools import product

import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
import pytest
import reference as ref
from scipy import stats

import pymc_rbm as pmr
from pymc_rbm.machine.colouring import classes_of, coloured, own_entries, unit_numbers
from pymc_rbm.machine.enumeration import symbolic_log_partition
from pymc_rbm.machine.machine import boltzmann
from pymc_rbm.partition.path_graphs import marginal_energy, reverse_sweep
from pymc_rbm.sampling.sweep import sweep
from pymc_rbm.units.unit import unit_of

pytestmark = pytest.mark.interpreted

MIXED = pmr.Beside((pmr.Bernoulli(), 2), (pmr.Spin(), 1), label=(pmr.Categorical(3), 3))


def symmetric(n, unit=None, seed=0, scale=0.8):
    """Random couplings, none between the entries of one unit."""
    U = np.triu(scale * np.random.default_rng(seed).standard_normal((n, n)), 1)
    return np.where(own_entries(unit or pmr.Bernoulli(), n), 0, U + U.T)


def ring(n, J=0.7):
    U = np.zeros((n, n))
    for i in range(n):
        U[i, (i + 1) % n] = U[(i + 1) % n, i] = J
    return U


def joint_states(unit, n):
    return [
        tuple(x for part in chosen for x in np.atleast_1d(part))
        for chosen in product(*(family.states for family, k in unit.parts(n) for _ in range(k // family.width)))
    ]


def plain_energy(U, b, x):
    pairs = sum(U[i][j] * x[i] * x[j] for i in range(len(x)) for j in range(i))
    return -pairs - sum(bi * xi for bi, xi in zip(b, x, strict=True))


SPARSE = symmetric(6, MIXED)
SPARSE[:3, :3] = 0  # only the label is coupled to the others
BIAS = np.random.default_rng(1).standard_normal(6)
MACHINES = {
    "dense": boltzmann(symmetric(5), BIAS[:5]),
    "ring of three colours": boltzmann(ring(5), BIAS[:5], pmr.Spin()),
    "ring of two colours": boltzmann(ring(6), BIAS, pmr.Spin()),
    "categorical": boltzmann(symmetric(6, pmr.Categorical(3)), BIAS, pmr.Categorical(3)),
    "mixed": boltzmann(SPARSE, BIAS, MIXED),
    "mixed, single": boltzmann(symmetric(6, MIXED), BIAS, MIXED),
}
N_CLASSES = [None, 3, 2, None, 2, None]
machines = pytest.mark.parametrize("machine", MACHINES.values(), ids=MACHINES)


def states_and_energies(machine):
    """States of a machine of one layer, and their energies by plain loops."""
    [own], [layer] = machine.couplings, machine.layers
    states = joint_states(layer.unit, len(layer.bias))
    return np.array(states, dtype=layer.unit.dtype), np.array(
        [plain_energy(own.weights, layer.bias, x) for x in states]
    )


def test_classes():
    assert [x.couplings[0].classes and len(x.couplings[0].classes) for x in MACHINES.values()] == N_CLASSES
    for machine in MACHINES.values():
        [own], [layer] = machine.couplings, machine.layers
        inside = own_entries(layer.unit, len(layer.bias))
        for entries in map(np.array, own.classes or ()):
            assert not (own.weights[np.ix_(entries, entries)] != 0).any()
            assert (inside[entries].sum(0)[entries] > 0).all()  # whole units
        if own.classes:
            assert sorted(np.concatenate(own.classes)) == list(range(len(layer.bias)))
    assert classes_of(np.ones((40, 40)), pmr.Bernoulli()) is None
    torus = np.kron(np.eye(6), ring(6)) + np.kron(ring(6), np.eye(6))
    assert len(classes_of(torus, pmr.Spin())) == 2
    shuffled = np.random.default_rng(1).permutation(36)
    assert len(classes_of(torus[np.ix_(shuffled, shuffled)], pmr.Spin())) == 2
    assert coloured(np.zeros((0, 0), bool)).size == 0


@machines
def test_energies_and_log_z(machine):
    states, energies = states_and_energies(machine)
    x = pt.matrix(dtype=machine.layers[0].unit.dtype)
    outputs = [
        machine.free_energy(x),
        machine.energy([x]),
        marginal_energy(machine, [x]),
        symbolic_log_partition(machine),
        machine.log_conditional(x, pt.arange(x.shape[0]) % machine.layers[0].unit.count(states.shape[1])),
    ]
    *found, log_z, conditional = pytensor.function([x], outputs)(states)
    for values in found:
        np.testing.assert_allclose(values, energies, rtol=1e-12, atol=1e-12)
    assert log_z == pytest.approx(ref.log_sum(list(-energies)), abs=1e-11)
    assert pmr.log_partition(machine).estimate == pytest.approx(log_z, abs=1e-11)
    # p(one unit | the others), by summing over the states that differ in that unit only.
    starts, widths, start = [], [], 0
    for family, n in machine.layers[0].unit.parts(states.shape[1]):
        for _ in range(n // family.width):
            starts.append(start)
            widths.append(family.width)
            start += family.width
    for k, state in enumerate(states):
        first, width = starts[k % len(starts)], widths[k % len(starts)]
        rest = np.ones(len(state), bool)
        rest[first : first + width] = False
        alike = (states[:, rest] == state[rest]).all(1)
        expected = -energies[k] - ref.log_sum(list(-energies[alike]))
        assert conditional[k] == pytest.approx(expected, abs=1e-11)


N = 100_000


@machines
def test_sweeps_leave_the_exact_distribution_as_it_is(machine):
    """Sweeps forwards, backwards and with held units; couplings half as large again must not pass."""
    states, energies = states_and_energies(machine)
    p = np.exp(-energies - ref.log_sum(list(-energies)))
    start = states[np.random.default_rng(3).choice(len(states), N, p=p)].astype(machine.layers[0].unit.dtype)
    factor, x, rng = pt.dscalar(), pt.matrix(dtype=start.dtype), pt.random.rng()
    b, U, *own = machine.parameters
    scaled = machine.with_parameters([b, factor * U, *own])
    number = unit_numbers(machine.layers[0].unit, len(b))
    held = np.isin(number, number[[0, -1]] if number[-1] > 1 else number[0])
    [forwards], next_rng = sweep(scaled, [x], rng)
    [backwards], _ = reverse_sweep(scaled, [x], rng)
    [clamped], _ = sweep(scaled, [x], rng, [held])
    run = pytensor.function([rng, x, factor], [next_rng, forwards, backwards, clamped])
    index = {tuple(state): i for i, state in enumerate(states.tolist())}

    def distance(x):
        return ref.total_variation(np.bincount([index[tuple(r)] for r in x.tolist()], minlength=len(states)), p)

    floor = ref.total_variation_floor(p, N)
    generator, once, back, kept = run(np.random.default_rng(5), start, 1.0)
    assert max(map(distance, (once, back, kept))) < 4 * floor
    assert (kept[:, held] == start[:, held]).all()
    assert (kept != start).any(0)[~held].all()
    for _ in range(3):
        generator, once, *_ = run(generator, once, 1.0)
    assert distance(once) < 4 * floor
    assert distance(run(generator, start, 1.5)[1]) > 4 * floor


def test_whole_transition_matrix_of_three_spins():
    """πP = π to rounding, and the reversal of the sweep is the sweep backwards: π_i P_ij = π_j R_ji."""
    U, b = symmetric(3), np.array([0.3, -0.5, 0.2])
    states = np.array(list(product((-1, 1), repeat=3)))
    pi = np.exp([-plain_energy(U, b, x) for x in states])
    pi /= pi.sum()

    def update(i):
        """The matrix of one single-site update, by plain arithmetic."""
        P = np.zeros((8, 8))
        for k, x in enumerate(states):
            up = 1 / (1 + np.exp(-2 * (b[i] + U[i] @ x)))
            for value, p in ((1, up), (-1, 1 - up)):
                y = x.copy()
                y[i] = value
                P[k, (states == y).all(1).argmax()] += p
        return P

    expected = update(0) @ update(1) @ update(2)
    np.testing.assert_allclose(pi @ expected, pi, atol=1e-14)
    machine = boltzmann(U, b, pmr.Spin())
    x, rng, n = pt.bmatrix(), pt.random.rng(), 200_000
    [forwards], next_rng = sweep(machine, [x], rng)
    [backwards], _ = sweep(machine, [x], rng, backwards=True)
    run = pytensor.function([rng, x], [next_rng, forwards, backwards])
    start = np.repeat(states, n // 8, axis=0).astype("int8")
    _, *found = run(np.random.default_rng(1), start)
    number = lambda x: ((x + 1) // 2) @ [4, 2, 1]  # noqa: E731
    for y, matrix in zip(found, (expected, (expected * pi[:, None] / pi).T), strict=True):
        counts = np.zeros((8, 8))
        np.add.at(counts, (number(start.astype(int)), number(y.astype(int))), 1)
        error = np.sqrt(matrix * (1 - matrix) / (n // 8))
        assert (abs(counts / (n // 8) - matrix) < 5 * error + 1e-12).all()
        assert (abs(counts / (n // 8) - matrix.T) > 5 * error + 1e-12).any()


# ---------------------------------------------------------------------------------------------------- several families


def test_units_beside_each_other_are_values():
    assert unit_of(repr(MIXED)) == MIXED
    assert hash(unit_of(repr(MIXED))) == hash(MIXED)
    real = pmr.Beside((pmr.Gaussian([0.5, 0.7]), 2), (pmr.Bernoulli(), 1))
    assert unit_of(repr(real.family)) == real.family
    assert real.parameter_names == ("sigma_0",)
    np.testing.assert_array_equal(real.parameters[0], [0.5, 0.7, 1.0])
    again = real.family.with_parameters([np.array([0.5, 0.7, 9.0])])
    np.testing.assert_array_equal(again.families[0][0].sigma, [0.5, 0.7])
    assert MIXED.named_parts() == {"label": slice(3, 6)}
    assert (MIXED.dtype, real.dtype, MIXED.count(6)) == ("int8", "float64", 4)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: pmr.Beside(), "at least one part"),
        (lambda: pmr.Beside(pmr.Bernoulli()), "pair of a unit and a number of entries, as .*, got Bernoulli"),
        (lambda: pmr.Beside((pmr.Bernoulli(), 0)), "number of entries must be a whole number of at least 1"),
        (lambda: pmr.Beside(label=(pmr.Categorical(3), 4)), "4 label entries are not a whole number of Categorical"),
        (lambda: pmr.Beside((MIXED, 6)), "cannot be a Beside"),
        (lambda: pmr.RBM.dist(np.zeros((5, 2)), np.zeros(5), np.zeros(2), visible=MIXED), "5 visible entries do not"),
    ],
)
def test_arguments_that_make_no_units(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_layer_of_several_families_is_what_its_parts_are():
    """A restricted machine with mixed visible units against the plain sum over both sides."""
    rng = np.random.default_rng(2)
    W, b, c = 0.7 * rng.standard_normal((6, 2)), rng.standard_normal(6), rng.standard_normal(2)
    machine = pmr.restricted(W, b, c, MIXED)
    states = np.array(joint_states(MIXED, 6), dtype="int8")
    hidden = list(product((0, 1), repeat=2))
    free = [-ref.log_sum([v @ b + np.dot(h, c) + v @ W @ h for h in hidden]) for v in states]
    x = pt.bmatrix()
    np.testing.assert_allclose(machine.free_energy(x).eval({x: states}), free, rtol=1e-12)
    assert pmr.log_partition(machine).estimate == pytest.approx(ref.log_sum([-f for f in free]), abs=1e-11)
    log_p = [-machine_part for machine_part in free]
    given_h = np.array([ref.log_sum([v @ b + v @ W @ h for v in states]) for h in hidden])
    assert ref.log_sum([g + np.dot(h, c) for g, h in zip(given_h, hidden, strict=True)]) == pytest.approx(
        ref.log_sum(log_p), abs=1e-11
    )


# ------------------------------------------------------------------------------------------------- as a random variable


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"U": np.triu(np.ones((3, 3)), 1), "b": np.zeros(3)},
            r"must be symmetric.*differ by up to 1\. Pass \(U \+ U\.T\)",
        ),
        ({"U": np.ones((3, 3)), "b": np.zeros(3)}, "zero between a unit and itself"),
        ({"U": np.zeros((3, 3)), "b": np.zeros(2)}, r"U \(3, 3\), b \(2,\)"),
        ({"U": np.full((3, 3), np.nan), "b": np.zeros(3)}, "U contains NaN"),
        ({"U": ring(3), "b": np.zeros(3), "pattern": np.zeros((3, 3))}, "not zero where pattern is"),
        ({"U": ring(3), "b": np.zeros(3), "pattern": np.eye(2)}, r"shape \(3, 3\), got shape \(2, 2\)"),
        ({"U": ring(3), "b": np.zeros(3), "unit": pmr.Categorical(2)}, "3 visible entries are not a whole number"),
        ({"U": ring(3, 0.51), "b": np.zeros(3), "unit": pmr.Gaussian()}, "cannot be normalised.*make U smaller"),
        ({"U": ring(3), "b": np.zeros(3), "shape": (2, 4)}, r"\[2, 4\] does not fit U \(3, 3\)"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        pmr.BoltzmannMachine.dist(**arguments)


def test_gaussian_units_are_a_multivariate_normal():
    """With σ = 1, x ~ MvNormal((I - U)⁻¹ b, (I - U)⁻¹)."""
    U, b, x = ring(4, 0.4), BIAS[:4], np.array([[0.3, -1.0, 0.2, 2.0]])
    covariance = np.linalg.inv(np.eye(4) - U)
    log_p = pm.logp(pmr.BoltzmannMachine.dist(U, b, unit=pmr.Gaussian()), x).eval()
    expected = stats.multivariate_normal(covariance @ b, covariance).logpdf(x[0])
    assert log_p == pytest.approx(expected, abs=1e-10)


def test_random_couplings_are_made_symmetric():
    """The density is that of (U + Uᵀ)/2 with zeros outside of the pattern; a Hidden variable is refused."""
    U, pattern = np.random.default_rng(1).standard_normal((5, 5)), ring(5) != 0
    with pm.Model() as model:
        x = pmr.BoltzmannMachine("x", pm.Normal("U", shape=(5, 5)), BIAS[:5], pattern=pattern)
        with pytest.raises(ValueError, match="has no hidden layer"):
            pmr.Hidden("h", x)
    assert len(pmr.machine_of(pm.do(model, {"U": U})).couplings[0].classes) == 3
    S = np.where(pattern, (U + U.T) / 2, 0)
    states = joint_states(pmr.Bernoulli(), 5)
    energies = np.array([plain_energy(S, BIAS[:5], v) for v in states])
    log_p = model.compile_logp(vars=[x])
    found = [log_p({"U": U, "x": np.array(v, "int8")}) for v in states]
    np.testing.assert_allclose(found, -energies - ref.log_sum(list(-energies)), atol=1e-10)


TORUS = np.log(1 + np.sqrt(2)) / 2 * (np.kron(np.eye(8), ring(8, 1.0)) + np.kron(ring(8, 1.0), np.eye(8)))


@pytest.mark.slow
def test_ising_torus():
    """8x8 at the critical temperature, in two blocks, against Kaufman's (1949) closed form."""
    machine = pmr.boltzmann(TORUS, np.zeros(64), pmr.Spin())
    assert len(machine.couplings[0].classes) == 2
    found = pmr.log_partition(machine, method="ais", temperatures=1000, random_seed=1, progressbar=False)
    assert abs(found.estimate - kaufman(8, TORUS.max())) < 5 * found.standard_error
    assert found.standard_error < 0.2


def on_bonds(bonds, K, bias):
    """Units 0 or 1, the hidden ones on the bonds among them: one layer with the couplings of an Ising machine.

    Two ends of a bond, in units of 0 and 1, meet its hidden unit with 4K each; ``bias`` is that of each end.
    """
    n, m = bonds.max() + 1, len(bonds)
    U, b = np.zeros((n + m, n + m)), np.zeros(n + m)
    for k, ends in enumerate(bonds):
        U[n + k, ends] = U[ends, n + k] = 4 * K
        b[n + k] = -4 * K
        b[ends] += bias
    return pmr.boltzmann(U, b)


def lattice(n):
    sites = np.arange(n * n).reshape(n, n)
    return np.concatenate([np.stack([sites, np.roll(sites, -1, axis)], -1).reshape(-1, 2) for axis in (0, 1)])


@pytest.mark.slow
def test_ising_ring_of_16():
    """Spins alone, J = ½ log cosh 2: Z = (2 cosh J)¹⁶ + (2 sinh J)¹⁶, and the correlation of neighbours."""
    J = np.log(np.cosh(2.0)) / 2
    machine = pmr.boltzmann(ring(16, J), np.zeros(16), pmr.Spin())
    log_z = np.logaddexp(16 * np.log(2 * np.cosh(J)), 16 * np.log(2 * np.sinh(J)))
    assert pmr.log_partition(machine).estimate == pytest.approx(log_z, abs=1e-10)
    states = np.array(list(product((-1, 1), repeat=16)), "int8")
    x = pt.bmatrix()
    p = np.exp(-machine.free_energy(x).eval({x: states}, mode="FAST_COMPILE") - log_z)
    assert p.sum() == pytest.approx(1, abs=1e-9)
    assert p @ (states[:, 0] * states[:, 1]) == pytest.approx(0.5802134, abs=5e-8)
    draws = pmr.sample_gibbs(machine, draws=500, tune=100, chains=40, random_seed=1, progressbar=False)
    products = (lambda s: (s * np.roll(s, 1, -1)).mean(-1))(draws["posterior"]["v"].values.astype(float))
    by_chain = products.mean(1)
    assert abs(by_chain.mean() - 0.5802134) < 5 * by_chain.std(ddof=1) / np.sqrt(40)
    assert abs(by_chain.mean() - np.tanh(2 * J)) > 5 * by_chain.std(ddof=1) / np.sqrt(40)  # pairs counted twice
    found = pmr.log_partition(machine, method="ais", temperatures=200, random_seed=1, progressbar=False)
    assert abs(found.estimate - log_z) < 5 * found.standard_error
    assert found.standard_error < 0.1


@pytest.mark.slow
@pytest.mark.parametrize(("n", "log_z", "temperatures"), [(8, 9.615451776, 1000), (10, 14.66291143, 3000)])
def test_ising_torus_with_a_hidden_unit_on_each_bond(n, log_z, temperatures):
    """At the critical temperature, units 0 and 1, all in one layer: the colouring finds sites and bonds."""
    K = np.arccosh(np.exp(np.log(1 + np.sqrt(2)))) / 2  # cosh 2K = exp(2J)
    machine = on_bonds(lattice(n), K, -2 * K)
    assert (len(machine.layers[0].bias), len(machine.couplings[0].classes)) == (3 * n * n, 2)
    found = pmr.log_partition(machine, method="ais", temperatures=temperatures, random_seed=1, progressbar=False)
    assert abs(found.estimate - log_z) < 5 * found.standard_error
    assert found.standard_error < 0.3


def test_mixtures_and_five_binary_units_in_one_layer():
    """Two Gaussian and five binary units, or one of five values: the machines of two layers, written as one."""
    rng = np.random.default_rng(11)
    W, b = 2 * rng.standard_normal((2, 5)), np.array([0.3, -0.2])
    c, sigma = rng.standard_normal(5), np.array([0.6, 0.9])
    U = np.zeros((7, 7))
    U[:2, 2:], U[2:, :2] = W, W.T
    for unit, log_z in ((pmr.Categorical(5), 14.3421714), (pmr.Bernoulli(), 46.80320062)):
        both = pmr.Beside((pmr.Gaussian(sigma), 2), (unit, 5))
        machine = pmr.boltzmann(U, np.r_[b, c], both)
        found = pmr.log_partition(machine, method="ais", temperatures=1000, random_seed=1, progressbar=False)
        assert abs(found.estimate - log_z) < 5 * found.standard_error, unit
        assert found.standard_error < 0.5


def kaufman(n, K):
    """log Z of the n x n Ising torus (Kaufman 1949)."""
    gamma = [0.0] * (2 * n)
    for k in range(2 * n):
        c = np.cosh(2 * K) ** 2 / np.sinh(2 * K) - np.cos(np.pi * k / n)
        gamma[k] = np.arccosh(max(c, 1.0)) if k else 2 * K + np.log(np.tanh(K))
    odd, even = np.array(gamma[1::2]), np.array(gamma[0::2])
    terms = [
        np.prod(2 * np.cosh(n * odd / 2)),
        np.prod(2 * np.sinh(n * odd / 2)),
        np.prod(2 * np.cosh(n * even / 2)),
        np.prod(2 * np.sinh(n * even / 2)),
    ]
    return n * n / 2 * np.log(2 * np.sinh(2 * K)) - np.log(2) + np.log(sum(terms))


def test_ising_torus_small_by_enumeration():
    """Kaufman's formula, and the machine's own log Z, against the plain sum on 4x4."""
    U = 0.3 * (np.kron(np.eye(4), ring(4, 1.0)) + np.kron(ring(4, 1.0), np.eye(4)))
    exact = pmr.log_partition(pmr.boltzmann(U, np.zeros(16), pmr.Spin())).estimate
    assert kaufman(4, 0.3) == pytest.approx(exact, abs=1e-9)


@pytest.mark.slow
def test_learning_with_hidden_units_ends_where_the_exact_gradient_is_zero():
    """Five visible and two hidden units, both phases sampled: slopes of the exact likelihood, by plain differences."""
    rng = np.random.default_rng(8)
    n, k, N = 5, 2, 200
    data = (rng.random((N, 1)) < 0.5) ^ (rng.random((N, n)) < 0.2)
    padded = np.ma.MaskedArray(np.c_[data, np.zeros((N, k))], np.repeat([[False] * n + [True] * k], N, axis=0))
    with pm.Model():
        U, b = pm.Normal("U", 0, 1, shape=(n + k, n + k)), pm.Normal("b", 0, 1, shape=n + k)
        with pytest.warns(pm.exceptions.ImputationWarning):
            pmr.BoltzmannMachine("x", U, b, observed=padded)
        learned = pmr.fit(1500, learning_rate=0.1, batch_size=None, chains=200, random_seed=1, progressbar=False)
    states = np.array(joint_states(pmr.Bernoulli(), n + k))
    visible, seen = ref.index(states[:, :n]), np.bincount(ref.index(data.astype(int)), minlength=2**n) / N

    def objective(U, b):
        S = (U + U.T) / 2
        np.fill_diagonal(S, 0)
        weight = np.exp((states @ S * states).sum(1) / 2 + states @ b)
        p = np.bincount(visible, weight)
        return seen @ np.log(p / weight.sum()) - ((U**2).sum() + (b**2).sum()) / (2 * N)

    def slope(values, direction, eps=1e-4):
        ends = [objective(*(x + s * eps * d for x, d in zip(values, direction, strict=True))) for s in (-1, 1)]
        return abs(ends[1] - ends[0]) / (2 * eps)

    found = [pmr.averaged(learned)["parameters"][name].values for name in ("U", "b")]
    for _ in range(3):
        direction = [rng.standard_normal(x.shape) for x in found]
        direction = [x / np.sqrt(sum((d**2).sum() for d in direction)) for x in direction]
        # A tenth of the standard error that a mean of so few rows has.
        assert slope(found, direction) < 0.1 / np.sqrt(N)
        beside = [x + d for x, d in zip(found, direction, strict=True)]
        assert slope(beside, direction) > 0.1 / np.sqrt(N)
    gain = objective(*found) - objective(np.zeros((n + k, n + k)), found[1])
    assert 2 * N * gain > stats.chi2.isf(1e-6, (n + k) * (n + k - 1) // 2)  # the likelihood-ratio test of all couplings
