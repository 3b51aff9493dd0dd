"""Which GPU of this machine is a process's own: several runs take several GPUs, without being told which."""

from __future__ import annotations

import logging
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

from filelock import FileLock, Timeout

LOCKS_VARIABLE = "SYNTHVLM_GPU_LOCKS"
"""Environment variable with the folder of the lock files, which all processes of the machine must share."""

_SECONDS_BETWEEN_TRIES = 1.0
_SECONDS_BETWEEN_REPORTS = 10.0


def leased_gpu() -> int:
    """Index of the CUDA device that belongs to this process until it ends, however it ends.

    The first free GPU is taken; when there is none, waits for one, and says so in the log every ten seconds. The locks
    are the operating system's: a killed process holds none. GPUs are known by their UUID, so that CUDA_VISIBLE_DEVICES
    may differ between processes.
    """
    index, _ = _process_lease()
    return index


@cache
def _process_lease() -> tuple[int, Lease]:
    import torch

    uuids = [str(torch.cuda.get_device_properties(index).uuid) for index in range(torch.cuda.device_count())]
    lease = take_lease(uuids, lock_folder(), logging.getLogger(__name__).warning)
    return uuids.index(lease.name), lease


class Lease:
    """Something that belongs to this process as long as this object is referred to."""

    def __init__(self, name: str, lock: FileLock) -> None:
        self.name = name
        self._lock = lock

    def release(self) -> None:
        """Let another process have it."""
        self._lock.release()


def take_lease(names: Sequence[str], folder: Path, on_wait: Callable[[str], None]) -> Lease:
    """Take the first of several things that no other process has; wait when all are taken.

    Args:
        names: what there is, by names that can be file names.
        folder: of the lock files; made if it is not there.
        on_wait: called every ten seconds while waiting.
    """
    folder.mkdir(parents=True, exist_ok=True)
    began = reported = time.monotonic()
    while True:
        for name in names:
            lock = FileLock(folder / f"{name}.lock")
            try:
                lock.acquire(blocking=False)
            except Timeout:
                continue
            return Lease(name, lock)
        now = time.monotonic()
        if now - reported >= _SECONDS_BETWEEN_REPORTS:
            reported = now
            on_wait(f"all {len(names)} GPUs belong to other runs; waiting for {now - began:.0f} s")
        time.sleep(_SECONDS_BETWEEN_TRIES)


def lock_folder() -> Path:
    """Where the locks are: $SYNTHVLM_GPU_LOCKS, else a folder of this user among the temporary files."""
    named = os.environ.get(LOCKS_VARIABLE)
    return Path(named) if named else Path(tempfile.gettempdir()) / f"synthvlm-gpus-{os.getuid()}"
