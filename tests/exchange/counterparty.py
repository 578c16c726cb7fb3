"""The other side of a conformance run: a connector of our own making that plays one part and checks what it is told.

Like the official kit it expects one message at a time: a message nobody expects yet gets 404, and every message must
be as its schema says. `Counterparty` listens; `Play` acts out one scenario.
"""

from __future__ import annotations

import json
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
from dsp_messages import DATA_ADDRESS, agreement, contract_request, message, offer, pid, transfer_request
from dsp_schemas import check

PATIENCE_S = 60.0
CLIENT = httpx.Client(timeout=PATIENCE_S, trust_env=False)


@dataclass
class Came:
    """A message that came, and the path it came to."""

    path: str
    said: dict[str, Any]
    authorization: str | None


class Counterparty:
    """Listens on loopback. Messages are sorted by the process of ours they are for."""

    def __init__(self) -> None:
        self._lock = threading.Condition()
        self._came: dict[str, list[Came]] = defaultdict(list)
        self._expected: dict[str, int] = defaultdict(int)
        self.refuse: dict[str, list[int]] = defaultdict(list)  # statuses to answer first, by key
        self.answers: dict[str, str] = {}  # our provider ids for consumers' first requests
        self.tries: dict[str, int] = defaultdict(int)
        party = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                status, said = party._take(self.path, json.loads(body), self.headers.get("authorization"))
                reply = json.dumps(said).encode() if said else b""
                self.send_response(status)
                self.send_header("content-length", str(len(reply)))
                self.send_header("content-type", "application/json")
                self.end_headers()
                self.wfile.write(reply)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/peer"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def expect(self, key: str) -> None:
        """From now on one more message for this process of ours (or to this path) is taken."""
        with self._lock:
            self._expected[key] += 1

    def next(self, key: str) -> Came:
        """The next message that came for this process."""
        with self._lock:
            assert self._lock.wait_for(lambda: bool(self._came[key]), PATIENCE_S), f"nothing came for {key}"
            return self._came[key].pop(0)

    def nothing_waits(self, key: str) -> bool:
        with self._lock:
            return not self._came[key]

    def _take(self, path: str, said: dict[str, Any], authorization: str | None) -> tuple[int, dict[str, Any] | None]:
        key = self._key(path, said)
        with self._lock:
            self.tries[key] += 1
            if self.refuse[key]:
                return self.refuse[key].pop(0), None
            if not self._expected[key]:
                return 404, None
            self._expected[key] -= 1
        check(said)
        answer = self._answer(path, said)
        with self._lock:
            self._came[key].append(Came(path, said, authorization))
            self._lock.notify_all()
        return answer

    def _key(self, path: str, said: dict[str, Any]) -> str:
        part = path.removeprefix("/peer/").split("/")
        if part[1] == "request":
            return str((said.get("offer") or {}).get("target") or said.get("agreementId"))
        return part[1]

    def _answer(self, path: str, said: dict[str, Any]) -> tuple[int, dict[str, Any] | None]:
        if not path.endswith(("/negotiations/request", "/transfers/request")):
            return 200, None
        provider_pid = self.answers[said["consumerPid"]] = pid()
        kind = "ContractNegotiation" if "/negotiations/" in path else "TransferProcess"
        body = {**message(kind), "consumerPid": said["consumerPid"], "providerPid": provider_pid, "state": "REQUESTED"}
        return 200, body  # 200 instead of 201 must do


@dataclass
class Play:
    """One scenario against the connector under test at `url`, as the party that the test plays."""

    url: str
    party: Counterparty
    us: str = "TCK_PARTICIPANT"
    them: str = "CONNECTOR_UNDER_TEST"
    folder: str = "negotiations"
    mine: str = ""  # our id of the process
    theirs: str = ""
    target: str = ""
    offer_id: str = ""
    is_consumer: bool = True  # the part we play
    replies: list[httpx.Response] = field(default_factory=list)

    @property
    def root(self) -> str:
        return f"{self.url}/dsp/2025-1"

    # What we send.

    def post(self, path: str, said: dict[str, Any], **more: Any) -> httpx.Response:
        reply = CLIENT.post(f"{self.root}/{path}", json=said, **more)
        self.replies.append(reply)
        return reply

    def request(self, dataset: str, offer_id: str) -> Play:
        """Begin as consumer."""
        self.mine, self.target, self.offer_id = pid(), dataset, offer_id
        reply = self.post(
            "negotiations/request", contract_request(self.mine, f"{self.party.url}/", offer(offer_id, dataset))
        )
        return self._begun(reply, "ContractNegotiation")

    def request_transfer(self, agreement_id: str) -> Play:
        self.mine, self.folder = pid(), "transfers"
        return self._begun(
            self.post("transfers/request", transfer_request(self.mine, self.party.url, agreement_id)), "TransferProcess"
        )

    def _begun(self, reply: httpx.Response, kind: str) -> Play:
        assert reply.status_code == 201, reply.text
        said = check(reply.json())
        assert (said["@type"], said["consumerPid"], said["state"]) == (kind, self.mine, "REQUESTED")
        self.theirs = said["providerPid"]
        return self

    def have_it_ask(self, hook: str, name: str, **fields: str) -> Play:
        """Make the connector under test begin as consumer, and be its provider."""
        self.is_consumer, self.target = False, name
        self.folder = "negotiations" if hook.startswith("negotiations") else "transfers"
        self.party.expect(name)
        said = {"providerId": self.us, "connectorAddress": self.party.url, **fields}
        reply = CLIENT.post(f"{self.url}/test/{hook}", json=said)
        assert reply.is_success, reply.text
        self.theirs = reply.json()["consumerPid"]
        came = self.party.next(name)
        assert came.said["consumerPid"] == self.theirs
        self.mine = self.party.answers[self.theirs]
        self.offer_id = (came.said.get("offer") or {}).get("@id", "")
        self.callback = came.said["callbackAddress"]
        assert self.callback == self.root
        return self

    def send(self, action: str, **more: Any) -> httpx.Response:
        kind, path, fields = self._message(action)
        return self.post(f"{self.folder}/{self.theirs}/{path}", message(kind, **self._pids(), **fields) | more)

    def tell(self, action: str) -> Play:
        """Send something that must be taken."""
        reply = self.send(action)
        assert reply.status_code == 200, (action, reply.text)
        return self

    def refused(self, action: str) -> Play:
        """Send something that must be refused, and change nothing."""
        before = self.state()
        reply = self.send(action)
        assert reply.status_code == 400, (action, reply.status_code, reply.text)
        error = "ContractNegotiationError" if self.folder == "negotiations" else "TransferError"
        assert check(reply.json())["@type"] == error
        assert self.state() == before
        return self

    # What we are sent.

    def expect(self, kind: str) -> Play:
        """Wait for a message that was announced to the counterparty."""
        came = self.party.next(self.mine)
        said = came.said
        assert said["@type"] + (f":{said['eventType']}" if "eventType" in said else "") == kind
        assert (said["consumerPid"], said["providerPid"]) == tuple(self._pids().values())
        self._check_content(said)
        return self

    def is_in(self, *states: str) -> Play:
        """Wait until the connector under test says that it is in this state."""
        until = time.monotonic() + PATIENCE_S
        while (found := self.state()) not in states:
            assert time.monotonic() < until, f"{found}, not {states}"
            time.sleep(0.01)
        return self

    def state(self) -> str:
        reply = CLIENT.get(f"{self.root}/{self.folder}/{self.theirs}")
        assert reply.status_code == 200, reply.text
        said = check(reply.json())
        assert {said["consumerPid"], said["providerPid"]} == {self.mine, self.theirs}
        return str(said["state"])

    def _pids(self) -> dict[str, str]:
        both = (self.mine, self.theirs) if self.is_consumer else (self.theirs, self.mine)
        return dict(zip(("consumerPid", "providerPid"), both, strict=True))

    def _message(self, action: str) -> tuple[str, str, dict[str, Any]]:
        end = {"code": "1", "reason": ["because"]}
        if self.folder == "transfers":
            start = {} if self.is_consumer else {"dataAddress": DATA_ADDRESS}
            return {
                "start": ("TransferStartMessage", "start", start),
                "suspend": ("TransferSuspensionMessage", "suspension", end),
                "complete": ("TransferCompletionMessage", "completion", {}),
                "terminate": ("TransferTerminationMessage", "termination", end),
            }[action]
        mine = offer(self.offer_id, self.target, assigner="somebody unknown", assignee=self.us)
        agreed = agreement(self.target, self.us, self.them)
        return {
            "counter": ("ContractRequestMessage", "request", {"offer": mine}),
            "offer": ("ContractOfferMessage", "offers", {"offer": mine}),
            "accept": ("ContractNegotiationEventMessage", "events", {"eventType": "ACCEPTED"}),
            "finalize": ("ContractNegotiationEventMessage", "events", {"eventType": "FINALIZED"}),
            "agree": ("ContractAgreementMessage", "agreement", {"agreement": agreed}),
            "verify": ("ContractAgreementVerificationMessage", "agreement/verification", {}),
            "terminate": ("ContractNegotiationTerminationMessage", "termination", end),
        }[action]

    def _check_content(self, said: dict[str, Any]) -> None:
        if "agreement" in said:
            agreed = said["agreement"]
            assert (agreed["assigner"], agreed["assignee"], agreed["target"]) == (self.them, self.us, self.target)
        if "offer" in said:
            assert (said["offer"]["@id"], said["offer"]["target"]) == (self.offer_id, self.target)
        if said["@type"] == "TransferStartMessage" and self.is_consumer:
            assert said["dataAddress"]["endpoint"]
