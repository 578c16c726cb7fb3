"""The two state machines, held to tables of their own: whatever either side sends, in whatever order."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from sqlalchemy import func, select

from malan.runtime.database import reading, writing
from malan.services.dsp import words
from malan.services.dsp.addresses import Addresses, networks
from malan.services.dsp.contracts import LocalContracts, Offer, SignedAgreement, add_agreement
from malan.services.dsp.errors import BadMessage, BadTransition
from malan.services.dsp.flow import Exchange
from malan.services.dsp.policy import plain_use
from malan.services.dsp.read import read_message
from malan.services.dsp.settings import ExchangeSettings
from malan.services.dsp.tables import messages, now, outbox
from malan.services.dsp.write import agreement_of, message, to_bytes
from malan.services.exchange import negotiation, transfers
from malan.workspace import Workspace

PEER, BACK = "did:web:peer.example", "http://127.0.0.1:9999/back"

# What the specification's two pictures show: state → what each side may do → state. C consumer, P provider.
NEGOTIATION: Mapping[str, Mapping[str, str]] = {
    "REQUESTED": {"P offer": "OFFERED", "P agree": "AGREED", "C terminate": "TERMINATED", "P terminate": "TERMINATED"},
    "OFFERED": {
        "C counter": "REQUESTED",
        "C accept": "ACCEPTED",
        "C terminate": "TERMINATED",
        "P terminate": "TERMINATED",
    },
    "ACCEPTED": {"P agree": "AGREED", "P terminate": "TERMINATED"},
    "AGREED": {"C verify": "VERIFIED", "C terminate": "TERMINATED", "P terminate": "TERMINATED"},
    "VERIFIED": {"P finalize": "FINALIZED", "P terminate": "TERMINATED"},
    "FINALIZED": {},
    "TERMINATED": {},
}
_BOTH = {
    f"{side} {verb}": state for side in "CP" for verb, state in (("suspend", "SUSPENDED"), ("complete", "COMPLETED"))
}
_ENDS = {"C terminate": "TERMINATED", "P terminate": "TERMINATED"}
TRANSFER: Mapping[str, Mapping[str, str]] = {
    "REQUESTED": {"P start": "STARTED", **_ENDS},
    "STARTED": {**_BOTH, **_ENDS},
    "SUSPENDED": {"C start": "STARTED", "P start": "STARTED", **_ENDS},
    "COMPLETED": {},
    "TERMINATED": {},
}

MESSAGES = {
    "counter": words.CONTRACT_REQUEST,
    "offer": words.CONTRACT_OFFER,
    "agree": words.CONTRACT_AGREEMENT,
    "accept": words.CONTRACT_ACCEPTED,
    "finalize": words.CONTRACT_FINALIZED,
    "verify": words.CONTRACT_VERIFICATION,
}
ENDING = {"negotiation": words.CONTRACT_TERMINATION, "transfer": words.TRANSFER_TERMINATION}
TRANSFER_MESSAGES = {
    "start": words.TRANSFER_START,
    "suspend": words.TRANSFER_SUSPENSION,
    "complete": words.TRANSFER_COMPLETION,
}


def connector(folder: Path) -> Exchange:
    """A connector that does nothing by itself and sends nothing."""
    ws = Workspace.create(folder)
    ex = negotiation.open_exchange(ws, "http://127.0.0.1:1", participant="did:web:us.example")
    ex.watchers = []
    ex.settings = lambda: ExchangeSettings(addresses=Addresses(networks(["127.0.0.1"])))
    LocalContracts(ws).offer(Offer("offer", "film", plain_use("offer", "film"), formats=("pull",)))
    with writing(ws.database) as connection:
        policy = {**plain_use("signed", "film"), "@type": "Agreement"}
        for role in (words.PROVIDER, words.CONSUMER):
            add_agreement(connection, SignedAgreement("signed", role, PEER, "film", policy, "", now(), "G-1"))
    return ex


class Processes(RuleBasedStateMachine):
    """Both sides act at random; a model that knows only the pictures says what must come of it."""

    @initialize(kind=st.sampled_from(["negotiation", "transfer"]), role=st.sampled_from(["provider", "consumer"]))
    def begin(self, kind: str, role: str) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="malan-states-")
        self.ex = connector(Path(self.folder.name))
        self.kind, self.role, self.theirs = kind, role, "urn:uuid:peer"
        self.table = NEGOTIATION if kind == "negotiation" else TRANSFER
        self.pid, self.model, self.sent, self.came = self._begun(), "REQUESTED", 0, 1
        if role == "consumer":
            self.sent, self.came = 1, 0
            self._name_peer()
        self.refused = 0

    @rule(verb=st.sampled_from(["counter", "offer", "agree", "accept", "finalize", "verify", "terminate"]))
    def we_act_in_a_negotiation(self, verb: str) -> None:
        if self.kind == "negotiation":
            self._we(verb)

    @rule(verb=st.sampled_from(["start", "suspend", "complete", "terminate"]))
    def we_act_in_a_transfer(self, verb: str) -> None:
        if self.kind == "transfer":
            self._we(verb)

    @rule(verb=st.sampled_from(["counter", "offer", "agree", "accept", "finalize", "verify", "terminate"]))
    def they_send_in_a_negotiation(self, verb: str) -> None:
        if self.kind == "negotiation":
            self._they(verb)

    @rule(verb=st.sampled_from(["start", "suspend", "complete", "terminate"]))
    def they_send_in_a_transfer(self, verb: str) -> None:
        if self.kind == "transfer":
            self._they(verb)

    @rule(late=st.integers(1, 5))
    def we_act_on_what_has_passed(self, late: int) -> None:
        with pytest.raises(BadTransition):
            self._move("terminate", turn=self.sent + self.came + late)

    @invariant()
    def it_is_where_the_pictures_say(self) -> None:
        if not hasattr(self, "pid"):
            return
        process = self._show()
        assert process.state == self.model
        assert process.turn == self.sent + self.came
        with reading(self.ex.engine) as connection:
            out = connection.scalar(select(func.count()).select_from(outbox))
            kept = connection.scalar(
                select(func.count()).select_from(messages).where(messages.c.outcome.not_like("%.%"))
            )
        assert (out, kept) == (self.sent, self.sent + self.came)

    def teardown(self) -> None:
        if hasattr(self, "ex"):
            self.ex.ws.database.dispose()
            self.folder.cleanup()

    def _begun(self) -> str:
        if self.role == "consumer":
            if self.kind == "negotiation":
                return negotiation.request_contract(self.ex, PEER, BACK, "film", "offer").pid
            return transfers.request_transfer(self.ex, PEER, BACK, "signed", "pull").pid
        if self.kind == "negotiation":
            fields = {"callbackAddress": BACK, "offer": plain_use("offer", "film")}
            said = self._read(words.CONTRACT_REQUEST, self.theirs, "", fields)
            return negotiation.receive_request(self.ex, PEER, said)[0].pid
        fields = {"callbackAddress": BACK, "agreementId": "signed", "format": "pull"}
        return transfers.receive_request(self.ex, PEER, self._read(words.TRANSFER_REQUEST, self.theirs, "", fields))[
            0
        ].pid

    def _name_peer(self) -> None:
        """What the answer to our first message brings."""
        from malan.ledger.post import Reply
        from malan.services.dsp.outbox import Outgoing

        kind = "TransferRequestMessage" if self.kind == "transfer" else "ContractRequestMessage"
        outgoing = Outgoing(1, self.pid, kind, PEER, "", b"", 1, "")
        self.ex._delivered(outgoing, Reply(201, "application/json", b'{"providerPid": "urn:uuid:peer"}'))

    def _we(self, verb: str) -> None:
        side = "C" if self.role == "consumer" else "P"
        after = self.table[self.model].get(f"{side} {verb}")
        if after is None:
            with pytest.raises(BadTransition):
                self._move(verb)
            return
        self._move(verb)
        self.model, self.sent = after, self.sent + 1

    def _they(self, verb: str) -> None:
        side = "P" if self.role == "consumer" else "C"
        after = self.table[self.model].get(f"{side} {verb}")
        if after is None:
            with pytest.raises((BadTransition, BadMessage)):
                self._send(verb)
            return
        self._send(verb)
        self.model, self.came = after, self.came + 1

    def _move(self, verb: str, turn: int | None = None) -> None:
        if self.kind == "negotiation":
            negotiation.negotiate(self.ex, self.pid, verb, turn=turn)
        else:
            transfers.move_transfer(self.ex, self.pid, verb, turn=turn)

    def _send(self, verb: str) -> None:
        kind = ENDING[self.kind] if verb == "terminate" else (MESSAGES | TRANSFER_MESSAGES)[verb]
        pids = (self.pid, self.theirs) if self.role == "consumer" else (self.theirs, self.pid)
        said = self._read(kind, *pids, self._fields(verb))
        if self.kind == "negotiation":
            negotiation.receive_message(self.ex, self.pid, PEER, said)
        else:
            transfers.receive_message(self.ex, self.pid, PEER, said)

    def _fields(self, verb: str) -> dict[str, Any]:
        if verb in ("offer", "counter"):
            return {"offer": plain_use("offer", "film")}
        if verb == "agree":
            made = f"urn:uuid:{self.sent}-{self.came}"
            offered = plain_use("offer", "film")
            return {"agreement": agreement_of(offered, made, assigner=PEER, assignee="us", timestamp=now())}
        return {}

    def _read(self, kind: str, consumer: str, provider: str, fields: dict[str, Any]) -> Any:
        return read_message(to_bytes(message(kind, consumer, provider, **fields)), kind.partition(":")[0])

    def _show(self) -> Any:
        show = negotiation.show_negotiation if self.kind == "negotiation" else transfers.show_transfer
        return show(self.ex, self.pid)


TestProcesses = Processes.TestCase
TestProcesses.settings = settings(
    max_examples=30, stateful_step_count=14, deadline=None, suppress_health_check=list(HealthCheck), database=None
)


def test_the_tables_are_the_pictures() -> None:
    for machine, picture in ((words.NEGOTIATION, NEGOTIATION), (words.TRANSFER, TRANSFER)):
        verbs = {kind: verb for verb, kind in (MESSAGES | TRANSFER_MESSAGES).items()} | dict.fromkeys(
            ENDING.values(), "terminate"
        )
        said: dict[str, dict[str, str]] = {state: {} for state in picture}
        for (state, kind, sender), after in machine.steps.items():
            if state is not None:
                said[state][f"{'C' if sender == 'consumer' else 'P'} {verbs[kind]}"] = after
        assert said == picture
        assert {state for state, moves in picture.items() if not moves} == machine.final
