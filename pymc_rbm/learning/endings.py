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
        planned = "" if run.budget.seconds is not None else f" of {run.before + run.epochs}"
        _warn(
            f"Learning was interrupted in epoch {done + 1}{planned}; what was learned so far is returned. "
            "pymc_rbm.fit(epochs, resume=learned) goes on."
        )
    elif not run.stopped and run.ascent is not None:
        _of_a_climb(run, f"from {starts} start{'s' * (starts > 1)}", run.spent or f"{run.epochs} iterations")
    elif not run.stopped and run.attrs.get("iterate") == "climbed":
        assert run.polish is not None
        _of_a_climb(run, f"after {len(run.history):,} updates", f"{run.polish.most} iterations at the end of learning")
    elif not run.stopped and not _warned_of_a_rise(run, done):
        warn_of_independence(run.learner, False, f"after {len(run.history):,} updates")
    for name, machine in run.learner.parameters()[1].items():
        if at_the_edge(machine):
            _warn(
                f"{name!r} was learned to the edge of what is known to be normalisable: steps further were shortened, "
                "and this is no optimum. Give the visible units a larger σ, lower learning_rate, or choose binary "
                "hidden units."
            )


def _warn(text: str) -> None:
    warnings.warn(text, stacklevel=5)


def _of_a_climb(run: Run, after: str, length: str) -> None:
    if run.attrs["converged"]:
        warn_of_independence(run.learner, True, after)
        return
    _warn(
        f"L-BFGS did not reach the maximum in {length}"
        f"{left_in_words(run.attrs['left_to_gain'])}. Raise {_bound(run)}; if it stays so there may be no maximum, "
        "which a prior on the weights gives."
    )


def _warned_of_a_rise(run: Run, done: int) -> bool:
    """Warn where the log-likelihood still rose, or where a bound in seconds came before anybody could see."""
    settling, asked, by_time = run.settling, bool(run.spent), bool(run.spent) and run.budget.seconds is not None
    if settling is not None and settling.seen:
        # A bound in seconds is no judgement: then a rise that may be noise is told, too.
        if not (settling.rising if by_time and not settling.asked else settling.unfinished):
            return False
        asked = asked or settling.asked
        gain, error = settling.gain
        why = "and may not be finished: in the last quarter of them with the full rate the log-likelihood rose by "
        why += f"{gain:.2g} nats a row, with a standard error of {error:.1g}"
    elif by_time:
        what = "before it could be seen" if settling is not None else "and nobody looked"
        why = f"after {len(run.history):,} updates, {what} whether the log-likelihood still rose"
    else:
        return False
    whose = "as asked for" if asked else "the most that it goes on to by default"
    _warn(
        f"Learning ended after {run.spent or f'{done} epochs'}, {whose}, {why}. Go on with "
        f"pymc_rbm.fit({_more(run, done)}, resume=learned){f', or leave {_bound(run)} out' * asked}"
        f"{'; pymc_rbm.diagnose(learned) says whether it has finished' * (settling is None)}."
    )
    return True


def _bound(run: Run) -> str:
    """The argument that bounded learning."""
    return (run.spent or "epochs").split()[-1]


def _more(run: Run, done: int) -> str:
    """As much once more, as an argument."""
    amounts = {
        "epochs": str(done),
        "updates": f"updates={run.budget.updates}",
        "seconds": f"seconds={run.budget.seconds}",
    }
    return amounts[_bound(run)]
