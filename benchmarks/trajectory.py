"""Parallel trajectory tempering beside plain persistent chains and tempering along temperatures.

``python benchmarks/trajectory.py cost``: milliseconds an update and megabytes of ladder, by size of the machine, in one
process, after 500 updates that compile and build the ladder.

``python benchmarks/trajectory.py clusters [seeds]``: mixtures of 2, 5 and 20 groups of unequal weight in 100 binary
dimensions, 5 % of whose entries are flipped, 40 hidden units, 20,000 updates: the total variation between the weights
of the groups in the data and in draws of what was learned (200 chains along a ladder), and the renewals.

``python benchmarks/trajectory.py starts [seeds] [updates]``: such mixtures, 5 % and 1 % of whose entries are flipped,
and 16 hidden units, so that log Z is a sum: the log-likelihood, beside that of the mixture itself, and the total
variation of exact draws, from the usual start (with the method that fit chooses, and "ptt") and the low-rank one.
"""

import sys
import time
import warnings

import numpy as np
import pymc as pm

import pymc_rbm as pmr
from pymc_rbm.machine.records import recorded_machine
from pymc_rbm.sampling.bottom import exact_draws

METHODS = "pcd", "pt", "ptt"
SIZES = (64, 16), (100, 40), (784, 100), (784, 500)
QUIET = {"progressbar": False, "random_seed": 1}


def model_of(rows, hidden):
    """One RBM with a standard normal prior on W."""
    n = rows.shape[1]
    with pm.Model() as model:
        W = pm.Normal("W", 0, 1, shape=(n, hidden))
        pmr.RBM("v", W, pm.Flat("b", shape=n), pm.Flat("c", shape=hidden), observed=rows)
    return model


def groups(k, rows=10_000, n=100, flipped=0.05):
    """Rows, the group of each, and the groups' centres."""
    rng = np.random.default_rng(100 + k)
    weights, centres = rng.dirichlet(np.full(k, 2.0)), rng.integers(0, 2, (k, n))
    which = rng.choice(k, rows, p=weights)
    return (centres[which] ^ (rng.random((rows, n)) < flipped)).astype("int8"), which, centres


def cost():
    """Print a row a size."""
    print(f"{'visible x hidden':>18}" + "".join(f"{x + ' (ms)':>12}" for x in METHODS) + f"{'rungs':>8}{'MB':>8}")
    for n, hidden in SIZES:
        rows, times = groups(5, 2000, n)[0], []
        for method in METHODS:
            with model_of(rows, hidden):
                began = []
                options = {"method": method, "sweeps": 1, **QUIET}
                status = {"on_epoch": lambda s, began=began: began.append(time.perf_counter()) and None}
                learned = pmr.fit(50, horizon=50, **options, **status)
            times.append((began[-1] - began[24]) / (20 * (len(began) - 25)) * 1e3)
        ladder = learned["ladder"].dataset
        rungs = ladder.sizes["v_rung"]
        print(
            f"{f'{n} x {hidden}':>18}" + "".join(f"{x:12.2f}" for x in times) + f"{rungs:8}{ladder.nbytes / 1e6:8.1f}"
        )


def clusters(seeds=3):
    """Print a row a number of groups, method and seed."""
    print(f"{'groups':>7}{'method':>8}{'seed':>6}{'total variation':>17}{'seconds':>9}{'renewals':>10}")
    for k in (2, 5, 20):
        rows, which, centres = groups(k)
        data = np.bincount(which, minlength=k) / len(rows)
        for method in METHODS:
            for seed in range(1, seeds + 1):
                began = time.perf_counter()
                with model_of(rows, 40):
                    learned = pmr.fit(200, method=method, random_seed=seed, progressbar=False)
                seconds = time.perf_counter() - began
                machine = recorded_machine(learned)
                drawn = pmr.sample_gibbs(machine, method="pt", chains=200, draws=300, tune=300, **QUIET)
                v = drawn["posterior"]["v"].values.reshape(-1, 100)
                near = np.argmin([(v != centre).sum(-1) for centre in centres], axis=0)
                distance = np.abs(np.bincount(near, minlength=k) / len(near) - data).sum() / 2
                renewals = int(learned["learning"]["v_renewals"][-1]) if method == "ptt" else "-"
                print(f"{k:7}{method:>8}{seed:6}{distance:17.3f}{seconds:9.0f}{renewals:>10}", flush=True)


def starts(seeds=2, updates=4000):
    """Print a row a mixture, start and seed."""
    print(f"{'groups':>7}{'flipped':>9}{'start':>10}{'method':>22}{'seed':>6}{'nats a row':>12}{'total variation':>17}")
    for k in (2, 3, 5, 8, 20):
        for flipped in (0.05, 0.01):
            rows, which, centres = groups(k, flipped=flipped)
            data = np.bincount(which, minlength=k) / len(rows)
            near = np.array([np.where(rows == x, 1 - flipped, flipped).prod(1) for x in centres])
            print(f"{k:7}{flipped:9}{'the mixture itself':>38}{np.log(data @ near).mean():12.3f}")
            for method, start in ((None, None), ("ptt", None), ("ptt", "low rank")):
                for seed in range(1, seeds + 1):
                    with model_of(rows, 16):
                        epochs = updates // 100
                        learned = pmr.fit(epochs, method=method, start=start, random_seed=seed, progressbar=False)
                    machine = recorded_machine(learned)
                    found = pmr.log_likelihood(rows, machine)["log_likelihood"]["v"].values.mean()
                    drawn = exact_draws(machine.numeric(), 20_000, np.random.default_rng(0))
                    nearest = np.argmin([(drawn != x).sum(1) for x in centres], axis=0)
                    distance = np.abs(np.bincount(nearest, minlength=k) / len(drawn) - data).sum() / 2
                    print(
                        f"{k:7}{flipped:9}{start or '-':>10}{learned.attrs['method']:>22}{seed:6}"
                        f"{found:12.3f}{distance:17.3f}",
                        flush=True,
                    )


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    {"cost": cost, "clusters": clusters, "starts": starts}[sys.argv[1]](*map(int, sys.argv[2:]))
