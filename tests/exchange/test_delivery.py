"""Messages on their way: many at once, answers that are lost, and what a person sends again."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from dsp_messages import contract_request, message, offer, pid
from nodes import fresh, introduce, make_offer, node
from sqlalchemy import select
from waiting import until

from malan.runtime.database import reading
from malan.services.dsp import words
from malan.services.dsp.errors import BadTransition
from malan.services.dsp.flow import Exchange
from malan.services.dsp.read import Message, read_message
from malan.services.dsp.tables import messages, outbox
from malan.services.dsp.write import to_bytes
from malan.services.exchange.negotiation import (
    negotiate,
    open_exchange,
    receive_message,
    receive_request,
    request_contract,
    resend,
    show_negotiation,
)
from malan.workspace import Workspace

PEER = "did:web:peer.example"


def read(kind: str, said: dict[str, Any]) -> Message:
    return read_message(to_bytes(said), kind)


@pytest.fixture
def quiet(workspace: Workspace) -> Exchange:
    """A connector that does nothing by itself, on SQLite and then on PostgreSQL."""
    introduce(workspace, "did:web:us.example", {})
    ex = open_exchange(workspace, "http://127.0.0.1:1")
    ex.watchers = []
    make_offer(workspace, "reels")
    return ex


def test_of_many_messages_at_once_exactly_one_moves_a_process(quiet: Exchange) -> None:
    mine = pid()
    first = contract_request(mine, "http://127.0.0.1:2222/x", offer("offer:reels", "reels"))
    process, _ = receive_request(quiet, PEER, read("ContractRequestMessage", first))
    negotiate(quiet, process.pid, "offer")
    pids = {"consumerPid": mine, "providerPid": process.pid}

    def accept(_: int) -> bool:
        said = message("ContractNegotiationEventMessage", **pids, eventType="ACCEPTED")
        try:
            receive_message(quiet, process.pid, PEER, read(words.CONTRACT_EVENT, said))
        except BadTransition:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(accept, range(24))) == 1
    assert show_negotiation(quiet, process.pid).turn == 3


def test_of_many_first_messages_at_once_one_process_begins(quiet: Exchange) -> None:
    said = contract_request(pid(), "http://127.0.0.1:2222/x", offer("offer:reels", "reels"))

    def begin(_: int) -> tuple[str, bool]:
        process, is_new = receive_request(quiet, PEER, read("ContractRequestMessage", said))
        return process.pid, is_new

    with ThreadPoolExecutor(8) as pool:
        begun = list(pool.map(begin, range(24)))
    assert len({one for one, _ in begun}) == 1
    assert sum(is_new for _, is_new in begun) == 1


def test_of_many_acts_at_once_exactly_one_message_goes_out(quiet: Exchange) -> None:
    first = contract_request(pid(), "http://127.0.0.1:2222/x", offer("offer:reels", "reels"))
    process, _ = receive_request(quiet, PEER, read("ContractRequestMessage", first))

    def agree(_: int) -> bool:
        try:
            negotiate(quiet, process.pid, "agree", turn=process.turn)
        except BadTransition:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(agree, range(24))) == 1
    with reading(quiet.engine) as connection:
        assert len(connection.execute(select(outbox)).all()) == 1


def test_the_bytes_of_both_sides_are_kept_as_they_were(quiet: Exchange) -> None:
    body = json.dumps(
        contract_request(pid(), "http://127.0.0.1:2222/x", offer("offer:reels", "reels")), indent=3, ensure_ascii=True
    ).encode()
    process, _ = receive_request(quiet, PEER, read_message(body, "ContractRequestMessage"))
    negotiate(quiet, process.pid, "agree")
    with reading(quiet.engine) as connection:
        kept = connection.execute(select(messages).where(messages.c.pid == process.pid).order_by(messages.c.id)).all()
        sent = connection.execute(select(outbox.c.body)).scalar_one()
    assert [(row.direction, row.outcome) for row in kept] == [("in", "REQUESTED"), ("out", "AGREED")]
    assert (bytes(kept[0].body), bytes(kept[1].body)) == (body, bytes(sent))


class Forgetful:
    """A provider that takes a message, and whose first answers get lost on the way."""

    def __init__(self, lost: int, *, stands: str) -> None:
        self.lost, self.stands, self.taken, self.refused = lost, stands, 0, 0
        self.is_there = True
        peer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                said = json.loads(self.rfile.read(int(self.headers["content-length"])))
                status, body = peer.take(said)
                self.answer(status, body)

            def do_GET(self) -> None:
                self.answer(200, {"state": peer.stands})

            def answer(self, status: int, body: dict[str, Any]) -> None:
                if status == 0:
                    return  # hangs up
                held = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(held)))
                self.end_headers()
                self.wfile.write(held)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def take(self, said: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if said["@type"] == "ContractRequestMessage":
            return 201, {"providerPid": "urn:uuid:forgetful"}
        if self.taken:
            self.refused += 1
            return 400, {"@type": "ContractNegotiationError", "code": "again"}
        self.taken += 1
        return (0 if self.lost else 200), {}

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.mark.parametrize(("stands", "arrived"), [("TERMINATED", True), ("REQUESTED", False)])
def test_a_message_whose_answer_was_lost_is_known_by_the_state_it_led_to(
    tmp_path: Path, stands: str, arrived: bool
) -> None:
    ws, peer = fresh(tmp_path), Forgetful(1, stands=stands)
    introduce(ws, "did:web:us.example", {})
    with node(ws) as found:
        process = request_contract(found.ex, PEER, peer.url, "film", "offer")
        until(lambda: show_negotiation(found.ex, process.pid).peer_pid)
        negotiate(found.ex, process.pid, "terminate")
        until(lambda: peer.refused)
        status = until(lambda: _status(found.ex, words.CONTRACT_TERMINATION))
        assert status == ("sent" if arrived else "failed")
        assert bool(show_negotiation(found.ex, process.pid).details.get("problem")) is not arrived
    peer.close()
    ws.database.dispose()


def test_a_state_that_is_read_before_our_own_answer_names_both_processes(quiet: Exchange) -> None:
    """The other side may be faster with its question than we are with reading what it answered."""
    from malan.ledger.post import Reply
    from malan.services.dsp.outbox import Outgoing

    process = request_contract(quiet, PEER, "http://127.0.0.1:2222/x", "film", "offer")
    assert not show_negotiation(quiet, process.pid).peer_pid
    outgoing = Outgoing(1, process.pid, words.CONTRACT_REQUEST, PEER, "", b"", 1, "")
    answer = Reply(201, "application/json", b'{"providerPid": "urn:uuid:late"}')
    late = threading.Timer(0.05, quiet._delivered, [outgoing, answer])
    late.start()
    assert show_negotiation(quiet, process.pid, PEER).provider_pid == "urn:uuid:late"
    late.join()


def _status(ex: Exchange, kind: str) -> str | None:
    with reading(ex.engine) as connection:
        status = connection.execute(select(outbox.c.status).where(outbox.c.type == kind)).scalar_one()
    return None if status == "waiting" else str(status)


def test_what_was_given_up_is_sent_again_when_a_person_says_so(tmp_path: Path) -> None:
    ws = fresh(tmp_path)
    introduce(ws, "did:web:us.example", {})
    with node(ws, pauses_s=(0.01, 0.01)) as found:
        process = request_contract(found.ex, PEER, "http://127.0.0.1:1", "film", "offer")
        until(lambda: show_negotiation(found.ex, process.pid).details.get("problem"))
        peer = Forgetful(0, stands="REQUESTED")
        _move_to(found.ex, peer.url)
        assert resend(found.ex, "negotiation", process.pid) == 1
        until(lambda: show_negotiation(found.ex, process.pid).peer_pid)
        assert show_negotiation(found.ex, process.pid).details["problem"] is None
        peer.close()
    ws.database.dispose()


def _move_to(ex: Exchange, url: str) -> None:
    from sqlalchemy import update

    from malan.runtime.database import updating

    with updating(ex.engine) as connection:
        connection.execute(update(outbox).values(url=f"{url}/negotiations/request"))


def test_messages_of_one_process_go_out_in_order(tmp_path: Path) -> None:
    """While the first cannot be delivered, the second waits; another process does not."""
    ws, peer = fresh(tmp_path), Forgetful(0, stands="REQUESTED")
    introduce(ws, "did:web:us.example", {})
    with node(ws, pauses_s=(0.4, 0.4)) as found:
        stuck = request_contract(found.ex, PEER, "http://127.0.0.1:1", "film", "offer")
        other = request_contract(found.ex, PEER, peer.url, "film", "offer")
        until(lambda: show_negotiation(found.ex, other.pid).peer_pid)
        assert show_negotiation(found.ex, stuck.pid).peer_pid == ""
    peer.close()
    ws.database.dispose()
