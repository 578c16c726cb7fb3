"""Base models from and to the outside: pulled from a hub, checked whole, taken away again.

    pull ─▶ fetched into `bases/`, registered          check ─▶ digest, licence, family, structure, what may be done
    remove ─▶ the registration and fetched files, unless something stands on them

What lies elsewhere on the machine is never deleted. Start reading at `pull_base`, `check_model`, `remove_model`.
"""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, select

from malan.core.catalogue import LANGUAGES
from malan.core.errors import MalanError, NotFound, ProofError, Rejected, UsageError
from malan.inference.backends import Stop, Tell, go_on, say_nothing
from malan.inference.diffusion_families import FAMILIES
from malan.inference.diffusion_parts import INDEX, LIBRARIES
from malan.inference.weights import HUBS, Reference, base_modules, find_in_caches, own_folder
from malan.inference.weights_fetch import fetch_base, find_hub
from malan.ledger.statement import Subject, urn
from malan.models.base_files import BaseModel, scan_base
from malan.models.licences import ACTIONS
from malan.models.safetensors import read_adapter
from malan.runtime.database import reading, writing
from malan.services.access import HOUSE, Caller, require
from malan.services.engines.settings import read_engines
from malan.services.journal import Fact, events_about, record
from malan.services.models.bases import add_base
from malan.services.models.endpoints import ENDPOINT, endpoint_of
from malan.services.models.registry import ADAPTER, get_model, weights_bytes, weights_path
from malan.services.models.registry import FOLDER as FORM_FOLDER
from malan.services.models.rights import Asked, decide_model_use
from malan.services.models.rows import BASE, RETIRED, ModelRow, find_model, list_rows
from malan.services.models.tables import MODELS, registry
from malan.services.runs.states import OPEN
from malan.services.runs.tables import RUNS, run_tables

if TYPE_CHECKING:
    from malan.workspace import Workspace

FOLDER = "bases"
_PLAIN = re.compile(r"([\w.-]{1,96}/[\w.-]{1,96})(?:@([\w./-]{1,96}))?", re.ASCII)


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: whether it is well, and what was found, in both languages' words by its code."""

    what: str  # digest, licence, family, structure, adapter
    is_well: bool
    said: str = ""


@dataclass(frozen=True)
class Checked:
    """What a check found."""

    title: str
    digest: str
    findings: tuple[Finding, ...]
    uses: Mapping[str, Any] = field(default_factory=dict)
    engines: tuple[str, ...] = ()

    @property
    def is_well(self) -> bool:
        return all(one.is_well for one in self.findings)


@dataclass(frozen=True)
class Removed:
    """What was taken away."""

    model: ModelRow
    is_forgotten: bool  # its registration too; else it stays as retired, for what was made from it
    files: int
    size_bytes: int


def pull_base(
    ws: Workspace,
    text: str,
    *,
    licence: str,
    family: str,
    name: str = "",
    digest: str = "",
    tell: Tell = say_nothing,
    stop: Stop = go_on,
    caller: Caller = HOUSE,
) -> ModelRow:
    """Fetch a base from a hub and register it; what was fetched before is gone on with, or used as it is.

    Args:
        ws: Its folder `bases/` takes the files.
        text: `hf:org/name@revision`, `ms:org/name`, or `org/name`: Hugging Face if it answers within three seconds,
            else ModelScope.
        licence: Of the weights, as a person read it.
        family: The architecture.
        name: What people call it.
        digest: What it must be; wherever it came from, the digest decides.
        tell: Told the bytes that are here, of how many.
        stop: Asked while fetching.
        caller: On whose behalf.

    Raises:
        NotGranted: The caller may not; nothing was fetched.
        NotFound: No hub has it, or fetching is forbidden here.
        RetryLater: No hub can be reached, it broke off, or the disk is too full.
        ProofError: It is not what the digest says.
        MalanError: See `add_base`.
    """
    require(caller, "models.change")
    reference = _reference(text)
    place = find_in_caches(reference, ws.root / FOLDER)
    if place is None:
        place = fetch_base(reference, own_folder(reference, ws.root / FOLDER), tell=tell, stop=stop)
    called, _, version = (name or reference.place.rpartition("/")[2]).partition("@")
    return add_base(
        ws, place, licence=licence, family=family, name=called, version=version, digest=digest,
        source=str(reference), caller=caller,
    )  # fmt: skip


def check_model(ws: Workspace, text: str, *, caller: Caller = HOUSE) -> Checked:
    """Look through a model as if it had just come: every byte is read, nothing kept is believed.

    Args:
        ws: The workspace.
        text: A model of the registry by name or digest, or `path:…` of a base that is not in it.
        caller: On whose behalf.

    Raises:
        NotFound: There is none.
    """
    if text.startswith("path:"):
        require(caller, "models.change")
        return _check_path(Path(text.removeprefix("path:")).expanduser())
    model = get_model(ws, text, caller=caller)
    findings = [_digest(ws, model), _licence(ws, model, caller)]
    if model.place:
        folder = Path(model.place["folder"])
        findings += [_family(folder, model.family), _structure(folder)]
    elif model.form == ADAPTER:
        findings.append(_adapter(ws, model))
    uses = {action: _use(ws, model, action, caller) for action in ACTIONS}
    return Checked(model.title, model.id, tuple(findings), uses, tuple(_engines_on(ws, model)))


def remove_model(ws: Workspace, text: str, *, caller: Caller = HOUSE) -> Removed:
    """Take a base away: its registration, and its files where Malan fetched them.

    Raises:
        NotGranted: The caller may not.
        NotFound: There is no such model.
        Rejected: It is no base (what runs gave is proof of something: retire it), an engine or a run stands on it, or
            models were made from it and it is not retired.
    """
    require(caller, "models.change")
    model = find_model(ws, text)
    if model.kind != BASE:
        raise Rejected("models.not_removable", model=model.title)
    _check_unused(ws, model)
    children = [one.title for one in list_rows(ws) if model.id in one.parents]
    if children and model.state != RETIRED:
        raise Rejected("models.stands_on", model=model.title, others=", ".join(children[:5]))
    ws.devices.close()
    files, size = _delete_files(ws, model)
    if not children:
        _forget(ws, model)
    return Removed(model, not children, files, size)


def describe_check(found: Checked) -> dict[str, Any]:
    """A check as JSON."""
    findings = [{"what": one.what, "well": one.is_well, "said": one.said} for one in found.findings]
    return {
        "model": found.digest, "name": found.title, "well": found.is_well, "findings": findings,
        "uses": dict(found.uses), "engines": list(found.engines),
    }  # fmt: skip


def _reference(text: str) -> Reference:
    """Raises:
    UsageError: Nothing a hub could have.
    """
    kind, _, _ = text.partition(":")
    if kind in HUBS:
        return Reference.parse(text)
    found = _PLAIN.fullmatch(text)
    if found is None or ".." in text:
        raise UsageError("weights.reference", text=text[:120])
    return find_hub(found[1], found[2] or "")


def _check_path(place: Path) -> Checked:
    try:
        base = scan_base(place)
    except MalanError as error:
        return Checked(place.name, "", (Finding("structure", False, str(error)),))
    findings = [Finding("digest", True, base.id)]
    if place.is_dir():
        findings += [Finding("family", True, family_of(place) or "–"), _structure(place)]
    return Checked(place.name, base.id, tuple(findings))


def _digest(ws: Workspace, model: ModelRow) -> Finding:
    """Every byte, against the digest that is its name."""
    try:
        if model.form == ENDPOINT:  # nothing of it is here: its name is what it is called by
            return Finding("digest", True, str(model.card.get("source", "")))
        if not model.place:
            weights_path(ws, model)
            return Finding("digest", True, model.id)
        place = Path(model.place["folder"])
        known = BaseModel.from_value(model.place)
        found = scan_base(place if model.form == FORM_FOLDER else place / known.files[0].name).id
        if found != model.id:
            raise ProofError("models.changed", path=model.title, digest=model.id[:12], found=found[:12])
    except MalanError as error:
        return Finding("digest", False, str(error))
    return Finding("digest", True, model.id)


def _licence(ws: Workspace, model: ModelRow, caller: Caller) -> Finding:
    """Whether it may be used at all, commercially, here."""
    decision = decide_model_use(ws, model, Asked("apply"), caller=caller)
    return Finding("licence", decision.allowed, f"{model.licence}: " + " ".join(one.text() for one in decision.reasons))


def family_of(folder: Path) -> str:
    """What the configuration of a base says it is; empty where it says nothing."""
    for name, key in ((INDEX, "_class_name"), ("config.json", "model_type"), ("config.json", "_class_name")):
        try:
            said = json.loads((folder / name).read_bytes()).get(key)
        except (OSError, ValueError, AttributeError):
            continue
        if isinstance(said, str):
            return FAMILIES[said].family if said in FAMILIES else said
    return ""


def _family(folder: Path, said: str) -> Finding:
    """A pipeline that engines can open must be of the family it was registered as."""
    found = family_of(folder)
    is_known = found in {one.family for one in FAMILIES.values()}
    return Finding("family", not is_known or found == said, f"{found or '–'} / {said}")


def _structure(folder: Path) -> Finding:
    """Of a pipeline: every part is there, of a library that is known, without code of its own."""
    try:
        index = json.loads((folder / INDEX).read_bytes())
    except OSError:
        return Finding("structure", True, "–")
    except ValueError as error:
        return Finding("structure", False, str(error)[:120])
    parts = {name: one for name, one in index.items() if isinstance(one, list) and one and one[0] is not None}
    for name, listed in parts.items():
        if not _is_part(folder / name, listed):
            return Finding("structure", False, f"{name}: {listed}")
    return Finding("structure", True, ", ".join(parts))


def _is_part(folder: Path, listed: list[Any]) -> bool:
    known = listed[0] in LIBRARIES or (isinstance(listed[0], str) and listed[0].isidentifier() and listed[0].islower())
    if not known or not folder.is_dir():
        return False
    has_code = any(b'"auto_map"' in path.read_bytes() for path in folder.glob("*config.json"))
    needs_weights = (folder / "config.json").is_file() and "Tokenizer" not in str(listed[1])
    return not has_code and (not needs_weights or any(folder.glob("*.safetensors")))


def _adapter(ws: Workspace, model: ModelRow) -> Finding:
    """All of its names find a place in its base, and it changes something."""
    try:
        adapter = read_adapter(weights_bytes(ws, model), alpha=model.card.get("alpha"))
        if not any(pair.up.any() and pair.down.any() for pair in adapter.pairs.values()):
            raise Rejected("engines.adapter_silent", model=model.title)
        if model.base_id is None or not (base := find_model(ws, model.base_id)).place:
            return Finding("adapter", True, f"{len(adapter.pairs)}")
        lost = _lost(adapter.pairs, Path(base.place["folder"]))
        if lost:
            raise Rejected(
                "engines.adapter_misfit", model=model.title, count=len(lost), whole=len(adapter.pairs), first=lost[0]
            )
    except MalanError as error:
        return Finding("adapter", False, str(error))
    return Finding("adapter", True, f"{len(adapter.pairs)} / {len(adapter.pairs)}")


def _lost(pairs: Mapping[str, Any], folder: Path) -> list[str]:
    """Modules that are not in the base, or of another shape."""
    known: dict[str, list[int]] = {}
    for part in {"" if name.startswith("base_model.") else name.partition(".")[0] for name in pairs}:
        known |= base_modules(folder, part)
    return [
        name for name, pair in pairs.items()
        if name not in known or (pair.up.shape[0], pair.down.shape[1]) != (known[name][0], math.prod(known[name][1:]))
    ]  # fmt: skip


def _use(ws: Workspace, model: ModelRow, action: str, caller: Caller) -> dict[str, Any]:
    decision = decide_model_use(ws, model, Asked(action), caller=caller)
    said = [{lang: one.text(lang) for lang in LANGUAGES} for one in decision.reasons]
    return {"allowed": decision.allowed, "reasons": said}


def _engines_on(ws: Workspace, model: ModelRow) -> Iterable[str]:
    """Engines of `models.toml` that stand on a model."""
    for row in read_engines(ws).engines.values():
        if row.is_remote:
            found = endpoint_of(ws, row)
            if found is not None and found.id == model.id:
                yield row.name
            continue
        if not row.model:
            continue
        try:
            if find_model(ws, row.model).id == model.id:
                yield row.name
        except NotFound:
            continue


def _check_unused(ws: Workspace, model: ModelRow) -> None:
    if engines := list(_engines_on(ws, model)):
        raise Rejected("models.engine_on", model=model.title, engines=", ".join(engines[:5]))
    with reading(run_tables(ws)) as connection:
        rows = connection.execute(select(RUNS.c.id, RUNS.c.asked).where(RUNS.c.state.in_(OPEN))).all()
    for row in rows:
        named = str(row.asked.get("base") or "")
        try:
            if named and find_model(ws, named).id == model.id:
                raise Rejected("models.run_on", model=model.title, run=row.id[:12])
        except NotFound:
            continue


def _delete_files(ws: Workspace, model: ModelRow) -> tuple[int, int]:
    """Delete the folder of a base where Malan fetched it, and empty folders above; how many files, and bytes."""
    if not model.place:
        return 0, 0
    ours = (ws.root / FOLDER).resolve()
    folder = Path(model.place["folder"])
    if not folder.resolve().is_relative_to(ours) or folder.resolve() == ours or not folder.is_dir():
        return 0, 0
    sizes = [path.lstat().st_size for path in folder.rglob("*") if path.is_file()]
    shutil.rmtree(folder)
    for above in folder.parents:
        if above == ours or not above.is_relative_to(ours) or any(above.iterdir()):
            break
        above.rmdir()
    return len(sizes), sum(sizes)


def _forget(ws: Workspace, model: ModelRow) -> None:
    """The registration goes; that it was here, and that it went, stays in the ledger."""
    name = urn("model", model.id)
    number = len(events_about(ws, "model.retire", name)) + 1
    with writing(registry(ws), durable=True) as connection:
        connection.execute(delete(MODELS).where(MODELS.c.id == model.id, MODELS.c.kind == BASE))
    record(ws, [Fact("model.retire", (Subject(name, model.id),), "model.remove", facts={"number": number})])
