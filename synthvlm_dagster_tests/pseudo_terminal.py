"""Commands as a person sees them: in a terminal."""

import os
import pty
import subprocess
import termios
from collections.abc import Sequence
from typing import Any


def run_in_terminal(command: Sequence[str], **options: Any) -> tuple[int, str]:
    """Run a command whose standard streams are a terminal of 100 columns; returns its exit status and what it wrote."""
    ours, its = pty.openpty()
    termios.tcsetwinsize(its, (24, 100))
    process = subprocess.Popen(command, stdin=its, stdout=its, stderr=its, **options)
    os.close(its)
    shown = b""
    try:
        while part := os.read(ours, 1024):
            shown += part
    except OSError:
        # How Linux says that the other side is closed.
        pass
    os.close(ours)
    return process.wait(), shown.decode()
