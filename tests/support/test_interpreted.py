"""What Python evaluates where it calls the nodes of a graph."""

import numpy as np
import pytensor
import pytensor.tensor as pt
from pytensor.compile.builders import OpFromGraph
from pytensor.scalar.basic import Second
from pytensor.scalar.math import Softplus

from pymc_rbm.support.modes import BY_KERNELS, INTERPRETED


def test_numpy_evaluates_what_python_would_number_by_number():
    x = pt.dmatrix()
    softplus, filled = pt.softplus(x).sum(1), pt.second(x, 2.0).sum()
    function, kernels = (
        pytensor.function([x], outputs, mode=mode, on_unused_input="ignore")
        for outputs, mode in (([softplus, filled], INTERPRETED), ([filled], BY_KERNELS))
    )
    for f in (function, kernels):
        scalars = [getattr(node.op, "scalar_op", None) for node in f.maker.fgraph.apply_nodes]
        assert not any(isinstance(op, Softplus | Second) for op in scalars)
    values = np.array([[-800.0, 0.0, 3.0], [800.0, 1e-9, -3.0]])
    np.testing.assert_allclose(function(values)[0], np.logaddexp(0, values).sum(1), rtol=1e-14)
    assert [function(values)[1], *kernels(values)] == [12, 12]


def test_nodes_that_stand_for_graphs_are_opened():
    """Each would start a C compiler for the graph that it stands for."""
    x = pt.dmatrix()
    function = pytensor.function([x], pt.logsumexp(x, axis=1) + pt.logaddexp(x, 1.0).sum(1), mode=INTERPRETED)
    assert not any(isinstance(node.op, OpFromGraph) for node in function.maker.fgraph.apply_nodes)
    values = np.array([[-800.0, 0.0, 3.0], [800.0, 1e-9, -3.0]])
    found = np.logaddexp.reduce(values, axis=1) + np.logaddexp(values, 1.0).sum(1)
    np.testing.assert_allclose(function(values), found, rtol=1e-14)
