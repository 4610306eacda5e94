"""Test log-likelihood against seconds of learning: pymc_rbm beside scikit-learn and rbms, 784x500, on the same cores.

Run with ``python -m benchmarks.likelihood_rate FILE.npz [--seconds 64]``, where the file holds ``train_bits`` and
``test_bits`` (packed rows) and ``d``, for example stochastically binarised digits. All learn by PCD-1 with batches and
particles of 500 and the same constant rate, each from its own start and otherwise with its own defaults, one after the
other. log Z by annealed importance sampling with the means of the data as base, the same for all. Prints a table and
writes a figure; without the file it says so and ends.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

import pymc_rbm as pmr
from benchmarks.contenders import ROOT, environment
from benchmarks.learn import bits
from benchmarks.timing import thread_environment

LEARNERS = {"ours": "pymc_rbm", "sklearn": "scikit-learn BernoulliRBM", "rbms": "rbms"}


def options(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.likelihood_rate", description=__doc__)
    folder = Path(tempfile.gettempdir()) / "pymc_rbm_peers"
    parser.add_argument("file", type=Path)
    parser.add_argument("--seconds", type=float, default=64)
    parser.add_argument("--hidden", type=int, default=500)
    parser.add_argument("--rate", type=float, default=0.05)
    parser.add_argument("--temperatures", type=int, default=2000)
    parser.add_argument("--rows", type=int, default=2000, help="test rows")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("likelihood_rate.png"))
    parser.add_argument("--environment", type=Path, default=folder, help="folder of the peers (default %(default)s)")
    parser.add_argument("--python", default=sys.executable, help="the interpreter that makes it")
    parser.add_argument("--install", nargs="*", default=["scikit-learn", "torch", "rbms"])
    parser.add_argument("--here", action="store_true", help="no environment: learners as they are installed here")
    return parser.parse_args(arguments)


def snapshots(name: str, python: str, chosen: argparse.Namespace) -> list[tuple[float, list[np.ndarray]]]:
    """Seconds and W, b, c of a learner's snapshots; none, and the reason printed, where it cannot run."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "snapshots.npz"
        settings = map(str, (chosen.file.resolve(), chosen.hidden, chosen.rate, chosen.seconds, out))
        command = [sys.executable if name == "ours" else python, "-m", "benchmarks.learn", name, *settings]
        where = {"cwd": ROOT, "env": thread_environment(chosen.threads)}
        done = subprocess.run(command, capture_output=True, text=True, check=False, **where)
        if done.returncode:
            print(f"{LEARNERS[name]}: - ({done.stderr.strip().splitlines()[-1]})")
            return []
        with np.load(out) as kept:
            count = sum(key.startswith("W") for key in kept)
            return [(float(kept[f"seconds{i}"]), [kept[f"{x}{i}"] for x in "Wbc"]) for i in range(count)]


def score(parameters: list[np.ndarray], mean: np.ndarray, test: np.ndarray, temperatures: int) -> tuple[float, float]:
    """Mean test log-likelihood and the standard error of its log Z."""
    settings = {"method": "ais", "temperatures": temperatures, "base_mean": mean}
    log_z = pmr.log_partition(pmr.restricted(*parameters), progressbar=False, random_seed=1, **settings)
    return float(-pmr.free_energy(test, *parameters).mean() - log_z.estimate), log_z.standard_error


def main(arguments: list[str] | None = None) -> None:
    """Learn, score, print and draw."""
    chosen = options(arguments)
    if not chosen.file.exists():
        print(f"skipped: there is no file {chosen.file}")
        return
    python = sys.executable if chosen.here else environment(chosen.environment, chosen.python, chosen.install)
    train, test = bits(str(chosen.file), "train"), bits(str(chosen.file), "test")[: chosen.rows]
    mean = (train.sum(0) + 0.5) / (len(train) + 1)
    curves = {}
    for name, label in LEARNERS.items():
        rows = [(at, *score(p, mean, test, chosen.temperatures)) for at, p in snapshots(name, python, chosen)]
        for at, likelihood, error in rows:
            print(f"{label:28} {at:8.1f} s {likelihood:10.2f} nats, AIS error {error:.2f}", flush=True)
        if rows:
            curves[label] = np.array(rows)
    draw(curves, chosen)


def draw(curves: dict[str, np.ndarray], chosen: argparse.Namespace) -> None:
    """One line a learner."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, ax = plt.subplots(figsize=(6.5, 4.2), layout="constrained")
    for label, rows in curves.items():
        ax.errorbar(rows[:, 0], rows[:, 1], 2 * rows[:, 2], marker="o", label=label)
    what = f"{chosen.file.stem}, {chosen.hidden} hidden units, rate {chosen.rate}, {chosen.threads} threads"
    ax.set(xscale="log", xlabel="seconds of learning", ylabel="test log-likelihood (nats a row)")
    ax.set_title(what, fontsize="medium")
    ax.legend()
    ax.grid(alpha=0.3)
    figure.savefig(chosen.out, dpi=120)
    print(f"figure: {chosen.out}")


if __name__ == "__main__":
    main()
