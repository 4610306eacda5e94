"""log Z of coupled binary units and its derivatives by the kernel, against plain sums over all states."""

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from scipy.special import logsumexp

import pymc_rbm as pmr
from pymc_rbm.kernels.door import log_partition_by_kernel, log_z_by_kernel
from pymc_rbm.kernels.general_sums import LOW, log_z_and_moments
from pymc_rbm.machine.enumeration import is_binary, symbolic_log_partition
from pymc_rbm.support.modes import INTERPRETED

UNITS = {"bernoulli": pmr.Bernoulli(), "spin": pmr.Spin()}


def parameters(n, scale, seed=0):
    rng = np.random.default_rng([n, seed])
    U = scale * rng.normal(size=(n, n))
    return scale * rng.normal(size=n), (U + U.T) * (1 - np.eye(n))


def plainly(b, U, values=(0, 1)):
    """log Z and the moments of all pairs, by a table of all states."""
    x = np.array(np.meshgrid(*[values] * len(b), indexing="ij"), float).reshape(len(b), -1).T
    a = x @ b + np.einsum("si,ij,sj->s", x, U, x) / 2
    p = np.exp(a - logsumexp(a))
    return logsumexp(a), np.einsum("s,si,sj->ij", p, x, x), p @ x


@pytest.mark.parametrize("scale", [0.3, 3.0, 300.0])
@pytest.mark.parametrize("n", [1, 2, 5, LOW - 1, LOW, LOW + 1, LOW + 3])
def test_moments(n, scale):
    """Large fields, too, whose exponentials neither overflow nor vanish."""
    b, U = parameters(n, scale)
    value, moments = log_z_and_moments(U, b)
    expected, pairs, _ = plainly(b, U)
    assert value == pytest.approx(expected, rel=1e-13)
    np.testing.assert_allclose(moments, pairs, rtol=0, atol=1e-12)


def test_only_the_symmetric_part_counts_and_the_diagonal_is_a_bias():
    b, U = parameters(5, 1.0)
    U = U + np.triu(np.random.default_rng(3).normal(size=U.shape))
    expected, pairs, _ = plainly(b, U)
    value, moments = log_z_and_moments(U, b)
    assert value == pytest.approx(expected, rel=1e-13)
    np.testing.assert_allclose(moments, pairs, atol=1e-13)


@pytest.mark.parametrize("unit", UNITS)
def test_of_machines(unit):
    b, U = parameters(7, 0.5)
    machine = pmr.boltzmann(U, b, UNITS[unit])
    assert is_binary(machine)
    expected, pairs, means = plainly(b, U, UNITS[unit].ends)
    value, (by_b, by_U) = log_z_by_kernel(machine)
    assert value == pytest.approx(expected, rel=1e-13)
    np.testing.assert_allclose(by_b, means, atol=1e-13)
    np.testing.assert_allclose(by_U, pairs / 2, atol=1e-13)


@pytest.mark.parametrize(
    ("unit", "dtype", "mode"),
    [
        ("bernoulli", "float64", None),
        ("bernoulli", "float64", INTERPRETED),
        ("spin", "float64", INTERPRETED),
        ("spin", "float32", INTERPRETED),
    ],
)
def test_the_node_and_its_gradient_are_those_of_the_sum_as_a_graph(unit, dtype, mode):
    b, U = pt.vector(dtype=dtype, shape=(6,)), pt.matrix(dtype=dtype, shape=(6, 6))
    machine = pmr.boltzmann(np.zeros((6, 6)), np.zeros(6), UNITS[unit]).with_parameters([b, U])
    found = []
    for log_z, how in ((log_partition_by_kernel(machine), mode), (symbolic_log_partition(machine), INTERPRETED)):
        assert log_z.dtype == dtype
        outputs = [log_z, *pt.grad(log_z * pt.exp(b[0]), [b, U])]
        found.append(pytensor.function([b, U], outputs, mode=how)(*(x.astype(dtype) for x in parameters(6, 0.5))))
    for x, expected in zip(*found, strict=True):
        np.testing.assert_allclose(x, expected, rtol=0, atol=1e-10 if dtype == "float64" else 1e-5)


def test_second_derivatives_are_refused():
    b, U = pt.dvector(), pt.dmatrix()
    machine = pmr.boltzmann(np.zeros((3, 3)), np.zeros(3)).with_parameters([b, U])
    slope = pt.grad(log_partition_by_kernel(machine), b)
    with pytest.raises(NotImplementedError, match="Second derivatives of log Z are not available"):
        pt.grad(slope.sum(), b)


def test_log_z_of_a_ring_of_spins():
    """By the two eigenvalues of its transfer matrix; 22 spins, more than the rows of any table here."""
    n, K = 22, 0.7
    ring = np.roll(np.eye(n), 1, axis=1) * K
    found = pmr.log_partition(pmr.boltzmann(ring + ring.T, np.zeros(n), pmr.Spin()), method="exact", progressbar=False)
    assert found.estimate == pytest.approx(np.log((2 * np.cosh(K)) ** n + (2 * np.sinh(K)) ** n), rel=1e-13)
