"""One learner in a process of its own: ``python -m benchmarks.learn NAME FILE HIDDEN RATE SECONDS OUT``.

It learns from the training rows of ``FILE`` and writes its parameters at doubling seconds of learning to ``OUT``.
"""

from __future__ import annotations

import sys
import time
from importlib import import_module

import numpy as np

__all__ = ["Snapshots", "bits"]

FIRST = 1.0


class Snapshots:
    """Parameters at doubling seconds; called after every update, it returns whether the time is over.

    The clock begins with the first call, so that compiling does not count, and stands still while it is called.
    """

    def __init__(self, seconds: float):
        self.seconds, self.due, self.kept = seconds, FIRST, {}
        self._began = None

    def __call__(self, parameters) -> bool:
        """Keep ``W, b, c = parameters()`` where it is time."""
        now = time.perf_counter()
        self._began = now if self._began is None else self._began
        passed = now - self._began
        if passed >= self.due:
            number = sum(name.startswith("W") for name in self.kept)
            values = [np.array(x, "float32") for x in parameters()]
            self.kept |= {f"{x}{number}": value for x, value in zip("Wbc", values, strict=True)}
            self.kept[f"seconds{number}"] = np.array(passed)
            while self.due <= passed:
                self.due *= 2
            self._began += time.perf_counter() - now
        return passed >= self.seconds


def bits(path: str, part: str) -> np.ndarray:
    """Rows of a file of packed bits, int8."""
    with np.load(path) as file:
        return np.unpackbits(file[f"{part}_bits"], axis=1)[:, : int(file["d"])].astype("int8")


def main(name, path, hidden, rate, seconds, out):
    """Learn and save."""
    snapshots = Snapshots(float(seconds))
    learner = import_module(f"benchmarks.peers.{name}_rbm")
    getattr(learner, "start", lambda: None)()
    learner.learn(bits(path, "train"), int(hidden), float(rate), snapshots)
    np.savez(out, **snapshots.kept)


if __name__ == "__main__":
    main(*sys.argv[1:])
