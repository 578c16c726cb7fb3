"""Fourteen carriers, each with a good, a missing, a doubled, a bad and a cut label: a verdict each, and its reason."""

from __future__ import annotations

import html
import json
import shutil
import subprocess
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path

import pytest
from label_files import CARRIERS, PRODUCER, RECIPES
from twice import doubled

from malan.core.errors import MediaError, NotFound
from malan.media.labels import KEYS, Label, Verdict, verify, write_label, write_text
from malan.media.labels.carriers import CARRIERS as KNOWN

File = Callable[[str], Path]


def codes(verdict: Verdict) -> list[str]:
    return [reason.code for reason in verdict.reasons]


@pytest.fixture
def labelled(file: File, tmp_path: Path, label: Label) -> Callable[[str], Path]:
    def make(name: str) -> Path:
        out = tmp_path / f"labelled-{file(name).name}"
        write_label(file(name), out, label)
        return out

    return make


def test_all_carriers_are_tested() -> None:
    assert set(CARRIERS) == set(KNOWN)


@pytest.mark.parametrize("name", RECIPES)
def test_a_label_that_was_written_is_compliant(name: str, labelled: Callable[[str], Path], label: Label) -> None:
    verdict = verify(labelled(name))
    assert (verdict.verdict, codes(verdict), len(verdict.where)) == ("compliant", [], 1)
    assert verdict.label == label.to_fields()
    assert tuple(verdict.label or ()) == KEYS


@pytest.mark.parametrize("name", RECIPES)
def test_a_file_without_a_label_has_none(name: str, file: File) -> None:
    assert (verify(file(name)).verdict, verify(file(name)).label) == ("not_found", None)


@pytest.mark.parametrize("name", CARRIERS)
def test_two_labels_are_one_too_many_even_when_they_are_equal(name: str, labelled: Callable[[str], Path]) -> None:
    path = labelled(name)
    path.write_bytes(doubled(name, path.read_bytes()))
    verdict = verify(path)
    assert (verdict.verdict, codes(verdict), len(verdict.where)) == ("noncompliant", ["label.several"], 2)


@pytest.mark.parametrize("name", CARRIERS)
def test_writing_replaces_all_labels_that_were_there(
    name: str, labelled: Callable[[str], Path], tmp_path: Path
) -> None:
    path, new = labelled(name), Label.first(PRODUCER, "another", label="3")
    path.write_bytes(doubled(name, path.read_bytes()))
    write_label(path, tmp_path / f"again-{path.name}", new)
    assert verify(tmp_path / f"again-{path.name}").label == new.to_fields()


@pytest.mark.parametrize("name", CARRIERS)
@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda text: text.replace(PRODUCER, "某某科技"), "label.character"),
        (lambda text: text.replace("019a", "01 9a"), "label.character"),
        (lambda text: text[:60], "label.not_json"),
        (html.escape, "label.html_escaped"),
        (lambda text: text.replace('"Label":"1"', '"Label":"9"'), "label.strength"),
    ],
    ids=["chinese", "blank", "truncated", "html-escaped", "no such strength"],
)
def test_a_bad_label_is_not_compliant_and_the_reason_says_why(
    name: str, change: Callable[[str], str], code: str, file: File, tmp_path: Path, label: Label
) -> None:
    out = tmp_path / file(name).name
    write_text(file(name), out, change(label.to_json()))
    verdict = verify(out)
    assert verdict.verdict == "noncompliant"
    assert code in codes(verdict)


@pytest.mark.parametrize("name", CARRIERS)
def test_an_escaped_label_is_read_all_the_same(name: str, file: File, tmp_path: Path, label: Label) -> None:
    out = tmp_path / file(name).name
    write_text(file(name), out, html.escape(label.to_json()))
    assert verify(out).label == label.to_fields()


@pytest.mark.parametrize("name", CARRIERS)
def test_a_wrapped_label_counts_like_a_bare_one(name: str, file: File, tmp_path: Path, label: Label) -> None:
    out = tmp_path / file(name).name
    write_text(file(name), out, json.dumps({"AIGC": label.to_fields()}))
    assert (verify(out).verdict, verify(out).label) == ("compliant", label.to_fields())


@pytest.mark.parametrize("name", CARRIERS)
def test_a_file_that_was_cut_off_is_never_compliant(name: str, labelled: Callable[[str], Path]) -> None:
    path = labelled(name)
    data = path.read_bytes()
    at = data.index(b"019a-7c1e-44")
    for end in (at + 4, at - 40):
        path.write_bytes(data[:end])
        assert verify(path).verdict in ("inconclusive", "noncompliant", "not_found")
    assert verify(path).verdict != "compliant"


@pytest.mark.parametrize("name", CARRIERS)
def test_no_byte_of_a_label_changes_unseen(name: str, labelled: Callable[[str], Path], label: Label) -> None:
    path = labelled(name)
    data = path.read_bytes()
    start = data.index(b'"Label"' if b'"Label":"1"' in data else b"Label")
    for at in range(start, data.index(b"ReservedCode2") + 18, 3):
        for bit in (1, 4):
            path.write_bytes(data[:at] + bytes([data[at] ^ bit]) + data[at + 1 :])
            verdict = verify(path)
            assert verdict.verdict != "compliant" or verdict.label != label.to_fields(), at


@pytest.mark.parametrize("content", [b"plain text", b"GIF89a" + bytes(40), b"\x47" + bytes(187), b"\x06\x0e+4" * 20])
def test_a_file_that_cannot_carry_a_label_is_refused(content: bytes, tmp_path: Path, label: Label) -> None:
    path = tmp_path / "film.mp4"  # the name does not count
    path.write_bytes(content * 4)
    for attempt in (lambda: verify(path), lambda: write_label(path, tmp_path / "out.mp4", label)):
        with pytest.raises(MediaError) as caught:
            attempt()
        assert caught.value.code == "label.no_carrier"
    assert not (tmp_path / "out.mp4").exists()


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        verify(tmp_path / "nothing.mp4")


# What strangers read

_BY_FFPROBE = [name for name in RECIPES if not name.startswith(("wav", "png", "jpeg", "webp"))]


@pytest.mark.parametrize("name", _BY_FFPROBE)
def test_ffprobe_reads_our_label(name: str, labelled: Callable[[str], Path], label: Label) -> None:
    if not shutil.which("ffprobe"):
        pytest.skip("ffprobe is not installed")
    command = ["ffprobe", "-v", "quiet", "-show_format", "-show_streams", "-of", "json", str(labelled(name))]
    said = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    tags = [said["format"].get("tags", {}), *(stream.get("tags", {}) for stream in said["streams"])]
    found = [value for group in tags for key, value in group.items() if key.upper() == "AIGC"]
    assert [json.loads(text) for text in found] == [label.to_fields()]


@pytest.fixture(scope="module")
def by_exiftool(file: File, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, object]]:
    """What exiftool says of a labelled file of every recipe, asked once: it takes long to start."""
    if not shutil.which("exiftool"):
        pytest.skip("exiftool is not installed")
    folder = tmp_path_factory.mktemp("exiftool")
    paths = {name: folder / f"{name}{file(name).suffix}" for name in RECIPES}
    for name, path in paths.items():
        write_label(file(name), path, Label.first(PRODUCER, "019a-7c1e-44"))
    command = ["exiftool", "-j", "-a", "-b", "-U", "-G1", "-ee", *map(str, paths.values())]
    said = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    return dict(zip(paths, said, strict=True))


@pytest.mark.parametrize("name", RECIPES)
def test_exiftool_reads_our_label(name: str, by_exiftool: dict[str, dict[str, object]], label: Label) -> None:
    texts = [str(value).removeprefix("(AIGC) ") for value in by_exiftool[name].values()]
    texts = [b64decode(text[7:]).decode("utf-8", "replace") if text.startswith("base64:") else text for text in texts]
    found = [json.loads(text.rstrip("\0")) for text in texts if "ContentProducer" in text]
    assert found == [label.to_fields()]
    warnings = [str(value) for key, value in by_exiftool[name].items() if "Warning" in key]
    assert not [warning for warning in warnings if "runcated" in warning or "rror" in warning]
