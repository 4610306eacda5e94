"""Input checks: every public function refuses bad input before any work, and says what would be right."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
from pytensor.compile.mode import Mode
from pytensor.compile.sharedvalue import SharedVariable
from pytensor.graph.basic import Constant, Variable
from pytensor.graph.rewriting.utils import rewrite_graph

from pymc_rbm.support.modes import INTERPRETED
from pymc_rbm.support.received import receive
from pymc_rbm.support.reentrant import compiled, one_compiles
from pymc_rbm.support.compiled import remembered

__all__ = [
    "at_most",
    "check_back_end",
    "check_not_empty",
    "finite_number",
    "generator",
    "known_values",
    "positive_parameter",
    "restricted_sizes",
    "shape_hint",
    "shape_of",
    "unit_data",
    "whole_number",
]

Shape = tuple[int | None, ...]
PIECE = 2**22


def whole_number(name: str, value: Any, least: int = 1) -> int:
    """Return ``value`` as an int, or raise ValueError unless it is a whole number of at least ``least``."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer) or value < least:
        raise ValueError(f"{name} must be a whole number of at least {least}, got {value!r}.")
    return int(value)


def at_most(name: str, value: int, most: int, remedy: str) -> int:
    """Return ``value``, or raise ValueError where it is more than ``most``: tables of it would not fit into memory."""
    if value > most:
        raise ValueError(f"{name} must be at most {most:,}, got {value:,}. {remedy}")
    return value


def finite_number(name: str, value: Any, above: float = -np.inf, remedy: str = "") -> float:
    """Return ``value`` as a float, or raise ValueError unless it is a finite number greater than ``above``."""
    is_number = isinstance(value, int | float | np.number) and not isinstance(value, bool | np.bool_)
    if not is_number or not np.isfinite(value) or value <= above:
        needed = "a finite number" if above == -np.inf else f"a {'positive' if above == 0 else 'finite'} number"
        more = f" greater than {above:g}" if above not in (0, -np.inf) else ""
        raise ValueError(f"{name} must be {needed}{more}{remedy}, got {value!r}.")
    return float(value)


def generator(random_seed: Any) -> np.random.Generator:
    """NumPy's generator of a seed, or the one that was given."""
    try:
        return np.random.default_rng(random_seed)
    except (TypeError, ValueError):
        raise ValueError(
            f"random_seed must be a whole number of at least 0, a sequence of them, a numpy Generator or None, got "
            f"{random_seed!r}."
        ) from None


def positive_parameter(name: str, value: Any, positive: bool = True) -> None:
    """Refuse the parameter of a unit, numbers, unless all are finite and, where they must be, positive."""
    try:
        numbers = np.asarray(value, dtype="float64")
    except (TypeError, ValueError):
        numbers = np.asarray(np.nan)
    if not np.isfinite(numbers).all() or (positive and not (numbers > 0).all()):
        raise ValueError(f"{name} must be {'positive and ' * positive}finite, got {value!r}.")


def check_back_end(compile_kwargs: dict | None = None) -> None:
    """Refuse modes of PyTensor whose back end cannot take NumPy's generators as inputs."""
    mode = (compile_kwargs or {}).get("mode") or pytensor.config.mode
    name = mode if isinstance(mode, str) else type(mode.linker).__name__.removesuffix("Linker")
    if name.upper() in ("JAX", "MLX", "PYTORCH"):
        raise ValueError(
            f"pymc_rbm's chains take NumPy's generators, which PyTensor's mode {name} does not: use the default mode, "
            "NUMBA, for them (pytensor.config.mode, compile_kwargs). NUTS may run in JAX: nuts_sampler='numpyro'."
        )


def shape_of(x: Any) -> Shape:
    """Shape of an array or of a symbolic variable; None where it depends on what is not known yet.

    Shapes of random variables are inferred, nothing is drawn (``pm.Flat`` cannot be).
    """
    if not isinstance(x, Variable):
        return tuple(x.shape) if hasattr(x, "shape") else np.shape(x)
    if isinstance(x, SharedVariable):
        return tuple(x.get_value(borrow=True).shape)
    if None not in x.type.shape:
        return tuple(x.type.shape)
    with one_compiles():
        lengths = rewrite_graph(list(x.shape), include=("ShapeOpt", "canonicalize"), clone=True)
    try:
        values = compiled([], lengths, mode=Mode(linker="py", optimizer=None))()
    except Exception:  # whatever an unknown input or an undrawable prior makes the graph raise
        return tuple(x.type.shape)
    return tuple(int(n) for n in values)


def check_not_empty(name: str, shape: Any) -> None:
    """Refuse couplings of the given shape where one of the sides has no unit."""
    if 0 in tuple(shape)[-2:]:
        raise ValueError(
            f"{name} has shape {tuple(shape)}, but each side of a machine needs at least one unit. Without hidden "
            "units the visible ones are independent: use PyMC's own distributions, as pm.Bernoulli('v', logit_p=b)."
        )


def restricted_sizes(W: Any, b: Any, c: Any) -> tuple[int | None, int | None]:
    """Return (visible, hidden) sizes, or raise ValueError where the shapes of W, b and c do not fit.

    A bias that is None fits.
    """
    shapes = {name: (None,) if x is None else shape_of(x) for name, x in (("W", W), ("b", b), ("c", c))}
    for name, ndim in (("W", 2), ("b", 1), ("c", 1)):
        if len(shapes[name]) < ndim:
            raise ValueError(
                f"{name} must have at least {ndim} axes, got shape {shapes[name]}. An RBM takes W of shape "
                "(visible, hidden), b of shape (visible,) and c of shape (hidden,)."
            )
    check_not_empty("W", shapes["W"])
    (rows, columns), n_b, n_c = shapes["W"][-2:], shapes["b"][-1], shapes["c"][-1]

    def same(m: int | None, n: int | None) -> bool:
        return m is None or n is None or m == n

    if not (same(rows, n_b) and same(columns, n_c)):
        transposed = same(rows, n_c) and same(columns, n_b)
        raise ValueError(
            f"The shapes do not fit: W {shapes['W']}, b {shapes['b']}, c {shapes['c']}. W is (visible, hidden), b is "
            "(visible,) and c is (hidden,). "
            + ("W looks transposed: pass W.T." if transposed else "Check which of the three has the wrong size.")
            + (" (scikit-learn's components_ are (hidden, visible).)" if transposed else "")
        )
    for name, x in (("W", W), ("b", b), ("c", c)):
        values = None if x is None else known_values(x, name)
        if values is not None and not np.isfinite(np.ma.filled(values, np.nan)).all():
            raise ValueError(f"{name} contains NaN or infinity; the parameters of an RBM must be finite numbers.")
    return rows if rows is not None else n_b, columns if columns is not None else n_c


def unit_data(data: Any, unit: Any, size: int | None = None, name: str = "observed", side: str = "visible") -> Any:
    """Return ``data`` as a (masked) array of the type of ``unit``'s states, or a symbolic variable unchanged.

    Raises
    ------
    ValueError
        If an unmasked entry is no state of the unit, or the last axis is not ``size`` long.
    """
    values = known_values(data, name)
    shape = shape_of(data if values is None else values)
    if not shape or (size is not None and shape[-1] is not None and shape[-1] != size):
        hint = shape_hint(shape, size, name)
        if unit.count(size or 0) != (size or 0):
            hint += f" (One number a unit, as labels, needs length {unit.count(size or 0)}.) {unit.remedy}"
        raise ValueError(
            f"{name} has shape {shape}, but the machine has {size} {side} units: the last axis of {name} must "
            f"have length {size}.{hint}"
        )
    if values is None:
        return data
    _check_states(values, unit, name)
    if isinstance(data, Variable):
        return data
    if np.ma.isMaskedArray(values):
        return np.ma.MaskedArray(values.filled(0).astype(unit.dtype), np.ma.getmaskarray(values))
    return values.astype(unit.dtype, copy=False)


def shape_hint(shape: Any, size: int | None, name: str) -> str:
    """What to do with an array whose last axis is not ``size`` long, where that can be seen."""
    if len(shape) > 2 and None not in shape and size == int(np.prod(shape[1:])):
        return f" Make rows of it: {name}.reshape(len({name}), -1)."
    return " It looks transposed: rows are cases, columns are units." if size in shape[:-1] else ""


def _check_states(values: np.ndarray, unit: Any, name: str) -> None:
    """Refuse unmasked entries that are no states; piece by piece, so that large data need little more memory."""
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
                f"{name} contains NaN. To have missing entries sampled, mask them: numpy.ma.masked_invalid(data)."
            )
        other = known[~(_contains(unit.family, known) | mask)]
        wrong, examples = wrong + other.size, np.unique(np.concatenate([examples, other]))[:3]
    if wrong:
        shown = ", ".join(f"{x:g}" for x in examples)
        total = values.count() if np.ma.isMaskedArray(values) else values.size
        raise ValueError(
            f"{name} must contain only {unit.support}, got {wrong} other entries of {total} (such as {shown}). "
            f"{unit.remedy}"
        )


def _are_counts(values: np.ndarray, unit: Any) -> bool:
    """Whether whole numbers lie between the ends of a unit that takes all between them: quickly, by the extremes."""
    if values.dtype.kind not in "iu" or np.ma.isMaskedArray(values) or not unit.counts or not values.size:
        return False
    low, high = unit.ends
    return bool(values.min() >= low and values.max() <= high)


def _check_whole_units(mask: np.ndarray, unit: Any, name: str) -> None:
    """Refuse masks that cut through a unit."""
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


@remembered(16)
def _contains_function(unit: Any, dtype: str, ndim: int):
    x = pt.tensor(dtype=dtype, shape=(None,) * ndim)
    return pytensor.function([x], unit.contains(x), mode=INTERPRETED)


def known_values(x: Any, name: str = "data") -> np.ndarray | None:
    """The numbers in ``x`` if they are at hand: arrays, constants, shared data, data frames, sparse matrices."""
    if isinstance(x, Constant | SharedVariable):
        return np.asanyarray(x.data if isinstance(x, Constant) else x.get_value(borrow=True))
    return None if isinstance(x, Variable) else receive(x, name).values
