"""Aligned sequences: a general machine and an RBM of Potts units, by several methods, beside adabmDCA.

``python -m benchmarks.potts FILE.npz [--seconds 600]``: ``x`` in the file are the sequences, letters as 0 … q-1. Held
out are whole clusters of sequences, a fifth of all: those linked by an identity of at least 80 % stay together, so that
no held-out sequence is that near to one that is learned from. W and U have a normal prior whose scale is chosen in the
same way, within what is learned from. Printed are nats a site of held-out sequences with the error of log Z (annealing,
the same for all), the correlation of the two-site covariances of fresh draws with those of the sequences learned from,
after 100 sweeps and after ten times as many from dispersed states, and seconds of learning. adabmDCA learns with its
defaults, but with 1,000 chains, until it is satisfied or the seconds are over, once with its weights of sequences and
once without.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import pymc as pm
import pytensor
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components

import pymc_rbm as pmr
from benchmarks.contenders import environment
from benchmarks.timing import thread_environment

IDENTITY, HELD_OUT = 0.8, 0.2
SCALES = 0.1, 0.2, 0.4
SWEEPS, CHAINS = 100, 1000
QUIET = {"progressbar": False, "random_seed": 1}
PEER = """
import sys, time
from adabmDCA.api.training import train_model
fasta, out, seconds, weighted = sys.argv[1], sys.argv[2], float(sys.argv[3]), sys.argv[4] == "1"
end = time.monotonic() + seconds
try:
    train_model(fasta, output_dir=out, alphabet="rna", n_chains=1000, device="cpu", checkpoint_interval=5,
                no_reweighting=not weighted, is_cancelled=lambda: time.monotonic() > end)
except Exception as error:
    print(type(error).__name__, error)
"""


def one_hot(x: np.ndarray, q: int) -> np.ndarray:
    """Return sites and letters as one axis, float32."""
    return (x[:, :, None] == np.arange(q)).reshape(len(x), -1).astype("float32")


def learned_from(x: np.ndarray, q: int, seed: int) -> np.ndarray:
    """Return which sequences are learned from; the other clusters, in random order, make up to a fifth."""
    letters = one_hot(x, q)
    near = csr_matrix(letters @ letters.T >= IDENTITY * x.shape[1])
    count, cluster = connected_components(near)
    size, held, total = np.bincount(cluster), np.zeros(count, bool), 0
    for k in np.random.default_rng(seed).permutation(count):
        if total + size[k] <= HELD_OUT * len(x):
            held[k], total = True, total + size[k]
    return ~held[cluster]


def learn(x: np.ndarray, q: int, hidden: int, scale: float, method: str, updates: int):
    """Return the machine that `pmr.fit` learns, general where ``hidden`` is 0, and its seconds."""
    n = x.shape[1] * q
    with pm.Model() as model:
        b, unit = pm.Normal("b", 0, 5, shape=n), pmr.Categorical(q)
        if hidden:
            W, c = pm.Normal("W", 0, scale, shape=(n, hidden)), pm.Flat("c", shape=hidden)
            pmr.RBM("v", W, b, c, visible=unit, observed=x)
        else:
            pmr.BoltzmannMachine("v", pm.Normal("U", 0, scale, shape=(n, n)), b, unit=unit, observed=x)
        began = time.perf_counter()
        learned = pmr.fit(updates=updates, method=method, **QUIET)
    return pmr.machine_of(model, learned), time.perf_counter() - began


def peer(x: np.ndarray, q: int, letters: np.ndarray, python: str, seconds: float, weighted: bool, threads: int):
    """Return the machine that adabmDCA learns, and its seconds."""
    with tempfile.TemporaryDirectory() as folder:
        fasta = Path(folder) / "x.fasta"
        fasta.write_text("".join(f">{i}\n{''.join(letters[row])}\n" for i, row in enumerate(x)))
        began = time.perf_counter()
        command = [python, "-c", PEER, str(fasta), folder, str(seconds), str(int(weighted))]
        subprocess.run(command, check=True, env=thread_environment(threads))
        seconds = time.perf_counter() - began
        place = {letter: k for k, letter in enumerate(letters)}
        n = x.shape[1]
        U, b = np.zeros((n, q, n, q)), np.zeros((n, q))
        for line in (Path(folder) / "params.dat").read_text().splitlines():
            kind, *rest = line.split()
            if kind == "h":
                b[int(rest[0]), place[rest[1]]] = float(rest[2])
            else:
                i, j, s, t = int(rest[0]), int(rest[1]), place[rest[2]], place[rest[3]]
                U[i, s, j, t] = U[j, t, i, s] = float(rest[4])
    U, b = U.reshape(n * q, n * q).astype("float32"), b.ravel().astype("float32")
    return pmr.boltzmann(U, b, pmr.Categorical(q)), seconds


def covariances(x: np.ndarray, q: int) -> np.ndarray:
    """Return those of letters at different sites."""
    found = np.cov(one_hot(x, q).T)
    return found[np.kron(np.triu(np.ones((x.shape[1],) * 2), 1), np.ones((q, q))) > 0]


def score(name: str, machine, seconds: float, train: np.ndarray, test: np.ndarray, q: int) -> float:
    """Print a row; return nats a site."""
    log_z = pmr.log_partition(machine, method="ais", target_error=0.2, budget=600_000, **QUIET)
    a_site = [(-pmr.free_energy(x, machine).mean() - log_z.estimate) / x.shape[1] for x in (train, test)]
    expected, alike = covariances(train, q), []
    for sweeps in (SWEEPS, 10 * SWEEPS):
        drawn = pmr.sample_gibbs(machine, chains=CHAINS, draws=1, tune=sweeps, **QUIET)["posterior"]
        states = drawn["v"].values[:, 0]
        letters = states.reshape(len(states), -1, q).argmax(-1)
        alike.append(np.corrcoef(covariances(letters, q), expected)[0, 1])
    print(
        f"{name:28} {a_site[1]:9.4f} ± {log_z.standard_error / test.shape[1]:.4f} {a_site[0]:9.4f} "
        f"{alike[0]:9.3f} {alike[1]:9.3f} {seconds:8.0f}",
        flush=True,
    )
    return a_site[1]


def main() -> None:
    """Split, choose a scale, learn and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.potts", description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--seconds", type=float, default=600, help="for each run of adabmDCA")
    parser.add_argument("--updates", type=int, default=4000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--environment", type=Path, default=Path(tempfile.gettempdir()) / "pymc_rbm_peers")
    chosen = parser.parse_args()
    pytensor.config.floatX = "float32"
    with np.load(chosen.file) as file:
        x, letters = file["x"], file["alphabet"]
    q = len(letters)
    keep = learned_from(x, q, 1)
    train, test = x[keep], x[~keep]
    inner = learned_from(train, q, 2)
    mean = (one_hot(train, q).sum(0) + 0.5) / (len(train) + 0.5 * q)
    print(f"{len(train)} sequences to learn from, {len(test)} held out")
    print(f"{'learner':28} {'held out':>18} {'learned':>9} {'alike':>9} {'x 10':>9} {'seconds':>8}")
    print(f"{'independent sites':28} {one_hot(test, q).mean(0) @ np.log(mean) / x.shape[1]:9.4f}")
    for hidden in (0, 100):
        kind = f"RBM, {hidden} hidden" if hidden else "general"

        def at(scale: float, hidden: int = hidden) -> float:
            machine, seconds = learn(train[inner], q, hidden, scale, "pt", chosen.updates)
            return score(f"  scale {scale}, within", machine, seconds, train[inner], train[~inner], q)

        best = max(SCALES, key=at)
        for method in ("pcd", "pt", "ptt"):
            machine, seconds = learn(train, q, hidden, best, method, chosen.updates)
            score(f"{kind}, {method}, {best}", machine, seconds, train, test, q)
    python = environment(chosen.environment, sys.executable, ["adabmDCA"])
    for weighted in (True, False):
        machine, seconds = peer(train, q, letters, python, chosen.seconds, weighted, chosen.threads)
        score("adabmDCA" + ", no weights" * (not weighted), machine, seconds, train, test, q)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main()
