"""Who holds a lease: a process of a machine, so that another one there can tell whether it is alive."""

from __future__ import annotations

import os
import socket
from pathlib import Path


def this_process() -> str:
    """The name of this process as a holder: host:boot:pid:start."""
    return f"{socket.gethostname()}:{_boot_id()}:{os.getpid()}:{_start_ticks(os.getpid())}"


def is_dead(holder: str) -> bool:
    """Whether a holder is certainly gone. One elsewhere, or unreadable, may live: its lease must expire."""
    try:
        host, boot, pid, start = holder.rsplit(":", 3)
        if host != socket.gethostname():
            return False
        return boot != _boot_id() or _start_ticks(int(pid)) != start
    except (ValueError, OSError):
        return False


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return "-"


def _start_ticks(pid: int) -> str:
    """Start time of a process in clock ticks since boot; "gone" if there is none, "-" where unknowable."""
    if not Path("/proc/self/stat").exists():
        return "-"
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except FileNotFoundError:
        return "gone"
    return "gone" if fields[0] in ("Z", "X") else fields[19]
