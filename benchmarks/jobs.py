"""What is measured, and the machines, states and rows that every contender gets: numpy only, for all environments."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["BATCH", "CHECKS", "JOBS", "SMOKE", "Job", "data_rows", "machine", "visible_states"]

RATE = 0.001
BATCH = 500
"""Rows of a batch, and particles, where an epoch is the unit."""


@dataclass(frozen=True)
class Job:
    """A line of the table. A unit is a sweep, an update, an epoch, a call on all rows, or 1,000 temperatures."""

    kind: str
    visible: int
    hidden: int
    rows: int

    @property
    def label(self) -> str:
        """What the line is called."""
        size = f"{self.visible}x{self.hidden}"
        return {
            "sweep": f"sweep, {size}, {self.rows} chain{'s' * (self.rows > 1)}",
            "update": f"PCD-1 update, {size}, {self.rows} + {self.rows} rows",
            "epoch": f"epoch of {self.rows} rows, {size}, batches of {min(self.rows, BATCH)}",
            "free_energy": f"free energy of {self.rows} rows, {size}",
            "ais": f"AIS, {size}, {self.rows} runs, 1000 temperatures",
        }[self.kind]


JOBS = (
    Job("sweep", 64, 64, 100),
    Job("sweep", 784, 500, 500),
    Job("sweep", 784, 1024, 2048),
    Job("sweep", 784, 500, 1),
    Job("update", 784, 500, 500),
    Job("update", 64, 64, 100),
    Job("free_energy", 784, 500, 10_000),
    Job("ais", 784, 500, 100),
    Job("epoch", 784, 500, 60_000),
)
SMOKE = tuple(Job(kind, 12, 7, 30) for kind in ("sweep", "update", "free_energy", "ais", "epoch"))
CHECKS = {
    "sweep": Job("sweep", 8, 5, 4000),
    "update": Job("update", 8, 5, 500),
    "free_energy": Job("free_energy", 8, 5, 300),
    "ais": Job("ais", 8, 5, 100),
}
"""A small machine for each kind, whose exact answers are known by enumeration."""


def machine(job: Job) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """W, b and c in float32: fields of order one; about a quarter of the visible units are on, as in images."""
    rng = np.random.default_rng(7)
    W = rng.normal(0, 1 / np.sqrt(job.hidden), (job.visible, job.hidden))
    b, c = rng.normal(-1.5, 0.5, job.visible), rng.normal(0, 0.5, job.hidden)
    return W.astype("float32"), b.astype("float32"), c.astype("float32")


def visible_states(job: Job) -> np.ndarray:
    """Start states of the chains, int8."""
    return (np.random.default_rng(8).random((job.rows, job.visible)) < 0.3).astype("int8")


def data_rows(job: Job) -> np.ndarray:
    """Rows to learn from or to evaluate, int8."""
    level = np.random.default_rng(9).random(job.visible)
    return (np.random.default_rng(10).random((job.rows, job.visible)) < 0.6 * level).astype("int8")
