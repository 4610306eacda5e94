"""Run chains of a learned machine from random starts and from rows of the data, and look after 1, 2, 4, … sweeps."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from pymc_rbm.diagnostics.probe_starts import base_path, bias_of
from pymc_rbm.machine.machine import VISIBLE, Machine
from pymc_rbm.sampling.chains import run_chains

__all__ = ["Excursions", "excursions"]

RANDOM, FROM_DATA = 128, 32
"""The numbers of chains that start at random states, and at rows of the data."""
FEWEST, MOST = 2**8, 2**12
"""The fewest and the most sweeps of a chain."""
TAIL = 32
"""The number of draws that are kept over the second half of a chain."""


@dataclass(frozen=True)
class Excursions:
    """States that chains from random starts, and from rows of the data, go through.

    Attributes
    ----------
    sweeps : ndarray of int, shape (looks,)
        0, and the powers of two up to the length of the chains.
    looks : ndarray, shape (looks, random chains, visible)
        States of the chains from random starts, at each look.
    tail : ndarray, shape (random chains, draws, visible)
        States of the same chains over their second half.
    tail_from_data : ndarray, shape (chains from data, draws, visible)
    """

    sweeps: np.ndarray
    looks: np.ndarray
    tail: np.ndarray
    tail_from_data: np.ndarray


def excursions(
    machine: Machine,
    rows: np.ndarray,
    weights: np.ndarray,
    sweeps: int,
    rng: np.random.Generator,
    progressbar: bool = False,
) -> Excursions:
    """Run the chains for ``sweeps`` sweeps, rounded up to a power of two between 256 and 4,096.

    Random starts are independent units: each state alike where there are finitely many, else at the data's means.
    """
    unit = machine.layers[VISIBLE].unit
    bias = np.zeros(rows.shape[1]) if unit.finite else bias_of(machine, rows)
    random = base_path(machine, bias).base_states(rng, RANDOM)[0]
    v = np.concatenate([random, rows[rng.choice(len(rows), FROM_DATA, p=weights)]]).astype(unit.dtype)
    length = int(2 ** np.ceil(np.log2(np.clip(sweeps, FEWEST, MOST))))
    grid = [0, *(2**k for k in range(int(np.log2(length))))]
    looks = [v]
    for before, now in pairwise(grid):
        _, v = run_chains(machine, v, rng, 1, 0, now - before, progressbar=progressbar)
        looks.append(v)
    kept, v = run_chains(machine, v, rng, TAIL, 0, length // 2 // TAIL, progressbar=progressbar)
    tail = kept["states"]
    return Excursions(np.array([*grid, length]), np.array([*looks, v])[:, :RANDOM], tail[:RANDOM], tail[RANDOM:])
