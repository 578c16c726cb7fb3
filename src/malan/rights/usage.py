"""What was used: one row for each stretch of footage that was handed to somebody, kept forever, and how it is proved.

A row is a line of canonical JSON. Rows are gathered in pages in their order; the Merkle root of a page is stated in the
ledger, so no row can be changed, taken out or slipped in unseen. Start reading at `Usage`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from malan.core.errors import UsageError
from malan.core.ids import digest_record
from malan.core.merkle import leaf_hash, merkle_root

MICROSECONDS = 1_000_000  # in a second
MOST = 2**53 - 1  # an integer every reader of JSON holds exactly: 285 years of footage
PAGE_ROWS = 65_536
WORKS = ("run", "output", "model")
NOTHING_BEFORE = "0" * 64

MOST_LETTERS = 150  # of an id; names of accounts, which hold one, are a little longer

_ID = re.compile(r"[0-9A-Za-z._~:/+=-]+")


@dataclass(frozen=True, slots=True)
class Usage:
    """A stretch of footage handed over under a grant.

    `microseconds` is its length; `passes` says how often it was handed over; their product is what the meter counts.
    `work` says for what: `run:<id>`, `output:<digest>`, `model:<digest>`. `holders_id` names who held which share of
    the asset when it was used.

    Raises:
        UsageError: A length or number of passes that is not a whole number above zero, or a name no id can be.
    """

    grant_id: str
    snapshot_id: str
    asset_id: str
    owner_id: str
    holders_id: str
    work: str
    microseconds: int
    passes: int = 1

    def __post_init__(self) -> None:
        for name in ("microseconds", "passes"):
            check_amount(name, getattr(self, name))
        check_amount("microseconds × passes", self.amount)
        for name in ("grant_id", "snapshot_id", "asset_id", "owner_id", "holders_id", "work"):
            check_id(name, getattr(self, name))
        if self.work.partition(":")[0] not in WORKS:
            raise UsageError("meter.bad_work", work=self.work[:80], known=", ".join(WORKS))

    @property
    def amount(self) -> int:
        """Clip-microseconds: length times passes."""
        return self.microseconds * self.passes


def usage_line(
    seq: int,
    grant_id: str,
    snapshot_id: str,
    asset_id: str,
    owner_id: str,
    holders_id: str,
    work: str,
    microseconds: int,
    passes: int,
    amount: int,
    at_us: int,
) -> bytes:
    """A stored row as it is hashed: canonical JSON (RFC 8785). Written by hand, since there are millions of them."""
    return (
        f'{{"amount":{amount},"asset":"{asset_id}","at":{at_us},"grant":"{grant_id}","holders":"{holders_id}",'
        f'"owner":"{owner_id}","passes":{passes},"seq":{seq},"snapshot":"{snapshot_id}","us":{microseconds},'
        f'"work":"{work}"}}'
    ).encode()


def page_root(lines: Iterable[bytes]) -> str:
    """The Merkle root over the lines of a page (RFC 6962 §2.1)."""
    return merkle_root([leaf_hash(line) for line in lines]).hex()


def page_digest(number: int, rows: int, root: str, times_us: tuple[int, int], before: str) -> str:
    """What names a page in the ledger: its root, when its first and last rows were used, and the page before it."""
    return digest_record("usage.page", [number, rows, root, *times_us, before])


def check_amount(name: str, value: Any) -> None:
    """Raises:
    UsageError: Not a whole number from 1 to `MOST`; a float is refused, never rounded.
    """
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= MOST:
        raise UsageError("meter.bad_amount", name=name, value=str(value)[:40], most=MOST)


def check_id(name: str, value: Any, most: int = MOST_LETTERS) -> None:
    """Raises:
    UsageError: It cannot stand in a line unescaped, so it is no id of ours.
    """
    if not isinstance(value, str) or not 0 < len(value) <= most or not _ID.fullmatch(value):
        raise UsageError("meter.bad_id", name=name, value=str(value)[:80], most=most)
