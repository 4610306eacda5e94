"""Updates a second of ``fit``, progress bar and monitors included, beside those of the bare kernels in a loop.

Run with ``python -m benchmarks.update_rate [smoke]``: 784x500, 60,000 rows, batches of 500 and as many particles,
PCD-1, float32, one thread, CPU seconds, by turns. The bare loop does what an update has to, and records nothing: a
sweep that keeps its fields, those of the data, means of both, two products for the gradient, a step. At least 60 % of
its rate are wanted.
"""

import statistics
import sys

import numba
import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.jobs import BATCH, RATE, Job, data_rows, machine, visible_states
from benchmarks.peers.ours_rbm import epoch, start
from benchmarks.timing import calibrated, per_unit
from pymc_rbm.kernels.fields import binary_dot, means_and_sums
from pymc_rbm.kernels.sweep import GROUP, sweep_many
from pymc_rbm.kernels.uniforms import seeded

REPEATS = 5
JOB, SMOKE = Job("epoch", 784, 500, 60_000), Job("epoch", 12, 7, 600)


@numba.njit
def _statistics(v, fields, sums, unit_sums, gradient):
    """The sums over rows of ``v`` times the hidden means, and of these, which take the place of the fields."""
    means_and_sums(fields, fields, sums, sums)
    unit_sums[:] = fields.sum(0)
    binary_dot(0, v.shape[1], v, fields, unit_sums[:0], gradient, True)


@numba.njit
def _updates(n, rng, data, particles, W, b, c, batch):
    rows, shape, of = len(particles), (len(particles), W.shape[1]), W.dtype
    hidden, trace = np.zeros(shape, np.int8), np.empty((1, *particles.shape), np.int8)
    fields, model_fields, sums = np.empty(shape, of), np.empty(shape, of), np.empty(rows, of)
    up, down, up_c, down_c = np.empty_like(W), np.empty_like(W), np.empty_like(c), np.empty_like(c)
    free_v, free_h = np.zeros((0, W.shape[0]), np.bool_), np.zeros((0, W.shape[1]), np.bool_)
    state, none, rate = seeded(rng, rows, GROUP), (False, False), of.type(RATE / batch)
    for i in range(n):
        first = i * batch % (len(data) - batch + 1)
        v = data[first : first + batch]
        kept = model_fields, W, b, c, free_v, free_h, none, none, True
        sweep_many(state, 0, rows, 1, particles, hidden, trace, *kept)
        particles[:] = trace[0]
        binary_dot(0, batch, v, W, c, fields, False)
        _statistics(v, fields, sums, up_c, up)
        _statistics(particles, model_fields, sums, down_c, down)
        W += rate * (up - down)
        b += rate * (v.sum(0) - particles.sum(0))
        c += rate * (up_c - down_c)


def bare(job):
    """The loop of the kernels: ``advance(n)`` does n epochs."""
    size = min(BATCH, job.rows)
    states = visible_states(Job("update", job.visible, job.hidden, size))
    arguments = np.random.default_rng(1), data_rows(job), states, *machine(job), size
    return lambda n: _updates(n * (job.rows // size), *arguments)


def main(smoke=False):
    """Print one line."""
    start()
    numba.config.NUMBA_NUM_THREADS = 1
    threadpool_limits(1)
    job, seconds = (SMOKE, 0.01) if smoke else (JOB, 1.0)
    contenders = bare(job), epoch(job)[0]
    runs = [calibrated(advance, seconds) for advance in contenders]
    updates = job.rows // min(BATCH, job.rows)
    times = [[per_unit(x, *run)[0] / updates for x, run in zip(contenders, runs, strict=True)] for _ in range(REPEATS)]
    kernels, ours = (statistics.median(x) for x in zip(*times, strict=True))
    share = statistics.median(a / b for a, b in times)
    name = f"{job.visible}x{job.hidden}, {job.rows} rows"
    print(f"{name}: bare kernels {kernels * 1e6:.0f} µs an update, fit {ours * 1e6:.0f} µs: {share:.0%} of their rate")


if __name__ == "__main__":
    main(*sys.argv[1:])
