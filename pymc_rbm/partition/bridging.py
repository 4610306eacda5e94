"""Bennett's method finds steps of log Z along a ladder of machines, with an error from the chains on its rungs.

Ensembles are independent sets of chains, one a rung, that swap among themselves only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy

from pymc_rbm.partition.bennett import root

__all__ = ["FEW_DRAWS", "Solution", "settled", "solution"]

FALSE_ALARM = 0.001
"""The chance that stationary ensembles (independent sets of chains) are said to move."""
FEW_DRAWS = 50
ROUNDING = 1e-9


def _by_pair(x: np.ndarray) -> np.ndarray:
    return np.moveaxis(x, 1, 0).reshape(x.shape[1], -1)


@dataclass(frozen=True)
class Solution:
    """Bennett's steps of log Z, and the influence of each draw on their sum: (draws, ensembles), with mean zero."""

    steps: np.ndarray
    influence: np.ndarray
    overlap: np.ndarray

    @property
    def ensembles(self) -> int:
        """The number of ensembles."""
        return self.influence.shape[1]

    @property
    def standard_error(self) -> float:
        """The standard error of log Z, from the spread of the ensembles, which are independent; infinite if unknown."""
        found = float(self.influence.mean(0).std(ddof=1) / np.sqrt(self.ensembles))
        return found if np.isfinite(found) else np.inf

    @property
    def _by_ensemble(self) -> np.ndarray:
        half = len(self.influence) // 2
        return self.influence[-half:].mean(0) - self.influence[:half].mean(0)

    @property
    def drift(self) -> float:
        """The difference between log Z from the second half of the draws and from the first."""
        return float(self._by_ensemble.mean())

    @property
    def moves(self) -> bool:
        """Whether the ensembles drift together, which stationary chains do not."""
        spread = self._by_ensemble.std(ddof=1) / np.sqrt(self.ensembles)
        return abs(self.drift) > spread * scipy.stats.t.isf(FALSE_ALARM / 2, self.ensembles - 1) + ROUNDING


def settled(up: np.ndarray, down: np.ndarray) -> Solution:
    """Bridge all draws or, as long as they still move, the later half of them.

    ``up`` and ``down`` are ``F_upper - F_lower`` at states of the lower rung, and its negative at states of the upper
    one, shape (draws, pairs, ensembles).
    """
    while True:
        found = solution(up, down)
        if not found.moves or len(up) < 2 * FEW_DRAWS:
            return found
        up, down = up[len(up) // 2 :], down[len(down) // 2 :]


def solution(up: np.ndarray, down: np.ndarray) -> Solution:
    """Solve Bennett's equation for each pair of neighbours, and return the linear influence of each draw on log Z, too.

    At the root, draws of ensemble e move Δ_k by g_ek / g'_k, where g is the equation's left side minus its right side.
    This is the infinitesimal jackknife over ensembles, which are independent; it includes the autocorrelation of the
    chains and the covariance of neighbouring steps. It is NaN where g'_k is zero: no draw of one rung could be one of
    the other, and the step is not known.
    """
    steps = np.array([root(*pair) for pair in zip(_by_pair(up), _by_pair(down), strict=True)])
    forward = scipy.special.expit(-steps[:, None] - up)
    backward = scipy.special.expit(steps[:, None] - down)
    slope = (forward * (1 - forward) + backward * (1 - backward)).mean((0, 2))
    known = np.where(slope > 0, slope, np.nan)
    return Solution(steps, ((forward - backward) / known[:, None]).sum(1), slope)
