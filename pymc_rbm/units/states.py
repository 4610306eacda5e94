"""Data become states of units: they are checked against the units' values and converted to their type."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
from pytensor.graph.basic import Variable

from pymc_rbm.support.arguments import known_values, shape_of
from pymc_rbm.support.compiled import remembered
from pymc_rbm.support.modes import INTERPRETED

__all__ = ["check_last_axis", "unit_data"]

PIECE = 2**22


def unit_data(
    data: Any,
    unit: Any,
    size: int | None = None,
    name: str = "observed",
    side: str = "visible",
    *,
    means: bool = False,
) -> Any:
    """Return ``data`` as a (masked) array of the type of ``unit``'s states, or a symbolic variable unchanged.

    With ``means`` entries may be any finite numbers, and their type stays.

    Raises
    ------
    ValueError
        If an unmasked entry is not a state of the unit, or the last axis is not ``size`` long.
    """
    values = known_values(data, name)
    check_last_axis(shape_of(data if values is None else values), unit, size, name, side)
    if values is None:
        return data
    _check_states(values, unit, name, means)
    if isinstance(data, Variable) or means:
        return values if means else data
    if np.ma.isMaskedArray(values):
        return np.ma.MaskedArray(values.filled(0).astype(unit.dtype), np.ma.getmaskarray(values))
    return values.astype(unit.dtype, copy=False)


def check_last_axis(shape: Any, unit: Any, size: int | None, name: str, side: str = "visible", hint: str = "") -> None:
    """Refuse an array of units whose last axis is not ``size`` long; ``hint`` says which other length would do."""
    if shape and (None in (size, shape[-1]) or shape[-1] == size):
        return
    wide = dict.fromkeys(part.remedy for part, _ in unit.parts(size or 0) if part.width > 1)
    if wide:
        hint += f" (Labels, one number for each unit, need length {unit.count(size or 0)}.) {' '.join(wide)}"
    raise ValueError(
        f"{name} has shape {shape}, but the machine has {size} {side} units: the last axis of {name} must have length "
        f"{size}.{_shape_hint(shape, size, name)}{hint}"
    )


def _shape_hint(shape: Any, size: int | None, name: str) -> str:
    """Return what to do with an array whose last axis is not ``size`` long, where its shape shows that."""
    if len(shape) > 2 and None not in shape and size == int(np.prod(shape[1:])):
        return f" Make rows of it: {name}.reshape(len({name}), -1)."
    return " It looks transposed: rows are observations, columns are units." if size in shape[:-1] else ""


def _check_states(values: np.ndarray, unit: Any, name: str, means: bool) -> None:
    """Refuse unmasked entries that are not states; piece by piece, so that large data need little more memory."""
    wrong, examples = 0, np.empty(0)
    unit.check_size(values.shape[-1], name)
    if _are_counts(values, unit):
        return
    for piece in np.array_split(np.atleast_2d(values), max(1, values.size // PIECE)):
        mask = np.ma.getmaskarray(piece)
        _check_whole_units(mask, unit, name)
        known = np.ma.getdata(piece)
        if (np.isnan(known) & ~mask).any():
            raise ValueError(
                f"{name} contains NaN. Where entries may be missing, mask them: numpy.ma.masked_invalid({name}); else "
                "leave such rows out."
            )
        inside = np.isfinite(known) if means else _contains(unit.family, known)
        other = known[~(inside | mask)]
        wrong, examples = wrong + other.size, np.unique(np.concatenate([examples, other]))[:3]
    if wrong:
        shown = ", ".join(f"{x:g}" for x in examples)
        total = values.count() if np.ma.isMaskedArray(values) else values.size
        raise ValueError(
            f"{name} must contain only {'finite numbers' if means else unit.support}, got {wrong} other entries of "
            f"{total} (such as {shown}). {'Leave such rows out, or clip them.' if means else unit.remedy}"
        )


def _are_counts(values: np.ndarray, unit: Any) -> bool:
    """Whether the values are whole numbers between the extremes of a unit that takes all of these."""
    if values.dtype.kind not in "iu" or np.ma.isMaskedArray(values) or not unit.counts or not values.size:
        return False
    low, high = unit.ends
    return bool(values.min() >= low and values.max() <= high)


def _check_whole_units(mask: np.ndarray, unit: Any, name: str) -> None:
    """Refuse masks that cover some entries of a unit and not others."""
    start = 0
    for family, size in unit.parts(mask.shape[-1]):
        groups = mask[..., start : start + size].reshape(-1, family.width)
        if (groups.any(1) != groups.all(1)).any():
            raise ValueError(
                f"{name} masks some of the {family.width} entries of a unit and not others: mask all of them or none."
            )
        start += size


def _contains(unit: Any, values: np.ndarray) -> np.ndarray:
    values = values.astype("int8") if values.dtype == bool else values
    return _contains_function(unit, values.dtype.name, values.ndim)(values)


@remembered(64)
def _contains_function(unit: Any, dtype: str, ndim: int):
    x = pt.tensor(dtype=dtype, shape=(None,) * ndim)
    return pytensor.function([x], unit.contains(x), mode=INTERPRETED)
