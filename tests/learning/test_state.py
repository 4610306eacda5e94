"""What learning keeps and how it goes on: early ends, resuming, checkpoints and other files, files from strangers."""

import ast
import lzma
import os
import shutil
import signal
import subprocess
from pathlib import Path

import numpy as np
import pymc as pm
import pytensor
import pytest
import xarray as xr
from models import model_of

import pymc_rbm as pmr
from pymc_rbm.learning.checkpoints import Checkpoint
from pymc_rbm.learning.staying import shortened
from pymc_rbm.machine.normalisable import certain_precision, smallest_eigenvalue
from pymc_rbm.support.files import replace, writable
from pymc_rbm.support.generators import generator_of

pytestmark = pytest.mark.interpreted

PACKAGE = Path(pmr.__file__).parent
DATA = pmr.datasets.bars_and_stripes(2)
OPTIONS = {"method": "pcd", "chains": 3, "batch_size": 2, "sweeps": 1, "learning_rate": 0.1, "progressbar": False}
DIVERGES = pytest.mark.filterwarnings("ignore::RuntimeWarning:pytensor|numpy|pymc_rbm")


def fitted(epochs, data=DATA, scale=1.0, units=None, **kwargs):
    with model_of(data, 3, scale, **(units or {})):
        return pmr.fit(epochs, **{**OPTIONS, "random_seed": 1, **kwargs})


def assert_same(one, other, but=()):
    for group in set(one.children) - set(but):
        xr.testing.assert_equal(one[group].to_dataset(), other[group].to_dataset())
    assert one["state"].attrs == other["state"].attrs


@pytest.fixture(scope="module")
def whole():
    return fitted(6, horizon=6)


# ---------------------------------------------------------------------------------------------- early ends


def then_infinite(after):
    return lambda share: 0.1 if share < after else 1e308


@DIVERGES
@pytest.mark.parametrize("after", [1 - 1.5 / 18, 0.5], ids=["in the last update", "in the middle"])
def test_what_was_finite_last_is_in_the_error(after):
    rate = then_infinite(after)
    good = 5 if after > 0.9 else 3
    with pytest.raises(FloatingPointError, match=rf"Lower learning_rate.*`learned`.*: {good} epochs") as caught:
        fitted(6, horizon=6, learning_rate=rate)
    assert_same(caught.value.learned, fitted(good, horizon=6, learning_rate=rate))
    assert caught.value.learned.attrs["epochs_done"] == good


@DIVERGES
def test_a_checkpoint_is_not_overwritten_by_what_is_not_finite(tmp_path):
    path = tmp_path / "learned.nc"
    with pytest.raises(FloatingPointError) as caught:
        fitted(6, horizon=6, learning_rate=then_infinite(0.5), checkpoint=path, checkpoint_every=1)
    with xr.open_datatree(path) as file:
        assert file.attrs["epochs_done"] == 3
        assert_same(file.load(), caught.value.learned)


@DIVERGES
@pytest.mark.parametrize("rate", [1e10])
def test_absurd_parameters_are_refused(rate, tmp_path):
    with pytest.raises(FloatingPointError, match="learning has diverged"):
        fitted(2, learning_rate=rate, batch_size=None, checkpoint=tmp_path / "learned.nc", checkpoint_every=1)
    assert not list(tmp_path.iterdir())


def test_an_error_of_a_callback_carries_what_was_learned(whole):
    def fail(status):
        if status.epoch == 4:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError) as caught:
        fitted(6, horizon=6, on_epoch=fail)
    done = caught.value.learned.attrs["epochs_done"]
    assert 1 <= done <= 4
    again = fitted(6 - done, horizon=6, resume=caught.value.learned)
    assert_same(again, whole)


def test_learning_of_machines_with_bounds_stays_inside(monkeypatch):
    """Two hidden units that are not on together want more than is known to be normalisable."""
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(40, 1)) * [1.5, -1.2, 0.9, 1.1] + 0.5 * rng.normal(size=(40, 4))
    slack = []

    def look(status):
        slack.append(smallest_eigenvalue(status.machines()["v"].numeric()))

    def learn():
        with pm.Model():
            W, b, c = pm.Flat("W", shape=(4, 2)), pm.Flat("b", shape=4), pm.Flat("c", shape=2)
            pmr.RBM("v", W, b, c, visible=pmr.Gaussian(0.5), hidden=pmr.Rectified(1), observed=rows)
            options = {**OPTIONS, "chains": 20, "batch_size": 10}
            return pmr.fit(8, random_seed=1, on_epoch=look, **options)

    with pytest.warns(UserWarning, match="'v' was learned to the edge of what is known to be normalisable"):
        learn()
    assert 0 < min(slack) < max(slack) < 1
    monkeypatch.setattr("pymc_rbm.learning.update.has_bounds", lambda machine: False)  # whole steps
    with pytest.raises(FloatingPointError), np.errstate(all="ignore"):
        learn()
    assert min(slack) < 0


@pytest.mark.parametrize("families", [(pmr.Gaussian(0.7), pmr.Gaussian(1.3)), (pmr.Gaussian(0.7), pmr.Rectified(1.3))])
def test_steps_are_shortened_by_halves(families):
    rng = np.random.default_rng(2)
    for size, inside in ((0.01, True), (0.3, False), (30.0, False)):
        W = pytensor.shared(rng.normal(size=(5, 3)) * 0.1)
        machine = pmr.restricted(W, np.zeros(5), np.zeros(3), *families)
        step = rng.normal(size=(5, 3)) * size
        new = shortened(machine, {W: W + step}, [W])[W].eval()
        share = (new - W.get_value()) / step
        np.testing.assert_allclose(share, share.flat[0], rtol=1e-6)
        halvings = -np.log2(share.flat[0])
        assert halvings == pytest.approx(round(halvings), abs=1e-6)
        assert (round(halvings) == 0) == inside

        def matrix(weights):
            return certain_precision(pmr.restricted(weights, np.zeros(5), np.zeros(3), *families), [5, 3]).eval()

        before = matrix(W.get_value())
        assert np.linalg.eigvalsh(matrix(new) - before / 2)[0] > 0
        if not inside:  # and twice as much would have been too much
            beyond = matrix(2 * new - W.get_value()) - before / 2 - np.eye(8) * 5e-7
            assert np.linalg.eigvalsh(beyond)[0] < 1e-12


def test_machines_without_bounds_are_left_alone(monkeypatch):
    monkeypatch.setattr("pymc_rbm.learning.update.shortened", None)
    fitted(1)


# -------------------------------------------------------------------------------------------------- resume


@pytest.mark.parametrize(("iterations", "how"), [(1, "callback"), (8, "callback"), (17, "Ctrl-C")])
def test_resume_goes_on_within_an_epoch(whole, iterations, how, tmp_path):
    def stop(status):
        if status.iteration == iterations and how == "Ctrl-C":
            signal.raise_signal(signal.SIGINT)
        return status.iteration == iterations and how == "callback"

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        if how == "callback":
            part = fitted(6, horizon=6, on_iteration=stop)
        else:
            with pytest.warns(UserWarning, match="interrupted in epoch"):
                part = fitted(6, horizon=6, on_iteration=stop)
    finally:
        signal.signal(signal.SIGINT, before)
    assert part["learning"].sizes["iteration"] == iterations
    part.to_netcdf(tmp_path / "part.nc")
    with xr.open_datatree(tmp_path / "part.nc") as file:
        part = file.load()
    again = fitted(6 - part.attrs["epochs_done"], horizon=6, resume=part, random_seed=None)
    assert again["learning"].sizes["iteration"] == 18
    assert_same(again, whole)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"data": 1 - DATA}, r"differs from this call in the data of 'v':"),
        ({"data": DATA[::-1]}, r"in the data of 'v':"),
        ({"scale": 0.5}, r"in the model's priors and fixed values:"),
        ({"batch_size": 3}, r"in batch_size \(2 then, 3 now\):"),
        ({"row_weights": [1, 1, 2, 1, 1, 1]}, r"in the row_weights of 'v':"),
        ({"units": {"hidden": pmr.Spin()}}, r"in the units of 'v' \(Bernoulli.*, Bernoulli.* then, .*Spin.* now\):"),
        ({"scale": 0.5, "batch_size": None}, r"in batch_size \(2 then, 6 now\), the model's priors and fixed values:"),
    ],
)
def test_resume_says_what_differs(whole, changed, named):
    with pytest.warns(UserWarning, match=named):
        fitted(1, resume=whole, **changed)


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"chains": 5}, ValueError, r"another run.*v_particles: \(3, 4\) in `resume`, \(5, 4\) here.*chains="),
        ({"optimizer": pm.adam}, ValueError, r"another run.*memory"),
        ({"method": "cd"}, ValueError, "learned with method='pcd', this call asks for 'cd'"),
        ({"resume": "learned.nc"}, TypeError, r"got str: 'learned.nc'.*xarray.open_datatree"),
        ({"resume": xr.DataTree()}, ValueError, r"must come from pymc_rbm\.fit"),
    ],
)
def test_resume_refuses_what_does_not_belong_together(whole, changed, error, message):
    with pytest.raises(error, match=message):
        fitted(1, **{"resume": whole, **changed})


@pytest.fixture
def old(tmp_path):
    """Four of eight epochs of the model above, a checkpoint of version 0.1 before it kept data and model."""
    path = tmp_path / "old.nc"
    path.write_bytes(lzma.decompress((Path(__file__).parents[1] / "fixtures" / "learned_0_1.nc.xz").read_bytes()))
    with xr.open_datatree(path) as file:
        return file.load()


LATER = [0.03300344, 0.013084, -0.04803079]
"""W[0] four epochs later, as that version went on."""


def test_old_files_are_read(old):
    model = model_of(DATA, 3, 1.0)
    assert pmr.machine_of(old).couplings[0].weights.shape == (4, 3)
    with pmr.generative(model, old):
        assert pm.draw(pm.modelcontext(None)["v"], random_seed=1).shape == (4,)
    assert np.isfinite(pmr.log_partition(model, old, progressbar=False).estimate)
    with pytest.warns(UserWarning, match="earlier version.*cannot be checked"):
        again = fitted(4, resume=old, horizon=8)
    assert again.attrs["epochs_done"] == 8


@pytest.mark.slow
def test_old_files_are_learned_on_from_and_diagnosed(old):
    with pytest.warns(UserWarning, match="earlier version"):
        again = fitted(4, resume=old, horizon=8)
    np.testing.assert_allclose(again["parameters"]["W"].values[0], LATER, atol=1e-7)
    assert pmr.diagnose(old, random_seed=1).verdict


# ------------------------------------------------------------------------------------------------- checkpoints


def test_checkpoints_hold_what_would_be_returned(tmp_path, whole):
    path, seen = tmp_path / "learned.nc", []

    def look(status):
        with xr.open_datatree(path) as file:
            tree = file.load()
        assert_same(tree, status.learned())
        assert tree.attrs["epochs_done"] == status.epoch
        seen.append(tree)

    options = {"checkpoint": path, "checkpoint_every": 1, "horizon": 6}
    assert_same(fitted(4, on_epoch=look, **options), seen[-1])
    assert len(seen) == 4
    assert_same(fitted(2, resume=seen[-1], horizon=6), whole)
    assert [x.name for x in tmp_path.iterdir()] == ["learned.nc"]


def test_only_the_first_checkpoint_is_written_by_xarray(tmp_path, monkeypatch):
    written, to_netcdf = [], xr.DataTree.to_netcdf
    monkeypatch.setattr(xr.DataTree, "to_netcdf", lambda *a, **k: written.append(1) or to_netcdf(*a, **k))
    fitted(20, checkpoint=tmp_path / "learned.nc", checkpoint_every=1, horizon=8)
    assert len(written) == 1


def test_a_checkpoint_of_another_shape_begins_anew(tmp_path, whole):
    file = Checkpoint(tmp_path / "x.nc")
    for tree in (fitted(1, horizon=6), whole, fitted(1, chains=4)):
        assert file.write(tree)
        with xr.open_datatree(tmp_path / "x.nc") as found:
            assert_same(found.load(), tree)


def test_a_failed_checkpoint_warns_and_learning_goes_on(tmp_path, monkeypatch, whole):
    path, fails, fsync = tmp_path / "learned.nc", [], os.fsync

    def fail(file):
        fails.append(len(fails))
        if fails[-1] in (2, 3):
            raise OSError(28, "No space left on device")
        fsync(file)

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.warns(UserWarning, match=r"learned\.nc' was not written: .*No space left.*Learning goes on") as warned:
        learned = fitted(6, horizon=6, checkpoint=path, checkpoint_every=1)
    assert sum("was not written" in str(x.message) for x in warned) == 2
    assert_same(learned, whole)
    with xr.open_datatree(path) as file:
        assert_same(file.load(), whole)


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a disk of its own, of 1 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    command = [mount, "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder]
    if not mount or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("no disk can be mounted here")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_loses_nothing(small_disk, whole):
    path = small_disk / "learned.nc"
    fitted(2, horizon=6, checkpoint=path, checkpoint_every=2)
    before = path.read_bytes()
    with (small_disk / "filling").open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
        while True:
            file.write(bytes(1024))
    with pytest.warns(UserWarning, match="was not written"):
        learned = fitted(6, horizon=6, checkpoint=path, checkpoint_every=2)
    assert_same(learned, whole)
    assert path.read_bytes() == before
    assert {x.name for x in small_disk.iterdir()} == {"learned.nc", "filling"}


@pytest.mark.parametrize("kind", ["folder missing", "a folder", "a device", "a pipe", "no folder", "number", "empty"])
def test_bad_places_are_refused_before_any_work(kind, tmp_path, monkeypatch):
    path = tmp_path / "learned.nc"
    if kind == "a folder":
        path.mkdir()
    elif kind == "a pipe":
        os.mkfifo(path)
    path = {
        "folder missing": tmp_path / "not" / "learned.nc",
        "a device": Path("/dev/null"),
        "no folder": tmp_path / "file" / "learned.nc",
        "number": 3,
        "empty": "",
    }.get(kind, path)
    (tmp_path / "file").write_text("")
    error, message = {
        "folder missing": (FileNotFoundError, "there is no folder.*Make it first"),
        "a folder": (IsADirectoryError, "is a folder. Give the path of a file"),
        "a device": (ValueError, "is a device"),
        "a pipe": (ValueError, "a pipe"),
        "no folder": (FileNotFoundError, "there is no folder"),
        "number": (TypeError, "must be the path of a file, got 3"),
        "empty": (TypeError, "must be the path of a file, got ''"),
    }[kind]
    monkeypatch.setattr("pymc_rbm.learning.fit.Learner", None)  # the work
    with pytest.raises(error, match=message):
        fitted(1, checkpoint=path)
    assert Path("/dev/null").is_char_device()


def test_a_folder_that_cannot_be_written_to_is_refused_before_any_work(tmp_path, monkeypatch):
    """For the super-user, whom no permission stops, by an error in the place of the system's."""
    tmp_path.chmod(0o500)
    if os.geteuid() == 0:

        def refuse(self, *args):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(Path, "touch", refuse)
    monkeypatch.setattr("pymc_rbm.learning.fit.Learner", None)
    with pytest.raises(
        PermissionError, match=r"checkpoint=.*nothing can be written to.*Permission denied.*another folder"
    ):
        fitted(1, checkpoint=tmp_path / "learned.nc")
    tmp_path.chmod(0o700)


def test_links_are_followed(tmp_path, whole):
    (tmp_path / "there").mkdir()
    target, link = tmp_path / "there" / "real.nc", tmp_path / "link.nc"
    link.symlink_to(target)
    for _ in range(2):  # where it leads to nothing yet, too
        Checkpoint(link).write(whole)
        assert link.is_symlink()
        with xr.open_datatree(target) as file:
            assert_same(file.load(), whole)


def test_parts_of_dead_processes_are_removed(tmp_path):
    dead = subprocess.Popen(["true"])
    dead.wait()
    target = writable(tmp_path / "x.nc", "checkpoint")
    host = os.uname().nodename.replace(".", "-")
    ours = [f"x.nc.{dead.pid}.part", f"x.nc.{host}.{dead.pid}.part"]
    others = [f"x.nc.{host}.1.part", f"x.nc.elsewhere.{dead.pid}.part", f"y.nc.{host}.{dead.pid}.part", "x.nc.part"]
    for name in ours + others:
        (tmp_path / name).write_text("")
    writable(target, "checkpoint")
    assert sorted(x.name for x in tmp_path.iterdir()) == sorted(others)
    replace(target, b"whole")
    assert target.read_bytes() == b"whole"


# ---------------------------------------------------------------------------------------- files from strangers


@pytest.mark.parametrize("name", ["seed", "MT19937", "default_rng", "__class__", "RandomState", 3, None])
def test_names_of_generators_come_from_a_list(whole, name):
    import json

    state = whole["state"].to_dataset()
    rng = json.loads(state.attrs["rng"]) | {"bit_generator": name}
    state.attrs["rng"] = json.dumps(rng)
    bad = whole.copy()
    bad["state"] = xr.DataTree(state)
    with pytest.raises(ValueError, match=r"generator in the file is damaged.*\['PCG64'\]"):
        fitted(1, resume=bad)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"bit_generator": "PCG64"}', "9" * 5000, "[" * 100_000, "null"])
def test_damaged_states_are_refused(text):
    with pytest.raises(ValueError, match="is damaged"):
        generator_of(text)


@pytest.mark.parametrize(
    ("units", "message"),
    [
        ("Binomial(n=10000000000)", "units of 10,000,000,000 states"),
        ("Categorical(q=10000000000)", "units of 10,000,000,000 states"),
        ("Beside((Binomial(n=99999999), 3))", "units of 99,999,999 states"),
        ("Categorical(q=2)", "whole number of"),
        ("__import__('os').system('true')", "is not a unit"),
        ("Gaussian(sigma=open('x'))", "is not a unit"),
        ("(" * 500 + ")" * 500, "is not a unit"),
        ("Bernoulli()" + " " * 20_000, "is not a unit"),
        ("-" * 9_000 + "1", "is not a unit"),
    ],
)
def test_units_of_files_are_within_bounds(whole, units, message):
    machines = whole["machines"].to_dataset()
    machines.attrs["v_hidden_units"] = units
    bad = whole.copy()
    bad["machines"] = xr.DataTree(machines)
    with pytest.raises(ValueError, match=message):
        pmr.machine_of(bad)


ALLOWED = {
    # Source that is made of counts of axes, compiled and kept by PyTensor: nothing of a file enters.
    "support/repetition.py": {"compile_numba_function_src"},
    # One line that never changes, compiled and kept by PyTensor.
    "kernels/calls.py": {"compile_numba_function_src"},
    # The main job itself, once more, with arguments of its own: what follows learning is compiled meanwhile.
    "__main__.py": {"subprocess", "Popen"},
    # A kernel is found by the name of its own module, where a pickle of it would have lost its files.
    "kernels/pointers.py": {"import_module"},
}
FORBIDDEN = {
    "eval", "exec", "compile", "__import__", "pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve",
    "subprocess", "compile_numba_function_src",
    "system", "popen", "Popen", "spawnl", "execv", "ctypes", "loads", "load", "import_module",
}  # fmt: skip


def called(tree):
    """Names and attributes that are called, and modules that are imported."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((x.name.split(".")[0], node) for x in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").split(".")[0], node
            yield from ((x.name, node) for x in node.names)
        elif isinstance(node, ast.Call):
            function = node.func
            if isinstance(function, ast.Name | ast.Attribute):
                yield function.id if isinstance(function, ast.Name) else function.attr, node
                yield ast.unparse(function).split(".")[0], node


NUMBAS = "pm.compile", "loop.compile", "jitted.compile", "kernel.compile"
"""Graphs, and functions of the package for types of arguments."""


def harmless(name, node):
    """Text that is read as data; numba's own ``compile`` of a loop; arrays without objects."""
    if name == "loads":
        return isinstance(node, ast.Call) and ast.unparse(node.func) == "json.loads"
    if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pymc_rbm"):
        return True
    if name == "load" and ast.unparse(node).split(".")[0] not in ("np", "numpy"):  # imports are looked at
        return True
    if name == "load":
        return {k.arg: ast.unparse(k.value) for k in getattr(node, "keywords", ())} == {"allow_pickle": "False"}
    if name == "import_module":  # of this package, as it is written there
        constant = isinstance(node, ast.Call) and isinstance(node.args[0], ast.Constant)
        return isinstance(node, ast.ImportFrom) or (constant and str(node.args[0].value).startswith("pymc_rbm."))
    if name == "compile":
        return isinstance(node, ast.Call) and ast.unparse(node.func) in NUMBAS
    return name == "eval" and isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)  # of a graph


def risky(source):
    return [
        f"{name}, line {node.lineno}"
        for name, node in called(ast.parse(source))
        if name in FORBIDDEN and not harmless(name, node)
    ]


def test_the_package_runs_nothing_that_it_reads():
    for path in PACKAGE.rglob("*.py"):
        name = path.relative_to(PACKAGE).as_posix()
        found = {x.split(",")[0] for x in risky(path.read_text(encoding="utf-8"))}
        assert found == ALLOWED.get(name, set()), name


@pytest.mark.parametrize(
    "source",
    [
        "import pickle", "from cloudpickle import loads", "eval(x)", "exec(x)", "pickle.loads(x)", "np.load(x)",
        "np.load(x, allow_pickle=True)", "os.system(x)", "subprocess.run(x)", "compile(x, '', 'exec')",
        "from os import system", "importlib.import_module(x)",
    ],
)  # fmt: skip
def test_and_the_scan_would_find_it(source):
    assert risky(source)


def test_random_names_of_a_file_reach_no_attribute():
    """``getattr`` with a name that is not written in the source, on a module, calls whatever a file says."""
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "getattr":
                assert not ast.unparse(node.args[0]).startswith("np"), path.name


# ------------------------------------------------------------------------------------------- names that clash


def test_names_that_are_axes_are_refused(whole):
    machine = pmr.machine_of(whole)
    for name in ("chain", "draw"):
        with pytest.raises(ValueError, match=f"cannot have the name '{name}'.*Pass another name="):
            pmr.sample_gibbs(machine, draws=3, tune=0, name=name, progressbar=False)
        model = model_of(DATA, 3, 1.0, name=name)
        with model, pytest.raises(ValueError, match=f"'{name}'.*Call the variable something else"):
            pmr.fit(1, **OPTIONS)


def test_generative_refuses_another_model(whole):
    with pm.Model() as other:
        pm.Normal("W", shape=(4, 3)), pm.Flat("b", shape=4), pm.Flat("c", shape=3)
    with pytest.raises(ValueError, match=r"another model: its RBMs are \['v'\], those of this model are \[\]"):
        pmr.generative(other, whole)
    with pytest.raises(ValueError, match=r"its RBMs are \['v'\], those of this model are \['w'\]"):
        pmr.generative(model_of(DATA, 3, 1.0, name="w"), whole)
    with pytest.raises(ValueError, match=r"shapes differ \(W: \(4, 3\) there, \(4, 2\) here"):
        pmr.generative(model_of(DATA, 2, 1.0), whole)
    with pytest.raises(ValueError, match=r"Expected what pymc_rbm\.fit returned, got a DataTree with the groups \[\]"):
        pmr.generative(model_of(DATA, 3, 1.0), xr.DataTree())


@pytest.mark.parametrize("method", ["auto", "exact"])
@pytest.mark.parametrize("mean", [np.full(3, 0.5), np.array([0, 0.5, 0.5, 0.5]), np.full(4, np.nan)])
def test_a_bad_base_mean_is_refused_where_it_is_not_needed(whole, method, mean):
    with pytest.raises(ValueError, match="base_mean"):
        pmr.log_partition(pmr.machine_of(whole), method=method, base_mean=mean, progressbar=False)


def test_figures_of_a_run_that_was_stopped_in_its_first_epoch():

    learned = fitted(3, on_iteration=lambda status: True)
    assert learned["learning"].sizes == {"iteration": 1, "epoch": 0}
    pmr.plot_learning(learned)
