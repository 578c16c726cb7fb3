"""What a pipeline will need, told from headers and configurations of sizes that are really used; nothing is loaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from malan.core.errors import Rejected
from malan.inference.backends import Amount
from malan.inference.diffusion_memory import need_of
from malan.inference.memory import by_files
from malan.inference.opening import Opening

GB = 1024  # megabytes
FILM = Amount(832, 480, 81)
WAN: dict[str, Any] = {
    "transformer": (1.42e9, {"num_attention_heads": 12, "attention_head_dim": 128, "ffn_dim": 8960,
                             "patch_size": [1, 2, 2]}),
    "text_encoder": (5.68e9, {}),
    "vae": (0.127e9, {"base_dim": 96, "z_dim": 16}),
}  # fmt: skip
COG: dict[str, Any] = {
    "transformer": (5.57e9, {"num_attention_heads": 48, "attention_head_dim": 64, "patch_size": 2}),
    "text_encoder": (4.76e9, {}),
    "vae": (0.215e9, {"block_out_channels": [128, 256, 256, 512], "temporal_compression_ratio": 4}),
}  # fmt: skip
LTX: dict[str, Any] = {
    "transformer": (1.92e9, {"num_attention_heads": 32, "attention_head_dim": 64, "patch_size": 1}),
    "text_encoder": (4.76e9, {}),
    "vae": (0.42e9, {"block_out_channels": [128, 256, 512, 512], "patch_size": 4,
                     "spatio_temporal_scaling": [True, True, True, False]}),
}  # fmt: skip
SD: dict[str, Any] = {
    "unet": (0.86e9, {"block_out_channels": [320, 640, 1280, 1280]}),
    "text_encoder": (0.123e9, {}),
    "vae": (0.084e9, {"block_out_channels": [128, 256, 512, 512]}),
}
FAMILIES = {"wan": WAN, "cogvideox": COG, "ltx": LTX, "stable-diffusion": SD}


def write_weights(path: Path, count: int, dtype: str = "BF16") -> None:
    """A file of so many numbers that takes no room on disk."""
    size = count * {"BF16": 2, "F32": 4, "F8_E4M3": 1}[dtype]
    header = json.dumps({"weight": {"dtype": dtype, "shape": [count], "data_offsets": [0, size]}}).encode()
    header += b" " * (-len(header) % 8)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + size)


def opening(folder: Path, family: str, device: str = "cuda:0", dtype: str = "BF16", **options: Any) -> Opening:
    parts = FAMILIES[family]
    index = {"_class_name": "WanPipeline"} | {name: ["diffusers", "X"] for name in parts}
    folder.mkdir(exist_ok=True)
    (folder / "model_index.json").write_text(json.dumps(index))
    for name, (count, config) in parts.items():
        write_weights(folder / name / "model.safetensors", int(count), dtype)
        (folder / name / "config.json").write_text(json.dumps(config))
    files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return Opening("film", "video", device, folder=folder, files=files, family=family, options=options)


def test_weights_count_in_the_type_they_are_loaded_in(tmp_path: Path) -> None:
    stored = need_of(opening(tmp_path / "f8", "wan", dtype="F8_E4M3")).weights_mb
    assert stored == need_of(opening(tmp_path / "bf16", "wan")).weights_mb
    assert stored == pytest.approx((1.42 + 5.68) * 2e9 / 2**20 + 0.127 * 4e9 / 2**20, rel=0.01)
    assert need_of(opening(tmp_path / "cpu", "wan", "cpu")).weights_mb == pytest.approx(7.227 * 4e9 / 2**20, rel=0.01)
    half = opening(tmp_path / "half", "wan", "cpu", precision="bfloat16", vae_precision="bfloat16")
    assert need_of(half).weights_mb == pytest.approx(7.227 * 2e9 / 2**20, rel=0.01)


def test_what_goes_onto_a_device_passes_through_the_machine(tmp_path: Path) -> None:
    plain = need_of(opening(tmp_path / "a", "wan"))
    assert plain.host_mb == plain.weights_mb
    assert need_of(opening(tmp_path / "b", "wan", "cpu")).host_mb == 0


def test_offloading_leaves_only_the_largest_part_on_the_device(tmp_path: Path) -> None:
    plain, part = (need_of(opening(tmp_path / name, "wan", offload=name)) for name in ("none", "model"))
    assert part.weights_mb == pytest.approx(5.68 * 2e9 / 2**20, rel=0.01)
    assert part.host_mb == plain.host_mb
    assert need_of(opening(tmp_path / "s", "wan", offload="sequential")).host_mb == plain.host_mb


@pytest.mark.parametrize(
    ("family", "amount", "least_gb", "most_gb"),
    [
        ("wan", FILM, 18, 26),  # its makers run it on 24 GB, everything on the device
        ("cogvideox", Amount(720, 480, 49), 24, 34),  # its makers say 26 GB without any saving
        ("ltx", Amount(704, 480, 121), 15, 24),
        ("stable-diffusion", Amount(512, 512, 1), 2, 4),  # runs on 4 GB
    ],
)
def test_a_real_size_needs_about_what_is_known_of_it(
    tmp_path: Path, family: str, amount: Amount, least_gb: float, most_gb: float
) -> None:
    need = need_of(opening(tmp_path / family, family), amount)
    assert least_gb * GB <= need.total_mb <= most_gb * GB, need


@pytest.mark.parametrize("family", FAMILIES)
def test_more_of_anything_needs_more(tmp_path: Path, family: str) -> None:
    asked = opening(tmp_path / family, family)
    wants = [need_of(asked, one).work_mb for one in (Amount(256, 256, 5), Amount(512, 256, 5), Amount(512, 512, 81))]
    assert wants == sorted(wants)
    assert wants[0] < wants[-1]
    assert need_of(asked).work_mb == 0


def test_tiles_need_less(tmp_path: Path) -> None:
    amount = Amount(1920, 1088, 49)
    whole = need_of(opening(tmp_path / "a", "cogvideox"), amount).work_mb
    assert need_of(opening(tmp_path / "b", "cogvideox", tiling=True), amount).work_mb < whole


def test_one_variant_counts(tmp_path: Path) -> None:
    folder = tmp_path / "both"
    plain = need_of(opening(folder, "stable-diffusion")).weights_mb
    write_weights(folder / "unet" / "model.fp16.safetensors", 1000)
    again = opening(folder, "stable-diffusion")
    assert need_of(again).weights_mb == plain
    files = {name: path for name, path in again.files.items() if "fp16" in name or not name.endswith(".safetensors")}
    only = Opening("film", "image", "cpu", folder=folder, files=files, options={"variant": "fp16"})
    assert need_of(only).weights_mb == 1


def test_a_header_that_lies_is_refused(tmp_path: Path) -> None:
    asked = opening(tmp_path / "wan", "wan")
    with (tmp_path / "wan" / "transformer" / "model.safetensors").open("r+b") as file:
        file.truncate(1000)
    with pytest.raises(Rejected):
        need_of(asked, FILM)


@pytest.mark.parametrize("config", ["", "[]", "{", "null", '{"patch_size": 0}'])
def test_a_configuration_that_says_nothing_is_taken_as_usual(tmp_path: Path, config: str) -> None:
    assert need_of(with_config(tmp_path / "wan", config), FILM).total_mb > 0


@pytest.mark.parametrize(
    "config", ['{"num_attention_heads": "x"}', '{"patch_size": ["a"]}', '{"patch_size": {}, "a": 1}']
)
def test_a_configuration_that_makes_no_sense_is_refused(tmp_path: Path, config: str) -> None:
    with pytest.raises(Rejected) as refused:
        need_of(with_config(tmp_path / "wan", config.replace("{}", '{"a": 1}')), FILM)
    assert refused.value.code == "engines.part"


def with_config(folder: Path, config: str) -> Opening:
    asked = opening(folder, "wan")
    for name in ("transformer", "vae"):
        (folder / name / "config.json").write_text(config)
    return asked


def test_other_weights_count_as_they_lie_there(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"")
    with path.open("r+b") as file:
        file.truncate(200 * 2**20)
    assert by_files(Opening("near", "depth", files={"model.onnx": path})).weights_mb == 220
