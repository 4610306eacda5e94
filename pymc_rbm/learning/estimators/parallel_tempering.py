"""Persistent contrastive divergence with parallel tempering, in which hot replicas carry chains from mode to mode.

Each chain has replicas ``x_0 … x_T`` of the machines with energies ``(1 - β_t) E_base + β_t E``, from independent
units with the data's means (β = 0, where a sweep is an exact draw) to the machine (β = 1). A *move* sweeps the replicas
at one temperature, and then neighbours swap with probability

    min(1, exp(F_t(x_t) + F_s(x_s) - F_t(x_s) - F_s(x_t))),        s = t - 1,

which leaves the product of all tempered densities invariant (Geyer 1991; for RBMs Desjardins et al. 2010, Cho et al.
2010). Moves go up from β = 0 to β = 1, temperature by temperature, and begin again: what is drawn at β = 0 is carried
up as far as swaps accept it, and an update costs a few moves, however many temperatures there are. The
temperatures adapt until all neighbours swap equally often, which is where round trips are most frequent (Syed et al.
2022, JRSS B 84).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
from pytensor.gradient import disconnected_grad
from pytensor.tensor.variable import TensorVariable

from pymc_rbm.learning.estimators.pcd import NegativePhase, surrogate_log_partition
from pymc_rbm.machine.machine import Machine
from pymc_rbm.sampling.sweep import sweeps as run_sweeps

__all__ = ["TEMPERATURES", "Births", "lifted", "tempered"]

TEMPERATURES = 10
MEMORY = 0.1
"""The weight of a new swap in the moving average of the swap rates."""
ADAPTATION = 0.02
"""The change of the log of a temperature gap, in each round of moves, where the swap rate differs by 1 from the
average."""
UNSEEN, FROM_COLD, FROM_HOT = 0, 1, 2


@dataclass(frozen=True)
class Births:
    """Shared variables that tell when the state of each replica was last drawn exactly, as `sampling.ladder` counts.

    Attributes
    ----------
    born : shape (temperatures, chains)
        The generation of each state; the particles are the last row.
    generation : scalar
        What states that are drawn at β = 0 get.
    """

    born: Any
    generation: Any

    @classmethod
    def of(cls, states: Any, temperatures: int) -> Births:
        """Return those of replicas of the chains ``states``, a shared variable; none was drawn exactly yet."""
        shape = temperatures, states.get_value(borrow=True).shape[0]
        return cls(_own(states, "born", np.zeros(shape, "int64")), _own(states, "generation", np.asarray(1)))


def tempered(
    machine: Machine,
    base: Machine,
    batch: Any,
    states: Any,
    rng: Any,
    sweeps: Any,
    *,
    temperatures: int = TEMPERATURES,
    moves: int = 2,
) -> NegativePhase:
    """Return the negative phase of persistent contrastive divergence with parallel tempering, PT-PCD-k.

    The bias is as that of PCD, but the chains lag less: a mode that plain Gibbs cannot leave is left through the
    replicas at higher temperatures. After the particles' sweeps come ``moves`` moves, each of the replicas at one
    temperature, so that a round through all takes ``temperatures / moves`` updates. An update takes two to five times
    as long as one of PCD with one sweep. Only the replicas at β = 1 are particles and enter any diagnostic.

    Reports, by iteration: ``swap_rate`` of neighbours (moving average), ``inverse_temperature`` and ``round_trips``,
    how often, over all chains so far, a replica went from β = 1 to β = 0 and back. Without round trips the replicas do
    not carry chains anywhere: use more temperatures, moves or sweeps.

    Examples
    --------
    >>> from functools import partial
    >>> import pymc as pm, pymc_rbm as pmr
    >>> with pm.Model():
    ...     W, b, c = pm.Normal("W", 0, 1, shape=(9, 4)), pm.Flat("b", shape=9), pm.Flat("c", shape=4)
    ...     v = pmr.RBM("v", W, b, c, observed=pmr.datasets.bars_and_stripes(3))
    ...     five = partial(pmr.estimators.tempered, temperatures=5)
    ...     learned = pmr.fit(20, method=five, random_seed=1, progressbar=False)
    >>> learned["learning"]["v_round_trips"].sizes["iteration"]
    20
    """
    return lifted(machine, base, states, rng, sweeps, temperatures, moves)


def lifted(
    machine: Machine,
    base: Machine,
    states: Any,
    rng: Any,
    sweeps: Any,
    temperatures: int,
    moves: int,
    ladder: bool = False,
) -> NegativePhase:
    """Return the negative phase of particles that are swept and then swap with replicas in some moves.

    With ``ladder`` they swap along learning's trajectory between updates, and births are counted for it.
    """
    if temperatures < 3:
        raise ValueError(f"temperatures must be at least 3, both ends included, got {temperatures}.")
    if moves < 1:
        raise ValueError(f"moves must be at least 1, each of the replicas at one temperature, got {moves}.")
    (v, *_), rng = run_sweeps(machine, machine.at(states), rng, sweeps)
    births = Births.of(states, temperatures) if ladder else None
    chains = states.get_value(borrow=True).shape[0]
    float_type = pt.as_tensor(machine.layers[0].bias).dtype
    replicas = _own(states, "replicas", np.tile(states.get_value(), (temperatures - 1, 1, 1)))
    seen = _own(states, "seen", np.full((temperatures, chains), UNSEEN, "int8"))
    log_gaps = _own(states, "log_gaps", np.zeros(temperatures - 1, float_type))
    swap_rate = _own(states, "swap_rate", np.full(temperatures - 1, 0.5, float_type))
    round_trips = _own(states, "round_trips", np.asarray(0, "int64"))
    turn = _own(states, "turn", np.asarray(0, "int64"))

    gaps = pt.exp(log_gaps - pt.max(log_gaps))
    betas = pt.concatenate([pt.zeros(1, dtype=float_type), pt.cumsum(gaps / gaps.sum())])
    betas = betas[-1].set(1.0)  # exactly 1, whatever the sum of the gaps rounds to
    cold, hot = (m.with_parameters([disconnected_grad(pt.as_tensor(p)) for p in m.parameters]) for m in (machine, base))
    x, flags, rates, trips, t = pt.concatenate([replicas, v[None]]), seen, swap_rate, round_trips, turn
    born: Any = None if births is None else births.born
    for _ in range(moves):
        low = pt.maximum(t - 1, 0)
        here, below = (cold.interpolate(hot, betas[k]) for k in (t, low))
        (high_x, *_), rng = run_sweeps(here, here.at(x[t]), rng, 1)
        x, log_accept = x[t].set(high_x), _log_acceptance(here, below, high_x, x[low])
        rng, u = pt.random.uniform(size=(chains,), rng=rng, return_next_rng=True)
        swap = (pt.log(u) < log_accept) & (t > 0)
        if births is not None:
            born = born[0].set(pt.where(pt.eq(t, 0), births.generation, born[0]))
            born = _swapped(born, t, low, swap)
        x, flags = _swapped(x, t, low, swap), _swapped(flags, t, low, swap)
        flags = flags[0].set(pt.where(pt.eq(flags[0], UNSEEN), UNSEEN, FROM_HOT).astype("int8"))
        trips = trips + pt.eq(flags[-1], FROM_HOT).sum()
        flags = flags[-1].set(FROM_COLD)
        accepted = pt.exp(pt.minimum(log_accept, 0)).mean()
        rates = pt.where(pt.eq(pt.arange(1, temperatures), t), rates + MEMORY * (accepted - rates), rates)
        t = (t + 1) % temperatures
    updates = {
        replicas: x[:-1],
        seen: flags,
        log_gaps: log_gaps + ADAPTATION * moves / temperatures * (rates - rates.mean()),
        swap_rate: rates,
        round_trips: trips,
        turn: t,
    }
    if births is not None:
        updates |= {births.born: born, births.generation: births.generation}
    updates = {shared: pt.as_tensor(new).astype(shared.dtype) for shared, new in updates.items()}
    report = {"swap_rate": rates, "inverse_temperature": betas, "round_trips": updates[round_trips]}
    v = x[-1]
    log_z = surrogate_log_partition(machine, v)
    return NegativePhase(log_z, v, v, rng, updates, report, ladder=ladder, births=births)


def _own(states: Any, name: str, value: np.ndarray) -> Any:
    """Return a shared variable of the estimator; of its shape all is known but the chains, the second axis."""
    shape = (value.shape[0], None, *value.shape[2:]) if value.ndim > 1 else value.shape
    return pytensor.shared(value, name=f"{states.name}_{name}", shape=shape)


def _log_acceptance(high: Machine, low: Machine, x: TensorVariable, y: TensorVariable) -> TensorVariable:
    """Return the log of the acceptance, not capped, of swaps between states x of ``high`` and y of ``low``."""
    return high.free_energy(x) + low.free_energy(y) - high.free_energy(y) - low.free_energy(x)


def _swapped(values: TensorVariable, t: Any, low: Any, swap: TensorVariable) -> TensorVariable:
    """Return the values with those at two temperatures swapped, in the chains in which they are."""
    x, y = values[t], values[low]
    moved = swap.reshape((-1, *[1] * (x.ndim - 1)))
    return values[low].set(pt.where(moved, x, y))[t].set(pt.where(moved, y, x))
