"""Files of weights are read as if written by an enemy, and written in one spelling."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import tracemalloc
import zipfile
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps
from weights_factory import as_file, entry, lora_tensors, raw_file

from malan.core.errors import Rejected, UsageError
from malan.inference.tensors import Limits, Tensor, digest_tensors, parse_tensors, write_tensors

FOUR = bytes(range(16))


def code_of(data: bytes, limits: Limits | None = None) -> str:
    with pytest.raises(Rejected) as caught:
        parse_tensors(data, limits)
    assert caught.value.message("en")
    assert caught.value.message("zh")
    return caught.value.code


def test_what_was_written_is_read_back() -> None:
    tensors = lora_tensors(3)
    found = parse_tensors(as_file(tensors, {"format": "pt"}))
    assert {name: tensor.values().tolist() for name, tensor in found.tensors.items()} == {
        name: tensor.values().tolist() for name, tensor in tensors.items()
    }
    assert found.metadata == {"format": "pt"}


def test_the_layout_is_that_of_safetensors() -> None:
    """Built by hand from the format's description: length, header, numbers."""
    values = np.array([[1.5, -2.0], [0.25, 3.0]], "<f4")
    data = raw_file({"w": entry([2, 2], 0, 16)}, values.tobytes())
    assert parse_tensors(data).tensors["w"].values().tolist() == values.tolist()


def test_the_same_tensors_give_the_same_bytes_in_any_order() -> None:
    tensors = list(lora_tensors(1).values())
    assert write_tensors(tensors) == write_tensors(tensors[::-1])


def test_numbers_begin_at_a_multiple_of_eight_and_wide_types_come_first() -> None:
    data = write_tensors([Tensor.of("a", np.ones(3), "BF16"), Tensor.of("b", np.ones(2), "F32")])
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    assert length % 8 == 0
    assert header["b"]["data_offsets"] == [0, 8]
    assert header["a"]["data_offsets"] == [8, 14]


@given(nps.arrays(np.float32, nps.array_shapes(max_dims=3, max_side=5), elements=st.floats(-100, 100, width=16)))
@settings(max_examples=60, deadline=None)
def test_half_precision_is_read_back_exactly(values: Any) -> None:
    assert np.array_equal(parse_tensors(write_tensors([Tensor.of("w", values, "F16")])).tensors["w"].values(), values)


@given(st.floats(width=32, allow_nan=False, allow_infinity=False, min_value=-(2.0**100), max_value=2.0**100))
def test_bfloat16_is_the_nearest_of_its_kind(value: float) -> None:
    stored = float(Tensor.of("w", np.array([value]), "BF16").values()[0])
    above, below = stored * (1 + 2**-7), stored * (1 - 2**-7)
    assert abs(stored - value) <= min(abs(above - value), abs(below - value)) + 1e-38


def test_bfloat16_ties_go_to_even() -> None:
    ties = np.array([1 + 2**-8, 1 + 3 * 2**-8])
    assert Tensor.of("w", ties, "BF16").values().tolist() == [1.0, 1 + 2**-6]


def test_a_number_too_large_for_its_type_is_not_written() -> None:
    with pytest.raises(UsageError) as caught:
        Tensor.of("w", np.array([1e6]), "F16")
    assert caught.value.code == "tensors.overflow"


def test_the_digest_names_the_numbers_not_the_spelling() -> None:
    tensors = lora_tensors(1)
    read = parse_tensors(as_file(tensors, {"a": "b"})).tensors
    assert digest_tensors(read.values()) == digest_tensors(tensors.values())
    assert digest_tensors(lora_tensors(2).values()) != digest_tensors(tensors.values())


HOSTILE: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "tensors.too_short"),
    "a few bytes": (b"\0" * 9, "tensors.too_short"),
    "no tensor": (raw_file({"__metadata__": {}}), "tensors.how_many"),
    "a pickle": (pickle.dumps({"weight": list(range(100))}), "tensors.header_size"),
    "a gzip bomb": (gzip.compress(b"\0" * 10_000_000), "tensors.header_size"),
    "a header larger than the file": (raw_file(b"{}", length=2**40), "tensors.header_size"),
    "a length in the other byte order": ((48).to_bytes(8, "big") + b"{" * 48, "tensors.header_size"),
    "a header of nothing": (raw_file(b"", b"\0" * 16), "tensors.header_size"),
    "a header that is a list": (raw_file(b"[1,2,3]", FOUR), "tensors.header"),
    "a header with bytes before it": (raw_file(b' {"w":1}', FOUR), "tensors.header"),
    "a header padded with a message": (
        raw_file(json.dumps({"w": entry([4], 0, 16)}).encode() + b"\0 secret", FOUR),
        "tensors.header",
    ),
    "a header padded beyond need": (
        raw_file(json.dumps({"w": entry([4], 0, 16)}).encode() + b" " * 64, FOUR),
        "tensors.header",
    ),
    "broken JSON": (raw_file(b'{"w":}', FOUR), "tensors.header"),
    "a header not in UTF-8": (raw_file(b'{"\xff\xfe":1}', FOUR), "tensors.header"),
    "a header nested 100,000 deep": (raw_file(b'{"w":' * 100_000 + b"1" + b"}" * 100_000), "tensors.header"),
    "an integer of a million digits": (
        raw_file(b'{"w":{"dtype":"F32","shape":[' + b"9" * 1_000_000 + b'],"data_offsets":[0,16]}}', FOUR),
        "tensors.header",
    ),
    "a side that is a fraction": (raw_file({"w": entry([4.0], 0, 16)}, FOUR), "tensors.header"),
    "a side that is not a number": (
        raw_file(b'{"w":{"dtype":"F32","shape":[NaN],"data_offsets":[0,16]}}', FOUR),
        "tensors.header",
    ),
    "a side that is true": (
        raw_file(b'{"w":{"dtype":"F32","shape":[4,true],"data_offsets":[0,16]}}', FOUR),
        "tensors.entry",
    ),
    "a side below zero": (raw_file({"w": entry([-4], 0, 16)}, FOUR), "tensors.entry"),
    "a shape of 100 sides": (raw_file({"w": entry([1] * 100 + [4], 0, 16)}, FOUR), "tensors.entry"),
    "a shape of astronomic size": (raw_file({"w": entry([2**50, 2**50], 0, 16)}, FOUR), "tensors.size"),
    "a shape whose product overflows to the right size": (
        raw_file({"w": entry([2**32, 2**32, 4], 0, 16)}, FOUR),
        "tensors.size",
    ),
    "a tensor of no numbers": (raw_file({"w": entry([4], 0, 16), "z": entry([0, 9], 16, 16)}, FOUR), "tensors.empty"),
    "a thousand empty tensors named with data": (
        raw_file({"w": entry([4], 0, 16), **{f"x{n}": entry([0], 0, 0) for n in range(1000)}}, FOUR),
        "tensors.empty",
    ),
    "two tensors on the same bytes": (
        raw_file({"a": entry([4], 0, 16), "b": entry([4], 0, 16)}, FOUR),
        "tensors.overlap",
    ),
    "overlapping tensors": (
        raw_file({"a": entry([3], 0, 12), "b": entry([2], 8, 16)}, FOUR),
        "tensors.overlap",
    ),
    "a gap between tensors": (raw_file({"a": entry([1], 0, 4), "b": entry([2], 8, 16)}, FOUR), "tensors.gap"),
    "a gap before the first": (raw_file({"a": entry([3], 4, 16)}, FOUR), "tensors.gap"),
    "bytes behind the last": (raw_file({"a": entry([4], 0, 16)}, FOUR + b"footage"), "tensors.trailer"),
    "a file cut off": (raw_file({"a": entry([4], 0, 16)}, FOUR[:9]), "tensors.cut_off"),
    "offsets turned round": (raw_file({"a": entry([4], 16, 0)}, FOUR), "tensors.size"),
    "a name twice": (
        raw_file(
            b'{"w":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},'
            b'"w":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}',
            FOUR,
        ),
        "tensors.key_twice",
    ),
    "a key twice in an entry": (
        raw_file(b'{"w":{"dtype":"F32","shape":[9],"shape":[4],"data_offsets":[0,16]}}', FOUR),
        "tensors.key_twice",
    ),
    "an extra key in an entry": (raw_file({"w": {**entry([4], 0, 16), "note": "hi"}}, FOUR), "tensors.entry"),
    "metadata that are no texts": (
        raw_file({"__metadata__": {"a": 1}, "w": entry([4], 0, 16)}, FOUR),
        "tensors.header",
    ),
    "numbers in the other byte order": (raw_file({"w": entry([4], 0, 16, ">f4")}, FOUR), "tensors.dtype"),
    "double precision": (raw_file({"w": entry([2], 0, 16, "F64")}, FOUR), "tensors.dtype"),
    "bytes as numbers": (raw_file({"w": entry([16], 0, 16, "U8")}, FOUR), "tensors.dtype"),
    "a type that is a list": (raw_file({"w": {**entry([4], 0, 16), "dtype": ["F32"]}}, FOUR), "tensors.dtype"),
    "a name with a path": (raw_file({"../../etc/passwd": entry([4], 0, 16)}, FOUR), "tensors.name"),
    "a name with data": (raw_file({"QmFzZTY0IQ==": entry([4], 0, 16)}, FOUR), "tensors.name"),
    "a name in look-alike letters": (raw_file({"wеight": entry([4], 0, 16)}, FOUR), "tensors.name"),
    "a name of 10,000 letters": (raw_file({"w" * 10_000: entry([4], 0, 16)}, FOUR), "tensors.name"),
    "an empty name": (raw_file({"": entry([4], 0, 16)}, FOUR), "tensors.name"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_file_is_refused(what: str) -> None:
    data, code = HOSTILE[what]
    assert code_of(data) == code


def test_an_archive_is_refused_without_being_opened() -> None:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\0" * 5_000_000)
    assert code_of(held.getvalue()).startswith("tensors.")


def test_a_declared_terabyte_takes_no_memory() -> None:
    data = raw_file({"w": entry([2**38], 0, 2**40)}, FOUR)
    tracemalloc.start()
    assert code_of(data) == "tensors.cut_off"
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("limits", "code"),
    [
        (Limits(file_bytes=100), "tensors.too_large"),
        (Limits(header_bytes=64), "tensors.header_size"),
        (Limits(tensors=5), "tensors.how_many"),
        (Limits(dimensions=1), "tensors.entry"),
        (Limits(name_length=8), "tensors.name"),
    ],
)
def test_every_limit_holds(limits: Limits, code: str) -> None:
    assert code_of(as_file(lora_tensors()), limits) == code


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_a_changed_byte_raises_one_of_ours_or_nothing(data: st.DataObject) -> None:
    whole = bytearray(as_file({"w": Tensor.of("w", np.ones((3, 4))), "v": Tensor.of("v", np.ones(5), "BF16")}))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = parse_tensors(bytes(whole))
    except Rejected:
        return
    assert sum(len(tensor.data) for tensor in found.tensors.values()) == 58


@given(st.binary(max_size=300))
@settings(max_examples=150, deadline=None)
def test_noise_raises_one_of_ours(data: bytes) -> None:
    with pytest.raises(Rejected):
        parse_tensors(data)
