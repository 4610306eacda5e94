"""log Z of machines whose parameters are constants or data is a node of a graph, found once, when it is needed.

A log Z that cannot be enumerated inside a graph may still be found outside it: exactly, where a machine falls apart
into small ones, or as an estimate with an error. The node costs nothing until a function that needs it is compiled.
"""

from __future__ import annotations

import warnings
from collections import OrderedDict
from hashlib import blake2b
from threading import RLock
from typing import Any

import numpy as np
import pytensor.tensor as pt
from pytensor.compile.mode import optdb
from pytensor.graph.basic import Apply, Constant
from pytensor.graph.op import Op
from pytensor.graph.rewriting.basic import dfs_rewriter, node_rewriter
from pytensor.tensor.variable import TensorVariable

from pymc_rbm.machine.enumeration import IntractableError, batch_ndim
from pymc_rbm.machine.machine import Machine
from pymc_rbm.partition.estimate import LogPartitionEstimate
from pymc_rbm.partition.log_partition import log_partition
from pymc_rbm.units.unit import floating

__all__ = ["constant_log_partition"]

SEED = 0
MOST_ESTIMATED = 8
"""The most machines that differ by row for which a node estimates log Z, as each may take a minute."""
REMEMBERED = 256

_known: OrderedDict[Any, LogPartitionEstimate] = OrderedDict()
_lock = RLock()


class ConstantLogPartition(Op):
    """An Op that finds log Z by `log_partition`, for parameters that stay the same from one evaluation to the next."""

    __props__ = ("template", "batch_ndim")

    def __init__(self, template: Machine, batch_ndim: int):
        self.template, self.batch_ndim = template, batch_ndim

    def make_node(self, *parameters):
        """Return the node; parameters are in the order of `Machine.parameters`, batch axes first."""
        return Apply(self, list(parameters), [pt.tensor(dtype=parameters[0].dtype, shape=(None,) * self.batch_ndim)])

    def do_constant_folding(self, fgraph, node):
        """Return False: PyTensor would fold before it is known what a function needs; a later rewrite does it."""
        return False

    def perform(self, node, inputs, output_storage):
        """Find log Z of each machine."""
        found = _log_z_of_rows(self.template, self.batch_ndim, inputs)
        output_storage[0][0] = np.asarray(found, dtype=node.outputs[0].dtype)

    def pullback(self, inputs, outputs, output_gradients):
        """Raise IntractableError: a number that was estimated has no derivative."""
        raise IntractableError(
            "The derivative of log Z in parameters that are constants or data is not known, because the machine is too "
            "large to enumerate. Make them random variables and learn them with pymc_rbm.fit, which needs no log Z."
        )


def constant_log_partition(machine: Machine) -> TensorVariable:
    """Return log Z of a machine whose parameters are constants or data, as a node of a graph."""
    parameters = [floating(p) if isinstance(p, float | int) else pt.as_tensor(p) for p in machine.parameters]
    return ConstantLogPartition(machine.template, batch_ndim(machine))(*parameters)


def _log_z_of_rows(template: Machine, ndim: int, parameters: list[np.ndarray]) -> np.ndarray:
    """Return log Z for every index of the batch axes; ValueError or IntractableError where one cannot be found."""
    core = template.by_kind.core_ndims.flat()
    shapes = [p.shape[: max(0, p.ndim - k)] for p, k in zip(parameters, core, strict=True)]
    shape = np.broadcast_shapes(*shapes)
    wide = [np.broadcast_to(p, (*shape, *p.shape[len(s) :])) for p, s in zip(parameters, shapes, strict=True)]
    found, estimated = np.empty(shape), set()
    for row in np.ndindex(*shape):
        estimate = _estimate(template.with_parameters([p[row] for p in wide]))
        found[row] = estimate.estimate
        if estimate.method != "exact":
            estimated.add(estimate.estimate)
        if len(estimated) > MOST_ESTIMATED:
            raise IntractableError(
                f"The log-density needs log Z of {int(np.prod(shape))} machines that differ by row and cannot be "
                f"enumerated; at most {MOST_ESTIMATED} are estimated. Pass log_z=, one number a row, each from "
                "pymc_rbm.log_partition(pymc_rbm.machine_of_row(target, row=i)), or make one side smaller."
            )
    return found.reshape((1,) * (ndim - found.ndim) + found.shape)


def _estimate(machine: Machine) -> LogPartitionEstimate:
    """Return what `log_partition` finds with its defaults and a fixed seed, remembered by the parameters' values."""
    values = [np.ascontiguousarray(p) for p in machine.parameters]
    key = (machine.template, *((p.shape, p.dtype.str, blake2b(p).digest()) for p in values))
    with _lock:
        found = _known.get(key)
        if found is None:
            found = log_partition(machine, random_seed=SEED)
            if found.made.get("interrupted"):
                raise KeyboardInterrupt
            _known[key] = found
            if len(_known) > REMEMBERED:
                _known.popitem(last=False)
    _warn(machine, found)
    return found


def _warn(machine: Machine, found: LogPartitionEstimate) -> None:
    shape = "x".join(str(len(layer.bias)) for layer in machine.layers)
    known = f"A log-density needs log Z of a {shape} machine, which was estimated as {found.estimate:.3f} ± "
    known += f"{found.standard_error:.3f}"
    remedy = "Run pymc_rbm.log_partition(machine, random_seed=0) with a larger budget, and pass the result as log_z=."
    if not found.reliable:
        warnings.warn(f"{known}, and is not reliable: {found.reasons[0]}. {remedy}", stacklevel=2)
    elif found.made.get("target_met") is False:
        warnings.warn(
            f"{known}: the error is above the target of {found.made['target_error']:g}. {remedy}", stacklevel=2
        )


@node_rewriter([ConstantLogPartition])
def _folded(fgraph, node):
    """Replace log Z of a machine with constant parameters by its value."""
    if all(isinstance(x, Constant) for x in node.inputs):
        storage = [[None]]
        node.op.perform(node, [x.data for x in node.inputs], storage)
        return [pt.constant(storage[0][0], dtype=node.outputs[0].dtype)]
    return None


@node_rewriter([ConstantLogPartition])
def _run_by_numba(fgraph, node):
    """Run the node in Python: with shared data log Z is found at a call, and again when they have changed."""
    from pymc_rbm.distributions.numba_draws import Performed

    return Performed(node.op).make_node(*node.inputs).outputs


optdb.register("fold_constant_log_z", dfs_rewriter(_folded), "fast_run", "fast_compile", position=1.9)
optdb.register("run_constant_log_z", dfs_rewriter(_run_by_numba), "numba", position=99)
