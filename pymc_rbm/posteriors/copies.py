"""Copies of a model in which something else stands for log Z of some machines."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pymc as pm
from pytensor.tensor.variable import TensorVariable

from pymc_rbm.distributions.generative import without_initial_values
from pymc_rbm.distributions.lookup import machine_of_rv, named_machines, rbm_behind
from pymc_rbm.distributions.operations import MachineRV
from pymc_rbm.distributions.pymc_internals import fgraph_from_model, model_from_fgraph
from pymc_rbm.machine.machine import Machine
from pymc_rbm.machine.rows import has_rows
from pymc_rbm.support.arguments import listed

__all__ = ["LogZ", "checked_model", "chosen_machines", "with_log_z"]

LogZ = Callable[[Machine, TensorVariable], TensorVariable]
"""A function of a machine with graphs for parameters, and of the variable's value."""


def checked_model(model: Any, caller: str) -> None:
    """Refuse what is not a PyMC model."""
    if not isinstance(model, pm.Model):
        raise TypeError(f"{caller} takes a PyMC model first, got a {type(model).__name__}: {model!r:.100}.")


def chosen_machines(model: pm.Model, names: Any, caller: str) -> dict[str, TensorVariable]:
    """Return the variables of machines by name, or of all, whose log Z can be another; ValueError if it cannot."""
    machines = named_machines(model)
    if not machines:
        raise ValueError(f"{caller} found no machine in the model: add a pymc_rbm.RBM or BoltzmannMachine.")
    wanted = [names] if isinstance(names, str) else list(machines) if names is None else listed("names", names, "names")
    unknown = [x for x in wanted if not isinstance(x, str) or x not in machines]
    if unknown or not wanted:
        raise ValueError(f"names has {unknown or 'nothing in it'}; the model's machines are {sorted(machines)}.")
    chosen = {name: machines[name] for name in wanted}
    if given := [name for name, rv in chosen.items() if rv.owner.op.knows_log_z]:
        raise ValueError(f"{given} were given log_z: leave it out, or name other machines by names=.")
    if by_row := [name for name, rv in chosen.items() if has_rows(machine_of_rv(rv))]:
        raise ValueError(
            f"The biases of {by_row} differ by row, so that each row has a log Z of its own: {caller} takes machines "
            "whose rows share their parameters."
        )
    return chosen


def with_log_z(model: pm.Model, log_z: Mapping[str, LogZ]) -> pm.Model:
    """Return a copy of the model in which the machines of these names know log Z."""
    graph, copies = fgraph_from_model(without_initial_values(model))
    names = {id(rv): name for name, rv in named_machines(model).items()}
    for rv in model.basic_RVs:
        name = names.get(id(rbm_behind(rv)), "")
        if name not in log_z:
            continue
        copied, value = copies[rv].owner.inputs[:2]
        old: Any = rbm_behind(copied)
        op: MachineRV = old.owner.op
        if op.knows_log_z:  # the two parts of a masked variable have one machine
            continue
        known = {"template": op.template, "sizes": op.sizes, "sweeps": op.sweeps, "knows_log_z": True}
        node = type(op)(**known).make_node(*old.owner.inputs, log_z[name](machine_of_rv(old), value))
        graph.replace_all(list(zip(old.owner.outputs, node.outputs, strict=True)), import_missing=True)
    return model_from_fgraph(graph, mutate_fgraph=True)
