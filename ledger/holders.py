"""Who holds a lease: a process of a machine, so that another one there can tell whether it is alive.

Machines and containers may share a name, and containers a kernel. Process ids mean something only within one
boot and one process namespace; a holder of any other may live.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path


def this_process() -> str:
    """The name of this process as a holder: host:place:pid:start."""
    return f"{socket.gethostname()}:{_place()}:{os.getpid()}:{_start_ticks(os.getpid())}"


def is_dead(holder: str) -> bool:
    """Whether a holder is certainly gone. One elsewhere, or unreadable, may live: its lease must expire."""
    try:
        host, place, pid, start = holder.rsplit(":", 3)
        if (host, place) != (socket.gethostname(), _place()):
            return False
        return _start_ticks(int(pid)) != start
    except (ValueError, OSError):
        return False


def _place() -> str:
    """Where process ids are what they are: a boot of a kernel, and a process namespace of it."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}+{os.readlink('/proc/self/ns/pid').strip('pid:[]')}"
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
