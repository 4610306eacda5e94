"""Read the values of a model's parameters from what `fit` returned, a dict of them, or a posterior over them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import singledispatch, wraps
from inspect import signature
from typing import Any, cast

import numpy as np
import xarray as xr

from pymc_rbm.machine.machine import Machine
from pymc_rbm.support.arguments import generator

__all__ = ["by_draw", "check_values", "draw_by_draw", "is_given", "machines_of_draws", "posterior_of", "values_of"]


def is_given(x: Any) -> bool:
    """Whether ``x`` may hold values of parameters, which `values_of` returns or refuses with a remedy."""
    return isinstance(x, xr.DataTree | Mapping) or hasattr(x, "posterior")


def values_of(learned: Any) -> Mapping[Any, Any]:
    """Return values of variables by name, from what `fit` returned or a dict such as ``pm.find_MAP`` returns.

    Raises
    ------
    ValueError
        If ``learned`` is a posterior of several draws, or anything else.
    """
    if learned is None:
        return {}
    posterior = posterior_of(learned)
    if posterior is not None and posterior.sizes["chain"] == posterior.sizes["draw"] == 1:
        return posterior.isel(chain=0, draw=0)
    if posterior is not None:
        raise ValueError(
            "This is a posterior over the parameters, and one value of each is needed. Formulas and likelihoods (such "
            "as hidden_mean, log_likelihood, classify) and diagnose take all draws; for anything else take one draw: "
            "learned=idata['posterior'].dataset.isel(chain=0, draw=0)."
        )
    if isinstance(learned, xr.DataTree):
        found: Any = learned["parameters"].dataset if "parameters" in learned else learned.dataset
        if "parameters" not in learned and not found.data_vars:
            raise ValueError(
                "Expected what pymc_rbm.fit returned, got a DataTree with the groups "
                f"{sorted(map(str, learned.children))}. Pass the whole result of fit."
            )
        return found
    check_values(learned)
    return learned


def check_values(learned: Any) -> None:
    """Refuse what has no values by name."""
    if not isinstance(learned, Mapping):
        raise ValueError(
            "`learned` must be what pymc_rbm.fit returned, or a dict of values by name, such as pm.find_MAP returns; "
            f"got {type(learned).__name__}."
        )


def posterior_of(learned: Any) -> xr.Dataset | None:
    """Return the posterior in ``learned``, if ``pm.sample`` returned it; None for what `fit` returned."""
    if isinstance(learned, xr.DataTree):
        if "parameters" in learned or "machines" in learned:
            return None
        learned = learned["posterior"].dataset if "posterior" in learned else learned.dataset
    learned = getattr(learned, "posterior", learned) if not isinstance(learned, Mapping) else learned
    is_posterior = isinstance(learned, xr.Dataset) and {"chain", "draw"} <= set(learned.dims)
    return learned if is_posterior else None


@singledispatch
def machines_of_draws(target: Any, posterior: xr.Dataset) -> Iterator[Machine]:
    """Yield the machine that ``target`` stands for under each draw, chain by chain."""
    raise TypeError(
        f"A posterior over parameters needs an RBM variable or a PyMC model with one as target, got "
        f"{type(target).__name__}."
    )


def by_draw(evaluate: Callable[[Machine], Any], target: Any, posterior: xr.Dataset) -> Any:
    """Return ``evaluate`` of the machine of each draw, dims (chain, draw, …), as a DataArray or a Dataset of them."""
    results = [evaluate(machine) for machine in machines_of_draws(target, posterior)]
    if isinstance(results[0], xr.Dataset):
        return xr.Dataset({key: _stacked([x[key] for x in results], posterior) for key in results[0]})
    return _stacked(results, posterior)


def draw_by_draw[F: Callable[..., Any]](function: F) -> F:
    """Let a function of data, target, learned, … take a posterior as ``learned``: it is called with each machine.

    A seed makes one generator, with which the call for each draw goes on where the one before has ended.
    """

    @wraps(function)
    def called(*arguments: Any, **named: Any) -> Any:
        posterior = posterior_of(arguments[2] if len(arguments) > 2 else named.get("learned"))
        if posterior is None:
            return function(*arguments, **named)
        given = signature(function).bind(*arguments, **named).arguments
        target, _ = given.pop("target", None), given.pop("learned")
        if "random_seed" in given:
            given["random_seed"] = generator(given["random_seed"])
        return by_draw(lambda machine: function(**given, target=machine), target, posterior)

    return cast(F, called)


def _stacked(results: list[Any], posterior: xr.Dataset) -> xr.DataArray:
    found, size = np.array([np.asarray(x) for x in results]), (posterior.sizes["chain"], posterior.sizes["draw"])
    coords = {str(x): posterior[x] for x in ("chain", "draw") if x in posterior.coords}
    coords |= getattr(results[0], "coords", {})
    dims = getattr(results[0], "dims", tuple(f"dim_{i}" for i in range(found.ndim - 1)))
    values, name = found.reshape(*size, *found.shape[1:]), getattr(results[0], "name", None)
    return xr.DataArray(values, dims=("chain", "draw", *dims), coords=coords, name=name)
