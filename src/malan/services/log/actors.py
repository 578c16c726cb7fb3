"""Who may state what in a log, followed from its first event on: a key counts from its registration to its replacement.

Start at `Actors.take`, called with every event in turn.
"""

from __future__ import annotations

from malan.core.errors import ProofError
from malan.ledger.keys import SYSTEM
from malan.services.journal import Logged

_KEY_EVENTS = ("key.register", "key.rotate")


class Actors:
    """The keys that may sign at some place of a log, and in which role."""

    def __init__(self) -> None:
        self._roles: dict[str, set[str]] = {}

    def take(self, event: Logged) -> None:
        """Go on by one event.

        Raises:
            ProofError: Its actor's key is not registered at that place, or in another role, or was replaced before; or
                a key was registered by somebody who may not, or did not sign itself.
        """
        statement = event.statement
        if statement.kind == "log.start" and event.index == 0:
            self._roles[statement.actor.key_id] = {SYSTEM}
        if statement.actor.role not in self._roles.get(statement.actor.key_id, ()):
            values = {"actor": statement.actor.key_id, "role": statement.actor.role, "index": event.index}
            raise ProofError("log.actor_unregistered", **values)
        if statement.kind in _KEY_EVENTS:
            self._change(event)

    def _change(self, event: Logged) -> None:
        actor, facts = event.statement.actor, event.statement.facts
        replaces = facts.get("replaces")
        may = actor.role == SYSTEM if replaces is None else actor.key_id == replaces and actor.role == facts["role"]
        if not may or facts["key"] not in event.key_ids:
            raise ProofError("log.key_event", index=event.index, key=facts["key"])
        roles = self._roles.setdefault(facts["key"], set())
        roles |= {facts["role"]} if replaces is None else self._roles.pop(replaces)
