"""The package ``thrml`` (JAX): block Gibbs of an Ising model with the same couplings, its units -1 and 1.

With v = (1 + s)/2 and h = (1 + t)/2 the energy -vᵀWh - bᵀv - cᵀh is that of spins with couplings W/4 and biases
b/2 + W1/4 and c/2 + Wᵀ1/4, up to a constant. Only sweeps, and only small machines: every coupling is an object.
"""

import jax
import jax.numpy as jnp
import numpy as np
from thrml.block_management import Block
from thrml.block_sampling import SamplingSchedule, sample_states
from thrml.models.ising import IsingEBM, IsingSamplingProgram
from thrml.pgm import SpinNode

from benchmarks.jobs import machine, visible_states

MOST_COUPLINGS = 10_000


def sweep(job):
    """Chains side by side."""
    W, b, c = machine(job)
    if W.size > MOST_COUPLINGS:
        raise NotImplementedError(f"{W.size} couplings would take thrml minutes to set up")
    visible, hidden = [SpinNode() for _ in b], [SpinNode() for _ in c]
    edges = [(v, h) for v in visible for h in hidden]
    biases = np.concatenate([b / 2 + W.sum(1) / 4, c / 2 + W.sum(0) / 4])
    model = IsingEBM([*visible, *hidden], edges, jnp.asarray(biases), jnp.asarray(W.ravel() / 4), jnp.asarray(1.0))
    blocks = [Block(hidden), Block(visible)]
    program = IsingSamplingProgram(model, blocks, [])

    @jax.jit
    def start(v):
        return [jnp.zeros((len(v), job.hidden), bool), v.astype(bool)]

    def run(n):
        schedule = SamplingSchedule(n, 1, 1)
        one = lambda key, state: [x[0] for x in sample_states(key, program, schedule, state, [], blocks)]  # noqa: E731
        return jax.jit(jax.vmap(one))

    runs, key, state = {}, jax.random.key(1), [start(jnp.asarray(visible_states(job)))]

    def advance(n):
        nonlocal key
        runs.setdefault(n, run(n))  # its number of sweeps is part of the program
        key, own = jax.random.split(key)
        state[0] = jax.block_until_ready(runs[n](jax.random.split(own, job.rows), state[0]))

    return advance, lambda: np.asarray(state[0][1]).astype(float)
