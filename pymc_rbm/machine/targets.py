"""What stands for a machine: models, variables and results; and what they call its units."""

from __future__ import annotations

from functools import singledispatch
from typing import Any

from pymc_rbm.machine.given import is_given
from pymc_rbm.machine.machine import Machine
from pymc_rbm.machine.parameters import check_numbers
from pymc_rbm.support.labels import Labels

__all__ = ["Labels", "check_alone", "labels_of", "machine_of"]


@singledispatch
def machine_of(target: Any, learned: Any = None) -> Machine:
    """Return the machine, with numbers for parameters, that ``target`` stands for.

    Parameters
    ----------
    target : Machine, RBM variable or PyMC model
        A model must contain exactly one machine. Whatever else the package can resolve registers here.
    learned : DataTree or dict, optional
        What `fit` returned, or values by name (`given.values_of`); needed where the parameters of ``target`` are random
        variables.
    """
    hint = " Values of parameters go with the model they are of: target=model, learned=values." * is_given(target)
    raise TypeError(f"Expected a Machine, an RBM variable or a PyMC model with one, got {type(target).__name__}.{hint}")


@machine_of.register
def _(target: Machine, learned: Any = None) -> Machine:
    check_numbers(target)
    return target


@singledispatch
def check_alone(target: Any, what: str) -> None:
    """Refuse a PyMC model in which more depends on free units than hidden ones: ``what`` would not account for it."""


@singledispatch
def labels_of(target: Any, learned: Any = None) -> Labels:
    """Return what ``target`` calls the units of its machine. Arguments as in `machine_of`, which has been asked."""
    return Labels()


@labels_of.register
def _(target: Machine, learned: Any = None) -> Labels:
    return target.labels or Labels()
