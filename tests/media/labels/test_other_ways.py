"""Ways a file may be built that ffmpeg does not take by itself: each is labelled, and everything else in it stays."""

from __future__ import annotations

import errno
import hashlib
import os
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import av
import pytest
from imageio_ffmpeg import get_ffmpeg_exe
from label_files import PRODUCER
from PIL import Image

from malan.core.errors import MediaError
from malan.media.labels import Label, ebml, matroska, verify, write_label
from malan.media.labels.bmff import carrier_of as box_carrier
from malan.media.labels.xmp import with_label

File = Callable[[str], Path]


def packets(path: Path) -> list[tuple[int, int | None, str]]:
    with av.open(str(path)) as container:
        return [(p.stream.index, p.pts, hashlib.sha256(bytes(p)).hexdigest()) for p in container.demux() if p.size]


def test_keys_beside_the_label_keep_their_values(file: File, tmp_path: Path, label: Label) -> None:
    """The label stands between others, so their numbers change when it is replaced."""
    source, out = tmp_path / "keys.mp4", tmp_path / "out.mp4"
    command = [get_ffmpeg_exe(), "-v", "error", "-i", str(file("mp4")), "-c", "copy", "-movflags", "use_metadata_tags"]
    for pair in ("aa=first", "AIGC={}", "zz=last", "com.apple.quicktime.make=a camera"):
        command += ["-metadata", pair]
    subprocess.run([*command, str(source)], check=True)
    assert verify(source).verdict == "noncompliant"
    write_label(source, out, label)
    with av.open(str(out)) as container:
        said = dict(container.metadata)
    assert (said["aa"], said["zz"], said["com.apple.quicktime.make"]) == ("first", "last", "a camera")
    assert verify(out).label == label.to_fields()


@pytest.mark.parametrize("name", ["mp4-fragments", "mp4-fragments-absolute"])
def test_the_index_of_fragments_follows_them(name: str, file: File, tmp_path: Path, label: Label) -> None:
    out = tmp_path / "out.mp4"
    assert not write_label(file(name), out, label).is_in_place
    data, at, places = out.read_bytes(), 0, []
    while (at := data.find(b"tfra", at + 1)) > 0:
        count = int.from_bytes(data[at + 16 : at + 20], "big")
        wide = data[at + 4] == 1
        step = (16 if wide else 8) + 3
        for entry in range(at + 20, at + 20 + count * step, step):
            width = 8 if wide else 4
            places.append(int.from_bytes(data[entry + width : entry + 2 * width], "big"))
    assert len(places) > 2
    assert {data[place + 4 : place + 8] for place in places} == {b"moof"}


def test_an_index_in_front_of_the_header_reaches_as_far_as_before(file: File, tmp_path: Path, label: Label) -> None:
    """A `sidx` counts from its own end; the header behind it grows."""
    data = file("mp4-fragments").read_bytes()
    moov, moof = data.index(b"moov") - 4, data.index(b"moof") - 4
    body = struct.pack(">IIIII", 0, 1, 1000, 0, moof - moov) + struct.pack(">HHIII", 0, 1, len(data) - moof, 2000, 0)
    sidx = struct.pack(">I4s", len(body) + 8, b"sidx") + body
    source, out = tmp_path / "a.mp4", tmp_path / "b.mp4"
    source.write_bytes(data[:moov] + sidx + data[moov:])
    write_label(source, out, label)
    new = out.read_bytes()
    at = new.index(b"sidx") - 4
    reach = int.from_bytes(new[at + 24 : at + 28], "big")
    assert new[at + len(sidx) + reach + 4 : at + len(sidx) + reach + 8] == b"moof"


# Matroska: everything moves


@pytest.mark.parametrize("name", ["mkv", "webm", "mkv-live", "mkv-cues-first"])
def test_clusters_that_move_are_still_found(
    name: str, file: File, tmp_path: Path, label: Label, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matroska, "_in_place", lambda *_: None)
    out = tmp_path / file(name).name
    done = write_label(file(name), out, label)
    assert not done.is_in_place
    assert packets(out) == packets(file(name))
    for second in (0.4, 1.1, 1.8):
        found = []
        for path in (file(name), out):
            with av.open(str(path)) as container:
                container.seek(int(second * 1e6))
                packet = next(p for p in container.demux(video=0) if p.size)
                found.append((packet.pts, hashlib.sha256(bytes(packet)).digest()))
        assert found[0] == found[1]


def test_cues_point_at_clusters_after_a_move(
    file: File, tmp_path: Path, label: Label, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matroska, "_in_place", lambda *_: None)
    out = tmp_path / "out.mkv"
    write_label(file("mkv-cues-first"), out, label)
    data = out.read_bytes()
    segment = data.index(b"\x18\x53\x80\x67") + 12
    named = data.index(b"\x1c\x53\xbb\x6b")  # in SeekHead
    at = data.index(b"\x1c\x53\xbb\x6b", named + 4)
    head, width = at + 4, 9 - data[at + 4].bit_length()
    size = int.from_bytes(data[head : head + width], "big") & ((1 << 7 * width) - 1)
    places = []
    for id_, point in ebml.split(data[head + width : head + width + size], "Cues"):
        assert id_ == b"\xbb"
        for inner, content in ebml.split(point, "CuePoint"):
            if inner == b"\xb7":
                places.append(int.from_bytes(dict(ebml.split(content, "x"))[b"\xf1"], "big"))
    assert len(places) > 1
    assert all(data[segment + place : segment + place + 4] == b"\x1f\x43\xb6\x75" for place in places)


@pytest.mark.parametrize("size", range(2, 40))
def test_spare_room_of_any_size_is_an_element(size: int) -> None:
    assert len(ebml.void(size)) == size
    assert ebml.split(ebml.void(size), "x") == []


@pytest.mark.parametrize("room", [10, 11, 12, 13, 30])
def test_an_element_fills_its_room_to_the_byte(room: int) -> None:
    fitted = matroska._fitted(ebml.pack(b"\x12\x54\xc3\x67", b"\xec\x83abc"), room)
    assert fitted is not None
    assert len(fitted) == room
    assert fitted.startswith(b"\x12\x54\xc3\x67")
    assert matroska._fitted(ebml.pack(b"\x12\x54\xc3\x67", bytes(5)), 9) is None


# ID3


def _tag(version: int, flags: int, body: bytes) -> bytes:
    return b"ID3" + bytes([version, 0, flags]) + bytes(len(body) >> s & 0x7F for s in (21, 14, 7, 0)) + body


def _text(name: bytes, text: str) -> bytes:
    body = b"\0" + text.encode("latin-1")
    return name + len(body).to_bytes(len(name), "big") + bytes(2 * (len(name) == 4)) + body


@pytest.mark.parametrize(
    ("tag", "title"),
    [
        (_tag(2, 0, _text(b"TT2", "Horse") + bytes(20)), "Horse"),
        (_tag(3, 0x80, (_text(b"TIT2", "\xff\xe0 Horse")).replace(b"\xff", b"\xff\x00")), "\xff\xe0 Horse"),
        (_tag(3, 0x40, struct.pack(">IHI", 6, 0, 0) + _text(b"TIT2", "Horse")), "Horse"),
        (_tag(4, 0x40, b"\0\0\0\x06\x01\0" + _text(b"TIT2", "Horse") + bytes(900)), "Horse"),
        (_tag(4, 0x10, _text(b"TIT2", "Horse")) + b"3DI\4\0\x10\0\0\0\x10", "Horse"),
        (_tag(3, 0, _text(b"TIT2", "Horse")) + _tag(3, 0, _text(b"TPE1", "Second")), "Horse"),
    ],
    ids=["v2.2", "unsynchronised", "extended v2.3", "extended v2.4", "footer", "two tags"],
)
def test_every_version_of_id3_keeps_its_frames(
    tag: bytes, title: str, file: File, tmp_path: Path, label: Label
) -> None:
    source, out, again = tmp_path / "a.mp3", tmp_path / "b.mp3", tmp_path / "c.mp3"
    source.write_bytes(tag + file("mp3-bare").read_bytes())
    write_label(source, out, label)
    write_label(out, again, Label.first(PRODUCER, "other"))
    assert verify(again).label == Label.first(PRODUCER, "other").to_fields()
    with av.open(str(again)) as container:
        assert container.metadata["title"] == title
    assert packets(again) == packets(source)


@pytest.mark.parametrize("encoding", [1, 2, 3])
def test_a_label_in_any_encoding_of_id3_is_read(encoding: int, file: File, tmp_path: Path, label: Label) -> None:
    name = ("utf-16", "utf-16-be", "utf-8")[encoding - 1]
    body = bytes([encoding]) + "AIGC\0".encode(name) + label.to_json().encode(name)
    frame = b"TXXX" + struct.pack(">I", len(body)) + b"\0\0" + body
    path = tmp_path / "a.mp3"
    path.write_bytes(_tag(3, 0, frame) + file("mp3-bare").read_bytes())
    assert verify(path).label == label.to_fields()


# Pictures


def test_xmp_at_its_limit_gives_up_padding_and_then_refuses(file: File, tmp_path: Path, label: Label) -> None:
    start = (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description rdf:about="" xmlns:d="d:">'
    )
    end = "</rdf:Description></rdf:RDF></x:xmpmeta>{padding}<?xpacket end='w'?>"
    for text, padding, fits in ((60_000, 5_000, True), (65_000, 0, False)):
        source, out = tmp_path / "a.jpg", tmp_path / "b.jpg"
        packet = f"{start}<d:t>{'t' * text}</d:t>{end.format(padding=' ' * padding)}"
        with Image.open(file("jpeg")) as picture:
            picture.save(source, xmp=packet.encode())
        if fits:
            write_label(source, out, label)
            assert verify(out).verdict == "compliant"
            continue
        with pytest.raises(MediaError) as caught:
            write_label(source, out, label)
        assert caught.value.code == "label.no_room"


def test_a_label_in_extended_xmp_is_read_and_not_written_over(file: File, tmp_path: Path, label: Label) -> None:
    """Large packets go on in further segments, each a part of the whole (XMP part 3, §1.1.3.1)."""
    packet = with_label(None, label.to_json())
    guid, half = hashlib.md5(packet).hexdigest().upper().encode(), len(packet) // 2
    parts = b""
    for at, part in ((half, packet[half:]), (0, packet[:half])):  # in any order
        body = b"http://ns.adobe.com/xmp/extension/\0" + guid + struct.pack(">II", len(packet), at) + part
        parts += b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body
    data, source = file("jpeg").read_bytes(), tmp_path / "a.jpg"
    source.write_bytes(data[:2] + parts + data[2:])
    verdict = verify(source)
    assert (verdict.verdict, verdict.where, verdict.label) == ("compliant", ("APP1/XMP+",), label.to_fields())
    with pytest.raises(MediaError) as caught:
        write_label(source, tmp_path / "b.jpg", label)
    assert caught.value.code == "label.extended_xmp"


def test_pictures_in_boxes_are_no_carriers() -> None:
    assert box_carrier(b"\0\0\0\x18ftypheic" + bytes(16)) is None
    assert box_carrier(b"\0\0\0\x18ftypisom" + bytes(16)) == "mp4"


# Where the system cannot copy by itself


@pytest.mark.parametrize("name", ["mp4-front", "mkv", "png"])
def test_a_system_that_cannot_copy_ranges_is_no_hindrance(
    name: str, file: File, tmp_path: Path, label: Label, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(errno.EXDEV, "another disk")

    monkeypatch.setattr(os, "copy_file_range", refuse)
    out = tmp_path / file(name).name
    write_label(file(name), out, label)
    assert verify(out).verdict == "compliant"
