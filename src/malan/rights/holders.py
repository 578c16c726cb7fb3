"""Who holds which share of an asset, and since when. A division is kept forever under its digest, which usage names.

An asset nobody divided is its registered owner's, whole. Start reading at `Holders`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from sqlalchemy import CheckConstraint, Column, Connection, Engine, MetaData, String, Table, func, select

from malan.rights.meter_tables import NUMBER
from malan.rights.shares import Holder, check_holders, holders_digest, read_fraction
from malan.rights.usage import check_id
from malan.runtime.database import add_new, ensure_tables, keep_forever, reading, writing

_AT_ONCE = 500

METADATA = MetaData()
DIVISIONS = Table(
    "holder_divisions",
    METADATA,
    Column("holders_id", String, primary_key=True),
    Column("party_id", String, primary_key=True),
    Column("share", String, nullable=False),
    Column("tier", NUMBER, nullable=False),
    CheckConstraint("tier > 0", name="holder_tier"),
)
ASSETS = Table(
    "holder_assets",
    METADATA,
    Column("asset_id", String, primary_key=True),
    Column("version", NUMBER, primary_key=True, autoincrement=False),
    Column("holders_id", String, nullable=False),
    Column("since_us", NUMBER, nullable=False),
)
for _table in (DIVISIONS, ASSETS):
    keep_forever(_table)


class Holders:
    """The right holders of assets, in the database of a workspace."""

    def __init__(self, engine: Engine) -> None:
        ensure_tables(engine, METADATA)
        self._engine = engine

    def divide(self, asset_id: str, holders: Iterable[Holder], *, now_us: int) -> str:
        """Say who holds an asset from now on; the digest of the division. Past use stays divided as it was.

        Raises:
            UsageError: The shares do not add to exactly one, or somebody is named twice.
        """
        check_id("asset", asset_id)
        listed = check_holders(holders)
        digest = holders_digest(listed)
        with writing(self._engine, durable=True) as connection:
            _keep(connection, {digest: listed})
            if _newest(connection, [asset_id]).get(asset_id) != digest:
                count = select(func.count()).select_from(ASSETS).where(ASSETS.c.asset_id == asset_id)
                row = {"asset_id": asset_id, "holders_id": digest, "since_us": now_us}
                connection.execute(ASSETS.insert().values(version=connection.scalar(count), **row))
        return digest

    def now(self, owners: Mapping[str, str]) -> dict[str, str]:
        """The division that holds now for each asset.

        Args:
            owners: Asset → registered owner, who holds all of what was not divided.
        """
        with reading(self._engine) as connection:
            found = _newest(connection, list(owners))
        whole = {owner: holders_digest([Holder(owner)]) for owner in set(owners.values())}
        missing = {whole[owner]: (Holder(owner),) for asset, owner in owners.items() if asset not in found}
        if missing:
            with writing(self._engine) as connection:
                _keep(connection, missing)
        return {asset: found.get(asset) or whole[owner] for asset, owner in owners.items()}

    def read(self, holders_ids: Collection[str]) -> dict[str, tuple[Holder, ...]]:
        """The holders of divisions, by digest; one that is not on record is left out."""
        found: dict[str, list[Holder]] = {}
        listed = sorted(holders_ids)
        with reading(self._engine) as connection:
            for at in range(0, len(listed), _AT_ONCE):
                where = DIVISIONS.c.holders_id.in_(listed[at : at + _AT_ONCE])
                for row in connection.execute(select(DIVISIONS).where(where)):
                    holder = Holder(row.party_id, read_fraction(row.share), row.tier)
                    found.setdefault(row.holders_id, []).append(holder)
        return {digest: check_holders(holders) for digest, holders in found.items()}


def _newest(connection: Connection, asset_ids: Sequence[str]) -> dict[str, str]:
    newest: dict[str, str] = {}
    for at in range(0, len(asset_ids), _AT_ONCE):
        where = ASSETS.c.asset_id.in_(asset_ids[at : at + _AT_ONCE])
        rows = connection.execute(
            select(ASSETS.c.asset_id, ASSETS.c.holders_id).where(where).order_by(ASSETS.c.version)
        )
        newest.update((row.asset_id, row.holders_id) for row in rows)
    return newest


def _keep(connection: Connection, divisions: Mapping[str, Sequence[Holder]]) -> None:
    rows = [
        {
            "holders_id": digest,
            "party_id": one.party_id,
            "share": f"{one.share.numerator}/{one.share.denominator}",
            "tier": one.tier,
        }
        for digest, holders in divisions.items()
        for one in holders
    ]
    add_new(connection, DIVISIONS, rows)
