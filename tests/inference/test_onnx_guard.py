"""Model files are looked through before any runtime opens them."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx_factory import model, node, takes, write_depth, write_listener

from malan.core.errors import NotFound, Rejected
from malan.inference.onnx_guard import DEEPEST, check_onnx, open_session, run_session


def _plain() -> onnx.ModelProto:
    return model(
        [node("Add", ["x", "one"], "y")],
        [takes("x", onnx.TensorProto.FLOAT, "N")],
        [takes("y", onnx.TensorProto.FLOAT, "N")],
        {"one": np.ones(1, np.float32)},
        model_type="drawn",
    )


def _saved(folder: Path, made: onnx.ModelProto, name: str = "model.onnx") -> Path:
    (folder / name).write_bytes(made.SerializeToString())
    return folder / name


def test_a_sound_model_is_told_by_its_operators_names_and_metadata(tmp_path: Path) -> None:
    facts = check_onnx(write_listener(tmp_path) / "model.onnx")
    assert facts.metadata["model_type"] == "zipformer2_ctc"
    assert {"MatMul", "LogSoftmax"} <= facts.operators
    assert facts.inputs == ["x", "x_lens"]
    assert facts.outputs == ["log_probs", "log_probs_len"]


def test_a_model_cut_anywhere_is_refused(tmp_path: Path) -> None:
    data = (write_depth(tmp_path) / "model.onnx").read_bytes()
    short = tmp_path / "short.onnx"
    for end in (*range(0, len(data) - 1, 7), len(data) - 1):
        short.write_bytes(data[:end])
        with pytest.raises(Rejected):
            open_session(short)


@pytest.mark.parametrize(
    "data", [b"PK\x03\x04" + bytes(60), b"\x80\x04\x95" + bytes(60), os.urandom(400), b"hello", b"\0"]
)
def test_what_is_no_model_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "model.onnx").write_bytes(data)
    with pytest.raises(Rejected):
        check_onnx(tmp_path / "model.onnx")


def test_random_damage_never_ends_in_anything_but_a_refusal(tmp_path: Path) -> None:
    data = bytearray((write_listener(tmp_path) / "model.onnx").read_bytes())
    drawn = np.random.default_rng(7)
    for _ in range(150):
        broken = bytearray(data)
        for place in drawn.integers(0, min(len(data), 900), 3):
            broken[place] = drawn.integers(0, 256)
        (tmp_path / "broken.onnx").write_bytes(broken)
        with suppress(Rejected):
            open_session(tmp_path / "broken.onnx")


def test_an_operator_of_others_is_refused(tmp_path: Path) -> None:
    made = _plain()
    made.graph.node[0].domain = "evil.example"
    with pytest.raises(Rejected) as refused:
        check_onnx(_saved(tmp_path, made))
    assert refused.value.code == "onnx.operator"


def test_an_operator_of_others_deep_inside_is_refused(tmp_path: Path) -> None:
    inner = onnx.helper.make_graph([node("Run", ["x"], "y", domain="evil.example")], "inner", [], [])
    made = _plain()
    made.graph.node.append(node("If", ["x"], "z", then_branch=inner, else_branch=inner))
    with pytest.raises(Rejected) as refused:
        check_onnx(_saved(tmp_path, made))
    assert refused.value.code == "onnx.operator"


def test_graphs_nested_without_end_are_refused(tmp_path: Path) -> None:
    inner = onnx.helper.make_graph([node("Identity", ["x"], "y")], "inner", [], [])
    for _ in range(DEEPEST + 2):
        inner = onnx.helper.make_graph([node("If", ["x"], "y", then_branch=inner, else_branch=inner)], "inner", [], [])
    made = _plain()
    made.graph.node.append(node("If", ["x"], "z", then_branch=inner, else_branch=inner))
    with pytest.raises(Rejected) as refused:
        check_onnx(_saved(tmp_path, made))
    assert refused.value.code == "onnx.too_deep"


@pytest.mark.parametrize("place", ["/etc/passwd", "../secret.bin", "a/../../secret.bin", "..\\secret.bin", ""])
def test_numbers_that_lie_elsewhere_are_not_read(tmp_path: Path, place: str) -> None:
    (tmp_path / "secret.bin").write_bytes(bytes(64))
    (tmp_path / "inside").mkdir()
    with pytest.raises(Rejected) as refused:
        check_onnx(_saved(tmp_path / "inside", _beside(place)))
    assert refused.value.code == "onnx.elsewhere"


def test_a_link_that_leads_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret.bin").write_bytes(bytes(64))
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "data.bin").symlink_to(tmp_path / "secret.bin")
    with pytest.raises(Rejected) as refused:
        check_onnx(_saved(inside, _beside("data.bin")))
    assert refused.value.code == "onnx.elsewhere"


def test_numbers_in_a_file_beside_the_model_are_read(tmp_path: Path) -> None:
    path = _saved(tmp_path, _beside("data.bin"))
    with pytest.raises(Rejected) as refused:
        check_onnx(path)
    assert refused.value.code == "onnx.missing_data"
    (tmp_path / "data.bin").write_bytes(np.ones(1, np.float32).tobytes())
    assert check_onnx(path).beside == {"data.bin"}
    session = open_session(path)
    assert run_session(session, None, {"x": np.array([2.0], np.float32)})[0] == pytest.approx(3.0)


def test_a_model_that_does_not_fit_what_it_is_given_says_so(tmp_path: Path) -> None:
    session = open_session(_saved(tmp_path, _plain()))
    with pytest.raises(Rejected) as refused:
        run_session(session, None, {"x": np.zeros((2, 2), np.float64)})
    assert refused.value.code == "onnx.failed"


def test_a_missing_file_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        check_onnx(tmp_path / "none.onnx")


def _beside(place: str) -> onnx.ModelProto:
    """The plain model with its one number in another file."""
    made = _plain()
    tensor = made.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", place), ("offset", "0"), ("length", "4")):
        said = tensor.external_data.add()
        said.key, said.value = key, value
    return made
