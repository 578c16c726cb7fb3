"""What a run takes from its grant: the run itself, seconds of footage, bytes that leave. Held before, counted once.

Every hold is written down beside its run before it is taken, so whoever finds a run whose worker was killed gives back
what was left of it. Start reading at `RunAccount`
and `GrantCounter`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import count
from secrets import token_hex
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, func, select

from malan.core.errors import NotGranted, RetryLater
from malan.rights.holders import Holders
from malan.rights.meter import CLIP_SECONDS, OUTPUT_BYTES, RUNS, Ask, Reservation
from malan.rights.meter_tables import HELD, RESERVATIONS, USAGE
from malan.rights.usage import Usage
from malan.runtime.database import add_new, reading, updating
from malan.services.runs.tables import HOLDS, run_tables
from malan.services.settlement.metering import meter
from malan.services.uses import is_withdrawn

if TYPE_CHECKING:
    from malan.workspace import Workspace

LEASE_S = 900  # renewed while a worker is at it
_AHEAD_US = 600 * 1_000_000  # footage held at once, so that not every delivery asks twice


class RunAccount:
    """One unit of the grant of one run. Fits the gate's `OutputAccount`, and the loader's meter.

    Args:
        ws: Where it is counted.
        grant_id: The grant.
        run_id: The run.
        unit: One of the meter's units.
    """

    def __init__(self, ws: Workspace, grant_id: str, run_id: str, unit: str = OUTPUT_BYTES) -> None:
        self._ws, self._grant_id, self._run_id, self._unit = ws, grant_id, run_id, unit

    def reserve(self, amount: int, key: str) -> Reservation:
        """Hold an amount. The same key is the same hold, as long as it is held or something was taken from it.

        Raises:
            NotGranted: Too little is left, or the grant is over.
            RetryLater: Enough is left, but others hold it.
        """
        for number in count():
            ask = Ask(self._grant_id, self._unit, amount, f"{key}:{number}", LEASE_S)
            with updating(run_tables(self._ws)) as connection:
                add_new(connection, HOLDS, {"reservation_id": ask.id, "run_id": self._run_id})
            found = meter(self._ws).reserve(self._grant_id, self._unit, amount, ask.key, lease_s=LEASE_S)
            if found.state == HELD or found.used:
                return found
        raise AssertionError  # there is always a next number

    def consume(
        self,
        hold: Reservation,
        amount: int,
        rows: Sequence[Usage] = (),
        *,
        key: str,
        within: Connection | None = None,
    ) -> bool:
        """Count what is handed over, once for a key."""
        return meter(self._ws).consume(hold, amount, rows, key=key, within=within)

    def release(self, hold: Reservation) -> int:
        """Give back what was not used."""
        return meter(self._ws).release(hold)


def hold_run(ws: Workspace, grant_id: str, run_id: str, life: int) -> Reservation:
    """Hold one run of the grant's; asked again for the same life, it is the same hold.

    Raises:
        NotGranted: The grant allows no more runs, or is over.
        RetryLater: Others hold the last of them.
    """
    return RunAccount(ws, grant_id, run_id, RUNS).reserve(1, f"run:{run_id}:{life}")


def count_run(ws: Workspace, hold: Reservation, run_id: str, within: Connection) -> None:
    """Count a run that is held, before anything of it runs, in the transaction that notes that it has begun: a run
    that never began is never counted. Again for the same life, nothing changes.

    Raises:
        NotGranted: The grant was closed or has ended.
    """
    if not hold.used:
        meter(ws).consume(hold, 1, key=f"run:{run_id}", within=within)
    meter(ws).release(hold, within=within)


def release_holds(ws: Workspace, run_id: str) -> int:
    """Give back all that is held for a run that nobody is at; how many holds there were."""
    held = _held(ws, run_id)
    for one in held:
        meter(ws).release(one)
    return len(held)


def renew_holds(ws: Workspace, run_id: str) -> None:
    """Say that what is held for a run is still needed."""
    for one in _held(ws, run_id):
        meter(ws).renew(one, LEASE_S)


def seconds_by_owner(ws: Workspace, run_id: str) -> dict[str, int]:
    """Clip-microseconds that were handed to a run, by owner."""
    meter(ws)
    query = select(USAGE.c.owner_id, func.sum(USAGE.c.amount)).where(USAGE.c.work == f"run:{run_id}")
    with reading(ws.database) as connection:
        found = connection.execute(query.group_by(USAGE.c.owner_id)).all()
    return {owner_id: int(amount) for owner_id, amount in found}


def assets_used(ws: Workspace, run_id: str) -> list[str]:
    """Assets of which something was handed to a run."""
    meter(ws)
    query = select(USAGE.c.asset_id).where(USAGE.c.work == f"run:{run_id}").distinct()
    with reading(ws.database) as connection:
        return sorted(connection.scalars(query))


def left_of(ws: Workspace, grant_id: str) -> dict[str, dict[str, Any]]:
    """What is left of a grant, by unit: most, used, held, left; amounts of the meter."""
    return {
        one.unit: {"most": one.most, "used": one.consumed, "held": one.reserved, "left": one.left}
        for one in meter(ws).accounts(grant_id)
        if one.unit in (RUNS, CLIP_SECONDS, OUTPUT_BYTES)
    }


def _held(ws: Workspace, run_id: str) -> list[Reservation]:
    meter(ws)
    mine = select(HOLDS.c.reservation_id).where(HOLDS.c.run_id == run_id)
    with reading(run_tables(ws)) as connection:
        where = (RESERVATIONS.c.id.in_(mine), RESERVATIONS.c.state == HELD)
        return [Reservation(**row) for row in connection.execute(select(RESERVATIONS).where(*where)).mappings()]


class GrantCounter:
    """Keeps count of the footage one attempt of a run is given: the loader's counter over a grant.

    Args:
        ws: Where it is counted.
        run_id: The run; usage rows are stated for `run:<id>`.
        grant_id: The grant.
        snapshot_id: The footage.
        owners: Asset → its registered owner.
        allowed: Raises `NotGranted` once the grant does not allow the use any more.
    """

    def __init__(
        self,
        ws: Workspace,
        *,
        run_id: str,
        grant_id: str,
        snapshot_id: str,
        owners: Mapping[str, str],
        allowed: Callable[[], None],
    ) -> None:
        self._ws, self._run_id, self._grant_id, self._snapshot_id = ws, run_id, grant_id, snapshot_id
        self._owners, self._allowed = dict(owners), allowed
        self._prefix = f"run:{run_id}:{token_hex(6)}"  # no two counters share a hold
        self._account = RunAccount(ws, grant_id, run_id, CLIP_SECONDS)
        self._hold: Reservation | None = None
        self._left_us = 0
        self._holds = self._deliveries = 0
        self._seen: tuple[tuple[int, int, int], set[str]] | None = None

    def gone(self) -> set[str]:
        """Assets that were taken back, as of now.

        Raises:
            NotGranted: The grant does not hold any more.
        """
        self._allowed()
        stamp = self._ws.library.stamp
        if self._seen is None or self._seen[0] != stamp:  # else nothing was written since
            rows = self._ws.library.assets_by_id(self._owners)
            self._seen = (stamp, {one for one in self._owners if one not in rows or is_withdrawn(rows[one])})
        return self._seen[1]

    def count(self, amounts: Mapping[str, int]) -> None:
        """Count clip-microseconds by asset, from a hold that is taken a little ahead.

        Raises:
            NotGranted: Too little is left, or the grant is over.
            RetryLater: Enough is left, but others hold it.
        """
        needs = sum(amounts.values())
        if self._left_us < needs:
            self._hold_more(needs)
        if self._hold is None:  # of `_hold_more`, which raises otherwise
            raise AssertionError
        holders = Holders(self._ws.database).now({asset: self._owners[asset] for asset in amounts})
        rows = [
            Usage(
                self._grant_id,
                self._snapshot_id,
                asset,
                self._owners[asset],
                holders[asset],
                f"run:{self._run_id}",
                amount,
            )
            for asset, amount in sorted(amounts.items())
        ]
        self._deliveries += 1
        self._account.consume(self._hold, needs, rows, key=f"{self._prefix}:{self._deliveries}")
        self._left_us -= needs

    def close(self) -> None:
        """Give back what is held and was not used."""
        if self._hold is not None:
            self._account.release(self._hold)
        self._hold, self._left_us = None, 0

    def _hold_more(self, needs: int) -> None:
        self.close()
        for amount in (max(needs, _AHEAD_US), needs):
            self._holds += 1
            try:
                self._hold = self._account.reserve(amount, f"{self._prefix}:{self._holds}")
            except (NotGranted, RetryLater):
                if amount == needs:
                    raise
                continue
            self._left_us = amount
            return
