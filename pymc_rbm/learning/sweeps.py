"""The autocorrelation of the particles decides how many sweeps an update makes, so that particles forget enough."""

from __future__ import annotations

import numpy as np

from pymc_rbm.learning.history import History
from pymc_rbm.support.interrupts import arviz

__all__ = ["FLOOR", "INTERVAL", "MOST_SWEEPS", "paced"]

FLOOR = 0.2
"""The effective number of fresh particles that each iteration must have, as a share of the chains."""
INTERVAL = 100
"""The number of iterations between two decisions."""
MOST_SWEEPS = 50


def paced(history: History, sweeps: int) -> int:
    """Return the number of sweeps for the next iterations.

    Over the last `INTERVAL` iterations, all with ``sweeps`` sweeps, the slowest of the particles' functionals has an
    effective sample size ESS (ArviZ's, over all chains) among ``n = chains · iterations`` states. Each iteration thus
    brings ``ESS / iterations`` independent particles, a share ``ESS / n`` of the chains, which grows in proportion to
    the sweeps as long as it is small. The number returned makes it `FLOOR`, within 1 and `MOST_SWEEPS`, at most
    doubling or halving at a time.

    A movement that all chains have in common is drift of the parameters, not slow mixing, and is subtracted first.
    """
    az = arviz()

    shares = []
    for name in history.names:
        for functional in history.functionals(name):
            chains = history.series(f"{name}_{functional}", INTERVAL).T
            chains = chains - chains.mean(0)
            if np.ptp(chains) > 0:
                shares.append(float(az.ess(chains, chain_axis=0, draw_axis=1)) / chains.size)
    # Particles that never change, or are all alike, show no autocorrelation: they may be frozen.
    wanted = int(np.ceil(sweeps * FLOOR / min(shares))) if shares else MOST_SWEEPS
    return int(np.clip(np.clip(wanted, sweeps // 2, 2 * sweeps), 1, MOST_SWEEPS))
