"""Base models: registered where they lie, by digest, under a licence that a machine checks; never copied, never handed
out.

Start reading at `add_base`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from malan.core.errors import NotFound, ProofError, UsageError
from malan.core.ids import check_prefix
from malan.models.base_files import HUBS, BaseModel, find_place, scan_base
from malan.models.licences import find_licence
from malan.services.access import HOUSE, Caller, require
from malan.services.model_rows import BASE, RELEASED, ModelRow, find_model
from malan.services.models import FOLDER, now, release

if TYPE_CHECKING:
    from malan.workspace import Workspace

_FAMILY = 40


def add_base(
    ws: Workspace,
    place: Path,
    *,
    licence: str,
    family: str,
    name: str = "",
    version: str = "",
    digest: str = "",
    source: str = "",
    caller: Caller = HOUSE,
) -> ModelRow:
    """Register weights where they lie.

    Args:
        ws: Where it becomes known.
        place: One `.safetensors` file, or a folder with a configuration and shards.
        licence: Of the weights; one that is not known is refused, for nothing could be done with them.
        family: The architecture: `wan`, `ltx`, `cogvideox`, …
        name: What people call it; the name of the file or folder, unless said otherwise.
        version: Empty for the next whole number of the name.
        digest: What it should be, or a beginning of it; wherever it came from, the digest decides.
        source: Where it came from: `hf:org/name`, `ms:org/name`; told on the card.
        caller: On whose behalf.

    Raises:
        NotGranted: The caller may not.
        NotFound: There is nothing there.
        Rejected: Pickles, code, links that lead elsewhere, malformed weights.
        UsageError: An unknown licence, or no name for the family.
        ProofError: It is not what the digest says.
    """
    require(caller, "models.change")
    if find_licence(licence) is None:
        raise UsageError("licence.unknown", licence=licence[:80])
    if not (0 < len(family) <= _FAMILY and family.replace("-", "").isalnum() and family.isascii()):
        raise UsageError("models.bad_family", family=family[:80])
    base = scan_base(place)
    if digest and not base.id.startswith(wanted := check_prefix(digest.removeprefix("sha256:"))):
        raise ProofError("models.changed", path=place.name, digest=wanted[:12], found=base.id[:12])
    model = ModelRow(
        id=base.id,
        name=name or _name_of(place),
        version=version,
        kind=BASE,
        form=FOLDER if len(base.files) > 1 else "weights",
        base_id=None,
        licence=licence,
        family=family.lower(),
        party_id=None,
        run={},
        snapshot_id=None,
        evaluation={},
        card={"source": source} if source else {},
        place=base.to_value(),
        size_bytes=base.size_bytes,
        state=RELEASED,
        made=now(),
    )
    return release(ws, model)


def add_base_from(
    ws: Workspace,
    reference: str,
    *,
    licence: str,
    family: str,
    name: str = "",
    digest: str = "",
    caller: Caller = HOUSE,
) -> ModelRow:
    """Register what a person named: a path, `path:…`, or `hf:org/name`, `ms:org/name` from this machine's hub caches.

    Nothing is downloaded. `name` may hold a version: `name@1`.

    Raises:
        NotFound: It is not in the cache; the hint tells how to get it there.
        MalanError: See `add_base`.
    """
    place = find_place(reference)
    kind, _, rest = reference.partition(":")
    source = reference if kind in HUBS else ""
    named, _, version = (name or (rest.partition("@")[0].rpartition("/")[2] if source else "")).partition("@")
    return add_base(
        ws, place, licence=licence, family=family, name=named, version=version, digest=digest, source=source,
        caller=caller,
    )  # fmt: skip


def base_files(ws: Workspace, base_id: str) -> dict[str, Path]:
    """The files of a base by their names, each certain to be what was registered: what a run mounts.

    Raises:
        NotFound: There is no such base, or a file of it is gone.
        ProofError: A file is not what it was.
    """
    model = find_model(ws, base_id)
    if not model.place:
        raise NotFound("models.not_a_base", path=model.title)
    return BaseModel.from_value(model.place).check()


def _name_of(place: Path) -> str:
    stem = place.stem if place.is_file() else place.resolve().name
    return "".join(c if c.isalnum() or c in " ._-" else "-" for c in stem).strip(" .-")[:80] or "base"
