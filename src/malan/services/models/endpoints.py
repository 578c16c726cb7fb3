"""Models that run elsewhere, in the registry: an address and a name, under a licence, so that lists, refusals and
recalls know them.

    malan model add endpoint:https://api.deepseek.com/v1#deepseek-chat --licence MIT --family deepseek

Nothing of such a model is here. Its digest is that of address and name: what answers there is as the provider says, and
may change without the name changing. An engine whose address and model nobody registered works as before. Start at
`add_endpoint`; `endpoint_of` tells what an engine stands on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from malan.core.errors import NotFound, UsageError
from malan.core.ids import digest_record
from malan.models.licences import find_licence
from malan.services.access import HOUSE, Caller, require
from malan.services.engines.settings import EngineRow
from malan.services.models.registry import now, release
from malan.services.models.rights import Asked, require_model_use
from malan.services.models.rows import BASE, RELEASED, ModelRow, find_model

if TYPE_CHECKING:
    from malan.workspace import Workspace

ENDPOINT = "endpoint"
PREFIX = f"{ENDPOINT}:"
_LONGEST = 300


def endpoint_id(url: str, model: str) -> str:
    """The digest of a model behind an address."""
    return digest_record("model.endpoint", [url.rstrip("/"), model])


def add_endpoint(
    ws: Workspace, reference: str, *, licence: str, family: str, name: str = "", version: str = "",
    caller: Caller = HOUSE,
) -> ModelRow:  # fmt: skip
    """Register a model behind an address.

    Args:
        ws: Where it becomes known.
        reference: `endpoint:URL#MODEL`, as `models.toml` has them.
        licence: Under which it may be used; one that is not known is refused.
        family: The architecture, or who provides it.
        name: What people call it; the model's own name unless said otherwise.
        version: Empty for the next whole number of the name.
        caller: On whose behalf.

    Raises:
        NotGranted: The caller may not.
        UsageError: It is no such address, or the licence is not known.
    """
    require(caller, "models.change")
    url, model = _read(reference)
    if find_licence(licence) is None:
        raise UsageError("licence.unknown", licence=licence[:80])
    plain = "".join(one if one.isalnum() or one in "._-" else "-" for one in model).strip("-.")[:60]
    row = ModelRow(
        id=endpoint_id(url, model), name=name or plain or ENDPOINT, version=version, kind=BASE, form=ENDPOINT,
        base_id=None, licence=licence, family=family.lower()[:40], party_id=None, run={}, snapshot_id=None,
        evaluation={}, card={"source": f"{PREFIX}{url}#{model}"}, place={}, size_bytes=0, state=RELEASED, made=now(),
    )  # fmt: skip
    return release(ws, row)


def endpoint_of(ws: Workspace, row: EngineRow) -> ModelRow | None:
    """The registered model a remote engine stands on; None where nobody registered it, or it is no remote one."""
    if not row.is_remote:
        return None
    try:
        return find_model(ws, endpoint_id(row.url, row.model))
    except NotFound:
        return None


def require_endpoint_use(ws: Workspace, row: EngineRow, *, caller: Caller = HOUSE) -> None:
    """Go on only when what a remote engine stands on may be used: its licence is asked, and whether it was retired.

    Raises:
        NotGranted: It may not; every reason is in the message.
    """
    model = endpoint_of(ws, row)
    if model is not None:
        require_model_use(ws, model, Asked("apply", row.is_commercial, row.territory or None), caller=caller)


def _read(reference: str) -> tuple[str, str]:
    url, _, model = reference.removeprefix(PREFIX).partition("#")
    try:
        said = urlsplit(url)
        is_fine = said.scheme in ("http", "https") and bool(said.hostname) and said.username is None and not said.query
    except ValueError:
        is_fine = False
    if not is_fine or not model.strip() or not reference.isprintable() or len(reference) > _LONGEST:
        raise UsageError("models.bad_endpoint", reference=reference[:120])
    return url.rstrip("/"), model
