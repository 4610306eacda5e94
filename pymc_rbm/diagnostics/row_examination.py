"""Examine rows that have machines of their own, each by itself, and say what follows for all of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from pymc_rbm.diagnostics.chains import Watched
from pymc_rbm.diagnostics.examine import WITHOUT_PROBES, examine
from pymc_rbm.diagnostics.verdict import MIXED, NOT_MIXED, UNKNOWN, Finding
from pymc_rbm.support.convergence import RHAT

__all__ = ["examine_rows"]

MOST_PROBED = 100
LEAST = "ess_bulk", "ess_tail"
LIMITED = ("rhat", "rhat_by_chance"), ("probe_rhat", "probe_rhat_by_chance")


def examine_rows(
    rows: Sequence[Watched], probes: bool, rng: np.random.Generator, progressbar: bool
) -> tuple[list[Finding], xr.Dataset]:
    """Return findings and measures of rows, as `examine` does of one machine.

    Chains are compared within a row only, and what chance explains is shared among the rows. At most 100 rows, chosen
    at random, have probes. Measures by functional are those of the worst row; ``rhat_by_row``, ``ess_by_row`` and
    ``verdict_by_row`` have all.
    """
    probed = set(rng.permutation(len(rows))[:MOST_PROBED].tolist()) if probes else set()
    results = []
    for i, row in enumerate(rows):
        findings, measures = examine(row, i in probed, rng, progressbar, among=len(rows))
        if probes and i not in probed:
            findings = [x for x in findings if x is not WITHOUT_PROBES]
        results.append((findings, measures))
    findings = []
    for verdict in (NOT_MIXED, UNKNOWN):
        concerned = [
            (row, [x for x in own if x.verdict == verdict]) for row, (own, _) in zip(rows, results, strict=True)
        ]
        concerned = [(row, own) for row, own in concerned if own]
        if concerned:
            findings += _of_some(concerned, len(rows), verdict)
    table = _table([measures for _, measures in results])
    if not findings:
        findings = _of_all(table, results, len(rows), len(probed))
    return findings, table.assign(verdict_by_row=("row", [_gravest(own) for own, _ in results]))


def _gravest(findings: list[Finding]) -> str:
    found = {x.verdict for x in findings}
    return next(x for x in (NOT_MIXED, UNKNOWN, MIXED) if x in found or x == MIXED)


def _of_some(concerned: list[tuple[Watched, list[Finding]]], rows: int, verdict: str) -> list[Finding]:
    """Return the findings of the first of some rows, with the number of rows that they concern."""
    row, own = concerned[0]
    if rows == 1:
        return own
    share = "every row" if len(concerned) == rows else f"{len(concerned)} of {rows} rows"
    return [
        Finding(
            verdict,
            f"In {share}, where chains are compared within a row; for example {row.name}: {x.reason}",
            x.advice,
        )
        for x in own
    ]


def _of_all(table: xr.Dataset, results: list, rows: int, probed: int) -> list[Finding]:
    rhat, ess = table["rhat"].max().item(), table["ess_bulk"].min().item()
    each = "within the row" if rows == 1 else f"within each of {rows} rows"
    found = [Finding(MIXED, f"The chains agree {each}: R-hat is at most {rhat:.3f}, ESS at least {ess:.0f}.")]
    away = [measures["probe_away"].values for _, measures in results if "probe_away" in measures]
    if away:
        n, beyond = sum(map(len, away)), sum(int(x.sum()) for x in away)
        which = "" if probed == rows else f" (of {probed} rows)"
        negligible = ", the others to modes of negligible probability given what is observed" * bool(beyond)
        found.append(
            Finding(MIXED, f"{n - beyond} of {n} probes{which} come to where the draws of their row are{negligible}.")
        )
    constant = sum(int(m.get("visible_dead", 0)) + int(m.get("visible_always_on", 0)) for _, m in results)
    if constant:
        found.append(
            Finding(
                MIXED,
                f"{constant} free units never change, which the machine explains; this is not an error in itself.",
            )
        )
    return found


def _table(measures: list[xr.Dataset]) -> xr.Dataset:
    """Return measures by functional, of the worst row, and by row, of the worst functional."""
    names = list(dict.fromkeys(str(key) for m in measures for key in m.functional.values))
    own = [m[[key for key, x in m.data_vars.items() if x.dims == ("functional",)]] for m in measures]
    rows = xr.concat([m.reindex(functional=names) for m in own], "row", data_vars="all")
    table = xr.Dataset({key: x.min("row") if key in LEAST else x.max("row") for key, x in rows.items()})
    for key, limit in LIMITED:
        if key in rows:  # they are those of the row that exceeds its limit by most
            worst = (rows[key] - np.fmax(RHAT, rows[limit])).fillna(-np.inf).argmax("row")
            table = table.assign({key: rows[key].isel(row=worst), limit: rows[limit].isel(row=worst)})
    table = table.assign_attrs(measures[0].attrs)
    return table.assign(rhat_by_row=rows["rhat"].max("functional"), ess_by_row=rows["ess_bulk"].min("functional"))
