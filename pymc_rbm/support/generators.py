"""Random generators are moved on, and their state is written to files as text and read back."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

__all__ = ["advance", "as_text", "generator_at", "generator_of", "serialisable"]

KNOWN = {"PCG64": np.random.PCG64}
"""The bit generators that a file may name. A file cannot make anything else be called."""


def serialisable(random_seed: Any) -> np.random.Generator:
    """Return a generator whose state can be written as text: the given one if it is a PCG64, else one seeded by it."""
    rng = np.random.default_rng(random_seed)
    if type(rng.bit_generator) in KNOWN.values():
        return rng
    return np.random.Generator(np.random.PCG64(rng.integers(2**63)))


def as_text(state: Any) -> str:
    """Return the state of a bit generator as text."""
    return json.dumps(state)


def generator_of(text: str) -> np.random.Generator:
    """Return the generator whose state `as_text` wrote.

    Raises
    ------
    ValueError
        If the text is not such a state.
    """
    try:
        return generator_at(json.loads(text))
    except (AttributeError, KeyError, OverflowError, RecursionError, TypeError, ValueError) as error:
        raise ValueError(
            f"The state of the random generator in the file is damaged: {text[:100]!r}. Expected the state of one of "
            f"{sorted(KNOWN)}, as pymc_rbm.fit writes it. Begin anew with the parameters of that file: "
            "fit(start=…)."
        ) from error


def advance(rng: np.random.Generator, next_rng: np.random.Generator) -> None:
    """Move a generator on to where a compiled function left it, which may have worked on a copy."""
    if next_rng is not rng:
        rng.bit_generator.state = next_rng.bit_generator.state


def generator_at(state: Any) -> np.random.Generator:
    """Return a new generator in the given state of a bit generator."""
    bit_generator = KNOWN[state["bit_generator"]]()
    bit_generator.state = state
    return np.random.Generator(bit_generator)
