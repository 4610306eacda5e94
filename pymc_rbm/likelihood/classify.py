"""Find exact probabilities of a part of the visible units given the rest, as of labels given pixels.

For a part with few joint states s, and the rest r of the visible units,

    p(s | r) = exp(-F(r, s)) / Σ_s' exp(-F(r, s')),        F(r) = -log Σ_s exp(-F(r, s)),

with F the free energy of all visible units. No log Z is needed for the first; ``log p(r) = -F(r) - log Z``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytensor.tensor as pt
import xarray as xr

from pymc_rbm.machine.colouring import unit_numbers
from pymc_rbm.machine.door import Data, data_of, named_units_last, units_in_order, whole
from pymc_rbm.machine.enumeration import ENUMERABLE, cheapest_layer, in_powers, joint_states
from pymc_rbm.machine.given import draw_by_draw
from pymc_rbm.machine.machine import VISIBLE, Layer, Machine
from pymc_rbm.machine.targets import labels_of, machine_of
from pymc_rbm.machine.validation import one_machine
from pymc_rbm.support.arguments import listed
from pymc_rbm.support.compiled import remembered
from pymc_rbm.support.labels import Labels
from pymc_rbm.support.modes import by_kernels
from pymc_rbm.support.received import receive
from pymc_rbm.support.reentrant import value_of
from pymc_rbm.units.beside import Beside
from pymc_rbm.units.states import check_last_axis

__all__ = ["classify", "marginal_free_energy"]

CHUNK_ENTRIES = 2**22


@draw_by_draw
def classify(v: Any, target: Any = None, learned: Any = None, *, part: str = "label") -> xr.DataArray:
    """Return the exact probabilities of the states of one part of the visible units, given all others.

    With ``visible=pmr.Beside((pmr.Bernoulli(), 64), label=(pmr.Categorical(10), 10))`` an RBM is a classifier
    (Larochelle & Bengio 2008): ``pmr.classify(pixels, model, learned)`` has the shape (rows, 10).

    Parameters
    ----------
    v : array_like or DataArray, shape (rows, visible) or (rows, visible without the part)
        States of the visible units; values of the part are ignored.
    target : Machine, RBM variable, PyMC model with one RBM, or what `fit` returned, optional
        Default: the model on the context stack.
    learned : DataTree, optional
        What `fit` returned, if the parameters of ``target`` are random variables; or a posterior over them, as
        ``pm.sample`` returns it, which puts the dims chain and draw before all others.
    part : str, default "label"
        A name in the `Beside` of the visible units. It must have finitely many joint states, at most 2¹⁶.

    Returns
    -------
    DataArray, shape (rows, states)
        For one `Categorical` unit, state k is the value k. In general the first unit of the part changes fastest from
        one state to the next.

    Raises
    ------
    ValueError
        If there is no such part, it has too many states, or ``v`` are not states of the other units.

    References
    ----------
    .. [1] Larochelle, H., Bengio, Y. (2008). Classification using discriminative restricted Boltzmann machines. ICML.

    Examples
    --------
    >>> import numpy as np, pymc_rbm as pmr
    >>> layer = pmr.Beside(pixel=(pmr.Bernoulli(), 2), label=(pmr.Categorical(2), 2))
    >>> W = np.array([[4.0], [4.0], [-2.0], [2.0]])  # one hidden unit, on where pixels are; it speaks for label 1
    >>> machine = pmr.restricted(W, np.zeros(4), np.array([-4.0]), visible=layer)
    >>> pmr.classify([[0, 0], [1, 1]], machine).values.round(2)
    array([[0.47, 0.53],
           [0.02, 0.98]])
    """
    log_p, rows = _log_weights(v, target, learned, [part])
    p = np.exp(log_p - np.logaddexp.reduce(log_p, axis=1)[:, None])
    found = rows.by_row(p, {part: None}).rename(f"{part}_probability")
    return found if rows.named else found.rename({rows.dims[0]: "row"})


@draw_by_draw
def marginal_free_energy(v: Any, target: Any = None, learned: Any = None, *, parts: Sequence[str]) -> Any:
    """Return ``F(rest) = -log Σ exp(-F)`` over the joint states of ``parts``: ``log p(rest) = -F(rest) - log Z``.

    For a deep Boltzmann machine, with all even layers but the first as ``parts``, it is the free energy of the data.
    Parameters and errors are as in `classify`.

    Returns
    -------
    ndarray, shape (rows,)
        A DataArray if ``v`` is one, or a data frame.

    Examples
    --------
    >>> import numpy as np, pymc_rbm as pmr
    >>> layer = pmr.Beside(pixel=(pmr.Bernoulli(), 2), label=(pmr.Categorical(2), 2))
    >>> machine = pmr.restricted(np.zeros((4, 1)), np.zeros(4), np.zeros(1), visible=layer)
    >>> pmr.marginal_free_energy([[0, 0]], machine, parts=["label"]).round(4)  # two labels, two hidden states
    array([-1.3863])
    """
    log_p, rows = _log_weights(v, target, learned, parts)
    found = -np.logaddexp.reduce(log_p, axis=1)
    return rows.by_row(found) if rows.named else found


def _log_weights(v: Any, target: Any, learned: Any, parts: Sequence[str]) -> tuple[np.ndarray, Data]:
    """Return ``-F`` of each row with each joint state of the parts, and the rows."""
    machine = one_machine(machine_of(target, learned))
    unit, size = machine.layers[VISIBLE].unit, np.size(machine.layers[VISIBLE].bias)
    named = unit.named_parts() if isinstance(unit, Beside) else {}
    parts = listed("parts", parts, "a list of the names of parts")
    unknown = [part for part in parts if not isinstance(part, str) or part not in named]
    if unknown or not parts:
        wrong = f"At least one part must be named, got {list(parts)}"
        if unknown:
            wrong = f"There is no part {unknown} among the visible units {unit.family!r}"
        raise ValueError(
            f"{wrong}; parts with names are {list(named)}. Name one of these, or name parts where the machine is made, "
            "as in visible=pymc_rbm.Beside(label=(pymc_rbm.Categorical(10), 10))."
        )
    entries = np.concatenate([np.arange(size)[named[part]] for part in sorted(parts, key=lambda x: named[x].start)])
    alone = Machine((Layer(unit.at(entries).family, np.zeros(len(entries))),), ())
    _, count = cheapest_layer(alone)
    if count > 2**ENUMERABLE:
        raise ValueError(
            f"{parts} have {in_powers(count)} joint states; at most {2**ENUMERABLE} can be summed over. Take a smaller "
            "part."
        )
    states = value_of(joint_states(alone, 0, np.arange(int(count))))
    rest = np.setdiff1d(np.arange(size), entries)
    given = _rest_of(v, unit, size, rest, labels_of(target, learned))
    rows = np.zeros((len(given.values), size), dtype=unit.dtype)
    rows[:, rest] = whole(given, "v")
    evaluate = _function(machine.template, tuple(entries.tolist()))
    chunk = max(1, CHUNK_ENTRIES // (size * len(states)))
    found = [evaluate(rows[i : i + chunk], states, *machine.parameters) for i in range(0, len(rows), chunk)]
    return np.concatenate(found), given


def _rest_of(v: Any, unit: Any, size: int, rest: np.ndarray, labels: Labels) -> Data:
    """Return the visible entries without the parts; ValueError where they are not states."""
    got = named_units_last(receive(v, "v"), labels, "v")
    n, family = (got.values.shape[-1] if got.values.ndim else 0), unit.at(rest)
    if n == size:
        got = units_in_order(got, labels, "v", unit.count(size)).taken(rest, -1)
    elif n == unit.count(size) and n not in (len(rest), family.count(len(rest))):
        got = got.taken(np.unique(unit_numbers(unit, size)[rest]), -1)
    own = labels
    if labels.visible in labels.coords:
        own = replace(own, coords={**labels.coords, labels.visible: np.asarray(labels.coords[labels.visible])[rest]})
    if not got.values.ndim or got.values.shape[-1] not in (len(rest), family.count(len(rest))):
        check_last_axis(
            got.values.shape,
            unit,
            size,
            "v",
            hint=f" Or give {len(rest)} entries, without the part that is classified.",
        )
    return data_of(got, Layer(family, np.zeros(len(rest))), own, "v")


@remembered(64)
def _function(template: Machine, entries: tuple[int, ...]):
    """Compile (rows, states, parameters…) -> -F, shape (rows, states)."""
    machine, inputs = template.symbolic()
    unit = machine.layers[VISIBLE].unit
    v, states = pt.matrix(dtype=unit.dtype), pt.matrix(dtype=unit.at(np.array(entries)).dtype)
    shape = (v.shape[0], states.shape[0], v.shape[1])
    both = pt.broadcast_to(v[:, None], shape)[..., np.array(entries)].set(states.astype(unit.dtype))
    return by_kernels([v, states, *inputs], -machine.free_energy(both))
