"""One contender in a process of its own: ``python -m benchmarks.worker NAME KIND VISIBLE HIDDEN ROWS``.

It prepares the job and then reads requests, one line of JSON each: ``{"do": "calibrate", "seconds": s}`` is answered by
the numbers of units of a short and a long run, ``{"do": "time", "short": m, "long": n}`` by CPU and wall seconds of a
unit, ``{"do": "run", "units": n}`` by the job's result. An answer ``{"error": …}`` says why there is none.
"""

from __future__ import annotations

import json
import os
import sys
from importlib import import_module

import numpy as np

from benchmarks.jobs import Job
from benchmarks.timing import calibrated, per_unit


def serve(name: str, job: Job) -> None:
    """Answer until the requests end."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints is no answer
    prepared = None
    for line in sys.stdin:
        try:
            prepared = prepared or _prepared(name, job)
            answer = _answer(*prepared, json.loads(line))
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}".splitlines()[0]}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _prepared(name, job):
    contender = import_module(f"benchmarks.peers.{name}_rbm")
    if not hasattr(contender, job.kind):
        raise NotImplementedError(f"it has no {job.kind}")
    getattr(contender, "start", lambda: None)()
    return getattr(contender, job.kind)(job)


def _answer(advance, result, request):
    if request["do"] == "calibrate":
        return calibrated(advance, request["seconds"])
    if request["do"] == "time":
        return per_unit(advance, request["short"], request["long"])
    advance(request["units"])
    found = result()
    return [np.asarray(x, float).tolist() for x in (found if isinstance(found, tuple | list) else [found])]


if __name__ == "__main__":
    name, kind, *sizes = sys.argv[1:]
    serve(name, Job(kind, *map(int, sizes)))
