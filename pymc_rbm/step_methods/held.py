"""What a step was compiled with, and ``pm.set_data`` may change, is checked again whenever it has changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pymc as pm
import pytensor.tensor as pt
from pytensor.graph.basic import Constant
from pytensor.graph.traversal import explicit_graph_inputs

from pymc_rbm.distributions.data_of_graphs import check_data_of, shared_data
from pymc_rbm.distributions.readings import readings
from pymc_rbm.machine.machine import Machine
from pymc_rbm.machine.normalisable import check_normalisable
from pymc_rbm.machine.parameters import check_numbers
from pymc_rbm.support.modes import INTERPRETED
from pymc_rbm.support.reentrant import compiled

__all__ = ["Held"]


class Held:
    """The data that a model has for its units, and parameters of ``machines`` that depend on data.

    ``machines`` are in value variables. Constants were checked when the model was made.
    """

    def __init__(self, model: pm.Model, machines: Sequence[Machine] = ()):
        self._readings = [x for x in readings(model).values() if not isinstance(x.value, Constant)]
        changing = [x for x in machines if shared_data(_parameters(x))]
        graphs = [p for machine in changing for p in _parameters(machine)]
        self._shared = shared_data([*graphs, *(x.value for x in self._readings)])
        self._templates = [(x.template, [p is not None for p in x.parameters]) for x in changing]
        inputs = [x for x in explicit_graph_inputs(graphs) if x in model.value_vars]
        self._inputs = [x.name for x in inputs]
        options = {"by": pm.compile, "mode": INTERPRETED, "on_unused_input": "ignore"}
        self._parameters = compiled(inputs, graphs, **options) if graphs else None
        self.forget()

    def forget(self) -> None:
        """Have everything checked at the next call, whether it has changed or not."""
        self._seen: list[Any] | None = None

    def check(self, point: Mapping[str, Any]) -> None:
        """Refuse data that are not states of their units, and parameters that no machine has, if data have changed."""
        now = [x.get_value(borrow=True) for x in self._shared]
        if self._seen is not None and all(a is b for a, b in zip(now, self._seen, strict=True)):
            return
        for reading in self._readings:
            reading.read()
        check_data_of(self._shared)
        if self._parameters is not None:
            self._check_machines(iter(self._parameters(*(point[name] for name in self._inputs))))
        self._seen = now

    def _check_machines(self, values: Any) -> None:
        for template, known in self._templates:
            machine = template.with_parameters([next(values) if is_known else None for is_known in known])
            check_numbers(machine)
            ndims = machine.by_kind.core_ndims.flat()
            one = all(p is not None and p.ndim == n for p, n in zip(machine.parameters, ndims, strict=True))
            if one and not self._inputs:
                check_normalisable(machine)


def _parameters(machine: Machine) -> list[Any]:
    return [pt.as_tensor(p) for p in machine.parameters if p is not None]
