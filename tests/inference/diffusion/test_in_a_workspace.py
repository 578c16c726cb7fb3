"""An engine of `models.toml`, opened from the registry: licences, digests, sub-models and who may use them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from model_factory import ANN, BOB, run_facts
from test_adapters import drawn
from test_diffusion import ask_of

from malan.core.errors import NotFound, NotGranted, ProofError, UsageError
from malan.inference.backends import Filmer
from malan.services.access import Caller
from malan.services.engines.opening import ai_part, open_engine
from malan.services.models.bases import add_base
from malan.services.models.registry import register_model
from malan.services.models.rights import retire_model
from malan.workspace import Workspace


@pytest.fixture
def ws(tmp_path: Path, base: Callable[[str], Path]) -> Workspace:
    """A workspace with a tiny Wan as an engine."""
    made = Workspace.create(tmp_path / "ws")
    add_base(made, Path(shutil.copytree(base("wan"), tmp_path / "wan")), licence="Apache-2.0", family="wan", name="wan")
    (made.root / "models.toml").write_text('[engines.film]\nkind = "video"\nbackend = "diffusers"\nmodel = "wan"\n')
    yield made
    made.devices.close()


def release(ws: Workspace, name: str, arrays: dict[str, Any], **more: Any) -> Any:
    from safetensors.numpy import save

    said = {"licence": "Apache-2.0", "run": run_facts(1), "shares": {ANN: Fraction(1)}} | more
    return register_model(ws, save(arrays), name=name, base_id=ws_base(ws), **said)


def ws_base(ws: Workspace) -> str:
    from malan.services.models.rows import find_model

    return find_model(ws, "wan").id


def film(ws: Workspace, **more: Any) -> Any:
    caller = {"caller": more.pop("caller")} if "caller" in more else {}
    with open_engine(ws, "film", "video", **caller) as engine:
        made: Filmer = engine  # type: ignore[assignment]
        return made.film(ask_of("wan", **more)).frames_THWC


def test_a_film_comes_from_the_registry_and_the_engine_stays_loaded(ws: Workspace) -> None:
    first = film(ws)
    assert ws.devices.names() == ["film"]
    assert np.array_equal(film(ws), first)


def test_a_sub_model_is_attached_by_name_and_told_of(ws: Workspace, tmp_path: Path) -> None:
    model = release(ws, "night", drawn(tmp_path / "wan", "wan"))
    assert not np.array_equal(film(ws, adapters={"night": 1.0}), film(ws))
    assert ai_part(ws, "film", ["night"]).model_ids == (ws_base(ws), model.id)


def test_a_sub_model_of_somebody_else_is_not_there(ws: Workspace, tmp_path: Path) -> None:
    release(ws, "night", drawn(tmp_path / "wan", "wan"), party_id=BOB, run=run_facts(1, party=BOB))
    bob = Caller(BOB, frozenset({"buyer"}), "key")
    eve = Caller("eve", frozenset({"buyer"}), "key")
    ann = Caller(ANN, frozenset({"owner"}), "key")
    assert film(ws, adapters={"night": 1.0}, caller=bob).shape[0] == 9
    with pytest.raises(NotFound):
        film(ws, adapters={"night": 1.0}, caller=eve)
    with pytest.raises(NotGranted) as refused:  # her footage is in it, but it was not trained for her
        film(ws, adapters={"night": 1.0}, caller=ann)
    assert refused.value.code == "engines.not_yours"


def test_a_retired_sub_model_is_refused_even_while_the_engine_is_loaded(ws: Workspace, tmp_path: Path) -> None:
    release(ws, "night", drawn(tmp_path / "wan", "wan"))
    film(ws, adapters={"night": 1.0})
    retire_model(ws, "night", "leaked")
    with pytest.raises(NotGranted, match="leaked"):
        film(ws, adapters={"night": 1.0})
    assert film(ws).shape[0] == 9


def test_what_is_no_adapter_of_this_base_is_refused(ws: Workspace, tmp_path: Path) -> None:
    arrays = drawn(tmp_path / "wan", "wan")
    release(ws, "whole", {"transformer.w": np.ones((3, 3), np.float32)})
    other = tmp_path / "other"
    shutil.copytree(tmp_path / "wan", other)
    (other / "note.txt").write_text("another")
    add_base(ws, other, licence="Apache-2.0", family="wan", name="other")
    from safetensors.numpy import save

    register_model(
        ws,
        save(arrays),
        name="foreign",
        base_id="other",
        licence="Apache-2.0",
        run=run_facts(2),
        shares={ANN: Fraction(1)},
    )
    for name, code in (("whole", "engines.no_adapter"), ("foreign", "engines.other_base")):
        with pytest.raises(UsageError) as refused:
            film(ws, adapters={name: 1.0})
        assert refused.value.code == code


def test_weights_that_were_changed_are_not_opened(ws: Workspace, tmp_path: Path) -> None:
    path = tmp_path / "wan" / "transformer" / "diffusion_pytorch_model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(ProofError):
        film(ws)
    assert ws.devices.names() == []
