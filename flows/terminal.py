"""What a person sees in the terminal: a live line while a run goes on, tables when it is done."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, TextIO

from tasks.progress import Progress

if TYPE_CHECKING:
    from rich.console import Console

_LIVE_EVERY_S = 0.1
_LINE_EVERY_S = 5.0
_PIPED_WIDTH = 10_000
_TEXT_WIDTH_MIN = 24


class ProgressLine:
    """One line on standard error, redrawn in place on a terminal, printed now and then elsewhere."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stderr
        self.live = self.stream.isatty()
        self.shown_at = float("-inf")
        self.latest: Progress | None = None

    def __call__(self, progress: Progress) -> None:
        self.latest = progress
        if time.monotonic() - self.shown_at >= (_LIVE_EVERY_S if self.live else _LINE_EVERY_S):
            self._show(progress)

    def say(self, text: str) -> None:
        """Show what is being waited for, until the first iteration."""
        self._write(text)

    def tell_entered(self, run_id: str) -> None:
        """Leave a line with a new run's id, by which another process can go on with it."""
        text = f"{run_id} is entered; `shotwise resume {run_id}` goes on with it if this process ends early"
        self._write(f"{text}\n" if self.live else text)

    def end(self) -> None:
        """Leave the last iteration on the screen."""
        if self.latest is not None:
            self._show(self.latest)
        if self.live:
            self.stream.write("\n")
            self.stream.flush()

    def _show(self, progress: Progress) -> None:
        self.shown_at = time.monotonic()
        self._write(progress.line())

    def _write(self, text: str) -> None:
        self.stream.write(f"\r\033[2K{text}" if self.live else f"{text}\n")
        self.stream.flush()


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, title: str | None = None) -> None:
    """A table on standard output."""
    from rich.box import SIMPLE_HEAD
    from rich.cells import cell_len
    from rich.measure import Measurement
    from rich.table import Table

    cells = [columns, *rows]
    widths = [max(map(cell_len, column)) for column in zip(*cells, strict=True)]
    # only the last one is text of any length: a number in two lines is not read as one
    widths[-1] = min(widths[-1], _TEXT_WIDTH_MIN)
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, show_header=any(columns))
    for column, width in zip(columns, widths, strict=True):
        table.add_column(column, overflow="fold", min_width=width)
    for row in cells[1:]:
        table.add_row(*row)
    console = open_console()
    narrowest = Measurement.get(console, console.options.update_width(_PIPED_WIDTH), table).minimum
    # a table that is too wide goes on in the terminal's next line; rich would cut it off
    console.width = max(console.width, narrowest)
    console.print(table)


def open_console() -> Console:
    """Standard output: as wide as the terminal; a line of a table is one line where it is piped."""
    from rich.console import Console

    console = Console(highlight=False)
    if not sys.stdout.isatty():
        console.width = _PIPED_WIDTH
    return console
