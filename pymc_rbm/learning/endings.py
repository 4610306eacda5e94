"""What `fit` says where something else than its aim ended learning, or where little was learned."""

from __future__ import annotations

import warnings

from pymc_rbm.learning.independence import warn_of_independence
from pymc_rbm.learning.lbfgs import left_in_words
from pymc_rbm.learning.loop import Run
from pymc_rbm.learning.staying import at_the_edge

__all__ = ["warn_of_the_end"]


def warn_of_the_end(run: Run, done: int, interrupted: bool, starts: int) -> None:
    """Say what ended learning where that was not its aim."""
    if interrupted:
        planned = run.before + run.epochs
        warnings.warn(
            f"Learning was interrupted in epoch {done + 1} of {planned}; what was learned so far is returned. "
            "pymc_rbm.fit(epochs, resume=learned) goes on.",
            stacklevel=3,
        )
    elif run.ascent is not None and not (run.attrs["converged"] or run.stopped):
        warnings.warn(
            f"L-BFGS did not reach the maximum in {run.epochs} iterations{left_in_words(run.attrs['left_to_gain'])}. "
            "Raise epochs; if it stays so there may be no maximum, which a prior on the weights gives.",
            stacklevel=3,
        )
    elif run.ascent is not None and not run.stopped:
        warn_of_independence(run.learner, True, f"from {starts} start{'s' * (starts > 1)}")
    elif run.settling is not None and run.settling.unfinished and not run.stopped:
        gain, error = run.settling.gain
        why = "as asked for" if run.settling.asked else "the most that it goes on to by default"
        warnings.warn(
            f"Learning ended after {done} epochs, {why}, and may not be finished: in the last quarter of them with the "
            f"full rate the log-likelihood rose by {gain:.2g} nats a row, with a standard error of {error:.1g}. Go on "
            f"with pymc_rbm.fit({done}, resume=learned){', or leave epochs out' * run.settling.asked}.",
            stacklevel=3,
        )
    elif not run.stopped:
        warn_of_independence(run.learner, False, f"after {len(run.history):,} updates")
    for name, machine in run.learner.parameters()[1].items():
        if at_the_edge(machine):
            warnings.warn(
                f"{name!r} was learned to the edge of what is known to be normalisable: steps further were shortened, "
                "and this is no optimum. Give the visible units a larger σ, lower learning_rate, or choose binary "
                "hidden units.",
                stacklevel=3,
            )
