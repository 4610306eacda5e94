"""Modes of PyTensor: graphs that are evaluated once are interpreted, others are compiled with sums in order.

Python evaluates some nodes number by number, a hundred times as slowly as NumPy does: softplus, and arrays that are
filled with a number. Where Python calls the nodes of a graph, others that NumPy has take their place.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytensor
import pytensor.tensor as pt
from pytensor import config
from pytensor.compile.builders import OpFromGraph
from pytensor.compile.maker import FunctionMaker
from pytensor.compile.mode import Mode, get_default_mode, optdb
from pytensor.graph.replace import graph_replace
from pytensor.graph.rewriting.basic import copy_stack_trace, dfs_rewriter, node_rewriter
from pytensor.graph.rewriting.db import RewriteDatabaseQuery
from pytensor.link.numba.linker import NumbaLinker
from pytensor.link.vm import VMLinker
from pytensor.scalar.basic import Exp, Log, Log1p, Second, Tanh
from pytensor.scalar.math import Sigmoid, Softplus
from pytensor.scan.op import Scan
from pytensor.tensor.elemwise import Elemwise

__all__ = ["INTERPRETED", "InOrder", "by_kernels", "by_python", "first_call"]

BY_NUMPY = "rbm_by_numpy"
"""The tag of rewrites that put nodes in place which NumPy has."""


@node_rewriter([OpFromGraph])
def _opened(fgraph, node):
    """Replace a node that stands for a graph, such as logsumexp, by that: it would start a C compiler for it."""
    given = dict(zip(node.op.inner_inputs, node.inputs, strict=True))
    bind = getattr(node.op.fgraph, "bind", None)  # PyTensor's graphs inside of nodes are frozen since PyMC 6.4
    outs = bind(given) if bind else graph_replace(node.op.inner_outputs, given, strict=False)
    copy_stack_trace(node.outputs, outs)
    return outs


@node_rewriter([Elemwise])
def _at_once(fgraph, node):
    """Replace softplus, and an array like another one with a number in it."""
    scalar, out = node.op.scalar_op, None
    if isinstance(scalar, Softplus):
        [x] = node.inputs
        out = pt.maximum(x, 0) + pt.log1p(pt.exp(-abs(x)))
    elif isinstance(scalar, Second) and all(node.inputs[1].type.broadcastable):
        like, number = node.inputs
        out = pt.alloc(number, *like.shape).astype(node.outputs[0].dtype)
    if out is None or out.type != node.outputs[0].type:
        return None
    copy_stack_trace(node.outputs, out)
    return [out]


# After kernels have taken what they can.
optdb.register("rbm_numpys_own", dfs_rewriter(_opened, _at_once), BY_NUMPY, position=2.6)

INTERPRETED = Mode(VMLinker(use_cloop=False, c_thunks=False), RewriteDatabaseQuery(include=["fast_compile", BY_NUMPY]))
"""NumPy evaluates each node of a graph, called from Python. This is ready in a tenth of a second, where numba
takes up to six, and where PyTensor's FAST_COMPILE starts a C compiler. On 2,000 states of 784 units numba saves less
than that in 50 calls."""
ELEMENTARY = Exp, Log, Log1p, Sigmoid, Softplus, Tanh


class _TooSlowError(Exception):
    """The error raised where a graph has work outside of kernels that is too slow in Python."""


class _Maker(FunctionMaker):
    def create(self, *arguments: Any, **options: Any) -> Any:
        """Make the function, unless something in it should be compiled. A loop would start a C compiler here."""
        if any(map(_is_slow, self.fgraph.apply_nodes)):
            raise _TooSlowError
        return super().create(*arguments, **options)


class _ByKernels(Mode):
    """As `INTERPRETED`, with kernels, which Python calls."""

    @property
    def function_maker(self) -> type[FunctionMaker]:
        """Return what makes functions in this mode."""
        return _Maker


BY_KERNELS = _ByKernels(
    VMLinker(use_cloop=False, c_thunks=False), RewriteDatabaseQuery(include=["fast_compile", "rbm_kernels", BY_NUMPY])
)


def by_kernels(inputs: Any, outputs: Any, mode: Any = None, **options: Any) -> Any:
    """Compile a function that is called a few times on many rows: kernels do its work, and Python calls these.

    Numba would take seconds for what is left of the graph. Graphs with loops or elementary functions of matrices
    outside of kernels are compiled as a whole (in ``mode``, by default the usual one), and so are all on other back
    ends, and where the usual mode excludes kernels: NumPy takes ten times as long for these.
    """
    usual = get_default_mode()
    if isinstance(usual.linker, NumbaLinker) and "rbm_kernels" not in (usual.provided_optimizer.exclude or ()):
        with suppress(_TooSlowError):
            return pytensor.function(inputs, outputs, mode=BY_KERNELS, **options)
    return pytensor.function(inputs, outputs, mode=mode, **options)


def by_python(inputs: Any, outputs: Any, **options: Any) -> Any:
    """Compile a function whose loops Python runs, for one that is called once.

    Loops would start a C compiler, which takes seconds, and warns of BLAS where PyTensor was installed by pip. To be
    called where only one thread compiles (`reentrant.compiled`): the setting is that of the whole process.
    """
    with config.change_flags(cxx=""):
        return pytensor.function(inputs, outputs, **options)


def _is_slow(node: Any) -> bool:
    """Whether a node is a loop, or work on matrices, that is too slow in Python."""
    if isinstance(node.op, Elemwise) and isinstance(node.op.scalar_op, ELEMENTARY):
        return any(sum(not alone for alone in x.type.broadcastable) > 1 for x in node.outputs)
    return isinstance(node.op, Scan)


class InOrder:
    """Context in which numba leaves sums in the order in which they are written, in the whole process.

    PyTensor asks for its setting when a graph is compiled and again when machine code is made, at the first call. Of
    several threads the last one that leaves puts the setting back.
    """

    _lock = threading.Lock()
    _inside = 0
    _before = True

    def __enter__(self) -> None:
        with self._lock:
            if not InOrder._inside:
                InOrder._before, config.numba__fastmath = config.numba__fastmath, False
            InOrder._inside += 1

    def __exit__(self, *exception: object) -> None:
        with self._lock:
            InOrder._inside -= 1
            if not InOrder._inside:
                config.numba__fastmath = InOrder._before


@contextmanager
def first_call() -> Iterator[None]:
    """Context in which numba makes machine code with sums in order, and does not warn of what it cannot keep on disk.

    Numba does not keep functions that contain more than a megabyte of states. PyTensor's own filter hides the warning
    unless a user's strict filters come before it.
    """
    with InOrder(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*Cannot cache compiled function")
        yield
