"""What `fit` does where it is told, and what it chooses where it is not; what cannot be done is refused here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pymc as pm
import xarray as xr

from pymc_rbm.learning.budget import Budget
from pymc_rbm.learning.data import Observed
from pymc_rbm.learning.defaults import (
    RATE,
    Correlations,
    bears_fast_rate,
    climbs_alone,
    climbs_at_the_end,
    clustered,
    default_method,
    default_rate,
)
from pymc_rbm.learning.estimators.names import (
    METHODS,
    argument_of,
    follows_chains,
    name_of,
    shares_chains,
    swaps_replicas,
)
from pymc_rbm.learning.estimators.pcd import exact
from pymc_rbm.learning.estimators.trajectory import trajectory_tempered
from pymc_rbm.learning.growing import GROWN
from pymc_rbm.learning.patterns import MOST_COMPLETIONS
from pymc_rbm.learning.schedules import hold_then_fall
from pymc_rbm.support.arguments import shown, whole_number

__all__ = ["BATCH_SIZE", "CHAINS", "Choices", "choose"]

BATCH_SIZE, CHAINS = 100, 100
EPOCHS, MOST_ITERATIONS = 50, 1000
"""The least number of epochs of stochastic methods, and the most iterations of L-BFGS, which ends by itself."""
ENDLESS = 2**40
"""The most epochs where a number of seconds is the bound."""
UPDATES, MOST_UPDATES = 10_000, 40_000
"""The least number of updates of stochastic methods, and the most that they go on to where they still rise."""


@dataclass(frozen=True)
class Choices:
    """How a call of `fit` learns."""

    estimator: Callable
    optimizer: Any
    """None where the exact objective is climbed by L-BFGS."""
    rate: Callable[[float], float]
    sweeps: int | None
    """None: as many as the particles need."""
    epochs: int
    most_epochs: int
    """More than ``epochs`` where learning goes on as long as the objective rises; 0 where nobody looks if it does."""

    last_iterations: int
    """The most iterations of a climb of the exact objective from where learning ends; 0 where there is none."""
    grows: bool
    """Whether the exact climb starts from a machine that is grown."""
    low_rank: bool
    """Whether learning starts, or started, from low-rank machines."""

    @property
    def climbs(self) -> bool:
        """Whether L-BFGS climbs the exact objective."""
        return self.optimizer is None


def choose(
    model: pm.Model,
    observed: list[Observed],
    *,
    epochs: int | None,
    budget: Budget,
    method: Callable | None,
    batch_size: int | None,
    chains: int,
    sweeps: Any,
    optimizer: Any,
    learning_rate: Any,
    resume: xr.DataTree | None,
    horizon: int | None,
    low_rank: bool,
    may_start_low: bool,
    grows: bool,
) -> Choices:
    """Decide what `fit` was not told; its docstring says how. ValueError where what it was told does not go together.

    ``epochs`` and ``budget`` bound what is chosen, and change nothing else: more of them must never give less.
    ``low_rank`` says whether learning starts there because it was asked for (`low_rank.asked_for`), ``may_start_low``
    whether it may where nothing was said, ``grows`` whether it may from a machine that is grown.
    """
    _check_resume(resume)
    estimator = method
    silent = all(x is None for x in (method, optimizer, learning_rate, sweeps, horizon))
    silent = silent and (batch_size, chains) == (BATCH_SIZE, CHAINS)
    summed = silent and climbs_at_the_end(model, observed)
    grows = grows and summed and (resume is None or GROWN in resume.attrs)
    if silent:
        climbed = (grows or climbs_alone(model, observed)) if resume is None else "starts" in resume.attrs
        estimator, optimizer = (exact, "lbfgs") if climbed else (None, None)
    correlations, by_row = Correlations(observed), [x.name for x in observed if x.by_row]
    if estimator is None and resume is not None:  # as it began, whatever the default of this version is
        began = (x for x in METHODS.values() if follows_chains(x) and name_of(x) == resume.attrs.get("method"))
        estimator = next(began, None)
    if estimator is None:
        several = low_rank or (may_start_low and any(map(clustered, correlations, observed)))
        estimator = default_method(correlations, observed, chains, several)
        low_rank = low_rank or estimator is trajectory_tempered
    climbs = _climbs(optimizer, estimator, learning_rate)
    if by_row and not shares_chains(estimator):
        raise ValueError(
            f"The biases of {by_row} differ by row, and each row needs a chain of its own: method must be 'pcd', "
            f"'cd' or 'exact', got {name_of(estimator)!r}."
        )
    incomplete = [x.name for x in observed if x.patterns is None] if climbs else []
    if incomplete:
        raise ValueError(
            f"optimizer='lbfgs' sums over all that may stand where entries of {incomplete} are missing: needed are at "
            f"most {MOST_COMPLETIONS:,} completions of finitely many values, and biases that do not differ by row. "
            "Use pm.sgd."
        )
    if sweeps is None:
        waits = follows_chains(estimator) and not swaps_replicas(estimator)
        sweeps = "auto" if chains > 1 and waits and not by_row else 1
    ends = horizon is None and not callable(learning_rate)  # a schedule of the user's is kept to
    looks = ends and not climbs and not by_row and follows_chains(estimator)
    if learning_rate is None and climbs:  # an ascent has steps of its own
        learning_rate = RATE
    elif learning_rate is None:
        fast = looks and bears_fast_rate(model, observed)
        learning_rate = default_rate(correlations, estimator, fast, low_rank)
    if resume is not None and resume.attrs.get("method") not in (None, name_of(estimator)):
        raise ValueError(
            f"`resume` learned with method={argument_of(resume.attrs['method'])!r}, this call asks for "
            f"{argument_of(name_of(estimator))!r}: give the arguments that it was learned with."
        )
    least, most = (MOST_ITERATIONS, 0) if climbs else _epochs(observed, batch_size, budget)
    if climbs and budget.updates is not None:
        epochs = min(budget.updates, epochs or budget.updates)
    return Choices(
        estimator,
        None if climbs else optimizer or pm.sgd,
        learning_rate if callable(learning_rate) else hold_then_fall(learning_rate),
        None if isinstance(sweeps, str) and sweeps == "auto" else whole_number("sweeps", sweeps),
        least if epochs is None else epochs,
        (most if epochs is None else epochs) if looks else 0,
        _most_climbed(epochs, budget) if summed and looks else 0,
        grows and climbs and _most_climbed(epochs, budget) > 0,
        low_rank,
    )


def _epochs(observed: list[Observed], batch_size: int | None, budget: Budget) -> tuple[int, int]:
    """The least and the most epochs of stochastic methods: few rows make few updates an epoch."""
    updates = 1 if batch_size is None else max(-(-len(x.rows) // batch_size) for x in observed)
    if budget.updates is not None:
        asked = -(-budget.updates // updates) + 1  # one more where the first one is the rest of one
        return asked, asked
    least = max(EPOCHS, -(-UPDATES // updates))
    return least, max(least, -(-MOST_UPDATES // updates)) if budget.seconds is None else ENDLESS


def _most_climbed(epochs: int | None, budget: Budget) -> int:
    """How long a climb may be; whoever asks for less than `EPOCHS` epochs or iterations gets none."""
    asked = min(x for x in (epochs, budget.updates, MOST_ITERATIONS) if x is not None)
    return asked if asked >= EPOCHS else 0


def _climbs(optimizer: Any, estimator: Callable, learning_rate: Any) -> bool:
    """Whether the exact objective is maximised, instead of following its gradient with a rate."""
    if not isinstance(optimizer, str) and optimizer is not None and not callable(optimizer):
        raise TypeError(f"optimizer must be one of PyMC's, such as pm.adam, or 'lbfgs', got {shown(optimizer)}.")
    if not isinstance(optimizer, str):
        return False
    if optimizer != "lbfgs" or estimator is not exact:
        raise ValueError(
            "optimizer must be one of PyMC's, such as pm.adam, or 'lbfgs', which needs method='exact'; got "
            f"{optimizer!r} with method {name_of(estimator)!r}."
        )
    if learning_rate is not None:
        raise ValueError("optimizer='lbfgs' chooses its own steps: leave learning_rate out.")
    return True


def _check_resume(resume: xr.DataTree | None) -> None:
    """Refuse what `fit` cannot go on from."""
    if resume is None:
        return
    if not isinstance(resume, xr.DataTree):
        raise TypeError(
            f"`resume` must be the DataTree that pymc_rbm.fit returned, got {type(resume).__name__}: {resume!r:.100}. "
            "Read a file with xarray.open_datatree(path).load()."
        )
    if "state" not in resume or "learning" not in resume:
        raise ValueError(f"`resume` must come from pymc_rbm.fit; this has the groups {sorted(resume.children)}.")
