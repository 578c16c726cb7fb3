"""Strangers, liars and accidents: refused with a typed error, nothing changed, and no error of ours."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from console_client import TestClient
from counterparty import CLIENT
from dsp_messages import DATA_ADDRESS, agreement, contract_request, message, offer, pid, transfer_request
from dsp_schemas import CONTEXT, check
from nodes import fresh, introduce, key_of, make_offer, node
from sqlalchemy import select

from malan.exchange.app import create_exchange
from malan.runtime.database import reading, writing
from malan.services.dsp import words
from malan.services.dsp.automatic import is_as_published
from malan.services.dsp.contracts import SignedAgreement, add_agreement
from malan.services.dsp.flow import Exchange
from malan.services.dsp.read import LARGEST_MESSAGE_BYTES
from malan.services.dsp.tables import messages, now, outbox, processes
from malan.services.dsp.trust import issue_token
from malan.services.exchange import negotiation, transfers
from malan.services.exchange.negotiation import open_exchange

US, PEER, RIVAL = "did:web:us.example", "did:web:peer.example", "did:web:rival.example"
BACK = "http://127.0.0.1:9/back"


class Caller:
    """A partner that calls the connector without a network, each time with a fresh token."""

    def __init__(self, client: TestClient, ex: Exchange, me: str) -> None:
        self.client, self.ex, self.me = client, ex, me

    def headers(self) -> dict[str, str]:
        return {"authorization": self.me, "content-type": "application/json"}

    def post(self, path: str, said: Any) -> httpx.Response:
        body = said if isinstance(said, bytes) else json.dumps(said).encode()
        return self.client.post(f"{words.ROOT}/{path}", content=body, headers=self.headers())

    def get(self, path: str) -> httpx.Response:
        return self.client.get(f"{words.ROOT}/{path}", headers=self.headers())


@pytest.fixture(scope="module")
def ex(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exchange]:
    """A connector that takes the Authorization header for the caller's name and does nothing by itself."""
    ws = fresh(tmp_path_factory.mktemp("hostile"))
    introduce(ws, US, {})
    found = open_exchange(ws, "http://127.0.0.1:1")
    found.watchers, found.identify = [], lambda header, _local: str(header)
    make_offer(ws, "reels", formats=(words.HTTP_PULL,))
    with writing(ws.database) as connection:
        policy = agreement("reels", US, PEER)
        for role in (words.PROVIDER, words.CONSUMER):
            add_agreement(connection, SignedAgreement("signed", role, PEER, "reels", policy, "", now(), "G-1"))
    yield found
    ws.database.dispose()


@pytest.fixture
def peer(ex: Exchange) -> Iterator[Caller]:
    with TestClient(create_exchange(ex), base_url="http://127.0.0.1:1") as client:
        yield Caller(client, ex, PEER)


def everything(ex: Exchange) -> tuple[Any, ...]:
    """All there is of processes and of what is to be sent."""
    with reading(ex.engine) as connection:
        return tuple(tuple(map(tuple, connection.execute(select(table)).all())) for table in (processes, outbox))


# A process in a given state, and the message that would move it on.


def negotiation_in(peer: Caller, state: str) -> tuple[str, str]:
    """Our id and theirs of a negotiation in which we provide."""
    mine = pid()
    said = contract_request(mine, BACK, offer("offer:reels", "reels"))
    theirs = peer.post("negotiations/request", said).json()["providerPid"]
    for action in {"OFFERED": ["offer"], "AGREED": ["agree"]}.get(state, []):
        negotiation.negotiate(peer.ex, theirs, action)
    return mine, theirs


def consuming_in(peer: Caller, state: str) -> tuple[str, str]:
    """Their id and ours of a negotiation in which we consume."""
    theirs = pid()
    said = message("ContractOfferMessage", providerPid=theirs, callbackAddress=BACK, offer=offer("o", "film"))
    ours = peer.post("negotiations/offers", said).json()["consumerPid"]
    if state in ("REQUESTED", "VERIFIED"):
        negotiation.negotiate(peer.ex, ours, "counter")
    if state == "VERIFIED":
        pids = {"consumerPid": ours, "providerPid": theirs}
        agreed = message("ContractAgreementMessage", **pids, agreement=agreement("film", PEER, US))
        assert peer.post(f"negotiations/{ours}/agreement", agreed).status_code == 200
        negotiation.negotiate(peer.ex, ours, "verify")
    return theirs, ours


def transfer_in(peer: Caller, state: str) -> tuple[str, str]:
    mine = pid()
    theirs = peer.post("transfers/request", transfer_request(mine, BACK, "signed")).json()["providerPid"]
    for action in {"STARTED": ["start"], "SUSPENDED": ["start", "suspend"]}.get(state, []):
        transfers.move_transfer(peer.ex, theirs, action)
    return mine, theirs


Move = tuple[str, dict[str, Any]]

FIRST: Mapping[str, Callable[[], dict[str, Any]]] = {
    "catalog/request": lambda: message("CatalogRequestMessage"),
    "negotiations/request": lambda: contract_request(pid(), BACK, offer("offer:reels", "reels")),
    "negotiations/offers": lambda: message(
        "ContractOfferMessage", providerPid=pid(), callbackAddress=BACK, offer=offer("o", "film")
    ),
    "transfers/request": lambda: transfer_request(pid(), BACK, "signed"),
}
# In which of our parts, in which state, which message, where, and what it says.
LATER: tuple[tuple[str, str, str, str, dict[str, Any]], ...] = (
    ("provide", "OFFERED", "ContractRequestMessage", "request", {"offer": offer("offer:reels", "reels")}),
    ("provide", "OFFERED", "ContractNegotiationEventMessage", "events", {"eventType": "ACCEPTED"}),
    ("provide", "AGREED", "ContractAgreementVerificationMessage", "agreement/verification", {}),
    ("provide", "REQUESTED", "ContractNegotiationTerminationMessage", "termination", {"code": "1", "reason": ["x"]}),
    ("consume", "REQUESTED", "ContractOfferMessage", "offers", {"offer": offer("o", "film")}),
    ("consume", "REQUESTED", "ContractAgreementMessage", "agreement", {}),
    ("consume", "VERIFIED", "ContractNegotiationEventMessage", "events", {"eventType": "FINALIZED"}),
    ("transfer", "SUSPENDED", "TransferStartMessage", "start", {"dataAddress": DATA_ADDRESS}),
    ("transfer", "STARTED", "TransferSuspensionMessage", "suspension", {"code": "1", "reason": ["x"]}),
    ("transfer", "STARTED", "TransferCompletionMessage", "completion", {}),
    ("transfer", "STARTED", "TransferTerminationMessage", "termination", {"code": "1"}),
)


def later(peer: Caller, part: str, state: str, kind: str, path: str, fields: dict[str, Any]) -> Move:
    """A message to a new process that would take it."""
    making = {"provide": negotiation_in, "consume": consuming_in, "transfer": transfer_in}[part]
    them, us = making(peer, state)
    pids = {"consumerPid": us, "providerPid": them} if part == "consume" else {"consumerPid": them, "providerPid": us}
    if path == "agreement":
        fields = {"agreement": agreement("film", PEER, US)}
    return f"{'transfers' if part == 'transfer' else 'negotiations'}/{us}/{path}", message(kind, **pids, **fields)


def makers(peer: Caller) -> list[Callable[[], Move]]:
    """For every kind of message, what makes one that would be taken."""
    first: list[Callable[[], Move]] = [partial(lambda path, make: (path, make()), *each) for each in FIRST.items()]
    return first + [partial(later, peer, *each) for each in LATER]


def moves(peer: Caller) -> Iterator[Move]:
    """Every kind of message, each to a process of its own that would take it."""
    return (make() for make in makers(peer))


def places(said: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a message, from the fields inwards."""
    inner = said.items() if isinstance(said, Mapping) else enumerate(said) if isinstance(said, list) else ()
    for key, value in inner:
        yield (*path, key)
        yield from places(value, (*path, key))


GONE = object()
BAD = (GONE, None, 7, 1e400, True, [], {}, [[]], "", "x" * 20_000, "\ud800", {"@id": 7}, "urn:uuid:somebody-else")


def changed(said: dict[str, Any], place: tuple[Any, ...], value: Any) -> dict[str, Any]:
    made = copy.deepcopy(said)
    held: Any = made
    for key in place[:-1]:
        held = held[key]
    if value is GONE:
        del held[place[-1]]
    else:
        held[place[-1]] = value
    return made


def test_every_message_is_taken_as_it_should_be(peer: Caller) -> None:
    for path, said in moves(peer):
        reply = peer.post(path, said)
        assert reply.is_success, (path, reply.text)
        check(reply.json())


# What may be changed without making the message another one: it has no meaning for us, or is only compared.
HARMLESS = ("@id", "reason", "code", "constraint", "filter", "timestamp", "assigner", "assignee", "dataAddress")


def is_harmless(path: str, place: tuple[Any, ...], value: Any) -> bool:
    """Whether a message that was changed so is still one that must be taken."""
    if any(key in HARMLESS for key in place) or (value is GONE and place[-2:] == ("offer", "@type")):
        return True
    names = ("action", "consumerPid", "providerPid", "target") if path in FIRST else ("action",)
    return isinstance(value, str) and value.startswith("urn:") and place[-1] in names


@pytest.mark.parametrize("which", range(len(FIRST) + len(LATER)))
def test_a_change_of_any_field_of_any_message_is_refused_or_harmless(peer: Caller, ex: Exchange, which: int) -> None:
    make = makers(peer)[which]
    path, said = make()
    for place in list(places(said)):
        for value in BAD:
            before = everything(ex)
            reply = peer.post(path, changed(said, place, value))
            assert reply.status_code < 500, (path, place, value, reply.text)
            if reply.is_success:
                assert is_harmless(path, place, value), (path, place, value)
                path, said = make()
                continue
            assert check(reply.json())["@type"].endswith("Error")
            assert everything(ex) == before, (path, place, value)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"7",
        b'"text"',
        b"null",
        b"\xff\xfe",
        b'{"@context": NaN}',
        b"[" * 900_000,
        b'{"a":' * 150_000,
        b'{"@type": "CatalogRequestMessage", "@type": "CatalogRequestMessage"}',
    ],
    ids=lambda body: repr(body[:12]),
)
def test_what_is_no_json_object_is_refused(peer: Caller, body: bytes) -> None:
    for path in ("catalog/request", "negotiations/request", "transfers/request"):
        reply = peer.post(path, body)
        assert (reply.status_code, check(reply.json())["code"]) == (400, "exchange.bad_message")


@pytest.mark.parametrize(
    "context",
    [
        None,
        7,
        {},
        [],
        "https://w3id.org/dspace/2024/1/context.json",
        [CONTEXT, "https://evil.example/context.jsonld"],
        [CONTEXT, {"permission": "https://evil.example/nothing"}],
        [CONTEXT, {"odrl": "https://evil.example/"}],
        [CONTEXT, 7],
    ],
)
def test_an_unknown_context_is_refused(peer: Caller, context: Any) -> None:
    said = {**contract_request(pid(), BACK, offer("offer:reels", "reels")), "@context": context}
    assert peer.post("negotiations/request", said).status_code == 400


@pytest.mark.parametrize("context", [CONTEXT, [CONTEXT], [CONTEXT, {"odrl": words.ODRL, "dspace": words.DSPACE}]])
def test_a_known_context_may_be_a_text_a_list_or_bring_known_prefixes(peer: Caller, context: Any) -> None:
    said = {**message("CatalogRequestMessage"), "@context": context}
    assert peer.post("catalog/request", said).status_code == 200


def test_the_same_message_with_prefixes_is_the_same_message(peer: Caller, ex: Exchange) -> None:
    mine = pid()
    said = {
        "@context": [CONTEXT, {"odrl": words.ODRL, "dspace": words.DSPACE}],
        "@type": "dspace:ContractRequestMessage",
        "dspace:consumerPid": {"@id": mine},
        "dspace:callbackAddress": {"@value": BACK},
        "dspace:offer": {
            "@type": "odrl:Offer",
            "@id": "offer:reels",
            "odrl:target": {"@id": "reels"},
            "odrl:permission": {
                "odrl:action": {"@id": "odrl:ai-training"},
                "odrl:constraint": {
                    "odrl:leftOperand": {"@id": f"{words.MALAN}clipSeconds"},
                    "odrl:operator": {"@id": "odrl:lteq"},
                    "odrl:rightOperand": {"@value": "3600", "@type": "xsd:decimal"},
                },
            },
            "odrl:prohibition": [{"odrl:action": {"@id": "odrl:distribute"}}],
        },
    }
    reply = peer.post("negotiations/request", said)
    assert reply.status_code == 201
    process = negotiation.show_negotiation(ex, reply.json()["providerPid"])
    assert process.peer_pid == mine
    assert is_as_published(ex, process)


def test_an_offer_may_repeat_the_callback_and_a_request_may_not(peer: Caller, ex: Exchange) -> None:
    theirs, ours = consuming_in(peer, "REQUESTED")
    pids = {"consumerPid": ours, "providerPid": theirs}
    said = message(
        "ContractOfferMessage", **pids, callbackAddress="https://elsewhere.example", offer=offer("o", "film")
    )
    assert peer.post(f"negotiations/{ours}/offers", said).status_code == 200
    assert negotiation.show_negotiation(ex, ours).address == BACK
    mine, us = negotiation_in(peer, "OFFERED")
    both = contract_request(mine, BACK, offer("offer:reels", "reels")) | {"providerPid": us}
    assert peer.post(f"negotiations/{us}/request", both).status_code == 400


def test_two_spellings_of_one_field_are_refused(peer: Caller) -> None:
    said = contract_request(pid(), BACK, offer("offer:reels", "reels"))
    assert peer.post("negotiations/request", {**said, "dspace:consumerPid": pid()}).status_code == 400


# Others' processes, and messages that come twice.


def test_somebody_elses_process_looks_as_if_it_were_not_there(peer: Caller, ex: Exchange) -> None:
    mine, theirs = negotiation_in(peer, "OFFERED")
    rival = Caller(peer.client, ex, RIVAL)
    pids = {"consumerPid": mine, "providerPid": theirs}
    before = everything(ex)
    said = message("ContractNegotiationEventMessage", **pids, eventType="ACCEPTED")
    refusals = [
        rival.post(f"negotiations/{theirs}/events", said),
        rival.get(f"negotiations/{theirs}"),
        rival.get("negotiations/urn:uuid:nothing"),
        rival.get(f"transfers/{theirs}"),  # of another kind
        peer.get(f"transfers/{theirs}"),
    ]
    assert {(one.status_code, one.json()["code"]) for one in refusals} == {(404, "exchange.no_process")}
    assert everything(ex) == before


def test_an_agreement_of_another_party_gives_nothing(peer: Caller, ex: Exchange) -> None:
    rival = Caller(peer.client, ex, RIVAL)
    reply = rival.post("transfers/request", transfer_request(pid(), BACK, "signed"))
    assert (reply.status_code, reply.json()["code"]) == (400, "exchange.no_agreement")


def test_a_message_that_comes_twice_is_refused_the_second_time(peer: Caller, ex: Exchange) -> None:
    for path, said in moves(peer):
        if path in FIRST:
            continue
        assert peer.post(path, said).status_code == 200
        before = everything(ex)
        reply = peer.post(path, said)
        assert (reply.status_code, reply.json()["code"]) == (400, "exchange.transition"), path
        assert everything(ex) == before


@pytest.mark.parametrize("path", ["negotiations/request", "transfers/request"])
def test_a_first_message_that_comes_twice_begins_one_process(peer: Caller, ex: Exchange, path: str) -> None:
    said = next(said for found, said in moves(peer) if found == path)
    first, second = peer.post(path, said), peer.post(path, said)
    assert first.json() == second.json()
    before = everything(ex)
    other = peer.post(path, {**said, "@id": pid()})
    assert (other.status_code, other.json()["code"]) == (400, "exchange.transition")
    assert everything(ex) == before


def test_an_agreement_id_is_good_for_one_negotiation(peer: Caller) -> None:
    agreed = agreement("film", PEER, US)
    for status in (200, 400):
        theirs, ours = consuming_in(peer, "REQUESTED")
        said = message("ContractAgreementMessage", consumerPid=ours, providerPid=theirs, agreement=agreed)
        assert peer.post(f"negotiations/{ours}/agreement", said).status_code == status


def test_what_was_refused_is_kept_as_evidence_up_to_a_limit(peer: Caller, ex: Exchange) -> None:
    mine, theirs = negotiation_in(peer, "REQUESTED")
    said = message("ContractAgreementVerificationMessage", consumerPid=mine, providerPid=theirs, fill="x" * 50_000)
    for _ in range(110):
        assert peer.post(f"negotiations/{theirs}/agreement/verification", said).status_code == 400
    with reading(ex.engine) as connection:
        kept = connection.execute(select(messages).where(messages.c.pid == theirs)).all()
    refused = [row for row in kept if row.outcome == "exchange.transition"]
    assert len(refused) == 100
    assert max(len(row.body) for row in refused) <= 4_096
    accepted = next(row for row in kept if row.outcome == "REQUESTED")
    assert json.loads(accepted.body)["consumerPid"] == mine


def test_a_party_cannot_begin_without_end(peer: Caller, ex: Exchange, monkeypatch: pytest.MonkeyPatch) -> None:
    greedy = Caller(peer.client, ex, "did:web:greedy.example")
    monkeypatch.setattr("malan.services.dsp.flow.MOST_OPEN", 2)
    said = [contract_request(pid(), BACK, offer("offer:reels", "reels")) for _ in range(3)]
    replies = [greedy.post("negotiations/request", one) for one in said]
    assert [one.status_code for one in replies] == [201, 201, 503]
    first = replies[0].json()
    pids = {"consumerPid": first["consumerPid"], "providerPid": first["providerPid"]}
    over = message("ContractNegotiationTerminationMessage", **pids)
    assert greedy.post(f"negotiations/{first['providerPid']}/termination", over).status_code == 200
    assert greedy.post("negotiations/request", said[2]).status_code == 201


def test_a_process_cannot_go_back_and_forth_for_ever(
    peer: Caller, ex: Exchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("malan.services.dsp.flow.MOST_TURNS", 4)
    mine, theirs = transfer_in(peer, "STARTED")
    pids = {"consumerPid": mine, "providerPid": theirs}
    went = []
    for kind, path in (("TransferSuspensionMessage", "suspension"), ("TransferStartMessage", "start")) * 2:
        went.append(peer.post(f"transfers/{theirs}/{path}", message(kind, **pids)).status_code)
    assert went == [200, 200, 400, 400]
    ended = peer.post(f"transfers/{theirs}/termination", message("TransferTerminationMessage", **pids))
    assert ended.status_code == 200


def test_an_odd_process_id_cannot_lead_a_message_elsewhere(peer: Caller, ex: Exchange) -> None:
    mine = "../../inside?x=1#y/%2e%2e"
    theirs = peer.post("negotiations/request", contract_request(mine, BACK, offer("offer:reels", "reels"))).json()
    negotiation.negotiate(ex, theirs["providerPid"], "offer")
    with reading(ex.engine) as connection:
        url = connection.execute(select(outbox.c.url).where(outbox.c.pid == theirs["providerPid"])).scalar_one()
    assert url == f"{BACK}/negotiations/..%2F..%2Finside%3Fx=1%23y%2F%252e%252e/offers"


# Size, type, place.


def test_a_message_over_the_limit_is_refused(peer: Caller, ex: Exchange) -> None:
    body = json.dumps({**message("CatalogRequestMessage"), "fill": "x" * LARGEST_MESSAGE_BYTES}).encode()
    reply = peer.post("catalog/request", body)
    assert (reply.status_code, check(reply.json())["code"]) == (413, "exchange.too_long")


def test_a_hundred_megabytes_are_not_read(tmp_path: Path) -> None:
    ws = fresh(tmp_path)
    sent = 0

    def body() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(1_600):
            sent += 65_536
            yield b" " * 65_536

    with node(ws, is_single_user=True) as found:
        headers = {"content-type": "application/json"}
        try:
            reply = CLIENT.post(f"{found.root}/catalog/request", content=body(), headers=headers)
            assert reply.status_code == 413
        except httpx.TransportError:  # hung up on while it was still talking
            pass
        assert CLIENT.get(f"{found.url}/.well-known/dspace-version").status_code == 200
    assert sent < 40_000_000
    ws.database.dispose()


def test_a_body_of_another_type_is_refused(peer: Caller) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
        headers = {"authorization": PEER, "content-type": kind}
        reply = peer.client.post(f"{words.ROOT}/catalog/request", content=b"{}", headers=headers)
        assert reply.status_code == 400


@pytest.mark.parametrize("path", ["negotiations/request", "negotiations/x/nothing", "nothing", "transfers"])
def test_a_place_that_is_not_there_has_a_typed_error(peer: Caller, path: str) -> None:
    reply = peer.client.put(f"{words.ROOT}/{path}", headers=peer.headers())
    assert reply.status_code == 404
    assert check(reply.json())["@type"].endswith("Error")


def test_slashes_too_many_do_no_harm(peer: Caller) -> None:
    reply = peer.client.post(
        f"{words.ROOT}//catalog//request/", content=json.dumps(message("CatalogRequestMessage")), headers=peer.headers()
    )
    assert reply.status_code == 200


# Who calls.


class Trusting:
    """A connector that believes one partner, and the partner's key."""

    def __init__(self, folder: Path) -> None:
        self.ws, self.other = fresh(folder / "us"), fresh(folder / "peer")
        introduce(self.ws, US, {PEER: key_of(self.other)})
        self.key = self.other.keys.actor("operator")
        self.ex = open_exchange(self.ws, "http://127.0.0.1:1")
        self.client = TestClient(create_exchange(self.ex), base_url="http://127.0.0.1:1")

    def ask(self, authorization: str | None) -> httpx.Response:
        headers = {"content-type": "application/json"} | ({"authorization": authorization} if authorization else {})
        said = json.dumps(message("CatalogRequestMessage"))
        return self.client.post(f"{words.ROOT}/catalog/request", content=said, headers=headers)

    def code(self, token: str) -> str:
        reply = self.ask(f"Bearer {token}")
        assert reply.status_code == 401, reply.text
        return str(check(reply.json())["code"])


@pytest.fixture(scope="module")
def trusting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trusting]:
    found = Trusting(tmp_path_factory.mktemp("trust"))
    yield found
    found.ws.database.dispose()


def test_a_partner_is_believed_once_for_each_token(trusting: Trusting) -> None:
    token = issue_token(trusting.key, PEER, US)
    assert trusting.ask(f"Bearer {token}").status_code == 200
    assert trusting.code(token) == "exchange.token_used"


def test_nobody_is_believed_without_a_token(trusting: Trusting) -> None:
    for header in (None, "Basic eDp5", "Bearer", "Bearer ", "Bearer " + "x" * 5_000):
        assert trusting.ask(header).status_code == 401


def test_a_token_must_be_for_us_now_and_for_a_short_while(trusting: Trusting) -> None:
    now_s = time.time()
    for code, token in {
        "exchange.token_audience": issue_token(trusting.key, PEER, "did:web:somebody-else"),
        "exchange.token_expired": issue_token(trusting.key, PEER, US, now_s=now_s - 4_000),
        "exchange.token_time": issue_token(trusting.key, PEER, US, life_s=90_000),
    }.items():
        assert trusting.code(token) == code
    ahead = issue_token(trusting.key, PEER, US, now_s=now_s + 500)
    assert trusting.code(ahead) == "exchange.token_time"


def test_a_key_that_is_not_on_the_list_is_not_believed(trusting: Trusting) -> None:
    stranger = trusting.ws.keys.actor("operator")
    assert trusting.code(issue_token(stranger, PEER, US)) == "exchange.unknown_key"
    assert trusting.code(issue_token(trusting.key, RIVAL, US)) == "exchange.unknown_key"


def test_a_key_taken_off_the_list_is_not_believed_any_more(tmp_path: Path) -> None:
    found = Trusting(tmp_path)
    assert found.ask(f"Bearer {issue_token(found.key, PEER, US)}").status_code == 200
    introduce(found.ws, US, {})
    assert found.code(issue_token(found.key, PEER, US)) == "exchange.unknown_key"
    introduce(found.ws, US, {PEER: key_of(found.other)})
    assert found.ask(f"Bearer {issue_token(found.key, PEER, US)}").status_code == 200
    (found.ws.root / "exchange.toml").write_text("participant = 7")
    assert found.code(issue_token(found.key, PEER, US)) == "exchange.unknown_key"
    found.ws.database.dispose()


@pytest.mark.parametrize("header", [{"alg": "none"}, {"alg": "HS256"}, {"alg": "EdDSA", "crit": ["x"]}, {}, []])
def test_another_algorithm_is_not_believed(trusting: Trusting, header: Any) -> None:
    parts = issue_token(trusting.key, PEER, US).split(".")
    signed = f"{_base64(json.dumps(header).encode())}.{parts[1]}"
    for signature in ("", parts[2], _base64(trusting.key.sign(signed.encode()))):
        assert trusting.code(f"{signed}.{signature}") == "exchange.bad_token"


def test_every_changed_character_of_a_token_breaks_it(trusting: Trusting) -> None:
    token = issue_token(trusting.key, PEER, US)
    for at in range(0, len(token), 7):
        other = "A" if token[at] != "A" else "B"
        assert trusting.ask(f"Bearer {token[:at]}{other}{token[at + 1 :]}").status_code == 401
    assert trusting.ask(f"Bearer {token}").status_code == 200


@pytest.mark.parametrize("claims", [{"exp": "soon"}, {"exp": None}, {"exp": True}, {"jti": 7}, {"jti": ""}, {"aud": 7}])
def test_a_claim_of_another_kind_is_not_believed(trusting: Trusting, claims: dict[str, Any]) -> None:
    now_s = int(time.time())
    said = {"iss": PEER, "aud": US, "iat": now_s, "exp": now_s + 60, "jti": pid(), **claims}
    header = json.dumps({"alg": "EdDSA"}).encode()
    signed = f"{_base64(header)}.{_base64(json.dumps(said).encode())}"
    assert trusting.code(f"{signed}.{_base64(trusting.key.sign(signed.encode()))}").startswith("exchange.")


# On one's own machine, without accounts.


def test_a_program_on_this_machine_may_call_where_nobody_else_can(tmp_path: Path) -> None:
    ws = fresh(tmp_path)
    with node(ws, is_single_user=True) as found:
        said = message("CatalogRequestMessage")
        url = f"{found.root}/catalog/request"
        assert CLIENT.post(url, json=said).status_code == 200
        for header in (
            {"origin": "https://evil.example"},
            {"sec-fetch-site": "cross-site"},
            {"x-forwarded-for": "203.0.113.9"},
            {"forwarded": "for=203.0.113.9"},
            {"host": "evil.example"},
            {"authorization": "Bearer x.y.z"},
        ):
            assert CLIENT.post(url, json=said, headers=header).status_code == 401, header
    with node(ws) as found:
        assert CLIENT.post(f"{found.root}/catalog/request", json=said).status_code == 401
    ws.database.dispose()


def _base64(data: bytes) -> str:
    import base64

    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
