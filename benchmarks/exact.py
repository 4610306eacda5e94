"""Whether a contender computes the right thing: its answers on a small machine against sums over all states."""

from __future__ import annotations

from itertools import product

import numpy as np

from benchmarks.contenders import Contender
from benchmarks.jobs import CHECKS, RATE, Job, data_rows, machine

__all__ = ["wrong"]

UNITS = {"sweep": 60, "update": 1024, "free_energy": 1, "ais": 1}


def wrong(ask: Contender, kind: str) -> str:
    """What is wrong with the answer of a contender to the check of this kind; an empty string if nothing is."""
    found = ask.ask(do="run", units=UNITS[kind])
    if found is None:
        return ask.error
    deviation, allowed = globals()[f"_{kind}"](CHECKS[kind], *map(np.asarray, found))
    return "" if deviation <= allowed else f"its {kind} is off by {deviation:.2g}, {allowed:.2g} is allowed"


def _states(n: int) -> np.ndarray:
    return np.array(list(product((0.0, 1.0), repeat=n)))


def _joint(W, b, c) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Visible states, hidden states, their joint probabilities, log Z; in float64, over all pairs."""
    v, h = _states(len(b)), _states(len(c))
    log_p = v @ W.astype(float) @ h.T + (v @ b)[:, None] + h @ c
    log_z = np.log(np.exp(log_p).sum())
    return v, h, np.exp(log_p - log_z), log_z


def _sweep(job: Job, states: np.ndarray) -> tuple[float, float]:
    """Mean activations of independent chains; five standard errors."""
    v, _, p, _ = _joint(*machine(job))
    mean = p.sum(1) @ v
    error = np.sqrt(mean * (1 - mean) / job.rows)
    return float((np.abs(states.mean(0) - mean) / error).max()), 5.0


def _update(job: Job, W, b, c) -> tuple[float, float]:
    """The mean step of learning against the path of the exact gradient; Monte Carlo error.

    An entry of a gradient is the difference of two means over rows of numbers between 0 and 1, whose standard deviation
    is at most √½/√rows. Autocorrelated sweeps of this machine are worth at least a quarter as many independent ones;
    particles from elsewhere are too far off for two or so.
    """
    start, data, n = machine(job), data_rows(job).astype(float), UNITS["update"]
    exact = [x.astype(float) for x in start]
    for _ in range(n):
        v, h, p, _ = _joint(*exact)
        h_data = 1 / (1 + np.exp(-(data @ exact[0] + exact[2])))
        exact[0] += RATE * (data.T @ h_data / len(data) - v.T @ p @ h)
        exact[1] += RATE * (data.mean(0) - p.sum(1) @ v)
        exact[2] += RATE * (h_data.mean(0) - p.sum(0) @ h)
    off = max(float(np.abs(x - y).max()) for x, y in zip((W, b, c), exact, strict=True)) / (RATE * n)
    return off, 5 * 2 * np.sqrt(0.5 / (job.rows * n)) + 2 / n


def _free_energy(job: Job, values: np.ndarray) -> tuple[float, float]:
    """By summing over all hidden states; the precision of float32."""
    W, b, c = (x.astype(float) for x in machine(job))
    rows, h = data_rows(job).astype(float), _states(len(c))
    exact = -(rows @ b) - np.log(np.exp((rows @ W + c) @ h.T).sum(1))
    return float(np.abs(values - exact).max()), 1e-4


def _ais(job: Job, value: np.ndarray) -> tuple[float, float]:
    """Log Z: with 1,000 temperatures the weights of this machine vary by far less than this."""
    return float(abs(value - _joint(*machine(job))[3])), 0.05
