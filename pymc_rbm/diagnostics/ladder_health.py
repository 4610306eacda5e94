"""Judge the particles of a learning run by its ladder."""

from __future__ import annotations

import xarray as xr

from pymc_rbm.diagnostics.failures import LADDER_TORN, NOT_RENEWED, RATE_TOO_HIGH
from pymc_rbm.diagnostics.verdict import UNKNOWN, Finding
from pymc_rbm.sampling.ladder import LEAST_RENEWALS, TORN

__all__ = ["judge_ladder"]

MOST_REJECTED = 0.01
"""The share of swaps after which updates were taken back, above which the learning rate is too high."""


def judge_ladder(learned: xr.DataTree, name: str) -> tuple[list[Finding], dict[str, float]]:
    """Return failures and last figures of the ladder of a run with ``method="ptt"``; both are empty for other runs."""
    history = learned["learning"].dataset
    if f"{name}_renewals" not in history:
        return [], {}
    last = {key: float(history[f"{name}_{key}"][-1]) for key in ("rungs", "swap_rate", "round_trips", "renewals")}
    rejected = float(history[f"{name}_rejected"][-1])
    findings = []
    if last["swap_rate"] < TORN:
        seen = f"the two neighbours on the ladder that swap least do so in {last['swap_rate']:.0%} of all attempts"
        findings.append(LADDER_TORN.finding(UNKNOWN, seen))
    if last["renewals"] < LEAST_RENEWALS:
        seen = (
            "descendants of the independent units at the bottom of the ladder replaced all of them "
            f"{last['renewals']:.0f} times, fewer than {LEAST_RENEWALS}"
        )
        findings.append(NOT_RENEWED.finding(UNKNOWN, seen))
    if rejected > MOST_REJECTED * history.sizes["iteration"]:
        seen = f"{rejected:.0f} times updates tore the machine off its ladder and were taken back"
        findings.append(RATE_TOO_HIGH.finding(UNKNOWN, seen))
    return findings, {f"ladder_{key}": x for key, x in last.items()} | {"ladder_rejected": rejected}
