"""Judge the particles of a learning run, which must have followed its parameters."""

from __future__ import annotations

from pymc_rbm.diagnostics.failures import PARTICLES_LAG
from pymc_rbm.diagnostics.lag import Lag
from pymc_rbm.diagnostics.thresholds import RENEWALS
from pymc_rbm.diagnostics.verdict import NOT_MIXED, UNKNOWN, Finding

__all__ = ["judge_particles"]


def judge_particles(
    changed: list[str], lag: Lag | None, matters: float, failed: bool, renewals: float
) -> list[Finding]:
    """Return what follows from a learning run's particles.

    Parameters
    ----------
    changed : list of str
        The functionals that change beyond chance as the particles run on.
    lag : Lag or None
        How far the particles lag behind the last moves of the parameters.
    matters : float
        How many nats a row the lag may cost.
    failed : bool
        Whether the chains that continue the particles did not mix.
    renewals : float
        How many autocorrelation times of the last machine learning took.
    """
    found = []
    if failed:
        advice = (
            "Learn again with method='pt', with more sweeps or a narrower prior. Until then pmr.averaged(learned) is "
            "the better estimate: it depends less on where the last particles were."
        )
        found.append(
            Finding(
                NOT_MIXED,
                "The chains that continue the particles did not mix, and the gradients of "
                "learning came from such chains.",
                advice,
            )
        )
    seen = [f"as they run on, some functionals change ({', '.join(changed)})"] if changed else []
    if lag is not None and lag.least > matters:
        seen.append(f"they are {lag.nats:.2g} ± {lag.error:.1g} nats behind the last moves of the parameters")
    if seen:
        found.append(PARTICLES_LAG.finding(NOT_MIXED, ", and ".join(seen)))
    if renewals < RENEWALS:
        reason = (
            f"Learning took {renewals:.1f} autocorrelation times of the last machine, but at least {RENEWALS} are "
            "needed: the particles cannot have followed the parameters."
        )
        found.append(Finding(UNKNOWN, reason, "Learn longer, or run more sweeps an iteration."))
    return found
