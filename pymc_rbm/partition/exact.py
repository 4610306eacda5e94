"""log Z by enumeration, in chunks of states, where a machine, or each that it falls apart into, is small enough."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt

from pymc_rbm.kernels.door import factors_of, log_z_by_kernel
from pymc_rbm.machine.enumeration import (
    ENUMERABLE,
    IntractableError,
    cheapest_layer,
    in_powers,
    is_binary,
    is_binary_pair,
    log_weights_of_states,
    sized,
    sizes_of,
    widest_layer,
)
from pymc_rbm.machine.machine import Machine, logsumexp
from pymc_rbm.machine.normalisable import gaussian_log_partition, is_gaussian
from pymc_rbm.machine.rows import has_rows, row_count
from pymc_rbm.machine.separate import separate
from pymc_rbm.partition.path import Path
from pymc_rbm.support.compiled import remembered
from pymc_rbm.support.modes import INTERPRETED, by_kernels
from pymc_rbm.support.work import Work

__all__ = ["QUICKLY_ENUMERATED_STATES", "enumerated", "known_parts", "log_z"]

MAX_ENUMERATED_STATES = 2**25
QUICKLY_ENUMERATED_STATES = 2**20
QUICKLY_SUMMED_FACTORS = 2**28
"""By a kernel, which cannot be interrupted: a quarter of a second."""
CHUNK_ENTRIES = 2**22
LITTLE = 2**26
"""Entries of all states that NumPy sums in a few seconds, as many as numba takes to compile the sum."""


def known_parts(machine: Machine, method: str) -> list[Machine]:
    """Return the machine, or those that it falls apart into, where log Z is to be computed exactly; otherwise nothing.

    The method "auto" enumerates up to 2²⁰ states; "exact" enumerates what it can, and a later step raises otherwise.
    """
    if method not in ("auto", "exact"):
        return []
    whole = _states(machine)
    if whole <= QUICKLY_ENUMERATED_STATES:
        return [machine]
    parts = separate(machine)
    most = QUICKLY_ENUMERATED_STATES if method == "auto" else min(whole, MAX_ENUMERATED_STATES)
    return parts if sum(map(_states, parts)) <= most else [machine] if method == "exact" else []


def _states(machine: Machine) -> float:
    """Return how many states have to be summed over: none where all units are Gaussian, or not coupled."""
    return 0 if not machine.couplings or is_gaussian(machine) else cheapest_layer(machine)[1]


def log_z(machine: Machine, work: Work, is_part: bool) -> float:
    """Return log Z of a machine, or of a part of one, of which there may be many."""
    if not machine.couplings:
        return float(Path(machine, tuple(layer.bias for layer in machine.layers)).log_z_base)
    if is_gaussian(machine):
        return float(_gaussian_function(machine.template)(*machine.parameters))
    if is_binary(machine) and factors_of(machine) <= _most_factors(machine):
        return finite(log_z_by_kernel(machine)[0])
    return float(enumerated(machine, work, interpreted=is_part and _states(machine) <= 2**ENUMERABLE))


def _most_factors(machine: Machine) -> float:
    return QUICKLY_SUMMED_FACTORS if is_binary_pair(machine) else MAX_ENUMERATED_STATES


def enumerated(machine: Machine, work: Work, interpreted: bool = False) -> Any:
    """Sum over the cheapest layer in chunks of at most 2²² entries, 32 MiB an array; one sum a row where biases differ.

    ``interpreted`` avoids compilation, for machines of many shapes that are summed once each.
    """
    layer, count = cheapest_layer(machine)
    if count > MAX_ENUMERATED_STATES:
        raise IntractableError(
            f"Layers of sizes {sizes_of(machine)} have at least {in_powers(count)} joint states; enumeration stops at "
            f"{MAX_ENUMERATED_STATES:.3g}. Use method='compare' or 'ais'."
        )
    rows = row_count(machine) if has_rows(machine) else 1
    shapes = machine.by_kind.map(np.shape)
    if rows > 1:  # one function for any number
        shapes = replace(shapes, biases=tuple((None, shape[-1]) for shape in shapes.biases))
    quick = is_binary_pair(machine) or count * rows * widest_layer(machine) <= LITTLE
    by = "node" if interpreted else "kernels" if quick and count <= QUICKLY_ENUMERATED_STATES else "graph"
    log_sum = _enumeration_function(machine.template, tuple(shapes.flat()), layer, by)
    chunk = max(1, CHUNK_ENTRIES // (rows * max(n or 1 for n in sizes_of(machine))))
    work.begin("enumerating", int(count))
    parts = []
    for start in range(0, int(count), chunk):
        if work.interrupted:
            raise KeyboardInterrupt
        parts.append(log_sum(np.arange(start, min(start + chunk, int(count))), *machine.parameters))
        work.advance(min(chunk, int(count) - start))
    return finite(np.logaddexp.reduce(parts))


def finite(total: Any) -> Any:
    """Return the log of a sum over states, or raise ValueError where there is no such sum."""
    if not np.isfinite(total).all():
        raise ValueError(
            "The sum over states is not finite: the machine cannot be normalised. Make its weights smaller."
        )
    return total


@remembered(64)
def _gaussian_function(template: Machine):
    machine, inputs = template.symbolic()
    return pytensor.function(inputs, gaussian_log_partition(machine), mode=INTERPRETED)


@remembered(64)
def _enumeration_function(template: Machine, shapes: tuple[tuple[int | None, ...], ...], layer: int, by: str):
    machine, inputs = sized(template, shapes)
    indices = pt.lvector("indices")
    log_sum = logsumexp(log_weights_of_states(machine, layer, indices))
    if by == "kernels":
        return by_kernels([indices, *inputs], log_sum)
    return pytensor.function([indices, *inputs], log_sum, mode=INTERPRETED if by == "node" else None)
