"""The package ``rbms`` (PyTorch), float32, on the CPU.

An update is what its ``train`` does, by its own functions, but for ``normalize_grad``: with it every step has the same
length, which is another algorithm. (The norm costs little.)
"""

import os

import torch
from rbms.bernoulli_bernoulli.classes import BBRBM
from rbms.partition_function.ais import compute_partition_function_ais
from rbms.sampling.gibbs import sample_state

from benchmarks.jobs import RATE, data_rows, machine, visible_states

torch.set_grad_enabled(False)
torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
torch.manual_seed(1)


def _rbm(job):
    return BBRBM(*(torch.from_numpy(p) for p in machine(job)))


def _floats(x):
    return torch.from_numpy(x.astype("float32"))


def sweep(job):
    """Chains side by side."""
    rbm = _rbm(job)
    chains = [rbm.init_chains(job.rows, start_v=_floats(visible_states(job)))]

    def advance(n):
        chains[0] = sample_state(n, chains[0], rbm)

    return advance, lambda: chains[0]["visible"].numpy()


def update(job):
    """Persistent contrastive divergence, plain gradients."""
    rbm, data = _rbm(job), _floats(data_rows(job))
    weights, chains = torch.ones(len(data)), [rbm.init_chains(job.rows, start_v=_floats(visible_states(job)))]
    optimizer = torch.optim.SGD(rbm.parameters(), lr=RATE, maximize=True)
    rbm.init_grad()

    def advance(n):
        for _ in range(n):
            optimizer.zero_grad(set_to_none=False)
            batch = rbm.init_chains(num_samples=len(data), weights=weights, start_v=data)
            chains[0] = rbm.sample_state(chains=chains[0], n_steps=1)
            rbm.compute_gradient(data=batch, chains=chains[0], centered=False)
            optimizer.step()

    return advance, lambda: [p.numpy() for p in rbm.parameters()]


def free_energy(job):
    """Of all rows at once."""
    rbm, rows = _rbm(job), _floats(data_rows(job))

    def advance(n):
        for _ in range(n):
            rbm.compute_energy_visibles(rows)

    return advance, lambda: rbm.compute_energy_visibles(rows).numpy()


def ais(job):
    """From independent units, linear temperatures."""
    rbm, log_z = _rbm(job), [0.0]

    def advance(n):
        log_z[0] = compute_partition_function_ais(job.rows, 1000 * n, rbm)

    return advance, lambda: log_z[0]
