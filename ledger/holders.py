"""Who holds a lease: a process of a machine, so that another one there can tell whether it is alive.

Machines and containers may share a name, and containers a kernel. Process ids mean something only within one
boot and one process namespace; a holder of any other may live.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Holder:
    """One process. As text, host:place:pid:start.

    Attributes:
        place: boot and process namespace, in which its pid means something; "-" where unknowable.
        start: in clock ticks since that boot, "-" where unknowable: pids are used again.
    """

    host: str
    place: str
    pid: int
    start: str

    @classmethod
    def of_this_process(cls) -> Holder:
        return cls(socket.gethostname(), _place(), os.getpid(), _start_ticks(os.getpid()))

    @classmethod
    def parse(cls, text: str | None) -> Holder | None:
        """The holder that a text names; None for none, and for what cannot be read."""
        try:
            host, place, pid, start = (text or "").rsplit(":", 3)
            return cls(host, place, int(pid), start)
        except ValueError:
            return None

    def __str__(self) -> str:
        return f"{self.host}:{self.place}:{self.pid}:{self.start}"

    @property
    def is_dead(self) -> bool:
        """Whether it is certainly gone. One elsewhere may live: its lease must expire."""
        if (self.host, self.place) != (socket.gethostname(), _place()):
            return False
        try:
            return _start_ticks(self.pid) != self.start
        except OSError:
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
