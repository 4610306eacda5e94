"""Bennett's ratio of neighbours that share no states: the step is not known, and says so."""

import numpy as np

from pymc_rbm.partition.bridging import settled


def test_neighbours_without_overlap_have_no_error_that_could_be_believed():
    rng = np.random.default_rng(1)
    up, down = rng.normal(0, 1, (2, 40, 3, 10))
    near = settled(up, down)
    assert np.isfinite(near.standard_error)
    up[:, 1], down[:, 1] = 1e4, 1e4  # states of one are 10,000 nats too high in the other
    apart = settled(up, down)
    assert apart.standard_error == np.inf
    assert apart.overlap.min() == 0
