"""Layers that are coupled to themselves and layers of several families, against plain sums over states."""

from itertools import product

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
import reference as ref

import pymc_rbm as pmr
from pymc_rbm.colouring import classes_of, coloured, own_entries, unit_numbers
from pymc_rbm.enumeration import symbolic_log_partition
from pymc_rbm.gibbs import sweep
from pymc_rbm.machine import boltzmann
from pymc_rbm.paths import marginal_energy, reverse_sweep
from pymc_rbm.units import unit_of

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


def table(machine):
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
    states, energies = table(machine)
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
    states, energies = table(machine)
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
        assert abs(counts / (n // 8) - matrix.T).max() > 0.02


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
        (lambda: pmr.Beside(pmr.Bernoulli()), "pair of a unit and a number of entries, got Bernoulli"),
        (lambda: pmr.Beside((pmr.Bernoulli(), 0)), "number of entries must be a whole number of at least 1"),
        (lambda: pmr.Beside(label=(pmr.Categorical(3), 4)), "4 label entries are no whole number of Categorical"),
        (lambda: pmr.Beside((MIXED, 6)), "Beside takes no Beside"),
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
