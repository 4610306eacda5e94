"""A model's data for its units are checked whenever they are read, because ``pm.set_data`` may have changed them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pymc as pm
from pymc.distributions.distribution import PartialObservedRV
from pytensor.compile.sharedvalue import SharedVariable
from pytensor.graph.basic import Constant
from pytensor.scalar.basic import Cast
from pytensor.tensor.elemwise import Elemwise
from pytensor.tensor.variable import TensorVariable

from pymc_rbm.distributions.lookup import rbm_behind, rbm_of
from pymc_rbm.distributions.operations import HiddenRV
from pymc_rbm.machine.machine import HIDDEN, VISIBLE
from pymc_rbm.support.reentrant import value_of
from pymc_rbm.units.states import unit_data

__all__ = ["check_readings", "reading", "uncast"]


def uncast(value: Any) -> Any:
    """Return a value as the user gave it: PyMC casts ``pm.Data`` to the type of the variable, and .7 to 0."""
    while value.owner is not None and isinstance(value.owner.op, Elemwise):
        if not isinstance(value.owner.op.scalar_op, Cast):
            break
        value = value.owner.inputs[0]
    return value


def reading(model: pm.Model, rv: TensorVariable) -> np.ndarray:
    """Return the observed states of a variable of units, masked where they are missing, without a copy.

    Raises
    ------
    ValueError
        If they are not states of the units, with the message that such data get when the variable is made.
    """
    hidden, missing, name = isinstance(rv.owner.op, HiddenRV), None, rv.name
    behind: Any = rbm_of(rv.owner.inputs[2]) if hidden else rbm_behind(rv)
    side = HIDDEN if hidden else VISIBLE
    unit, size = behind.owner.op.template.layers[side].unit, behind.owner.op.sizes[side]
    values = _given(uncast(model.rvs_to_values[rv]))
    if np.ma.is_masked(values):
        raise ValueError(
            f"{name} contains NaN ({np.ma.getmaskarray(values).sum()} entries): pm.Data holds whole rows only. To "
            "have missing entries sampled, pass a masked array as observed=: numpy.ma.masked_invalid(data)."
        )
    values = np.ma.getdata(values)
    if isinstance(rv.owner.op, PartialObservedRV):
        missing, name = np.atleast_2d(rv.owner.inputs[1].data), name.removesuffix("_observed")
        rows = np.zeros(missing.shape, dtype=values.dtype)
        rows[~missing] = values
        values = np.ma.MaskedArray(rows, missing)
    return unit_data(values, unit, size, name, ("visible", "hidden")[side])


def _given(value: Any) -> np.ndarray:
    if isinstance(value, Constant):
        return np.asanyarray(value.data)
    if isinstance(value, SharedVariable):
        return np.asanyarray(value.get_value(borrow=True))
    return np.asanyarray(value_of(value))


def check_readings(model: pm.Model) -> None:
    """Refuse a model whose data are not states of its observed units."""
    for rv in model.observed_RVs:
        if rbm_behind(rv) is not None or isinstance(rv.owner.op, HiddenRV):
            reading(model, rv)
