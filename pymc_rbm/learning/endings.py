"""Warn where something other than its aim ended learning, or where little was learned."""

from __future__ import annotations

import warnings

from pymc_rbm.learning.independence import hardly_better
from pymc_rbm.learning.lbfgs import left_in_words
from pymc_rbm.learning.loop import Run
from pymc_rbm.learning.staying import at_the_edge

__all__ = ["warn_of_the_end"]


def warn_of_the_end(run: Run, done: int, interrupted: bool, starts: int) -> None:
    """Say what ended learning where that was not its aim."""
    for text in _said(run, done, interrupted, starts) + _of_edges(run):
        warnings.warn(text, stacklevel=3)


def _said(run: Run, done: int, interrupted: bool, starts: int) -> list[str]:
    if interrupted:
        planned = "" if run.budget.seconds is not None else f" of {run.before + run.epochs}"
        return [
            f"Learning was interrupted in epoch {done + 1}{planned}; what was learned so far is returned. "
            "The same call with resume=learned goes on."
        ]
    if run.stopped:
        return []
    updates = f"after {len(run.history):,} updates"
    if run.ascent is not None:
        return _of_a_climb(run, f"from {starts} start{'s' * (starts > 1)}", run.spent or f"{run.epochs} iterations")
    if run.polish is not None and run.attrs["iterate"] == "climbed":
        return _of_a_climb(run, updates, f"{run.polish.most} iterations at the end of learning")
    return _of_a_rise(run, done) or hardly_better(run.learner, False, updates)


def _of_edges(run: Run) -> list[str]:
    return [
        f"{name!r} was learned to the edge of what is known to be normalisable: steps beyond it were shortened, and "
        "this is not an optimum. Give the visible units a larger σ, lower learning_rate, or choose binary hidden "
        "units."
        for name, machine in run.learner.parameters()[1].items()
        if at_the_edge(machine)
    ]


def _of_a_climb(run: Run, after: str, length: str) -> list[str]:
    if run.attrs["converged"]:
        return hardly_better(run.learner, True, after)
    return [
        f"L-BFGS did not reach the maximum in {length}{left_in_words(run.attrs['left_to_gain'])}. Raise "
        f"{_bound(run)}; if that does not help, there may be no maximum: then give the weights a prior, with which "
        "there is one."
    ]


def _of_a_rise(run: Run, done: int) -> list[str]:
    """Say that the log-likelihood still rose, or that seconds ran out before this could be seen."""
    settling, by_time = run.settling, bool(run.spent) and _bound(run) == "seconds"
    asked = bool(run.spent) or (settling is not None and settling.asked)
    if settling is not None and settling.seen:
        # A bound in seconds is no judgement: then a rise that may be noise is told, too.
        if not (settling.rising if by_time and not settling.asked else settling.unfinished):
            return []
        gain, error = settling.gain
        why = "and may not be finished: in the last quarter of learning at the full rate the log-likelihood rose by "
        why += f"{gain:.2g} nats a row, with a standard error of {error:.1g}"
    elif by_time:
        what = "before it could be seen" if settling is not None else "and it was not checked"
        why = f"after {len(run.history):,} updates, {what} whether the log-likelihood still rose"
    else:
        return []
    whose = "as asked for" if asked else "which is the most by default"
    return [
        f"Learning ended after {run.spent or f'{done} epochs'}, {whose}, {why}. Go on with "
        f"pymc_rbm.fit({_more(run, done)}, resume=learned){f', or leave {_bound(run)} out' * asked}"
        f"{'; pymc_rbm.diagnose(learned) says whether it has finished' * (settling is None)}."
    ]


def _bound(run: Run) -> str:
    """Return the name of the argument that bounded learning."""
    return (run.spent or "epochs").split()[-1]


def _more(run: Run, done: int) -> str:
    """Return the argument of `fit` that asks for as much learning again."""
    return f"{_bound(run)}={getattr(run.budget, _bound(run))}" if run.spent else str(done)
