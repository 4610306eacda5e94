"""Parallel trajectory tempering: the particles swap with chains of the machines that learning came through."""

from __future__ import annotations

from typing import Any

from pymc_rbm.learning.estimators.pcd import NegativePhase, surrogate_log_partition
from pymc_rbm.machine.machine import Machine
from pymc_rbm.sampling.sweep import sweeps as run_sweeps

__all__ = ["trajectory_tempered"]


def trajectory_tempered(
    machine: Machine, base: Machine, batch: Any, states: Any, rng: Any, sweeps: Any
) -> NegativePhase:
    """Return the negative phase of persistent contrastive divergence whose chains swap along learning's trajectory.

    After every few updates the particles swap with chains of earlier machines, down to independent units that are
    drawn exactly (`sampling.ladder`, `learning.trajectory`; Béreux, Decelle, Furtlehner & Seoane 2025, ICLR). A machine
    that was learned from independent units came through machines that mix, so that every mode that appeared on the way
    has, through them, the weight that the machine gives it. An update moves no machine further than swaps can follow
    (`learning.trust`), and is short in the directions in which the machine is stiff (`learning.stiffness`).

    The bias is as that of PCD, but for modes the particles lag as long as a replica needs to come up from the bottom,
    not as long as a chain needs to leave a mode. It needs machines whose hidden units sum out, and the memory of one
    machine and of the particles for each rung.

    It does not know of modes that particles never met: of mushrooms with 16 hidden units, after 40,000 updates, log Z
    along the ladder was 1.8 nats too small, and the log-likelihood 1.3 nats below that by ``tempered``, whose replicas
    swap ten times as often. An update takes six to seven times as long as one of PCD with one sweep, and .4 to .8
    times as long as one of ``tempered`` (64 x 16 to 784 x 500 units).

    Reports, by iteration: ``rungs``, ``swap_rate`` of the pair that swaps least, ``round_trips`` and ``renewals``, how
    often all particles had become new ones from the bottom, ``rejected``, how often updates were taken back because
    they had torn the ladder; ``step_share``, how much of its update the trust region left.
    """
    (v, *_), rng = run_sweeps(machine, machine.at(states), rng, sweeps)
    return NegativePhase(surrogate_log_partition(machine, v), v, v, rng, ladder=True)
