"""Bases are pulled from a hub, checked to the last byte, and taken away only when nothing stands on them."""

# ruff: noqa: F401, F811  (a fixture of another module is an argument here)
from __future__ import annotations

import json
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from model_factory import ANN, run_facts
from test_weights import FILES, Hub, hub, lay  # a hub of our own on this machine
from typer.testing import CliRunner

from malan.core.errors import NotFound, NotGranted, ProofError, Rejected, UsageError
from malan.inference.tensors import Tensor, write_tensors
from malan.services.access import Caller
from malan.services.log.reading import verify_log
from malan.services.models.bases import add_base
from malan.services.models.registry import register_model
from malan.services.models.rights import retire_model
from malan.services.models.rows import find_model
from malan.services.models.trace import trace_model
from malan.services.models.upkeep import check_model, describe_check, pull_base, remove_model
from malan.workspace import Workspace

MODULE = "transformer.blocks.0.attn1.to_q"
SOURCES = [("hf:o/m", "hf:o/m@main"), ("ms:o/m", "ms:o/m@master"), ("o/m", "hf:o/m@main")]
WEIGHTS = "transformer/diffusion_pytorch_model.safetensors"
GIVEN = {"licence": "Apache-2.0", "family": "wan"}


@pytest.fixture
def ws(tmp_path: Path) -> Iterator[Workspace]:
    made = Workspace.create(tmp_path / "ws")
    yield made
    made.devices.close()


@pytest.fixture
def base(ws: Workspace, tmp_path: Path) -> Path:
    """A registered base that lies outside of the workspace."""
    folder = lay(tmp_path / "wan")
    index = {"_class_name": "WanPipeline", "transformer": ["diffusers", "WanTransformer3DModel"]}
    (folder / "model_index.json").write_text(json.dumps(index))
    add_base(ws, folder, name="wan", **GIVEN)
    return folder


def adapter(name: str = MODULE, outputs: int = 6, inputs: int = 4, scale: float = 1.0) -> bytes:
    rng = np.random.default_rng(0)
    pairs = {f"{name}.lora_A.weight": (2, inputs), f"{name}.lora_B.weight": (outputs, 2)}
    return write_tensors([Tensor.of(key, rng.standard_normal(shape) * scale) for key, shape in pairs.items()])


def release(ws: Workspace, weights: bytes, name: str = "night"):
    return register_model(
        ws, weights, name=name, base_id="wan", licence="Apache-2.0", run=run_facts(1), shares={ANN: Fraction(1)}
    )


def said(ws: Workspace, text: str) -> dict[str, bool]:
    return {one.what: one.is_well for one in check_model(ws, text).findings}


@pytest.mark.parametrize(
    ("text", "source"), [("hf:o/m", "hf:o/m@main"), ("ms:o/m", "ms:o/m@master"), ("o/m", "hf:o/m@main")]
)
def test_a_base_is_pulled_and_registered(ws: Workspace, hub: type[Hub], text: str, source: str) -> None:
    told: list[tuple[int, int]] = []
    model = pull_base(ws, text, **GIVEN, tell=lambda *one: told.append(one))
    assert (model.card["source"], model.title) == (source, "m@1")
    assert told[-1][0] == told[-1][1] > 0
    asked = len(hub.asked)
    assert pull_base(ws, text if ":" in text else f"hf:{text}", **GIVEN).id == model.id
    assert len(hub.asked) == asked


def test_a_hub_that_does_not_answer_gives_way_to_the_other(
    ws: Workspace,
    hub: type[Hub],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    by_hand = pull_base(ws, "hf:o/m", **GIVEN)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert pull_base(ws, "o/m", **GIVEN).id == by_hand.id  # the same bytes are the same model, wherever they came from


def test_what_is_pulled_must_be_what_the_digest_says(ws: Workspace, hub: type[Hub]) -> None:
    with pytest.raises(ProofError):
        pull_base(ws, "hf:o/m", digest="0" * 64, **GIVEN)
    with pytest.raises(NotFound):
        find_model(ws, "m")


@pytest.mark.parametrize("text", ["", "wan", "path:/etc", "hf:../x", "o/m/n", "o/..m@../x"])
def test_what_no_hub_can_have_is_refused(ws: Workspace, text: str) -> None:
    with pytest.raises(UsageError):
        pull_base(ws, text, **GIVEN)


def test_who_may_not_change_models_fetches_nothing(ws: Workspace, hub: type[Hub]) -> None:
    with pytest.raises(NotGranted):
        pull_base(ws, "hf:o/m", **GIVEN, caller=Caller("x", frozenset({"buyer"}), "key"))
    assert not hub.asked


def test_a_good_base_is_well_and_what_may_be_done_is_told(ws: Workspace, base: Path) -> None:
    found = check_model(ws, "wan")
    assert found.is_well
    assert {one.what for one in found.findings} == {"digest", "licence", "family", "structure"}
    assert describe_check(found)["uses"]["teach"]["allowed"] is True


def test_a_changed_byte_is_found_although_size_and_time_are_as_they_were(ws: Workspace, base: Path) -> None:
    import os

    path = base / "transformer" / "diffusion_pytorch_model.safetensors"
    about, data = path.stat(), bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
    assert said(ws, "wan")["digest"] is False


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        (WEIGHTS, b"\x80\x04.", "digest"),
        (WEIGHTS, FILES[WEIGHTS][:-1], "digest"),
        ("model_index.json", b'{"_class_name": "LTXPipeline"}', "family"),
        ("model_index.json", b'{"_class_name": "WanPipeline", "vae": ["diffusers", "A"]}', "structure"),
        ("model_index.json", b'{"_class_name": "WanPipeline", "transformer": ["os.path", "A"]}', "structure"),
        ("model_index.json", b"{", "structure"),
        ("transformer/config.json", b'{"auto_map": {"AutoModel": "mine.A"}}', "structure"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_base_is_named(ws: Workspace, base: Path, name: str, content: bytes, what: str) -> None:
    (base / name).write_bytes(content)
    assert said(ws, "wan")[what] is False


def test_a_licence_that_forbids_is_not_well(ws: Workspace, tmp_path: Path) -> None:
    add_base(ws, lay(tmp_path / "nc"), name="nc", licence="CC-BY-NC-4.0", family="wan")
    found = check_model(ws, "nc")
    assert not found.is_well
    assert not describe_check(found)["uses"]["apply"]["allowed"]


@pytest.mark.parametrize(
    ("weights", "is_well"),
    [
        (adapter(), True),
        (adapter("transformer.blocks.9.attn1.to_q"), False),
        (adapter("unet.blocks.0.attn1.to_q"), False),
        (adapter(inputs=5), False),
        (adapter(outputs=7), False),
        (adapter(scale=0.0), False),
    ],
)
def test_an_adapter_must_fit_its_base_and_change_it(ws: Workspace, base: Path, weights: bytes, is_well: bool) -> None:
    release(ws, weights)
    assert said(ws, "night")["adapter"] is is_well


def test_a_base_that_is_not_registered_is_looked_through_too(ws: Workspace, tmp_path: Path) -> None:
    folder = lay(tmp_path / "other")
    assert check_model(ws, f"path:{folder}").is_well
    (folder / "run.py").write_text("")
    assert not check_model(ws, f"path:{folder}").is_well


def test_a_pulled_base_is_removed_with_its_files(ws: Workspace, hub: type[Hub]) -> None:
    pull_base(ws, "hf:o/m", **GIVEN)
    done = remove_model(ws, "m")
    assert (done.is_forgotten, done.files) == (True, len(FILES))
    assert list((ws.root / "bases").iterdir()) == []
    with pytest.raises(NotFound):
        find_model(ws, "m")
    assert pull_base(ws, "hf:o/m", **GIVEN).title == "m@1"
    remove_model(ws, "m")
    verify_log(ws)


def test_files_that_lie_elsewhere_stay(ws: Workspace, base: Path) -> None:
    assert remove_model(ws, "wan").files == 0
    assert (base / "LICENSE").is_file()


def test_what_a_model_stands_on_goes_only_when_it_is_retired_and_its_line_stays(
    ws: Workspace,
    hub: type[Hub],
) -> None:
    base = pull_base(ws, "hf:o/m", name="wan", **GIVEN)
    model = release(ws, adapter())
    with pytest.raises(Rejected) as refused:
        remove_model(ws, "wan")
    assert refused.value.code == "models.stands_on"
    retire_model(ws, "wan", "licence changed")
    done = remove_model(ws, "wan")
    assert (done.is_forgotten, done.files) == (False, len(FILES))
    assert [one.model.id for one in trace_model(ws, model.id).lineage] == [model.id, base.id]


def test_what_an_engine_stands_on_and_what_runs_gave_stays(ws: Workspace, base: Path) -> None:
    (ws.root / "models.toml").write_text('[engines.f]\nkind="video"\nbackend="diffusers"\nmodel="wan"\n')
    with pytest.raises(Rejected) as refused:
        remove_model(ws, "wan")
    assert refused.value.code == "models.engine_on"
    (ws.root / "models.toml").unlink()
    release(ws, adapter())
    with pytest.raises(Rejected) as refused:
        remove_model(ws, "night")
    assert refused.value.code == "models.not_removable"
    with pytest.raises(NotGranted):
        remove_model(ws, "wan", caller=Caller("x", frozenset({"owner"}), "key"))


def test_the_commands_pull_check_and_remove(ws: Workspace, hub: type[Hub]) -> None:
    from malan.cli.main import app

    def say(*words: str) -> str:
        done = CliRunner().invoke(app, ["model", *words, "--workspace", str(ws.root)])
        assert done.exit_code == 0, done.output
        return done.output

    assert "--digest" in say("pull", "hf:o/m", "--licence", "Apache-2.0", "--family", "wan")
    assert json.loads(say("check", "m", "--json"))["well"] is True
    assert "✓" in say("check", "m")
    assert json.loads(say("remove", "m", "--json"))["files"] == len(FILES)
