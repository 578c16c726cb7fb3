"""A model that planned a film is named in the log beside it, so that a recall of the model finds the film."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from media_factory import draw_film

from malan.apps.running import run_app
from malan.rights import load_terms
from malan.services.footage.assets import add_assets
from malan.services.footage.scan import scan_assets
from malan.services.models.endpoints import add_endpoint, endpoint_id
from malan.services.outputs.manifests import trace_output
from malan.services.outputs.recall import marks_of, recall_model
from malan.workspace import Workspace

PLAN = {"shots": [{"words": ["红叶"]}]}
ASK = {"prompt": "湖南的秋天", "seconds": 2, "lines": 360, "format": ["16:9"], "bed": ""}


class _Endpoint(BaseHTTPRequestHandler):
    """Streams whatever its server was given, as OpenAI's interface does."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        end = {"index": 0, "delta": {"content": json.dumps(self.server.plan)}, "finish_reason": "stop"}  # type: ignore[attr-defined]
        usage = {"prompt_tokens": 9, "completion_tokens": 5}
        said = {"id": "1", "object": "chat.completion.chunk", "choices": [end], "usage": usage}
        self.wfile.write(b"data: " + json.dumps(said).encode() + b"\n\ndata: [DONE]\n\n")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Workspace, ThreadingHTTPServer, str]]:
    """A library with a film, and a model elsewhere that plans."""
    root = tmp_path_factory.mktemp("planned")
    (root / "ws").mkdir()
    (root / "ws" / "malan.toml").write_text('producer_code = "001191110000802100433B10001"\n')
    ws = Workspace(root / "ws")
    (root / "terms.toml").write_text('uses = ["retrieve", "derive", "export", "publish"]\n')
    film = draw_film(root / "岳麓山红叶.mp4", (50, 50), size=(320, 180), options={"preset": "veryfast"}, audio=True)
    add_assets(ws, [film.path], owner="橘洲工作室", terms=load_terms(root / "terms.toml", "橘洲工作室"))
    scan_assets(ws, captions=False)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Endpoint)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    (ws.root / "models.toml").write_text(
        f'[engines.planner]\nkind = "chat"\nbackend = "openai"\nurl = "{url}"\nmodel = "m-1"\n'
    )
    yield ws, server, url
    server.shutdown()
    server.server_close()
    ws.log.close()
    ws.database.dispose()


def film_of(told: dict[str, Any]) -> str:
    return next(one["output"] for one in told["files"] if one.get("output"))


def test_the_log_names_the_model_and_a_recall_finds_the_film(place: Any, tmp_path: Path) -> None:
    ws, server, url = place
    server.plan = PLAN
    film = film_of(run_app(ws, "video", ASK, tmp_path)[1])
    digest = endpoint_id(url, "m-1")
    statement = trace_output(ws, film).event.statement
    assert [(one.urn, one.sha256, one.relation) for one in statement.inputs if "model" in one.urn] == [
        (f"urn:malan:model:{digest}", digest, "about")
    ]
    assert statement.facts["planned_by"] == ["planner (m-1)"]
    add_endpoint(ws, f"endpoint:{url}#m-1", licence="MIT", family="m")  # known only now that it must be recalled
    found = recall_model(ws, digest, reason="它编造了文字")
    assert [one.output_id for one in found.outputs] == [film]
    assert marks_of(ws, [film])[film][0].model_id == digest


def test_by_rules_nobody_is_named(place: Any, tmp_path: Path) -> None:
    ws, _, _ = place
    film = film_of(run_app(ws, "video", ASK | {"planner": "rules", "prompt": "红叶"}, tmp_path)[1])
    statement = trace_output(ws, film).event.statement
    assert "planned_by" not in statement.facts
    assert all("model" not in one.urn for one in statement.inputs)


def test_a_storyboard_keeps_who_planned_it_also_when_people_edit_it(place: Any, tmp_path: Path) -> None:
    ws, server, url = place
    server.plan = {"shots": [{"words": ["红叶"], "text": "秋色"}]}
    run_app(ws, "video", ASK | {"plan_only": True}, tmp_path / "plan")
    board = tmp_path / "plan" / "storyboard.json"
    said = json.loads(board.read_text("utf-8"))
    assert said["planned_by"] == [{"engine": "planner", "model": "m-1", "digest": endpoint_id(url, "m-1")}]
    board.write_text(json.dumps(said | {"shots": [one | {"text": "岳麓秋色"} for one in said["shots"]]}))
    told = run_app(ws, "video", {"prompt": "x", "board": str(board)}, tmp_path / "film")[1]
    statement = trace_output(ws, film_of(told)).event.statement
    assert statement.facts["planned_by"] == ["planner (m-1)"]
    assert any("intent" in one.urn for one in statement.inputs), "words of a model are AI's part: labelled"
