"""The model registry: weights under their digest, with the line back to the run, the footage and the owners.

    base ─ run on a snapshot ─▶ sub-model ─┐
    base ─ run on another ────▶ sub-model ─┴ merge ─▶ merged model ─ use ─▶ retired

Nothing is released without an event in the ledger that names what it was made from. Start reading at `register_model`;
what may be done with a model is decided in `models.rights`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from malan.core.errors import NotFound, ProofError, UsageError
from malan.core.ids import digest_bytes, digest_record
from malan.inference.adapters import find_pairs
from malan.inference.tensors import BYTES_OF, TensorFile, parse_tensors, scan_tensors
from malan.ledger.statement import Input, Subject, urn
from malan.runtime.database import writing
from malan.services.access import ALL, HOUSE, Caller, require, scope
from malan.services.files.blobs import blob_path, keep_bytes, keep_file, read_blob
from malan.services.journal import Fact, events_about, read_event, record
from malan.services.models.rows import (
    BASE,
    MERGED,
    RELEASED,
    SUB,
    ModelRow,
    Named,
    find_model,
    keep_row,
    list_rows,
    next_version,
    rows_by_id,
)
from malan.services.models.shares import check_shares, shares_digest, shares_of_run, shares_of_snapshot
from malan.services.models.tables import registry

if TYPE_CHECKING:
    from malan.workspace import Workspace

ADAPTER, WEIGHTS, FOLDER = FORMS = ("adapter", "weights", "folder")


def register_model(
    ws: Workspace,
    weights: bytes | Path,
    *,
    name: str,
    version: str = "",
    base_id: str | None = None,
    run: Mapping[str, Any] | None = None,
    snapshot_id: str | None = None,
    licence: str,
    family: str = "",
    evaluation: Mapping[str, Any] | None = None,
    card: Mapping[str, Any] | None = None,
    shares: Mapping[str, Fraction] | None = None,
    party_id: str | None = None,
    caller: Caller = HOUSE,
) -> ModelRow:
    """Release a model: keep its weights, write it down, state it in the ledger.

    The same weights again are the same model: what was said of it first stands, and the further run is stated too.

    Args:
        ws: Where it is kept.
        weights: The safetensors file, or where it lies; copied a few megabytes at a time.
        name: What people call it.
        version: Empty for the next whole number of the name.
        base_id: The model it was trained from; None for one that was trained from scratch.
        run: Where it came from, as told by those who ran it; `id` names the run. Kept whole.
        snapshot_id: The footage it was trained on.
        licence: Of the weights: an SPDX id or one of `models/licences.toml`.
        family: Architecture of the base, such as `wan`; empty takes that of the base.
        evaluation: What the gate measured against the base, on the frozen split.
        card: Words and facts for its card; kept as given.
        shares: Party → share; without them, what the meter counted for the run, else what the snapshot holds.
        party_id: Whose it is; None: the house's.
        caller: On whose behalf.

    Raises:
        NotGranted: The caller may not release models.
        UsageError: An impossible name or licence, or shares that do not add to one.
        Rejected: No well-formed file of weights, or a name and version that are another model's.
        NotFound: The base is not here.
    """
    require(caller, "models.change")
    said = dict(run or {})
    digest, file = _kept(ws, weights)
    base = find_model(ws, base_id) if base_id else None
    if shares is None:
        shares = (shares_of_run(ws, said["id"]) if said.get("id") else {}) or (
            shares_of_snapshot(ws, snapshot_id) if snapshot_id else {}
        )
    model = ModelRow(
        id=digest,
        name=name,
        version=version,
        kind=SUB,
        form=form_of(file.tensors),
        base_id=base.id if base else None,
        licence=licence,
        family=family or (base.family if base else ""),
        party_id=party_id or said.get("party"),
        run=said,
        snapshot_id=snapshot_id,
        evaluation=dict(evaluation or {}),
        card=dict(card or {}),
        place={},
        size_bytes=file.size_bytes,
        state=RELEASED,
        made=now(),
        shares=check_shares(shares),
    )
    return release(ws, model)


def release(ws: Workspace, model: ModelRow) -> ModelRow:
    """Write a model down under its name and state it in the ledger; doing it twice does no harm."""
    from malan.models.licences import check_licence

    Named(model.name, model.version)
    check_licence(model.licence)
    with writing(registry(ws), durable=True) as connection:
        wanted = replace(model, version=model.version or next_version(connection, model.name))
        kept = keep_row(connection, wanted)
    record(ws, [_released(replace(kept, run=model.run, snapshot_id=model.snapshot_id))])
    return kept


def list_models(ws: Workspace, *, caller: Caller = HOUSE) -> list[ModelRow]:
    """The models a caller may see, the newest first: an operator all, a party its own and those it has a share in.

    Raises:
        NotGranted: The caller may see none.
    """
    reach = scope(caller, "models.see")
    if reach is None:
        require(caller, "models.see")
    return [model for model in list_rows(ws) if reach == ALL or is_of(model, caller)]


def get_model(ws: Workspace, text: str, *, caller: Caller = HOUSE) -> ModelRow:
    """A model by name or digest, for somebody who may see it. To a party, what is others' is not there.

    Raises:
        NotFound: There is none, as far as this caller is told.
        NotGranted: The caller may see no models at all.
    """
    if scope(caller, "models.see") == ALL:
        return find_model(ws, text)
    own, wanted = list_models(ws, caller=caller), text.strip()
    found = [one for one in own if wanted in (one.title, one.id)]
    found = found or [one for one in own if one.name == wanted and one.state == RELEASED]
    found = found or [one for one in own if one.name == wanted or (len(wanted) >= 12 and one.id.startswith(wanted))]
    if not found:
        raise NotFound("models.unknown", model=wanted[:80])
    return found[0]


def is_of(model: ModelRow, caller: Caller) -> bool:
    """Whether a model is a party's: it was trained for it, or on its footage."""
    return caller.party_id is not None and (caller.party_id in model.party_ids or caller.party_id in model.shares)


def weights_bytes(ws: Workspace, model: ModelRow) -> bytes:
    """The file of weights of a model that is kept here, checked against its digest.

    Raises:
        NotFound, ProofError: It is not here, or not what it was.
        UsageError: A folder of files has no one file.
    """
    if model.place:
        raise UsageError("models.is_a_folder", model=model.title)
    return read_blob(ws, model.id)


def weights_path(ws: Workspace, model: ModelRow) -> Path:
    """Where the weights of a model that is kept here lie, checked."""
    if model.place:
        raise UsageError("models.is_a_folder", model=model.title)
    return blob_path(ws, model.id, check=True)


def family_tree(ws: Workspace, model: ModelRow) -> list[ModelRow]:
    """A model and all it was made from, itself first; every one once.

    Raises:
        ProofError: One of them is not on record: nothing may be concluded from the others.
    """
    found: dict[str, ModelRow] = {model.id: model}
    waiting: list[str] = list(dict.fromkeys(model.parents))
    while waiting:
        rows = rows_by_id(ws, waiting)
        if len(rows) != len(waiting):
            raise ProofError("models.no_ancestor", model=model.title)
        found |= {one: rows[one] for one in waiting}
        parents = dict.fromkeys(parent for row in rows.values() for parent in row.parents)
        waiting = [parent for parent in parents if parent not in found]
    return list(found.values())


def form_of(names: Mapping[str, Any]) -> str:
    """What a file of weights is by the names in it: an adapter when every tensor belongs to a pair."""
    pairs, others = find_pairs(names)
    return ADAPTER if pairs and not others else WEIGHTS


def release_events(ws: Workspace, model_id: str) -> list[int]:
    """Where the ledger states the release of a model, the first first; not those of what was made from it."""
    name = urn("model", model_id)
    places = events_about(ws, "model.release", name)
    return [at for at in places if any(one.urn == name for one in read_event(ws, at).statement.subjects)]


def now() -> str:
    """Now in UTC, as it stands in records."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _kept(ws: Workspace, weights: bytes | Path) -> tuple[str, TensorFile]:
    """Keep a file of weights once it has been read strictly; its digest, and what it holds."""
    if isinstance(weights, bytes):
        file = parse_tensors(weights)
        return keep_bytes(ws, weights), file
    if not weights.is_file():
        raise NotFound("models.no_file", path=str(weights))
    scan_tensors(weights, types=BYTES_OF)  # before anything is copied
    digest = keep_file(ws, weights)
    return digest, scan_tensors(blob_path(ws, digest), types=BYTES_OF)  # what was copied may be another file by now


def _released(model: ModelRow) -> Fact:
    """release: a model by the digest of its weights, from its run, its footage and the models it was made from."""
    inputs = []
    if run_id := model.run.get("id"):
        inputs.append(Input(urn("run", run_id), _digest_of(run_id), "inputTo"))
    if model.snapshot_id:
        inputs.append(Input(urn("snapshot", model.snapshot_id), model.snapshot_id, "inputTo"))
    relation = "componentOf" if model.kind == MERGED else "parentOf"
    inputs += [Input(urn("model", parent), parent, relation) for parent in model.parents]
    facts: dict[str, Any] = {"licence": model.licence, "sort": model.kind, "shares": shares_digest(model.shares)}
    if model.parts:
        facts["parts"] = digest_record("model.parts", [[part, str(weight)] for part, weight in model.parts])
    return Fact(
        "model.release",
        (Subject(urn("model", model.id), model.id),),
        f"model.{'add' if model.kind == BASE else 'merge' if model.kind == MERGED else 'release'}",
        inputs=tuple(inputs),
        facts=facts,
        private={"name": model.title, "evaluation": _as_texts(model.evaluation)},
    )


def _digest_of(run_id: str) -> str:
    """The digest of a run: its id where that is one."""
    is_digest = len(run_id) == 64 and all(c in "0123456789abcdef" for c in run_id)
    return run_id if is_digest else digest_bytes(run_id.encode())


def _as_texts(value: Any) -> Any:
    """Figures as decimal texts: what is signed holds no floats."""
    if isinstance(value, Mapping):
        return {str(name): _as_texts(one) for name, one in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_as_texts(one) for one in value]
    return value if value is None or isinstance(value, str | bool | int) else str(value)
