"""Learning sums log Z by a kernel where units are binary, else as a graph."""

from __future__ import annotations

from pytensor.tensor.variable import TensorVariable

from pymc_rbm.kernels.door import factors_of, log_partition_by_kernel, log_z_by_kernel
from pymc_rbm.machine.enumeration import is_summed_by_kernel, symbolic_log_partition
from pymc_rbm.machine.machine import Machine

__all__ = ["factors_of", "log_partition", "log_z_by_kernel"]


def log_partition(machine: Machine) -> TensorVariable:
    """Return log Z as a node that is differentiable at least once, for machines that `symbolic_log_partition` takes.

    Where there is a kernel the node is that one also where graphs are interpreted.
    """
    return log_partition_by_kernel(machine) if is_summed_by_kernel(machine) else symbolic_log_partition(machine)
