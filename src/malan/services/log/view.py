"""The log for people who read it in the console: what was stated, when, by which role. Private data stay out.

Start at `log_page`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from malan.services.access import HOUSE, Caller, require
from malan.services.journal import read_event, start_log
from malan.services.spoken import word

if TYPE_CHECKING:
    from malan.workspace import Workspace


@dataclass(frozen=True, slots=True)
class EventRow:
    """One event: its place in the log, and what it says."""

    index: int
    id: str
    kind: str
    label: str
    time: str
    role: str
    about: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class LogPage:
    """Events, the newest first; `before` asks for the page after this one."""

    origin: str
    size: int
    root: str
    events: tuple[EventRow, ...]
    before: int | None


def log_page(
    ws: Workspace, lang: str, *, before: int | None = None, limit: int = 50, caller: Caller = HOUSE
) -> LogPage:
    """Events of the log, each read back and its signatures checked.

    Args:
        ws: Whose log.
        lang: The language of the labels.
        before: Only what stands before this place.
        limit: At most so many.
        caller: Who reads.

    Raises:
        NotGranted: The caller may not read the log.
        ProofError: An event is not what was logged.
    """
    require(caller, "log.read")
    start_log(ws)
    checkpoint = ws.log.reader.checkpoint()
    end = checkpoint.size if before is None else min(before, checkpoint.size)
    rows = tuple(_row(ws, index, lang) for index in range(end - 1, max(-1, end - 1 - limit), -1))
    following = end - len(rows)
    return LogPage(checkpoint.origin, checkpoint.size, checkpoint.root.hex(), rows, following or None)


def _row(ws: Workspace, index: int, lang: str) -> EventRow:
    said = read_event(ws, index).statement
    facts = tuple((name, _text(value)) for name, value in sorted((said.facts or {}).items()))
    about = tuple(subject.urn.removeprefix("urn:malan:") for subject in said.subjects)
    return EventRow(
        index, said.id, said.kind, word(f"event.{said.kind}", lang), said.time, said.actor.role, about, facts
    )


def _text(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
