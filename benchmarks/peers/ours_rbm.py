"""The package itself, through its public functions, float32 (float64 wherever a function takes nothing else)."""

import queue
import threading

import numpy as np
import pymc as pm
import pytensor

import pymc_rbm as pmr
from benchmarks.jobs import BATCH, RATE, data_rows, machine, visible_states

BATCHES, MANY = 512, 100
"""Batches of an epoch, powers of two as runs are: 512 of 100 rows, or 128 of 500 where machines have many units."""
QUIET = {"progressbar": False, "random_seed": 1}


def start():
    """Single precision, in a process of its own: importing this file changes nothing."""
    pytensor.config.floatX = "float32"


def sweep(job):
    """``sample_gibbs``: one stored draw at the end, its functionals not counted (they are in every run alike)."""
    restricted, v = pmr.restricted(*machine(job)), [visible_states(job)]

    def advance(n):
        tree = pmr.sample_gibbs(
            restricted, draws=1, tune=0, sweeps=n, chains=job.rows, start=v[0], progressbar=False, random_seed=len(v)
        )
        v[0] = tree["last_states"]["v"].values
        v.append(None)  # another seed next time

    return advance, lambda: v[0].astype(float)


def _learning(job, rows, batch, each=1, **settings):
    """``fit`` in a thread, which its callback stops until it is let go on for n units; an epoch has ``each`` units."""
    W, b, c = machine(job)
    allowed, done, learned = queue.Queue(), queue.Queue(), []
    left = 0

    def wait(status):
        nonlocal left
        left -= each
        if left <= 0:
            done.put(None)
            left = allowed.get()
        return left is None

    def learn():
        nonlocal left
        with pm.Model():
            W_, b_, c_ = pm.Flat("W", shape=W.shape), pm.Flat("b", shape=b.shape), pm.Flat("c", shape=c.shape)
            pmr.RBM("v", W_, b_, c_, observed=rows)
            left = allowed.get()
            settings["on_epoch"] = wait
            start = {"W": W, "b": b, "c": c}
            common = {"sweeps": 1, "learning_rate": lambda done: RATE, "start": start, "random_seed": 1}
            learned.append(pmr.fit(10**6, batch_size=batch, chains=batch, **common, **settings))

    thread = threading.Thread(target=learn, daemon=True)
    thread.start()

    def advance(n):
        allowed.put(-(-n // each) * each)
        done.get()

    advance.whole = each

    def result():
        allowed.put(None)
        thread.join()
        return [learned[0]["parameters"][x].values for x in "Wbc"]

    return advance, result


def update(job):
    """``fit`` with plain gradients, of many batches an epoch: what is done once an epoch is spread over them.

    Whole epochs are done.
    """
    each = BATCHES if job.visible < MANY else BATCHES // 4
    rows = np.tile(data_rows(job), (each, 1))
    return _learning(job, rows, job.rows, each, centred=False, progressbar=False)


def epoch(job):
    """``fit`` as it is, with its monitors and its bar."""
    return _learning(job, data_rows(job), min(BATCH, job.rows))


def free_energy(job):
    """``free_energy`` of all rows at once."""
    parameters, rows = machine(job), data_rows(job)

    def advance(n):
        for _ in range(n):
            pmr.free_energy(rows, *parameters)

    return advance, lambda: pmr.free_energy(rows, *parameters)


def ais(job):
    """``log_partition``; its pilot run and its checks are in every run alike."""
    W, b, c = machine(job)
    restricted, found = pmr.restricted(W, b, c), []
    base = 1 / (1 + np.exp(-b.astype(float)))

    def advance(n):
        found[:] = [
            pmr.log_partition(
                restricted, method="ais", particles=job.rows, temperatures=1000 * n, base_mean=base, **QUIET
            )
        ]

    return advance, lambda: found[0].estimate


def learn(rows, hidden, rate, snapshots):
    """``fit`` at a constant rate; the last iterates."""

    def parameters(status):
        [machine] = status.machines().values()
        b, c, W = machine.parameters
        return W, b, c

    size = min(BATCH, len(rows))
    with pm.Model():
        shapes = {"W": (rows.shape[1], hidden), "b": rows.shape[1], "c": hidden}
        W, b, c = (pm.Flat(name, shape=shape) for name, shape in shapes.items())
        pmr.RBM("v", W, b, c, observed=rows)
        settings = {"learning_rate": lambda done: rate, "on_iteration": lambda x: snapshots(lambda: parameters(x))}
        pmr.fit(10**6, batch_size=size, chains=size, sweeps=1, **settings, **QUIET)
