"""Exact likelihood against updates and seconds on bars and stripes: PCD, CD-1, CD-10 and the exact gradient.

Run with ``python benchmarks/bars_and_stripes.py [n] [hidden] [seeds]`` (default 3 16 3); it prints a table and writes
``bars_and_stripes.png``. Likelihoods are exact; dashed curves are those of the averaged iterates. Learning is cut into
pieces by ``resume=``, which changes nothing: the pieces are bit for bit one run. Seconds include each piece's
compilation.
"""

import sys

import matplotlib.pyplot as plt
import numpy as np
import pymc as pm

import pymc_rbm as pmr

UPDATES, PIECES = 10_000, 10
METHODS = {
    "PCD-1": {"method": "pcd"},
    "PCD-5": {"method": "pcd", "sweeps": 5},
    "CD-1": {"method": "cd"},
    "CD-10": {"method": "cd", "sweeps": 10},
    "exact gradient": {"method": "exact"},
}


def curve(data, hidden, seed, options):
    """Return updates, seconds and mean log-likelihoods, of the last iterate and the average, after each piece."""
    with pm.Model() as model:
        W = pm.Flat("W", shape=(data.shape[1], hidden))
        pmr.RBM("v", W, pm.Flat("b", shape=data.shape[1]), pm.Flat("c", shape=hidden), observed=data)
        learned, seconds, points = None, 0.0, []
        for piece in range(PIECES):
            learned = pmr.fit(
                UPDATES // PIECES,
                batch_size=None,
                horizon=UPDATES,
                resume=learned,
                random_seed=seed,
                progressbar=False,
                **options,
            )
            seconds += learned.attrs["seconds"]
            scores = [log_likelihood(model, tree, data) for tree in (learned, pmr.averaged(learned))]
            points.append(((piece + 1) * UPDATES // PIECES, seconds, *scores))
    return np.array(points).T


def log_likelihood(model, learned, data):
    """Return the exact mean log-likelihood."""
    b, c, W = pmr.machine_of(model, learned).parameters
    log_z = pmr.log_partition(pmr.restricted(W, b, c), method="exact").estimate
    return float(-pmr.free_energy(data, W, b, c).mean() - log_z)


def main(n=3, hidden=16, seeds=3):
    """Print the final likelihoods and draw the curves."""
    data = pmr.datasets.bars_and_stripes(n).values
    bound = -np.log(len(data))
    figure, axes = plt.subplots(1, 2, figsize=(10, 4), sharey=True, layout="constrained")
    print(f"{n}x{n} bars and stripes, {hidden} hidden units, bound {bound:.3f} nats a pattern")
    print(f"{'method':16} {'last iterate, by seed':32} average of the second half")
    for colour, (name, options) in enumerate(METHODS.items()):
        runs = [curve(data, hidden, seed, options) for seed in range(seeds)]
        last, average = (", ".join(f"{run[k, -1]:.3f}" for run in runs) for k in (2, 3))
        print(f"{name:16} {last:32} {average}", flush=True)
        for i, run in enumerate(runs):
            for ax, x in zip(axes, run[:2], strict=True):
                ax.plot(x, run[2], color=f"C{colour}", alpha=0.8, label=name if i == 0 else None)
                ax.plot(x, run[3], color=f"C{colour}", alpha=0.8, linestyle="--")
    for ax, label in zip(axes, ("updates", "seconds of learning"), strict=True):
        ax.axhline(bound, color="0.5", linestyle=":")
        ax.set(xlabel=label, ylim=(bound - 2.5, bound + 0.1))
    axes[0].set_ylabel("exact log-likelihood (nats a pattern)")
    axes[0].legend()
    figure.savefig("bars_and_stripes.png", dpi=120)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
