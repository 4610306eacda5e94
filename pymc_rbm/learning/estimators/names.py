"""Each estimator has a short name, which is `fit`'s argument ``method``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pymc_rbm.learning.estimators.coupled import unbiased
from pymc_rbm.learning.estimators.parallel_tempering import tempered
from pymc_rbm.learning.estimators.pcd import NegativePhase, contrastive, exact, fast_persistent, persistent
from pymc_rbm.learning.estimators.trajectory import trajectory_tempered
from pymc_rbm.support.arguments import shown

__all__ = ["METHODS", "argument_of", "find_method", "follows_chains", "name_of", "shares_chains", "swaps_replicas"]

METHODS: dict[str, Callable[..., NegativePhase]] = {
    "pcd": persistent,
    "cd": contrastive,
    "fpcd": fast_persistent,
    "pt": tempered,
    "ptt": trajectory_tempered,
    "ucd": unbiased,
    "exact": exact,
}


def find_method(method: str | Callable[..., NegativePhase]) -> Callable[..., NegativePhase]:
    """Return the estimator with the name ``method``, or ``method`` itself if it is an estimator."""
    if callable(method):
        return method
    if not isinstance(method, str) or method not in METHODS:
        raise ValueError(f"method must be one of {sorted(METHODS)} or an estimator, got {shown(method)}.")
    return METHODS[method]


def follows_chains(estimator: Callable) -> bool:
    """Whether an estimator's gradient comes from persistent chains, so that their autocorrelation matters to it."""
    return getattr(estimator, "func", estimator) in (persistent, fast_persistent, tempered, trajectory_tempered)


def swaps_replicas(estimator: Callable) -> bool:
    """Whether an estimator's chains leave modes through replicas of other machines."""
    return getattr(estimator, "func", estimator) in (tempered, trajectory_tempered)


def shares_chains(estimator: Callable) -> bool:
    """Whether an estimator works with one chain a row if biases differ by row, as users' own are assumed to do."""
    return getattr(estimator, "func", estimator) not in (fast_persistent, tempered, trajectory_tempered, unbiased)


def name_of(estimator: Any) -> str:
    """Return the name of an estimator; for a ``functools.partial`` it is the name of its function."""
    return estimator.__name__ if hasattr(estimator, "__name__") else name_of(estimator.func)


def argument_of(name: str) -> str:
    """Return the argument ``method`` of `fit` for the estimator of this name; users' own have no other name."""
    return next((key for key, estimator in METHODS.items() if estimator.__name__ == name), name)
