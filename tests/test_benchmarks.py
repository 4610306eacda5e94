"""The benchmarks run, and refuse to time what computes the wrong thing."""

import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import likelihood_rate, speed  # noqa: E402
from benchmarks.exact import wrong  # noqa: E402
from benchmarks.jobs import CHECKS, JOBS, machine  # noqa: E402
from benchmarks.learn import Snapshots  # noqa: E402
from benchmarks.peers import numpy_rbm  # noqa: E402
from benchmarks.timing import paired, per_unit  # noqa: E402

SCRIPTS = sorted(path.stem for path in (ROOT / "benchmarks").glob("*.py"))


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_script_says_what_it_is(name):
    assert len(import_module(f"benchmarks.{name}").__doc__) > 60


def test_a_unit_is_the_difference_of_two_runs(monkeypatch):
    """A call costs 5, a unit 2."""
    now = [0.0]
    for clock in ("process_time", "perf_counter"):
        monkeypatch.setattr(f"time.{clock}", lambda: now[0])

    def advance(n):
        now[0] += 5 + 2 * n

    assert per_unit(advance, 3, 40) == (2, 2)
    assert paired([1, 2, 4], [3, 4, 40]) == 3


class Asked:
    """A contender in this process, its result changed."""

    def __init__(self, kind, change):
        self.prepared, self.change, self.error = getattr(numpy_rbm, kind)(CHECKS[kind]), change, "it failed"

    def ask(self, do, units):
        """As a process answers."""
        advance, result = self.prepared
        advance(units)
        found = result()
        return [self.change(np.asarray(x, float)) for x in (found if isinstance(found, tuple) else [found])]


BROKEN = {
    "sweep": lambda states: 1 - states,
    "update": lambda parameter: parameter - 0.05,
    "free_energy": lambda values: values + 1e-3,
    "ais": lambda value: value + 0.2,
}


@pytest.mark.parametrize("kind", CHECKS)
def test_only_what_is_right_is_timed(kind):
    numpy_rbm.rng = np.random.default_rng(1)
    assert not wrong(Asked(kind, lambda x: x), kind)
    assert "is off by" in wrong(Asked(kind, BROKEN[kind]), kind)


def test_an_update_of_half_the_size_is_found():
    """What a contender gets wrong that divides by both counts of rows."""
    start = [p.astype(float) for p in machine(CHECKS["update"])]
    asked = Asked("update", lambda x: x)
    true = asked.ask
    asked.ask = lambda **request: [(x + x0) / 2 for x, x0 in zip(true(**request), start, strict=True)]
    assert "update is off" in wrong(asked, "update")


def test_snapshots_at_doubling_seconds(monkeypatch):
    now = [10.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    snapshots = Snapshots(9.0)
    over = []
    while not over or not over[-1]:
        over.append(snapshots(lambda: (np.zeros((2, 3)), np.zeros(2), np.zeros(3))))
        now[0] += 0.5
    assert [float(snapshots.kept[f"seconds{i}"]) for i in range(4)] == [1, 2, 4, 8]
    assert len(over) == 19


def test_likelihood_rate_without_its_file(tmp_path, capsys):
    likelihood_rate.main([str(tmp_path / "no such file.npz")])
    assert "skipped" in capsys.readouterr().out


def test_the_table_is_the_one_that_was_asked_for():
    assert len({job.label for job in JOBS}) == len(JOBS) == 9
    assert speed.options([]).repeats >= 5


@pytest.mark.slow
def test_speed_runs():
    """Two peers that are here, and one that is not."""
    command = [sys.executable, "-m", "benchmarks.speed", "--here", "--smoke", "--repeats", "2"]
    command += ["--kinds", "sweep", "free_energy", "--peers", "numpy", "sklearn", "rbms"]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    rows = [line.split() for line in shown.splitlines() if re.match("sweep|free energy", line)]
    assert len(rows) == 2
    for row in rows:
        assert row[-1] == "-"
        assert all(np.isfinite(float(x)) for x in row[-4:-1])
    assert "rbms, sweep: ModuleNotFoundError" in shown


@pytest.mark.slow
def test_update_rate_runs():
    """Its bare loop calls the kernels themselves, which nothing else outside the package does."""
    command = [sys.executable, "-m", "benchmarks.update_rate", "smoke"]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert 0 < int(re.search(r"(\d+)% of their rate", shown)[1]) < 1000
