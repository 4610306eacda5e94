"""A deep belief network is a stack of restricted machines, whose numbers are all in a DataTree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, Self

import numpy as np
import xarray as xr

from pymc_rbm.deep.passes import check_stack, transposed
from pymc_rbm.machine.door import Data, data_of, whole
from pymc_rbm.machine.machine import VISIBLE, Machine
from pymc_rbm.machine.records import recorded, recorded_machine, recorded_names
from pymc_rbm.machine.validation import check_pair, normalisable_machine
from pymc_rbm.support.arguments import listed, shown, whole_number
from pymc_rbm.support.labels import Labels, positions, without_made_up

__all__ = ["Stack"]


class Stack:
    """Stack of machines from the bottom up, with the names of their layers, read from a DataTree."""

    def __init__(self, learned: xr.DataTree):
        if not isinstance(learned, xr.DataTree):
            raise TypeError(
                f"A network is made of the DataTree that pymc_rbm.fit_deep returned, got {shown(learned)}. Stack "
                "machines by pymc_rbm.DeepBeliefNetwork.of; read a file with xarray.open_datatree(path).load()."
            )
        keys = [f"layer_{i}" for i in range(1, len(learned.children) + 1)]
        if not keys or set(keys) != set(learned.children):
            raise ValueError(
                "Expected a DataTree with the children layer_1, layer_2, … from pymc_rbm.fit_deep, got one with "
                f"{list(learned.children)}. Pass network.learned, or stack machines by pymc_rbm.DeepBeliefNetwork.of."
            )
        self.learned = learned
        self.layers = layers = tuple(learned.children[key] for key in keys)
        self.machines = tuple(normalisable_machine(recorded_machine(layer)) for layer in layers)
        check_stack(self.machines)
        self.names = tuple(recorded_names(layer)[0] for layer in layers)
        weights = [layer["machines"][f"{name}_weights"] for layer, name in zip(layers, self.names, strict=True)]
        self.dims = (*(str(W.dims[0]) for W in weights), str(weights[-1].dims[1]))
        _check_names(weights)
        self.labels = [W.coords[W.dims[0]].values for W in weights] + [weights[-1].coords[weights[-1].dims[1]].values]
        for what, given in (("names", self.names), ("dims", self.dims)):
            if len(set(given)) < len(given):
                raise ValueError(f"The layers of a network need different {what}, got {given}. Rename them.")

    @classmethod
    def of(cls, *layers: Machine | xr.DataTree, names: Sequence[str] | None = None) -> Self:
        """Stack machines, from the bottom up.

        Parameters
        ----------
        *layers : Machine or DataTree
            Machines with numbers for parameters, or what `fit` returned of models with one RBM each.
        names : sequence of str, optional
            For layers that are machines: names of the variables, the visible one first. Default: v, h1, h2, …
        """
        if not layers:
            raise ValueError("A deep belief network needs at least one machine, got none: pass some.")
        if names is None:
            names = ["v", *(f"h{i}" for i in range(1, len(layers)))]
        names = listed("names", names, "a list of texts, one a machine, as in ['v', 'h1']")
        if not all(isinstance(x, str) for x in names):
            raise TypeError(f"names must be texts, got {names}: give one a machine, as in ['v', 'h1'].")
        if len(set(names)) != len(layers):
            raise ValueError(f"{len(layers)} machines need as many different names, got {names}.")
        made_up = [f"{name}_unit" for name in names] + [f"h{len(layers)}_unit"]
        known = [(x.labels if isinstance(x, Machine) else None) or Labels() for x in layers]
        own = [known[0].visible, *(a.hidden or b.visible for a, b in zip(known, [*known[1:], Labels()], strict=True))]
        dims = [a or b for a, b in zip(own, made_up, strict=True)]
        dims = dims if len(set(dims)) == len(dims) else made_up
        trees = {}
        for i, layer in enumerate(layers):
            if not isinstance(layer, xr.DataTree | Machine):
                raise TypeError(
                    f"A layer must be a Machine or what pymc_rbm.fit returned, got {type(layer).__name__}. Make a "
                    "machine of arrays by pymc_rbm.restricted(W, b, c)."
                )
            if not isinstance(layer, xr.DataTree):
                sides = zip(dims[i : i + 2], (known[i].visible, known[i].hidden), strict=True)
                coords = {dim: known[i].coords[x] for dim, x in sides if x in known[i].coords}
                layer = _recorded(names[i], normalisable_machine(check_pair(layer)), (dims[i], dims[i + 1]), coords)
            trees[f"layer_{i + 1}"] = layer.copy()
        return cls(xr.DataTree(children=trees))

    def __len__(self) -> int:
        """Return the number of machines."""
        return len(self.machines)

    def __repr__(self) -> str:
        sizes = [len(self.machines[0].layers[0].bias), *(len(machine.layers[1].bias) for machine in self.machines)]
        return f"<DeepBeliefNetwork {'-'.join(map(str, sizes))}: {', '.join(self.names)}>"

    def first(self, n: int) -> Self:
        """Return the network of the lowest ``n`` machines, without those on top of them."""
        if whole_number("n", n) > len(self):
            raise ValueError(f"n must be at most {len(self)}, the number of machines, got {n}.")
        return type(self).of(*self.layers[:n])

    def tied(self) -> Self:
        """Return the network with one more machine, the top one upside down, which has the same distribution of v.

        Learning of a further layer can start there, and its exact likelihood gradient can then only raise the bound
        (Hinton, Osindero & Teh 2006).
        """
        n = len(self)
        top = _recorded(f"h{n}", transposed(self.machines[-1]), (self.dims[-1], f"h{n + 1}_unit"))
        return type(self).of(*self.layers, top)

    def _checked_layer(self, layer: int | None) -> int:
        if layer is not None and whole_number("layer", layer) > len(self):
            raise ValueError(f"layer must be at most {len(self)}, the number of machines, got {layer}.")
        return layer or len(self)

    @property
    def visible_labels(self) -> Labels:
        """The name, dims and coords of the visible units."""
        return without_made_up(Labels(self.names[0], self.dims[0], self.dims[1], {self.dims[0]: self.labels[0]}))

    def _states(self, data: Any, name: str = "data", ndim: int | None = None) -> Data:
        """Return the data as (masked) states of the visible units; ValueError where they do not fit."""
        return data_of(data, self.machines[0].layers[VISIBLE], self.visible_labels, name, ndim=ndim)

    def _means(self, data: Any) -> Data:
        """Return the data as states or means of the visible units; ValueError where they do not fit."""
        found = data_of(data, self.machines[0].layers[VISIBLE], self.visible_labels, ndim=None, states=False)
        return replace(found, values=whole(found, remedy="DeepBeliefNetwork.inpaint draws them.").astype("float64"))

    def _array(self, data: Data, values: np.ndarray, layer: int) -> xr.DataArray:
        """Return ``values`` of the units of a layer with the dims and coords of the rows of ``data``."""
        return data.by_row(values, {self.dims[layer]: self.labels[layer]})


def _recorded(name: str, machine: Machine, dims: tuple[str, str], coords: Any = None) -> xr.DataTree:
    """Return a layer's tree, with the group ``machines`` only."""
    return xr.DataTree.from_dict({"machines": recorded({name: machine}, {name: dims}, coords)})


def _check_names(weights: Sequence[Any]) -> None:
    """Refuse machines whose visible units have other names, or another order, than the hidden units below."""
    for i, (below, above) in enumerate(pairwise(weights), start=1):
        a, b = below.coords[below.dims[1]].values, above.coords[above.dims[0]].values
        if positions(b, a, f"the visible units of machine {i + 1}", f"the hidden units of machine {i}") is not None:
            raise ValueError(
                f"The visible units of machine {i + 1}, {b.tolist()}, are in another order than the hidden units of "
                f"machine {i}, {a.tolist()}. Put its parameters in that order, as in W.sel({above.dims[0]}=…)."
            )
