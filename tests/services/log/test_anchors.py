"""A workspace has its log anchored by authorities of its settings, and checks what it kept."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from drawn_evidence import DrawnService
from drawn_tsa import DrawnTsa, certify, stamping
from loopback import answering
from typer.testing import CliRunner

from malan.cli.main import app
from malan.core.errors import NotFound, Rejected, UsageError
from malan.ledger.anchors import KeyPair, SharedSecret
from malan.services.log.anchors import anchor_log, check_anchors
from malan.services.log.keys import init_keys, rotate_key
from malan.workspace import Workspace

ROOT = certify("root", is_ca=True)
SIGNER = stamping("tsa", ROOT)
SECRET = b"a secret of the two of us"
SERVICE = Ed25519PrivateKey.generate()


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    made = Workspace.create(tmp_path / "ws")
    init_keys(made, origin="owner.example/log")
    made.keys.keep({"court.secret": SECRET + b"\n"})
    (made.root / "root.pem").write_bytes(ROOT.pem)
    return made


@pytest.fixture
def authorities(ws: Workspace) -> Iterator[None]:
    now = datetime.now(UTC)
    stamp = DrawnTsa(SIGNER, time=f"{now:%Y%m%d%H%M%S}Z").serve
    court = DrawnService(SharedSecret(SECRET), f"{now:%Y-%m-%dT%H:%M:%SZ}").serve
    notary = DrawnService(KeyPair(SERVICE.private_bytes_raw(), bytes(32)), f"{now:%Y-%m-%dT%H:%M:%SZ}").serve
    key = base64.b64encode(SERVICE.public_key().public_bytes_raw()).decode()
    with answering(stamp) as tsa_url, answering(court) as court_url, answering(notary) as notary_url:
        _set(
            ws,
            f'[tsa]\nkind = "rfc3161"\nurl = "{tsa_url}"\nroots = "root.pem"\n'
            f'[court]\nkind = "evidence"\nurl = "{court_url}"\nsecret = "court.secret"\nkey_id = "42"\n'
            f'[notary]\nkind = "evidence"\nurl = "{notary_url}"\nservice_key = "{key}"\ntimeout_s = 5\n'
            '[notary.fields]\nreceipt = "receipt"\nconstants = { product = "7" }\n',
        )
        yield


def _set(ws: Workspace, text: str) -> None:
    (ws.root / "anchors.toml").write_text(text, "utf-8")


@pytest.mark.usefixtures("authorities")
def test_every_authority_states_the_newest_checkpoint_and_all_check_offline(ws: Workspace) -> None:
    done = anchor_log(ws)
    assert [(each.name, each.error) for each in done] == [("tsa", None), ("court", None), ("notary", None)]
    rotate_key(ws, "system")
    rotate_key(ws, "operator")
    assert [each.name for each in anchor_log(ws, ["tsa"])] == ["tsa"]
    kept = check_anchors(ws)
    assert [(each.size, each.name) for each in kept] == [(3, "court"), (3, "notary"), (3, "tsa"), (5, "tsa")]
    assert all(each.error is None and each.time for each in kept)


@pytest.mark.usefixtures("authorities")
def test_what_was_kept_and_then_changed_is_found(ws: Workspace) -> None:
    anchor_log(ws)
    folder = ws.root / "anchors"
    (folder / "3-court.token").write_bytes((folder / "3-court.token").read_bytes().replace(b"E-", b"F-"))
    assert {each.name: each.error.code for each in check_anchors(ws) if each.error} == {"court": "anchor.signature"}
    rotate_key(ws, "operator")
    (folder / "3.note").write_bytes(ws.log.reader.note())
    assert {each.error.code for each in check_anchors(ws) if each.error} == {"anchor.other_log"}
    (folder / "3.note").unlink()
    assert {each.error.code for each in check_anchors(ws) if each.error} == {"ledger.missing"}


def test_one_that_fails_does_not_stop_the_others(ws: Workspace) -> None:
    stamp = DrawnTsa(SIGNER, time=f"{datetime.now(UTC):%Y%m%d%H%M%S}Z").serve
    with answering(stamp) as url:
        _set(
            ws,
            f'[gone]\nkind = "rfc3161"\nurl = "http://127.0.0.1:1/"\nroots = "root.pem"\n'
            f'[tsa]\nkind = "rfc3161"\nurl = "{url}"\nroots = "{ws.root}/root.pem"\n',
        )
        shown = CliRunner().invoke(app, ["log", "anchor", "add", "--workspace", str(ws.root), "--json"])
    said = json.loads(shown.stdout)["anchors"]
    assert [each["name"] for each in said if each["error"]] == ["gone"]
    assert shown.exit_code == 1
    checked = CliRunner().invoke(app, ["log", "anchor", "check", "--workspace", str(ws.root)])
    assert checked.exit_code == 0
    assert "tsa" in checked.stdout


@pytest.mark.parametrize(
    "text",
    [
        "nonsense",
        "tsa = 1",
        '[tsa]\nurl = "http://h/"\nroots = "root.pem"',
        '[tsa]\nkind = "blockchain"\nurl = "http://h/"',
        '[tsa]\nkind = "rfc3161"\nurl = "http://h/"',
        '[tsa]\nkind = "rfc3161"\nroots = "root.pem"',
        '[tsa]\nkind = "rfc3161"\nurl = 1\nroots = "root.pem"',
        '[tsa]\nkind = "rfc3161"\nurl = "http://h/"\nroots = "root.pem"\nsecret = "x"',
        '[tsa]\nkind = "rfc3161"\nurl = "http://h/"\nroots = "root.pem"\ntimeout_s = 0',
        '[tsa]\nkind = "rfc3161"\nurl = "http://h/"\nroots = "root.pem"\ntimeout_s = true',
        '["../x"]\nkind = "rfc3161"\nurl = "http://h/"\nroots = "root.pem"',
        '[c]\nkind = "evidence"\nurl = "http://h/"',
        '[c]\nkind = "evidence"\nurl = "http://h/"\nsecret = "court.secret"\nservice_key = "AAAA"',
        '[c]\nkind = "evidence"\nurl = "http://h/"\nservice_key = "AAAA"',
        '[c]\nkind = "evidence"\nurl = "http://h/"\nsecret = "court.secret"\nfields = { other = "x" }',
        '[c]\nkind = "evidence"\nurl = "http://h/"\nsecret = "court.secret"\nfields = { receipt = 1 }',
        '[c]\nkind = "evidence"\nurl = "http://h/"\nsecret = "court.secret"\nfields = { constants = { a = 1 } }',
    ],
)
def test_settings_that_are_not_understood_are_refused(ws: Workspace, text: str) -> None:
    _set(ws, text)
    with pytest.raises(UsageError):
        anchor_log(ws)


def test_secrets_are_named_by_file_and_closed_to_others(ws: Workspace) -> None:
    court = '[c]\nkind = "evidence"\nurl = "http://h/"\nsecret = "{}"'
    for file in ("missing.secret", "../malan.toml", "/etc/passwd", ""):
        _set(ws, court.format(file))
        with pytest.raises(NotFound):
            anchor_log(ws)
    _set(ws, court.format("court.secret"))
    (ws.root / "keys" / "court.secret").chmod(0o644)
    with pytest.raises(Rejected):
        anchor_log(ws)


def test_without_settings_or_with_an_unknown_name_nothing_is_asked(ws: Workspace) -> None:
    with pytest.raises(NotFound):
        anchor_log(ws)
    _set(ws, '[tsa]\nkind = "rfc3161"\nurl = "http://h/"\nroots = "root.pem"')
    with pytest.raises(NotFound):
        anchor_log(ws, ["other"])
    _set(ws, '[tsa]\nkind = "rfc3161"\nurl = "http://h/"\nroots = "nowhere.pem"')
    with pytest.raises(NotFound):
        anchor_log(ws)
