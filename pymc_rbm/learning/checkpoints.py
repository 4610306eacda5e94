"""Checkpoints of learning: an image of the file in memory is kept up to date, and replaces the file at once.

The first one is written by xarray, with dimensions that can grow. After that the arrays of the image take their new
values, those of the history their new entries only. HDF5 itself never meets a disk: when one is full it leaves a file
object behind that crashes the process.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from pymc_rbm.support.files import replace, writable

__all__ = ["Checkpoint", "save"]

GROWING = "iteration", "epoch", "draw", "snapshot"
"""The dimensions along which the history grows: entries are added and never change."""
CHUNK_BYTES = 2**14
"""The bytes of a growing variable in one chunk; for each variable the file is larger by at most as much."""


def save(tree: xr.DataTree, path: str | Path) -> None:
    """Write ``tree`` to a netCDF file at once: a crash leaves the old file or the new one, never a part."""
    replace(writable(path, "path"), tree.to_netcdf(engine="h5netcdf"))


class Checkpoint:
    """A file that is written again and again as a tree grows."""

    def __init__(self, path: str | Path):
        self.target = writable(path, "checkpoint")
        self._image: Any = None
        self._shape: dict = {}
        self._attrs: dict[tuple[str, str], Any] = {}

    def write(self, tree: xr.DataTree) -> bool:
        """Replace the file by one with ``tree``; where that fails warn, leave the old file, and return False."""
        try:
            if self._image is None or self._shape != _shape_of(tree):
                self._begin(tree)
            else:
                self._renew(tree)
            replace(self.target, self._bytes())
        except (OSError, MemoryError) as error:
            warnings.warn(
                f"The checkpoint {str(self.target)!r} was not written: {error}. Learning goes on, and tries again at "
                "the next checkpoint; an earlier file, if there is one, stays as it was.",
                stacklevel=2,
            )
            return False
        return True

    def _begin(self, tree: xr.DataTree) -> None:
        import h5py

        groups = {f"/{name}": node.dataset for name, node in tree.children.items()}
        unlimited = {name: {d for d in GROWING if d in x.dims} for name, x in groups.items()}
        encoding: Any = {
            name: {key: {"chunksizes": _chunks(x)} for key, x in group.variables.items() if _growing(x) is not None}
            for name, group in groups.items()
        }
        image = bytes(tree.to_netcdf(engine="h5netcdf", encoding=encoding, unlimited_dims=unlimited))
        self._image = h5py.File(h5py.h5f.open_file_image(image, h5py.h5f.FILE_IMAGE_OPEN_RW))
        self._shape, self._attrs = _shape_of(tree), dict(_attributes(tree))

    def _renew(self, tree: xr.DataTree) -> None:
        """Write what is new in ``tree`` into the image."""
        for name, node in tree.children.items():
            group = self._image[name]
            for dim in set(GROWING) & set(node.dataset.dims):
                if dim not in node.dataset.variables:  # the dataset has no variable, and stands for the dimension alone
                    group[dim].resize((node.dataset.sizes[dim],))
            for key, x in node.dataset.variables.items():
                if x.dtype.kind in "iuf":  # names do not change
                    _put(group[key], x.values, _growing(x))
        for (name, key), value in _attributes(tree):
            if self._attrs[name, key] != value:
                self._image[name].attrs[key] = value if isinstance(value, str) else np.atleast_1d(value)
                self._attrs[name, key] = value

    def _bytes(self) -> bytes:
        self._image.flush()
        return self._image.id.get_file_image()


def _put(dataset: Any, values: np.ndarray, axis: int | None) -> None:
    """Write ``values``; along ``axis`` only what the dataset does not have yet."""
    if axis is None:
        dataset[...] = values
        return
    before = dataset.shape[axis]
    dataset.resize(values.shape)
    new = (slice(None),) * axis + (slice(before, None),)
    if values.shape[axis] > before:
        dataset[new] = values[new]


def _growing(x: xr.Variable) -> int | None:
    """Return the axis along which a variable grows."""
    return next((i for i, d in enumerate(x.dims) if d in GROWING), None)


def _chunks(x: xr.Variable) -> tuple[int, ...]:
    """Return the sizes of the chunks in which HDF5 stores a variable that grows."""
    sizes = [1 if d in GROWING else n for d, n in x.sizes.items()]
    entries = max(1, CHUNK_BYTES // (x.dtype.itemsize * max(1, int(np.prod(sizes)))))
    return tuple(entries if d in GROWING else max(1, n) for d, n in x.sizes.items())


def _shape_of(tree: xr.DataTree) -> dict:
    """Return what must stay the same for an image to be renewed: names, dims, lengths and types."""
    return {
        (name, key): [(d, None if d in GROWING else n) for d, n in x.sizes.items()] + [x.dtype]
        for name, node in tree.children.items()
        for key, x in node.dataset.variables.items()
    } | {key: None for key, _ in _attributes(tree)}


def _attributes(tree: xr.DataTree) -> list[tuple[tuple[str, str], Any]]:
    """Return the attributes that are numbers or texts, by name of group and of attribute."""
    return [((node.path, str(key)), x) for node in tree.subtree for key, x in node.attrs.items() if not np.ndim(x)]
