"""The data (``pm.Data``) that graphs depend on, which ``pm.set_data`` may have filled with NaN."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from pytensor.compile.sharedvalue import SharedVariable
from pytensor.graph.basic import Variable
from pytensor.graph.traversal import ancestors

__all__ = ["check_data_of", "check_unmasked", "shared_data"]

OF_UNITS = "To have missing entries sampled, pass observed= a masked array: numpy.ma.masked_invalid(data)."
SET = "Give finite numbers: pm.set_data({'name': …})."


def check_unmasked(values: Any, name: str, remedy: str = OF_UNITS) -> None:
    """Refuse what ``pm.Data`` and ``pm.set_data`` make of arrays with NaN: masked arrays, which no function takes."""
    if np.ma.is_masked(values):
        raise ValueError(
            f"{name} contains NaN ({np.ma.getmaskarray(values).sum()} entries): pm.Data holds whole rows only. {remedy}"
        )


def shared_data(graphs: Iterable[Variable]) -> list[SharedVariable]:
    """Return the data that graphs depend on."""
    return [x for x in ancestors(graphs) if isinstance(x, SharedVariable) and hasattr(x.type, "ndim")]


def check_data_of(graphs: Iterable[Variable]) -> None:
    """Refuse graphs that depend on data with NaN."""
    for x in shared_data(graphs):
        check_unmasked(x.get_value(borrow=True), f"The data {x.name!r}", SET)
