"""Partners witness each other: by folder, by hand and over HTTP, with real logs of real workspaces."""

from __future__ import annotations

import hashlib
import json
import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from typer.testing import CliRunner

from malan.cli.main import app
from malan.core.errors import MalanError, NotFound, ProofError, UsageError
from malan.ledger.policy import Policy
from malan.ledger.split_view import SplitView
from malan.services.log.keys import init_keys, rotate_key, show_keys
from malan.services.log.reading import verify_log
from malan.services.log.witness import (
    accept_cosignature,
    ask_witnesses,
    compare_copies,
    cosign_folder,
    know_log,
    show_witness,
)
from malan.web.server import listen, make_server
from malan.web.witness import create_witness_app
from malan.workspace import Workspace


def _workspace(folder: Path, origin: str) -> Workspace:
    ws = Workspace.create(folder)
    init_keys(ws, origin=origin)
    return ws


@pytest.fixture
def owner(tmp_path: Path) -> Workspace:
    return _workspace(tmp_path / "owner", "owner.example/log")


@pytest.fixture
def park(tmp_path: Path) -> Workspace:
    return _workspace(tmp_path / "park", "park.example/log")


def _vkey(ws: Workspace) -> str:
    return show_keys(ws).vkey


def _grow(ws: Workspace) -> None:
    """One more event: a new operator key is stated."""
    rotate_key(ws, "operator")


@contextmanager
def _serving(ws: Workspace, body_timeout_s: float = 60.0) -> Iterator[str]:
    listening = listen("127.0.0.1", 0)
    server = make_server(create_witness_app(ws, body_timeout_s=body_timeout_s))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


def test_a_partner_cosigns_by_folder_and_the_line_is_published(owner: Workspace, park: Workspace) -> None:
    done = cosign_folder(park, owner.root / "log", [_vkey(owner)])
    assert (done.origin, done.since) == ("owner.example/log", None)
    witness = show_witness(park)
    accepted = accept_cosignature(owner, done.line, witness.vkey)
    assert accepted.has_quorum
    unchecked = verify_log(owner)
    assert (unchecked.cosigned_by, unchecked.claimed_by) == ((), ("park.example/log/witness",))
    (owner.root / "log.policy").write_text(f"witness park {witness.vkey}\nquorum park\n")
    checked = verify_log(owner)
    assert (checked.cosigned_by, checked.claimed_by) == (("park.example/log/witness",), ())
    _grow(owner)
    again = cosign_folder(park, owner.root / "log")
    assert (again.since, again.size) == (done.size, done.size + 1)


def test_a_log_nobody_made_known_is_not_cosigned(owner: Workspace, park: Workspace) -> None:
    with pytest.raises(NotFound) as refused:
        cosign_folder(park, owner.root / "log")
    assert refused.value.code == "witness.origin"
    with pytest.raises(UsageError):
        know_log(park, show_witness(park).vkey)


def test_a_log_that_changes_its_key_is_followed(owner: Workspace, park: Workspace) -> None:
    cosign_folder(park, owner.root / "log", [_vkey(owner)])
    rotate_key(owner, "system")
    _grow(owner)
    assert cosign_folder(park, owner.root / "log").size == verify_log(owner).size
    assert len(show_witness(park).logs[0].keys) == 2


def test_a_witness_that_changes_its_key_goes_on(owner: Workspace, park: Workspace) -> None:
    first = cosign_folder(park, owner.root / "log", [_vkey(owner)])
    before = show_witness(park).vkey
    rotate_key(park, "witness")
    _grow(owner)
    assert cosign_folder(park, owner.root / "log").since == first.size
    assert show_witness(park).vkey != before


def test_a_log_that_tells_two_stories_is_convicted(owner: Workspace, park: Workspace, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(owner.root, other)
    for _ in range(3):
        _grow(owner)
    twin = Workspace(other)
    for _ in range(4):
        _grow(twin)
    key = _vkey(owner)
    cosign_folder(park, owner.root / "log", [key])
    with pytest.raises(ProofError) as refused:
        cosign_folder(park, other / "log")
    assert refused.value.code == "witness.split"
    assert show_witness(park).split_views == ("owner.example/log",)

    found = compare_copies(owner.root / "log", other / "log", [key])
    assert (str(found.relation), found.shared) == ("forked", 3)
    command = ["log", "witness", "compare", str(owner.root / "log"), str(other / "log"), "--key", key]
    shown = CliRunner().invoke(app, [*command, "--json", "--out", str(tmp_path / "proof.json")])
    assert shown.exit_code == 4
    assert json.loads(shown.stdout)["shared"] == 3
    assert SplitView.parse((tmp_path / "proof.json").read_bytes()) == found.split_view


def test_copies_that_agree_are_told_apart_by_length(owner: Workspace, tmp_path: Path) -> None:
    shutil.copytree(owner.root / "log", tmp_path / "copy")
    key = _vkey(owner)
    assert str(compare_copies(owner.root / "log", tmp_path / "copy", [key]).relation) == "same"
    rotate_key(owner, "system")
    assert str(compare_copies(owner.root / "log", tmp_path / "copy", [key]).relation) == "first_ahead"
    with pytest.raises(UsageError):
        compare_copies(owner.root / "log", tmp_path / "copy", [])


def test_witnesses_of_a_policy_cosign_over_http(owner: Workspace, park: Workspace) -> None:
    know_log(park, _vkey(owner))
    with _serving(park) as url:
        policy = f"witness park {show_witness(park).vkey} {url}\nquorum park\n"
        (owner.root / "log.policy").write_text(policy)
        for _ in range(3):
            asked = ask_witnesses(owner)
            assert (asked.cosigned_by, asked.has_quorum, asked.failures) == (("park",), True, {})
            _grow(owner)
        shown = CliRunner().invoke(app, ["log", "witness", "ask", "--workspace", str(owner.root), "--json"])
    assert shown.exit_code == 0
    assert json.loads(shown.stdout)["quorum"] is True
    assert verify_log(owner).cosigned_by == ("park.example/log/witness",)


def test_a_monitor_reads_what_the_witness_cosigned_last(owner: Workspace, park: Workspace) -> None:
    done = cosign_folder(park, owner.root / "log", [_vkey(owner)])
    with _serving(park) as url:
        host, port = url.removeprefix("http://").split(":")
        known = hashlib.sha256(b"owner.example/log").hexdigest()
        get = "GET /{}/checkpoint HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        found = _say(host, int(port), get.format(known).encode())
        missing = _say(host, int(port), get.format("0" * 64).encode())
    assert _status(found) == 200
    assert found.decode().endswith(done.line)
    assert _status(missing) == 404


def test_a_policy_short_of_its_quorum_says_who_failed(owner: Workspace, park: Workspace) -> None:
    (owner.root / "log.policy").write_text(f"witness park {show_witness(park).vkey} http://127.0.0.1:1\nquorum park\n")
    asked = ask_witnesses(owner, timeout_s=2)
    assert not asked.has_quorum
    assert asked.failures["park"].code == "http.unreachable"
    shown = CliRunner().invoke(app, ["log", "witness", "ask", "--workspace", str(owner.root)])
    assert shown.exit_code == 1


def test_without_policy_or_address_nobody_is_asked(owner: Workspace, park: Workspace) -> None:
    with pytest.raises(NotFound):
        ask_witnesses(owner)
    (owner.root / "log.policy").write_text(Policy.at_least(0, []).text())
    with pytest.raises(UsageError):
        ask_witnesses(owner)


def test_the_served_witness_limits_what_it_reads(owner: Workspace, park: Workspace) -> None:
    know_log(park, _vkey(owner))
    with _serving(park, body_timeout_s=1.0) as url:
        host, port = url.removeprefix("http://").split(":")
        head = b"POST /add-checkpoint HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
        slow = _say(host, int(port), head % 100 + b"old 0")
        large = _say(host, int(port), head % 400_000 + b"x" * 400_000)
        garbage = _say(host, int(port), head % 3 + b"\xff\xff\xff")
        other = _say(host, int(port), b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        method = _say(host, int(port), b"GET /add-checkpoint HTTP/1.1\r\nHost: x\r\n\r\n")
    assert [_status(said) for said in (slow, large, garbage, other, method)] == [408, 400, 400, 404, 405]


def test_a_witness_that_cannot_keep_its_state_signs_nothing(owner: Workspace, park: Workspace) -> None:
    cosign_folder(park, owner.root / "log", [_vkey(owner)])
    _grow(owner)
    (state,) = (park.root / "witness").glob("*.note")
    state.write_bytes(state.read_bytes().replace(b"\n3\n", b"\n2\n"))
    with _serving(park) as url:
        (owner.root / "log.policy").write_text(f"witness park {show_key(park)} {url}\nquorum park\n")
        asked = ask_witnesses(owner)
    assert asked.failures["park"].code == "witness.later"
    with pytest.raises(ProofError) as refused:
        cosign_folder(park, owner.root / "log")
    assert refused.value.code == "witness.state"


def show_key(ws: Workspace) -> str:
    from malan.services.log.witness import WitnessDesk

    return WitnessDesk(ws).witness().vkey


def test_a_cosignature_of_an_older_checkpoint_is_not_published(owner: Workspace, park: Workspace) -> None:
    done = cosign_folder(park, owner.root / "log", [_vkey(owner)])
    key = show_witness(park).vkey
    _grow(owner)
    with pytest.raises(MalanError) as refused:
        accept_cosignature(owner, done.line, key)
    assert refused.value.code == "note.bad_signature"
    with pytest.raises(UsageError):
        accept_cosignature(owner, done.line, _vkey(owner))


def test_the_command_cosigns_a_folder_by_default(owner: Workspace, park: Workspace, tmp_path: Path) -> None:
    run = CliRunner()
    base = ["log", "witness", str(owner.root / "log"), "--workspace", str(park.root)]
    assert run.invoke(app, [*base, "--json"]).exception
    done = run.invoke(app, [*base, "--key", _vkey(owner), "--out", str(tmp_path / "line"), "--json"])
    assert done.exit_code == 0
    assert json.loads(done.stdout)["line"] == (tmp_path / "line").read_text()
    shown = run.invoke(app, ["log", "witness", "show", "--workspace", str(park.root), "--json"])
    witness = json.loads(shown.stdout)
    assert witness["logs"][0]["origin"] == "owner.example/log"
    command = ["log", "witness", "accept", str(tmp_path / "line"), "--key", witness["vkey"]]
    assert run.invoke(app, [*command, "--workspace", str(owner.root)]).exit_code == 0
    assert "park.example/log/witness" in run.invoke(app, ["log", "verify", "--workspace", str(owner.root)]).stdout
    assert run.invoke(app, ["log", "witness", "know", _vkey(owner), "--workspace", str(park.root)]).exit_code == 0
    assert "owner.example/log" in run.invoke(app, ["log", "witness", "show", "--workspace", str(park.root)]).stdout


def _say(host: str, port: int, data: bytes) -> bytes:
    with socket.create_connection((host, port), timeout=10) as peer:
        with suppress(OSError):
            peer.sendall(data)
        held = peer.recv(65536)
        while held and b"\r\n\r\n" in held and b"Connection: close" in data and (more := peer.recv(65536)):
            held += more
        return held


def _status(said: bytes) -> int:
    return int(said.split(b" ")[1])
