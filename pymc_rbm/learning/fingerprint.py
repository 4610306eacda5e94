"""Hashes of a run's data and of the rest of its model go into its file and tell it from other runs."""

from __future__ import annotations

import re
import warnings
from hashlib import sha256
from typing import Any

import numpy as np
import pymc as pm
from pytensor.compile.sharedvalue import SharedVariable
from pytensor.graph.basic import Constant
from pytensor.graph.traversal import ancestors, toposort
from pytensor.tensor.random.type import RandomType

from pymc_rbm.distributions.lookup import rbm_behind
from pymc_rbm.learning.data import Observed

__all__ = ["compare", "marks_of"]


Part = tuple[Any, ...]
"""Buffers of bytes that are hashed one after the other, and with them how long they are together."""
SIZE, UNITS = "batch_size", "the units of"
"""How the marks begin that are words, not hashes; of the latter older files have none."""


def marks_of(model: pm.Model, observed: list[Observed], batch_size: int | None) -> dict[str, str]:
    """Return hashes and numbers that mark what a run was given, each under a name in words."""
    marks = {SIZE: repr(batch_size), "the model's priors and fixed values": _hash_of_model(model)}
    for x in observed:
        missing = [] if x.missing is None else [x.missing]
        marks[f"the data of {x.name!r}"] = _hash(*map(_bytes, [x.rows, *missing]))
        marks[f"{UNITS} {x.name!r}"] = ", ".join(repr(layer.unit) for layer in x.machine.template.layers)
        marks[f"the row_weights of {x.name!r}"] = _hash(_bytes(np.asarray(x.weights, "float64")))
    return marks


def compare(theirs: dict[str, str] | None, ours: dict[str, str]) -> None:
    """Warn of what differs between a run that is resumed and the arguments that it is resumed with."""
    if theirs is None:
        warnings.warn(
            "`resume` was written by an earlier version of pymc_rbm, which recorded neither the data nor the model: "
            "whether they are the same cannot be checked. If they are the same, and learning had ended with a whole "
            "epoch, it goes on exactly; an epoch that was left half done is begun again. To be sure, begin anew "
            "without resume.",
            stacklevel=3,
        )
        return
    differ = [key for key in ours if theirs.get(key, ours[key] if key.startswith(UNITS) else None) != ours[key]]
    if differ:
        in_words = SIZE, UNITS
        known = [f"{key} ({theirs[key]} then, {ours[key]} now)" if key.startswith(in_words) else key for key in differ]
        warnings.warn(
            f"`resume` comes from a run that differs from this call in {', '.join(known)}: learning goes on from its "
            "parameters, particles and generator, but the result is not that of either run alone. To go on exactly, "
            "pass what that run was given; to begin anew, pass its parameters as start=.",
            stacklevel=3,
        )


def _hash_of_model(model: pm.Model) -> str:
    """Hash the graphs and values that the density of the free variables depends on, without the data of RBMs."""
    others = [rv for rv in model.observed_RVs if rbm_behind(rv) is None]
    machines = [p for rv in model.basic_RVs if rbm_behind(rv) is not None for p in rv.owner.inputs[2:]]
    roots = [*model.free_RVs, *others, *model.potentials, *machines]
    parts = [_described(x) for x in roots] + [_bytes_of(model.rvs_to_values[rv]) for rv in others]
    numbers = {x: i for i, x in enumerate(x for x in ancestors(roots) if x.owner is None)}
    parts += [_bytes_of(x) for x in numbers]
    made: dict[Any, int] = dict(numbers)
    for node in toposort(roots):
        parts.append((f"{_name(node.op)} {[made[x] for x in node.inputs]}".encode(),))
        made |= {x: len(made) + i for i, x in enumerate(node.outputs)}
    return _hash(*parts)


def _described(x: Any) -> Part:
    return (f"{x.name} {x.type}".encode(),)


def _name(op: Any) -> str:
    """Return an Op's name without what differs from process to process."""
    return re.sub(r"0x[0-9a-f]+|at \d+", "", f"{type(op).__name__} {op}")


def _bytes_of(x: Any) -> Part:
    """Return the value of a constant or of shared data; all generators are alike."""
    if isinstance(x.type, RandomType):
        return (b"generator",)
    if isinstance(x, Constant):
        return _bytes(np.asarray(x.data))
    return _bytes(np.asarray(x.get_value(borrow=True))) if isinstance(x, SharedVariable) else _described(x)


def _bytes(x: np.ndarray) -> Part:
    if x.dtype == object:  # such as the None of an axis
        return (repr(x).encode(),)
    return f"{x.dtype} {x.shape}".encode(), np.ascontiguousarray(x).reshape(-1).view("uint8")


def _hash(*parts: Part) -> str:
    found = sha256()
    for part in parts:
        found.update(sum(map(len, part)).to_bytes(8, "little"))
        for x in part:
            found.update(x)
    return found.hexdigest()[:16]
