"""The package ``rbms`` (PyTorch), float32, on the CPU.

An update is what its ``train`` does, by its own functions, but for ``normalize_grad``: with it every step has the same
length, which is another algorithm. (The norm costs little.)
"""

import os

import torch
from rbms.bernoulli_bernoulli.classes import BBRBM
from rbms.partition_function.ais import compute_partition_function_ais

from benchmarks.jobs import BATCH, RATE, data_rows, machine, visible_states

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
        chains[0] = rbm.sample_state(chains=chains[0], n_steps=n)

    return advance, lambda: chains[0]["visible"].numpy()


def _learning(rbm, start, rate, batch_of, centred=False):
    """A function that does one update, and one that returns the parameters."""
    chains = [start]
    optimizer = torch.optim.SGD(rbm.parameters(), lr=rate, maximize=True)
    rbm.init_grad()

    def one():
        rows = batch_of()
        optimizer.zero_grad(set_to_none=False)
        batch = rbm.init_chains(num_samples=len(rows), weights=torch.ones(len(rows)), start_v=rows)
        chains[0] = rbm.sample_state(chains=chains[0], n_steps=1)
        rbm.compute_gradient(data=batch, chains=chains[0], centered=centred)
        optimizer.step()

    return one, lambda: [p.numpy() for p in rbm.parameters()]


def update(job):
    """Persistent contrastive divergence, plain gradients."""
    rbm, data = _rbm(job), _floats(data_rows(job))
    start = rbm.init_chains(job.rows, start_v=_floats(visible_states(job)))
    one, result = _learning(rbm, start, RATE, lambda: data)

    def advance(n):
        for _ in range(n):
            one()

    return advance, result


def epoch(job):
    """As many updates as an epoch has, each with rows at random: what ``train`` does."""
    rbm, data = _rbm(job), _floats(data_rows(job))
    size = min(BATCH, job.rows)
    start = rbm.init_chains(size, start_v=_floats(visible_states(job))[:size])
    one, result = _learning(rbm, start, RATE, lambda: data[torch.randperm(len(data))[:size]])

    def advance(n):
        for _ in range(n * (job.rows // size)):
            one()

    return advance, result


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


def learn(rows, hidden, rate, snapshots):
    """What ``train`` does with its defaults (centred), from its own start; gradients not normalised."""
    size, data = min(BATCH, len(rows)), _floats(rows)
    whole = type("Rows", (), {"data": data})
    rbm = BBRBM.init_parameters(hidden, whole, torch.device("cpu"), torch.float32)
    one, _ = _learning(rbm, rbm.init_chains(size), rate, lambda: data[torch.randperm(len(data))[:size]], True)
    while not snapshots(lambda: [p.numpy() for p in rbm.parameters()]):
        one()
