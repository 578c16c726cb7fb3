"""How a contract comes about: one table of states and steps, and who must have agreed before it is binding.

    ordered ⇄ countered ─ all accept ─▶ agreed ─ all sign ─▶ signed ─▶ revoked
        └─────── refused ◀─────────────────┘

What lies on the table is a set of terms. Whoever puts terms there agrees to them; everybody else must accept exactly
these. A counter-offer takes back all acceptances. Knows neither database nor key. Start reading at `step`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from malan.core.errors import Rejected

ORDERED, COUNTERED, AGREED, SIGNED, REFUSED, REVOKED = STATES = (
    "ordered",
    "countered",
    "agreed",
    "signed",
    "refused",
    "revoked",
)
COUNTER, ACCEPT, REFUSE, SIGN, REVOKE = ACTIONS = ("counter", "accept", "refuse", "sign", "revoke")
OWNER, BUYER = "owner", "buyer"

# (state, action, who) → the state while others are missing, the state once nobody is.
TABLE: Mapping[tuple[str, str, str], tuple[str, str]] = {
    (ORDERED, COUNTER, OWNER): (COUNTERED, COUNTERED),
    (ORDERED, COUNTER, BUYER): (ORDERED, ORDERED),
    (ORDERED, ACCEPT, OWNER): (ORDERED, AGREED),
    (ORDERED, REFUSE, OWNER): (REFUSED, REFUSED),
    (ORDERED, REFUSE, BUYER): (REFUSED, REFUSED),
    (COUNTERED, COUNTER, OWNER): (COUNTERED, COUNTERED),
    (COUNTERED, COUNTER, BUYER): (ORDERED, ORDERED),
    (COUNTERED, ACCEPT, OWNER): (COUNTERED, AGREED),
    (COUNTERED, ACCEPT, BUYER): (COUNTERED, AGREED),
    (COUNTERED, REFUSE, OWNER): (REFUSED, REFUSED),
    (COUNTERED, REFUSE, BUYER): (REFUSED, REFUSED),
    (AGREED, SIGN, OWNER): (AGREED, SIGNED),
    (AGREED, SIGN, BUYER): (AGREED, SIGNED),
    (AGREED, REFUSE, OWNER): (REFUSED, REFUSED),
    (AGREED, REFUSE, BUYER): (REFUSED, REFUSED),
    (SIGNED, REVOKE, OWNER): (REVOKED, REVOKED),
}


@dataclass(frozen=True, slots=True)
class Bargain:
    """Who bargains, what lies on the table, and who has agreed to it or signed it."""

    buyer_id: str
    owner_ids: tuple[str, ...]
    terms_id: str
    state: str = ORDERED
    accepted: frozenset[str] = frozenset()
    signed: frozenset[str] = frozenset()

    @property
    def parties(self) -> frozenset[str]:
        return frozenset((self.buyer_id, *self.owner_ids))

    @property
    def waits_for(self) -> tuple[str, ...]:
        """Whose acceptance or signature is missing, in a fixed order; nobody's once it is over."""
        have = {ORDERED: self.accepted, COUNTERED: self.accepted, AGREED: self.signed}.get(self.state, self.parties)
        return tuple(sorted(self.parties - have))


def opened(buyer_id: str, owner_ids: tuple[str, ...], terms_id: str) -> Bargain:
    """A bargain that begins with the buyer's order."""
    return Bargain(buyer_id, tuple(sorted(set(owner_ids))), terms_id, accepted=frozenset([buyer_id]))


def step(bargain: Bargain, action: str, party_id: str, terms_id: str | None = None) -> Bargain:
    """The bargain after somebody did something.

    Args:
        bargain: As it stands.
        action: One of `ACTIONS`.
        party_id: Who; must be a party to it.
        terms_id: What is put on the table, with `counter`.

    Raises:
        Rejected: Not in this state, or not by this side.
    """
    who = BUYER if party_id == bargain.buyer_id else OWNER if party_id in bargain.owner_ids else ""
    found = TABLE.get((bargain.state, action, who))
    if found is None or (action == COUNTER) != (terms_id is not None):
        raise Rejected("contract.wrong_state", state=bargain.state, action=action)
    if action == COUNTER:
        return replace(bargain, state=found[0], terms_id=str(terms_id), accepted=frozenset([party_id]))
    if action == ACCEPT:
        accepted = bargain.accepted | {party_id}
        return replace(bargain, state=found[accepted >= bargain.parties], accepted=accepted)
    if action == SIGN:
        signed = bargain.signed | {party_id}
        return replace(bargain, state=found[signed >= bargain.parties], signed=signed)
    return replace(bargain, state=found[1])
