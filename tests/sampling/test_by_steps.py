"""A short run that NumPy steps through in Python has the draws of the compiled loop, and compiles nothing."""

import numpy as np
import pytest
import reference as ref
from options import QUIET

import pymc_rbm as pmr
from pymc_rbm.partition.path import Path
from pymc_rbm.sampling import by_steps

UNITS = {
    "gaussian": (pmr.Gaussian(1.0), pmr.Bernoulli()),
    "spin": (pmr.Gaussian(0.5), pmr.Spin()),
    "binomial": (pmr.Bernoulli(), pmr.Binomial(3)),
}
"""Numba and NumPy draw these from the same numbers; not categories."""
TUNE, DRAWS, SWEEPS = 3, 20, 2
TOTAL = TUNE + DRAWS * SWEEPS


def machine_of(name):
    return pmr.restricted(*ref.machine(6, 4, seed=3, scale=0.3), *UNITS[name])


def sampled(machine):
    options = {"draws": DRAWS, "tune": TUNE, "sweeps": SWEEPS, "chains": 5}
    return pmr.sample_gibbs(machine, **options, **QUIET)["posterior"].to_dataset()


def inpainted(machine):
    rows = pmr.sample_gibbs(machine, draws=1, tune=2, chains=7, **QUIET)["posterior"]["v"].values[:, 0]
    holes = np.ma.masked_array(rows, np.arange(6) // 3 == np.arange(len(rows))[:, None] % 2)
    options = {"draws": DRAWS, "tune": TUNE, "sweeps": SWEEPS, "chains": 3}
    tree = pmr.inpaint(holes, machine, **options, **QUIET)
    return tree["posterior"].to_dataset()


def walked(machine):
    path = Path(machine.numeric(), tuple(np.zeros_like(layer.bias) for layer in machine.numeric().layers))
    rng, betas = np.random.default_rng(4), np.linspace(0, 1, TOTAL + 1)
    [forward], up = path.walk(rng, betas, path.base_states(rng, 9), False)
    [backward], down = path.walk(rng, betas[::-1], [forward], True)
    return {"forward": forward, "up": up, "backward": backward, "down": down}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*row:UserWarning")  # of so few draws
@pytest.mark.parametrize(("work", "name"), [(sampled, "gaussian"), (inpainted, "binomial"), (walked, "spin")])
def test_draws_are_those_of_the_compiled_loop(work, name, monkeypatch):
    machine, found = machine_of(name), []
    for longest in (TOTAL + 1, 0):
        monkeypatch.setattr(by_steps, "LONG", longest)
        found.append(work(machine))
    for key in found[0]:
        np.testing.assert_allclose(np.asarray(found[0][key], float), np.asarray(found[1][key], float), rtol=1e-9)


def test_few_sweeps_without_a_kernel_are_stepped_through():
    real, binary = machine_of("gaussian"), pmr.restricted(*ref.machine(6, 4))
    coupled = pmr.boltzmann(np.zeros((3, 3)), np.zeros(3))
    assert by_steps.by_steps(real, by_steps.LONG)
    assert not by_steps.by_steps(real, by_steps.LONG + 1)
    assert not by_steps.by_steps(binary, 1)
    assert not by_steps.by_steps(coupled, 1)
