"""A statement: what was charged in a period, on which usage it is divided, and what each right holder gets. Pure.

    charge ─ fees ─▶ net ─ by the weights of its usage ─▶ table: party, weight, amount
    body = charges, fees, roots of the tables, digests of the pages of usage;  its digest stands in the ledger

Everything is whole numbers and fractions as text, so that anyone recomputes it in any language. The statement file
holds the body, the tables and the rows it stands on. Start reading at `compute_line` and `check_arithmetic`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

from malan.core.canonical import canonical_json
from malan.core.errors import MalanError, ProofError
from malan.core.ids import digest_bytes
from malan.core.merkle import leaf_hash, merkle_root
from malan.rights.shares import (
    Fee,
    Holder,
    check_currency,
    check_money,
    fraction_text,
    read_fraction,
    split,
    take_fees,
    weigh,
)
from malan.rights.usage import check_amount

FILE_TYPE = "malan-statement/v1"
METHOD = "clip-microseconds*tier*share/largest-remainder/1"
BY_GRANT, BY_WORK = ("fee", "usage"), ("output", "model")
KINDS = (*BY_GRANT, *BY_WORK)
MOST_CHARGED = 10**15  # of the smallest unit; thousands of such charges still add up in a column

_PLAIN = re.compile(r"[0-9A-Za-z._~:/+=-]*")

Row = tuple[str, str, int]  # party, weight as a fraction, amount in the smallest unit


@dataclass(frozen=True, slots=True)
class Charge:
    """Money a buyer owes, to be divided.

    `fee` and `usage` are divided by all that was used under the grant in the period; `output` and `model` by all that
    was ever used for the work `about`: the sources of a film, the run a model was trained in.
    """

    id: str
    grant_id: str
    kind: str
    about: str
    gross_minor: int
    currency: str
    at_us: int


@dataclass(frozen=True)
class Line:
    """One charge, divided."""

    charge: Charge
    fees: Mapping[str, int]
    net_minor: int
    used: int  # clip-microseconds
    table: tuple[Row, ...]  # in the order of the parties' ids

    @cached_property
    def root(self) -> str:
        return table_root(self.table)

    def to_json(self) -> dict[str, Any]:
        return {
            "charge": asdict(self.charge),
            "fees": dict(self.fees),
            "net": self.net_minor,
            "used": str(self.used),
            "parties": len(self.table),
            "table": self.root,
        }


def compute_line(
    charge: Charge, fees: Sequence[Fee], used: Mapping[str, int], sets: Mapping[str, Sequence[Holder]]
) -> Line:
    """Divide one charge.

    Args:
        used: Clip-microseconds of each division of holders, by its digest; not empty.
        sets: The holders of each division.

    Raises:
        UsageError: An amount, a fee or a share that is impossible.
    """
    taken, net = take_fees(charge.gross_minor, fees)
    weights = weigh(used, sets)
    parts = split(net, weights, salt=charge.id)
    table = tuple((party, fraction_text(weights[party]), parts[party]) for party in sorted(parts))
    return Line(charge, taken, net, sum(used.values()), table)


def table_root(table: Sequence[Sequence[Any]]) -> str:
    """The Merkle root over the rows of a table."""
    return merkle_root([leaf_hash(_row_line(*row)) for row in table]).hex()


def _row_line(party: str, weight: str, amount: int) -> bytes:
    """A row of a table as canonical JSON; by hand where it has nothing to escape, since there are many."""
    if _PLAIN.fullmatch(party) and _PLAIN.fullmatch(weight) and type(amount) is int:
        return f'["{party}","{weight}",{amount}]'.encode()
    return canonical_json([party, weight, amount])


def statement_digest(body: Mapping[str, Any]) -> str:
    """The name of a statement, as the ledger states it: the digest of the canonical bytes of its body."""
    return digest_bytes(canonical_json(dict(body)))


def check_arithmetic(body: Mapping[str, Any], tables: Sequence[Sequence[Row]]) -> None:
    """Compute every line of a statement anew, from its charges, fees and weights.

    Raises:
        ProofError: A fee, a net, a table or an amount is not what follows; the message says in which line.
    """
    _must("method", body["method"] == METHOD)
    fees = [Fee(name, read_fraction(rate)) for name, rate in body["fees"]]
    _must("tables", len(tables) == len(body["lines"]))
    for number, (line, table) in enumerate(zip(body["lines"], tables, strict=True)):
        try:
            _check_line(line, table, fees, f"lines[{number}]")
        except ProofError:
            raise
        except MalanError as error:
            raise ProofError("settle.wrong", where=f"lines[{number}]: {error.message('en')}") from error


def _check_line(line: Mapping[str, Any], table: Sequence[Row], fees: Sequence[Fee], where: str) -> None:
    charge = line["charge"]
    check_currency(charge["currency"])
    taken, net = take_fees(charge["gross_minor"], fees)
    _must(f"{where}.fees", line["fees"] == taken and line["net"] == net)
    _must(f"{where}.table", line["table"] == table_root(table) and line["parties"] == len(table))
    weights = {party: read_fraction(weight) for party, weight, _ in table}
    _must(f"{where}.parties", len(weights) == len(table))
    expected = split(net, weights, salt=charge["id"])
    _must(f"{where}.amounts", all(expected[party] == amount for party, _, amount in table))


def belongs(line: Mapping[str, Any], body: Mapping[str, Any], row: Mapping[str, Any], page: int) -> bool:
    """Whether a row of usage counts for a line of a statement."""
    span, charge = body["usage"], line["charge"]
    if charge["kind"] in BY_WORK:
        return bool(row["work"] == charge["about"] and row["at"] < span["until_us"])
    is_settled = row["at"] < span["since_us"] and page <= span["after_page"]
    return bool(row["grant"] == charge["grant_id"] and row["at"] < span["until_us"] and not is_settled)


def weights_of(
    line: Mapping[str, Any],
    body: Mapping[str, Any],
    rows: Sequence[tuple[int, Mapping[str, Any]]],
    sets: Mapping[str, Sequence[Holder]],
) -> tuple[dict[str, Fraction | int], int]:
    """The weights that rows of usage give the parties of a line, and the clip-microseconds of those rows.

    Raises:
        ProofError: A row names a division whose holders are not given.
    """
    used: dict[str, int] = {}
    for page, row in rows:
        if belongs(line, body, row, page):
            _must(f"holders.{row['holders'][:12]}", row["holders"] in sets)
            _must(f"usage[{row['seq']}]", row["amount"] == row["us"] * row["passes"])
            used[row["holders"]] = used.get(row["holders"], 0) + row["amount"]
    return weigh(used, sets), sum(used.values())


def checked_charge(charge: Charge) -> Charge:
    """Raises:
    UsageError: It is negative, absurd, not a whole number, of no time, or without a currency.
    """
    check_money(charge.gross_minor, MOST_CHARGED)
    check_amount("at_us", charge.at_us)
    check_currency(charge.currency)
    return charge


def _must(where: str, holds: bool) -> None:
    if not holds:
        raise ProofError("settle.wrong", where=where)
