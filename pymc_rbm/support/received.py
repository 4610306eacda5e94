"""What users pass as data (arrays, lists, DataArrays, data frames, sparse matrices) becomes numbers and names.

Frames (of pandas, or whatever has ``columns`` and ``to_numpy``) and DataArrays have no mask: their NaN, None and NA are
missing entries. Masked arrays have one. In plain arrays NaN is an accident more often than not, and stays NaN.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import xarray as xr

from pymc_rbm.support.labels import counts_only

__all__ = ["Received", "marked", "name_of", "receive"]

MISSING = "NoneType", "NAType", "NaTType"


@dataclass(frozen=True)
class Received:
    """Numbers, masked where entries are missing, and the names that were given with them."""

    values: np.ndarray
    dims: tuple[str, ...] | None = None
    """The names of all axes; an empty string where an axis of a frame has no name."""
    coords: dict[str, Any] = field(default_factory=dict)
    """All coords of a DataArray."""
    labels: tuple[np.ndarray | None, ...] = ()
    """The labels by axis, None where an axis has none; empty where the data have no names at all."""
    categories: dict[int, list[Any]] = field(default_factory=dict)
    """The texts that a frame's codes stand for, by column."""

    @property
    def named(self) -> bool:
        """Whether the data came with names of axes."""
        return self.dims is not None

    def transposed(self, axes: tuple[int, ...]) -> Received:
        """Return the same data with their axes in another order."""
        dims = None if self.dims is None else tuple(self.dims[i] for i in axes)
        return replace(self, values=self.values.transpose(axes), dims=dims, labels=tuple(self.labels[i] for i in axes))

    def taken(self, order: np.ndarray, axis: int) -> Received:
        """Return the same with the entries of an axis in another order."""
        labels = list(self.labels)
        if labels:
            named = labels[axis]
            labels[axis] = None if named is None else named[order]
        dim = self.dims[axis] if self.dims else ""
        coords = {key: x.isel({dim: order}) if dim in x.dims else x for key, x in self.coords.items()}
        texts = self.categories
        if texts and axis % self.values.ndim == self.values.ndim - 1:
            texts = {i: texts[j] for i, j in enumerate(order.tolist()) if j in texts}
        return replace(
            self, values=self.values.take(order, axis), labels=tuple(labels), coords=coords, categories=texts
        )


def receive(data: Any, name: str = "data") -> Received:
    """Return ``data`` as numbers and names.

    Raises
    ------
    ValueError
        If they are not numbers.
    """
    if isinstance(data, Received):
        return data
    if isinstance(data, xr.DataArray):
        values = marked(_numbers(data.values, name))
        labels = tuple(data.coords[d].values if d in data.coords else None for d in data.dims)
        return Received(values, tuple(map(str, data.dims)), {str(k): x for k, x in data.coords.items()}, labels)
    if type(data).__name__ == "LazyFrame":
        raise ValueError(f"{name} must be rows of numbers, got a LazyFrame, which has none yet. Pass {name}.collect().")
    if hasattr(data, "columns") and hasattr(data, "to_numpy"):
        return _of_frame(data, name)
    if hasattr(data, "index") and hasattr(data, "to_numpy"):
        values, categories = _column(data, name)
        if categories is not None:
            raise ValueError(
                f"{name} must be a row of numbers, got a column of texts, {categories[:3]}…. Pass numbers."
            )
        return Received(marked(values), ("",), {}, (_labels(data.index),))
    if hasattr(data, "toarray"):
        return Received(_from_sparse(data))
    if isinstance(data, xr.Dataset | xr.DataTree):
        raise ValueError(
            f"{name} must be rows of numbers, got a {type(data).__name__} of several variables. Pass one, as in "
            f"{name}['variable']."
        )
    if np.ma.isMaskedArray(data):
        return Received(_numbers(data, name))
    try:
        return Received(_numbers(np.asanyarray(data.to_numpy() if hasattr(data, "to_numpy") else data), name))
    except ValueError as error:
        if "inhomogeneous" not in str(error):
            raise
        raise ValueError(
            f"{name} must be rows of the same length, got rows of different lengths. Pad and mask them."
        ) from None


def name_of(data: Any) -> str | None:
    """Return the name of the data, as a DataArray may have one, or None (a frame's ``.name`` may be a column)."""
    name = getattr(data, "name", None)
    return name if isinstance(name, str) and name else None


def _from_sparse(x: Any) -> np.ndarray:
    """Return a sparse matrix as an array; binary values become int8, so that no larger array is made on the way."""
    is_binary = x.dtype.kind in "biuf" and ((x.data == 0) | (x.data == 1)).all()
    return np.asarray((x.astype("int8") if is_binary else x).toarray())


def _numbers(values: np.ndarray, name: str) -> np.ndarray:
    """Return the values as booleans, integers or floats; None and NA among objects become masked."""
    if values.dtype.kind in "biuf":
        return values
    if values.dtype.kind == "O":
        missing = np.vectorize(_is_missing, otypes=[bool])(np.ma.getdata(values)) if values.size else np.zeros(0, bool)
        missing = missing.reshape(values.shape) | np.ma.getmaskarray(values)
        texts = np.vectorize(lambda x: isinstance(x, str | bytes), otypes=[bool])
        try:
            if values.size and texts(np.ma.getdata(values)).any():
                raise TypeError
            found = np.where(missing, 0.0, np.ma.getdata(values)).astype("float64")
        except (TypeError, ValueError):
            pass
        else:
            return np.ma.MaskedArray(found, missing) if missing.any() else found
    some = ", ".join(repr(x) for x in np.ravel(np.ma.getdata(values))[:3].tolist())
    raise ValueError(
        f"{name} must be numbers, got an array of dtype {values.dtype} (such as {some}). Two texts become 0 and 1 "
        "by (x == 'yes').astype(int), more become numbers by np.unique(x, return_inverse=True)[1] or, as columns of a "
        "data frame, for pymc_rbm.Categorical units, by astype('category')."
    )


def _is_missing(x: Any) -> bool:
    return type(x).__name__ in MISSING or (isinstance(x, float | np.floating) and bool(np.isnan(x)))


def marked(values: np.ndarray) -> np.ndarray:
    """Return the values with every NaN masked."""
    if values.dtype.kind != "f":
        return values
    missing = np.isnan(np.ma.getdata(values)) | np.ma.getmaskarray(values)
    return np.ma.MaskedArray(np.where(missing, 0, np.ma.getdata(values)), missing) if missing.any() else values


def _labels(index: Any) -> np.ndarray | None:
    """Return the labels of a frame's axis; None where they only count, or have several levels."""
    labels = np.asarray(index)
    return None if labels.ndim != 1 or getattr(index, "nlevels", 1) > 1 or counts_only(labels) else labels


def _of_frame(data: Any, name: str) -> Received:
    """Return a data frame as numbers and names: rows by its index, units by its columns."""
    dims = tuple(str(getattr(getattr(data, axis, None), "name", None) or "") for axis in ("index", "columns"))
    labels = _labels(data.index) if hasattr(data, "index") else None, _labels(data.columns)
    kinds = {getattr(dtype, "kind", "O") if isinstance(dtype, np.dtype) else "O" for dtype in data.dtypes}
    texts_of_polars = not hasattr(data, "iloc") and any(map(_is_category, data.dtypes))
    if (kinds <= set("biuf") and len(kinds) == 1) or not (hasattr(data, "iloc") or texts_of_polars):
        return Received(marked(_numbers(np.asarray(data.to_numpy()), name)), dims, {}, labels)
    columns, categories = [], {}
    for i, column in enumerate(data.columns):
        own = data[column] if texts_of_polars else data.iloc[:, i]
        values, texts = _column(own, f"column {column!r} of {name}")
        columns.append(marked(values))
        if texts is not None:
            categories[i] = texts
    if not columns:
        return Received(np.zeros(data.shape), dims, {}, labels)
    return Received(np.ma.column_stack(columns) if any(map(np.ma.is_masked, columns)) else np.column_stack(columns),
                    dims, {}, labels, categories)  # fmt: skip


def _column(x: Any, name: str) -> tuple[np.ndarray, list[Any] | None]:
    """Return a column as numbers; where texts are categories, their codes and the texts."""
    if isinstance(x.dtype, np.dtype):
        return _numbers(np.asarray(x.to_numpy()), name), None
    if _is_category(x.dtype) and hasattr(x, "to_list"):
        return _category_of_polars(x)
    if not hasattr(x, "iloc"):
        return _numbers(np.asarray(x.to_numpy()), name), None
    if hasattr(x, "cat"):
        codes, texts = np.asarray(x.cat.codes), np.asarray(x.cat.categories)
        if texts.dtype.kind in "biuf":
            return np.ma.MaskedArray(texts[np.maximum(codes, 0)], codes < 0) if len(texts) else codes, None
        return np.ma.MaskedArray(np.maximum(codes, 0), codes < 0), texts.tolist()
    return _numbers(np.asarray(x.to_numpy(dtype=object)), name), None


def _is_category(dtype: Any) -> bool:
    """Whether a type of polars has texts that are categories; pandas' own has another name."""
    return str(dtype).startswith(("Categorical", "Enum"))


def _category_of_polars(x: Any) -> tuple[np.ndarray, list[Any]]:
    """Return the codes of a column of polars, and the texts: an Enum's in its order, a Categorical's sorted."""
    entries = x.to_list()
    known = getattr(x.dtype, "categories", None) if str(x.dtype).startswith("Enum") else None
    texts = sorted({t for t in entries if t is not None}) if known is None else list(known)
    place = {t: i for i, t in enumerate(texts)}
    codes = np.array([0 if t is None else place[t] for t in entries])
    return np.ma.MaskedArray(codes, [t is None for t in entries]), texts
