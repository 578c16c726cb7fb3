"""A statement as one file, for a right holder or an auditor, and the check of such a file without us.

    receipt ─ the ledger holds ─▶ digest of the body ─ holds ─▶ roots of tables, digests of pages
    receipts of pages ─ hold ─▶ roots of pages ─ hold ─▶ rows of usage ─ with their holders ─▶ weights ─▶ amounts

A file for one party holds that party's rows with their proofs, and everybody's weight and amount under the ids of the
parties, not their names; a file for an auditor holds every row. Start at `statement_file` and `check_statement_file`.

Covered: the file is what the ledger holds; every fee, weight shown by rows, and amount follows; nothing was changed.
Not covered by a file for one party: whether all of its rows are in it, and the rows behind the weights of others. An
auditor's file holds every row there was since the statement before, and shows both.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from malan.core.canonical import canonical_json, read_canonical
from malan.core.errors import MalanError, NotFound, ProofError
from malan.core.merkle import check_inclusion, inclusion_proofs, leaf_hash
from malan.ledger.note import NoteVerifier
from malan.ledger.statement import Statement, urn
from malan.ledger.verify import verify
from malan.rights.holders import Holders
from malan.rights.pages import Page, list_pages, read_page
from malan.rights.shares import Holder, holders_digest, holders_json, read_fraction
from malan.rights.statement import FILE_TYPE, belongs, check_arithmetic, statement_digest, weights_of
from malan.rights.usage import NOTHING_BEFORE, page_digest, page_root
from malan.services.access import HOUSE, Caller, require
from malan.services.journal import events_about, read_event
from malan.services.log.proofs import bundle
from malan.services.settlement.metering import page_event
from malan.services.settlement.statements import Settled, tables_of

if TYPE_CHECKING:
    from malan.workspace import Workspace

_PAGE = ("number", "rows", "root", "first_us", "last_us", "before")


@dataclass(frozen=True, slots=True)
class Checked:
    """What a statement file proves. `amounts`: currency → what the party gets; of everybody when it is an auditor's."""

    id: str
    period: str
    party: str | None
    lines: int
    rows: int
    amounts: Mapping[str, int]


def statement_file(
    ws: Workspace, statement: Settled, party_id: str | None = None, *, caller: Caller = HOUSE
) -> dict[str, Any]:
    """A statement with all that is needed to check it.

    Args:
        party_id: Whose rows of usage go in; None: all rows, for an auditor.

    Raises:
        NotFound: The party is not in it, or it was never stated in the ledger.
        ProofError: Usage is not what the ledger holds.
    """
    require(caller, "statements", owner_id=party_id)
    tables = tables_of(ws, statement)
    if party_id is not None and not any(party == party_id for table in tables for party, _, _ in table):
        raise NotFound("settle.not_in_it", party=party_id[:12], id=statement.id[:12])
    pages, usage, holders = _rows(ws, statement.body, party_id)
    places = events_about(ws, "settle.compute", urn("statement", statement.id))
    if not places:
        raise NotFound("log.not_logged", what=statement.id[:16])
    return {
        "type": FILE_TYPE,
        "body": dict(statement.body),
        "tables": tables,
        "party": party_id,
        "pages": [_page_json(page, pages) for page in pages if page.number in usage],
        "usage": [[number, usage[number]] for number in sorted(usage)],
        "holders": {digest: holders_json(listed) for digest, listed in sorted(holders.items())},
        "receipts": {
            "statement": bundle(ws, read_event(ws, places[0])),
            "pages": [[number, _page_receipt(ws, pages[number])] for number in sorted(usage)],
        },
    }


def write_statement(value: Mapping[str, Any]) -> bytes:
    """A statement file as bytes."""
    return canonical_json(dict(value)) + b"\n"


def check_statement_file(data: bytes, keys: Sequence[str], *, name: str = "-") -> Checked:
    """Check a statement file with nothing but itself and the log's public key.

    Args:
        data: The file.
        keys: Verifier keys of the log, as `malan key show --vkey` prints them.
        name: How to call the file in messages.

    Raises:
        ProofError: It does not hold; the message says where.
    """
    try:
        value = read_canonical(data.rstrip(b"\n"))
        if not isinstance(value, dict) or value.get("type") != FILE_TYPE:
            raise ProofError("settle.not_statement", path=name, detail="type")
        return _check(value, [NoteVerifier.parse(key) for key in keys])
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, ZeroDivisionError) as error:
        raise ProofError("settle.not_statement", path=name, detail=f"{type(error).__name__}: {error}"[:200]) from error


def _check(value: Mapping[str, Any], verifiers: Sequence[NoteVerifier]) -> Checked:
    body, tables, party = value["body"], value["tables"], value["party"]
    digest = statement_digest(body)
    _check_event(value["receipts"]["statement"], "settle.compute", digest, verifiers)
    check_arithmetic(body, tables)
    _must("party", party is None or any(who == party for table in tables for who, *_ in table))
    sets = {name: _holders(name, listed) for name, listed in value["holders"].items()}
    rows = _checked_rows(value, verifiers)
    for number, (line, table) in enumerate(zip(body["lines"], tables, strict=True)):
        _check_weights(f"lines[{number}]", line, body, table, rows, sets, party)
    amounts: dict[str, int] = {}
    for line, table in zip(body["lines"], tables, strict=True):
        currency = line["charge"]["currency"]
        got = sum(amount for who, _, amount in table if party in (None, who))
        amounts[currency] = amounts.get(currency, 0) + got
    return Checked(digest, body["period"], party, len(tables), len(rows), amounts)


def _check_weights(
    where: str,
    line: Mapping[str, Any],
    body: Mapping[str, Any],
    table: Sequence[Any],
    rows: Sequence[tuple[int, Mapping[str, Any]]],
    sets: Mapping[str, Sequence[Holder]],
    party: str | None,
) -> None:
    """The weights in a table are those that the rows give: the party's, or everybody's."""
    found, used = weights_of(line, body, rows, sets)
    stated = {who: read_fraction(weight) for who, weight, _ in table}
    if party is None:
        _must(f"{where}.weights", stated == found)
        _must(f"{where}.used", line["used"] == str(used))
    else:
        _must(f"{where}.weights", stated.get(party) == found.get(party))


def _checked_rows(value: Mapping[str, Any], verifiers: Sequence[NoteVerifier]) -> list[tuple[int, Mapping[str, Any]]]:
    """The rows of a file, each proved to be in a page that the ledger holds; an auditor's pages must be whole."""
    pages = {page["number"]: page for page in value["pages"]}
    receipts = dict(value["receipts"]["pages"])
    stated = dict(value["body"]["usage"]["pages"])
    rows: list[tuple[int, Mapping[str, Any]]] = []
    for number, listed in value["usage"]:
        page = pages[number]
        times = (page["first_us"], page["last_us"])
        digest = page_digest(number, page["rows"], page["root"], times, page["before"])
        _must(f"pages[{number}]", stated.get(number) == digest)
        _check_event(receipts[number], "usage.root", digest, verifiers)
        _check_members(page, listed, whole=value["party"] is None)
        rows += [(number, json.loads(line)) for line, *_ in listed]
    if value["party"] is None:
        _check_complete(value["body"]["usage"], pages, stated)
    _must("usage", len({row["seq"] for _, row in rows}) == len(rows))
    return rows


def _check_complete(span: Mapping[str, Any], pages: Mapping[int, Mapping[str, Any]], stated: Mapping[int, str]) -> None:
    """An auditor's file holds every page since the statement before, each following the one before it."""
    _must("pages", set(stated) == set(pages) >= set(range(span["after_page"] + 1, span["last_page"] + 1)))
    for number, page in pages.items():
        _must(f"pages[{number}].before", stated.get(number - 1, page["before"]) == page["before"])


def _check_members(page: Mapping[str, Any], listed: Sequence[Any], *, whole: bool) -> None:
    root = bytes.fromhex(page["root"])
    if whole:
        _must(f"pages[{page['number']}].rows", len(listed) == page["rows"])
        _must(f"pages[{page['number']}].root", page_root(line.encode() for (line,) in listed) == page["root"])
        return
    for line, index, proof in listed:
        check_inclusion(leaf_hash(line.encode()), index, page["rows"], [bytes.fromhex(node) for node in proof], root)


def _check_event(receipt: Any, kind: str, digest: str, verifiers: Sequence[NoteVerifier]) -> None:
    """The ledger holds an event of this kind about this digest."""
    event: Statement | None = verify(json.dumps(receipt).encode(), verifiers).event
    if event is None or event.kind != kind or digest not in {one.sha256 for one in event.subjects}:
        raise ProofError("settle.other_event", found=event.kind if event else "-")


def _holders(name: str, listed: Sequence[Sequence[Any]]) -> tuple[Holder, ...]:
    try:
        holders = tuple(Holder(party, read_fraction(share), tier) for party, share, tier in listed)
        is_named = holders_digest(holders) == name
    except ProofError:
        raise
    except MalanError as error:
        raise ProofError("settle.wrong", where=f"holders.{name[:12]}: {error.message('en')}") from error
    _must(f"holders.{name[:12]}", is_named)
    return holders


def _rows(
    ws: Workspace, body: Mapping[str, Any], party_id: str | None
) -> tuple[list[Page], dict[int, list[Any]], dict[str, tuple[Holder, ...]]]:
    """The rows that go into a file, by page, and the holders they name."""
    pages = list_pages(ws.database)
    usage: dict[int, list[Any]] = {}
    named: dict[str, tuple[Holder, ...]] = {}
    for number, _ in body["usage"]["pages"]:
        lines, rows = read_page(ws.database, pages[number])
        sets = Holders(ws.database).read({row.holders_id for row in rows})
        if party_id is None:
            usage[number] = [[line.decode()] for line in lines]
            named |= sets
            continue
        mine = {digest for digest, listed in sets.items() if any(one.party_id == party_id for one in listed)}
        chosen = [at for at, row in enumerate(rows) if row.holders_id in mine and _counts(body, lines[at], number)]
        if chosen:
            proofs = inclusion_proofs([leaf_hash(line) for line in lines], chosen)
            usage[number] = [_proved(lines[at], at, proof) for at, proof in zip(chosen, proofs, strict=True)]
            named |= {rows[at].holders_id: sets[rows[at].holders_id] for at in chosen}
    return pages, usage, named


def _proved(line: bytes, at: int, proof: Sequence[bytes]) -> list[Any]:
    """A row with its place in the page and the neighbours that prove it."""
    return [line.decode(), at, [node.hex() for node in proof]]


def _counts(body: Mapping[str, Any], line: bytes, page: int) -> bool:
    row = json.loads(line)
    return any(belongs(one, body, row, page) for one in body["lines"])


def _page_json(page: Page, pages: Sequence[Page]) -> dict[str, Any]:
    before = pages[page.number - 1].digest if page.number else NOTHING_BEFORE
    return {name: before if name == "before" else getattr(page, name) for name in _PAGE}


def _page_receipt(ws: Workspace, page: Page) -> dict[str, Any]:
    index = page_event(ws, page)
    if index is None:
        raise ProofError("meter.page_unlogged", number=page.number)
    return bundle(ws, read_event(ws, index))


def _must(where: str, holds: bool) -> None:
    if not holds:
        raise ProofError("settle.wrong", where=where)
