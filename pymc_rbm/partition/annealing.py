"""Run annealed importance sampling, forward and in reverse.

Forward, particles start at the base and are swept along the temperatures; the weights

    w = Z_0 · Π_k exp(F_{k-1}(x_{k-1}) - F_k(x_{k-1}))

have mean Z (Neal 2001): log mean w is too small on average. In reverse, from a state v, the same chain backwards gives

    u(v) = exp(-F_K(v)) / Z_0 · Π_k exp(F_k(x_{k-1}) - F_{k-1}(x_{k-1}))

with mean p_ann(v), the probability that forward annealing ends in v (Burda, Grosse & Salakhutdinov 2015). Where v is
an exact draw of the machine, exp(-F(v))/u(v) has a mean of 1/w of the forward kind, and its log is too large on
average.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pymc_rbm.machine.enumeration import is_binary_pair
from pymc_rbm.partition.path import Path, States
from pymc_rbm.sampling.sweep import kept_layers
from pymc_rbm.support.work import Work

__all__ = ["Run", "adapted", "anneal", "explored", "fitted_base", "steps_of_segment", "visible_starts"]

BATCH_ENTRIES = 150_000
"""How many units times particles are swept together, so that the loop costs little and Ctrl-C is soon heard."""
WITHOUT_KERNEL = 8
"""How many times as long an entry takes, at most, where there is no kernel: of rectified units 150 ns."""
SEGMENT_ENTRIES = 20_000_000
"""How many units times particles times temperatures, less than a second, lie between two checks for Ctrl-C."""


@dataclass(frozen=True)
class Run:
    """Finished annealing runs: sums of increments, last states, and the variance of increments by temperature.

    ``hurried`` is the temperature from which, after Ctrl-C, the particles took few steps to the end.
    """

    increments: np.ndarray
    states: States
    variance: np.ndarray
    drift: np.ndarray
    wanted: int
    hurried: float | None = None

    @property
    def finished(self) -> int:
        """The number of particles that finished."""
        return len(self.increments)

    @property
    def interruption(self) -> str:
        """What Ctrl-C left of the run, in words."""
        if self.hurried is None:
            return f"interrupted: {self.finished} of {self.wanted} particles finished"
        return f"interrupted: from β = {self.hurried:.2g} on, {self.finished} particles took only a few steps"


def anneal(
    path: Path,
    betas: np.ndarray,
    rng: np.random.Generator,
    work: Work,
    particles: int,
    starts: States | None = None,
    needed: bool = True,
) -> Run:
    """Anneal ``particles`` along ``betas``: upwards from draws of the base, or in reverse from ``starts`` if given.

    Ctrl-C ends the run between two batches. If the first batch is not finished and ``needed``, it goes through the
    remaining temperatures in few steps: weights keep their mean with any temperatures, and their spread shows what
    that cost. Otherwise an unfinished batch is lost. Raises ValueError if a weight is not finite.
    """
    # Rows with biases of their own stay together.
    batch = particles if path.rows else max(1, min(particles, max(16, BATCH_ENTRIES // path.units)))
    reverse = starts is not None
    pieces: list[tuple[np.ndarray, States]] = []
    moments: list[np.ndarray] = []
    hurried, total_steps = None, len(betas) * -(-particles // batch)
    for begin in range(0, particles, batch):
        rows = min(batch, particles - begin)
        states = [x[begin : begin + rows] for x in starts] if starts is not None else path.base_states(rng, rows)
        piece = _one_batch(path, betas, states, rng, work, reverse, total_steps, needed and not pieces)
        if piece is None:
            break
        total, states, sums, hurried = piece
        pieces.append((total, states))
        moments.append(sums)
    if not pieces:
        return Run(np.empty(0), [], np.zeros(len(betas) - 1), np.zeros(len(betas) - 1), particles)
    increments = np.concatenate([total for total, _ in pieces])
    if not np.isfinite(increments).all():
        raise ValueError(
            "Annealing met an energy difference that is not finite: the machine, or one on the way to it, cannot be "
            "normalised. Make its weights smaller."
        )
    states = [np.concatenate(parts) for parts in zip(*(s for _, s in pieces), strict=True)]
    mean, square, cross = np.sum(moments, axis=0) / len(increments)
    return Run(increments, states, np.maximum(square - mean**2, 0), cross, particles, hurried)


def steps_of_segment(path: Path, rows: int) -> int:
    """Return how many temperatures of ``rows`` particles lie between two checks for Ctrl-C."""
    of_step = path.units * rows * (1 if is_binary_pair(path.machine) else WITHOUT_KERNEL)
    return max(1, SEGMENT_ENTRIES // of_step)


def _one_batch(
    path: Path,
    betas: np.ndarray,
    states: States,
    rng: np.random.Generator,
    work: Work,
    reverse: bool,
    total_steps: int,
    needed: bool,
) -> tuple[np.ndarray, States, np.ndarray, float | None] | None:
    """Anneal one batch in segments; after Ctrl-C return None, or if ``needed`` finish in one segment of few steps."""
    rows, last = len(states[0]), len(betas) - 1
    length = steps_of_segment(path, rows)
    total, sums = np.zeros(rows), np.zeros((3, last))
    begin, hurried = 0, None
    while begin < last:
        if work.interrupted and not needed:
            return None
        steps = np.arange(begin, min(begin + length, last) + 1)
        if work.interrupted and steps[-1] < last:
            hurried = float(betas[begin])
            steps = np.linspace(begin, last, len(steps)).round().astype(int)
        try:
            states, increments = path.walk(rng, betas[steps], states, reverse, total_steps)
        except KeyboardInterrupt:  # it came while the function was compiled
            if needed or not work.interrupted:
                raise
            return None
        total += increments.sum(0)
        here = steps[1:] - 1
        sums[0, here], sums[1, here] = increments.sum(1), (increments**2).sum(1)
        sums[2, here] = rows * _local_covariance(increments)
        work.advance(increments.size)
        begin = steps[-1]
    return total, states, sums, hurried


def _local_covariance(increments: np.ndarray, share: float = 0.05) -> np.ndarray:
    """Return the covariance of each increment with the sum over a share of the temperatures on either side.

    It is the increment's contribution to the variance of the log-weight, the memory of the chain included.
    """
    n, half = len(increments), max(1, int(share * len(increments)))
    centred = increments - increments.mean(1, keepdims=True)
    sums = np.concatenate([np.zeros_like(centred[:1]), np.cumsum(centred, 0)])
    low, high = np.maximum(np.arange(n) - half, 0), np.minimum(np.arange(n) + half + 1, n)
    return (centred * (sums[high] - sums[low])).mean(1)


def adapted(betas: np.ndarray, run: Run, n: int, floor: float = 0.1) -> np.ndarray:
    """Return ``n`` temperatures whose steps are short where the pilot ``run`` along ``betas`` had much variance.

    With steps δ_k the log-weight has variance Σ ζ_k δ_k², where ζ is the variance of the energy difference times its
    autocorrelation time; for a given number of steps it is least where every step contributes the same, that is with a
    density of temperatures proportional to √ζ. A share of the density is even, in case the pilot missed something.
    """
    half = max(1, len(run.variance) // 20)
    window = np.ones(2 * half + 1)
    count = np.convolve(np.ones(len(run.variance)), window, "same")
    smooth = [np.convolve(x, window, "same") / count for x in (run.drift, run.variance)]
    spread = np.sqrt(np.maximum(*smooth))
    distance = np.r_[0, np.cumsum(spread + floor * spread.mean() + 1e-12 * np.diff(betas))]
    return np.r_[0, np.interp(np.linspace(0, distance[-1], n)[1:-1], distance, betas), 1]


def explored(path: Path, chains: int, sweeps: int, rng: np.random.Generator, work: Work) -> States:
    """Return states of the machine's own chains after ``sweeps`` sweeps from dispersed starts, all at β = 1."""
    states = path.dispersed_states(rng, chains)
    length = steps_of_segment(path, chains)
    for begin in range(0, sweeps, length):
        if work.interrupted:
            break
        states, increments = path.walk(rng, np.ones(min(length, sweeps - begin) + 1), states, False, sweeps)
        work.advance(increments.size)
    return states


def fitted_base(path: Path, states: States, rng: np.random.Generator, visible: np.ndarray | None = None) -> Path:
    """Return the path whose base has the units' means over ``states``, shrunk a little, or the means ``visible``.

    Of all independent units these are closest to the machine in Kullback-Leibler divergence, if the states are draws
    of the machine. Estimates are unbiased from any base that was chosen before them, as this one is.
    """
    units = [layer.unit for layer in path.machine.layers]
    biases = [unit.bias_of_mean(mean) for unit, mean in zip(units, path.shrunk_means(rng, states), strict=True)]
    if visible is not None:
        biases[0] = units[0].bias_of_mean(visible)
    return Path(path.machine, tuple(biases))


def visible_starts(path: Path, rows: np.ndarray) -> States | None:
    """Return data rows as starts, or None where a sweep reads other layers than the visible one."""
    unit = path.machine.layers[0].unit
    return [np.asarray(rows).astype(unit.dtype)] if kept_layers(path.machine) == [0] else None
