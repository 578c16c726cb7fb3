"""The whole way with nothing drawn but the footage: a key, a film from words, a worker of its own, its sources."""

from __future__ import annotations

import io
from collections.abc import Iterator

import av
import openai
import pytest
from console_factory import serving
from media_factory import draw_film

from malan.apps.queue.clock import JobClock
from malan.rights import load_terms
from malan.services.access import COMMAND_LINE
from malan.services.accounts.parties import add_party
from malan.services.footage.assets import add_assets
from malan.services.footage.scan import scan_assets
from malan.services.footage.withdrawal import withdraw_asset
from malan.services.gateway.keys import Allowance, list_gateway_keys, make_gateway_key
from malan.services.jobs.queue import get_job
from malan.services.outputs.manifests import sources_of
from malan.services.settlement.app_bills import list_bills
from malan.workspace import Workspace

pytestmark = pytest.mark.filterwarnings("ignore:The Sora API:DeprecationWarning")


@pytest.fixture(scope="module")
def ws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    root = tmp_path_factory.mktemp("real")
    made = Workspace.create(root / "ws")
    (root / "terms.toml").write_text('uses = ["retrieve", "derive", "export", "publish"]\n')
    film = draw_film(root / "张家界云海.mp4", (50,) * 4, size=(320, 180), options={"preset": "veryfast"}, audio=True)
    add_assets(made, [film.path], owner="湖南台", terms=load_terms(root / "terms.toml", "湖南台"))
    scan_assets(made, captions=False)
    add_party(made, COMMAND_LINE, "旅游局", kind="organisation", has=("buyer",))
    yield made
    made.database.dispose()


def test_a_film_from_words_is_made_by_a_worker_charged_and_traced_and_stops_with_its_owners_word(
    ws: Workspace,
) -> None:
    key = make_gateway_key(ws, COMMAND_LINE, "旅游局", Allowance("site", budget_minor=1000))
    clock = JobClock(ws)
    clock.start()
    try:
        with serving(ws) as url, openai.OpenAI(base_url=f"{url}/v1", api_key=key.text, max_retries=0) as client:
            wish = {"prompt": "云海", "seconds": "4", "size": "640x360"}
            film = client.videos.create_and_poll(**wish, poll_interval_ms=200)
            assert film.status == "completed", film.error
            told = film.model_extra["malan"]
            with av.open(io.BytesIO(client.videos.download_content(film.id).read())) as container:
                assert (container.streams.video[0].width, container.streams.video[0].height) == (640, 360)
            for variant in ("thumbnail", "spritesheet"):
                assert client.videos.download_content(film.id, variant=variant).read().startswith(b"\xff\xd8")
            withdraw_asset(ws, told["sources"][0]["asset"], "taken back", caller=COMMAND_LINE)
            with pytest.raises(openai.APIStatusError):
                client.videos.download_content(film.id)
    finally:
        clock.stop()
    job = get_job(ws, film.id)
    listed = sources_of(ws, told["provenance_id"]).listed
    assert [one["clip"] for one in told["sources"]] == [one.clip.id for one in listed]
    assert sum(one["until_s"] - one["at_s"] for one in told["sources"]) >= 4 - 0.05
    [bill] = list_bills(ws)
    assert bill.run == film.id
    assert job.micro == bill.gross_minor * 10**6 == told["cost"]["micro"] > 0
    [row] = list_gateway_keys(ws, COMMAND_LINE)
    assert (row["spent"]["micro"], row["held"]["micro"]) == (job.micro, 0)
