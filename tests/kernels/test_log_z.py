"""log Z inside graphs: by a kernel up to 20 binary units, else by halves, and any derivative as a graph."""

import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
import pytest
from pytensor.compile.mode import get_default_mode
from scipy.special import expit, logsumexp

import pymc_rbm as pmr
from pymc_rbm.kernels.operations import BinaryLogZ, GeneralLogZ
from pymc_rbm.machine import enumeration
from pymc_rbm.machine.enumeration import ENUMERABLE_BY_KERNEL, IntractableError, symbolic_log_partition
from pymc_rbm.support.modes import INTERPRETED

UNITS = {"bernoulli": pmr.Bernoulli(), "spin": pmr.Spin()}
PORTABLE = get_default_mode().excluding("rbm_kernels")
MORE = 17


def states(n, unit="bernoulli"):
    bits = (np.arange(2**n)[:, None] >> np.arange(n)) & 1
    return bits if unit == "bernoulli" else 2 * bits - 1


def symbolic(machine):
    inputs = [pt.tensor(dtype="float64", shape=np.shape(p)) for p in machine.parameters]
    return symbolic_log_partition(machine.with_parameters(inputs)), inputs


def kinds(function):
    return {type(node.op) for node in function.maker.fgraph.apply_nodes}


def test_a_network_of_17_items_has_a_log_density_and_a_gradient():
    """Under a prior it was "intractable" from 17 units on. By a table of all states."""
    rng, (i, j) = np.random.default_rng(1), np.triu_indices(MORE, 1)
    rows = (rng.random((40, MORE)) < 0.4).astype("int8")
    with pm.Model() as model:
        theta, mu = pm.Normal("theta", 0, 1, shape=len(i)), pm.Flat("mu", shape=MORE)
        U = pt.zeros((MORE, MORE))[i, j].set(theta)
        pmr.BoltzmannMachine("x", U + U.T, mu, observed=rows)
    at = {"theta": 0.3 * rng.normal(size=len(i)), "mu": rng.normal(size=MORE)}
    x = states(MORE)
    pairs = x[:, i] * x[:, j]
    a = pairs @ at["theta"] + x @ at["mu"]
    p = np.exp(a - logsumexp(a))
    expected = (rows[:, i] * rows[:, j]).sum(0) @ at["theta"] + rows.sum(0) @ at["mu"] - 40 * logsumexp(a)
    by_theta = (rows[:, i] * rows[:, j]).sum(0) - 40 * p @ pairs - at["theta"]
    slopes = model.compile_dlogp()(at)
    assert model.compile_logp(sum=False)(at)[-1].sum() == pytest.approx(expected, rel=1e-12)
    np.testing.assert_allclose(slopes, np.concatenate([by_theta, rows.sum(0) - 40 * p @ x]), rtol=0, atol=1e-10)


@pytest.mark.numba
@pytest.mark.parametrize(("unit", "swapped"), [("bernoulli", False), ("spin", True)])
def test_a_pair_of_layers_by_kernel_and_by_halves(unit, swapped):
    """The layer that is summed is the smaller one, on either side; the other one's product is a sum over its units."""
    rng, n, m = np.random.default_rng(2), MORE + 2, MORE
    W, b, c = 0.3 * rng.normal(size=(n, m)), rng.normal(size=n), rng.normal(size=m)
    h, other = states(m, unit), UNITS[unit]
    field = h @ W.T + b
    a = h @ c + (np.logaddexp(0, field) if unit == "bernoulli" else np.logaddexp(field, -field)).sum(1)
    p, means = np.exp(a - logsumexp(a)), expit(field) if unit == "bernoulli" else np.tanh(field)
    slopes = [p @ means, p @ h, (means * p[:, None]).T @ h]
    machine = pmr.restricted(W, b, c, other, other)
    if swapped:
        machine, slopes = pmr.restricted(W.T, c, b, other, other), [slopes[1], slopes[0], slopes[2].T]
    log_z, inputs = symbolic(machine)
    for mode in (None, PORTABLE):
        function = pytensor.function(inputs, [log_z, *pt.grad(log_z, inputs)], mode=mode)
        assert (BinaryLogZ in kinds(function)) == (mode is None)
        value, *found = function(*machine.parameters)
        assert value == pytest.approx(logsumexp(a), rel=1e-13)
        for x, expected in zip(found, slopes, strict=True):
            np.testing.assert_allclose(x, expected, atol=1e-12)


@pytest.mark.numba
@pytest.mark.parametrize("unit", UNITS)
def test_one_layer_by_kernel_and_by_halves(unit):
    rng = np.random.default_rng(3)
    U, b = 0.3 * rng.normal(size=(MORE, MORE)), rng.normal(size=MORE)
    U = (U + U.T) * (1 - np.eye(MORE))
    x = states(MORE, unit)
    a = x @ b + ((x @ U) * x).sum(1) / 2
    p = np.exp(a - logsumexp(a))
    machine = pmr.boltzmann(U, b, UNITS[unit])
    log_z, inputs = symbolic(machine)
    for mode in (None, INTERPRETED, PORTABLE):
        function = pytensor.function(inputs, [log_z, *pt.grad(log_z, inputs)], mode=mode)
        assert (GeneralLogZ in kinds(function)) == (mode is not PORTABLE)
        value, by_b, by_U = function(*machine.parameters)
        assert value == pytest.approx(logsumexp(a), rel=1e-13)
        np.testing.assert_allclose(by_b, p @ x, atol=1e-12)
        np.testing.assert_allclose(by_U, (x * p[:, None]).T @ x / 2, atol=1e-12)


TIED = {
    "b depends on W": lambda b, c, W: [b - W.sum(1) / 2, c, W],
    "c is b": lambda b, c, W: [b, b, W],
    "W depends on b": lambda b, c, W: [b, 2 * c, W * b[:, None] + c],
}


@pytest.mark.numba
@pytest.mark.parametrize("how", TIED)
@pytest.mark.parametrize("mode", [None, INTERPRETED])
def test_parameters_that_depend_on_each_other(how, mode):
    """Each path counts once: by differences of the value."""
    rng, shapes = np.random.default_rng(5), ((3,), (3,), (3, 3))
    inputs, at = [pt.tensor(dtype="float64", shape=x) for x in shapes], [0.5 * rng.normal(size=x) for x in shapes]
    machine = pmr.restricted(np.zeros((3, 3)), np.zeros(3), np.zeros(3))
    log_z = symbolic_log_partition(machine.with_parameters(TIED[how](*inputs)))
    slopes = pt.grad(log_z, inputs, disconnected_inputs="ignore")
    function = pytensor.function(inputs, [log_z, *slopes], mode=mode, on_unused_input="ignore")
    assert sum(isinstance(node.op, BinaryLogZ) for node in function.maker.fgraph.apply_nodes) == (mode is None)
    _, *found = function(*at)
    for k, x in enumerate(at):
        for i in np.ndindex(x.shape):
            ends = []
            for step in (1e-5, -1e-5):
                moved = [y.copy() for y in at]
                moved[k][i] += step
                ends.append(function(*moved)[0])
            assert found[k][i] == pytest.approx((ends[0] - ends[1]) / 2e-5, abs=1e-8)


def test_without_kernels_none_is_used():
    log_z, inputs = symbolic(pmr.boltzmann(np.zeros((MORE, MORE)), np.zeros(MORE)))
    for mode, expected in ((INTERPRETED, True), (INTERPRETED.excluding("rbm_kernels"), False)):
        assert (GeneralLogZ in kinds(pytensor.function(inputs, log_z, mode=mode))) == expected


def test_second_derivatives_are_covariances():
    W, b, c = (0.5 * np.random.default_rng(4).normal(size=shape) for shape in ((3, 2), 3, 2))
    log_z, inputs = symbolic(pmr.restricted(W, b, c))
    found = pytensor.function(inputs, pt.hessian(log_z, inputs[0]))(b, c, W)
    v = states(3)
    a = v @ b + np.logaddexp(0, v @ W + c).sum(1)
    np.testing.assert_allclose(found, np.cov(v.T, aweights=np.exp(a - logsumexp(a)), ddof=0), atol=1e-12)


def test_more_units_are_refused_in_words():
    n = ENUMERABLE_BY_KERNEL + 1
    log_z, inputs = symbolic(pmr.boltzmann(np.zeros((n, n)), np.zeros(n)))
    with pytest.raises(IntractableError, match=r"at most 16 binary units \(20, if all units are Bernoulli or Spin"):
        pytensor.function(inputs, log_z)(np.zeros(n), np.zeros((n, n)))
    assert enumeration.is_tractable(pmr.boltzmann(np.zeros((n - 1, n - 1)), np.zeros(n - 1)))
    assert not enumeration.is_tractable(pmr.restricted(np.zeros((17, 17)), np.zeros(17), np.zeros(17), pmr.Gaussian()))
