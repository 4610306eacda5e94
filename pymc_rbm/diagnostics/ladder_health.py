"""What the ladder of a learning run says of its particles: failures by name, what each means, and the remedy."""

from __future__ import annotations

import xarray as xr

from pymc_rbm.diagnostics.verdict import UNKNOWN, Finding
from pymc_rbm.sampling.ladder import LEAST_RENEWALS, TORN

__all__ = ["judge_ladder"]

MOST_REJECTED = 0.01
"""The largest share of swaps after which updates were taken back."""


def judge_ladder(learned: xr.DataTree, name: str) -> tuple[list[Finding], dict[str, float]]:
    """Return findings about the ladder of a run with ``method="ptt"``, and its last figures; nothing of others."""
    history = learned["learning"].dataset
    if f"{name}_renewals" not in history:
        return [], {}
    last = {key: float(history[f"{name}_{key}"][-1]) for key in ("rungs", "swap_rate", "round_trips", "renewals")}
    rejected = float(history[f"{name}_rejected"][-1])
    findings = []
    if last["swap_rate"] < TORN:
        findings.append(
            Finding(
                UNKNOWN,
                f"Ladder torn: the pair that swaps least does so in {last['swap_rate']:.0%} of all attempts, so that "
                "the particles are cut off from the machines below, and from modes that they have not met.",
                "Lower learning_rate, and go on with pmr.fit(resume=learned): the ladder mends itself meanwhile.",
            )
        )
    if last["renewals"] < LEAST_RENEWALS:
        findings.append(
            Finding(
                UNKNOWN,
                f"Particles not renewed: all of them were replaced by descendants of the independent units at the "
                f"bottom {last['renewals']:.0f} times, and not twice, so that they remember their starts.",
                "Learn for longer: pmr.fit(resume=learned).",
            )
        )
    if rejected > MOST_REJECTED * history.sizes["iteration"]:
        findings.append(
            Finding(
                UNKNOWN,
                f"Rate too high: {rejected:.0f} times updates tore the machine off its ladder and were taken back.",
                "Lower learning_rate.",
            )
        )
    return findings, {f"ladder_{key}": x for key, x in last.items()} | {"ladder_rejected": rejected}
