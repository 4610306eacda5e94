"""Memory is asked for before work: what would not fit is refused in numbers, and nothing is allocated."""

import numpy as np
import pymc as pm
import pytest
import reference as ref
from options import QUIET

import pymc_rbm as pmr
from pymc_rbm.support import memory

pytestmark = pytest.mark.interpreted
W, B, C = ref.machine(4, 3, seed=4)
V = np.array([[1, 0, 1, 0], [0, 0, 1, 1], [1, 1, 1, 0]])
MANY = 10**9
WIDE = pmr.restricted(np.zeros((20, 20)) + np.eye(20), np.zeros(20), np.zeros(20))
MISSING = np.ma.masked_all((3, 20))


def fit(**kwargs):
    with pm.Model():
        pmr.RBM("v", pm.Normal("W", shape=(4, 3)), B, C, observed=V)
        return pmr.fit(1, method="pcd", **kwargs, **QUIET)


def network():
    return pmr.DeepBeliefNetwork.of(pmr.restricted(W, B, C), pmr.restricted(np.zeros((3, 2)), np.zeros(3), np.zeros(2)))


TOO_LARGE = {
    "sample_gibbs": lambda: pmr.sample_gibbs(pmr.restricted(W, B, C), chains=MANY, draws=1, tune=0, **QUIET),
    "fit": lambda: fit(chains=MANY),
    "fit_deep": lambda: pmr.fit_deep(V, [2], chains=MANY, method="pcd", **QUIET),
    "log_likelihood": lambda: pmr.log_likelihood(MISSING, WIDE, log_z=0.0, particles=MANY, budget=10 * MANY, **QUIET),
    "bound": lambda: network().bound(V, 1.0, draws=MANY, **QUIET),
    "draws": lambda: pm.draw(pmr.RBM.dist(W, B, C, shape=(10**10, 4))),
    "draws by chains": lambda: pm.draw(pmr.RBM.dist(*WIDE.parameters[2:], *WIDE.parameters[:2], shape=(10**10, 20))),
}


@pytest.mark.parametrize("name", TOO_LARGE)
def test_what_does_not_fit_is_refused(name, monkeypatch):
    monkeypatch.setattr(memory, "available_memory", lambda: 2**30)
    allocated = []
    monkeypatch.setattr(
        np, "empty", lambda *args, _empty=np.empty, **kw: allocated.append(args[0]) or _empty(*args, **kw)
    )
    with pytest.raises(MemoryError, match=r"needs .* GiB of memory; 1\.0 GiB are available\. (Take|Draw) fewer"):
        TOO_LARGE[name]()
    assert all(np.prod(shape, dtype="float64") < 10**7 for shape in allocated)
