"""The verdict: rules from measures to findings, and the report that they end in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from typing import NamedTuple

import numpy as np
import xarray as xr

from pymc_rbm.probes import ProbeResult
from pymc_rbm.thresholds import ESS, ESS_PER_CHAIN, FEW_DRAWS, GRADIENT, NEGLIGIBLE_WEIGHT, RENEWALS, RHAT, UNEXPLAINED

__all__ = ["Diagnosis", "Finding", "judge_chains", "judge_learning", "judge_probes", "judge_units"]

MIXED, UNKNOWN, NOT_MIXED = "mixed", "cannot tell", "not mixed"

LONGER = "Draw more, or run more sweeps per draw: pm.sample(block_gibbs={'sweeps': …}), pmr.sample_gibbs(thin=…)."
SLOW = (
    "Do not use averages over these draws. If ten times as many sweeps change nothing, the machine has modes that "
    "block Gibbs cannot leave: smaller weights (a narrower prior on W) mix better."
)


class Finding(NamedTuple):
    """One observation: the best verdict that it allows, in words, and what to do about it."""

    verdict: str
    reason: str
    advice: str = ""


@dataclass(frozen=True)
class Diagnosis:
    """What `diagnose` found.

    Attributes
    ----------
    subject : str
        What was looked at.
    verdict : {"mixed", "not mixed", "cannot tell"}
    reasons : list of str
        Why, the gravest first.
    advice : list of str
        What to do.
    measures : Dataset
        Every figure. By ``functional``: ``rhat``, ``rhat_by_chance``, ``ess_bulk``, ``ess_tail``, ``autocorrelation``
        (draws), ``autocorrelation_sweeps``, ``probe_rhat``, ``probe_rhat_by_chance``; scalars for units, probes and
        learning, as far as they could be had.
    """

    subject: str
    verdict: str
    reasons: list[str]
    advice: list[str]
    measures: xr.Dataset = field(repr=False)

    @classmethod
    def of(cls, subject: str, findings: Sequence[Finding], measures: xr.Dataset) -> Diagnosis:
        """The verdict that all findings allow: the gravest of them."""
        order = [NOT_MIXED, UNKNOWN, MIXED]
        ranked = sorted(findings, key=lambda finding: order.index(finding.verdict))
        advice = dict.fromkeys(finding.advice for finding in ranked if finding.advice)
        return cls(subject, ranked[0].verdict, [finding.reason for finding in ranked], list(advice), measures)

    def _rows(self) -> list[list[str]]:
        """The table by functional, header first."""
        m = self.measures
        in_sweeps = "autocorrelation_sweeps" in m
        tau = m["autocorrelation_sweeps" if in_sweeps else "autocorrelation"]
        rows = [["", "R-hat", "ESS", "tail ESS", f"autocorrelation ({'sweeps' if in_sweeps else 'draws'})"]]
        if "probe_rhat" in m:
            rows[0] += ["R-hat with probes", "by chance"]
        for i, name in enumerate(m.functional.values):
            figures = [(m["rhat"], ".3f"), (m["ess_bulk"], ".0f"), (m["ess_tail"], ".0f"), (tau, ".3g")]
            if "probe_rhat" in m:
                figures += [(m["probe_rhat"], ".3f"), (m["probe_rhat_by_chance"], ".3f")]
            shown = ["constant" if np.isnan(x[i]) else f"{float(x[i]):{style}}" for x, style in figures]
            rows.append([str(name), *shown])
        return rows

    def _needs(self) -> str:
        return f'"mixed" needs R-hat up to {RHAT}, ESS of at least {ESS}, and probes that agree with the draws.'

    def __str__(self) -> str:
        rows = self._rows()
        widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
        table = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows]
        advice = [f"  To do: {x}" for x in self.advice]
        return "\n".join(
            [f"{self.verdict}: {self.subject}", *(f"  - {x}" for x in self.reasons), *advice, *table, self._needs()]
        )

    def _repr_html_(self) -> str:
        header, *rows = self._rows()
        items = "".join(f"<li>{escape(x)}</li>" for x in self.reasons)
        advice = "".join(f"<p>To do: {escape(x)}</p>" for x in self.advice)
        head = "".join(f"<th>{escape(x)}</th>" for x in header)
        body = "".join(f"<tr>{''.join(f'<td>{escape(x)}</td>' for x in row)}</tr>" for row in rows)
        return (
            f"<p><b>{escape(self.verdict)}</b>: {escape(self.subject)}</p><ul>{items}</ul>{advice}"
            f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table><p>{escape(self._needs())}</p>"
        )


def judge_chains(table: xr.Dataset, chains: int, draws: int) -> list[Finding]:
    """What R-hat and ESS of the functionals allow to say."""
    if draws < FEW_DRAWS:
        return [Finding(UNKNOWN, f"{draws} draws a chain are too few to say anything (at least {FEW_DRAWS}).", LONGER)]
    rhats, limits, sizes = (table[key].values for key in ("rhat", "rhat_by_chance", "ess_bulk"))
    if np.isnan(rhats).all():
        return [Finding(UNKNOWN, "All chains are constant at the same values: there is nothing to compare.", LONGER)]
    beyond = rhats > np.fmax(RHAT, limits)
    worst, least = np.nanargmax(np.where(beyond.any() & ~beyond, np.nan, rhats)), np.nanargmin(sizes)
    rhat, ess = rhats[worst], sizes[least]
    disagree = f"The chains disagree: R-hat of the {table.functional.values[worst]} is {rhat:.3f}"
    if beyond.any():
        return [Finding(NOT_MIXED, f"{disagree}, above {RHAT} by more than chance.", SLOW)]
    slow = f"ESS of the {table.functional.values[least]} is {ess:.0f} in {chains} x {draws:,} draws"
    if ess < ESS_PER_CHAIN * chains:
        return [Finding(NOT_MIXED, f"The chains are slower than they are long: {slow}.", SLOW)]
    found = []
    if rhat > RHAT:
        found.append(Finding(UNKNOWN, f"{disagree}, above {RHAT}, which chance can explain in so few draws.", LONGER))
    if ess < ESS:
        found.append(Finding(UNKNOWN, f"Few effective draws: {slow}, below {ESS}.", LONGER))
    return found or [
        Finding(MIXED, f"The chains agree: R-hat is at most {rhat:.3f}, ESS at least {ess:.0f} ({chains} chains).")
    ]


def judge_units(measures: dict[str, float], still_chains: int, draws: int) -> list[Finding]:
    """What constant chains and units allow to say: stuck ones are failures, dead and rare ones need not be."""
    found = []
    stuck = {side: int(measures.get(f"{side}_stuck", 0)) for side in ("visible", "hidden")}
    if draws >= FEW_DRAWS and still_chains:
        moves = "chain never moves" if still_chains == 1 else "chains never move"
        found.append(Finding(NOT_MIXED, f"{still_chains} {moves} while others do.", SLOW))
    if draws >= FEW_DRAWS and any(stuck.values()):
        words = " and ".join(f"{n} {side}" for side, n in stuck.items() if n)
        found.append(Finding(NOT_MIXED, f"{words} units are stuck: constant in each chain, not the same in all.", SLOW))
    constant = int(measures.get("visible_dead", 0) + measures.get("visible_always_on", 0))
    if not constant:
        return found
    expected = measures.get("visible_unexplained", np.nan)
    if expected > UNEXPLAINED:
        reason = (
            f"{constant} visible units never change, though the machine would change one of them {expected:.0f} times "
            "in as many independent draws: these are not draws of this machine, or the chains are stuck."
        )
        return [*found, Finding(NOT_MIXED, reason, "Check that the draws and the machine belong together.")]
    known = "which the machine explains" if np.isfinite(expected) else "which only the machine could explain"
    return [*found, Finding(MIXED, f"{constant} visible units never change, {known}; no error in itself.")]


def judge_probes(result: ProbeResult) -> list[Finding]:
    """What probes allow to say."""
    n, length = len(result.kinds), f"{result.sweeps:,} sweeps"
    away = int(result.away.sum())
    if away and not result.negligible:
        kinds = ", ".join(dict.fromkeys(k for k, a in zip(result.kinds, result.away, strict=True) if a))
        weight = (
            "whose probability annealing cannot bound"
            if result.weight >= 1
            else f"of a probability of at most {result.weight:.2g}"
        )
        reason = (
            f"{away} of {n} probes ({kinds}) stay away from the draws for {length}, in a mode {weight}: chains that "
            "agree share a mode."
        )
        return [Finding(NOT_MIXED, reason, SLOW)]
    if result.disagreeing:
        words = ", ".join(result.disagreeing)
        return [Finding(NOT_MIXED, f"Draws and probes of {length} disagree in: {words}.", SLOW)]
    found = [Finding(MIXED, f"{n - away} of {n} probes from other starts come to where the draws are, in {length}.")]
    if away:
        reason = f"{away} probes stay elsewhere, with a probability of at most {result.weight:.2g}"
        found.append(Finding(MIXED, f"{reason} (below {NEGLIGIBLE_WEIGHT}): negligible."))
    return found


def judge_learning(measures: dict[str, float], data_away: list[str], lagging: list[str], failed: bool) -> list[Finding]:
    """What the particles, the data and the gradient allow to say about a learning run, of chains that failed or not."""
    found = []
    if failed:
        advice = (
            "Learn again with method='pt', with more sweeps or a narrower prior. Until then pmr.averaged(learned) is "
            "the better estimate: it depends less on where the last particles were."
        )
        found.append(Finding(NOT_MIXED, "The gradients of learning came from chains like these.", advice))
    if lagging:
        reason = f"The particles lag behind the machine: when they run on, these change: {', '.join(lagging)}."
        found.append(Finding(NOT_MIXED, reason, "Lower the learning rate at the end, or run more sweeps an iteration."))
    if data_away:
        reason = f"The machine is not where the data are: draws and data differ in {', '.join(data_away)}."
        advice = "Learn longer or with more hidden units; if the chains did not mix, with more sweeps or a lower rate."
        found.append(Finding(UNKNOWN, reason, advice))
    if measures["renewals"] < RENEWALS:
        reason = (
            f"Learning took {measures['renewals']:.1f} autocorrelation times of the last machine, below {RENEWALS}: "
            "the particles cannot have followed the parameters."
        )
        found.append(Finding(UNKNOWN, reason, "Learn longer, or run more sweeps an iteration."))
    ratio = measures.get("gradient_ratio", np.nan)
    if ratio > GRADIENT:
        reason = f"Learning is not at rest: the gradient is {ratio:.1f} times its Monte Carlo error (up to {GRADIENT})."
        found.append(Finding(UNKNOWN, reason, "Learn longer, or with a rate that falls to zero."))
    elif np.isfinite(ratio):
        reason = f"The gradient is {ratio:.1f} times its Monte Carlo error: noise, as far as the particles can show."
        found.append(Finding(MIXED, reason))
    return found
