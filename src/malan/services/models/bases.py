"""Base models: registered where they lie, by digest, under a licence that a machine checks; never copied, never handed
out.

Start reading at `add_base`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from malan.core.errors import NotFound, ProofError, UsageError
from malan.core.ids import check_prefix
from malan.inference.weights import HUBS, Reference, find_in_caches, resolve_base
from malan.models.base_files import BaseModel, scan_base
from malan.models.licences import find_licence
from malan.services.access import HOUSE, Caller, require
from malan.services.models.endpoints import ENDPOINT, add_endpoint
from malan.services.models.registry import FOLDER, now, release
from malan.services.models.rows import BASE, RELEASED, ModelRow, find_model, looks_like_digest
from malan.services.models.weight_files import checked_files

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
    fetch: bool = False,
    caller: Caller = HOUSE,
) -> ModelRow:
    """Register what a person named: a path, `path:…`, `hf:org/name@revision` or `ms:org/name` from this machine, or
    `endpoint:URL#MODEL`, which runs elsewhere.

    Args:
        ws: Where it becomes known.
        reference: The place.
        licence: See `add_base`, as for family and digest.
        family: The architecture.
        name: What people call it, with a version where wanted: `name@1`.
        digest: What it should be.
        fetch: Fetch it from its hub into `bases/` of the workspace when it is not on this machine.
        caller: On whose behalf.

    Raises:
        NotGranted: The caller may not; nothing was fetched.
        NotFound: It is not on this machine, and may not or cannot be fetched.
        MalanError: See `add_base`.
    """
    require(caller, "models.change")
    kind, _, rest = reference.partition(":")
    if kind == ENDPOINT:
        called, _, version = name.partition("@")
        return add_endpoint(
            ws, reference, licence=licence, family=family, name=called, version=version, caller=caller
        )  # fmt: skip
    if kind not in HUBS:
        place, source = Path(rest if kind == "path" else reference).expanduser(), ""
    else:
        asked = Reference.parse(reference)
        place, source = _fetched(ws, asked, fetch=fetch), str(asked)
        name = name or asked.place.rpartition("/")[2]
    named, _, version = name.partition("@")
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
    return checked_files(ws, BaseModel.from_value(model.place))


def _fetched(ws: Workspace, reference: Reference, *, fetch: bool) -> Path:
    """The folder of a model of a hub: fetched here before, in a cache of the hub's own tools, or fetched now."""
    ours = ws.root / "bases"
    folder = find_in_caches(reference, ours)
    if folder is None and fetch:
        folder = resolve_base(str(reference), fetch_into=ours).folder
    if folder is None:
        raise NotFound("models.not_in_cache", reference=str(reference))
    return folder


def _name_of(place: Path) -> str:
    stem = place.stem if place.is_file() else place.resolve().name
    name = "".join(c if c.isalnum() or c in " ._-" else "-" for c in stem).strip(" .-")[:60] or "base"
    return f"base-{name}" if looks_like_digest(name) else name  # a hub's folders are called by their commit
