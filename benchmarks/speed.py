"""The table of speed: pymc_rbm beside numpy, JAX, PyTorch, scikit-learn, rbms, thrml and PGM, in one run.

Run with ``python -m benchmarks.speed``; the first time it makes an environment for the peers (``--environment``), with
all that pip can install. A peer that is not there gets a dash and the reason. PGM is on no index: ``--pgm`` takes the
folder ``source`` of a clone. Each contender runs in a process of its own, in float32, through its public functions,
with one thread (``--threads``). Each first has to be right on a small machine, by enumeration. Then ours and the peer's
run by turns; a cell is the median of the ratios peer / ours of CPU seconds (with more than one thread: of wall
seconds). Compilation and what a call costs once do not count: a unit is the difference of a long run and a short one.
Our own microseconds stand in front.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

from benchmarks.contenders import PEERS, Contender, environment
from benchmarks.exact import wrong
from benchmarks.jobs import CHECKS, JOBS, SMOKE, Job
from benchmarks.timing import paired

SECONDS = 0.5
KINDS = [*CHECKS, "epoch"]


def options(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed", description=__doc__)
    folder = Path(tempfile.gettempdir()) / "pymc_rbm_peers"
    parser.add_argument("--environment", type=Path, default=folder, help="folder of the peers (default %(default)s)")
    parser.add_argument("--python", default=sys.executable, help="the interpreter that makes it")
    parser.add_argument("--install", nargs="*", default=sorted(set(PEERS.values())), help="what pip installs in it")
    parser.add_argument("--here", action="store_true", help="no environment: peers as far as they are installed here")
    parser.add_argument("--pgm", type=Path, help="folder `source` of a clone of PGM")
    parser.add_argument("--peers", nargs="*", default=list(PEERS), choices=list(PEERS))
    parser.add_argument("--kinds", nargs="*", default=KINDS, choices=KINDS)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--smoke", action="store_true", help="tiny machines, seconds: does it run?")
    return parser.parse_args(arguments)


class Table:
    """Measures job by job; knows who is right and why cells are empty."""

    def __init__(self, chosen: argparse.Namespace, python: str):
        self.chosen, self.python = chosen, python
        self.seconds = 0.02 if chosen.smoke else SECONDS
        self.reasons: dict[str, str] = {}
        self._wrong: dict[tuple[str, str], str] = {}

    def contender(self, name: str, job: Job) -> Contender:
        """A process of it."""
        python = sys.executable if name == "ours" else self.python
        return Contender(name, job, python, self.chosen.threads, self.chosen.pgm if name == "pgm" else None)

    def wrong(self, name: str, kind: str) -> str:
        """Why its results of this kind are not to be measured."""
        kind = "update" if kind == "epoch" else kind  # of which it is made
        if (name, kind) not in self._wrong:
            with self.contender(name, CHECKS[kind]) as process:
                self._wrong[name, kind] = wrong(process, kind)
        return self._wrong[name, kind]

    def row(self, job: Job) -> list[str]:
        """Our time and the ratios to it."""
        if reason := self.wrong("ours", job.kind):
            raise SystemExit(f"pymc_rbm itself is wrong: {reason}")
        with self.contender("ours", job) as ours:
            runs = ours.ask(do="calibrate", seconds=self.seconds)
            if runs is None:
                raise SystemExit(f"pymc_rbm cannot do {job.label}: {ours.error}")
            times, cells = [], []
            for name in self.chosen.peers:
                reason = self.wrong(name, job.kind)
                pairs = [] if reason else self._pairs(ours, runs, name, job)
                times += [first for first, _ in pairs]
                cells.append(f"{paired(*zip(*pairs, strict=True)):.2f}" if pairs else "-")
                if reason:
                    self.reasons[f"{name}, {job.kind}"] = reason
            times += [] if times else [self._timed(ours, runs)]
        return [job.label, f"{statistics.median(times) * 1e6:.0f}", *cells]

    def _timed(self, process: Contender, runs: list[int]) -> float | None:
        found = process.ask(do="time", short=runs[0], long=runs[1])
        return None if found is None else found[self.chosen.threads > 1]

    def _pairs(self, ours: Contender, runs: list[int], name: str, job: Job) -> list[tuple[float, float]]:
        with self.contender(name, job) as peer:
            own = peer.ask(do="calibrate", seconds=self.seconds)
            pairs = []
            for _ in range(self.chosen.repeats if own else 0):
                pairs.append((self._timed(ours, runs), self._timed(peer, own)))
            if peer.error:
                self.reasons[f"{name}, {job.label}"] = peer.error
                return []
        return pairs


def main(arguments: list[str] | None = None) -> None:
    """Print the table, row by row as it is measured."""
    chosen = options(arguments)
    python = sys.executable if chosen.here else environment(chosen.environment, chosen.python, chosen.install)
    table = Table(chosen, python)
    clock = "CPU" if chosen.threads == 1 else "wall"
    print(f"{clock} time of each contender as a multiple of ours, {chosen.threads} thread(s), float32")
    print(f"{'':48} {'ours (µs)':>10} " + " ".join(f"{x:>8}" for x in chosen.peers))
    for job in SMOKE if chosen.smoke else JOBS:
        if job.kind in chosen.kinds:
            label, own, *cells = table.row(job)
            print(f"{label:48} {own:>10} " + " ".join(f"{x:>8}" for x in cells), flush=True)
    for where, reason in table.reasons.items():
        print(f"- {where}: {reason}")


if __name__ == "__main__":
    main()
