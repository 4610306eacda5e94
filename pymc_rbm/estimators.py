"""Estimators of the negative phase: what stands in for the gradient of log Z.

Each is one function of a machine, a batch of data, the states of the persistent chains, a generator and a number of
sweeps. It returns a scalar whose *derivative* estimates that of log Z, the particles that it used (shape (n, visible)),
the next states of the persistent chains (None if it has none) and the next generator. To add an estimator, write one
more function and its row in `METHODS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytensor.tensor as pt
from pytensor.gradient import disconnected_grad
from pytensor.tensor.variable import TensorVariable

from pymc_rbm.enumeration import is_enumerable, sizes_of, symbolic_log_partition
from pymc_rbm.gibbs import sweeps as run_sweeps
from pymc_rbm.machine import Machine

__all__ = ["METHODS", "NegativePhase", "contrastive", "exact", "find_method", "persistent", "surrogate_log_partition"]


@dataclass(frozen=True)
class NegativePhase:
    """What an estimator returns."""

    log_z: TensorVariable
    particles: TensorVariable
    states: TensorVariable | None
    rng: Any


def surrogate_log_partition(machine: Machine, particles: Any) -> TensorVariable:
    """Minus the mean free energy of particles held constant: ``∂ log Z/∂θ = -E ∂F(v)/∂θ``, averaged over particles."""
    return -machine.free_energy(disconnected_grad(pt.as_tensor(particles))).mean()


def persistent(machine: Machine, batch: Any, states: Any, rng: Any, sweeps: int) -> NegativePhase:
    """Persistent contrastive divergence, PCD-k: chains that are never restarted.

    Biased only because the chains lag behind the moving parameters: not at all in the limit of a falling learning rate
    and mixing chains. Younes (1999), Tieleman (2008).
    """
    (v, _), rng = run_sweeps(machine, [states, None], rng, sweeps)
    return NegativePhase(surrogate_log_partition(machine, v), v, v, rng)


def contrastive(machine: Machine, batch: Any, states: Any, rng: Any, sweeps: int) -> NegativePhase:
    """Contrastive divergence, CD-k: ``sweeps`` sweeps from the batch itself, forgotten afterwards.

    Biased for any finite number of sweeps, towards machines that reproduce the data locally: modes far from all data
    are never seen, their mass can grow, and the likelihood can fall while learning goes on. Hinton (2002); Fischer &
    Igel (2010). The particles are no chains, so nothing can be diagnosed.
    """
    (v, _), rng = run_sweeps(machine, [batch, None], rng, sweeps)
    return NegativePhase(surrogate_log_partition(machine, v), v, None, rng)


def exact(machine: Machine, batch: Any, states: Any, rng: Any, sweeps: int) -> NegativePhase:
    """Exact gradient of log Z by enumeration of the smaller side, at most 16 units. No bias, no noise.

    The persistent chains run along, for diagnosis only.

    Raises
    ------
    ValueError
        If the machine is too large.
    """
    if not is_enumerable(machine):
        raise ValueError(
            f"method='exact' enumerates the smaller side, which has more than 16 units: sizes {sizes_of(machine)}. Use "
            "method='pcd'."
        )
    phase = persistent(machine, batch, states, rng, sweeps)
    return NegativePhase(symbolic_log_partition(machine), phase.particles, phase.states, phase.rng)


METHODS: dict[str, Callable[..., NegativePhase]] = {"pcd": persistent, "cd": contrastive, "exact": exact}


def find_method(method: str | Callable[..., NegativePhase]) -> Callable[..., NegativePhase]:
    """Return the estimator of that name, or ``method`` itself if it is one."""
    if callable(method):
        return method
    if method not in METHODS:
        raise ValueError(f"method must be one of {sorted(METHODS)} or an estimator, got {method!r}.")
    return METHODS[method]
