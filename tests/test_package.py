"""What holds for the package as a whole: direction of imports, data sets, figures, the main job, README."""

import ast
import doctest
import inspect
import re
import subprocess
import sys
import tomllib
from graphlib import CycleError, TopologicalSorter
from importlib import import_module
from importlib.metadata import requires, version
from pathlib import Path

import numpy as np
import pymc as pm
import pytest
import xarray as xr
from packaging.requirements import Requirement

import pymc_rbm as pmr
from pymc_rbm.__main__ import main, parse

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "pymc_rbm"

README = (ROOT / "README.md").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / "docs" / "CONTRIBUTING.md").read_text(encoding="utf-8")
ROOMS = {
    room: set(re.findall(r"`(\w+)`", imported))
    for room, imported in re.findall(r"^\| `(\w+)` \| [^|]+ \|(.*)\|$", CONTRIBUTING, flags=re.M)
}
"""The table of rooms in docs/CONTRIBUTING.md: from which rooms each may import."""
FILES = {path.relative_to(PACKAGE).with_suffix("").as_posix().replace("/", "."): path for path in PACKAGE.rglob("*.py")}
DOORS = {"sampling.sweep", "sampling.conditionals", "partition.exact", "partition.path_graphs", "learning.exact_sums"}
"""All that know the kernels, by one door."""


def imports(name):
    found = set()
    for node in ast.walk(ast.parse(FILES[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}".removeprefix("pymc_rbm.") for alias in node.names]
            found |= {f"pymc_rbm.{x}" for x in names if x in FILES} or {node.module}
    return found


def own(name):
    """The files of the package that a file imports."""
    return {x.removeprefix("pymc_rbm.") for x in imports(name) if x.startswith("pymc_rbm.")}


def test_rooms():
    folders = {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders == set(ROOMS)
    assert {path.name for path in PACKAGE.iterdir() if path.is_file()} <= {
        "__init__.py", "__main__.py", "datasets.py", "py.typed",
    }  # fmt: skip
    for name in FILES:
        room = name.split(".")[0]
        if room in ROOMS:
            rooms = {x.split(".")[0] for x in own(name)} - {room}
            assert rooms <= ROOMS[room], f"{name} imports {rooms - ROOMS[room]}"
            assert "pymc_rbm" not in imports(name)
        if room not in ("kernels", "__init__"):
            assert {x for x in own(name) if x.startswith("kernels")} <= ({"kernels.door"} if name in DOORS else set())


def test_imports_go_in_no_circle():
    with pytest.raises(CycleError):
        TopologicalSorter({"a": {"b"}, "b": {"a"}}).prepare()
    TopologicalSorter({name: own(name) for name in FILES}).prepare()


def test_only_distributions_and_what_follows_import_pymc():
    before = list(ROOMS)[: list(ROOMS).index("distributions")]
    for name in FILES:
        if name.split(".")[0] in [*before, "datasets", "plots"] or name == "learning.schedules":
            assert not [x for x in imports(name) if x.split(".")[0] == "pymc"], name


def test_one_file_knows_the_internals_of_pymc():
    inside = "distributions.pymc_internals"
    assert [x for x in imports(inside) if x.startswith("pymc.")]
    for name in set(FILES) - {inside}:
        assert not [x for x in imports(name) if x.startswith("pymc.")], name
        assert not attributes_of_modules(name), name


def attributes_of_modules(name):
    """Modules of PyMC, ``pm.model`` and the like, whose contents a file reaches from the root."""
    reached = re.findall(r"\bpm\.(\w+)\.\w", FILES[name].read_text(encoding="utf-8"))
    return {x for x in reached if inspect.ismodule(getattr(pm, x, None))} - {"math"}


@pytest.mark.parametrize("moved", ["BlockedStep", "BlockedStep.setup_chain"])
def test_internals_that_moved_are_named(moved):
    code = f"import pymc.step_methods.compound as c; del c.{moved}; import pymc_rbm"
    failed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    last = failed.stderr.strip().splitlines()[-1]
    assert failed.returncode == 1
    assert re.match(rf"ImportError: pymc_rbm needs parts of PyMC that PyMC {version('pymc')} does not have", last)
    assert moved.split(".")[-1] in last and "pip install 'pymc>=6.3,<6.5'" in last


def loaded_by(code):
    """Names of the top-level packages, and of scipy's subpackages, that a fresh process loads for ``code``."""
    code += "; import sys; print(*{'.'.join(m.split('.')[: 1 + m.startswith('scipy.')]) for m in sys.modules})"
    return set(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split())


def test_importing_is_light():
    """What takes long to import is imported where it is used; what PyMC itself loads does not count."""
    heavy = {"arviz", "arviz_base", "arviz_plots", "arviz_stats", "h5netcdf", "jax", "matplotlib", "numba", "sklearn"}
    heavy |= {"scipy.optimize", "scipy.special", "scipy.stats"}
    assert not heavy & (loaded_by("import pymc_rbm") - loaded_by("import pymc"))
    assert "arviz" in loaded_by("import pymc_rbm, arviz")


def test_helpers_import_no_test():
    for path in (ROOT / "tests" / "helpers").glob("*.py"):
        assert not re.search(r"^\s*(from|import) (test_|conftest)", path.read_text(encoding="utf-8"), re.M), path.name


def test_every_pymc_that_passes_is_taken_and_the_next_major_is_not():
    [pymc] = [r for r in map(Requirement, requires("pymc-rbm")) if r.name == "pymc"]
    assert version("pymc") in pymc.specifier
    assert "6.3.0" in pymc.specifier  # pymc-extras wants one below 6.4
    assert "6.2.9" not in pymc.specifier
    assert "7.0.0" not in pymc.specifier
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["requires-python"] == ">=3.12"
    assert pmr.__version__ == project["version"]


def test_public_names_are_documented():
    for name in pmr.__all__:
        assert len((getattr(pmr, name).__doc__ or "").strip()) > 20, name


# ------------------------------------------------------------------------------------------------------ data


def test_digits():
    data = pmr.datasets.digits()
    assert data.shape == (1797, 64)
    assert data.dims == ("image", "pixel")
    assert data.dtype == np.int8
    assert set(np.unique(data)) == {0, 1}
    assert set(np.unique(data.label)) == set(range(10))
    assert data.attrs["shape"] == (8, 8)


@pytest.mark.parametrize(("n", "bound"), [(2, -1.79176), (3, -2.63906), (4, -3.40120), (5, -4.12713)])
def test_bars_and_stripes(n, bound):
    """The bound on the mean log-likelihood is minus the entropy of the data."""

    def entropy(rows):
        _, counts = np.unique(rows, axis=0, return_counts=True)
        return -(counts / counts.sum() * np.log(counts / counts.sum())).sum()

    data = pmr.datasets.bars_and_stripes(n)
    assert len(data) == 2 * 2**n - 2
    assert -entropy(data.values) == pytest.approx(bound, abs=5e-6)
    doubled = pmr.datasets.bars_and_stripes(n, duplicates=True)
    assert len(doubled) == 2 * 2**n
    for picture in data.values.reshape(-1, n, n):
        assert (picture == picture[:1]).all() or (picture == picture[:, :1]).all()


def test_files(tmp_path):
    rows = (np.random.default_rng(1).random((7, 9)) < 0.5).astype(int)
    np.savez(tmp_path / "plain.npz", rows, label=np.arange(7))
    np.savez(tmp_path / "packed.npz", train_bits=np.packbits(rows.astype(bool), axis=1), d=9)
    for name in ("plain", "packed"):
        np.testing.assert_array_equal(pmr.datasets.from_npz(tmp_path / f"{name}.npz"), rows)
    np.savez(tmp_path / "two.npz", a=rows, b=rows)
    with pytest.raises(ValueError, match=r"two\.npz has the arrays.*'a': \(7, 9\)"):
        pmr.datasets.from_npz(tmp_path / "two.npz")
    np.savez(tmp_path / "grey.npz", data=rows * 7)
    with pytest.raises(ValueError, match=r"grey\.npz must contain only 0 and 1"):
        pmr.datasets.from_npz(tmp_path / "grey.npz")


def test_files_of_the_reference_folder(shared_data):
    assert pmr.datasets.from_npz(shared_data / "mnist_bin127.npz").shape == (60_000, 784)
    assert pmr.datasets.from_npz(shared_data / "nade_dna.npz").shape[0] == 1400


# -------------------------------------------------------------------------------------------------- main job


@pytest.mark.slow
def test_main_job(tmp_path, capfd):
    main(["--out", str(tmp_path), "--epochs", "20", "--hidden", "12", "--seed", "2"])
    shown = capfd.readouterr().out
    for words in (
        "test log-likelihood per row",
        "same for independent",
        "R-hat",
        "ESS",
        "sweeps per second",
        "seconds",
        "did learning finish?",
        "may not have",
        "Raise --epochs.",
    ):
        assert words in shown
    written = {path.name for path in tmp_path.iterdir()}
    assert written == {
        "learned.nc",
        "filters.png",
        "fantasies.png",
        "free_energy.png",
        "learning.png",
        "projections.png",
    }
    with xr.open_datatree(tmp_path / "learned.nc") as learned:
        assert learned["parameters"]["W"].shape == (64, 12)


@pytest.mark.slow
def test_main_job_on_a_file(tmp_path, capfd):
    np.savez(tmp_path / "data.npz", np.repeat(pmr.datasets.bars_and_stripes(3).values, 4, 0))
    main(["--data", str(tmp_path / "data.npz"), "--out", str(tmp_path / "out"), "--epochs", "5", "--hidden", "3"])
    assert "exact log Z" in capfd.readouterr().out


def test_command_line(capsys):
    assert parse([]).hidden == 64
    for bad in (["--hidden", "0"], ["--epochs", "1.5"], ["--what"], ["--data", "no such file.npz"]):
        with pytest.raises(SystemExit):
            parse(bad)
    with pytest.raises(SystemExit):
        parse(["--help"])
    shown = capsys.readouterr().out
    for option in ("--out", "--hidden", "--epochs", "--seed", "--data"):
        assert option in shown


# ---------------------------------------------------------------------------------------------------- README


# ArviZ divides zero by zero for pixels that are never on; PyMC calls it on all units after sampling.
@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning:arviz_stats")
def test_readme_blocks_run(tmp_path, monkeypatch):
    """Every python block of README, in order, in one namespace."""
    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.S)
    assert blocks
    monkeypatch.chdir(tmp_path)
    namespace = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), namespace)


def test_nothing_names_this_machine():
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if files.returncode:
        pytest.skip("not a git checkout")
    for name in files.stdout.split():
        if name.endswith((".png", ".ipynb", ".xz")):
            continue
        text = (ROOT / name).read_text(encoding="utf-8")
        assert str(Path.home()) + "/" not in text, name
        assert str(ROOT.parent) + "/" not in text, name


@pytest.mark.slow
def test_examples_in_docstrings_run():
    found = [doctest.testmod(import_module(f"pymc_rbm.{name}")) for name in FILES if ">>>" in FILES[name].read_text()]
    assert sum(x.attempted for x in found) >= 200
    assert not sum(x.failed for x in found)
