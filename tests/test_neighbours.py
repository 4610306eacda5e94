"""Packages that stand beside PyMC take our models, where they are installed."""

import numpy as np
import pymc as pm
import pytest
from models import model_of

import pymc_rbm as pmr

pytestmark = pytest.mark.filterwarnings("ignore")  # their own
ROWS = np.tile(pmr.datasets.bars_and_stripes(2).values, (10, 1))


@pytest.fixture
def pmx():
    return pytest.importorskip("pymc_extras", reason="pymc-extras is not installed")


def test_the_maximum_and_normal_approximations_of_pymc_extras(pmx):
    """`pmx.find_MAP` ends no lower than PyMC's own; the others return draws of all parameters."""
    with model_of(ROWS, 2, 1.0, 1.0) as model:
        best = pm.find_MAP(progressbar=False, seed=1)
        theirs = pmx.find_MAP(method="L-BFGS-B", progressbar=False, random_seed=1)
        laplace = pmx.fit_laplace(progressbar=False, random_seed=1)
        path = pmx.fit_pathfinder(progressbar=False, random_seed=1)
    logp, names = model.compile_logp(), ("W", "b", "c")
    mode = logp({name: theirs["posterior"][name].values.reshape(best[name].shape) for name in names})
    assert mode > logp({name: best[name] for name in names}) - 0.1
    for idata in (laplace, path):
        draws = idata["posterior"]
        assert all(np.isfinite(draws[name].values).all() for name in names)


def test_an_rbm_is_not_marginalised_by_them(pmx):
    """They sum over distributions that they know, and name the others."""
    with pm.Model() as model:
        v = pmr.RBM("v", np.full((3, 2), 0.5), np.zeros(3), np.zeros(2))
        pm.Normal("y", v @ np.array([1.0, 2, 3]), 0.5, observed=2.0)
    with pytest.raises(NotImplementedError, match="Cannot marginalize v"):
        pmx.marginalize(model, ["v"])
