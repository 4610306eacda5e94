"""Find modes that chains of a learned machine do not leave, and how much of data, particles and machine is in them.

Where a machine has such modes its plain chains say nothing of how they weigh. Chains from rows of the data and from
random starts find them; then every state belongs to the one whose mean is nearest. Any such rule is fair, as it is the
same for rows, particles and draws.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy
import xarray as xr

from pymc_rbm.diagnostics.excursions import Excursions
from pymc_rbm.diagnostics.failures import DATA_NOT_REACHABLE, MODE_LOST, MODE_OVER_WEIGHTED
from pymc_rbm.diagnostics.probes import distinct
from pymc_rbm.diagnostics.thresholds import DATA_DISTANCE
from pymc_rbm.diagnostics.verdict import FINISHED, NOT_FINISHED, NOT_MIXED, UNKNOWN, Finding
from pymc_rbm.machine.enumeration import is_enumerable
from pymc_rbm.machine.machine import Machine
from pymc_rbm.sampling.forward import draw_visible
from pymc_rbm.sampling.ladder import LEAST_RENEWALS, recorded_ladder
from pymc_rbm.sampling.laddered import first_ladder, run_ladder
from pymc_rbm.sampling.observables import functionals
from pymc_rbm.support.convergence import FALSE_ALARM, RHAT, convergence

__all__ = ["Modes", "Weights", "judge_modes", "judge_weights", "machine_weights", "modes_of"]

MOST = 30
EXACT_DRAWS = 10_000
CHAINS, LIFTS, TUNING = 50, 200, 100
"""The numbers of chains, of lifts that are kept, and of lifts before these, along a ladder to the machine."""
UNSEEN = 3
"""A mode in which none of n draws falls has a probability above this number over n with a chance of e⁻³ at most."""


@dataclass(frozen=True)
class Modes:
    """Modes, each of which is given by its mean.

    Attributes
    ----------
    centres : ndarray, shape (modes, visible)
    scale : ndarray, shape (visible,)
        The numbers by which the units are divided before distances are taken.
    data : ndarray, shape (modes,)
        The share of the data in each.
    visited : ndarray of bool, shape (modes,)
        Whether some chain from a random start was there, in its second half.
    """

    centres: np.ndarray
    scale: np.ndarray
    data: np.ndarray
    visited: np.ndarray

    def of(self, states: np.ndarray) -> np.ndarray:
        """Return the mode that each state belongs to."""
        centres, x = self.centres / self.scale, states / self.scale
        return ((centres**2).sum(1) - 2 * x @ centres.T).argmin(-1)


def modes_of(machine: Machine, found: Excursions, rows: np.ndarray, weights: np.ndarray) -> Modes | None:
    """Return the modes that chains stay in, those that have data first; None where chains are not apart.

    They are where R-hat of a functional, over chains from random starts and from data, is beyond what chance allows.
    """
    tails = np.concatenate([found.tail_from_data, found.tail])
    table = convergence(functionals(machine, tails))
    apart = table["rhat"] > np.fmax(RHAT, table["rhat_by_chance"])
    if not apart.any():
        return None
    tau = float(table["autocorrelation_within"].fillna(1.0).max())
    representatives = distinct(tails, tau)[:MOST]
    if len(representatives) < 2:
        return None
    spread = tails.reshape(-1, tails.shape[-1]).std(0)
    scale = np.ones_like(spread) if np.ptp(rows) <= 1 else np.where(spread > 0, spread, 1.0)
    modes = Modes(tails[representatives].mean(1), scale, np.zeros(0), np.zeros(0, bool))
    n = len(representatives)
    data = np.bincount(modes.of(rows), weights, n)
    visited = np.bincount(modes.of(found.tail.mean(1)), minlength=n) > 0
    return Modes(modes.centres, scale, data, visited)


def judge_modes(modes: Modes, particles: np.ndarray | None, plain: bool = True) -> list[Finding]:
    """Return what follows for modes that have data but no particles, or that random starts do not lead to.

    The latter is a failure only where the machine is drawn from by ``plain`` chains.
    """
    findings = []
    away = float(modes.data[~modes.visited].sum())
    if plain and away > DATA_DISTANCE:
        seen = (
            f"chains from random starts never come to where {away:.0%} of the data are, and chains that start "
            "there stay there"
        )
        findings.append(DATA_NOT_REACHABLE.finding(NOT_MIXED, seen))
    if particles is None:
        return findings
    counts = np.bincount(modes.of(particles), minlength=len(modes.data))
    by_chance = (1 - modes.data) ** len(particles)
    lost = (counts == 0) & (by_chance < FALSE_ALARM / len(modes.data))
    if lost.any():
        where = "a mode that holds" if lost.sum() == 1 else f"{lost.sum()} modes that together hold"
        seen = f"none of {len(particles)} particles is in {where} {modes.data[lost].sum():.0%} of the data"
        findings.append(MODE_LOST.finding(NOT_MIXED, seen))
    return findings


@dataclass(frozen=True)
class Weights:
    """Probabilities that the machine gives to modes, standard errors, and how many draws of which kind gave them."""

    values: np.ndarray
    errors: np.ndarray
    draws: int
    how: str


def machine_weights(
    machine: Machine, learned: xr.DataTree, modes: Modes, start: np.ndarray, rng: np.random.Generator
) -> Weights | None:
    """Return the machine's weights of modes: by exact draws, or by chains that swap along a ladder.

    None where these became new ones from the bottom less than twice, or did not find all modes that have data.
    """
    n = len(modes.data)
    if is_enumerable(machine):
        share = np.bincount(modes.of(draw_visible(rng, EXACT_DRAWS, 0, machine)), minlength=n) / EXACT_DRAWS
        return Weights(share, np.sqrt(share * (1 - share) / EXACT_DRAWS), EXACT_DRAWS, "by exact draws")
    method = "pt" if recorded_ladder(learned, machine) is None else "ptt"
    chosen = start[rng.integers(len(start), size=CHAINS)]
    ladder = first_ladder(machine, learned, method, chosen, rng)
    kept, _, figures = run_ladder(ladder, rng, LIFTS, TUNING, 1, True, False)
    by_chain = (modes.of(kept["states"])[..., None] == np.arange(n)).mean(1)
    share = by_chain.mean(0)
    if figures["renewals"] < LEAST_RENEWALS or (share[modes.data > 0] == 0).any():
        return None
    error = by_chain.std(0, ddof=1) / np.sqrt(CHAINS)
    return Weights(share, error, CHAINS * figures["renewals"], "by chains that swap along a ladder")


def judge_weights(modes: Modes, weights: Weights, kept: float, matters: float, verdict: str) -> list[Finding]:
    """Return a finding where the machine gives a mode more than the data do, and that costs likelihood.

    Parameters
    ----------
    modes : Modes
    weights : Weights
    kept : float
        The number of rows in ``modes.data``, divided by what is left of their sampling error: infinite if they are all
        that was learned.
    matters : float
        Nats a row. With the right weights, and nothing else changed inside and outside of the mode, a row gains the
        Kullback–Leibler divergence of both pairs of weights.
    verdict : str
        The verdict on learning. Where learning has finished there is nothing to say.
    """
    if verdict == FINISHED:
        return []
    w, q = modes.data, weights.values
    error = np.hypot(weights.errors, np.sqrt(w * (1 - w) / kept))
    least = np.minimum(q - scipy.stats.norm.isf(FALSE_ALARM / len(w)) * error, 1 - UNSEEN / weights.draws)
    cost = np.where(least > w, scipy.special.rel_entr(w, least) + scipy.special.rel_entr(1 - w, 1 - least), 0.0)
    k = int(np.argmax(cost))
    if not cost[k] > matters:
        return []
    seen = (
        f"the machine gives {q[k]:.1%} ± {error[k]:.1%}, {weights.how}, to a mode with {w[k]:.1%} of the data, which "
        f"costs at least {cost[k]:.2g} nats a row"
    )
    return [MODE_OVER_WEIGHTED.finding(NOT_FINISHED if verdict == UNKNOWN else verdict, seen)]
