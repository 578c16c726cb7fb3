"""The implicit AIGC label (GB 45438-2025) of plain files, and how it goes along when one file is made from another.

    write_label · verify_label       one thing to a plain file, as JSON values
    label_text ─▶ carry_text         what a source says, written into what was made from it

A file made by us from labelled footage carries the label on: a stripped label is an offence of whoever strips it
(标识办法 §10). It goes along as it stands, also when it breaks rules: what others said is theirs. A file made from
several labelled ones carries the surest statement (1 before 2 before 3), of equals that of the first. Start at `carry`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from malan.core.catalogue import say
from malan.core.errors import MediaError, UsageError

if TYPE_CHECKING:
    from malan.media.labels import Seen, Verdict


def write_label(
    path: Path,
    out: Path,
    *,
    producer: str,
    produce_id: str,
    strength: str = "1",
    propagator: str | None = None,
    propagate_id: str | None = None,
) -> dict[str, Any]:
    """A copy of a file with exactly this label, read back; what was written.

    Works in a process of its own, which a damaged file may bring down.

    Raises:
        UsageError: A label that the standard does not allow.
        MediaError: The file cannot carry a label, or it did not read back.
        StoreError: The copy could not be written; nothing is left of it.
    """
    from malan.services.files.plain import on_file

    if (propagator is None) != (propagate_id is None):
        raise UsageError("label.half_propagator")
    fields = [strength, producer, produce_id, "", propagator or producer, propagate_id or produce_id, ""]
    return on_file("label", path, str(out.absolute()), fields)


def verify_label(path: Path) -> dict[str, Any]:
    """The verdict on the label of a file: `{"verdict", "label", "reasons", "where", "carrier"}`.

    Raises:
        NotFound: There is no such file.
        MediaError: It is of a kind that cannot carry a label, or cannot be read.
    """
    from malan.media.labels import verify

    return {"file": str(path), **told(verify(path))}


def told(verdict: Verdict) -> dict[str, Any]:
    """A verdict as plain JSON; each reason has its code, sentence and hint, and whether it decides."""
    return {
        "verdict": verdict.verdict,
        "label": None if verdict.label is None else dict(verdict.label),
        "reasons": [
            {"code": r.code, "message": say(r.code, **r.values), "severity": "fault" if r.is_fatal else "note"}
            for r in verdict.reasons
        ],
        "where": list(verdict.where),
        "carrier": verdict.carrier,
    }


def note(code: str) -> dict[str, Any]:
    """Something to know that decides nothing, as one of the reasons of `told`."""
    return {"code": code, "message": say(code), "severity": "note"}


def carry(source: str | os.PathLike[str], out: str | os.PathLike[str]) -> bool:
    """Put the label of `source`, if it has one, into `out`, which was made from it; whether there was one.

    Raises:
        MediaError: There is a label, and `out` cannot carry it. `out` then stays without: throw it away.
    """
    return carry_all([source], out)


def carry_all(sources: Sequence[str | os.PathLike[str]], out: str | os.PathLike[str]) -> bool:
    """The same for a file that was made from several."""
    text = label_text(sources)
    if text is not None:
        carry_text(text, out)
    return text is not None


def label_text(sources: Sequence[str | os.PathLike[str]]) -> str | None:
    """The label that a file made from these has to carry, as text; None when none of them has one."""
    from malan.media.labels import Label, parse, strongest

    texts = [found.text for path in sources if (seen := _seen(Path(path))) for found in seen.found]
    said = [(text, parse(text).said) for text in texts]
    readable = [(text, Label.from_fields(fields)) for text, fields in said if fields is not None]
    if not readable:
        return "".join(c if c.isprintable() else " " for c in texts[0]) if texts else None
    best = strongest([label for _, label in readable])
    text = next(text for text, label in readable if label == best)
    return text if text.isprintable() else json.dumps(parse(text).said, separators=(",", ":"))


def carry_text(text: str, out: str | os.PathLike[str]) -> None:
    """Put a label into a file that is ours alone; it stays as it was when that fails."""
    from malan.media.labels import text_in_place

    text_in_place(os.fspath(out), text)


def _seen(path: Path) -> Seen | None:
    """The labels of a file, looked through to its end; None for a kind that carries none."""
    from malan.media.labels import look_through

    try:
        return look_through(path)
    except MediaError as error:
        if error.code == "label.no_carrier":
            return None
        raise
