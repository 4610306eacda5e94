"""Learning sums log Z by a kernel where units are binary, else as a graph."""

from __future__ import annotations

from pytensor.tensor.variable import TensorVariable

from pymc_rbm.kernels.door import factors_of, is_summed_by_kernel, log_partition_by_kernel, log_z_by_kernel
from pymc_rbm.machine.enumeration import cheapest_layer, is_tractable, symbolic_log_partition
from pymc_rbm.machine.machine import Machine

__all__ = ["factors_of", "is_summed", "is_summed_fast", "log_partition", "log_z_by_kernel"]

MOST_UNITS = 20
"""The most binary units of one layer, the smaller one of two: 2²⁰ states."""


def is_summed_fast(machine: Machine) -> bool:
    """Whether there is a kernel for this sum."""
    return is_summed_by_kernel(machine) and cheapest_layer(machine)[1] <= 2**MOST_UNITS


def is_summed(machine: Machine) -> bool:
    """Whether log Z is known inside a graph."""
    return is_summed_fast(machine) or is_tractable(machine)


def log_partition(machine: Machine) -> TensorVariable:
    """Return log Z as a node that is differentiable at least once, for machines that `symbolic_log_partition` takes."""
    return log_partition_by_kernel(machine) if is_summed_fast(machine) else symbolic_log_partition(machine)
