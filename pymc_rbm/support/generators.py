"""Random generators whose state goes into files as text, and back."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

__all__ = ["as_text", "generator_at", "generator_of", "serialisable"]

KNOWN = {"PCG64": np.random.PCG64}
"""By the names that files may say. Nothing else is called, whatever a file says."""


def serialisable(random_seed: Any) -> np.random.Generator:
    """A generator whose state goes into files as text; others' are arrays."""
    rng = np.random.default_rng(random_seed)
    if type(rng.bit_generator) in KNOWN.values():
        return rng
    return np.random.Generator(np.random.PCG64(rng.integers(2**63)))


def as_text(state: Any) -> str:
    """The state of a bit generator as text."""
    return json.dumps(state)


def generator_of(text: str) -> np.random.Generator:
    """The generator of a state that `as_text` wrote.

    Raises
    ------
    ValueError
        If the text is no such state.
    """
    try:
        return generator_at(json.loads(text))
    except (AttributeError, KeyError, OverflowError, RecursionError, TypeError, ValueError) as error:
        raise ValueError(
            f"The state of the random generator in the file is damaged: {text[:100]!r}. Expected that of one of "
            f"{sorted(KNOWN)}, as pymc_rbm.fit writes it. Begin anew with its parameters as start=."
        ) from error


def generator_at(state: Any) -> np.random.Generator:
    """A new generator at the state of a bit generator."""
    bit_generator = KNOWN[state["bit_generator"]]()
    bit_generator.state = state
    return np.random.Generator(bit_generator)
