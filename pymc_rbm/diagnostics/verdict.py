"""The verdict on chains: rules that make findings of measures, and the report of all findings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from typing import NamedTuple

import numpy as np
import xarray as xr

from pymc_rbm.diagnostics.probes import ProbeResult
from pymc_rbm.diagnostics.thresholds import NEGLIGIBLE_WEIGHT, UNEXPLAINED
from pymc_rbm.support.convergence import ESS, ESS_PER_CHAIN, FEW_DRAWS, RHAT

__all__ = ["Diagnosis", "Finding", "judge_chains", "judge_probes", "judge_units"]

MIXED, UNKNOWN, NOT_MIXED = "mixed", "cannot tell", "not mixed"
FINISHED, NOT_FINISHED = "finished", "not finished"
GRAVEST_FIRST = NOT_MIXED, NOT_FINISHED, UNKNOWN, FINISHED, MIXED

LONGER = "Draw more, or run more sweeps per draw: pm.sample(block_gibbs={'sweeps': …}), pmr.sample_gibbs(sweeps=…)."
SLOW = (
    "Do not use averages over these draws. If ten times as many sweeps change nothing, the machine has modes that "
    "block Gibbs cannot leave: smaller weights (a narrower prior on W) mix better, and chains of method='pt' go "
    "between modes."
)
MORE_LIFTS = (
    "Draw more, or make more lifts up the ladder for each draw: pmr.sample_gibbs(method='pt', sweeps=…), "
    "pm.sample(block_gibbs={'method': 'pt', 'sweeps': …})."
)
LADDER_MISSES = (
    "Do not use averages over these draws. If ten times as many lifts change nothing, the machine has modes that the "
    "ladder does not find: smaller weights (a narrower prior on W) mix better."
)


class Finding(NamedTuple):
    """One observation: the best verdict that it allows, the reason in words, what to do, and a failure's name."""

    verdict: str
    reason: str
    advice: str = ""
    failure: str = ""


@dataclass(frozen=True)
class Diagnosis:
    """The result of `diagnose`, which is true where the verdict is "mixed", so that draws or a run can be trusted.

    Attributes
    ----------
    subject : str
        What was diagnosed.
    verdict : {"mixed", "not finished", "not mixed", "cannot tell"}
        The gravest of ``chains`` and ``learning``. A learning run is "mixed" only if it has finished, too.
    reasons : list of str
        The reasons for the verdict: failures with a name first, then the gravest first.
    failures : list of str
        The names of failures of a learning run, of those in `diagnostics.failures`: "particles lag", "ladder torn",
        "particles not renewed", "rate too high", "one mode lost", "mode over-weighted", "dead units", "drift to
        infinity", "data not reachable", "learned out of equilibrium". A reason each says what was seen and what it
        means, and ``advice`` has the remedy.
    advice : list of str
        What to do.
    measures : Dataset
        All figures. By ``functional``: ``rhat``, ``rhat_by_chance``, ``ess_bulk``, ``ess_tail``, ``autocorrelation``
        (draws), ``autocorrelation_sweeps``, ``probe_rhat``, ``probe_rhat_by_chance``; scalars for units, probes and
        learning, as far as they are available.
    chains : {"mixed", "not mixed", "cannot tell"}
        Whether the chains mixed; of a learning run, those of the machine that was learned, and the particles with them.
    learning : {"finished", "not finished", "cannot tell"} or None
        Whether learning is done, that is, its objective no longer rises. None for draws.
    summary : str
        The verdicts in one line.

    Examples
    --------
    >>> import numpy as np, pymc_rbm as pmr
    >>> machine = pmr.restricted(np.zeros((4, 2)), np.zeros(4), np.zeros(2))
    >>> draws = pmr.sample_gibbs(machine, random_seed=1, progressbar=False)
    >>> found = pmr.diagnose(draws, random_seed=1, progressbar=False)
    >>> found.chains, found.learning, bool(found)
    ('mixed', None, True)
    >>> bool(found.measures["rhat"].max() < 1.01)
    True
    """

    subject: str
    verdict: str
    reasons: list[str]
    advice: list[str]
    measures: xr.Dataset = field(repr=False)
    chains: str = ""
    learning: str | None = None
    summary: str = ""
    failures: list[str] = field(default_factory=list)

    @classmethod
    def of(
        cls, subject: str, findings: Sequence[Finding], measures: xr.Dataset, learning: Sequence[Finding] = ()
    ) -> Diagnosis:
        """Return the diagnosis with the gravest verdicts of all findings, on chains and on learning."""
        ranked = sorted([*learning, *findings], key=lambda x: (not x.failure, GRAVEST_FIRST.index(x.verdict)))
        advice = dict.fromkeys(finding.advice for finding in ranked if finding.advice)
        chains, learned = _gravest(findings), _gravest(learning) if learning else None
        summary = chains
        if learned is not None:
            rise = f", the objective still {_of_rise(measures)}" if learned == NOT_FINISHED else ""
            summary = f"chains: {chains}; learning: {learned}{rise}"
        verdict = chains if learned in (None, FINISHED) else _gravest([*findings, *learning])
        reasons = [finding.reason for finding in ranked]
        failures = list(dict.fromkeys(x.failure for x in ranked if x.failure))
        return cls(subject, verdict, reasons, list(advice), measures, chains, learned, summary, failures)

    @property
    def mixed(self) -> bool:
        """Whether the verdict is "mixed"."""
        return self.verdict == MIXED

    def __bool__(self) -> bool:
        return self.mixed

    def _rows(self) -> list[list[str]]:
        """Return the table by functional, header first."""
        m = self.measures
        in_sweeps = "autocorrelation_sweeps" in m
        tau = m["autocorrelation_sweeps" if in_sweeps else "autocorrelation"]
        unit = m.attrs.get("moves", "sweeps") if in_sweeps else "draws"
        rows = [["", "R-hat", "ESS", "tail ESS", f"autocorrelation ({unit})"]]
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
        probes = ", and probes that agree with the draws" if self.measures.attrs.get("probes", True) else ""
        needs = f'"mixed" needs R-hat up to {RHAT}, ESS of at least {ESS}{probes}'
        if self.learning is None or "rise_that_matters" not in self.measures:
            return f"{needs}."
        matters = float(self.measures["rise_that_matters"])
        return f'{needs}; "finished" needs an objective that rises by no more than {matters:.2g} nats a row.'

    def __str__(self) -> str:
        rows = self._rows()
        widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
        table = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows]
        advice = [f"  To do: {x}" for x in self.advice]
        return "\n".join(
            [f"{self.summary}: {self.subject}", *(f"  - {x}" for x in self.reasons), *advice, *table, self._needs()]
        )

    def _repr_html_(self) -> str:
        header, *rows = self._rows()
        items = "".join(f"<li>{escape(x)}</li>" for x in self.reasons)
        advice = "".join(f"<p>To do: {escape(x)}</p>" for x in self.advice)
        head = "".join(f"<th>{escape(x)}</th>" for x in header)
        body = "".join(f"<tr>{''.join(f'<td>{escape(x)}</td>' for x in row)}</tr>" for row in rows)
        return (
            f"<p><b>{escape(self.summary)}</b>: {escape(self.subject)}</p><ul>{items}</ul>{advice}"
            f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table><p>{escape(self._needs())}</p>"
        )


def _gravest(findings: Sequence[Finding]) -> str:
    return min((finding.verdict for finding in findings), key=GRAVEST_FIRST.index)


def _of_rise(measures: xr.Dataset) -> str:
    rate, rise = (float(measures.get(key, np.nan)) for key in ("rate", "rise"))
    by = f"rises by {rise:.2g} nats a row or more" if rise > 0 else "rises"
    return by + (f" (lately by {rate:.2g} a thousand updates)" if rate > 0 else "")


def judge_chains(table: xr.Dataset, chains: int, draws: int) -> list[Finding]:
    """Return what follows from R-hat and ESS of the functionals."""
    if draws < FEW_DRAWS:
        return [
            Finding(
                UNKNOWN, f"{draws} draws a chain are too few for a verdict, which needs at least {FEW_DRAWS}.", LONGER
            )
        ]
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
        return [
            Finding(
                NOT_MIXED,
                f"The chains move too slowly for their length: {slow}, below {ESS_PER_CHAIN} for each chain.",
                SLOW,
            )
        ]
    found = []
    if rhat > RHAT:
        found.append(Finding(UNKNOWN, f"{disagree}, above {RHAT}, which chance can explain in so few draws.", LONGER))
    if ess < ESS:
        found.append(Finding(UNKNOWN, f"Few effective draws: {slow}, below {ESS}.", LONGER))
    return found or [
        Finding(MIXED, f"The chains agree: R-hat is at most {rhat:.3f}, ESS at least {ess:.0f} ({chains} chains).")
    ]


def judge_units(measures: dict[str, float], still_chains: int, draws: int) -> list[Finding]:
    """Return what follows from constant chains and units: stuck ones are failures, dead and rare ones need not be."""
    found = []
    stuck = {side: int(measures.get(f"{side}_stuck", 0)) for side in ("visible", "hidden")}
    if draws >= FEW_DRAWS and still_chains:
        moves = "chain never moves" if still_chains == 1 else "chains never move"
        found.append(Finding(NOT_MIXED, f"{still_chains} {moves} while others do.", SLOW))
    if draws >= FEW_DRAWS and any(stuck.values()):
        words = " and ".join(f"{n} {side}" for side, n in stuck.items() if n)
        found.append(
            Finding(
                NOT_MIXED,
                f"{words} units are stuck: they never change within a chain, but differ between chains.",
                SLOW,
            )
        )
    constant = int(measures.get("visible_dead", 0) + measures.get("visible_always_on", 0))
    if not constant:
        return found
    expected = measures.get("visible_unexplained", np.nan)
    never = f"{constant} visible unit{' never changes' if constant == 1 else 's never change'}"
    if expected > UNEXPLAINED:
        reason = (
            f"{never}, though the machine would change one of them {expected:.0f} times "
            "in as many independent draws: these are not draws of this machine, or the chains are stuck."
        )
        return [*found, Finding(NOT_MIXED, reason, "Check that the draws and the machine belong together.")]
    known = "which the machine explains" if np.isfinite(expected) else "which only the machine could explain"
    return [*found, Finding(MIXED, f"{never}, {known}; this is not an error in itself.")]


def judge_probes(result: ProbeResult, laddered: bool = False) -> list[Finding]:
    """Return what follows from probes, which are chains along a ladder if the draws are."""
    n, length = len(result.kinds), f"{result.sweeps:,} {'lifts along a ladder' if laddered else 'sweeps'}"
    away = int(result.away.sum())
    if away and not result.negligible:
        kinds = ", ".join(dict.fromkeys(k for k, a in zip(result.kinds, result.away, strict=True) if a))
        weight = (
            "whose probability annealing cannot bound"
            if result.weight >= 1
            else f"whose probability is at most {result.weight:.2g}"
        )
        reason = (
            f"{away} of {n} probes, chains from other starts ({kinds}), stay away from the draws for {length}, in a "
            f"mode {weight}: the chains agree because they share a mode."
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
