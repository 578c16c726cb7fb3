"""A classifier as a service: typed JSON, closed to other pages, and stopped the moment the model is retired."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from fastapi.testclient import TestClient
from model_factory import CLASSES, WIDTH, release_adapter, release_classifier

from malan.core.errors import NotGranted, Rejected
from malan.services.models.rights import confirm_limit, retire_model
from malan.services.models.service import open_service
from malan.web.model_server import MOST_BODY_BYTES, create_model_app
from malan.workspace import Workspace


@pytest.fixture
def ws(tmp_path: Path) -> Iterator[Workspace]:
    ws = Workspace.create(tmp_path / "ws")
    yield ws
    ws.log.close()
    ws.database.dispose()


@pytest.fixture
def client(ws: Workspace) -> TestClient:
    release_classifier(ws, hidden=3)
    app = create_model_app(open_service(ws, "景别"))
    return TestClient(app, base_url="http://127.0.0.1:8650", raise_server_exceptions=False)


def test_it_answers_as_the_model_does(ws: Workspace, client: TestClient) -> None:
    rows = np.random.default_rng(0).standard_normal((3, WIDTH))
    answer = client.post("/classify", json={"features": rows.tolist()}).json()
    wanted = open_service(ws, "景别").classifier.probabilities(rows)
    assert np.allclose(answer["probabilities"], wanted, atol=1e-5)
    assert answer["classes"] == CLASSES
    assert [row[0]["label"] for row in answer["labels"]] == [CLASSES[at] for at in wanted.argmax(axis=1)]


def test_it_says_what_it_is_and_what_it_wants(client: TestClient) -> None:
    said = client.get("/").json()
    assert (said["name"], said["input"]["width"]) == ("景别@1", WIDTH)
    assert client.get("/healthz").json() == {"status": "ok"}
    assert "/classify" in client.get("/openapi.json").json()["paths"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"features": []}',
        b'{"features": [[1]]}',
        b'{"features": [[1,2,3,4,5,"6"]]}',
        b'{"features": [[1,2,3,4,5,NaN]]}',
        b'{"features": [[1,2,3,4,5,1e999]]}',
        b'{"features": [[1,2,3,4,5,1e300]]}',
        b'{"features": [[1,2,3,4,5,6],[1]]}',
        b'{"features": [[1,2,3,4,5,6]], "more": 1}',
        b"[[1,2,3,4,5,6]]",
        b"[" * 50_000,
    ],
)
def test_a_question_that_makes_no_sense_is_refused_in_the_envelope(client: TestClient, body: bytes) -> None:
    reply = client.post("/classify", content=body, headers={"content-type": "application/json"})
    assert reply.status_code == 400
    assert set(reply.json()["error"]) >= {"code", "message", "hint"}


def test_too_much_at_once_is_refused(client: TestClient) -> None:
    assert client.post("/classify", json={"features": [[0.0] * WIDTH] * 4097}).status_code == 400
    reply = client.post("/classify", content=b" " * (MOST_BODY_BYTES + 1), headers={"content-type": "application/json"})
    assert reply.status_code == 413


def test_other_names_and_other_pages_are_kept_out(client: TestClient) -> None:
    assert client.get("/", headers={"host": "evil.example"}).status_code == 421
    body = {"features": [[0.0] * WIDTH]}
    assert client.post("/classify", json=body, headers={"origin": "http://evil.example"}).status_code == 403
    assert client.get("/nothing").status_code == 404


def test_a_retired_model_stops_answering_at_once(ws: Workspace, client: TestClient) -> None:
    body = {"features": [[0.0] * WIDTH]}
    assert client.post("/classify", json=body).status_code == 200
    retire_model(ws, "景别", "过期")
    reply = client.post("/classify", json=body, headers={"accept-language": "zh"})
    assert reply.status_code == 403
    assert "过期" in reply.json()["error"]["message"]


def test_what_is_no_classifier_or_may_not_answer_is_not_opened(ws: Workspace) -> None:
    release_adapter(ws, 1)
    with pytest.raises(Rejected):
        open_service(ws, "adapter-1")
    release_classifier(ws, 3, name="nc", licence="CC-BY-NC-4.0")
    with pytest.raises(NotGranted):
        open_service(ws, "nc")


def test_owners_are_asked_again_every_few_seconds(ws: Workspace) -> None:
    model = release_classifier(ws, licence="ltx-2")
    confirm_limit(ws, model.id, "usd_a_year<=10000000")
    service, now = open_service(ws, model.id), [0.0]
    service.clock = lambda: now[0]
    service.classify([[0.0] * WIDTH])
    assert service.checked_s == 0.0
    now[0] = 1.0
    service.classify([[0.0] * WIDTH])
    assert service.checked_s == 0.0
    now[0] = 6.0
    service.classify([[0.0] * WIDTH])
    assert service.checked_s == 6.0


def test_the_command_becomes_the_service_and_ends_when_told(ws: Workspace) -> None:
    release_classifier(ws)
    command = [sys.executable, "-m", "malan", "model", "serve", "景别", "--port", "0", "--workspace", str(ws.root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            url = re.findall(r"http://127\.0\.0\.1:\d+", process.stdout.readline())[0]
            reply = httpx.post(f"{url}/classify", json={"features": [[0.0] * WIDTH]}, timeout=20)
            assert reply.status_code == 200
            process.send_signal(signal.SIGINT)
            process.wait(15)
            assert "Traceback" not in process.stderr.read()
        finally:
            process.kill()


def test_the_command_says_why_it_does_not_answer(ws: Workspace) -> None:
    release_classifier(ws, licence="CC-BY-NC-4.0")
    command = [sys.executable, "-m", "malan", "model", "serve", "景别", "--port", "0", "--workspace", str(ws.root)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (3, "")
    assert "NonCommercial" in done.stderr
