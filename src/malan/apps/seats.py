"""Outputs under a grant: one is held for each file before anything is made, counted with its sources before the file
has its name, and given back when the run fails. Start reading at `hold_seats`.

A hold is named by the run and the number of the file, so a run that is taken up again finds what it counted already.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from malan.core.errors import NotGranted, RetryLater
from malan.rights.meter import OUTPUTS, Reservation
from malan.rights.meter_tables import HELD
from malan.services.access import Caller
from malan.services.market.grants import get_grant
from malan.services.outputs.manifests import Source
from malan.services.settlement.metering import count_output, meter

if TYPE_CHECKING:
    from malan.workspace import Workspace

LEASE_S = 86_400
_MOST_ATTEMPTS = 1000


class GrantSeats:
    """The outputs one run holds under a grant."""

    def __init__(self, ws: Workspace, grant_id: str, snapshot_id: str, run: str) -> None:
        self._ws, self._grant_id, self._snapshot_id, self._run = ws, grant_id, snapshot_id, run
        self._held: dict[int, Reservation] = {}

    def take(self, number: int) -> Callable[[str, Sequence[Source]], None]:
        """Hold one output; what counts it.

        Raises:
            NotGranted: None is left.
            RetryLater: Others hold what is left.
        """
        hold = self._held.get(number) or self._hold(number)
        self._held[number] = hold

        def count(output_id: str, sources: Sequence[Source]) -> None:
            if not meter(self._ws).get(hold.id).used:  # a run that was taken up again counted this file before
                count_output(self._ws, hold, output_id, sources, snapshot_id=self._snapshot_id)

        return count

    def give_back(self) -> None:
        """What was not used is free again."""
        for hold in self._held.values():
            meter(self._ws).release(hold)

    def _hold(self, number: int) -> Reservation:
        """The hold of a file: that of an earlier attempt if it stands or was used, else a new one."""
        for attempt in range(_MOST_ATTEMPTS):
            key = f"app:{self._run[:40]}:{number}:{attempt}"
            hold = self._reserve(key)
            now = meter(self._ws).get(hold.id)
            if now.state == HELD or now.used:
                return now
        return hold

    def _reserve(self, key: str) -> Reservation:
        try:
            return meter(self._ws).reserve(self._grant_id, OUTPUTS, 1, key, lease_s=LEASE_S)
        except RetryLater:
            mine = sum(not hold.used for hold in self._held.values())
            [account] = [one for one in meter(self._ws).accounts(self._grant_id) if one.unit == OUTPUTS]
            left = (account.most or 0) - account.consumed
            if mine + 1 > left:  # what this run holds itself will not become free for it
                raise NotGranted(
                    "meter.used_up", grant=self._grant_id, unit=OUTPUTS, asked=mine + 1, left=left
                ) from None
            raise


@contextmanager
def hold_seats(ws: Workspace, caller: Caller, run: str, outputs: int) -> Iterator[GrantSeats | None]:
    """Hold outputs under the caller's grant for as long as the block; None without a grant.

    Raises:
        NotFound: There is no such grant of the caller's.
        NotGranted: Too few are left, or the grant has ended.
    """
    if not caller.grant_id:
        yield None
        return
    grant = get_grant(ws, caller.grant_id, caller=caller).grant
    seats = GrantSeats(ws, grant.id, grant.snapshot_id, run)
    try:
        for number in range(outputs):
            seats.take(number)
        yield seats
    finally:
        seats.give_back()
