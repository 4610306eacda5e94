"""The package itself, through its public functions, float32 (float64 wherever a function takes nothing else)."""

import queue
import threading

import numpy as np
import pymc as pm
import pytensor

import pymc_rbm as pmr
from benchmarks.jobs import RATE, data_rows, machine, visible_states

pytensor.config.floatX = "float32"
BATCHES = 100
QUIET = {"progressbar": False, "random_seed": 1}


def sweep(job):
    """``sample_gibbs``: one stored draw at the end, its functionals not counted (they are in every run alike)."""
    restricted, v = pmr.restricted(*machine(job)), [visible_states(job)]

    def advance(n):
        tree = pmr.sample_gibbs(
            restricted, draws=1, tune=0, thin=n, chains=job.rows, start=v[0], progressbar=False, random_seed=len(v)
        )
        v[0] = tree["last_states"]["v"].values
        v.append(None)  # another seed next time

    return advance, lambda: v[0].astype(float)


def update(job):
    """``fit``, plain gradients: a thread learns and is let go on for n iterations at a time by its callback."""
    W, b, c = machine(job)
    allowed, done, learned = queue.Queue(), queue.Queue(), []
    left = 0

    def on_iteration(status):
        nonlocal left
        left -= 1
        if left == 0:
            done.put(status)
            left = allowed.get()
        return left is None

    def learn():
        nonlocal left
        with pm.Model():
            W_, b_, c_ = pm.Flat("W", shape=W.shape), pm.Flat("b", shape=b.shape), pm.Flat("c", shape=c.shape)
            # Many batches an epoch, as anyone has who learns: what is done once an epoch is spread over them.
            pmr.RBM("v", W_, b_, c_, observed=np.tile(data_rows(job), (BATCHES, 1)))
            left = allowed.get()
            learned.append(
                pmr.fit(
                    epochs=10**7,
                    batch_size=job.rows,
                    chains=job.rows,
                    sweeps=1,
                    centred=False,
                    learning_rate=lambda done: RATE,
                    start={"W": W, "b": b, "c": c},
                    on_iteration=on_iteration,
                    **QUIET,
                )
            )

    thread = threading.Thread(target=learn, daemon=True)
    thread.start()

    def advance(n):
        allowed.put(n)
        done.get()

    def result():
        allowed.put(None)
        thread.join()
        return [learned[0]["parameters"][x].values for x in "Wbc"]

    return advance, result


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
