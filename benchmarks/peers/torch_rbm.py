"""PyTorch on the CPU, float32, without gradients."""

import math
import os
from itertools import pairwise

import numpy as np
import torch
from torch.nn.functional import softplus

from benchmarks.jobs import BATCH, RATE, data_rows, machine, visible_states

torch.set_grad_enabled(False)
torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
torch.manual_seed(1)


def _hidden_then_visible(v, W, b, c):
    h = torch.bernoulli(torch.sigmoid(torch.addmm(c, v, W)))
    return torch.bernoulli(torch.sigmoid(torch.addmm(b, h, W.T)))


def _free_energy(v, W, b, c):
    return -(v @ b) - softplus(torch.addmm(c, v, W)).sum(1)


def _parameters(job):
    return [torch.from_numpy(p) for p in machine(job)]


def _floats(x):
    return torch.from_numpy(x.astype("float32"))


def sweep(job):
    """Chains side by side."""
    parameters, v = _parameters(job), [_floats(visible_states(job))]

    def advance(n):
        for _ in range(n):
            v[0] = _hidden_then_visible(v[0], *parameters)

    return advance, lambda: v[0].numpy()


def _update(v, data, W, b, c):
    """One step of persistent contrastive divergence, in place; return the particles."""
    v = _hidden_then_visible(v, W, b, c)
    h_data, h = torch.sigmoid(torch.addmm(c, data, W)), torch.sigmoid(torch.addmm(c, v, W))
    W.addmm_(data.T, h_data, alpha=RATE / len(data)).addmm_(v.T, h, alpha=-RATE / len(h))
    b.add_(data.mean(0) - v.mean(0), alpha=RATE)
    c.add_(h_data.mean(0) - h.mean(0), alpha=RATE)
    return v


def update(job):
    """Persistent contrastive divergence, plain gradients."""
    parameters, data, v = _parameters(job), _floats(data_rows(job)), [_floats(visible_states(job))]

    def advance(n):
        for _ in range(n):
            v[0] = _update(v[0], data, *parameters)

    return advance, lambda: [p.numpy() for p in parameters]


def epoch(job):
    """The same over batches in a fresh random order."""
    parameters, data = _parameters(job), _floats(data_rows(job))
    v = [_floats(visible_states(job))[:BATCH]]

    def advance(n):
        for _ in range(n):
            for batch in torch.randperm(len(data)).split(BATCH):
                v[0] = _update(v[0], data[batch], *parameters)

    return advance, lambda: [p.numpy() for p in parameters]


def free_energy(job):
    """Of all rows at once."""
    parameters, rows = _parameters(job), _floats(data_rows(job))

    def advance(n):
        for _ in range(n):
            _free_energy(rows, *parameters)

    return advance, lambda: _free_energy(rows, *parameters).numpy()


def ais(job):
    """From independent visible units, linear temperatures."""
    (W, b, c), log_z = _parameters(job), [0.0]

    def advance(n):
        betas = np.linspace(0, 1, 1000 * n)
        v = torch.bernoulli(torch.sigmoid(b).expand(job.rows, -1))
        log_w = torch.full((job.rows,), float(softplus(b).sum()) + len(c) * math.log(2))
        field = torch.addmm(c, v, W)
        for previous, beta in pairwise(betas.tolist()):
            log_w += (softplus(beta * field) - softplus(previous * field)).sum(1)
            h = torch.bernoulli(torch.sigmoid(beta * field))
            v = torch.bernoulli(torch.sigmoid(torch.addmm(b, h, W.T, alpha=beta)))
            field = torch.addmm(c, v, W)
        log_z[0] = float(torch.logsumexp(log_w, 0)) - math.log(job.rows)

    return advance, lambda: log_z[0]
