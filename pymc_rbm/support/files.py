"""Files are replaced at once: a crash at any moment leaves the old file or the new one, never a part."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path
from typing import Any

__all__ = ["replace", "writable"]

PART = r"\.(?P<host>[\w-]*)\.(?P<process>\d+)\.part"
OF_OLDER_VERSIONS = r"\.(?P<host>)(?P<process>\d+)\.part"


def writable(path: Any, argument: str) -> Path:
    """Return the file that ``path`` leads to, links followed, once it is clear that it can be written.

    Unfinished copies that killed processes of this computer left beside it are removed.

    Raises
    ------
    TypeError
        If ``path`` is not a path.
    IsADirectoryError, FileNotFoundError, PermissionError, OSError
        If it is a folder, its folder is not there, or nothing can be written there.
    ValueError
        If ``path`` is a device, a pipe or a socket.
    """
    if not isinstance(path, str | os.PathLike) or not os.fspath(path):
        raise TypeError(f"{argument} must be the path of a file, got {path!r}. Pass a string or a pathlib.Path.")
    target = Path(os.path.realpath(os.fspath(path)))
    if target.is_dir():
        raise IsADirectoryError(f"{argument}={str(path)!r} is a folder. Give the path of a file in it.")
    if target.exists() and not target.is_file():
        raise ValueError(f"{argument}={str(path)!r} is a device, a pipe or a socket. Give the path of a file.")
    if not target.parent.is_dir():
        raise FileNotFoundError(
            f"{argument}={str(path)!r} cannot be written: there is no folder {str(target.parent)!r}. Make it first."
        )
    _remove_parts(target)
    part = _part(target)
    try:
        part.touch()
        part.unlink()
    except OSError as error:
        message = f"{argument}={str(path)!r}: nothing can be written to {str(target.parent)!r} ({error.strerror}). "
        raise type(error)(error.errno, f"{message}Choose another folder.") from error
    return target


def replace(target: Path, content: bytes | memoryview) -> None:
    """Put ``content`` in the place of a file that `writable` returned; OSError leaves the old file as it was."""
    part = _part(target)
    try:
        with part.open("wb", buffering=0) as file:
            left = memoryview(content)
            while left:  # a full disk takes a part of the content before it raises
                left = left[file.write(left) :]
            os.fsync(file.fileno())
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)


def _part(target: Path) -> Path:
    return target.with_name(f"{target.name}.{_host()}.{os.getpid()}.part")


def _host() -> str:
    return re.sub(r"[^\w-]", "-", socket.gethostname())


def _remove_parts(target: Path) -> None:
    """Remove unfinished copies of ``target`` whose processes have ended."""
    try:
        beside = list(target.parent.iterdir())
    except PermissionError:  # some folders can be written to but not listed
        return
    for path in beside:
        of = path.name.removeprefix(target.name)
        found = re.fullmatch(PART, of) or re.fullmatch(OF_OLDER_VERSIONS, of)
        if not path.name.startswith(target.name) or not found or found["host"] not in ("", _host()):
            continue
        if not _runs(int(found["process"])):
            path.unlink(missing_ok=True)


def _runs(process: int) -> bool:
    """Whether a process of this number runs on this computer; True where that cannot be found out."""
    if os.name == "nt":  # there the signal 0 ends the process
        return True
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True
