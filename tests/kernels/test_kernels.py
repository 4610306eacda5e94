"""Kernels against the symbolic form and against enumeration: fields, draws, random numbers, whole transitions."""

import itertools

import numba
import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
import reference as ref
from pytensor.compile.io import In, Out
from pytensor.tensor.basic import Alloc
from scipy import special, stats

import pymc_rbm as pmr
from pymc_rbm.kernels import elementary, lanes, packing, product, sweep, threads, uniforms
from pymc_rbm.kernels import fields as of_rows
from pymc_rbm.kernels.operations import BinaryDot, Means, RowSums, SoftplusSums, StateSums, SweepKernel
from pymc_rbm.sampling.sweep import sweeps
from pymc_rbm.support.modes import by_kernels

pytestmark = pytest.mark.numba

FLOORS = 4
LANES = lanes.LANES


# ------------------------------------------------------------------------------------------------- pieces


def seeded(rng):
    return uniforms.seeded(rng, 1, 1)


@numba.njit
def words(state, rows):
    out, s = np.empty(rows * LANES, np.uint32), uniforms.loaded(state, 0)
    for r in range(rows):
        x, s = uniforms.advanced(s)
        lanes.store(out, r * LANES, x)
    uniforms.stored(state, 0, s)
    return out


@numba.njit
def bits_of_words(state, rows):
    """Number of ones at each position, and of equal neighbours of one lane."""
    ones, same, s = np.zeros(32, np.int64), np.zeros(32, np.int64), uniforms.loaded(state, 0)
    x, old = np.empty(LANES, np.uint32), np.zeros(LANES, np.uint32)
    for _ in range(rows):
        new, s = uniforms.advanced(s)
        lanes.store(x, 0, new)
        for lane in range(LANES):
            for k in range(32):
                bit = np.uint32(1) << np.uint32(k)
                ones[k] += (x[lane] & bit) != 0
                same[k] += ((x[lane] ^ old[lane]) & bit) == 0
            old[lane] = x[lane]
    return ones, same


@numba.njit
def elementwise(x, out, which):
    for i in range(0, len(x), LANES):
        z = lanes.load(x, i)
        if which == 0:
            lanes.store(out, i, elementary.exponential(z))
        elif which == 1:
            top, t = elementary.softplus_parts(z)
            lanes.store(out, i, top + elementary.logarithm(elementary.filled(t, 1) + t))
        elif which == 3:
            lanes.store(out, i, elementary.logarithm(z))
        else:
            lanes.store(out, i, elementary.sigmoid(z))


@numba.njit
def count_on(z, state, draws):
    """How often each lane of ``z`` is on."""
    counts, s, field = np.zeros(LANES, np.int64), uniforms.loaded(state, 0), lanes.load(z, 0)
    for _ in range(draws):
        on, s = elementary.bernoulli(field, s)
        mask = lanes.bits(on)
        for k in range(LANES):
            counts[k] += (mask >> np.uint32(k)) & np.uint32(1)
    uniforms.stored(state, 0, s)
    return counts


@numba.njit
def fields_by_table(states, weights, transposed, n_out):
    rows, n_in = states.shape
    codes = packing.packed(states, 0, rows)
    tiled = product.transposed_tiles(weights) if transposed else product.tiles(weights)
    across = product.tiles_of(n_out)
    table = product.aligned(packing.GROUPS * 16 * product.TILE, weights)
    part = product.aligned(rows * product.TILE, weights)
    out = np.empty((rows, n_out), weights.dtype)
    for tile in range(across):
        product.accumulate(part, codes, rows, tiled, n_in, across, tile, table)
        for r in range(rows):
            for j in range(min(product.TILE, n_out - tile * product.TILE)):
                out[r, tile * product.TILE + j] = part[r * product.TILE + j]
    return out


@numba.njit
def there_and_back(states, spin):
    out = np.zeros_like(states)
    packing.unpack(packing.packed(states, 0, len(states)), out, 0, len(states), spin)
    return out


def test_generator_is_xoshiro128_plus_plus():
    """Against plain Python integers, from the authors' definition."""
    state = seeded(np.random.default_rng(1))
    start = state.reshape(4, LANES).copy()
    found = words(state, 50).reshape(50, LANES)

    def rotate(x, k):
        return ((x << k) | (x >> (32 - k))) & 0xFFFFFFFF

    for lane in range(LANES):
        s = [int(x) for x in start[:, lane]]
        for r in range(50):
            assert found[r, lane] == (rotate((s[0] + s[3]) & 0xFFFFFFFF, 7) + s[0]) & 0xFFFFFFFF
            t = (s[1] << 9) & 0xFFFFFFFF
            s[2] ^= s[0]
            s[3] ^= s[1]
            s[1] ^= s[2]
            s[0] ^= s[3]
            s[2] ^= t
            s[3] = rotate(s[3], 11)
        np.testing.assert_array_equal(state.reshape(4, LANES)[:, lane], s)


def test_seeding_follows_the_generator():
    first, second = (np.random.default_rng(3) for _ in range(2))
    np.testing.assert_array_equal(seeded(first), seeded(second))
    assert first.random() == second.random()
    assert len(set(seeded(first))) > 60


def test_uniform_bits():
    """A chi-square over the 32 bits of 1e8 numbers, and over the equality of neighbours, which must not repeat."""
    n = 10**8 // LANES
    for counts in bits_of_words(seeded(np.random.default_rng(4)), n):
        z = (counts - n * LANES / 2) / np.sqrt(n * LANES / 4)
        assert 1e-4 < stats.chi2.sf((z**2).sum(), 32) < 1 - 1e-4


@pytest.mark.parametrize(("dtype", "most", "ulp"), [("float32", 87, 3e-7), ("float64", 700, 6e-16)])
def test_elementary_functions(dtype, most, ulp):
    x = np.concatenate([np.linspace(-most, most, 40_000), np.linspace(-1, 1, 4000), [0.0] * 16]).astype(dtype)
    exact = x.astype("float64")
    out = np.empty_like(x)
    elementwise(x, out, 0)
    rounding = ulp * (1 if dtype == "float32" else 4)  # the reference rounds, too
    np.testing.assert_allclose(out, np.exp(exact), rtol=rounding)
    elementwise(x, out, 1)
    np.testing.assert_allclose(out, np.logaddexp(0, exact), rtol=rounding, atol=rounding)  # 1 + t is rounded
    elementwise(x, out, 2)
    np.testing.assert_allclose(out, special.expit(exact), rtol=rounding)
    above = np.concatenate([np.geomspace(1, np.exp(most), 4000), np.linspace(1, 4, 4000)]).astype(dtype)
    out = np.empty_like(above)
    elementwise(above, out, 3)
    np.testing.assert_allclose(out, np.log(above.astype("float64")), rtol=rounding, atol=rounding)
    far = np.array([-1e4, -most - 1, most + 1, 1e4] * 4, dtype)
    out = np.empty_like(far)
    elementwise(far, out, 1)
    np.testing.assert_allclose(out, np.logaddexp(0, far.astype("float64")), atol=1e-37, rtol=ulp)
    elementwise(far, out, 2)
    np.testing.assert_allclose(out, special.expit(far.astype("float64")), atol=1e-37, rtol=ulp)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_draws_of_one_unit(dtype):
    """Frequencies against the exact logistic function; a probability that is 1 % off would be seen."""
    z = np.r_[np.linspace(-9, 9, 15), 0.0].astype(dtype)
    n, state = 20_000_000, seeded(np.random.default_rng(5))
    counts = count_on(z, state, n)

    def chi_square(p):
        return ((counts - n * p) ** 2 / (n * p * (1 - p))).sum()

    p = special.expit(z.astype("float64"))
    assert stats.chi2.sf(chi_square(p), LANES) > 1e-4
    assert stats.chi2.sf(chi_square(p * 1.01 / (1 + 0.01 * p)), LANES) < 1e-20


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_extreme_fields_decide(dtype):
    z = np.array([-1e4, 1e4, -88, 88, -89, 89, -1e30, 1e30, -np.inf, np.inf, -40, 40, -700, 700, -30, 30], dtype)
    n = 1_000_000
    np.testing.assert_array_equal(count_on(z, seeded(np.random.default_rng(6)), n), n * (z > 0))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (64, 32), (65, 33), (130, 71), (784, 500)])
@pytest.mark.parametrize("transposed", [False, True])
def test_fields(dtype, shape, transposed):
    """Sums of weights that are multiples of 1/8 are exact in any order: bit for bit what NumPy gives."""
    rng = np.random.default_rng(7)
    weights = (rng.integers(-40, 40, shape) / 8).astype(dtype)
    n_in, n_out = shape[::-1] if transposed else shape
    states = rng.integers(0, 2, (7, n_in)).astype("int8")
    found = fields_by_table(states, weights, transposed, n_out)
    np.testing.assert_array_equal(found, states @ (weights.T if transposed else weights))
    rough = rng.normal(size=shape).astype(dtype)
    exact = states @ (rough.T if transposed else rough).astype("float64")
    error = np.abs(fields_by_table(states, rough, transposed, n_out) - exact)
    assert error.max() < 4 * np.finfo(dtype).eps * n_in


@pytest.mark.parametrize("units", [1, 31, 64, 100])
def test_packing(units):
    states = np.random.default_rng(8).integers(0, 2, (5, units)).astype("int8")
    np.testing.assert_array_equal(there_and_back(states, False), states)
    np.testing.assert_array_equal(there_and_back(2 * states - 1, True), 2 * states - 1)


# ------------------------------------------------------------------------------------------- whole transitions

UNITS = {"bernoulli": pmr.Bernoulli(), "spin": pmr.Spin()}


def compiled(dtype, units, n=None, clamped=None, excluding=(), last=None):
    """(rng, v, h, n, W, b, c, masks…) -> (rng, v, h), and the names of the Ops in it.

    With ``last=1``, also the fields that the new v sends to the hidden units.
    """
    rng, count = pt.random.rng("rng"), pt.lscalar("n")
    W, b, c = pt.matrix(dtype=dtype), pt.vector(dtype=dtype), pt.vector(dtype=dtype)
    v, h = pt.matrix(dtype="int8"), pt.matrix(dtype="int8")
    masks = [pt.matrix(dtype="bool") if x == "mask" else x for x in clamped or (None, None)]
    machine = pmr.restricted(W, b, c, *(UNITS[x] for x in units))
    new, next_rng = sweeps(machine, [v, h], rng, count if n is None else n, masks, last=last)
    if last == 1:
        new.append(machine.field(1, [new[0], None]))
    inputs = [In(rng, mutable=True), v, h, count, W, b, c, *(m for m in masks if m is not None and m is not True)]
    mode = pytensor.compile.mode.get_default_mode().excluding(*excluding)
    function = pytensor.function(inputs, [Out(next_rng, borrow=True), *new], mode=mode, on_unused_input="ignore")
    return function, [type(node.op) for node in function.maker.fgraph.apply_nodes]


def test_states_and_masks_that_are_not_there_are_constants():
    """Arrays of unknown shape that are filled with zeros would take numba three seconds."""
    _, ops = compiled("float64", ("bernoulli",) * 2)
    assert SweepKernel in ops
    assert Alloc not in ops
    W, b, c, v = pt.dmatrix(), pt.dvector(), pt.dvector(), pt.matrix(dtype="int8")
    rng = pt.random.rng("rng")
    [new, h], _ = sweeps(pmr.restricted(W, b, c), [v, None], rng, 2)
    function = pytensor.function([rng, v, W, b, c], [new, h])
    kinds = [type(node.op) for node in function.maker.fgraph.apply_nodes]
    assert SweepKernel in kinds
    assert Alloc not in kinds
    for rows in (0, 5):
        values = np.ones((rows, 6), "int8"), *(x[()] for x in ref.machine(6, 4))
        new, h = function(np.random.default_rng(1), *values)
        assert (new.shape, h.shape) == ((rows, 6), (rows, 4))


def exact_joint(units, W, b, c):
    """States of both layers and p(v, h) by loops over all of them."""
    left, right, log_p = ref.pair_log_joint((units[0], None), (units[1], None), W, b, c, W.shape)
    p = np.exp(log_p - ref.log_sum(log_p.ravel()))
    return [np.array([x for x, _ in side]) for side in (left, right)], p


def transition_errors(dtype, units, rows, function, parameters, seed, counts=(1, 4, 16)):
    """Total variation of (v, h) from p after sweeps from exact draws of p, over its Monte Carlo floor."""
    rng = np.random.default_rng(seed)
    (left, right), p = exact_joint(units, *parameters)
    errors = []
    for n in counts:
        drawn = rng.choice(p.size, rows, p=p.ravel())
        v, h = left[drawn // len(right)].astype("int8"), right[drawn % len(right)].astype("int8")
        _, new_v, _ = function(rng, v, h, n, *(x.astype(dtype) for x in parameters))
        found = np.bincount(ref.index(new_v > 0), minlength=len(left))
        errors.append(ref.total_variation(found, p.sum(1)) / ref.total_variation_floor(p.sum(1), rows))
    return np.array(errors)


@pytest.fixture(scope="module", params=[("float32", "bernoulli"), ("float64", "bernoulli"), ("float32", "spin")])
def kernel(request):
    dtype, unit = request.param
    units = (unit, "bernoulli")
    function, ops = compiled(dtype, units)
    assert SweepKernel in ops
    return dtype, units, function


def test_kernel_is_stationary(kernel):
    dtype, units, function = kernel
    for sizes in ((4, 3), (5, 2)):
        parameters = ref.machine(*sizes, 1.0, seed=3)
        assert (transition_errors(dtype, units, 20_000, function, parameters, 1) < FLOORS).all()


def test_kernel_at_odd_numbers_of_rows(kernel):
    """The rows beyond a whole tile of `sweep.ROWS`, and few of them, are chains like all others."""
    dtype, units, function = kernel
    parameters = ref.machine(4, 3, 1.0, seed=3)
    (left, _), p = exact_joint(units, *parameters)
    rng, found = np.random.default_rng(2), np.zeros(len(left))
    for rows, n in [(1, 3)] * 200 + [(3, 20)] * 200 + [(sweep.ROWS + 5, 3)] * 4:  # (3, 20): by a transposed copy
        drawn = left[rng.choice(len(left), rows, p=p.sum(1))].astype("int8")
        _, v, _ = function(rng, drawn, np.zeros((rows, 3), "int8"), n, *(x.astype(dtype) for x in parameters))
        found += np.bincount(ref.index(v[-5:] > 0), minlength=len(left))
    assert ref.total_variation(found, p.sum(1)) / ref.total_variation_floor(p.sum(1), found.sum()) < FLOORS


def test_one_sweep_is_the_product_of_conditionals(kernel):
    """From each state v: the distribution of v' after one sweep, against the enumerated transition matrix."""
    dtype, units, function = kernel
    parameters = ref.machine(3, 2, 2.0, seed=5)
    (left, _), p = exact_joint(units, *parameters)
    matrix = (p / p.sum(1, keepdims=True)) @ (p / p.sum(0)).T
    n, rng = 20_000, np.random.default_rng(4)
    for start, expected in zip(left, matrix, strict=True):
        v = np.tile(start, (n, 1)).astype("int8")
        _, new, _ = function(rng, v, np.zeros((n, 2), "int8"), 1, *(x.astype(dtype) for x in parameters))
        counts = np.bincount(ref.index(new > 0), minlength=len(left))
        assert ref.total_variation(counts, expected) < FLOORS * ref.total_variation_floor(expected, n)


@pytest.mark.parametrize("excluding", [(), ("rbm_kernels",)])
def test_sweeps_that_end_with_the_hidden_layer(excluding):
    """From each h: the joint distribution of v' and h' after one sweep, and after more from the stationary one."""
    parameters = ref.machine(3, 2, 2.0, seed=5)
    (_, right), p = exact_joint(("bernoulli", "bernoulli"), *parameters)
    function, ops = compiled("float64", ("bernoulli", "bernoulli"), excluding=excluding, last=1)
    assert (SweepKernel in ops) == (not excluding)
    n, rng = 20_000, np.random.default_rng(4)

    def error(h, count, expected):
        _, v, new, _ = function(rng, np.ones((len(h), 3), "int8"), h.astype("int8"), count, *parameters)
        counts = np.bincount(ref.index(np.hstack([v, new])), minlength=p.size)
        return ref.total_variation(counts, expected) / ref.total_variation_floor(expected, len(h))

    for h, from_h in zip(right, (p / p.sum(0)).T, strict=True):
        assert error(np.tile(h, (n, 1)), 1, (from_h[:, None] * (p / p.sum(1, keepdims=True))).ravel()) < FLOORS
    for count in (2, 5):
        assert error(right[rng.choice(len(right), n, p=p.sum(0))], count, p.ravel()) < FLOORS


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("units", list(itertools.product(UNITS, UNITS)))
def test_the_fields_of_the_last_hidden_states_are_used_again(units, dtype):
    """They are ``c + vW`` of the new v, for few rows and for many, without another product."""
    function, ops = compiled(dtype, units, last=1)
    assert SweepKernel in ops
    assert BinaryDot not in ops
    rng = np.random.default_rng(5)
    for rows, shape, n in ((5, (70, 33), 2), (40, (64, 32), 1), (sweep.ROWS + 5, (70, 100), 2)):
        W, b, c = rng.normal(0, 0.1, shape), rng.normal(size=shape[0]), rng.normal(size=shape[1])
        low = [-1 if x == "spin" else 0 for x in units]
        states = [rng.choice([a, 1], (rows, size)).astype("int8") for a, size in zip(low, shape, strict=True)]
        _, v, h, fields = function(rng, *states, n, *(x.astype(dtype) for x in (W, b, c)))
        np.testing.assert_allclose(fields, c + v @ W, atol=50 * np.finfo(dtype).eps)
        given = special.expit((2 if units[1] == "spin" else 1) * (c + v @ W))
        assert abs(((h == 1) - given).sum()) < 5 * np.sqrt((given * (1 - given)).sum())
    with pytest.raises(ValueError, match="at least one sweep"):
        function(rng, *states, 0, *(x.astype(dtype) for x in (W, b, c)))


@pytest.mark.slow
@pytest.mark.parametrize("how", ["weights", "bias", "hidden bias"])
def test_a_wrong_kernel_is_seen(kernel, how):
    """The same test with a kernel that has weights of another scale, or leaves out a bias."""
    dtype, units, function = kernel
    right = ref.machine(4, 3, 1.0, seed=3)

    def broken(rng, v, h, n, W, b, c):
        wrong = {"weights": (W * 1.2, b, c), "bias": (W, b * 0, c), "hidden bias": (W, b, c * 0)}[how]
        return function(rng, v, h, n, *(x.astype(dtype) for x in wrong))

    assert (transition_errors(dtype, units, 20_000, broken, right, 1, (4, 16)) > FLOORS).all()


def test_clamping():
    """Masked units keep their values, the others follow the conditional; whole layers stay."""
    W, b, c = ref.machine(4, 3, 2.0, seed=6)
    function, ops = compiled("float64", ("bernoulli", "bernoulli"), clamped=("mask", None))
    assert SweepKernel in ops
    (left, _), p = exact_joint(("bernoulli", "bernoulli"), W, b, c)
    held, start = np.array([True, False, True, False]), np.array([1, 0, 0, 0])
    given = p.sum(1) * (left[:, held] == start[held]).all(1)
    given /= given.sum()
    n, rng = 20_000, np.random.default_rng(7)
    first = left[rng.choice(len(left), n, p=given)].astype("int8")
    for count in (1, 8):
        _, v, _ = function(rng, first, np.zeros((n, 3), "int8"), count, W, b, c, np.tile(held, (n, 1)))
        assert (v[:, held] == start[held]).all()
        found = np.bincount(ref.index(v), minlength=len(left))
        assert ref.total_variation(found, given / given.sum()) < FLOORS * ref.total_variation_floor(
            given / given.sum(), n
        )
    for fixed in (0, 1):
        whole, ops = compiled("float64", ("bernoulli", "bernoulli"), n=1, clamped=[i == fixed or None for i in (0, 1)])
        assert SweepKernel in ops
        states = [first, rng.integers(0, 2, (n, 3)).astype("int8")]
        _, *new = whole(rng, *states, 1, W, b, c)
        np.testing.assert_array_equal(new[fixed], states[fixed])
        mean = special.expit(c + first @ W).mean(0) if fixed == 0 else special.expit(b + states[1] @ W.T).mean(0)
        assert (np.abs(new[1 - fixed].mean(0) - mean) < 5 * np.sqrt(0.25 / n)).all()


def test_masks_of_large_layers():
    """Masks are packed 32 units at a time, the rest one by one: what they mark stays, the rest moves."""
    function, ops = compiled("float64", ("bernoulli", "bernoulli"), clamped=("mask", "mask"))
    assert SweepKernel in ops
    rng = np.random.default_rng(8)
    for rows, shape in ((40, (70, 33)), (5, (70, 33)), (40, (32, 96))):
        states = [rng.integers(0, 2, (rows, n)).astype("int8") for n in shape]
        masks = [rng.random((rows, n)) < 0.5 for n in shape]
        _, *new = function(rng, *states, 3, np.zeros(shape), np.zeros(shape[0]), np.zeros(shape[1]), *masks)
        for old, x, mask in zip(states, new, masks, strict=True):
            np.testing.assert_array_equal(x[mask], old[mask])
            assert abs((x != old)[~mask].mean() - 0.5) < 5 * 0.5 / np.sqrt((~mask).sum())


def test_who_gets_the_kernel():
    """Two binary layers of one floating type, on numba; the symbolic form for all others, and on request."""
    assert SweepKernel not in compiled("float64", ("bernoulli",) * 2, excluding=("rbm_kernels",))[1]
    rng, v = pt.random.rng("rng"), pt.matrix(dtype="int8")
    W, b, c = pt.matrix(dtype="float32"), pt.vector(dtype="float64"), pt.vector(dtype="float32")
    (new, _), _ = sweeps(pmr.restricted(W, b, c), [v, None], rng, 1)
    mixed = pytensor.function([rng, v, W, b, c], new)  # biases of float64 must not be rounded
    assert SweepKernel not in [type(node.op) for node in mixed.maker.fgraph.apply_nodes]
    real = pmr.restricted(W, c, c, pmr.Gaussian(1.0), None)
    (new, _), _ = sweeps(real, [pt.matrix(dtype="float32"), None], rng, 1)
    assert "Sweeps" not in str(new.owner.op)


def test_same_seed_same_draws_and_the_generator_moves_on(kernel):
    dtype, _, function = kernel
    parameters = [x.astype(dtype) for x in ref.machine(20, 10, 0.1, seed=1)]
    states = np.zeros((9, 20), "int8"), np.zeros((9, 10), "int8")
    rng = np.random.default_rng(1)
    rng, first, _ = function(rng, *states, 3, *parameters)
    rng, second, _ = function(rng, *states, 3, *parameters)
    _, again, _ = function(np.random.default_rng(1), *states, 3, *parameters)
    np.testing.assert_array_equal(first, again)
    assert (first != second).any()
    assert (states[0] == 0).all()  # what goes in is not written to


# ----------------------------------------------------------------------------- products and sums in other graphs


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_free_energy_and_gradient_by_kernels(dtype):
    """Against NumPy in double precision, for 0/1 states, for other integers, few rows and odd sizes."""
    rng = np.random.default_rng(9)
    v, W = pt.matrix(dtype="int8"), pt.matrix(dtype=dtype)
    b, c = pt.vector(dtype=dtype), pt.vector(dtype=dtype)
    machine = pmr.restricted(W, b, c)
    energy, mean = machine.free_energy(v), machine.mean(1, [v, None]).mean(-1)
    alone = pytensor.function([v, W, b, c], energy)
    values = pytensor.function([v, W, b, c], [energy, mean])
    gradient = pt.grad(energy.mean(), [W, b, c])
    function = pytensor.function([v, W, b, c], [energy, mean, v.sum(1, dtype="int64"), *gradient])
    kinds = [[type(node.op) for node in f.maker.fgraph.apply_nodes] for f in (alone, values, function)]
    assert [ops.count(SoftplusSums) for ops in kinds] == [1, 0, 0]
    assert [ops.count(RowSums) for ops in kinds] == [0, 2, 0]
    assert [ops.count(Means) for ops in kinds] == [0, 0, 1]  # the gradient needs the means themselves
    assert [ops.count(BinaryDot) for ops in kinds] == [0, 1, 2]  # the field, once, and the gradient
    assert [ops.count(StateSums) for ops in kinds] == [1, 1, 1]  # b'v, and the sums of v
    for rows, shape, low, top in (
        (40, (37, 21), 0, 2),
        (40, (37, 21), 0, 4),
        (40, (37, 21), -3, 4),
        (3, (37, 21), 0, 2),
        (2100, (64, 32), 0, 2),
        (40, (1100, 5), 0, 2),
        (17, (1, 1), 0, 2),
    ):
        x = rng.integers(low, top, (rows, shape[0])).astype("int8")
        parameters = [rng.normal(size=s).astype(dtype) for s in (shape, shape[0], shape[1])]
        exact_W, exact_b, exact_c = (p.astype("float64") for p in parameters)
        field = x @ exact_W + exact_c
        expected = [
            -x @ exact_b - np.logaddexp(0, field).sum(1),
            special.expit(field).mean(1),
            x.sum(1, dtype="int64"),
            -x.T @ special.expit(field) / rows,
            -x.mean(0),
            -special.expit(field).mean(0),
        ]
        rounding = 100 * np.finfo(dtype).eps
        all_found = [alone(x, *parameters), *values(x, *parameters), *function(x, *parameters)]
        for found, wanted in zip(all_found, [expected[0], *expected[:2], *expected], strict=True):
            assert found.dtype == (dtype if wanted.dtype == "float64" else wanted.dtype)
            np.testing.assert_allclose(found, wanted, rtol=rounding, atol=rounding * np.abs(wanted).max())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("units", [5000, 1023])
def test_sums_over_many_units(dtype, units):
    """The product of ``1 + exp(-|z|)`` over all of them would be 2^5000."""
    fields, sums, of_means = np.zeros((3, units), dtype), np.empty(3, dtype), np.empty(3, dtype)
    fields[1], fields[2] = np.linspace(-30, 30, units), np.linspace(-1, 1, units)
    exact = np.logaddexp(0, fields.astype("float64")).sum(1)
    of_rows.sum_softplus(fields, sums)
    np.testing.assert_allclose(sums, exact, rtol=100 * np.finfo(dtype).eps)
    means = np.empty_like(fields)
    of_rows.means_and_sums(fields, means, sums, of_means)
    np.testing.assert_allclose(sums, exact, rtol=100 * np.finfo(dtype).eps)
    exact_means = special.expit(fields.astype("float64"))
    np.testing.assert_allclose(of_means, exact_means.sum(1), rtol=100 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sums_over_many_rows(dtype):
    """A million counts of 100: more than float32 adds up one by one."""
    states, weights = np.full((1_000_003, 3), 100, "int8"), np.arange(3).astype(dtype)
    dots, row_sums, unit_sums = np.empty(len(states), dtype), np.empty(len(states), dtype), np.empty(3, dtype)
    of_rows.state_sums(states, weights, dots, row_sums, unit_sums)
    np.testing.assert_array_equal(unit_sums, np.full(3, 100_000_300, dtype))
    assert (dots == 300).all() and (row_sums == 300).all()


@pytest.mark.parametrize("number", [1, 3, 7])
def test_rows_shared_by_threads(monkeypatch, number):
    """Products and sums of rows do not depend on the piece that a row is in."""
    monkeypatch.setattr(threads.config, "NUMBA_NUM_THREADS", number)
    rng = np.random.default_rng(11)
    states, W, c = rng.integers(0, 2, (50, 70)).astype("int8"), rng.normal(size=(70, 40)), rng.normal(size=40)
    fields, sums = np.empty((50, 40)), np.empty(50)
    threads.dot_in_threads(states, W, c, fields, False)
    threads.sums_in_threads(states, W, c, sums)
    np.testing.assert_allclose(fields, states @ W + c, atol=1e-12)
    np.testing.assert_allclose(sums, np.logaddexp(0, states @ W + c).sum(1), rtol=1e-13)


def test_products_of_states_in_any_layout():
    """Rows, columns and squeezed axes of states, transposed or not, of shapes that are known or not."""
    rng = np.random.default_rng(10)
    x, W = pt.tensor3(dtype="int8"), pt.dmatrix()
    views = [x[0].T, pt.specify_shape(x, (1, None, None)).squeeze(0), x[0, 0][None], x[:, 0], x[0, :, 0][:, None].T]
    states = rng.integers(0, 2, (1, 20, 20)).astype("int8")
    weights = rng.normal(size=(20, 3))
    found = pytensor.function([x, W], [pt.dot(view.astype("float64"), W) for view in views])(states, weights)
    values = [states[0].T, states[0], states[0, :1], states[:, 0], states[0, :, :1].T]
    for one, value in zip(found, values, strict=True):
        np.testing.assert_allclose(one, value @ weights, atol=1e-12)


def test_other_graphs_are_left_alone():
    """Nothing is replaced in graphs without binary states."""
    x, W = pt.dmatrix(), pt.dmatrix()
    function = pytensor.function([x, W], pt.softplus(pt.dot(x, W)).sum(-1))
    assert not {BinaryDot, RowSums} & {type(node.op) for node in function.maker.fgraph.apply_nodes}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_products_of_states_and_one_number_a_row_or_unit(dtype):
    """As they stand where Python calls kernels, with a number beside them; sums over float32 rows stay PyTensor's."""
    rng = np.random.default_rng(0)
    states, b, w = (rng.random((300, 20)) < 0.3).astype("int8"), rng.normal(size=20), rng.random(300)
    v, row, column = pt.matrix(dtype="int8"), pt.vector(dtype=dtype), pt.vector(dtype=dtype)
    outputs = [(pt.as_tensor(np.array([[-1]], dtype)) * v * row).sum(1), (column[:, None] * v).sum(0)]
    function = by_kernels([v, row, column], outputs)
    kernels = {type(node.op) for node in function.maker.fgraph.apply_nodes} & {StateSums, BinaryDot}
    assert kernels == ({StateSums} if dtype == "float32" else {StateSums, BinaryDot})
    found = function(states, b.astype(dtype), w.astype(dtype))
    for x, expected in zip(found, (-states @ b, w @ states), strict=True):
        assert x.dtype == dtype
        np.testing.assert_allclose(x, expected, rtol=1e-5 if dtype == "float32" else 1e-12, atol=1e-5)
