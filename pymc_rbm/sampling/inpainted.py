"""Inpainting returns draws and means by row and whether each row has converged, and warns where it has not."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import xarray as xr

from pymc_rbm.machine.door import Data
from pymc_rbm.sampling.clamped_ladder import figures_of_rows
from pymc_rbm.sampling.ladder import LEAST_RENEWALS, Ladder
from pymc_rbm.sampling.laddered import LADDERED
from pymc_rbm.support.convergence import FEW_DRAWS, RHAT, convergence, ess_asked

__all__ = ["figures_of", "tree_of", "warn_of_rows"]


def figures_of(ladder: Ladder | None, held: np.ndarray) -> dict[str, Any]:
    """Return figures of the ladder: its rungs, and the worst row's figures, of rows in which something is missing."""
    if ladder is None:
        return {}
    least = {key: x[~held.all(1)].min() for key, x in figures_of_rows(ladder).items()}
    return {
        "rungs": len(ladder.rungs),
        "least_acceptance": float(least["acceptance"]),
        "round_trips": int(least["round_trips"]),
        "renewals": int(least["renewals"]),
    }


def warn_of_rows(found: xr.Dataset, chains: int, draws: int, method: str) -> None:
    """Warn of rows that have not converged, with the R-hat or ESS that was found and the limits."""
    wrong = ~found["converged"].values
    if not wrong.any():
        return
    if draws < FEW_DRAWS:
        message = (
            f"{draws} draws a chain are too few to say whether rows have converged. Raise draws to {FEW_DRAWS} or more."
        )
    else:
        apart, few = found["rhat"].values > found["rhat_limit"].values, found["ess"].values < found["ess_asked"].values
        parts = []
        if apart.any():
            parts.append(f"the chains of {apart.sum()} disagree (R-hat up to {float(found['rhat'].max()):.3f})")
        if few.any():
            parts.append(
                f"{few.sum()} have few effective draws (ESS down to {float(found['ess'].min()):.0f} of "
                f"{chains * draws:,} draws, at least {float(found['ess_asked']):.0f} are needed)"
            )
        if method in LADDERED and (old := found["renewals"].values[wrong] < LEAST_RENEWALS).any():
            parts.append(
                f"all chains of {old.sum()} have become new ones from the bottom of the ladder fewer than "
                f"{LEAST_RENEWALS} times"
            )
        elsewhere = "" if method in LADDERED else ", or take method='pt', whose chains go between modes"
        message = (
            f"{wrong.sum()} of {len(wrong)} rows have not converged: {'; '.join(parts)}. Raise draws and tune, or "
            f"sweeps{elsewhere}. The group convergence of the result has R-hat and ESS of each row."
        )
    warnings.warn(message, stacklevel=4)


def tree_of(
    name: str,
    kept: dict[str, np.ndarray],
    means: np.ndarray,
    held: np.ndarray,
    given: Data,
    of_ladder: dict[str, np.ndarray],
) -> xr.DataTree:
    """Return the groups that the docstring of `inpaint` describes; ``of_ladder`` has figures of ladders by row."""
    (row, unit), coords = given.dims, given.coords
    lead = ("chain", "draw", row)
    dims = {"states": (*lead, unit), "free_energy": lead, "projection": (*lead, f"{name}_direction")}
    posterior = xr.Dataset({name if key == "states" else f"{name}_{key}": (dims[key], x) for key, x in kept.items()})
    posterior = posterior.assign_coords({key: np.arange(posterior.sizes[key]) for key in ("chain", "draw")})
    of_rows = given.row_coords
    groups = {
        "posterior": posterior.assign_coords(coords if "states" in kept else of_rows),
        "mean": xr.Dataset({name: ((row, unit), means), f"{name}_missing": ((row, unit), ~held)}, coords=coords),
        "convergence": _convergence(kept, row, held, of_ladder).assign_coords(of_rows),
    }
    return xr.DataTree.from_dict(groups)


def _convergence(
    kept: dict[str, np.ndarray], row: str, held: np.ndarray, of_ladder: dict[str, np.ndarray]
) -> xr.Dataset:
    """Return R-hat and ESS of each row, the worst over its functionals that are not constant."""
    rows = np.flatnonzero(~held.all(1))
    found = {key: np.full(len(held), np.nan) for key in ("rhat", "rhat_limit", "ess")}
    chains, draws = kept["free_energy"].shape[:2]
    asked = ess_asked(chains, draws)
    for i in rows:
        of_row = convergence({key: x[:, :, i] for key, x in kept.items() if key != "states"}, among=len(rows))
        moving = of_row.dropna("functional", subset=["rhat"])
        if moving.sizes["functional"]:
            limits = np.fmax(RHAT, moving["rhat_by_chance"].values)
            worst = np.argmax(moving["rhat"].values - limits)
            found["rhat"][i], found["rhat_limit"][i] = moving["rhat"].values[worst], limits[worst]
            found["ess"][i] = moving["ess_bulk"].min()
    wrong = (found["rhat"] > found["rhat_limit"]) | (found["ess"] < asked)
    wrong[rows] |= draws < FEW_DRAWS
    if of_ladder:
        wrong[rows] |= of_ladder["renewals"][rows] < LEAST_RENEWALS
    columns = {key: (row, x) for key, x in (found | of_ladder | {"converged": ~wrong}).items()}
    return xr.Dataset(columns | {"ess_asked": ((), asked)})
