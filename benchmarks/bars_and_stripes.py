"""Every estimator on bars and stripes: exact log-likelihood against updates and against seconds.

Run with ``python benchmarks/bars_and_stripes.py [n] [hidden] [seeds] [updates] [method …]`` (default 3 16 3 10000, all
methods). The claim about PCD with defaults is made with 10 seeds: ``… 3 16 10 10000 PCD`` and ``… 4 32 10 10000 PCD``.
It prints a table and writes ``bars_and_stripes_n.png``. Dashed curves are the averaged iterates. Seconds are those of
learning, without compilation and without the evaluation of likelihoods. Unbiased CD gets a tenth of the updates: its
coupled chains may need a thousand sweeps to meet.
"""

import sys
import time

import matplotlib.pyplot as plt
import numpy as np
import pymc as pm

import pymc_rbm as pmr

# fit's rate is held and then falls; with a constant one the likelihood of CD-1 rises and falls (Fischer & Igel 2010).
METHODS = {
    "PCD": {"method": "pcd"},
    "PCD-1": {"sweeps": 1},
    "PCD, tempering": {"method": "pt"},
    "fast PCD": {"method": "fpcd"},
    "CD-1": {"method": "cd"},
    "CD-1, constant rate": {"method": "cd", "learning_rate": lambda done: 0.1},
    "CD-10": {"method": "cd", "sweeps": 10},
    "unbiased CD-5": {"method": "ucd", "sweeps": 5},
    "exact gradient": {"method": "exact"},
}


class Curve:
    """Exact likelihoods of the last iterate and the average, as learning goes on."""

    def __init__(self, data, updates):
        self.data, self.points, self.spent, self.since = data, [], 0.0, None
        self.at = set(np.unique(np.geomspace(10, updates, 40).astype(int)))

    def __call__(self, status):
        """Note the time, and at some epochs the likelihoods."""
        now = time.perf_counter()
        self.spent += now - (self.since or now)
        if status.epoch in self.at:
            scores = [log_likelihood(status.machines(averaged)["v"], self.data) for averaged in (False, True)]
            self.points.append((status.epoch, self.spent, *scores))
        self.since = time.perf_counter()


def log_likelihood(machine, data):
    """Return the exact mean log-likelihood."""
    b, c, W = machine.parameters
    return float(-pmr.free_energy(data, W, b, c).mean() - pmr.log_partition(machine, method="exact").estimate)


def learn(data, hidden, seed, updates, options):
    """Return updates, seconds and mean log-likelihoods of the last iterate and the average."""
    curve = Curve(data, updates)
    with pm.Model():
        W = pm.Flat("W", shape=(data.shape[1], hidden))
        pmr.RBM("v", W, pm.Flat("b", shape=data.shape[1]), pm.Flat("c", shape=hidden), observed=data)
        pmr.fit(updates, on_epoch=curve, random_seed=seed, progressbar=False, **options)
    return np.array(curve.points).T


def main(n=3, hidden=16, seeds=3, updates=10_000, *names):
    """Print the final likelihoods and draw the curves."""
    data = pmr.datasets.bars_and_stripes(n).values
    bound = -np.log(len(data))
    figure, axes = plt.subplots(1, 2, figsize=(12, 5), sharey=True, layout="constrained")
    print(f"{n}x{n} bars and stripes, {hidden} hidden units, {seeds} seeds, bound {bound:.3f} nats a pattern")
    print(f"{'':20} {'last iterate':>26} {'averaged iterates':>26}")
    print(f"{'method':20}" + f" {'median':>8} {'worst':>8} {'within .1':>8}" * 2 + "  seconds")
    for colour, (name, options) in enumerate(METHODS.items()):
        if names and name not in names:
            continue
        own = updates // 10 if options.get("method") == "ucd" else updates
        runs = [learn(data, hidden, seed, own, options) for seed in range(seeds)]
        text = ""
        for k in (2, 3):
            final = np.array([run[k, -1] for run in runs])
            text += f" {np.median(final):8.3f} {final.min():8.3f} {(final > bound - 0.1).sum():6}/{seeds:<2}"
        print(f"{name:20}{text} {np.median([run[1, -1] for run in runs]):8.1f}", flush=True)
        for i, run in enumerate(runs[:3]):
            for ax, x in zip(axes, run[:2], strict=True):
                ax.plot(x, run[2], color=f"C{colour}", alpha=0.8, label=name if i == 0 else None)
                ax.plot(x, run[3], color=f"C{colour}", alpha=0.5, linestyle="--")
    for ax, label in zip(axes, ("updates", "seconds of learning"), strict=True):
        ax.axhline(bound, color="0.4", linestyle=":")
        ax.set(xlabel=label, ylim=(bound - 4, bound + 0.1), xscale="log")
    axes[0].set_ylabel("exact log-likelihood (nats a pattern)")
    axes[0].legend(loc="lower left")
    figure.savefig(f"bars_and_stripes_{n}.png", dpi=120)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:5]), *sys.argv[5:])
