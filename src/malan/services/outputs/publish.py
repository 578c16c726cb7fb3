"""Publishing a file: the one order in which labels, credential and log entries are made, whoever made the picture.

    intent logged ─▶ render ─▶ explicit label ─▶ implicit label ─▶ credential ─▶ all read back ─▶ digest logged ─▶ name

The intent and both labels are for what AI made or changed (GB 45438-2025); everything gets a credential where its
container can carry one, and everything is logged with its sources. The file has its name only when all of it holds.
Start at `publish`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from malan.core.errors import ProofError, UsageError
from malan.core.ids import digest_record
from malan.ledger.statement import Input, Subject, urn
from malan.rights.signals import MODEL_USES, NOT_ALLOWED, answers, said_in
from malan.services.access import HOUSE, Caller
from malan.services.files.leftovers import sweep
from malan.services.footage.owners import terms_of
from malan.services.journal import Fact, read_event, record
from malan.services.log.keys import media_chain
from malan.services.log.proofs import event_receipt
from malan.services.market.granted import opened_by, require_source
from malan.services.outputs.manifests import Source, keep_sources, log_output
from malan.services.uses import today

if TYPE_CHECKING:
    from malan.media.credentials import Credential, Ingredient, Use
    from malan.workspace import Workspace

CREDENTIAL_SUFFIXES = (".mp4", ".mov", ".m4a", ".mp3", ".wav", ".flac", ".avi", ".jpg", ".jpeg", ".png", ".webp")


@dataclass(frozen=True)
class AiPart:
    """That AI made all of a file (`generated`) or some of it (`composite`), and with which models."""

    share: Literal["generated", "composite"]
    model_ids: tuple[str, ...] = ()
    text: str = ""  # of the explicit label; empty: 「AI生成」


@dataclass(frozen=True)
class Planned:
    """A model that had a say in a file without making any of it, as the one that planned a film: the engine, what the
    model is called there, and its digest, which of one that runs elsewhere is that of address and name."""

    engine: str
    model: str
    digest: str


@dataclass(frozen=True)
class Draft:
    """A file that is about to be made: which app makes it, how, and from what.

    `brought` are digests (SHA-256) of files whoever asks brought along: they stand in log and credential beside the
    sources, without an owner here. `planned_by` are named in the log, so that a recall finds the file.
    """

    app: str
    mode: str  # retrieve, assemble, compose, render, infer, diffuse
    title: str
    sources: tuple[Source, ...]
    use: str = "publish"  # the right that is asked for of every source
    ai: AiPart | None = None
    brought: tuple[str, ...] = ()
    planned_by: tuple[Planned, ...] = ()


@dataclass(frozen=True)
class Published:
    """A file that was published, and where the log says so."""

    path: Path
    output_id: str  # digest of the file
    event: int
    intent_event: int | None  # of what AI had a part in
    produce_id: str | None  # ProduceID of its label: the id of the intent
    has_credential: bool


def publish(
    ws: Workspace, draft: Draft, render: Callable[[Path], None], out: Path, *, caller: Caller = HOUSE,
    count: Callable[[str], None] = lambda _: None,
) -> Published:  # fmt: skip
    """Make a file with everything it must carry, and log it.

    Args:
        ws: Whose keys, terms and log.
        draft: What it is; every source is asked for `draft.use` first.
        render: Writes the bare file to the path it is given.
        out: Where it shall be; its ending names the container. A file that is there is replaced at the very end.
        caller: On whose behalf; its role and the terms are asked.
        count: Told the digest of the file before it gets its name: where it is counted under a grant.

    Raises:
        NotGranted: A source may not be used so; nothing was made.
        UsageError: AI had a part and no provider code is set, or the container cannot carry a label.
        ProofError: Something did not read back as it was written; nothing is left.
    """
    opened = opened_by(ws, caller, (draft.use,)) if caller.grant_id and draft.sources else None
    for source in draft.sources:
        what = f"{source.clip.id[:12]} ({float(source.at_s):.2f}–{float(source.until_s):.2f} s)"
        require_source(ws, source.clip, source.terms_id, draft.use, what, caller=caller, opened=opened)
    producer = check_producer(ws, draft.ai, out) if draft.ai else ""
    intent = _log_intent(ws, draft) if draft.ai else None
    sweep(out.parent)
    work = out.with_name(f".malan-{os.getpid()}-{digest_record('work', out.name)[:8]}-work{out.suffix.lower()}")
    try:
        render(work)
        produce_id = _label(ws, draft, work, producer, intent) if intent is not None else None
        has_credential = _sign(ws, draft, work, intent)
        _read_back(ws, work, produce_id)
        sources = draft.sources
        output_id, event = log_output(
            ws, work, app=draft.app, mode=draft.mode, sources=sources, intent=intent, brought=draft.brought,
            planned_by={one.digest: f"{one.engine} ({one.model})"[:200] for one in draft.planned_by},
        )  # fmt: skip
        count(output_id)
        work.replace(out)
    finally:
        work.unlink(missing_ok=True)
    return Published(out, output_id, event, intent, produce_id, has_credential)


def check_producer(ws: Workspace, ai: AiPart, out: Path) -> str:
    """The 27 characters that name the provider (TC260-PG-20252A); software cannot make them up.

    Asked again by whoever renders for long, before that.

    Raises:
        UsageError: There are none, or labelling would refuse the container or the words later.
    """
    from malan.media.explicit import check_extension, check_text
    from malan.media.labels import Label

    code = ws.settings.producer_code
    if not code:
        raise UsageError("publish.no_producer")
    Label.first(code, "intent").check()
    check_extension(out)
    check_text(ai.text or "AI生成")
    return code


def _log_intent(ws: Workspace, draft: Draft) -> int:
    """State what is about to be made; the id of this event names the file in its label."""
    root = keep_sources(ws, draft.sources)
    body = digest_record("intent", [draft.app, draft.mode, draft.title, root, os.urandom(16).hex()])
    models = draft.ai.model_ids if draft.ai else ()
    fact = Fact(
        "gen.intent",
        (Subject(urn("intent", body), body),),
        "publish",
        inputs=(
            Input(urn("sources", root), root, "inputTo"),
            *(Input(urn("model", model), model, "inputTo") for model in models),
            *(Input(urn("asset", digest), digest, "inputTo") for digest in draft.brought),
        ),
        facts={"app": draft.app, "mode": draft.mode},
        private={"title": draft.title},
    )
    return record(ws, [fact])[0]


def _label(ws: Workspace, draft: Draft, work: Path, producer: str, intent: int) -> str:
    """Explicit label, then implicit label; the ProduceID is the id of the intent."""
    from malan.media.explicit import TEXTS, burn_label
    from malan.media.labels import Label, write_label

    produce_id = read_event(ws, intent).statement.id
    burn_label(work, work, text=(draft.ai.text if draft.ai else "") or TEXTS["zh"])
    labelled = work.with_name(f"{work.stem}-labelled{work.suffix}")
    try:
        write_label(work, labelled, Label.first(producer, produce_id))
        labelled.replace(work)
    finally:
        labelled.unlink(missing_ok=True)
    return produce_id


def _sign(ws: Workspace, draft: Draft, work: Path, intent: int | None) -> bool:
    """Sign last; False where the container cannot carry a credential."""
    from malan.media.credentials import sign_media

    if work.suffix not in CREDENTIAL_SUFFIXES:
        return False
    sign_media(work, work, media_chain(ws), _credential(ws, draft, intent))
    return True


def _credential(ws: Workspace, draft: Draft, intent: int | None) -> Credential:
    from malan.media.credentials import Credential, SourceType

    kinds = {"generated": SourceType.AI_GENERATED, "composite": SourceType.AI_COMPOSITE}
    assertions: dict[str, Any] = {
        "org.malan.log": {"origin": ws.keys.origin or "", "app": draft.app, "mode": draft.mode}
    }
    if intent is not None:
        assertions["org.malan.intent"] = {"receipt": event_receipt(ws, intent).decode()}
    return Credential(
        title=draft.title,
        producer=ws.settings.organisation or ws.keys.origin or "Malan",
        source_type=kinds[draft.ai.share] if draft.ai else SourceType.EDITED_BY_PEOPLE,
        ingredients=tuple(_ingredients(draft)),
        training_mining=training_mining(ws, {source.terms_id for source in draft.sources}),
        assertions=assertions,
    )


def _ingredients(draft: Draft) -> list[Ingredient]:
    """Each stretch of footage by the digest of its asset, with the part that was used; the footage stays at home."""
    from malan.media.credentials import Ingredient, Relation

    relation: Relation = "inputTo" if draft.ai else "parentOf" if len(draft.sources) == 1 else "componentOf"
    footage = [
        Ingredient(
            title=f"asset {source.clip.asset_id[:12]}",
            relation=relation,
            digest=f"sha256:{source.clip.asset_id}",
            span=source.clip.span,
        )
        for source in draft.sources
    ]
    brought = [
        Ingredient(title=f"file {digest[:12]}", relation="inputTo", digest=f"sha256:{digest}")
        for digest in draft.brought
    ]
    return footage + brought


def training_mining(ws: Workspace, terms_ids: set[str]) -> dict[str, Use]:
    """What all of these terms allow models to do, in the words of CAWG; of nothing, nothing."""
    said = said_in(answers(terms_of(ws, terms_id), today()) for terms_id in sorted(terms_ids))
    return cast("dict[str, Use]", said or dict.fromkeys(MODEL_USES, NOT_ALLOWED))


def _read_back(ws: Workspace, work: Path, produce_id: str | None) -> None:
    """Everything the file must carry, read by other code than wrote it.

    Raises:
        ProofError: Something is missing or different.
    """
    from malan.media.credentials import read_credential

    if work.suffix in CREDENTIAL_SUFFIXES:
        report = read_credential(work, [media_chain(ws).root_pem])
        if report.state != "trusted":
            problems = ", ".join(problem.code for problem in report.problems)
            raise ProofError("publish.read_back", what="C2PA", detail=problems or report.state)
    if produce_id is not None:
        _read_labels(work, produce_id)


def _read_labels(work: Path, produce_id: str) -> None:
    from malan.inference.ocr import OnnxTextReader
    from malan.media.explicit import check_explicit
    from malan.media.labels import label_of, verify

    verdict = verify(work)
    label = label_of(verdict)
    if verdict.verdict != "compliant" or label is None or label.produce_id != produce_id:
        reasons = ", ".join(reason.code for reason in verdict.reasons)
        raise ProofError("publish.read_back", what="AIGC", detail=reasons or verdict.verdict)
    reader = OnnxTextReader()

    def recognise(picture: Any) -> Sequence[tuple[str, tuple[int, int, int, int]]]:
        boxes = [box for box in reader.detect(picture) if box[2] > box[0] and box[3] > box[1]]
        lines = reader.recognise([picture[y0:y1, x0:x1] for x0, y0, x1, y1 in boxes])
        return [(line.text, box) for line, box in zip(lines, boxes, strict=True)]

    explicit = check_explicit(work, recognise)
    if explicit.verdict != "compliant":
        raise ProofError("publish.read_back", what="显式标识", detail=", ".join(explicit.reasons) or explicit.verdict)
