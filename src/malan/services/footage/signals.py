"""What the world is told of terms, and what footage that is added says of its own rights.

    terms ─ publish_signals ─▶ CAWG, TDMRep, RSL, Croissant       file and what lies beside it ─ look_for ─▶ answers

A signal in footage can only narrow: footage whose owner says nothing stays in house, and terms that allow training
against a signal are the owner's word, which is logged. Start at `publish_signals` and `look_for`.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from malan.core import Asset, Terms
from malan.core.errors import NotFound, ProofError, UsageError
from malan.ledger.statement import Subject, urn
from malan.rights import load_terms
from malan.rights.signals import (
    FORMATS,
    LARGEST_BYTES,
    MODEL_USES,
    NOT_ALLOWED,
    Answers,
    answers,
    read_plus,
    read_rsl,
    read_tdmrep,
    said_in,
    to_cawg,
    to_croissant,
    to_rsl,
    to_tdmrep,
)
from malan.services.access import HOUSE, Caller, require
from malan.services.footage.owners import terms_of
from malan.services.journal import Fact
from malan.services.uses import today

if TYPE_CHECKING:
    from malan.workspace import Workspace

SIGNAL = "rights.signal"
_HEAD_BYTES, _TAIL_BYTES = 1 << 20, 1 << 18
_PLUS_KEY = re.compile(rb"DataMining\b[^\0]{0,300}?(DMI-[A-Z-]{4,60})", re.DOTALL)
_PLUS_SPACE = b"http://ns.useplus.org/ldf/xmp/1.0/"
_URL = re.compile(r"https?://[^\s\"'<>]{1,500}|/[^\s\"'<>]{0,500}")


def publish_signals(
    terms: Terms, form: str, *, url: str = "/", policy_url: str = "", server: str = ""
) -> dict[str, Any]:
    """Terms as a signal in one of `FORMATS`: `text` to be published, and the same as plain data.

    Args:
        terms: What the owner allows.
        form: `cawg`, `tdmrep`, `rsl` or `croissant`.
        url: What it is about: an address, or a path on the server that publishes it.
        policy_url: Where the terms can be read as ODRL; for CAWG, where conditions are explained.
        server: Where a licence is had (RSL).

    Raises:
        UsageError: There is no such format, an address is none, or the terms cannot be said.
    """
    if form not in FORMATS:
        raise UsageError("signal.format", name=form[:40], known=", ".join(FORMATS))
    for address in filter(None, (url, policy_url, server)):
        if not _URL.fullmatch(address):
            raise UsageError("signal.bad_url", url=address[:200])
    if form == "rsl":
        return {"format": form, "rsl": to_rsl(terms, today(), url, server)}
    said = {
        "cawg": lambda: to_cawg(terms, today(), policy_url),
        "tdmrep": lambda: to_tdmrep(terms, today(), url, policy_url),
        "croissant": lambda: to_croissant(terms, url if url != "/" else None),
    }[form]()
    return {"format": form, **said}


def find_terms(ws: Workspace | None, file_or_id: str, owner: str, *, caller: Caller = HOUSE) -> Terms:
    """Terms from a file, or on record by their id.

    Raises:
        NotFound: There is neither such a file nor such terms.
        UsageError: The file says something impossible.
    """
    require(caller, "library.see")
    path = Path(file_or_id)
    if path.is_file():
        return load_terms(path, owner)
    if ws is None:
        raise NotFound("asset.terms_unknown", id=file_or_id[:40])
    found = [known for known in ws.library.terms_ids() if len(file_or_id) >= 6 and known.startswith(file_or_id)]
    return terms_of(ws, found[0] if len(found) == 1 else file_or_id)


def look_for(path: str) -> Iterator[tuple[str, Answers]]:
    """What a file and what lies beside it say of its rights: the source, and answers to uses by models.

    Reads the first megabyte and the last quarter of one, an `.xmp`, a `tdmrep.json`, an `.rsl` or `rsl.xml` beside.
    Covered: the PLUS property Data Mining in XMP that lies there (IPTC Photo Metadata 2023.1), TDMRep, RSL. Not
    covered: XMP in the middle of a file, compressed XMP. Never raises for what is in a file.
    """
    folder, name = os.path.split(path)
    for source, data in _plus_places(path):
        if _PLUS_SPACE in data:
            for key in sorted({match.decode() for match in _PLUS_KEY.findall(data)}):
                if (said := read_plus(key)) is not None:
                    yield source, said
    if (said := _beside(folder, "tdmrep.json", lambda data: read_tdmrep(data, name))) is not None:
        yield "tdmrep", said
    for beside in (f"{name}.rsl", f"{PurePath(name).stem}.rsl"):
        if (said := _beside(folder, beside, lambda data: read_rsl(data, name) or dict(_CLOSED))) is not None:
            yield "rsl", said
            break
    if (said := _beside(folder, "rsl.xml", lambda data: read_rsl(data, name))) is not None:
        yield "rsl", said


def signals_on(ws: Workspace, asset_ids: Sequence[str]) -> dict[str, dict[str, str]]:
    """What signals in footage answer, by asset: the strictest to each use. Footage without signals is left out."""
    found: dict[str, list[Answers]] = defaultdict(list)
    for finding in ws.library.findings_of(SIGNAL, asset_ids):
        found[finding.clip.asset_id].append(finding.value.get("says", {}))
    return {asset_id: said_in(said) for asset_id, said in found.items()}


def overridden(ws: Workspace, assets: Sequence[Asset]) -> list[Fact]:
    """What is to be logged of assets whose owners allow training although the footage says `notAllowed`."""
    said = signals_on(ws, [asset.id for asset in assets]) if assets else {}
    facts = []
    for asset in assets:
        against = sorted(use for use, answer in said.get(asset.id, {}).items() if answer == NOT_ALLOWED)
        if not against:
            continue
        with suppress(NotFound, ProofError):
            terms = terms_of(ws, asset.terms_id)
            loose = [use for use in against if answers(terms, today())[use] != NOT_ALLOWED]
            if any("training" in use or use == "data_mining" for use in loose):
                facts.append(_override(asset, loose))
    return facts


def _override(asset: Asset, uses: list[str]) -> Fact:
    return Fact(
        "asset.override",
        (Subject(urn("asset", asset.id), asset.id),),
        "asset.add",
        facts={"terms": asset.terms_id, "signals": uses},
        owners=(asset.owner_id,),
    )


_CLOSED = dict.fromkeys(MODEL_USES, NOT_ALLOWED)


def _plus_places(path: str) -> Iterator[tuple[str, bytes]]:
    """Where an XMP packet lies as a rule: near the beginning or end of the file, or in a side-car."""
    with suppress(OSError), open(path, "rb") as file:  # noqa: PTH123  # keeps odd bytes as they are
        size = os.fstat(file.fileno()).st_size
        data = file.read(_HEAD_BYTES)
        if size > _HEAD_BYTES:
            file.seek(max(_HEAD_BYTES, size - _TAIL_BYTES))
            data += b"\0" + file.read(_TAIL_BYTES)
        yield "plus", data
    for beside in (f"{path}.xmp", f"{os.path.splitext(path)[0]}.xmp"):  # noqa: PTH122
        with suppress(OSError):
            if (found := _small(beside)) is not None:
                yield "plus", found


def _beside(folder: str, name: str, read: Any) -> dict[str, str] | None:
    with suppress(OSError):
        data = _small(os.path.join(folder, name))  # noqa: PTH118
        return None if data is None else read(data)
    return None


def _small(path: str) -> bytes | None:
    """A small plain file, or the beginning of a large one, which no reader takes; None when there is none."""
    if not os.path.isfile(path):  # noqa: PTH113
        return None
    with open(path, "rb") as file:  # noqa: PTH123
        return file.read(LARGEST_BYTES + 1)
