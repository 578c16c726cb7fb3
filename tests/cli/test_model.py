"""`malan model`: documented JSON, both languages, refusals with every reason."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from model_factory import ANN, BOB, release_adapter, release_classifier
from typer.testing import CliRunner

from malan.cli.main import app
from malan.core.errors import MalanError, NotFound, NotGranted, Rejected, UsageError
from malan.inference.tensors import Tensor, write_tensors
from malan.inference.weights import resolve_base
from malan.workspace import Workspace


@pytest.fixture
def root(tmp_path: Path) -> Path:
    ws = Workspace.create(tmp_path)
    release_adapter(ws, 1, name="夜景", evaluation={"accuracy": "0.81"})
    release_adapter(ws, 2, name="云海", shares={BOB: Fraction(1)}, rank=6)
    release_classifier(ws)
    ws.log.close()
    ws.database.dispose()
    return tmp_path


def run(root: Path, *arguments: str) -> str:
    result = CliRunner().invoke(app, ["model", *arguments, "--workspace", str(root)])
    if isinstance(result.exception, MalanError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def told(root: Path, *arguments: str) -> Any:
    return json.loads(run(root, *arguments, "--json"))


def base_folder(root: Path) -> Path:
    folder = root / "tiny"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(write_tensors([Tensor.of("w", np.ones((2, 2)))]))
    return folder


def test_models_are_listed_and_shown(root: Path) -> None:
    assert {one["name"] for one in told(root, "list")["models"]} == {"夜景@1", "云海@1", "景别@1"}
    assert "夜景@1" in run(root, "list")
    shown = told(root, "show", "夜景")
    assert shown["shares"] == [{"owner": ANN, "name": ANN[:12], "share": "1/1"}]
    assert shown["uses"]["apply"]["allowed"]
    assert {"en", "zh", "code"} <= set(shown["uses"]["apply"]["reasons"][0])
    assert "0.81" in run(root, "show", "夜景")


def test_the_card_is_printed_in_the_language_of_the_session(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "## Whose footage" in run(root, "show", "夜景", "--card")
    monkeypatch.setenv("MALAN_LANG", "zh")
    assert "## 素材权利人" in run(root, "show", "夜景", "--card")


def test_two_models_are_compared(root: Path) -> None:
    assert told(root, "compare", "夜景", "云海")["metrics"] == {"accuracy": ["0.81", None]}
    assert "0.81" in run(root, "compare", "夜景", "云海")


def test_adapters_are_merged_traced_and_retired(root: Path) -> None:
    merged = told(root, "merge", "夜景", "云海", "--weights", "0.6,0.4", "--name", "通用@v1")
    assert (merged["name"], merged["rank"], merged["error"]) == ("通用@v1", 10, 0.0)
    assert [one["share"] for one in merged["shares"]] == ["3/5", "2/5"]
    assert "passes" not in run(root, "trace", "通用")
    receipt = root / "receipt.json"
    traced = told(root, "trace", "通用", "--out", str(receipt))
    assert [one["share"] for one in traced["owners"]] == ["3/5", "2/5"]
    assert json.loads(receipt.read_text())["type"] == "malan-receipt/v1"
    assert told(root, "retire", "夜景", "--reason", "期满")["state"] == "retired"
    assert not told(root, "show", "通用")["uses"]["export"]["allowed"]
    with pytest.raises(NotGranted):
        run(root, "export", "通用", "--out", str(root / "out"))


def test_a_merge_cut_to_a_rank_tells_how_far_it_is_off(root: Path) -> None:
    assert "distance" in run(root, "merge", "夜景", "云海", "--weights", "1,-1/2", "--name", "x", "--rank", "2")
    for weights in ("0.6", "0.6,0", "a,b"):
        with pytest.raises(UsageError):
            run(root, "merge", "夜景", "云海", "--weights", weights, "--name", "y")


def test_models_are_exported(root: Path) -> None:
    done = told(root, "export", "景别", "--out", str(root / "out"), "--format", "onnx", "--purpose", "research")
    assert "model.onnx" in done["files"]
    assert done["difference"] < 1e-5
    assert "pytorch_lora_weights.safetensors" in run(root, "export", "夜景", "--out", str(root / "more"))
    for wrong in (["--format", "bin"], ["--purpose", "fun"], ["--territory", "china"]):
        with pytest.raises(UsageError):
            run(root, "export", "夜景", "--out", str(root / "no"), *wrong)
    with pytest.raises(Rejected):
        run(root, "export", "夜景", "--out", str(root / "no"), "--format", "onnx")


def test_a_base_is_added_and_a_condition_confirmed(root: Path) -> None:
    folder = base_folder(root)
    arguments = ["add", str(folder), "--licence", "ltx-2", "--family", "ltx"]
    added = told(root, *arguments)
    assert (added["kind"], added["uses"]["train"]["allowed"]) == ("base", False)
    assert "tiny@1" in run(root, *arguments)
    confirmed = told(root, "approve", "tiny", "--confirm", "usd_a_year<=10000000")
    assert confirmed["uses"]["train"]["allowed"]
    assert "export" in run(root, "approve", "夜景", "--for", "export")
    with pytest.raises(UsageError):
        run(root, "add", str(folder), "--licence", "none-such", "--family", "ltx")


def test_a_model_of_a_hub_is_found_on_this_machine(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub, asked = root / "hub", ["--licence", "Apache-2.0", "--family", "wan"]
    monkeypatch.setenv("HF_HUB_CACHE", str(hub))
    monkeypatch.setenv("MODELSCOPE_CACHE", str(root / "ms"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for reference in ("hf:org/wan", "ms:org/wan", "hf:../../etc", "hf:org/wan@../..", "hf:x", "path:/nowhere"):
        with pytest.raises((NotFound, UsageError)):
            run(root, "add", reference, *asked)
    with pytest.raises(NotFound):
        run(root, "add", "hf:org/wan", *asked, "--fetch")
    snapshot = hub / "models--org--wan" / "snapshots" / "c0ffee"
    snapshot.parent.mkdir(parents=True)
    base_folder(root).rename(snapshot)
    (hub / "models--org--wan" / "refs").mkdir()
    (hub / "models--org--wan" / "refs" / "main").write_text("c0ffee")
    added = told(root, "add", "hf:org/wan", *asked, "--name", "wan@2.1")
    assert (added["name"], added["card"]) == ("wan@2.1", {"source": "hf:org/wan@main"})
    assert added["model"] == resolve_base("hf:org/wan").digest
    assert told(root, "add", f"path:{snapshot}", *asked)["model"] == added["model"]
