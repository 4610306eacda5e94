"""A model's data for its units are checked whenever they are read, because ``pm.set_data`` may have changed them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pymc as pm
from pytensor.compile.sharedvalue import SharedVariable
from pytensor.graph.basic import Constant
from pytensor.scalar.basic import Cast
from pytensor.tensor.elemwise import Elemwise
from pytensor.tensor.variable import TensorVariable

from pymc_rbm.distributions.data_of_graphs import check_unmasked
from pymc_rbm.distributions.lookup import rbm_behind, rbm_of
from pymc_rbm.distributions.operations import HiddenRV
from pymc_rbm.distributions.pymc_internals import PartialObservedRV
from pymc_rbm.machine.machine import HIDDEN, VISIBLE
from pymc_rbm.support.labels import SIDES
from pymc_rbm.support.reentrant import value_of
from pymc_rbm.units.states import unit_data
from pymc_rbm.units.unit import Unit

__all__ = ["Reading", "readings", "uncast"]


def uncast(value: Any) -> Any:
    """Return a value as the user gave it: PyMC casts ``pm.Data`` to the type of the variable, and .7 to 0."""
    while value.owner is not None and isinstance(value.owner.op, Elemwise):
        if not isinstance(value.owner.op.scalar_op, Cast):
            break
        value = value.owner.inputs[0]
    return value


@dataclass(frozen=True)
class Reading:
    """Where a model has the states of observed units, and what units they are; they are checked when they are read."""

    name: str
    value: Any
    unit: Unit
    size: int | None
    side: int
    missing: np.ndarray | None

    @classmethod
    def of(cls, model: pm.Model, rv: TensorVariable) -> Reading:
        """Return where the states of an observed variable of units are."""
        hidden, missing, name = isinstance(rv.owner.op, HiddenRV), None, rv.name
        side = HIDDEN if hidden else VISIBLE
        try:
            behind: Any = rbm_of(rv.owner.inputs[2]) if hidden else rbm_behind(rv)
            unit, size = behind.owner.op.template.layers[side].unit, behind.owner.op.sizes[side]
        except ValueError:  # pm.do has replaced v by data
            unit, size = rv.owner.op.units[side], None
        if isinstance(rv.owner.op, PartialObservedRV):
            missing, name = np.atleast_2d(rv.owner.inputs[1].data), name.removesuffix("_observed")
        return cls(name, uncast(model.rvs_to_values[rv]), unit, size, side, missing)

    def read(self) -> np.ndarray:
        """Return the states, masked where they are missing, without a copy.

        Raises
        ------
        ValueError
            If they are not states of the units, with the message that such data get when the variable is made.
        """
        values = _given(self.value)
        check_unmasked(values, self.name)
        values = np.ma.getdata(values)
        if self.missing is not None:
            rows = np.zeros(self.missing.shape, dtype=values.dtype)
            rows[~self.missing] = values
            values = np.ma.MaskedArray(rows, self.missing)
        size = values.shape[-1] if self.size is None and values.ndim else self.size
        return unit_data(values, self.unit, size, self.name, SIDES[self.side])


def _given(value: Any) -> np.ndarray:
    if isinstance(value, Constant):
        return np.asanyarray(value.data)
    if isinstance(value, SharedVariable):
        return np.asanyarray(value.get_value(borrow=True))
    return np.asanyarray(value_of(value))


def readings(model: pm.Model) -> dict[TensorVariable, Reading]:
    """Return where a model has the states of its observed units, by variable."""
    units = [rv for rv in model.observed_RVs if rbm_behind(rv) is not None or isinstance(rv.owner.op, HiddenRV)]
    return {rv: Reading.of(model, rv) for rv in units}
