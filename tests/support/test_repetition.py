"""A function that is called many times in a row returns the same from Python and from the compiled loop."""

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest

from pymc_rbm.support import repetition
from pymc_rbm.support.repetition import Repeated


@pytest.fixture
def function():
    """A random walk with a matrix beside it, of which the new value is a view with another layout.

    Of a third variable, which is written over in place, views are recorded.
    """
    rng, scale, step = pt.random.rng("rng"), pt.lscalar("scale"), pt.dscalar("step")
    place = pytensor.shared(np.zeros(3), name="place", shape=(3,))
    matrix = pytensor.shared(np.arange(6.0).reshape(2, 3), name="matrix")
    next_rng, noise = pt.random.normal(size=3, rng=rng, return_next_rng=True)
    new = place + scale * step * noise
    count = pytensor.shared(np.zeros(2), name="count", shape=(2,))
    counted = count[0].inc(1.0)
    updates = {place: new, count: counted, matrix: (matrix * 1.5).T.reshape((3, 2)).T + step}
    return pytensor.function(
        [rng, scale, step], [next_rng, new.sum(), new, counted[::-1], counted[:1]], updates=updates
    ), (place, matrix, count)


def run(function, shared, lengths):
    for x, start in zip(shared, (np.zeros(3), np.arange(6.0).reshape(2, 3), np.zeros(2)), strict=True):
        x.set_value(start)
    repeated, rng, found = Repeated(function), np.random.default_rng(1), []
    for n in lengths:
        rng, *records = repeated(rng, 2, [np.linspace(0.1, 1, n)])
        found += [*records, *(x.get_value() for x in shared), rng.bit_generator.state["state"]["state"]]
    return found, repeated


def test_from_python_and_by_a_loop(function, monkeypatch):
    """The loop is made once it pays, and found on disk by the next one; nothing that is computed changes."""
    monkeypatch.setattr(repetition, "WORTH_A_LOOP", 8)
    found, repeated = run(*function, (4, 4, 4))
    [way] = repeated._ways.values()
    assert way._loop is not None
    by_loop, of_next = run(*function, (4, 4, 4))
    [way] = of_next._ways.values()
    assert way._loop is not None
    monkeypatch.setattr(repetition._Way, "loop", lambda *_, **__: None)
    by_python, _ = run(*function, (4, 4, 4))
    for x, y, z in zip(found, by_loop, by_python, strict=True):
        np.testing.assert_array_equal(x, y)
        np.testing.assert_array_equal(x, z)
        assert np.shape(x) == np.shape(z)
    np.testing.assert_array_equal(found[2][:, 1], [1, 2, 3, 4])  # the first four of what was counted
    np.testing.assert_array_equal(found[3][:, 0], [1, 2, 3, 4])
