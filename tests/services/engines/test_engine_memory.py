"""What could never fit is refused before anything waits, is loaded or is queued; what idles makes room."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from test_memory import WAN, write_weights

from malan.apps.queue.fits import check_memory
from malan.apps.queue.runs import start_app
from malan.core.errors import MalanError, Rejected, RetryLater, UsageError
from malan.inference.backends import Amount
from malan.runtime import devices as device_module
from malan.services.engines import memory as bounds
from malan.services.engines import opening as module
from malan.services.engines.opening import Backend, check_room, open_engine
from malan.services.jobs.queue import list_jobs
from malan.services.models.bases import add_base
from malan.web.gateway.call import status_of
from malan.workspace import Workspace

FILM = Amount(832, 480, 81)
ROW = '[engines.film]\nkind = "video"\nbackend = "diffusers"\nmodel = "wan"\n'
ASK = {"prompt": "云海", "mode": "diffuse", "model": "film", "seconds": 5.0}


@pytest.fixture
def ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    """A workspace with a Wan whose weights are few and whose configuration is the real one; a machine of 64 GB."""
    import json

    folder = tmp_path / "wan"
    folder.mkdir()
    index = {"_class_name": "WanPipeline"} | {name: ["diffusers", "X"] for name in WAN}
    (folder / "model_index.json").write_text(json.dumps(index))
    for name, (_, config) in WAN.items():
        write_weights(folder / name / "model.safetensors", 2**18)
        (folder / name / "config.json").write_text(json.dumps(config))
    (tmp_path / "ws").mkdir()
    (tmp_path / "ws" / "malan.toml").write_text('producer_code = "001191110000802100433B10001"\n')
    made = Workspace(tmp_path / "ws")
    add_base(made, folder, licence="Apache-2.0", family="wan", name="wan")
    (made.root / "models.toml").write_text(ROW)
    monkeypatch.setattr(bounds, "total_mb", lambda _: 64_000.0)
    monkeypatch.setattr(device_module, "free_mb", lambda _: 64_000.0)
    yield made
    made.devices.close()
    made.database.dispose()


class Standing:
    """An engine that only counts."""

    kind = "video"
    opened = 0

    def __init__(self, _opening: object) -> None:
        Standing.opened += 1

    def close(self) -> None:
        pass


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> type[Standing]:
    """The backend, without the libraries."""
    Standing.opened = 0
    plain = module.BACKENDS["diffusers"]
    drawn = Backend(f"{__name__}:Standing", plain.kinds, tells=plain.tells)
    monkeypatch.setattr(Backend, "open", lambda self, opening: Standing(opening))
    monkeypatch.setattr(module, "BACKENDS", {**module.BACKENDS, "diffusers": drawn})
    return Standing


def refusal(ws: Workspace, amount: Amount = FILM) -> MalanError:
    with pytest.raises(MalanError) as refused:
        check_room(ws, "film", amount)
    return refused.value


def test_a_job_that_would_be_ended_for_its_memory_is_not_begun(ws: Workspace) -> None:
    error = refusal(ws)
    assert isinstance(error, Rejected)
    assert error.values["need"] > error.values["most"] == 8192
    assert "malan.toml 中的 job_memory_mb" in error.message("zh")
    width, height = map(int, str(error.values["smaller"]).split("×"))
    check_room(ws, "film", Amount(width, height, 81))


def test_a_length_is_advised_where_a_shorter_film_would_fit(ws: Workspace) -> None:
    long = Amount(320, 320, 1600)
    error = refusal(ws, long)
    assert error.code == "engines.needs_memory"
    assert f"最多 {error.values['frames']} 帧" in error.hint("zh")
    check_room(ws, "film", replace(long, frames=error.values["frames"]))


def test_the_bound_of_the_engine_itself_holds(ws: Workspace, counted: type[Standing]) -> None:
    (ws.root / "models.toml").write_text(f"{ROW}most_memory_mb = 2000\n")
    assert refusal(ws).values["bound"] == "most_memory_mb"
    with pytest.raises(Rejected), open_engine(ws, "film", "video", amount=FILM):
        pass
    assert counted.opened == 0


def test_weights_alone_too_large_say_that_no_size_helps(ws: Workspace) -> None:
    (ws.root / "models.toml").write_text(f"{ROW}memory_mb = 9000\n")
    error = refusal(ws)
    assert error.code == "engines.weights_memory"
    assert "无济于事" in error.hint("zh")


def test_more_than_the_device_has_is_refused(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "total_mb", lambda _: 3000.0)
    assert refusal(ws).values["bound"] == "device"


def test_too_many_pixels_are_refused_whatever_memory_there_is(ws: Workspace) -> None:
    assert isinstance(refusal(ws, Amount(8192, 8192, 1000)), UsageError)


def test_what_could_never_be_made_is_not_queued(ws: Workspace) -> None:
    (ws.root / "models.toml").write_text(f"{ROW}most_memory_mb = 2000\n")
    with pytest.raises(Rejected) as refused:
        start_app(ws, "video", ASK)
    assert refused.value.code == "engines.size_memory"
    assert status_of(refused.value)[0] == 400, "clients ask again where they hear 409"
    assert list_jobs(ws) == ([], False)
    assert list((ws.root / "exports").glob("*")) == []


@pytest.mark.parametrize("more", [{"plan_only": True}, {"mode": "assemble"}, {"model": "nobody"}])
def test_what_asks_no_model_is_not_measured(ws: Workspace, more: dict[str, Any]) -> None:
    (ws.root / "models.toml").write_text(f"{ROW}most_memory_mb = 1\n")
    check_memory(ws, "video", ASK | more)


def test_memory_for_the_ask_is_there_before_anything_is_loaded(
    ws: Workspace, counted: type[Standing], monkeypatch: pytest.MonkeyPatch
) -> None:
    less = Amount(256, 256, 17)
    monkeypatch.setattr(device_module, "free_mb", lambda _: 100.0)
    with pytest.raises(RetryLater) as refused, open_engine(ws, "film", "video", amount=less):
        pass
    assert refused.value.code == "devices.no_memory"
    assert refused.value.values["left"] == 100 < refused.value.values["need"]
    assert "减少帧数" in refused.value.hint("zh")
    assert (counted.opened, ws.devices.names()) == (0, [])


def test_an_engine_that_stands_is_asked_for_room_each_time(
    ws: Workspace, counted: type[Standing], monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_engine(ws, "film", "video", amount=Amount(64, 64, 1)):
        pass
    monkeypatch.setattr(device_module, "free_mb", lambda _: 500.0)
    with open_engine(ws, "film", "video", amount=Amount(64, 64, 1)):
        pass
    with pytest.raises(RetryLater), open_engine(ws, "film", "video", amount=Amount(256, 256, 17)):
        pass
    assert (counted.opened, ws.devices.names()) == (1, ["film"])
