"""Small machines get an exact log Z by a sum over every state of one layer; log Z is a node in a graph.

Z = Σ_x exp(-E(x)) runs over every joint state, which is why Boltzmann machines are hard. If one layer is small, the
other layers sum out in closed form and ``log Z = log Σ_x exp(-F(x))`` over that layer's states only.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
from pytensor.compile.builders import OpFromGraph
from pytensor.compile.mode import optdb
from pytensor.compile.sharedvalue import SharedVariable
from pytensor.graph.basic import Apply, Constant
from pytensor.graph.op import Op
from pytensor.graph.rewriting.basic import dfs_rewriter, node_rewriter
from pytensor.graph.traversal import graph_inputs
from pytensor.raise_op import CheckAndRaise
from pytensor.tensor.random.type import RandomType
from pytensor.tensor.variable import TensorVariable

from pymc_rbm.machine.machine import Machine, logsumexp
from pymc_rbm.machine.normalisable import gaussian_log_partition, is_gaussian
from pymc_rbm.support.reentrant import value_of
from pymc_rbm.units.binary import Bernoulli, Spin
from pymc_rbm.units.unit import Unit, floating

__all__ = [
    "ENUMERABLE",
    "ENUMERABLE_BY_KERNEL",
    "EnumeratedLogPartition",
    "IntractableError",
    "LogPartitionSlopes",
    "batch_ndim",
    "cheapest_layer",
    "in_powers",
    "independent_log_z",
    "is_binary",
    "is_binary_pair",
    "is_constant",
    "is_enumerable",
    "is_summed_by_kernel",
    "is_tractable",
    "joint_states",
    "log_weights_of_states",
    "sized",
    "sizes_of",
    "state_count",
    "symbolic_log_partition",
    "widest_layer",
]

ENUMERABLE = 16
"""A layer of at most this many binary units is enumerated inside graphs (2¹⁶ states)."""
ENUMERABLE_BY_KERNEL = 20
"""The same where there is a kernel for the sum (2²⁰ states)."""


class IntractableError(ValueError):
    """The error raised where log Z is needed and the machine is too large to enumerate.

    Examples
    --------
    >>> import numpy as np, pymc as pm, pymc_rbm as pmr
    >>> with pm.Model() as model:
    ...     W = pm.Normal("W", 0, 1, shape=(30, 30))
    ...     v = pmr.RBM("v", W, np.zeros(30), np.zeros(30), observed=np.zeros((5, 30), int))
    >>> try:
    ...     model.compile_logp()({"W": np.zeros((30, 30))})
    ... except pmr.IntractableError as error:
    ...     print(str(error).split(",")[0])
    The log-density of this 30x30 machine needs its partition function
    """


def sizes_of(machine: Machine) -> list[int | None]:
    """Return the sizes of the layers, None where the shapes of the parameters do not say."""

    def shape(x: Any) -> tuple[int | None, ...]:
        return x.shape if isinstance(x, np.ndarray) else pt.as_tensor(x).type.shape  # making a constant takes .3 ms

    sizes: list[int | None] = [shape(layer.bias)[-1] for layer in machine.layers]
    for c in machine.couplings:
        first, second = shape(c.weights)[-2:]
        sizes[c.first] = sizes[c.first] or first
        sizes[c.second] = sizes[c.second] or second
    return sizes


def widest_layer(machine: Machine) -> int:
    """Return the size of the largest layer, as far as sizes are known."""
    return max(n or 0 for n in sizes_of(machine))


def cheapest_layer(machine: Machine) -> tuple[int, float]:
    """Return the layer with the fewest joint states, and their number, among layers given which the others sum out.

    The number is infinite if no such layer is known to be finite, else a whole number, however large: that of 1,024
    binary units exceeds all floats (`in_powers` shows it).
    """
    counts = [
        _count(layer.unit, n) if machine.others_sum_out(i) else np.inf
        for i, (layer, n) in enumerate(zip(machine.layers, sizes_of(machine), strict=True))
    ]
    layer = min(range(len(counts)), key=counts.__getitem__)
    return layer, counts[layer]


def _count(unit: Unit, size: int | None) -> float:
    """Return the number of joint states of a layer."""
    if size is None or not unit.finite:
        return np.inf
    return math.prod(len(part.states or ()) ** (n // part.width) for part, n in unit.parts(size))


def state_count(machine: Machine, layer: int) -> float:
    """Return the number of joint states of a layer, infinite if it is not known to be finite."""
    return _count(machine.layers[layer].unit, sizes_of(machine)[layer])


def in_powers(count: float) -> str:
    """Return a number of states as text with three digits, such as 1.8e+400, even where it exceeds all floats."""
    return f"{Decimal(count):.3g}"


def is_enumerable(machine: Machine) -> bool:
    """Whether one layer is small enough to be enumerated inside a graph."""
    return cheapest_layer(machine)[1] <= 2**ENUMERABLE


def is_tractable(machine: Machine) -> bool:
    """Whether log Z is known inside a graph: by enumeration, or as an integral over Gaussian units only."""
    return is_enumerable(machine) or is_summed_by_kernel(machine) or is_gaussian(machine)


def is_summed_by_kernel(machine: Machine) -> bool:
    """Whether there is a kernel for log Z, and the sum has at most 2²⁰ states."""
    return is_binary(machine) and cheapest_layer(machine)[1] <= 2**ENUMERABLE_BY_KERNEL


def is_binary_pair(machine: Machine) -> bool:
    """Whether the machine is two coupled layers of Bernoulli units or spins whose rows share their parameters."""
    return _is_binary(machine, [(0, 1)])


def is_binary(machine: Machine) -> bool:
    """Whether it is an `is_binary_pair`, or one layer of such units, coupled to each other: there are kernels."""
    return is_binary_pair(machine) or _is_binary(machine, [(0, 0)])


def _is_binary(machine: Machine, couplings: list[tuple[int, int]]) -> bool:
    return (
        len(machine.layers) == 1 + max(couplings[0])
        and [(c.first, c.second) for c in machine.couplings] == couplings
        and all(type(layer.unit) in (Bernoulli, Spin) for layer in machine.layers)
        and all(p is not None for p in machine.parameters)
        and machine.by_kind.map(lambda p: pt.as_tensor(p).ndim) == machine.by_kind.core_ndims
    )


def independent_log_z(machine: Machine) -> float:
    """Return log Z of the machine's units without their couplings."""
    return float(value_of(sum(layer.log_z for layer in machine.layers)))


def joint_states(machine: Machine, layer: int, indices: Any) -> TensorVariable:
    """Return the joint states of ``layer`` with the given indices, whose digits they are: (len(indices), size)."""
    found, index = [], pt.as_tensor(indices)[:, None]
    for unit, n in machine.layers[layer].unit.parts(sizes_of(machine)[layer] or 0):
        values = np.asarray(unit.states, dtype=unit.dtype).reshape(-1, unit.width)
        units = n // unit.width
        if values.size == 2:
            is_second = pt.neq(pt.bitwise_and(index, 2 ** np.arange(units)), 0)
            found.append(pt.switch(is_second, *values[::-1, 0]))
        else:
            digits = (index // len(values) ** np.arange(units)) % len(values)
            found.append(pt.as_tensor(values)[digits].reshape((-1, n)))
        index = index // len(values) ** units
    return found[0] if len(found) == 1 else pt.concatenate(found, axis=-1)


def log_weights_of_states(machine: Machine, layer: int, indices: Any) -> TensorVariable:
    """Return ``-F(x)`` for the joint states of ``layer`` with the given indices; parameters' batch axes come first."""
    states = joint_states(machine, layer, indices)
    batched = machine.by_kind.map(
        lambda p, n: pt.expand_dims(p, -1 - n) if pt.as_tensor(p).ndim > n else p, machine.by_kind.core_ndims
    )
    return -machine.with_parameters(batched).free_energy(states, layer)


def sized(template: Machine, shapes: Sequence[tuple[int | None, ...]]) -> tuple[Machine, list[TensorVariable]]:
    """Return the machine with symbolic parameters of known shapes, and these as inputs of a compiled function."""
    inputs = [pt.tensor(dtype="float64", shape=shape) for shape in shapes]
    return template.with_parameters(inputs), inputs


class EnumeratedLogPartition(OpFromGraph):
    """An Op for log Z by enumeration of the smaller layer: one node, which compilation replaces by the sum.

    So is its gradient, so that a kernel can find both at once, and any derivative is a graph.
    """

    def __init__(self, inputs, outputs, template: Machine):
        self.template = template
        super().__init__(inputs, outputs, inline=True, name="log Z")

    def pullback(self, inputs, outputs, output_gradients):
        """Return the derivatives of log Z, times the derivative of what is computed from it."""
        if outputs[0].ndim:  # one log Z for each of several rows
            return super().pullback(inputs, outputs, output_gradients)
        own = [x.type() for x in inputs]
        slopes = pt.grad(_log_sum(self.template.with_parameters(own)), own, disconnected_inputs="ignore")
        found = LogPartitionSlopes(own, slopes, self.template)(*inputs, return_list=True)
        return [output_gradients[0] * x for x in found]


class LogPartitionSlopes(OpFromGraph):
    """An Op for the gradient of an `EnumeratedLogPartition` by its inputs: means and products of units."""

    def __init__(self, inputs, outputs, template: Machine):
        self.template = template
        super().__init__(inputs, outputs, inline=True, name="slopes of log Z")


class IntractableLogPartition(Op):
    """An Op for log Z of a machine too large to enumerate, which raises when it is evaluated or differentiated."""

    __props__ = ("message", "batch_ndim")

    def __init__(self, message: str, batch_ndim: int):
        self.message, self.batch_ndim = message, batch_ndim

    def make_node(self, *parameters):
        output = pt.tensor(dtype=parameters[0].dtype, shape=(None,) * self.batch_ndim)
        return Apply(self, list(parameters), [output])

    def perform(self, node, inputs, output_storage):
        raise IntractableError(self.message)

    def pullback(self, inputs, outputs, output_gradients):
        raise IntractableError(self.message)


@node_rewriter([IntractableLogPartition])
def _raise_when_evaluated(fgraph, node):
    """Replace the node by a check that always fails, which PyTensor has for every back end and can keep on disk."""
    nothing = pt.zeros((1,) * node.op.batch_ndim, dtype=node.outputs[0].dtype)
    return [CheckAndRaise(IntractableError, node.op.message)(nothing, False)]


optdb.register("intractable_log_partition_raises", dfs_rewriter(_raise_when_evaluated), "numba", position=99)


def symbolic_log_partition(machine: Machine) -> TensorVariable:
    """Return log Z as a node of a graph, whose kind depends on the machine.

    - One layer has at most 16 binary units, or 20 where there is a kernel (Bernoulli units and spins that are coupled
      to each other, or two layers of them, all rows with the same parameters): the exact sum, differentiable.
    - All units are Gaussian: the integral, differentiable, too.
    - Else a node that builds but raises `IntractableError` when it is evaluated or differentiated.
    """
    # A unit's parameter may be a plain number, which as_tensor would make float32 where that is exact.
    parameters = [floating(p) if isinstance(p, float | int) else pt.as_tensor(p) for p in machine.parameters]
    if is_enumerable(machine) or is_summed_by_kernel(machine):
        inputs = [p.type() for p in parameters]
        inner = machine.with_parameters(inputs)
        return EnumeratedLogPartition(inputs, [_log_sum(inner)], machine.template)(*parameters)
    if is_gaussian(machine):
        return gaussian_log_partition(machine)
    return IntractableLogPartition(_intractable_message(machine), batch_ndim(machine))(*parameters)


def _log_sum(machine: Machine) -> TensorVariable:
    """Return log Z as a sum over the states of the cheapest layer: all at once, or where these are many, by halves."""
    layer, count = cheapest_layer(machine)
    if count > 2**ENUMERABLE:
        return _log_sum_by_halves(machine, layer)
    return logsumexp(log_weights_of_states(machine, layer, np.arange(int(count))))


def _log_sum_by_halves(machine: Machine, layer: int) -> TensorVariable:
    """Return the same for an `is_binary` machine, without a table of the units of all states.

    The state of a layer is a low and a high half, and its field on the other layer the sum of two, which are found for
    the states of each half alone. A layer that is coupled to itself has energies of halves and between halves.
    """
    size = sizes_of(machine)[layer] or 0
    bias, unit, few = pt.as_tensor(machine.layers[layer].bias), machine.layers[layer].unit, size // 2
    low, high = ((np.arange(2**n)[:, None] >> np.arange(n)) & 1 for n in (few, size - few))
    low, high = (pt.as_tensor(np.asarray(unit.states)[bits].astype(bias.dtype)) for bits in (low, high))
    own, own_high = low @ bias[:few], high @ bias[few:]
    weights = pt.as_tensor(machine.couplings[0].weights)
    if len(machine.layers) == 1:
        weights = (weights + weights.T) / 2
        own += ((low @ weights[:few, :few]) * low).sum(-1) / 2
        own_high += ((high @ weights[few:, few:]) * high).sum(-1) / 2
        return logsumexp((own + own_high[:, None] + high @ weights[few:, :few] @ low.T).ravel())
    weights, other = (weights if layer == 0 else weights.T), machine.layers[1 - layer].unit

    def of_high(own_high, sent_high, own, sent):
        return logsumexp(own_high + own + other.log_normaliser(sent + sent_high).sum(-1))

    sent, sent_high = low @ weights[:few], high @ weights[few:] + pt.as_tensor(machine.layers[1 - layer].bias)
    return logsumexp(pytensor.scan(of_high, [own_high, sent_high], non_sequences=[own, sent], return_updates=False))


def batch_ndim(machine: Machine) -> int:
    """Return the number of batch axes of a machine's log Z."""
    biases = [pt.as_tensor(layer.bias).ndim - 1 for layer in machine.layers]
    return max(biases + [pt.as_tensor(c.weights).ndim - 2 for c in machine.couplings])


def is_constant(parameters: Iterable[Any]) -> bool:
    """Whether all parameters are constants or shared data, with no random generator among their inputs."""
    return all(
        isinstance(x, Constant | SharedVariable) and not isinstance(x.type, RandomType)
        for x in graph_inputs([pt.as_tensor(p) for p in parameters])
    )


def _intractable_message(machine: Machine) -> str:
    shape = "x".join("?" if n is None else str(n) for n in sizes_of(machine))
    return (
        f"The log-density of this {shape} machine needs its partition function, which can only be enumerated when one "
        f"side has at most {ENUMERABLE} binary units ({ENUMERABLE_BY_KERNEL}, if all units are Bernoulli or Spin and "
        "all rows share biases). Ways out: learn the weights with pymc_rbm.fit, which needs no log Z; sample their "
        "posterior after that with pymc_rbm.anchored(model, learned); fix them with pymc_rbm.generative or pm.do to "
        "sample the units; pass log_z= if you know it; or make one side smaller."
    )
