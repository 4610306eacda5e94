"""All estimators of the gradient of log Z by which `fit` learns, and the type that your own estimator returns."""

from pymc_rbm.learning.estimators.coupled import unbiased
from pymc_rbm.learning.estimators.parallel_tempering import tempered
from pymc_rbm.learning.estimators.pcd import NegativePhase, contrastive, exact, fast_persistent, persistent
from pymc_rbm.learning.estimators.trajectory import trajectory_tempered

__all__ = [
    "NegativePhase",
    "contrastive",
    "exact",
    "fast_persistent",
    "persistent",
    "tempered",
    "trajectory_tempered",
    "unbiased",
]


def __dir__() -> list[str]:
    return __all__
