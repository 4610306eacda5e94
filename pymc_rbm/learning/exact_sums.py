"""Learning sums log Z by the kernel of two binary layers where there are such, else as a graph."""

from __future__ import annotations

from pytensor.tensor.variable import TensorVariable

from pymc_rbm.kernels.door import is_binary_pair, log_partition_of_pair, log_z_of_pair
from pymc_rbm.machine.enumeration import cheapest_layer, is_tractable, symbolic_log_partition
from pymc_rbm.machine.machine import Machine

__all__ = ["is_summed", "is_summed_fast", "log_partition", "log_z_of_pair"]

MOST_UNITS = 20
"""The most units of the smaller of two binary layers: 2²⁰ states."""


def is_summed_fast(machine: Machine) -> bool:
    """Whether there is a kernel for this sum."""
    return is_binary_pair(machine) and cheapest_layer(machine)[1] <= 2**MOST_UNITS


def is_summed(machine: Machine) -> bool:
    """Whether log Z is known inside a graph."""
    return is_summed_fast(machine) or is_tractable(machine)


def log_partition(machine: Machine) -> TensorVariable:
    """Return log Z as a node that is differentiable at least once, for machines that `symbolic_log_partition` takes."""
    return log_partition_of_pair(machine) if is_summed_fast(machine) else symbolic_log_partition(machine)
