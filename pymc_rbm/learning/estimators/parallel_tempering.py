"""Persistent contrastive divergence with parallel tempering, in which hot replicas carry chains from mode to mode.

Each chain has replicas ``x_0 … x_T`` of the machines with energies ``(1 - β_t) E_base + β_t E``, from independent
units with the data's means (β = 0, where a sweep is an exact draw) to the machine (β = 1). After the sweeps neighbours
swap with probability

    min(1, exp(F_t(x_t) + F_s(x_s) - F_t(x_s) - F_s(x_t))),        s = t + 1,

which leaves the product of all tempered densities invariant (Geyer 1991; for RBMs Desjardins et al. 2010, Cho et al.
2010). Even and odd pairs take turns, so that replicas travel instead of diffusing (Syed et al. 2022, JRSS B 84). The
temperatures adapt until all neighbours swap equally often, which is where round trips are most frequent (ibid.).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
from pytensor.gradient import disconnected_grad

from pymc_rbm.learning.estimators.pcd import NegativePhase, surrogate_log_partition
from pymc_rbm.machine.machine import Machine
from pymc_rbm.sampling.sweep import sweeps as run_sweeps

__all__ = ["tempered"]

MEMORY = 0.02
"""The weight of a new iteration in the moving average of the swap rates."""
ADAPTATION = 0.02
"""The change of the log of a temperature gap, in each iteration, where the swap rate differs by 1 from the average."""
UNSEEN, FROM_COLD, FROM_HOT = 0, 1, 2


def tempered(
    machine: Machine, base: Machine, batch: Any, states: Any, rng: Any, sweeps: Any, *, temperatures: int = 10
) -> NegativePhase:
    """Return the negative phase of persistent contrastive divergence with parallel tempering, PT-PCD-k.

    The bias is as that of PCD, but the chains lag less: a mode that plain Gibbs cannot leave is left through the
    replicas at higher temperatures. It costs ``temperatures`` times the sweeps of PCD. Only the replicas at β = 1 are
    particles and enter any diagnostic.

    Reports, by iteration: ``swap_rate`` of neighbours (moving average), ``inverse_temperature`` and ``round_trips``,
    how often, over all chains so far, a replica went from β = 1 to β = 0 and back. Without round trips the replicas do
    not carry chains anywhere: use more temperatures or sweeps.
    """
    if temperatures < 3:
        raise ValueError(f"tempered needs at least 3 temperatures, both ends included, got {temperatures}.")
    chains = states.get_value(borrow=True).shape[0]
    float_type = pt.as_tensor(machine.layers[0].bias).dtype

    def own(name, value):
        return pytensor.shared(value, name=f"{states.name}_{name}")

    replicas = own("replicas", np.tile(states.get_value(), (temperatures - 1, 1, 1)))
    seen = own("seen", np.full((temperatures, chains), UNSEEN, "int8"))
    log_gaps = own("log_gaps", np.zeros(temperatures - 1, float_type))
    swap_rate = own("swap_rate", np.full(temperatures - 1, 0.5, float_type))
    round_trips = own("round_trips", np.asarray(0, "int64"))
    parity = own("parity", np.asarray(0, "int8"))

    gaps = pt.exp(log_gaps - pt.max(log_gaps))
    betas = pt.concatenate([pt.zeros(1, dtype=float_type), pt.cumsum(gaps / gaps.sum())])
    betas = betas[-1].set(1.0)  # exactly 1, whatever the sum of the gaps rounds to
    index = pt.arange(temperatures)
    partner = index + pt.where(pt.eq(index % 2, parity), 1, -1)
    partner = pt.where((partner < 0) | (partner >= temperatures), index, partner)

    x = pt.concatenate([replicas, states[None]])
    x, gain, rng = _sweep_all(machine, base, x, betas, betas[partner], rng, sweeps)
    log_accept = gain + gain[partner]
    rng, u = pt.random.uniform(size=(temperatures, chains), rng=rng, return_next_rng=True)
    u = u[pt.minimum(index, partner)]  # one random number for each pair
    swap = pt.neq(index, partner)[:, None] & (pt.log(u) < log_accept)
    x = pt.where(swap[..., None], x[partner], x)

    flag = pt.where(swap, seen[partner], seen)
    returned = pt.eq(flag[-1], FROM_HOT).sum()
    flag = pt.set_subtensor(flag[0], pt.where(pt.neq(flag[0], UNSEEN), FROM_HOT, UNSEEN))
    flag = pt.set_subtensor(flag[-1], FROM_COLD)

    first = index[:-1]
    tried = pt.eq(partner[:-1], first + 1)
    accepted = pt.exp(pt.minimum(log_accept[:-1], 0)).mean(-1)
    rate = pt.where(tried, (1 - MEMORY) * swap_rate + MEMORY * accepted, swap_rate)
    updates = {
        replicas: x[:-1],
        seen: flag,
        log_gaps: log_gaps + ADAPTATION * (rate - rate.mean()),
        swap_rate: rate,
        round_trips: round_trips + returned,
        parity: 1 - parity,
    }
    updates = {shared: new.astype(shared.dtype) for shared, new in updates.items()}
    report = {"swap_rate": rate, "inverse_temperature": betas, "round_trips": updates[round_trips]}
    v = x[-1]
    return NegativePhase(surrogate_log_partition(machine, v), v, v, rng, updates, report)


def _sweep_all(machine, base, x, betas, partners, rng, sweeps):
    """Sweep the replicas of each temperature; return them, the gain of a move to the partner's, and the generator.

    The gain of state x at β for β' is ``F_β(x) - F_β'(x)``.
    """
    n = len(machine.parameters)

    def one(beta, other, v, rng, *parameters):
        inner, inner_base = machine.with_parameters(parameters[:n]), base.with_parameters(parameters[n:])
        here, there = (inner.interpolate(inner_base, t) for t in (beta, other))
        (v, *_), rng = run_sweeps(here, here.at(v), rng, sweeps)
        return rng, v, here.free_energy(v) - there.free_energy(v)

    rng, x, gain = pytensor.scan(
        one,
        sequences=[betas, partners, x],
        outputs_info=[rng, None, None],
        non_sequences=[disconnected_grad(pt.as_tensor(p)) for p in (*machine.parameters, *base.parameters)],
        return_updates=False,
    )
    return x, gain, rng
