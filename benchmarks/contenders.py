"""Who is measured: where each contender runs, and a process of it that does one job."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from benchmarks.jobs import Job
from benchmarks.timing import thread_environment

__all__ = ["PEERS", "ROOT", "Contender", "environment"]

ROOT = Path(__file__).resolve().parents[1]
PEERS = {
    "numpy": "numpy",
    "jax": "jax",
    "torch": "torch",
    "sklearn": "scikit-learn",
    "rbms": "rbms",
    "thrml": "thrml",
    "pgm": "numba",
}
"""Peers, and the package that each needs. PGM itself is on no index: it needs a clone."""


def environment(folder: Path, python: str, packages: list[str]) -> str:
    """Make a virtual environment with ``packages`` in ``folder``, if it is not there; return its interpreter."""
    interpreter = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    if not interpreter.exists():
        subprocess.run([python, "-m", "venv", str(folder)], check=True)
    for package in packages:  # one by one: where one fails, the others are there
        subprocess.run([str(interpreter), "-m", "pip", "install", "--quiet", package], check=False)
    return str(interpreter)


class Contender:
    """A process of one contender with one job; a context manager. ``error`` says why it cannot do it."""

    def __init__(self, name: str, job: Job, python: str, threads: int, clone: Path | None = None):
        command = [python, "-m", "benchmarks.worker", name, job.kind, *map(str, (job.visible, job.hidden, job.rows))]
        settings = thread_environment(threads) | {"PYTHONPATH": os.pathsep.join(map(str, filter(None, (ROOT, clone))))}
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        pipes["stderr"] = subprocess.DEVNULL
        self.error = ""
        self._process = subprocess.Popen(command, text=True, cwd=ROOT, env=settings, **pipes)
        self._own = threads

    def __enter__(self) -> Contender:
        if hasattr(os, "sched_setaffinity"):  # what takes no number of threads takes as many as there are cores
            os.sched_setaffinity(self._process.pid, sorted(os.sched_getaffinity(0))[-self._own :])
        return self

    def __exit__(self, *exception: object) -> None:
        self._process.stdin.close()  # type: ignore[union-attr]
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()

    def ask(self, **request: Any) -> Any:
        """Its answer, or None with ``error`` set."""
        print(json.dumps(request), file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()  # type: ignore[union-attr]
        answer = json.loads(line) if line else {"error": f"it ended ({self._process.wait()})"}
        if isinstance(answer, dict):
            self.error = answer["error"]
            return None
        return answer
