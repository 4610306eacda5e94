"""Compiled functions called right at their machine code give what they give when they are called the usual way."""

import cloudpickle
import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from pytensor.compile.io import In, Out

from pymc_rbm.support.fast_calls import Quick

WITH_NUMBA = pytest.mark.parametrize("mode", ["NUMBA", "FAST_COMPILE"])


@pytest.fixture(scope="module")
def functions():
    """By mode, a function of a generator, a vector of three, a matrix and a shared number; and that number."""
    found = {}
    for mode in ("NUMBA", "FAST_COMPILE"):
        rng, x, y = pt.random.rng("rng"), pt.tensor("x", shape=(3,), dtype="float64"), pt.matrix("y", dtype="int8")
        level = pytensor.shared(0.0)
        next_rng, noise = pt.random.normal(x + level, 1, rng=rng, return_next_rng=True)
        outputs = [Out(next_rng, borrow=True), noise, y.T.sum(0) + level]
        found[mode] = pytensor.function([In(rng, mutable=True), x, y], outputs, mode=mode), level
    return found


def same(found, expected):
    assert found[0].integers(10**9) == expected[0].integers(10**9)
    for a, b in zip(found[1:], expected[1:], strict=True):
        np.testing.assert_array_equal(a, b)
        assert a.dtype == b.dtype


@WITH_NUMBA
def test_any_arguments(functions, mode):
    function, level = functions[mode]
    quick, matrix = Quick(function), np.arange(12, dtype="int8").reshape(4, 3)
    read_only = np.ones(3)
    read_only.flags.writeable = False
    for x, y in (
        (np.arange(3.0), matrix),
        (np.arange(3.0), matrix[:2]),
        (np.arange(6.0)[::2], matrix.T),
        (read_only, matrix[::-1]),
        ([1.0, 2.0, 3.0], matrix),
        (np.arange(3, dtype="float32"), matrix[:, :1].astype(bool)),
    ):
        for value in (0.0, 1.5, np.float64(2)):
            level.set_value(value)
            for _ in range(2):
                same(quick(np.random.default_rng(1), x, y), function(np.random.default_rng(1), x, y))
    assert any(entry is not None for entry in quick._entries.values()) == (mode == "NUMBA")


@WITH_NUMBA
def test_wrong_arguments_are_refused_as_always(functions, mode):
    quick, matrix = Quick(functions[mode][0]), np.ones((2, 2), "int8")
    quick(np.random.default_rng(1), np.ones(3), matrix)
    for x, y in ((np.ones(4), matrix), (np.ones(3), np.ones(2, "int8")), (np.ones(3), np.ones((2, 2)))):
        with pytest.raises(TypeError):
            quick(np.random.default_rng(1), x, y)
    with pytest.raises(TypeError, match="Missing input"):
        quick(np.random.default_rng(1), np.ones(3))


def test_it_can_be_pickled(functions):
    quick, given = Quick(functions["NUMBA"][0]), (np.ones(3), np.ones((2, 2), "int8"))
    expected = quick(np.random.default_rng(1), *given)
    again = cloudpickle.loads(cloudpickle.dumps(quick))
    same(again(np.random.default_rng(1), *given), expected)


def test_functions_with_updates_still_update():
    total = pytensor.shared(np.zeros(2))
    x = pt.dvector()
    quick = Quick(pytensor.function([x], [2 * x, x.sum()], updates={total: total + x}, mode="NUMBA"))
    for _ in range(3):
        quick(np.ones(2))
    np.testing.assert_array_equal(total.get_value(), [3, 3])
