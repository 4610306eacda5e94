"""Find out how much memory is available before the work, and not by running out of it."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["available_memory", "check_memory"]

PROC, GROUPS = Path("/proc"), Path("/sys/fs/cgroup")
GIB = 2**30
LITTLE = 2**20
"""Bytes for which nobody asks the system: its answer takes a millisecond, and single draws need no more than that."""


def check_memory(needed: float, what: str, remedy: str) -> None:
    """Raise MemoryError, with both numbers and the ``remedy``, where ``what`` needs more bytes than are available.

    Where the system does not say how many are available, nothing is refused.
    """
    if needed <= LITTLE:
        return
    available = available_memory()
    if available is not None and needed > available:
        raise MemoryError(
            f"{what} needs {needed / GIB:,.1f} GiB of memory; {available / GIB:,.1f} GiB are available. {remedy}"
        )


def available_memory() -> int | None:
    """Return how many bytes this process may still use: the least that computer, control groups and ulimit leave."""
    known = [x for x in (_of_machine(), *_of_groups(), _of_process()) if x is not None]
    return max(0, min(known)) if known else None


def _of_machine() -> int | None:
    """Return the bytes that the kernel calls available, or else free; where it says neither, all memory."""
    for line in _lines(PROC / "meminfo"):
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    for pages in ("SC_AVPHYS_PAGES", "SC_PHYS_PAGES"):
        try:
            return os.sysconf(pages) * os.sysconf("SC_PAGE_SIZE")
        except (AttributeError, OSError, ValueError):  # sysconf is missing, or does not know this name
            continue
    return None


def _of_groups() -> list[int]:
    """Return the bytes left in each control group of this process, as containers and batch systems set them up.

    Memory that only caches files can be given back, and does not count as used.
    """
    left = []
    for line in _lines(PROC / "self" / "cgroup"):
        _, controllers, name = line.split(":", 2)
        if controllers == "":
            root, most, used, given_back = GROUPS, "memory.max", "memory.current", "inactive_file "
        elif "memory" in controllers.split(","):
            root, most, used = GROUPS / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes"
            given_back = "total_inactive_file "
        else:
            continue
        own = root / name.strip("/")
        # A container sees its own group at the root, under another name.
        for group in {root, own, *(x for x in own.parents if root in x.parents)}:
            limit, now = _number(group / most), _number(group / used)
            if limit is not None and now is not None:
                files = [int(x.split()[1]) for x in _lines(group / "memory.stat") if x.startswith(given_back)]
                left.append(limit - now + sum(files))
    return left


def _of_process() -> int | None:
    """Return the bytes that ``ulimit -v`` leaves."""
    try:
        import resource
    except ImportError:
        return None
    most, _ = resource.getrlimit(resource.RLIMIT_AS)
    size = _lines(PROC / "self" / "statm")
    if most == resource.RLIM_INFINITY or not size:
        return None
    return most - int(size[0].split()[0]) * resource.getpagesize()


def _number(path: Path) -> int | None:
    [text] = _lines(path) or [""]
    return int(text) if text.isdigit() else None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return []
