"""A process told apart from every other: also after its end, after a restart of the machine, or on another one."""

from __future__ import annotations

import hashlib
import os
import platform
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True)
class Process:
    """One process of one machine.

    Attributes:
        host: the machine; see `this_host`.
        pid: its number there, which another process may get later.
        started: when it started, exact enough that no later process with this number has the same; see `start_of`.
    """

    host: str
    pid: int
    started: str

    def is_gone(self) -> bool:
        """Whether it surely has ended: never True of a process of another machine, of which nothing can be known."""
        return self.host == this_host() and start_of(self.pid) != self.started


def this_process() -> Process:
    """The process that asks."""
    pid = os.getpid()
    return Process(this_host(), pid, start_of(pid) or "")


@cache
def this_host() -> str:
    """Name of this machine, and a digest of its machine id, as several machines may have the same name.

    The same after a restart. A container has a name of its own, as long as nobody gives it that of another.
    """
    try:
        identity = Path("/etc/machine-id").read_bytes().strip()
    except OSError:
        identity = b""
    return f"{platform.node()}-{hashlib.sha256(identity).hexdigest()[:6]}"


def boot() -> str:
    """What changes with every restart of the machine; empty where only the time of day could tell (not on Linux)."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def start_of(pid: int) -> str | None:
    """When a process of this machine started; None when there is no such process, or it has ended and waits for burial.

    On Linux the boot and the clock ticks since then, as setting the clock changes the time of day of past events.
    """
    if not boot():
        return _start_by_the_clock(pid)
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The second field, the name of the program in brackets, may hold spaces and brackets.
    state, *fields = stat.rpartition(")")[2].split()
    return None if state in "ZX" else f"{boot()}/{fields[18]}"


def _start_by_the_clock(pid: int) -> str | None:
    import psutil

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else f"{process.create_time():.0f}"
    except psutil.Error:
        return None
