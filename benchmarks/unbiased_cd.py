"""Unbiased contrastive divergence against the exact gradient, on 3x3 bars and stripes.

Run with ``python benchmarks/unbiased_cd.py [hidden] [estimates]`` (default 16 2000). At machines from the beginning to
the end of learning: the largest deviation of the mean gradient from the exact one in standard errors of the mean (of
all entries; about 3 by chance), for coupled chains and for CD-1, and the distribution of the meeting times.
"""

import sys

import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
from pytensor.compile.io import In, Out

import pymc_rbm as pmr
from pymc_rbm.learning.estimators.pcd import contrastive, exact

MOST_SWEEPS = 100_000


def gradients(estimator, machine, data, count, **options):
    """Return gradients of log Z by W, b and c, flattened, and what the estimator reports."""
    inputs = [pytensor.shared(p, shape=p.shape) for p in machine.parameters]
    states, rng = pytensor.shared(data), pt.random.rng()
    phase = estimator(machine.with_parameters(inputs), None, pt.as_tensor(data), states, rng, 1, **options)
    outputs = [pt.concatenate([g.ravel() for g in pt.grad(phase.log_z, inputs)]), *phase.report.values()]
    function = pm.compile([In(rng, mutable=True)], [Out(phase.rng, borrow=True), *outputs])
    generator, rows = np.random.default_rng(1), []
    for _ in range(count):
        generator, *row = function(generator)
        rows.append(row)
    return [np.array(x) for x in zip(*rows, strict=True)]


def deviation(estimates, truth):
    """Largest deviation of the mean in its standard errors; entries that do not vary are left out."""
    error = estimates.std(0, ddof=1) / np.sqrt(len(estimates))
    return np.abs((estimates.mean(0) - truth)[error > 0] / error[error > 0]).max()


def main(hidden=16, estimates=2000):
    """Print one row a machine."""
    data = pmr.datasets.bars_and_stripes(3).values
    print(f"{'updates':>8} {'coupled':>8} {'CD-1':>8}   meeting time: median, 99 %, longest   cut off")
    machines = {}
    with pm.Model():
        W = pm.Flat("W", shape=(9, hidden))
        pmr.RBM("v", W, pm.Flat("b", shape=9), pm.Flat("c", shape=hidden), observed=data)

        def keep(status):
            if status.epoch in (100, 500, 1000, 2000, 5000):
                machines[status.epoch] = status.machines()["v"]

        pmr.fit(5000, learning_rate=0.2, on_epoch=keep, random_seed=1, progressbar=False)
    for updates, machine in machines.items():
        [truth] = gradients(exact, machine, data, 1)
        coupled, times, unmet = gradients(pmr.estimators.unbiased, machine, data, estimates, most_sweeps=MOST_SWEEPS)
        [plain] = gradients(contrastive, machine, data, estimates)
        middle, late, longest = np.percentile(times, [50, 99, 100])
        print(
            f"{updates:8} {deviation(coupled, truth[0]):8.2f} {deviation(plain, truth[0]):8.2f}   "
            f"{middle:18.0f} {late:6.0f} {longest:8.0f} {unmet.mean():9.2%}",
            flush=True,
        )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
