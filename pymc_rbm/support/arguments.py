"""Every public function checks its input, refuses bad input before any work, and says what would be right."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytensor
from pytensor.compile.mode import Mode
from pytensor.compile.sharedvalue import SharedVariable
from pytensor.graph.basic import Constant, Variable
from pytensor.graph.rewriting.utils import rewrite_graph

from pymc_rbm.support.received import receive
from pymc_rbm.support.reentrant import compiled, one_compiles

__all__ = [
    "at_most",
    "check_back_end",
    "check_not_empty",
    "compile_arguments",
    "finite_number",
    "generator",
    "known_values",
    "listed",
    "one_of",
    "positive_parameter",
    "shape_of",
    "shown",
    "text",
    "whole_number",
    "whole_numbers",
]

Shape = tuple[int | None, ...]


def whole_number(name: str, value: Any, least: int = 1) -> int:
    """Return ``value`` as an int, or raise ValueError unless it is a whole number of at least ``least``."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer) or value < least:
        raise ValueError(f"{name} must be a whole number of at least {least}, got {value!r}.")
    return int(value)


def one_of(name: str, value: Any, allowed: Sequence[str]) -> str:
    """Return ``value``, or raise ValueError unless it is one of the ``allowed`` texts."""
    if not isinstance(value, str) or value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}, got {shown(value)}.")
    return value


def listed(name: str, value: Any, needed: str) -> list[Any]:
    """Return ``value`` as a list, or raise TypeError unless it is a list, a tuple or the like; ``needed`` says of what.

    PyMC's models and PyTensor's variables have entries, and end in errors of theirs where these are asked for.
    """
    if isinstance(value, str | bytes | Mapping | Variable) or not hasattr(value, "__iter__"):
        raise TypeError(f"{name} must be {needed}, got {shown(value)}.")
    return list(value)


def text(name: str, value: Any, of: str) -> str:
    """Return ``value``, or raise TypeError unless it is a text; ``of`` says what it names."""
    if not isinstance(value, str) or not value:
        raise TypeError(f"{name} must be a text, the name of {of}, got {shown(value)}.")
    return value


def shown(value: Any) -> str:
    """Return ``value`` in a few words: itself where that is short, else its type."""
    text = repr(value)
    return text if len(text) <= 60 and "\n" not in text else f"a {type(value).__name__}"


def whole_numbers(**given: Any) -> list[int]:
    """Return the values as ints, or raise ValueError unless each is a whole number of at least 1."""
    return [whole_number(name, value) for name, value in given.items()]


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


def generator(random_seed: Any, name: str = "random_seed") -> np.random.Generator:
    """Return NumPy's generator of a seed, or the generator that was given."""
    try:
        return np.random.default_rng(random_seed)
    except (TypeError, ValueError):
        raise ValueError(
            f"{name} must be a whole number of at least 0, a sequence of them, a numpy Generator or None, got "
            f"{shown(random_seed)}."
        ) from None


def positive_parameter(name: str, value: Any, positive: bool = True) -> None:
    """Refuse numbers as the parameter of a unit unless all are finite and, with ``positive``, above 0."""
    try:
        numbers = np.asarray(value, dtype="float64")
    except (TypeError, ValueError):
        numbers = np.asarray(np.nan)
    if not np.isfinite(numbers).all() or (positive and not (numbers > 0).all()):
        raise ValueError(f"{name} must be {'positive and ' * positive}finite, got {value!r}.")


def compile_arguments(given: Any) -> dict[str, Any]:
    """Return ``compile_kwargs`` as a dict, or refuse what are not arguments of ``pm.compile``, or modes as below."""
    known = {"random_seed", *inspect.signature(pytensor.function).parameters} - {"inputs", "outputs", "updates"}
    if given is not None and (not isinstance(given, dict) or not given.keys() <= known):
        raise TypeError(
            f"compile_kwargs must be a dict of arguments of pm.compile, among {sorted(known)}, got {shown(given)}. "
            "Leave it out, or give a mode, as in compile_kwargs={'mode': 'NUMBA'}."
        )
    check_back_end((given or {}).get("mode"))
    return given or {}


def check_back_end(mode: Any = None) -> None:
    """Refuse modes of PyTensor whose back end cannot take NumPy's generators as inputs."""
    mode = mode or pytensor.config.mode
    name = mode if isinstance(mode, str) else type(mode.linker).__name__.removesuffix("Linker")
    if name.upper() in ("JAX", "MLX", "PYTORCH"):
        raise ValueError(
            f"pymc_rbm's chains take NumPy's generators, which PyTensor's mode {name} does not: use the default mode, "
            "NUMBA, for them (pytensor.config.mode, compile_kwargs). NUTS may run in JAX: nuts_sampler='numpyro'."
        )


def shape_of(x: Any) -> Shape:
    """Return the shape of an array or a symbolic variable, with None where a length cannot be known yet.

    Shapes of random variables are inferred; nothing is drawn (``pm.Flat`` cannot be drawn).
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
    except Exception:  # a graph raises anything where an input is unknown or a prior cannot be drawn
        return tuple(x.type.shape)
    return tuple(int(n) for n in values)


def check_not_empty(name: str, shape: Any) -> None:
    """Refuse couplings of the given shape where one of the two sides has no units."""
    if 0 in tuple(shape)[-2:]:
        raise ValueError(
            f"{name} has shape {tuple(shape)}, but each side of a machine needs at least one unit. Without hidden "
            "units the visible ones are independent: use PyMC's own distributions, as pm.Bernoulli('v', logit_p=b)."
        )


def known_values(x: Any, name: str = "data") -> np.ndarray | None:
    """Return the numbers in arrays, constants, shared data, frames and sparse matrices; None for other variables."""
    if isinstance(x, Constant | SharedVariable):
        return np.asanyarray(x.data if isinstance(x, Constant) else x.get_value(borrow=True))
    return None if isinstance(x, Variable) else receive(x, name).values
