import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
import reference as ref

import pymc_rbm as pmr
from pymc_rbm.machine.machine import Coupling, Layer, Machine

pytestmark = pytest.mark.interpreted

SIZES = [(3, 2), (2, 4), (1, 1), (5, 3)]


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("scale", [1.0, 60.0])
def test_energy_and_free_energy_against_loops(sizes, scale):
    W, b, c = ref.machine(*sizes, scale=scale)
    v, h = np.array(ref.states(sizes[0])), np.array(ref.states(sizes[1]))
    energies = pmr.energy(v[:, None], h[None], W, b, c)
    expected = [[ref.energy(x, y, W, b, c) for y in h] for x in v]
    np.testing.assert_allclose(energies, expected, rtol=1e-10, atol=1e-10)
    free = [-ref.log_sum([-ref.energy(x, y, W, b, c) for y in h]) for x in v]
    np.testing.assert_allclose(pmr.free_energy(v, W, b, c), free, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("scale", [1.0, 60.0])
def test_conditionals_against_loops(scale):
    W, b, c = ref.machine(4, 3, scale=scale, seed=3)
    v, h = np.array(ref.states(4)), np.array(ref.states(3))
    log_joint = np.array([[-ref.energy(x, y, W, b, c) for y in h] for x in v])
    p = np.exp(log_joint - log_joint.max(1, keepdims=True))
    np.testing.assert_allclose(pmr.conditional_hidden(v, W, c), p @ h / p.sum(1, keepdims=True), rtol=1e-10, atol=1e-10)
    p = np.exp(log_joint - log_joint.max(0, keepdims=True))
    np.testing.assert_allclose(pmr.conditional_visible(h, W, b), p.T @ v / p.sum(0)[:, None], rtol=1e-10, atol=1e-10)


def test_weights_of_sixty_do_not_overflow():
    W, b, c = np.full((8, 5), 60.0), np.full(8, -60.0), np.full(5, 60.0)
    v = np.array(ref.states(8))
    for signs in (1, -1):
        assert np.isfinite(pmr.free_energy(v, signs * W, b, c)).all()
        hidden = pmr.conditional_hidden(v, signs * W, c)
        assert ((hidden >= 0) & (hidden <= 1)).all()


def test_symbolic_in_symbolic_out_and_types():
    W, b, c = ref.machine(4, 3)
    v = np.eye(4, dtype="int8")
    symbolic = pt.dmatrix("W")
    out = pmr.free_energy(v, symbolic, b, c)
    np.testing.assert_allclose(out.eval({symbolic: W}), pmr.free_energy(v, W, b, c), rtol=1e-12)
    single = [x.astype("float32") for x in (W, b, c)]
    assert pmr.free_energy(v, *single).dtype == np.float32
    assert pmr.free_energy(v, W, b, c).dtype == np.float64
    assert pmr.free_energy(v.tolist(), W.tolist(), b.tolist(), c.tolist()).shape == (4,)
    assert np.ndim(pmr.free_energy(v[0], W, b, c)) == 0


def test_mean_field_takes_probabilities():
    W, _, c = ref.machine(4, 3)
    v = np.full((2, 4), 0.25)
    np.testing.assert_allclose(pmr.conditional_hidden(v, W, c), 1 / (1 + np.exp(-(c + v @ W))), rtol=1e-12)


def test_interpolation_is_linear_in_the_energy():
    W, b, c = ref.machine(3, 2)
    machine = pmr.restricted(W, b, c)
    base = Machine((Layer(pmr.Bernoulli(), b + 1), Layer(pmr.Bernoulli(), np.zeros(2))), ())
    state = [np.array([1, 0, 1]), np.array([0, 1])]
    mixed = machine.interpolate(base, 0.3).energy(state).eval()
    expected = 0.7 * base.energy(state).eval() + 0.3 * machine.energy(state).eval()
    np.testing.assert_allclose(mixed, expected, rtol=1e-12)


def test_blocks_are_independent_groups():
    layer = Layer(pmr.Bernoulli(), np.zeros(2))
    chain = [Coupling(i, i + 1, np.zeros((2, 2))) for i in range(3)]
    assert pmr.restricted(np.zeros((2, 2)), np.zeros(2), np.zeros(2)).blocks() == [[1], [0]]
    assert Machine((layer,) * 4, tuple(chain)).blocks() == [[3, 1], [2, 0]]
    triangle = (*chain[:2], Coupling(0, 2, np.zeros((2, 2))))
    assert Machine((layer,) * 3, triangle).blocks() == [[2], [1], [0]]
    assert Machine((layer,) * 3, triangle).blocks(last=2) == [[1], [0], [2]]
    assert Machine((layer,) * 4, tuple(chain)).blocks(last=3) == [[2, 0], [3, 1]]


def test_free_energy_refuses_coupled_hidden_layers():
    layer = Layer(pmr.Bernoulli(), np.zeros(2))
    deep = Machine((layer,) * 3, tuple(Coupling(i, i + 1, np.zeros((2, 2))) for i in range(2)))
    with pytest.raises(ValueError, match="not coupled"):
        deep.free_energy(np.zeros(2))


def test_log_conditional_against_loops():
    W, b, c = ref.machine(4, 3, seed=5)
    v = np.array(ref.states(4))
    p = dict(zip(map(tuple, v), np.exp(ref.log_p(W, b, c)), strict=True))
    for unit in range(4):
        out = pmr.restricted(W, b, c).log_conditional(v, np.full(len(v), unit)).eval()
        for x, value in zip(v, out, strict=True):
            other = x.copy()
            other[unit] = 1 - other[unit]
            assert value == pytest.approx(np.log(p[tuple(x)] / (p[tuple(x)] + p[tuple(other)])), abs=1e-10)


def test_hidden_mean_keeps_dims_and_coords():
    W, b, c = ref.machine(64, 5, scale=0.1)
    digits = pmr.datasets.digits()[:7]
    features = pmr.hidden_mean(digits, pmr.restricted(W, b, c), dim="unit")
    assert features.dims == ("image", "unit")
    np.testing.assert_array_equal(features.label, digits.label)
    np.testing.assert_allclose(features, pmr.conditional_hidden(digits.values, W, c), rtol=1e-12)
    assert pmr.hidden_mean(digits.values, pmr.RBM.dist(W, b, c)).shape == (7, 5)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gradient_of_log_z_is_the_moments(dtype):
    from pymc_rbm.machine.enumeration import symbolic_log_partition

    values = [x.astype(dtype) for x in ref.machine(4, 3, seed=7)]
    W, b, c = (pt.tensor(dtype=dtype, shape=x.shape) for x in values)
    log_z = symbolic_log_partition(pmr.restricted(W, b, c))
    assert log_z.dtype == dtype
    out = pytensor.function([W, b, c], [log_z, *pt.grad(log_z, [W, b, c])])(*values)
    tolerance = 1e-10 if dtype == "float64" else 1e-5
    np.testing.assert_allclose(out[0], ref.log_z(*values), rtol=tolerance)
    for gradient, moment in zip(out[1:], ref.moments(*values), strict=True):
        np.testing.assert_allclose(gradient, moment, rtol=tolerance, atol=tolerance)
