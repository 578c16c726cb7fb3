"""Test mode is behind one switch: off, nothing of it exists; on, it starts empty, says so, and leaves nothing."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from counterparty import CLIENT, Counterparty
from dsp_messages import message
from dsp_schemas import check
from nodes import seeded_node

from malan.core.errors import Rejected, UsageError
from malan.exchange.test_mode import Seed, check_empty, load_seed
from malan.web.built import FOLDER
from malan.workspace import Workspace

SEED: dict[str, Any] = {
    "participantId": "CONNECTOR_UNDER_TEST",
    "counterparty": "TCK_PARTICIPANT",
    "stepDelayMs": 300,
    "datasets": [{"id": "A", "offerId": "offer", "formats": ["HttpData-PULL"]}],
    "agreements": [{"id": "X", "role": "consumer", "datasetId": "R"}],
    "negotiations": {"provider": {"A": [["REQUESTED", "offer"]]}, "consumer": {}},
    "transfers": {"provider": {}, "consumer": {"X": [["STARTED", "terminate"]]}},
}

needs_console = pytest.mark.skipif(not (FOLDER / "manifest.json").is_file(), reason="the console is not built")


@pytest.fixture(autouse=True)
def _records_in_the_workspace(request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--postgres"):
        pytest.skip("test mode refuses a workspace whose records a server keeps")


@contextmanager
def up(folder: Path, seed: Path | None = None) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`malan up` over a workspace, and the address it prints."""
    env = {**os.environ, "MALAN_LANG": "en", **({"MALAN_DSP_TEST_SEED": str(seed)} if seed else {})}
    command = [sys.executable, "-m", "malan", "up", "--workspace", str(folder), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        yield process, (re.findall(r"http://[\d.:]+", line) or [""])[0]
    finally:
        process.kill()
        process.communicate()


def write(folder: Path, **changes: Any) -> Path:
    path = folder / "seed.json"
    path.write_text(json.dumps({**SEED, **changes}))
    return path


@needs_console
def test_without_the_switch_there_is_nothing_of_it(tmp_path: Path) -> None:
    Workspace.create(tmp_path)
    with up(tmp_path) as (_, url):
        assert CLIENT.get(f"{url}/.well-known/dspace-version").json()["protocolVersions"]
        reply = CLIENT.post(f"{url}/dsp/2025-1/catalog/request", json=message("CatalogRequestMessage"))
        assert "dataset" not in check(reply.json())
        for path in ("/test/negotiations/requests", "/test/transfers/requests"):
            assert CLIENT.post(f"{url}{path}", json={}).status_code == 404
        assert CLIENT.get(f"{url}/healthz").status_code == 200


def test_without_the_switch_its_module_is_not_imported() -> None:
    code = "import malan.server, malan.exchange.app, sys; print('malan.exchange.test_mode' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@needs_console
def test_with_the_switch_it_says_so_and_leaves_nothing(tmp_path: Path) -> None:
    ws = Workspace.create(tmp_path / "ws")
    with up(ws.root, write(tmp_path)) as (process, url):
        said = CLIENT.post(f"{url}/dsp/2025-1/catalog/request", json=message("CatalogRequestMessage")).json()
        assert [one["@id"] for one in check(said)["dataset"]] == ["A"]
        process.send_signal(signal.SIGTERM)
        process.wait(15)
        assert process.stderr is not None
        lines = process.stderr.read().splitlines()
    assert [line for line in lines if "TEST MODE" in line and "TCK_PARTICIPANT" in line]
    assert "Traceback" not in "\n".join(lines)
    assert [path.name for path in ws.root.iterdir()] == ["malan.toml"]


@needs_console
@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"unheard": 1}, "unheard"),
        ({"negotiations": {"provider": {"A": [["BORED", "offer"]]}}}, "BORED"),
        ({"negotiations": {"provider": {"A": [["REQUESTED", "shrug"]]}}}, "shrug"),
    ],
)
def test_a_seed_that_is_not_understood_stops_the_start(tmp_path: Path, changes: dict[str, Any], named: str) -> None:
    Workspace.create(tmp_path)
    with up(tmp_path, write(tmp_path, **changes)) as (process, url):
        assert (url, process.wait(15)) == ("", 2)
        assert process.stderr is not None
        assert named in process.stderr.read()


@pytest.mark.parametrize(
    "changes",
    [
        {"participantId": ""},
        {"counterparty": 7},
        {"stepDelayMs": -1},
        {"stepDelayMs": "soon"},
        {"datasets": {}},
        {"datasets": [{"id": "A"}]},
        {"datasets": [{"id": "A", "offerId": "o", "price": 1}]},
        {"datasets": [SEED["datasets"][0]] * 2},
        {"agreements": [{"id": "X", "role": "owner", "datasetId": "A"}]},
        {"negotiations": {"auditor": {}}},
        {"negotiations": {"consumer": {"A": [["OFFERED", "agree"]]}}},
        {"negotiations": {"provider": {"A": [["REQUESTED", "accept"]]}}},
        {"negotiations": {"provider": {"A": ["REQUESTED", "offer"]}}},
        {"negotiations": {"provider": {"A": [["STARTED", "offer"]]}}},
        {"transfers": {"provider": {"X": [["REQUESTED", "finalize"]]}}},
        {"transfers": {"provider": {"X": "start"}}},
        {"dataAddress": "http://x"},
    ],
)
def test_every_fault_of_a_seed_is_named(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as refused:
        load_seed(write(tmp_path, **changes))
    assert refused.value.code == "exchange.seed"


def test_a_seed_that_is_not_there_or_no_json_is_named(tmp_path: Path) -> None:
    (tmp_path / "odd.json").write_text("{")
    for name in ("none.json", "odd.json"):
        with pytest.raises(UsageError):
            load_seed(tmp_path / name)


def test_a_workspace_with_data_is_refused(tmp_path: Path) -> None:
    ws = Workspace.create(tmp_path)
    check_empty(ws.root)
    ws.keys.start()
    check_empty(ws.root)
    with ws.database.begin():
        pass
    ws.database.dispose()
    with pytest.raises(Rejected):
        check_empty(ws.root)


def test_the_webhooks_say_what_is_missing() -> None:
    seed = Seed("CONNECTOR_UNDER_TEST", "TCK_PARTICIPANT", agreements=())
    with seeded_node(seed) as found:
        asked = {"providerId": "p", "connectorAddress": "http://127.0.0.1:1", "agreementId": "none", "format": "f"}
        for path, said in (
            ("negotiations", {}),
            ("negotiations", {**asked, "datasetId": "d"}),
            ("negotiations", {**asked, "datasetId": 7, "offerId": "o"}),
            ("transfers", asked),
            ("transfers", {**asked, "connectorAddress": "http://10.0.0.1"}),
        ):
            reply = CLIENT.post(f"{found.url}/test/{path}/requests", json=said)
            assert (reply.status_code, "code" in reply.json()) == (400, True)


def test_what_is_announced_may_be_another_address() -> None:
    party = Counterparty()
    seed = Seed("CONNECTOR_UNDER_TEST", "TCK_PARTICIPANT", public_url="https://connector.example")
    with seeded_node(seed) as found:
        party.expect("film")
        said = {"providerId": "p", "connectorAddress": f"{party.url}/", "datasetId": "film", "offerId": "o"}
        assert CLIENT.post(f"{found.url}/test/negotiations/requests", json=said).is_success
        assert party.next("film").said["callbackAddress"] == "https://connector.example/dsp/2025-1"
    party.close()


def test_any_authorization_is_the_counterparty() -> None:
    with seeded_node(Seed("CONNECTOR_UNDER_TEST", "TCK_PARTICIPANT")) as found:
        for header in ({}, {"authorization": "Bearer nonsense"}, {"authorization": '{"region": "any"}'}):
            reply = httpx.post(f"{found.root}/catalog/request", json=message("CatalogRequestMessage"), headers=header)
            assert reply.status_code == 200
