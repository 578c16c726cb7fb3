"""The book of money: double entry, only ever added to.

A posting names the account that gives, the account that takes, and one amount above zero, so every row sums to zero by
its shape: an entry that does not balance cannot be written down. A mistake is undone by an entry the other way round.
Start reading at `post`.

    buyer:<grant> ─▶ clearing:<statement> ─▶ fee:<name>
                                          └▶ held:<party> ─ after the holdback ─▶ due:<party> ─▶ paid:<party>
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import CheckConstraint, Column, Connection, ForeignKey, Index, MetaData, String, Table, func, select

from malan.core.errors import NotFound, Rejected
from malan.rights.meter_tables import NUMBER
from malan.rights.shares import check_currency, check_money
from malan.rights.usage import MOST_LETTERS, check_id
from malan.runtime.database import add_new, keep_forever

_MOST = 2**63 - 1  # a sum of many charges; what a column holds

METADATA = MetaData()
ENTRIES = Table(
    "book_entries",
    METADATA,
    Column("id", String, primary_key=True),
    Column("kind", String, nullable=False),  # settle, release, reverse
    Column("about", String, nullable=False),  # the statement
    Column("at_us", NUMBER, nullable=False),
    Column("reverses", ForeignKey("book_entries.id"), unique=True),
    Index("book_entries_by_statement", "about", "kind"),
)
POSTINGS = Table(
    "book_postings",
    METADATA,
    Column("entry_id", ForeignKey("book_entries.id"), primary_key=True),
    Column("number", NUMBER, primary_key=True, autoincrement=False),
    Column("gives", String, nullable=False),
    Column("takes", String, nullable=False),
    Column("currency", String, nullable=False),
    Column("amount_minor", NUMBER, nullable=False),
    CheckConstraint("amount_minor > 0", name="book_amount"),
    CheckConstraint("gives <> takes", name="book_accounts"),
    Index("book_postings_by_giver", "gives"),
    Index("book_postings_by_taker", "takes"),
)
for _table in (ENTRIES, POSTINGS):
    keep_forever(_table)


@dataclass(frozen=True, slots=True)
class Posting:
    """An amount that moves from one account to another.

    Raises:
        UsageError: The amount is not a whole number above zero, or the currency is none.
    """

    gives: str
    takes: str
    currency: str
    amount_minor: int

    def __post_init__(self) -> None:
        for account in (self.gives, self.takes):
            check_id("account", account, MOST_LETTERS + 20)
        check_currency(self.currency)
        check_money(self.amount_minor, _MOST)


def post(
    connection: Connection,
    entry_id: str,
    kind: str,
    about: str,
    at_us: int,
    postings: Iterable[Posting],
    *,
    reverses: str | None = None,
) -> bool:
    """Write an entry down, in the caller's transaction; one that is there already is not written twice.

    Returns:
        Whether it was written now.
    """
    head = {"id": entry_id, "kind": kind, "about": about, "at_us": at_us, "reverses": reverses}
    if not add_new(connection, ENTRIES, head):
        return False
    rows = [
        {
            "entry_id": entry_id,
            "number": number,
            "gives": one.gives,
            "takes": one.takes,
            "currency": one.currency,
            "amount_minor": one.amount_minor,
        }
        for number, one in enumerate(postings)
    ]
    if rows:
        connection.execute(POSTINGS.insert(), rows)
    return True


def reverse(connection: Connection, entry_id: str, at_us: int) -> None:
    """Undo an entry by its mirror image.

    Raises:
        NotFound: There is no such entry.
        Rejected: It was undone before.
    """
    head = connection.execute(select(ENTRIES).where(ENTRIES.c.id == entry_id)).one_or_none()
    if head is None:
        raise NotFound("settle.no_entry", id=entry_id[:24])
    rows = connection.execute(select(POSTINGS).where(POSTINGS.c.entry_id == entry_id).order_by(POSTINGS.c.number))
    back = [Posting(row.takes, row.gives, row.currency, row.amount_minor) for row in rows]
    if not post(connection, f"reverse:{entry_id}", "reverse", head.about, at_us, back, reverses=entry_id):
        raise Rejected("settle.reversed", id=entry_id[:24])


def balances(connection: Connection, prefix: str = "") -> dict[tuple[str, str], int]:
    """What each account has taken less what it has given, by account and currency; `prefix` chooses accounts."""
    found: dict[tuple[str, str], int] = {}
    for account, sign in ((POSTINGS.c.takes, 1), (POSTINGS.c.gives, -1)):
        query = select(account, POSTINGS.c.currency, func.sum(POSTINGS.c.amount_minor))
        where = account.startswith(prefix, autoescape=True)
        for name, currency, total in connection.execute(query.where(where).group_by(account, POSTINGS.c.currency)):
            found[name, currency] = found.get((name, currency), 0) + sign * int(total)
    return found


def takers(connection: Connection, kind: str, about: str) -> set[tuple[str, str]]:
    """The accounts, with currency, that entries of a kind about a statement gave to."""
    joined = select(POSTINGS.c.takes, POSTINGS.c.currency).join(ENTRIES, ENTRIES.c.id == POSTINGS.c.entry_id)
    rows = connection.execute(joined.where(ENTRIES.c.kind == kind, ENTRIES.c.about == about))
    return {(row.takes, row.currency) for row in rows}
