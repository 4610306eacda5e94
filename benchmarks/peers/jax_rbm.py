"""JAX on the CPU, float32, jitted loops."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.jobs import RATE, data_rows, machine, visible_states


def _draw(key, field):
    return jax.random.bernoulli(key, jax.nn.sigmoid(field)).astype(jnp.float32)


def _hidden_then_visible(key, v, W, b, c):
    first, second = jax.random.split(key)
    return _draw(second, _draw(first, v @ W + c) @ W.T + b)


@jax.jit
def _sweeps(key, v, n, W, b, c):
    return jax.lax.fori_loop(0, n, lambda i, v: _hidden_then_visible(jax.random.fold_in(key, i), v, W, b, c), v)


@jax.jit
def _updates(key, v, n, data, W, b, c):
    def one(i, state):
        v, W, b, c = state
        v = _hidden_then_visible(jax.random.fold_in(key, i), v, W, b, c)
        h_data, h = jax.nn.sigmoid(data @ W + c), jax.nn.sigmoid(v @ W + c)
        W = W + RATE * (data.T @ h_data / len(data) - v.T @ h / len(v))
        return v, W, b + RATE * (data.mean(0) - v.mean(0)), c + RATE * (h_data.mean(0) - h.mean(0))

    return jax.lax.fori_loop(0, n, one, (v, W, b, c))


@jax.jit
def _free_energy(v, W, b, c):
    return -(v @ b) - jax.nn.softplus(v @ W + c).sum(1)


@partial(jax.jit, static_argnames="rows")
def _ais(key, betas, W, b, c, rows):
    def one(i, state):
        v, log_w = state
        beta, previous, own = betas[i], betas[i - 1], jax.random.fold_in(key, i)
        field = v @ W + c
        log_w += (jax.nn.softplus(beta * field) - jax.nn.softplus(previous * field)).sum(1)
        first, second = jax.random.split(own)
        return _draw(second, beta * (_draw(first, beta * field) @ W.T) + b), log_w

    v = _draw(key, jnp.broadcast_to(b, (rows, len(b))))
    log_w = jnp.full(rows, jax.nn.softplus(b).sum() + len(c) * jnp.log(2.0))
    _, log_w = jax.lax.fori_loop(1, len(betas), one, (v, log_w))
    return jax.nn.logsumexp(log_w) - jnp.log(rows)


def _keys():
    key = jax.random.key(1)
    while True:
        key, own = jax.random.split(key)
        yield own


def sweep(job):
    """Chains side by side."""
    keys, parameters, v = _keys(), machine(job), [jnp.asarray(visible_states(job), jnp.float32)]

    def advance(n):
        v[0] = _sweeps(next(keys), v[0], n, *parameters).block_until_ready()

    return advance, lambda: np.asarray(v[0])


def update(job):
    """Persistent contrastive divergence, plain gradients."""
    keys, data = _keys(), jnp.asarray(data_rows(job), jnp.float32)
    state = [(jnp.asarray(visible_states(job), jnp.float32), *machine(job))]

    def advance(n):
        v, *parameters = state[0]
        state[0] = jax.block_until_ready(_updates(next(keys), v, n, data, *parameters))

    return advance, lambda: [np.asarray(p) for p in state[0][1:]]


def free_energy(job):
    """Of all rows at once."""
    parameters, rows = machine(job), jnp.asarray(data_rows(job), jnp.float32)

    def advance(n):
        for _ in range(n):
            _free_energy(rows, *parameters).block_until_ready()

    return advance, lambda: np.asarray(_free_energy(rows, *parameters))


def ais(job):
    """From independent visible units, linear temperatures."""
    keys, parameters, log_z = _keys(), machine(job), [0.0]

    def advance(n):
        betas = np.linspace(0, 1, 1000 * n, dtype="float32")
        log_z[0] = _ais(next(keys), betas, *parameters, rows=job.rows).block_until_ready()

    return advance, lambda: float(log_z[0])
