"""Units of a machine have names, by which named data are put into the machine's order.

Labels that only count, 0 to n - 1, are positions and not names: they fit any names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

__all__ = ["ROWS", "SIDES", "Labels", "alike", "counts_only", "positions", "without_made_up"]


SIDES = "visible", "hidden"
"""Made-up names of axes of data frames that have labels and no name: they fit axes of any name."""
ROWS = "rows"
"""The same for axes of rows."""


@dataclass(frozen=True)
class Labels:
    """The name of a machine's visible units, the dims of both sides, and coords of these where there are any."""

    name: str = "v"
    visible: str = ""
    hidden: str = ""
    coords: Mapping[str, Any] = field(default_factory=dict)
    rows: str = ""
    """The dim of the rows, where biases differ by row and have names for these."""

    @property
    def dims(self) -> tuple[str, str]:
        """The dims of both sides, made from the name where none were given."""
        return self.visible or f"{self.name}_unit", self.hidden or f"{self.name}_hidden_unit"


def without_made_up(labels: Labels) -> Labels:
    """Return the labels without coords that only count on axes with made-up names: no user gave them."""
    made = f"{labels.name}_unit", f"{labels.name}_hidden", f"{labels.name}_hidden_unit"
    kept = {dim: x for dim, x in labels.coords.items() if not (dim in made and counts_only(x))}
    return Labels(labels.name, labels.visible, labels.hidden, kept, labels.rows)


def counts_only(labels: Any) -> bool:
    """Whether labels are 0 to n - 1 in order, and so are positions and not names."""
    labels = np.asarray(labels)
    return labels.dtype.kind in "iu" and np.array_equal(labels, np.arange(len(labels)))


def positions(own: Any, wanted: Any, what: str, of_what: str) -> np.ndarray | None:
    """Return where each of the ``wanted`` labels stands among the ``own``; None where nothing has to move.

    Raises
    ------
    ValueError
        If the two are not the same names; the message says which differ.
    """
    own, wanted = np.asarray(own), np.asarray(wanted)
    if own.shape == wanted.shape and (own == wanted).all():
        return None
    if any(counts_only(x) and other.dtype.kind not in "iu" for x, other in ((own, wanted), (wanted, own))):
        return None
    place = {label: i for i, label in enumerate(own.tolist())}
    names = wanted.tolist()
    if len(place) == len(own) == len(names) and set(place) == set(names):
        return np.array([place[name] for name in names])
    lacking, more = ([x for x in a if x not in b] for a, b in ((names, place), (place, set(names))))
    said = [f"without {_some(lacking)}"] * bool(lacking) + [f"with {_some(more)} that are not there"] * bool(more)
    raise ValueError(
        f"The names of {what} are not those of {of_what}: "
        f"{' and '.join(said) or 'some of them twice'}. Names that fit are put in order; select or rename what does "
        "not, or pass plain arrays (.values, .to_numpy()), which go by position."
    )


def alike(own: Labels, wanted: Labels, what: str, of_what: str) -> bool:
    """Whether the names of both have one order, or one of them has none.

    Raises
    ------
    ValueError
        If they are not the same names, as `positions` says.
    """
    pairs = [(own.coords.get(a), wanted.coords.get(b)) for a, b in zip(own.dims, wanted.dims, strict=True)]
    return all(a is None or b is None or positions(a, b, what, of_what) is None for a, b in pairs)


def _some(labels: list[Any]) -> str:
    shown = ", ".join(repr(x) for x in labels[:4])
    return f"[{shown}{', …' if len(labels) > 4 else ''}]"
