"""Films and music as jobs, by the official client: asked for, watched, fetched, listed, changed, ended."""

from __future__ import annotations

import base64
import io
import json
import threading
import time
import urllib.request
from collections.abc import Iterator

import numpy as np
import openai
import pytest
from gateway_factory import Gateway
from PIL import Image

from malan.apps.queue.work import work
from malan.services.jobs.queue import get_job

PROGRAM = "queue_programs:carry_out"
pytestmark = pytest.mark.filterwarnings(
    "ignore:The Sora API:DeprecationWarning"
)  # of the company, not of the interface


@pytest.fixture
def worker(served: Gateway) -> Iterator[None]:
    """Somebody who does the jobs."""
    over = threading.Event()
    thread = threading.Thread(target=work, args=(served.ws,), kwargs={"stop": over.is_set, "function": PROGRAM})
    thread.start()
    yield
    over.set()
    thread.join(30)


def picture() -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.full((24, 32, 3), 90, np.uint8)).save(out, "PNG")
    return out.getvalue()


def raw(served: Gateway, method: str, path: str, said: object = None, key: str = "", **headers: str) -> dict:
    """A request by hand; the answer, or the error, with its status."""
    body = None if said is None else json.dumps(said).encode()
    sent = {"authorization": f"Bearer {key or served.key.text}", "content-type": "application/json", **headers}
    request = urllib.request.Request(served.url + path, body, sent, method=method)
    try:
        with urllib.request.urlopen(request) as reply:
            return {"http": reply.status, "headers": dict(reply.headers), **json.loads(reply.read())}
    except urllib.error.HTTPError as error:
        with error:
            return {"http": error.code, "headers": dict(error.headers), **json.loads(error.read())}


def test_a_film_is_asked_for_watched_and_fetched(served: Gateway, worker: None) -> None:
    client = served.official()
    film = client.videos.create_and_poll(prompt="quick clouds", model="malan-assemble", poll_interval_ms=100)
    assert (film.status, film.object, film.progress) == ("completed", "video", 100)
    assert (film.seconds, film.size) == ("4", "1280x720")
    assert film.id.startswith("video_")
    assert film.completed_at >= film.created_at
    told = film.model_extra["malan"]
    assert (told["mode"], told["app"]) == ("assemble", "video")
    assert {"engine", "provenance_id", "sources", "cost"} <= set(told)
    assert told["cost"]["micro"] == 40 * 10**6
    body = client.videos.download_content(film.id)
    assert body.read() == b"made of words " * 100
    assert body.response.headers["content-type"] == "video/mp4"


def test_a_film_without_a_model_is_assembled(served: Gateway) -> None:
    film = served.official().videos.create(prompt="quick")
    assert (film.model, film.status, film.progress, film.error) == ("malan-assemble", "queued", 0, None)


@pytest.mark.parametrize("seconds", ["4", "8", "12"])
@pytest.mark.parametrize("size", ["720x1280", "1280x720", "1024x1792", "1792x1024"])
def test_every_size_and_length_of_the_clients_is_taken(served: Gateway, seconds: str, size: str) -> None:
    film = served.official().videos.create(prompt="quick", seconds=seconds, size=size)
    assert (film.seconds, film.size) == (seconds, size)
    request = get_job(served.ws, film.id).request
    assert request["seconds"] == float(seconds)
    assert request["format"] == ["9:16" if size.startswith(("720", "1024")) else "16:9"]


def test_other_servers_clients_are_understood(served: Gateway) -> None:
    said = {"prompt": "quick", "seconds": 7, "size": "640x640", "fps": 24, "seed": 42, "lora": {}}
    film = raw(served, "POST", "/v1/videos", {**said, "num_inference_steps": 30, "negative_prompt": "fog"})
    assert (film["status"], film["seconds"], film["size"]) == ("queued", "7", "640x640")
    request = get_job(served.ws, film["id"]).request
    assert (request["seed"], request["format"], request["lines"]) == (42, ["1:1"], 720)
    again = served.official().videos.create(prompt="quick", extra_body={"style": "calm", "versions": 2})
    assert get_job(served.ws, again.id).request["versions"] == 2


def test_a_form_is_understood_as_well(served: Gateway) -> None:
    lines = []
    for name, value in {"prompt": "quick", "seconds": "5", "size": "320x240", "seed": "7"}.items():
        lines += ["--edge", f'content-disposition: form-data; name="{name}"', "", value]
    body = "\r\n".join([*lines, "--edge--", ""]).encode()
    headers = {"authorization": f"Bearer {served.key.text}", "content-type": "multipart/form-data; boundary=edge"}
    with urllib.request.urlopen(urllib.request.Request(f"{served.url}/v1/videos", body, headers)) as reply:
        film = json.loads(reply.read())
    assert (film["seconds"], film["size"]) == ("5", "320x240")
    assert get_job(served.ws, film["id"]).request["seed"] == 7


@pytest.mark.parametrize("form", ["file", "image_url", "text"])
def test_a_film_begins_with_a_picture_in_whichever_form_it_comes(served: Gateway, form: str) -> None:
    data = f"data:image/png;base64,{base64.b64encode(picture()).decode()}"
    client = served.official()
    if form == "file":
        film = client.videos.create(prompt="push in", input_reference=("a.png", picture(), "image/png"))
    elif form == "image_url":
        film = client.videos.create(prompt="push in", extra_body={"input_reference": {"image_url": data}})
    else:
        film = client.videos.create(prompt="push in", extra_body={"input_reference": data})
    assert film.model == "malan-motion"
    job = get_job(served.ws, film.id)
    assert job.app == "picture"
    assert (served.ws.root / job.folder / "inputs" / "reference.png").read_bytes() == picture()
    assert job.request["file"].endswith("inputs/reference.png")


@pytest.mark.parametrize(
    "wrong",
    [{"file_id": "file_1"}, {"image_url": "http://169.254.169.254/a.png"}, {"image_url": "file:///etc/passwd"},
     "data:image/png;base64,@@", {"image_url": "data:image/png;base64," + base64.b64encode(b"GIF").decode()}, 7, ["x"]],
)  # fmt: skip
def test_a_picture_that_is_none_is_refused_and_leaves_nothing(served: Gateway, wrong: object) -> None:
    before = set((served.ws.root / "jobs").glob("*"))
    assert raw(served, "POST", "/v1/videos", {"prompt": "push", "input_reference": wrong})["http"] == 400
    assert set((served.ws.root / "jobs").glob("*")) == before


def test_a_large_picture_is_taken(served: Gateway) -> None:
    noise = np.random.default_rng(1).integers(0, 255, (900, 1200, 3), np.uint8)
    out = io.BytesIO()
    Image.fromarray(noise).save(out, "PNG")
    film = served.official().videos.create(prompt="push in", input_reference=("a.png", out.getvalue(), "image/png"))
    assert film.status == "queued"


@pytest.mark.parametrize(
    "wrong",
    [{}, {"prompt": ""}, {"prompt": 7}, {"prompt": "x" * 40_000}, {"prompt": "a", "seconds": 0},
     {"prompt": "a", "seconds": "36000"}, {"prompt": "a", "seconds": "NaN"}, {"prompt": "a", "seconds": True},
     {"prompt": "a", "size": "0x0"}, {"prompt": "a", "size": "99999x2"}, {"prompt": "a", "size": 720},
     {"prompt": "a", "priority": "high"}, {"prompt": "a", "seed": "many"}, {"prompt": "a", "model": ["x"]},
     {"prompt": "a", "model": "malan-motion"}, {"prompt": "a", "webhook_url": "http://10.0.0.1/"},
     {"prompt": "a", "music": "/etc/passwd", "seconds": -1}, {"prompt": "a", "idempotency_key": 7}],
)  # fmt: skip
def test_wishes_that_make_no_sense_are_refused(served: Gateway, wrong: dict) -> None:
    found = raw(served, "POST", "/v1/videos", wrong)
    assert found["http"] in (400, 404)
    assert found["error"]["message"]


def test_files_of_this_machine_cannot_be_named(served: Gateway) -> None:
    film = raw(served, "POST", "/v1/videos", {"prompt": "quick", "music": "/etc/passwd", "board": "/etc/passwd"})
    request = get_job(served.ws, film["id"]).request
    assert (request["music"], request["board"]) == ("", "")


def test_a_plan_is_made_by_an_engine_of_the_key_alone(served: Gateway) -> None:
    key = served.new_key(models=("malan-assemble",)).text
    said = {"prompt": "quick clouds", "planner": "chat-ok"}
    assert raw(served, "POST", "/v1/videos", said, key=key)["http"] == 404
    assert raw(served, "POST", "/v1/videos", said)["http"] == 200


def test_a_model_that_is_not_there_is_told(served: Gateway) -> None:
    with pytest.raises(openai.NotFoundError):
        served.official().videos.create(prompt="a", model="sora-2")
    with pytest.raises(openai.BadRequestError):
        served.official().videos.create(prompt="a", model="gpt-4o")


def test_content_that_is_not_made_yet_says_when_to_come_again(served: Gateway) -> None:
    film = served.official().videos.create(prompt="quick")
    found = raw(served, "GET", f"/v1/videos/{film.id}/content")
    assert (found["http"], found["error"]["code"]) == (409, "gateway.not_yet")
    assert found["headers"]["retry-after"] == "2"


def test_a_film_that_failed_says_why(served: Gateway, worker: None) -> None:
    film = served.official().videos.create_and_poll(prompt="fails", poll_interval_ms=100)
    assert (film.status, film.error.code) == ("failed", "gateway.no_picture")
    assert "JPEG" in film.error.message
    found = raw(served, "GET", f"/v1/videos/{film.id}/content")
    assert (found["http"], found["error"]["code"]) == (409, "gateway.nothing_made")


def test_a_film_is_fetched_by_range(served: Gateway, worker: None) -> None:
    film = served.official().videos.create_and_poll(prompt="quick", poll_interval_ms=100)
    headers = {"authorization": f"Bearer {served.key.text}", "range": "bytes=0-3"}
    request = urllib.request.Request(f"{served.url}/v1/videos/{film.id}/content", headers=headers)
    with urllib.request.urlopen(request) as reply:
        assert (reply.status, reply.read()) == (206, b"made")
    assert raw(served, "GET", f"/v1/videos/{film.id}/content?variant=../../malan.toml")["http"] == 404


def test_films_are_listed_page_by_page(served: Gateway) -> None:
    key = served.new_key("芒果")
    client = served.official(key.text)
    made = [client.videos.create(prompt="quick").id for _ in range(5)]
    page = client.videos.list(limit=2)
    assert page.has_more
    assert (page.data[0].id, page.first_id, page.last_id) == (made[-1], made[-1], made[-2])
    assert [one.id for one in client.videos.list(limit=2)][:5] == made[::-1]
    assert [one.id for one in client.videos.list(limit=2, order="asc")][:5] == made
    assert [one.id for one in client.videos.list(after=made[1])] == [made[0]]
    for wrong in ("limit=0", "limit=1000", "limit=x", "order=up", "after=video_00000000"):
        assert raw(served, "GET", f"/v1/videos?{wrong}", key=key.text)["http"] in (400, 404)


def test_another_partys_films_are_not_there(served: Gateway) -> None:
    film = served.official().videos.create(prompt="quick")
    stranger = served.official(served.new_key("芒果").text)
    for ask in (stranger.videos.retrieve, stranger.videos.delete, stranger.videos.download_content):
        with pytest.raises(openai.NotFoundError):
            ask(film.id)
    with pytest.raises(openai.NotFoundError):
        stranger.videos.remix(film.id, prompt="mine")
    assert film.id not in [one.id for one in stranger.videos.list()]


def test_a_film_is_deleted_with_its_files(served: Gateway, worker: None) -> None:
    client = served.official()
    film = client.videos.create_and_poll(prompt="quick", poll_interval_ms=100)
    folder = served.ws.root / get_job(served.ws, film.id).folder
    gone = client.videos.delete(film.id)
    assert (gone.id, gone.deleted, gone.object) == (film.id, True, "video.deleted")
    assert not folder.exists()
    with pytest.raises(openai.NotFoundError):
        client.videos.retrieve(film.id)


def test_a_film_that_waits_is_deleted_and_its_money_given_back(served: Gateway) -> None:
    key = served.new_key(budget_minor=1000)
    client = served.official(key.text)
    film = client.videos.create(prompt="quick")
    assert served.shown(key)["held"]["micro"] > 0
    client.videos.delete(film.id)
    assert served.shown(key)["held"]["micro"] == served.shown(key)["spent"]["micro"] == 0


def test_a_film_at_work_is_cancelled(served: Gateway, worker: None) -> None:
    client = served.official()
    film = client.videos.create(prompt="slow 400 clouds")
    for _ in range(1200):
        if client.videos.retrieve(film.id).status == "in_progress":
            break
        time.sleep(0.05)
    assert raw(served, "POST", f"/v1/videos/{film.id}/cancel")["http"] == 200
    found = client.videos.poll(film.id, poll_interval_ms=100)
    assert (found.status, found.error.code) == ("failed", "cancelled")
    assert raw(served, "POST", f"/v1/videos/{film.id}/cancel")["http"] == 409


def test_a_film_is_made_again_with_other_words(served: Gateway, worker: None) -> None:
    client = served.official()
    film = client.videos.create_and_poll(prompt="quick", seconds="8", size="720x1280", poll_interval_ms=100)
    again = client.videos.remix(film.id, prompt="quick clouds at night")
    assert (again.remixed_from_video_id, again.seconds, again.size) == (film.id, "8", "720x1280")
    assert again.prompt == "quick clouds at night"
    waiting = client.videos.create(prompt="slow 1 clouds")
    if client.videos.retrieve(waiting.id).status == "queued":
        assert raw(served, "POST", f"/v1/videos/{waiting.id}/remix", {"prompt": "x"})["http"] == 409


def test_the_same_idempotency_key_is_the_same_film(served: Gateway) -> None:
    said = {"prompt": "quick", "seconds": "4"}
    first = raw(served, "POST", "/v1/videos", said, **{"idempotency-key": "order-7"})
    again = raw(served, "POST", "/v1/videos", said, **{"idempotency-key": "order-7"})
    other = raw(served, "POST", "/v1/videos", {**said, "seconds": "8"}, **{"idempotency-key": "order-7"})
    assert first["id"] == again["id"]
    assert (other["http"], other["error"]["code"]) == (409, "gateway.other_request")


def test_a_film_beyond_the_budget_is_refused(served: Gateway) -> None:
    key = served.new_key(budget_minor=50)
    client = served.official(key.text)
    with pytest.raises(openai.RateLimitError) as failed:
        client.videos.create(prompt="quick", seconds="12")
    assert failed.value.type == "insufficient_quota"


def test_music_has_the_same_shape(served: Gateway, worker: None) -> None:
    made = raw(served, "POST", "/v1/music", {"prompt": "guofeng, calm", "seconds": 20, "seed": 3})
    assert (made["status"], made["object"], made["model"], made["seconds"]) == (
        "queued",
        "music",
        "malan-compose",
        "20",
    )
    job = get_job(served.ws, made["id"])
    assert (job.app, job.request["tags"], job.request["mode"]) == ("music", ["guofeng", "calm"], "compose")
    for _ in range(1200):
        found = raw(served, "GET", f"/v1/music/{made['id']}")
        if found["status"] == "completed":
            break
        time.sleep(0.05)
    request = urllib.request.Request(
        f"{served.url}/v1/music/{made['id']}/content", headers={"authorization": f"Bearer {served.key.text}"}
    )
    with urllib.request.urlopen(request) as reply:
        assert reply.headers["content-type"] == "audio/wav"
    assert raw(served, "GET", f"/v1/videos/{made['id']}")["http"] == 404
    assert made["id"] in [one["id"] for one in raw(served, "GET", "/v1/music")["data"]]
    assert raw(served, "DELETE", f"/v1/music/{made['id']}")["object"] == "music.deleted"
