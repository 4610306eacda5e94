"""What happens to learning and to the main job when processes are killed, interrupted or begin with empty caches."""

import contextlib
import os
import resource
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pymc as pm
import pytest
import xarray as xr
from numba import config

import pymc_rbm as pmr
from pymc_rbm.machine.normalisable import check_normalisable

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]

SILENT = 120.0
"""Seconds after which a process that does not say what it should is ended."""
LIMIT = 5.0
"""Seconds of work that an interrupted job may do yet: two on two cores, and to end. By the clock more, under load."""
RUN = """
import sys, numpy as np, pymc as pm, xarray as xr, pymc_rbm as pmr, pytensor
rows = (np.random.default_rng(0).random((60, 12)) < 0.4).astype("int8")
def learn(epochs, **kwargs):
    with pm.Model():
        W = pm.Normal("W", 0, pm.HalfNormal("s", 1), shape=(12, 5))
        pmr.RBM("v", W, pm.Flat("b", shape=12), pm.Flat("c", shape=5), observed=rows)
        options = dict(method="pcd", sweeps=1, batch_size=20, chains=20, learning_rate=0.05, horizon=60, random_seed=1)
        return pmr.fit(epochs, progressbar=False, **options, **kwargs)
"""


def started(code, *arguments, **environment):
    """A process that Ctrl-C reaches, whatever this one does with it."""
    return subprocess.Popen(
        [sys.executable, *(["-c", code] if code else []), *arguments],
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def test_the_same_bits_whatever_the_caches_hold(tmp_path):
    """In a process that compiles everything, one that loads it, and one that has compiled something else before."""
    code = RUN + "import hashlib; hash = lambda x: hashlib.sha256(x['parameters']['W'].values.tobytes()).hexdigest()\n"
    other = "with pm.Model(): pmr.RBM('v', pm.Normal('W', shape=(12, 5)), np.zeros(12), np.zeros(5), observed=rows); "
    other += "pmr.fit(2, method='cd', progressbar=False)\n"
    flags = os.environ.get("PYTENSOR_FLAGS", "")
    found = []
    for before in ("", "", other):
        flags_now = f"{flags},base_compiledir={tmp_path}".strip(",")
        process = started(code + before + "print('hash', hash(learn(60)))", PYTENSOR_FLAGS=flags_now)
        shown = process.communicate()[0]
        assert process.returncode == 0, shown
        found.append(shown.split("hash ")[1])
    assert found[0] == found[1] == found[2]


def test_kill_at_any_moment(tmp_path):
    """Each file that a killed run left opens, and the run that goes on from it is the whole run."""
    path = tmp_path / "learned.nc"
    names = {}
    exec(RUN, names)
    whole = names["learn"](60)
    code = RUN + f"learn(60, checkpoint={str(path)!r}, checkpoint_every=1)\nprint('done', flush=True)"
    rng, epochs = np.random.default_rng(1), []
    for _ in range(6):
        process = started(code)
        while not path.exists():
            assert process.poll() is None, process.communicate()[0]
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.6))
        process.kill()
        process.communicate()
        with xr.open_datatree(path) as file:
            part = file.load()
        epochs.append(part.attrs["epochs_done"])
        if epochs[-1] < 60:
            again = names["learn"](60 - epochs[-1], resume=part)
            for group in whole.children:
                xr.testing.assert_equal(again[group].to_dataset(), whole[group].to_dataset())
        path.unlink()
    assert min(epochs) < 60
    names["learn"](1, checkpoint=path, checkpoint_every=1)
    assert [x.name for x in tmp_path.iterdir()] == ["learned.nc"]  # no part stays


def test_a_run_knows_its_model_in_another_process(tmp_path):
    process = started(RUN + f"learn(2).to_netcdf({str(tmp_path / 'x.nc')!r})", PYTHONHASHSEED="7")
    shown = process.communicate()[0]
    assert process.returncode == 0, shown
    names = {}
    exec(RUN, names)
    with xr.open_datatree(tmp_path / "x.nc") as file:
        names["learn"](1, resume=file.load())  # warnings are errors


@pytest.mark.parametrize("rate", [None, 0.03])
def test_digits_with_real_units_on_both_sides(rate):
    """Whole steps end in a FloatingPointError: for one of four seeds at the default rate, for all at .03."""
    from sklearn.datasets import load_digits

    rows = load_digits().data
    rows = rows[:, rows.std(0) > 0]
    rows = (rows - rows.mean(0)) / rows.std(0)
    with pm.Model() as model:
        W = pm.Normal("W", 0, 1, shape=(rows.shape[1], 32))
        b, c = pm.Flat("b", shape=rows.shape[1]), pm.Flat("c", shape=32)
        pmr.RBM("v", W, b, c, visible=pmr.Gaussian(0.5), hidden=pmr.Rectified(1), observed=rows)
        with warnings.catch_warnings():  # whether it comes to the edge depends on the first particles
            warnings.filterwarnings("ignore", message=".*to the edge of what is known to be normalisable")
            learned = pmr.fit(20, learning_rate=rate, random_seed=1, progressbar=False)
    check_normalisable(pmr.machine_of(model, learned).numeric())
    assert np.isfinite(learned["particles"]["v_free_energy"]).all()


# ------------------------------------------------------------------------------------------------ the main job


def main_job(*arguments):
    return started("", "-m", "pymc_rbm", *arguments)


def read_until(process, words):
    """Read what the process says, wherever its lines are broken, until it has said the words, or does not in time."""
    shown, limit = "", threading.Timer(SILENT, process.kill)
    limit.start()
    try:
        for line in process.stdout:
            shown += line
            if words in " ".join(shown.split()):
                return shown
    finally:
        limit.cancel()
    raise AssertionError(shown)


def interrupted(process):
    """Seconds of work that it and its workers did after Ctrl-C, its exit code and what it said."""
    before, of_others = of_session(process.pid), of_children()
    process.send_signal(signal.SIGINT)
    shown = process.communicate(timeout=120)[0]
    return of_children() - of_others - before, process.returncode, shown


def of_children():
    """Processor time of all children that have ended, and of theirs, in seconds."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def of_session(session):
    """Processor time of all processes of a session so far, and of their children that have ended, in seconds."""
    ticks = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rsplit(")", 1)[1].split()
        except (FileNotFoundError, ProcessLookupError):  # it has ended since
            continue
        if int(fields[3]) == session:
            ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def test_ctrl_c_ends_the_main_job(tmp_path):
    out = tmp_path / "out"
    arguments = "--out", str(out), "--hidden", "12"
    # compiling, where nothing is cached
    process = main_job(*arguments, "--epochs", "100000000")
    read_until(process, "hidden units")
    time.sleep(1)
    seconds, code, shown = interrupted(process)
    assert (code, seconds < LIMIT) == (130, True), (seconds, shown)
    # learning
    process = main_job(*arguments, "--epochs", "100000000")
    while not (out / "learned.nc").exists():
        assert process.poll() is None
        time.sleep(0.1)
    seconds, code, shown = interrupted(process)
    assert (code, seconds < LIMIT) == (130, True), (seconds, shown)
    assert "Traceback" not in shown
    with xr.open_datatree(out / "learned.nc") as learned:
        assert learned.attrs["interrupted"] == 1
    (out / "learned.nc").unlink()
    # sampling and what follows: learned.nc is there already
    for wait in (1, 4):
        process = main_job(*arguments, "--epochs", "30")
        read_until(process, "learned.nc")
        time.sleep(wait)
        seconds, code, shown = interrupted(process)
        assert (out / "learned.nc").exists()
        if code in (0, -signal.SIGINT) and "projections.png to" in shown:  # it had ended, or Python was about to
            assert len(list(out.glob("*.png"))) == 5
            continue
        assert (code, seconds < LIMIT) == (130, True), (seconds, shown)


@pytest.mark.skipif(config.NUMBA_NUM_THREADS < 2, reason="With one thread nothing is rehearsed.")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_the_rehearsal_ends_with_the_main_job(how, tmp_path):
    process = main_job("--out", str(tmp_path / "out"), "--epochs", "100000000")
    read_until(process, "hidden units")
    while not (helpers := rehearsing(process.pid)):
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(how)
    process.communicate(timeout=120)
    for _ in range(300):  # it looks every second, when what it compiles lets it
        if not any(Path(f"/proc/{helper}").exists() for helper in helpers):
            return
        time.sleep(0.1)
    raise AssertionError(f"{helpers} go on")


def rehearsing(parent):
    """Return the numbers of the processes that rehearse for the process ``parent``."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            words = path.read_text().split("\0")
            if "--rehearse" in words and str(parent) in words:
                found.append(path.parent.name)
    return found


def test_the_main_job_refuses_at_once(tmp_path, capsys):
    from pymc_rbm.__main__ import main

    (tmp_path / "file").write_text("x")
    (tmp_path / "rows.csv").write_text("0,1\n1,0\n")
    np.savez(tmp_path / "objects.npz", data=np.array([[None, 1]], dtype=object))
    for arguments, words in [
        (["--out", str(tmp_path / "file")], "is a file, but must be a folder"),
        (["--out", str(tmp_path / "file" / "x")], "Not a directory"),
        (["--data", str(tmp_path / "rows.csv")], "not an .npz file"),
        (["--data", str(tmp_path / "objects.npz")], "arrays of numbers"),
    ]:
        with pytest.raises(SystemExit) as caught:
            main([*arguments, "--epochs", "1"])
        assert caught.value.code == 2
        assert words in capsys.readouterr().err
