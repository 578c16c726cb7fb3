"""What every command shares: the workspace option, JSON, tables, progress, errors and exit codes.

Exit codes: 0 done, 1 failed, 2 misuse, 3 not allowed, 4 proof wrong.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import typer

from malan.core.catalogue import entry
from malan.core.errors import MalanError, StoreError

if TYPE_CHECKING:
    from malan.workspace import Workspace


def speak(code: str, /, **values: Any) -> str:
    """A message in the language of the session."""
    return entry(code).text(None, values)


WorkspaceOption = Annotated[
    Path | None,
    typer.Option("--workspace", envvar="MALAN_WORKSPACE", help=speak("cli.workspace"), show_default=False),
]
JsonOption = Annotated[bool, typer.Option("--json", help=speak("cli.json"))]
AsOption = Annotated[str | None, typer.Option("--as", help=speak("cli.market.as"), show_default=False)]


def open_workspace(path: Path | None, *, create: bool = False) -> Workspace:
    """The workspace named, else the nearest one upwards. `create` makes the one named when it is not there."""
    from malan.workspace import Workspace

    if path is None:
        return Workspace.find(Path.cwd())
    return Workspace.create(path) if create else Workspace(path)


def write_out(out: Path, data: bytes) -> None:
    """Write a file somebody asked for.

    Raises:
        StoreError: It cannot be written there.
    """
    try:
        out.write_bytes(data)
    except OSError as error:
        raise StoreError("cli.not_written", path=str(out), detail=error.strerror or str(error)) from error


def print_json(value: Any) -> None:
    """One JSON object on standard output; text that is not valid Unicode (odd file names) is escaped."""
    text = json.dumps(value, default=_plain, ensure_ascii=False, indent=2)
    sys.stdout.write(text.encode("utf-8", "backslashreplace").decode() + "\n")


def print_line(text: str) -> None:
    """One line a person reads; control characters and odd bytes in names are made visible."""
    shown = "".join(c if c.isprintable() or c == " " else f"\\x{ord(c):02x}" for c in text)
    sys.stdout.write(shown.encode("utf-8", "backslashreplace").decode() + "\n")


def print_fields(fields: Mapping[str, Sequence[str]]) -> None:
    """Names and their values below each other; Rich knows how wide Chinese letters are."""
    from rich.cells import cell_len

    width = max(map(cell_len, fields), default=0)
    for name, values in fields.items():
        for number, value in enumerate(values):
            label = name if number == 0 else ""
            print_line(f"  {label}{' ' * (width - cell_len(label))}  {value}")


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table for people; Rich knows how wide Chinese letters are."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns, box=box.SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        table.add_row(*(Text(str(cell)) for cell in row))
    console = Console()
    if not console.is_terminal:
        console.width = 160
    console.print(table)


def fail(error: MalanError) -> int:
    """Say what went wrong and what to do, on standard error; the exit code."""
    lines = [f"{speak('cli.error')} {error.message()}"]
    if hint := error.hint():
        lines.append(f"  → {hint}")
    sys.stderr.write("\n".join(lines).encode("utf-8", "backslashreplace").decode() + "\n")
    if os.environ.get("MALAN_DEBUG"):
        import traceback

        traceback.print_exception(error)
    return error.exit_code


class Step(Protocol):
    """How a service tells how far it is: done, total, and what it is at."""

    def __call__(self, done: int, total: int, current: str = "", /) -> None: ...


@contextmanager
def progress_bar(title: str, *, quiet: bool = False) -> Iterator[Step]:
    """A progress bar on standard error when a person watches; otherwise nothing is printed."""
    if quiet or not sys.stderr.isatty():
        yield _silent
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("[dim]{task.fields[current]}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=None, current="")

        def step(done: int, total: int, current: str = "") -> None:
            bar.update(task, completed=done, total=total, current=escape(current[-50:]))

        yield step


def _silent(_done: int, _total: int, _current: str = "") -> None:
    """Progress nobody watches."""


def _plain(value: Any) -> Any:
    """Records and exact numbers as JSON."""
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, Fraction):
        return f"{value.numerator}/{value.denominator}"
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, set | frozenset):
        return sorted(value)
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(f"{type(value).__name__} has no JSON form")
