"""Whose a file is, told in the browser: by the file itself or its digest; and the proof of a run's file."""

from __future__ import annotations

import hashlib
import json
from fractions import Fraction
from pathlib import Path

import pytest
from console_client import TestClient
from console_factory import Stage

from malan.apps.running import REPORT
from malan.ledger.note import NoteVerifier
from malan.ledger.verify import verify
from malan.services.jobs.queue import Ask, finish, submit, take
from malan.services.journal import record
from malan.services.log.facts import unlogged
from malan.services.log.keys import init_keys, show_keys
from malan.services.outputs.manifests import Source, log_output

HTML = {"accept": "text/html", "accept-language": "en"}


@pytest.fixture(scope="module")
def film(stage: Stage) -> Path:
    """A file published from here: two seconds of the city."""
    init_keys(stage.ws)
    asset, clip = stage.ws.library.asset(stage.city.asset_id).asset, stage.city.clips[0]
    record(stage.ws, unlogged(stage.ws, [asset], with_terms=True))
    path = stage.ws.folder("exports") / "夜色.mp4"
    path.write_bytes(b"as it was fetched")
    source = Source(clip, asset.owner_id, asset.terms_id, Fraction(0), Fraction(2))
    log_output(stage.ws, path, app="promo", mode="assemble", sources=[source])
    return path


def test_a_file_leads_back_to_its_owner(client: TestClient, film: Path) -> None:
    page = client.post("/trace", files={"file": ("renamed.bin", film.read_bytes())}, headers=HTML)
    assert page.status_code == 200
    assert "湖南台" in page.text
    assert "0:00.00 – 0:02.00" in page.text
    assert "download>" in page.text


def test_a_file_that_is_not_ours_or_was_changed_is_said_so(client: TestClient, film: Path) -> None:
    changed = client.post("/trace", files={"file": ("x", film.read_bytes() + b".")}, headers=HTML)
    assert changed.status_code == 404
    assert 'role="alert"' in changed.text
    for said in ("", "zz", "../../etc/passwd", str(film)):
        assert client.post("/trace", data={"digest": said}, headers=HTML).status_code == 400, said


def test_whoever_has_a_run_fetches_the_proof_of_its_file(client: TestClient, stage: Stage, film: Path) -> None:
    submit(stage.ws, Ask("promo", {}, device="proofs", folder="exports/promo-z"))
    job = take(stage.ws, "proofs", worker="here:1:3", now_s=1e10)
    assert job is not None
    output = hashlib.sha256(film.read_bytes()).hexdigest()
    folder = stage.ws.folder("exports") / "promo-z"
    folder.mkdir(exist_ok=True)
    files = [{"what": "16x9", "path": str(film), "size_bytes": 17, "output": output, "event": 3}]
    (folder / REPORT).write_text(json.dumps({"files": files}))
    finish(stage.ws, job, "completed")
    reply = client.get(f"/apps/runs/{job.id}/files/夜色.mp4/proof")
    assert "attachment" in reply.headers["content-disposition"]
    assert verify(reply.content, [NoteVerifier.parse(show_keys(stage.ws).vkey)])
    assert client.get(f"/apps/runs/{job.id}/files/other.mp4/proof").status_code == 404
