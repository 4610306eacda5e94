"""A function that is called many times in a row returns the same from Python and from the compiled loop."""

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest

from pymc_rbm.support import repetition
from pymc_rbm.support.repetition import Repeated


@pytest.fixture
def function():
    """A random walk with a matrix beside it, of which the new value is a view with another layout."""
    rng, scale, step = pt.random.rng("rng"), pt.lscalar("scale"), pt.dscalar("step")
    place = pytensor.shared(np.zeros(3), name="place", shape=(3,))
    matrix = pytensor.shared(np.arange(6.0).reshape(2, 3), name="matrix")
    next_rng, noise = pt.random.normal(size=3, rng=rng, return_next_rng=True)
    new = place + scale * step * noise
    updates = {place: new, matrix: (matrix * 1.5).T.reshape((3, 2)).T + step}
    return pytensor.function([rng, scale, step], [next_rng, new.sum(), new], updates=updates), place, matrix


def run(function, place, matrix, lengths):
    place.set_value(np.zeros(3))
    matrix.set_value(np.arange(6.0).reshape(2, 3))
    repeated, rng, found = Repeated(function), np.random.default_rng(1), []
    for n in lengths:
        rng, *records = repeated(rng, 2, [np.linspace(0.1, 1, n)])
        found += [*records, place.get_value(), matrix.get_value(), rng.bit_generator.state["state"]["state"]]
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
