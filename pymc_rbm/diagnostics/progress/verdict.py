"""Rules turn the measures of a learning run into findings, and these into the verdict on learning."""

from __future__ import annotations

import numpy as np

from pymc_rbm.diagnostics.failures import DRIFT, RATE_TOO_HIGH
from pymc_rbm.diagnostics.progress.finishing import Progress
from pymc_rbm.diagnostics.thresholds import GRADIENT, GROWTH
from pymc_rbm.diagnostics.verdict import FINISHED, NOT_FINISHED, UNKNOWN, Finding
from pymc_rbm.learning.growing import alike
from pymc_rbm.learning.lbfgs import left_in_words

__all__ = ["judge_ends", "judge_gradient", "judge_learning", "judge_reach"]

LONGER = "Learn longer, by the same call of fit with resume=learned, or begin anew with a higher rate."
SEEDS = "Fit with other values of random_seed, and keep the run with the highest pmr.log_likelihood of the rows."
START = "Start several times from other, larger values of W (start={'W': …}), and keep the best result."


def judge_learning(progress: Progress, climbed: dict[str, float]) -> list[Finding]:
    """Return what follows from the rise of the objective, and from whether an exact climb converged."""
    rise, matters = progress.rise, progress.matters
    if rise is None:
        return [_unmeasured(progress, climbed)]
    found = []
    beside = "" if rise.exact else f" ± {rise.error:.1g}"
    against = f"{matters:.2g} (the larger of a hundredth of what was learned and a tenth of the statistical error)"
    if rise.gain - 2 * rise.error > matters and not progress.direct:
        reason = (
            f"As a function of weights and biases the objective still rises, by {rise.gain:.2g}{beside} nats a row, "
            f"more than {against}; but weights and biases are functions of what learning moves, and may not be able to "
            "change in that way."
        )
        found.append(Finding(UNKNOWN, reason, LONGER))
    elif rise.gain - 2 * rise.error > matters:
        found.append(_rising(progress, f"{rise.gain:.2g}{beside}", against))
    elif climbed.get("converged") and np.isinf(rise.most):
        found.append(_converged())  # with all rows, where the rows that were kept cannot tell
    elif rise.most > matters:
        reason = (
            f"The objective may rise by up to {rise.most:.2g} nats a row, more than {against}; draws cannot tell more "
            "precisely."
        )
        found.append(Finding(UNKNOWN, reason, "Compare held-out likelihoods of a longer run: pmr.log_likelihood."))
    elif not progress.whole and not abs(progress.trend) + progress.trend_error <= matters:
        reason = "W, b and c are at rest, but learning moves other variables, too, about which fit recorded nothing."
        found.append(Finding(UNKNOWN, reason, LONGER))
    else:
        how = "exactly" if rise.exact else "by fresh draws"
        reason = (
            f"A further climb, measured {how}, gained no more than {rise.most:.2g} nats a row, less than {against}."
        )
        found.append(Finding(FINISHED, reason))
    if rise.endless:
        found.append(_without_maximum(found[0].verdict, progress.growth))
    if progress.trend + progress.trend_error < -matters and not progress.of_average:
        seen = (
            f"the last iterate is {-progress.trend:.2g} nats a row worse than the average over the second half "
            "of learning"
        )
        found.append(RATE_TOO_HIGH.finding(found[0].verdict, seen))
    if climbed and not climbed["converged"] and found[0].verdict == FINISHED:
        left = climbed.get("left_to_gain", np.nan)  # earlier versions recorded none
        found.append(Finding(FINISHED, f"L-BFGS has not converged{left_in_words(left)}."))
    return found


def _rising(progress: Progress, by: str, against: str) -> Finding:
    rise = progress.rise
    if rise is not None and rise.revived:
        reason = f"With other weights for its saturated hidden units the objective rises further, by {by} nats a row."
        return Finding(NOT_FINISHED, reason, START)
    if rise is not None and rise.elsewhere:
        reason = (
            f"Learning ended at a saddle, or at a poor maximum, no better than independent units: from another start "
            f"the objective reaches {by} nats a row more."
        )
        return Finding(NOT_FINISHED, reason, START)
    reason = f"The objective still rises: a further climb gains at least {by} nats a row, more than {against}."
    if progress.gained < progress.matters:
        reason += " So far the machine is no better than independent units."
    if progress.trend - progress.trend_error > 0 and np.isfinite(progress.rate):
        reason += (
            f" In the second half of learning it rose by about {progress.rate:.2g} nats a row in a thousand updates."
        )
    return Finding(NOT_FINISHED, reason, LONGER)


def _without_maximum(verdict: str, growth: float) -> Finding:
    named = DRIFT.finding(verdict, "a further climb ends where the objective still rises as all weights grow")
    return named if verdict != FINISHED or growth > GROWTH else named._replace(failure="")


def _converged() -> Finding:
    return Finding(FINISHED, "L-BFGS converged to a stationary point of the exact objective.")


def _unmeasured(progress: Progress, climbed: dict[str, float]) -> Finding:
    if climbed.get("converged"):
        return _converged()
    if progress.pseudo_trend - progress.pseudo_trend_error > progress.matters:
        reason = (
            f"The pseudo-likelihood still rises, by {progress.pseudo_trend:.2g} nats a row over the second half of "
            "learning. (The objective cannot be measured without independent draws of the machine.)"
        )
        return Finding(NOT_FINISHED, reason, LONGER)
    reason = "How much the objective still rises cannot be measured without independent draws of the machine."
    return Finding(UNKNOWN, reason, "Learn with method='pt', or with a narrower prior on W, so that its chains mix.")


def judge_ends(ends: list[float], verdict: str) -> list[Finding]:
    """Return what follows where climbs from different weights ended at different maxima, given the verdict."""
    ends = [x for x in ends if np.isfinite(x)]
    if verdict != FINISHED or len(ends) < 2 or alike(ends):
        return []
    *_, second, best = sorted(ends)
    reason = (
        f"There are several maxima: of {len(ends)} climbs from different weights the second best ended "
        f"{best - second:.2g}, and the worst {best - min(ends):.2g} nats a row below the best, so that a higher one is "
        "likely."
    )
    return [Finding(UNKNOWN, reason, SEEDS)]


def judge_reach(data_away: list[str], verdict: str) -> list[Finding]:
    """Return what follows where draws and data differ, given the verdict on learning."""
    if not data_away:
        return []
    reason = f"The machine is not where the data are: draws and data differ in {', '.join(data_away)}."
    if verdict == FINISHED:
        return [
            Finding(
                FINISHED,
                reason,
                "The objective is at its maximum nevertheless: add hidden units, or widen the prior.",
            )
        ]
    advice = "Learn longer or with more hidden units; if the chains did not mix, with more sweeps or a lower rate."
    return [Finding(UNKNOWN, reason, advice)]


def judge_gradient(ratio: float) -> list[Finding]:
    """Return what follows from the particles' gradient, where nothing better is known: that learning is not at rest."""
    if not ratio > GRADIENT:
        return []
    reason = f"Learning is not at rest: the gradient is {ratio:.1f} times its Monte Carlo error (above {GRADIENT})."
    return [Finding(NOT_FINISHED, reason, LONGER)]
