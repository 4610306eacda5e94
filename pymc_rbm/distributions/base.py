"""What every distribution of a machine has: its checks, its log-density and the state where a chain starts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
import xarray as xr
from pytensor.graph.basic import Variable
from pytensor.tensor.type_other import NoneTypeT
from pytensor.tensor.variable import TensorVariable

from pymc_rbm.distributions.arguments import lengths_of, with_dims
from pymc_rbm.distributions.data_of_graphs import check_data_of
from pymc_rbm.distributions.factors import less_log_z, log_z_where_it_matters
from pymc_rbm.distributions.imputed import of_rows
from pymc_rbm.distributions.operations import DRAW_SWEEPS, MachineRV
from pymc_rbm.distributions.pymc_internals import _logprob, _support_point, maybe_resize
from pymc_rbm.distributions.readings import uncast
from pymc_rbm.machine.door import aligned
from pymc_rbm.machine.machine import VISIBLE, Layer, Machine
from pymc_rbm.machine.normalisable import check_normalisable
from pymc_rbm.machine.parameters import check_layer, names_of
from pymc_rbm.sampling.dispersal import spread
from pymc_rbm.support.arguments import known_values, shape_of, shown, whole_number
from pymc_rbm.support.labels import SIDES, Labels
from pymc_rbm.support.received import receive
from pymc_rbm.units.beside import Beside
from pymc_rbm.units.states import unit_data
from pymc_rbm.units.unit import Unit

__all__ = ["MachineDistribution", "add_named_parts", "as_float", "drawn"]

LARGE = 2**24
"""Data of more entries go to PyMC as a constant of a graph: it makes three copies of an array, one of four bytes."""


@_logprob.register(MachineRV)
def _machine_logp(op, values, rng, size, *parameters, **kwargs):
    """Return ``-F(v) - log Z`` of states of the units, -inf of other values."""
    [value] = values
    check_data_of(values)
    machine = op.machine(*parameters)
    log_z, by_row = log_z_where_it_matters(op, value, machine, *parameters)
    inside = machine.layers[VISIBLE].unit.contains(uncast(value))
    log_p = -machine.free_energy(pt.where(inside, value, 0))
    _check_fits(log_z, log_p)
    log_p = pt.where(inside.all(-1), log_p if by_row else log_p - log_z, -np.inf)
    log_p = of_rows(maybe_resize(log_p, None if isinstance(size.type, NoneTypeT) else size), value)
    return less_log_z(log_p, log_z) if by_row else log_p


def _check_fits(log_z: TensorVariable, log_p: TensorVariable) -> None:
    """Refuse log Z of a length that is not that of the rows, where both are known."""
    given, rows = (tuple(1 if n is None else n for n in x.type.shape) for x in (log_z, log_p))
    try:
        np.broadcast_shapes(given, rows)
    except ValueError:
        raise ValueError(
            f"log_z has shape {given}, but the rows have shape {rows}. Give one number, or one a row."
        ) from None


@_support_point.register(MachineRV)
def _dispersed_state(op, rv, rng, size, *parameters):
    """Return a random, dispersed state, from which a chain starts."""
    shape = [rv.shape[i] for i in range(rv.ndim)]
    return spread(op.machine(*parameters), shape, pt.random.shared_rng(seed=None))[0]


class MachineDistribution(pm.Distribution):
    """The base class of all distributions of a machine's visible layer."""

    @classmethod
    def checked(
        cls, name: str, unit: Unit, size: int | None, observed: Any, dims: Any, labels: Labels, kwargs: dict
    ) -> tuple[Any, Any]:
        """Check the arguments that all machines have; return observed and dims as PyMC takes them."""
        if kwargs.get("transform") is not None:
            raise ValueError(
                f"{cls.__name__} got transform=, but its values are the states of its units: leave it out."
            )
        if kwargs.get("total_size") is not None:
            raise ValueError(
                f"{cls.__name__} got total_size=, but pymc_rbm.fit makes minibatches itself: leave it out, and pass "
                "batch_size= to fit."
            )
        if observed is not None:
            observed, dims = with_dims(name, observed, dims, labels, unit, size)
            observed = unit_data(observed, unit, size)
            if isinstance(observed, np.ndarray) and observed.size > LARGE and not np.ma.isMaskedArray(observed):
                observed = pt.constant(observed)
        if kwargs.get("initval") is not None and not isinstance(kwargs["initval"], str | Variable):
            units = 0 if size is None else unit.count(size)
            start = aligned(receive(kwargs["initval"], "initval"), labels, "initval", units)
            kwargs["initval"] = unit_data(start.values, unit, size, "initval")
        return observed, dims

    @classmethod
    def of_machine(cls, machine: Machine, sizes: Any, *, log_z=None, sweeps=DRAW_SWEEPS, shape=None, **kwargs):
        """Create the variable of a machine with the parameters that the user gave."""
        if shape is not None:
            lengths = lengths_of(shape)
            if lengths and None not in (lengths[-1], sizes[VISIBLE]) and lengths[-1] != sizes[VISIBLE]:
                [coupling] = machine.couplings
                raise ValueError(
                    f"The shape {lengths} does not fit {'UW'[len(sizes) - 1]} {shape_of(coupling.weights)}: shape, or "
                    f"dims, must end with the visible axis, of length {sizes[VISIBLE]}."
                )
        lacking = [name for name, p in zip(names_of(machine).flat(), machine.parameters, strict=False) if p is None]
        if lacking:
            raise TypeError(f"{cls.__name__} needs {' and '.join(lacking)}: got None. Give an array or a variable.")
        log_z = checked_log_z(log_z)
        own = [p for x, n, side in zip(machine.layers, sizes, SIDES, strict=False) for p in _one_each(x, n, side)]
        _check_normalisable(machine)
        given = [*replace(machine.by_kind, own=tuple(own)).weights_first(), *(() if log_z is None else (log_z,))]
        known = {"template": machine.template, "sizes": tuple(sizes), "sweeps": whole_number("sweeps", sweeps)}
        try:
            return super().dist(
                [as_float(p) for p in given], shape=shape, knows_log_z=log_z is not None, **known, **kwargs
            )
        except ValueError as error:
            if "incompatible with batched dimensions" not in str(error):
                raise
            shapes = ", ".join(str(shape_of(p)) for p in given)
            raise ValueError(
                f"The shape of {cls.__name__}, or of its data, has fewer axes than its parameters have batch axes, "
                f"whose shapes are {shapes}. Give one row of v for each row of the biases."
            ) from None


def drawn(
    rv_type: type[MachineRV], *parameters: Any, size: Any = None, rng: Any = None, **known: Any
) -> TensorVariable:
    """Apply the Op ``rv_type``; with this argument filled in, it is the ``rv_op`` of a distribution."""
    rng = pt.random.shared_rng(seed=None) if rng is None else rng
    return rv_type(**known)(*parameters, size=size, rng=rng, return_next_rng=True)[1]


def add_named_parts(name: str, v: TensorVariable) -> None:
    """Add a Deterministic ``{name}_{part}`` to the model for each part of the visible layer that has a name."""
    unit = v.owner.op.template.layers[VISIBLE].unit
    for part, entries in (unit.named_parts() if isinstance(unit, Beside) else {}).items():
        pm.Deterministic(f"{name}_{part}", v[..., entries])


def checked_log_z(log_z: Any) -> Any:
    """Return log Z as a variable, an array or None; refuse what is not a finite number, or finite numbers."""
    log_z = getattr(log_z, "estimate", log_z)
    if log_z is None or isinstance(log_z, Variable):
        return log_z
    values = np.ma.filled(receive(log_z, "log_z").values.astype("float64"), np.nan)
    if not np.isfinite(values).all() or not values.size:
        raise ValueError(
            f"log_z must be a finite number, or one a row, got {shown(log_z)}. Leave it out to have it found."
        )
    return values


def _one_each(layer: Layer, size: int | None, side: str) -> list[TensorVariable]:
    """Return the parameters of a layer's units with one entry for each unit; ValueError where their number differs."""
    check_layer(layer.unit, size, side, shape_of)
    bias = pt.as_tensor(layer.bias)
    each = [pt.as_tensor(p.values if isinstance(p, xr.DataArray) else p) for p in layer.unit.parameters]
    return [
        p if p.ndim and shape_of(p)[-1] == size else p * pt.ones(bias.shape[-1], dtype=pytensor.config.floatX)
        for p in each
    ]


def _check_normalisable(machine: Machine) -> None:
    """Refuse, where all parameters are numbers of one machine, what cannot be normalised."""
    values = machine.by_kind.map(known_values)
    if all(p is not None and p.ndim <= n for p, n in zip(values.flat(), values.core_ndims.flat(), strict=True)):
        check_normalisable(machine.with_parameters(values).numeric())


def as_float(x: Any) -> TensorVariable:
    """Return a parameter as a tensor of PyTensor's floating type."""
    x = pt.as_tensor(x.values if isinstance(x, xr.DataArray) else x)
    return x if x.dtype == pytensor.config.floatX else x.astype(pytensor.config.floatX)
