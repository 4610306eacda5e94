"""Make or load data to learn from: scikit-learn's handwritten digits, bars and stripes, and files."""

from __future__ import annotations

import zipfile
from itertools import product
from pathlib import Path

import numpy as np
import xarray as xr

from pymc_rbm.support.arguments import shown, whole_number
from pymc_rbm.units.binary import Bernoulli
from pymc_rbm.units.states import unit_data

__all__ = ["bars_and_stripes", "digits", "from_npz"]


def digits() -> xr.DataArray:
    """Return scikit-learn's 1,797 handwritten digits, 8x8, binarised at half of the maximum.

    Returns
    -------
    DataArray, dims ("image", "pixel"), int8
        1 where the grey value exceeds 8 of 16. The coordinate ``label`` is the digit; ``attrs["shape"]`` is (8, 8).

    Examples
    --------
    >>> import pymc_rbm as pmr
    >>> digits = pmr.datasets.digits()
    >>> digits.shape, digits.dims, digits.attrs["shape"]
    ((1797, 64), ('image', 'pixel'), (8, 8))
    """
    from sklearn.datasets import load_digits

    source = load_digits()
    binary = (source.data > source.data.max() / 2).astype("int8")
    return _images(binary, (8, 8), source.target)


def bars_and_stripes(n: int = 3, *, duplicates: bool = False) -> xr.DataArray:
    """Return every n x n picture whose rows are uniform (stripes) or whose columns are (bars).

    Parameters
    ----------
    n : int, default 3
    duplicates : bool, default False
        Whether the empty and the full picture, which are both bars and stripes, are there twice: 2·2ⁿ pictures instead
        of 2·2ⁿ - 2. MacKay (2003), section 43, has them twice; much of the literature has them once.

    Returns
    -------
    DataArray, dims ("image", "pixel"), int8
        ``attrs["shape"]`` is (n, n).

    Examples
    --------
    >>> import pymc_rbm as pmr
    >>> pmr.datasets.bars_and_stripes(3).shape, pmr.datasets.bars_and_stripes(3, duplicates=True).shape
    ((14, 9), (16, 9))
    """
    n = whole_number("n", n, 2)
    lines = np.array(list(product([0, 1], repeat=n)), dtype="int8")
    stripes = np.repeat(lines, n, axis=1)
    bars = np.tile(lines, n)
    if not duplicates:
        bars = bars[1:-1]
    return _images(np.concatenate([stripes, bars]), (n, n))


def from_npz(path: str | Path) -> xr.DataArray:
    """Return the binary data in an ``.npz`` file.

    Parameters
    ----------
    path : path-like
        The file holds one two-dimensional array of zeros and ones, or one called ``data``, ``x`` or ``train``; or
        packed bits ``train_bits`` (``numpy.packbits`` along rows) with the number of columns ``d``.

    Returns
    -------
    DataArray, dims ("image", "pixel"), int8
        ``attrs["shape"]`` is set where the number of columns is a square.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not an .npz file, has no such array, or is not binary; the message lists what is there.

    Examples
    --------
    >>> import numpy as np, pymc_rbm as pmr
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     np.savez(Path(folder) / "rows.npz", np.eye(4, dtype=int))
    ...     rows = pmr.datasets.from_npz(Path(folder) / "rows.npz")
    >>> rows.shape, rows.attrs["shape"]
    ((4, 4), (2, 2))
    """
    if not isinstance(path, str | Path):
        raise TypeError(f"path must be a text or a Path, got {shown(path)}.")
    if not Path(path).is_file():
        raise FileNotFoundError(
            f"There is no file {path}. Check the name and the folder, {Path(path).parent.resolve()}."
        )
    if not zipfile.is_zipfile(path):
        raise ValueError(
            f"{path} is not an .npz file, as numpy.savez writes it. Make one: of a table of text by "
            "np.savez('data.npz', data=np.loadtxt('data.csv', delimiter=',')), of an array by np.savez('data.npz', "
            "data=array)."
        )
    rows = unit_data(_rows_of(path), Bernoulli(), name=f"The array in {path}")
    side = round(rows.shape[1] ** 0.5)
    return _images(rows, (side, side) if side**2 == rows.shape[1] else None)


def _rows_of(path: str | Path) -> np.ndarray:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (EOFError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{path} cannot be read: {error} Expected arrays of numbers, as numpy.savez writes them; arrays of Python "
            "objects are not read, because reading them may run any code."
        ) from error
    if "train_bits" in arrays and "d" in arrays:
        return np.unpackbits(arrays["train_bits"], axis=1)[:, : int(arrays["d"])]
    tables = [name for name, x in arrays.items() if x.ndim == 2]
    names = [name for name in ("data", "x", "train") if name in tables] or tables
    if len(names) != 1 and not {"data", "x", "train"} & set(names):
        contents = {name: x.shape for name, x in arrays.items()}
        raise ValueError(
            f"{path} has the arrays {contents}; expected one two-dimensional array, or several of "
            "which one is called 'data'. Write it anew by np.savez('data.npz', data=array)."
        )
    return arrays[names[0]]


def _images(rows: np.ndarray, shape: tuple[int, int] | None, labels: np.ndarray | None = None) -> xr.DataArray:
    coords = {"image": np.arange(len(rows)), "pixel": np.arange(rows.shape[1])}
    images = xr.DataArray(rows.astype("int8"), dims=("image", "pixel"), coords=coords)
    if shape is not None:
        images.attrs["shape"] = shape
    return images if labels is None else images.assign_coords(label=("image", labels))
