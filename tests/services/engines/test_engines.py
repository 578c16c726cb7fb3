"""An engine is opened only when its licence, its digest and its row say so; it stays loaded while it is asked for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx_factory import write_depth

from malan.core.errors import MalanError, NotFound, NotGranted, ProofError, RetryLater
from malan.inference.backends import Kind
from malan.runtime import devices as device_module
from malan.services.engines.opening import BACKENDS, Backend, ai_part, open_engine
from malan.services.models import weight_files
from malan.services.models.bases import add_base, base_files
from malan.services.models.rights import Asked, confirm_limit, retire_model
from malan.services.models.rows import find_model
from malan.workspace import Workspace

PICTURE = np.random.default_rng(0).integers(0, 255, (24, 40, 3), np.uint8)
ROW = {"kind": "depth", "backend": "onnx", "model": "depth"}


class Stopped(Exception):
    """Raised by a stop of these tests."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_depth(tmp_path / "depth")


@pytest.fixture
def ws(tmp_path: Path, folder: Path) -> Iterator[Workspace]:
    made = Workspace.create(tmp_path / "ws")
    add_base(made, folder, licence="Apache-2.0", family="depth", name="depth")
    write(made, ROW)
    yield made
    made.devices.close()


def write(ws: Workspace, row: dict[str, Any], name: str = "near") -> None:
    lines = [f"[engines.{name}]"]
    lines += [
        f"{key} = {value!r}" if not isinstance(value, str) else f'{key} = "{value}"' for key, value in row.items()
    ]
    (ws.root / "models.toml").write_text("\n".join(lines) + "\n")


def depth(ws: Workspace, **more: Any) -> Any:
    with open_engine(ws, "near", "depth", **more) as engine:
        return engine.depth(PICTURE)  # type: ignore[attr-defined]


def refused(ws: Workspace, kind: Kind = "depth", **more: Any) -> MalanError:
    with pytest.raises(MalanError) as caught, open_engine(ws, "near", kind, **more):
        pass
    assert ws.devices.names() == []
    return caught.value


def register(ws: Workspace, folder: Path, licence: str) -> None:
    (folder / "README.md").write_text(licence)
    add_base(ws, folder, licence=licence, family="depth", name=licence.lower())
    write(ws, ROW | {"model": licence.lower()})


def test_an_engine_answers_and_stays_loaded(ws: Workspace) -> None:
    first = depth(ws)
    with open_engine(ws, "near", "depth") as engine, open_engine(ws, "near", "depth") as again:
        assert engine is again
    assert np.array_equal(depth(ws), first)
    assert ws.devices.names() == ["near"]


def test_it_goes_when_its_row_says_so(ws: Workspace) -> None:
    write(ws, ROW | {"idle_s": 0})
    depth(ws)
    assert ws.devices.names() == []


def test_another_row_or_another_model_of_the_name_is_another_engine(ws: Workspace, folder: Path) -> None:
    with open_engine(ws, "near", "depth") as first:
        pass
    write(ws, ROW | {"idle_s": 5})
    with open_engine(ws, "near", "depth") as second:
        assert second is not first
    (folder / "README.md").write_text("newer")
    add_base(ws, folder, licence="MIT", family="depth", name="depth")
    with open_engine(ws, "near", "depth") as third:
        assert third is not second


def test_a_licence_that_forbids_commerce_is_refused_with_the_reason(ws: Workspace, folder: Path) -> None:
    register(ws, folder, "CC-BY-NC-4.0")
    error = refused(ws)
    assert isinstance(error, NotGranted)
    assert "no commercial use" in str(error)
    write(ws, ROW | {"model": "cc-by-nc-4.0", "purpose": "research"})
    assert depth(ws).shape == (24, 40)


def test_a_licence_of_places_and_of_thresholds_is_held_to(ws: Workspace, folder: Path) -> None:
    register(ws, folder, "LicenseRef-Tencent-Hunyuan-Community")
    row = ROW | {"model": "licenseref-tencent-hunyuan-community"}
    assert "was not said where" in str(refused(ws))
    write(ws, row | {"territory": "DE"})
    assert "does not apply in DE" in str(refused(ws))
    write(ws, row | {"territory": "CN"})
    assert "users_a_month<=100000000" in str(refused(ws))
    confirm_limit(ws, str(row["model"]), "users_a_month<=100000000")
    assert depth(ws).shape == (24, 40)
    assert "train other models" in str(refused_now(ws, Asked("teach", territory="CN")))


def refused_now(ws: Workspace, asked: Asked) -> MalanError:
    with pytest.raises(NotGranted) as caught, open_engine(ws, "near", "depth", asked=asked):
        pass
    return caught.value


def test_a_retired_model_is_refused_although_it_is_loaded(ws: Workspace) -> None:
    depth(ws)
    retire_model(ws, "depth", "wrong about fog")
    with pytest.raises(NotGranted, match="wrong about fog"):
        depth(ws)


def test_a_changed_file_is_refused_although_size_and_time_are_as_they_were(ws: Workspace, folder: Path) -> None:
    path = folder / "model.onnx"
    depth(ws)
    about, data = path.stat(), bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
    with pytest.raises(ProofError):
        depth(ws)
    path.unlink()
    with pytest.raises(NotFound):
        depth(ws)


def test_files_are_read_once_and_again_only_when_they_were_touched(
    ws: Workspace, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []
    real = weight_files._digest
    monkeypatch.setattr(weight_files, "_digest", lambda path, stop: (read.append(path), real(path, stop))[1])
    depth(ws)
    assert {path.name for path in read} >= {"model.onnx"}
    read.clear()
    depth(ws)
    assert base_files(ws, "depth")
    assert read == []
    os.utime(folder / "model.onnx")
    depth(ws)
    depth(ws)
    assert [path.name for path in read] == ["model.onnx"]


def test_a_file_that_came_since_is_refused(ws: Workspace, folder: Path) -> None:
    depth(ws)
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {}}')
    with pytest.raises(ProofError) as caught:
        depth(ws)
    assert caught.value.code == "models.more_files"
    (folder / "model.safetensors.index.json").unlink()
    assert depth(ws).shape == (24, 40)


def test_reading_files_can_be_stopped(ws: Workspace) -> None:
    def stop() -> None:
        raise Stopped

    with pytest.raises(Stopped):
        depth(ws, stop=stop)
    assert ws.devices.names() == []
    assert depth(ws).shape == (24, 40)


def test_a_backend_that_fails_on_the_way_leaves_nothing(ws: Workspace, folder: Path) -> None:
    (folder / "model.onnx").write_bytes(b"\x08")
    with pytest.raises(MalanError):
        depth(ws)
    assert ws.devices.names() == []
    assert [one.name for one in (ws.root / "devices").glob("cpu.*.*")] == []


def test_what_does_not_fit_into_memory_is_refused_for_the_moment(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(ws, ROW | {"memory_mb": 500})
    monkeypatch.setattr(device_module, "free_mb", lambda _: 100.0)
    assert isinstance(refused(ws), RetryLater)


@pytest.mark.parametrize(
    ("row", "kind", "code"),
    [
        (ROW, "video", "engines.other_kind"),
        (ROW | {"backend": "magic"}, "depth", "engines.no_backend"),
        (ROW | {"kind": "music"}, "music", "engines.not_its_kind"),
        (ROW | {"url": "http://127.0.0.1:1/v1"}, "depth", "engines.url"),
        (ROW | {"model": ""}, "depth", "engines.url"),
        (ROW | {"model": "nothing"}, "depth", "models.unknown"),
        ({"kind": "chat", "backend": "openai", "model": "m"}, "chat", "engines.url"),
    ],
)
def test_rows_that_lead_nowhere_are_typed_errors(ws: Workspace, row: dict[str, Any], kind: Kind, code: str) -> None:
    write(ws, row)
    assert refused(ws, kind).code == code


def test_an_engine_nobody_wrote_down_is_not_found(ws: Workspace) -> None:
    with pytest.raises(NotFound, match="near"), open_engine(ws, "far", "depth"):
        pass


def test_what_is_not_a_base_cannot_be_an_engine(ws: Workspace) -> None:
    from model_factory import release_adapter

    write(ws, ROW | {"model": release_adapter(ws, 1).title})
    assert refused(ws).code == "models.not_a_base"


def test_a_remote_engine_needs_the_key_its_row_names(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    row = {"kind": "chat", "backend": "openai", "url": "http://127.0.0.1:1/v1", "model": "m", "key_env": "NO_SUCH_KEY"}
    write(ws, row)
    assert refused(ws, "chat").code == "engines.no_key"
    monkeypatch.setenv("NO_SUCH_KEY", "sk-1")
    with open_engine(ws, "near", "chat") as engine:
        assert "sk-1" not in repr(vars(engine))


def test_a_backend_that_is_not_installed_names_its_extra(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = Backend("no_such_module_of_models:open", frozenset({"depth"}), extra="train")
    monkeypatch.setattr("malan.services.engines.opening.BACKENDS", BACKENDS | {"onnx": missing})
    error = refused(ws)
    assert (error.code, "malan[train]" in str(error)) == ("engines.extra", True)


def test_a_file_an_engine_made_carries_its_models(ws: Workspace) -> None:
    from model_factory import release_adapter

    adapter = release_adapter(ws, 1)
    part = ai_part(ws, "near", [adapter.title], share="composite")
    assert (part.share, part.model_ids) == ("composite", (find_model(ws, "depth").id, adapter.id))
