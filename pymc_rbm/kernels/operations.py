"""Kernels as PyTensor's Ops; `dispatch`, which is loaded when one is used, has their implementations in numba."""

from __future__ import annotations

from importlib import import_module

import numpy as np
import pytensor.tensor as pt
from pytensor.gradient import DisconnectedType
from pytensor.graph.basic import Apply, Constant
from pytensor.graph.op import Op
from pytensor.tensor.type import TensorType

__all__ = [
    "NONE",
    "BinaryDot",
    "BinaryLogZ",
    "ColumnSums",
    "GeneralLogZ",
    "LevelsKernel",
    "Means",
    "RowSums",
    "StateSums",
    "SweepKernel",
    "UnitConditionals",
    "WalkKernel",
    "is_none",
]

Pair = tuple[bool, ...]
NONE = np.zeros((0, 0), "int8")


def is_none(x):
    """Whether a variable is ``NONE``."""
    return isinstance(x, Constant) and x.type.shape == NONE.shape


class KernelOp(Op):
    """The base class of Ops that are kernels; unpickling one, as in a new process, loads its numba implementation."""

    def __reduce__(self):
        return _restored, (type(self), self._props_dict())

    def perform(self, node, inputs, output_storage):
        """Call the kernel."""
        run = import_module("pymc_rbm.kernels.calls").run
        for storage, value in zip(output_storage, run(node, inputs), strict=True):
            storage[0] = value


def _restored(kind: type[KernelOp], options: dict) -> KernelOp:
    import_module("pymc_rbm.kernels.dispatch")  # the rewrite that loads it does not run in a new process
    return kind(**options)


class SweepKernel(KernelOp):
    """Draws of two binary layers whose rows share their parameters, some sweeps apart.

    Inputs: generator, numbers of draws and of sweeps for each, v and h (rows, units) as int8, W, b, c of one floating
    type, masks of clamped units (rows, units). ``NONE`` stands for a state that is drawn before it is read, and for no
    mask. Outputs: v of each draw, (draws, rows, units), the last h, the fields that it was drawn from, ``c + vW``, if
    ``has_fields``, (0, units) otherwise, generator.

    Parameters
    ----------
    spins, held : pairs of bool
        For each layer, whether its units are -1 and 1, and whether all of them are clamped.
    hidden_last : bool
        Whether a sweep ends with the hidden layer, instead of the visible one.
    inplace : bool
        Whether the generator is advanced in place.
    """

    __props__ = ("spins", "held", "hidden_last", "inplace")

    def __init__(self, spins: Pair, held: Pair, hidden_last: bool = False, inplace: bool = False):
        self.spins, self.held, self.hidden_last, self.inplace = spins, held, hidden_last, inplace
        if inplace:
            self.destroy_map = {3: [0]}

    @property
    def has_fields(self):
        """Whether the node returns the fields on the hidden units that the last v sends."""
        return self.hidden_last and not self.held[1]

    def make_node(self, rng, draws, n, v, h, weights, b, c, held_v, held_h):
        """Return the node; see the class for the inputs."""
        inputs = [rng, *map(pt.as_tensor, (draws, n, v, h, weights, b, c, held_v, held_h))]
        of_v, of_h = self._shapes(inputs, [None, *(x.type.shape for x in inputs[1:])])
        shape = of_h if self.has_fields else (0, of_h[1])
        types = TensorType("int8", (None, *of_v)), TensorType("int8", of_h), TensorType(inputs[5].dtype, shape)
        return Apply(self, inputs, [*(kind() for kind in types), rng.type()])

    def infer_shape(self, node, shapes):
        """Return the shapes of the outputs; states keep theirs."""
        of_v, of_h = self._shapes(node.inputs, shapes)
        return [(node.inputs[1], *of_v), of_h, of_h if self.has_fields else (0, of_h[1]), None]

    @staticmethod
    def _shapes(inputs, shapes):
        """Return the shapes of v and h, given those of all inputs."""
        _, _, _, of_v, of_h, _, of_b, of_c, *_ = shapes
        rows = (of_h if is_none(inputs[3]) else of_v)[0], (of_v if is_none(inputs[4]) else of_h)[0]
        return (rows[0], of_b[0]), (rows[1], of_c[0])


class WalkKernel(KernelOp):
    """A walk of two binary layers along temperatures, with the increments of its log-weights.

    Inputs: generator, temperatures, v (rows, visible) as int8, W, b, c and the base's b and c, all but v of one
    floating type. Outputs: increments (temperatures - 1, rows) in float64, v, generator.

    Parameters
    ----------
    spins : pair of bool
        By layer: whether the units are -1 and 1.
    reverse, inplace : bool
        Whether it walks in reverse; whether the generator is advanced in place.
    """

    __props__ = ("spins", "reverse", "inplace")

    def __init__(self, spins: Pair, reverse: bool, inplace: bool = False):
        self.spins, self.reverse, self.inplace = spins, reverse, inplace
        if inplace:
            self.destroy_map = {2: [0]}

    def make_node(self, rng, betas, v, weights, b, c, base_b, base_c):
        """Return the node; see the class for the inputs."""
        inputs = [rng, *map(pt.as_tensor, (betas, v, weights, b, c, base_b, base_c))]
        return Apply(self, inputs, [pt.dmatrix(), inputs[2].type(), rng.type()])


class LevelsKernel(KernelOp):
    """One sweep of two binary layers, each row at a temperature of its own, and free energies at two others.

    Inputs: generator, the temperatures below, of and above each row, and from v on those of `WalkKernel`. Outputs:
    ``F_below - F_own`` and ``F_above - F_own`` by row in float64, v, generator.
    """

    __props__ = ("spins", "inplace")

    def __init__(self, spins: Pair, inplace: bool = False):
        self.spins, self.inplace = spins, inplace
        if inplace:
            self.destroy_map = {3: [0]}

    def make_node(self, rng, below, own, above, v, weights, b, c, base_b, base_c):
        """Return the node; see the class for the inputs."""
        inputs = [rng, *map(pt.as_tensor, (below, own, above, v, weights, b, c, base_b, base_c))]
        return Apply(self, inputs, [pt.dvector(), pt.dvector(), inputs[4].type(), rng.type()])


class BinaryDot(KernelOp):
    """``bias + states @ weights`` for an int8 matrix, by table where all states turn out to be 0 or 1.

    ``transposed`` takes ``states.T``. A bias without entries means no bias.
    """

    __props__ = ("transposed",)

    def __init__(self, transposed: bool):
        self.transposed = transposed

    def make_node(self, states, weights, bias=None):
        """Return the node; ``weights`` are a matrix of float32 or float64, ``bias`` is a vector of their type."""
        bias = pt.as_tensor(np.zeros(0, weights.dtype) if bias is None else bias)
        shape = (states.type.shape[self.transposed], weights.type.shape[1])
        return Apply(self, [states, weights, bias], [TensorType(weights.dtype, shape)()])

    def infer_shape(self, node, shapes):
        """Return the shape of the product."""
        return [(shapes[0][self.transposed], shapes[1][1])]


class LogZ(KernelOp):
    """The base class of Ops for log Z, a number, and its derivatives by the inputs, which are all float64.

    These are not differentiated again.
    """

    __props__ = ()

    def make_node(self, *parameters):
        """Return the node, which loads its implementation: no rewrite puts it in place."""
        import_module("pymc_rbm.kernels.dispatch")
        return Apply(self, list(parameters), [pt.dscalar(), *(x.type() for x in parameters)])

    def infer_shape(self, node, shapes):
        """Return the shapes of the inputs, after that of a number."""
        return [(), *shapes]

    def pullback(self, inputs, outputs, output_gradients):
        """Return the derivatives of log Z, times the derivative of what is computed from it."""
        first, *others = output_gradients
        if not all(isinstance(x.type, DisconnectedType) for x in others):
            raise NotImplementedError(
                "Second derivatives of log Z are not available: take log Z from "
                "symbolic_log_partition, the sum as a graph."
            )
        return [first * x for x in outputs[1:]]


class BinaryLogZ(LogZ):
    """log Z of two layers of 0/1 units, by a sum over the states of the second (`exact_sums`).

    Inputs are W (first, second) and the layers' biases.
    """


class GeneralLogZ(LogZ):
    """log Z of 0/1 units that are all coupled to each other, by a sum over their states (`general_sums`).

    Inputs are U (units, units), of which each pair's mean of two entries counts, and the bias.
    """


class StateSums(KernelOp):
    """``states @ weights`` for an int8 matrix and a vector, and the sums of the states over units and over rows."""

    __props__ = ()

    def make_node(self, states, weights):
        """Return the node; ``weights`` are a vector of float32 or float64, and so are the outputs."""
        shapes = (states.type.shape[axis : axis + 1] for axis in (0, 0, 1))
        return Apply(self, [states, weights], [TensorType(weights.dtype, shape)() for shape in shapes])

    def infer_shape(self, node, shapes):
        """Return the shapes of the outputs: one number a row, another one a row, and one a unit."""
        [(rows, units), _] = shapes
        return [(rows,), (rows,), (units,)]


class RowSums(KernelOp):
    """Sum of an elementary function, "softplus" or "sigmoid", over each row of a matrix."""

    __props__ = ("function",)

    def __init__(self, function: str):
        self.function = function

    def make_node(self, x):
        """Return the node."""
        return Apply(self, [x], [TensorType(x.dtype, (x.type.shape[0],))()])

    def infer_shape(self, node, shapes):
        """Return the shape of the output: one number a row."""
        return [(shapes[0][0],)]


class ColumnSums(KernelOp):
    """Sums over the rows of a matrix, added row by row in float64, as PyTensor adds them where rows lie in order.

    PyTensor's own sum takes numba four seconds, for any other order of memory.
    """

    __props__ = ()

    def make_node(self, x):
        """Return the node."""
        return Apply(self, [x], [TensorType(x.dtype, x.type.shape[1:])()])

    def infer_shape(self, node, shapes):
        """Return the shape of the output: one number a column."""
        return [shapes[0][1:]]


class SoftplusSums(KernelOp):
    """`RowSums` "softplus" of ``bias + states @ weights`` for an int8 matrix; the fields are not kept.

    By table where all states turn out to be 0 or 1. A bias of no entries is none.
    """

    __props__ = ()

    def make_node(self, states, weights, bias):
        """Return the node; ``weights`` are a matrix of float32 or float64, ``bias`` is a vector of their type."""
        return Apply(self, [states, weights, bias], [TensorType(weights.dtype, states.type.shape[:1])()])

    def infer_shape(self, node, shapes):
        """Return the shape of the output: one number a row."""
        return [shapes[0][:1]]


class UnitConditionals(KernelOp):
    """Log-probability of one unit of each row of 0/1 states given the others, hidden 0/1 units summed out.

    Inputs: the fields ``c + vW`` (rows, hidden), v (rows, visible) as int8, the units' numbers (rows,), W and b.
    """

    __props__ = ()

    def make_node(self, fields, states, unit, weights, bias):
        """Return the node; all but states and numbers are of one floating type."""
        return Apply(self, [fields, states, unit, weights, bias], [TensorType(weights.dtype, states.type.shape[:1])()])

    def infer_shape(self, node, shapes):
        """Return the shape of the output: one number a row."""
        return [shapes[1][:1]]


class Means(KernelOp):
    """The sigmoid of a matrix of fields, and its `RowSums` of "softplus" and "sigmoid".

    Parameters
    ----------
    inplace : bool
        Whether the means take the place of the fields.
    """

    __props__ = ("inplace",)

    def __init__(self, inplace: bool = False):
        self.inplace = inplace
        if inplace:
            self.destroy_map = {0: [0]}

    def make_node(self, x):
        """Return the node."""
        return Apply(self, [x], [x.type(), *(TensorType(x.dtype, x.type.shape[:1])() for _ in range(2))])

    def infer_shape(self, node, shapes):
        """Return the shapes of the outputs: one number for each field, and twice one for each row."""
        [shape] = shapes
        return [shape, shape[:1], shape[:1]]
