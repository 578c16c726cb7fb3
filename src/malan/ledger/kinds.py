"""The kinds of events: one for every arrow of the chain, each with what it must be about.

A kind names what its subjects and inputs are (the third part of their URN) and which facts it must state. A statement
that leaves one out is refused before it is signed. A new kind is one line here and a name in the message catalogue.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

TEXT, COUNT, DIGEST, TEXTS, FACTS = "text", "count", "digest", "texts", "facts"

ROLES = ("owner", "buyer", "annotator", "reviewer", "operator", "auditor", "system")
RELATIONS = ("parentOf", "componentOf", "inputTo", "about")  # the first three are C2PA's words for ingredients


@dataclass(frozen=True, slots=True)
class EventKind:
    """What an event of one kind is about and must say."""

    name: str
    subjects: tuple[str, ...]  # kinds of URN its subjects may be
    inputs: tuple[str, ...] = ()  # kinds of URN its inputs may be
    facts: Mapping[str, str] | None = None  # name → sort, all required; None: none


_KINDS = (
    EventKind("log.start", ("log",), facts={"origin": TEXT}),
    EventKind("key.register", ("key",), facts={"key": TEXT, "role": TEXT}),
    EventKind("key.rotate", ("key",), ("key",), {"key": TEXT, "replaces": TEXT, "role": TEXT}),
    EventKind("party.admit", ("party",), facts={"kind": TEXT, "roles": TEXTS}),
    EventKind("party.roles", ("party",), facts={"roles": TEXTS, "number": COUNT}),
    EventKind("party.state", ("party",), facts={"state": TEXT, "number": COUNT}),
    EventKind("settings.change", ("settings",), facts={"names": TEXTS}),
    EventKind("key.issue", ("credential",), ("party",), {"roles": TEXTS, "days": COUNT}),
    EventKind("key.end", ("credential",), ("party",), {"reason": TEXT}),
    EventKind("asset.ingest", ("asset",), facts={"container": TEXT, "duration": TEXT, "terms": DIGEST, "size": COUNT}),
    EventKind("asset.claim", ("asset",), facts={"terms": DIGEST}),
    EventKind("asset.withdraw", ("asset",), facts={"reach": DIGEST}),
    EventKind("asset.override", ("asset",), facts={"terms": DIGEST, "signals": TEXTS}),
    EventKind("clip.derive", ("scan",), ("asset", "model"), {"clips": COUNT, "findings": COUNT}),
    EventKind("clip.desensitise", ("clip",), ("clip",), {"method": TEXT}),
    EventKind("annot.add", ("findings",), ("clip", "snapshot"), {"findings": COUNT}),
    EventKind("annot.review", ("findings",), ("findings",), {"accepted": COUNT, "rejected": COUNT}),
    EventKind("dataset.release", ("snapshot",), facts={"clips": COUNT, "terms": TEXTS, "seed": COUNT}),
    EventKind("dataset.export", ("export",), ("snapshot",), {"format": TEXT, "files": COUNT}),
    EventKind("product.offer", ("product",), ("snapshot",), {"terms": DIGEST, "state": TEXT}),
    EventKind("contract.sign", ("contract",), ("snapshot",), {"terms": DIGEST}),
    EventKind("access.grant", ("grant",), ("contract", "snapshot"), {"use": TEXT}),
    EventKind("algorithm.submit", ("algorithm",), ("grant",), {"files": COUNT, "size": COUNT}),
    EventKind("algorithm.decide", ("decision",), ("algorithm",), {"decision": TEXT}),
    EventKind("algorithm.trust", ("decision",), facts={"state": TEXT}),
    EventKind("run.start", ("run",), ("snapshot", "grant", "model"), {"code": DIGEST}),
    EventKind("run.end", ("run",), ("run",), {"state": TEXT}),
    EventKind("model.release", ("model",), ("run", "snapshot", "model"), {"licence": TEXT}),
    EventKind("model.approve", ("model",), facts={"use": TEXT}),
    EventKind("model.export", ("model",), facts={"format": TEXT, "file": DIGEST}),
    EventKind("model.retire", ("model",), facts={"number": COUNT}),
    EventKind("gen.intent", ("intent",), ("clip", "asset", "model", "sources"), {"app": TEXT, "mode": TEXT}),
    EventKind("media.publish", ("output",), ("intent", "sources", "asset", "model"), {"app": TEXT, "mode": TEXT}),
    EventKind("label.propagate", ("output",), ("output",), {"label": FACTS}),
    EventKind("output.recall", ("output",), ("model",), {"state": TEXT, "number": COUNT}),
    EventKind("usage.root", ("usage",), ("usage",), {"page": COUNT, "rows": COUNT, "root": DIGEST}),
    EventKind("settle.compute", ("statement",), ("output", "contract", "model", "usage"), {"period": TEXT}),
    EventKind("settle.dispute", ("statement",), facts={"number": COUNT, "state": TEXT}),
    EventKind("settle.reverse", ("statement",), facts={"period": TEXT}),
    EventKind("revoke", ("grant", "contract", "key"), facts={"reason": TEXT}),
)

EVENT_KINDS: Mapping[str, EventKind] = {kind.name: kind for kind in _KINDS}
