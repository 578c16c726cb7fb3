"""Writing a label changes nothing else: media, other metadata, the source; and leaves nothing behind when it fails."""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import av
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from label_files import PRODUCER, RECIPES
from PIL import Image, PngImagePlugin

from malan.core.errors import MalanError, MediaError, StoreError, UsageError
from malan.media.labels import Label, label_in_place, plan_label, verify, write_label, write_text
from malan.media.labels import write as writing
from malan.media.labels.bmff_boxes import join, pack, split
from malan.media.labels.bmff_offsets import moved_moov
from malan.media.labels.ogg import page_sum
from malan.media.labels.pieces import Put, bytes_put, keeps_places

File = Callable[[str], Path]
PICTURES = ("png", "jpeg", "webp")
FILMS = [name for name in RECIPES if not name.startswith(PICTURES)]


def packets(path: Path) -> list[tuple[Any, ...]]:
    with av.open(str(path)) as container:
        return [
            (p.stream.index, p.pts, p.dts, p.is_keyframe, hashlib.sha256(bytes(p)).digest())
            for p in container.demux()
            if p.size
        ]


def tags(path: Path) -> list[Mapping[str, str]]:
    with av.open(str(path)) as container:
        said = [dict(container.metadata), *(dict(stream.metadata) for stream in container.streams)]
    return [{key: value for key, value in group.items() if key.upper() != "AIGC"} for group in said]


def decoded(path: Path) -> list[str]:
    with av.open(str(path)) as container:
        frames: Iterator[Any] = container.decode(*[s for s in container.streams if s.type in ("video", "audio")])
        return [hashlib.sha256(frame.to_ndarray().tobytes()).hexdigest() for frame in frames]


def head_of(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(16_384)


@pytest.mark.parametrize("name", FILMS)
def test_packets_times_and_other_metadata_stay_as_they_were(
    name: str, file: File, tmp_path: Path, label: Label
) -> None:
    out = tmp_path / file(name).name
    write_label(file(name), out, label)
    assert packets(out) == packets(file(name))
    assert tags(out) == tags(file(name))


@pytest.mark.parametrize("name", FILMS)
def test_it_still_plays(name: str, file: File, tmp_path: Path, label: Label) -> None:
    out = tmp_path / file(name).name
    write_label(file(name), out, label)
    assert decoded(out) == decoded(file(name))


@pytest.mark.parametrize("name", FILMS)
def test_one_can_seek_in_it_as_before(name: str, file: File, tmp_path: Path, label: Label) -> None:
    out = tmp_path / file(name).name
    write_label(file(name), out, label)
    found = []
    for path in (out, file(name)):
        with av.open(str(path)) as container:
            container.seek(1_100_000)
            packet = next(p for p in container.demux() if p.size)
            found.append((packet.stream.index, packet.pts, hashlib.sha256(bytes(packet)).digest()))
    assert found[0] == found[1]


@pytest.mark.parametrize("name", RECIPES)
def test_a_second_label_takes_the_place_of_the_first(name: str, file: File, tmp_path: Path, label: Label) -> None:
    first, second = tmp_path / f"1-{file(name).name}", tmp_path / f"2-{file(name).name}"
    write_label(file(name), first, label)
    done = write_label(first, second, Label.first(PRODUCER, "019b-7c1e-44", label="2"))
    assert done.is_in_place
    assert second.stat().st_size == first.stat().st_size


@pytest.mark.parametrize("name", RECIPES)
def test_the_source_is_not_touched(name: str, file: File, tmp_path: Path, label: Label) -> None:
    before = (file(name).read_bytes(), file(name).stat().st_mtime_ns)
    write_label(file(name), tmp_path / "out", label)
    assert (file(name).read_bytes(), file(name).stat().st_mtime_ns) == before


@pytest.mark.parametrize("name", ["mp4", "mov", "m4a", "mkv", "webm", "avi", "wav"])
def test_no_media_moves_where_there_is_room(name: str, file: File, label: Label) -> None:
    _, pieces = plan_label(file(name), label)
    assert keeps_places(pieces)
    assert bytes_put(pieces) < 8192


def test_chunk_offsets_follow_when_the_media_move(file: File, tmp_path: Path, label: Label) -> None:
    _, pieces = plan_label(file("mp4-front"), label)
    assert not keeps_places(pieces)
    done = write_label(file("mp4-front"), tmp_path / "out.mp4", label)
    assert (done.is_in_place, packets(tmp_path / "out.mp4")) == (False, packets(file("mp4-front")))


def test_offsets_grow_to_64_bits_where_32_no_longer_suffice() -> None:
    stco = bytes(4) + struct.pack(">I2I", 2, 100, 0xFFFFFF00)
    box = b"stbl", struct.pack(">I4s", len(stco) + 8, b"stco") + stco
    ((_, moved),) = moved_moov([box], 1000, 0x1000)
    assert moved[4:8] == b"co64"
    assert struct.unpack(">I2Q", moved[12:]) == (2, 100, 0xFFFFFF00 + 0x1000)


def test_a_film_of_five_gigabytes_keeps_its_offsets(file: File, tmp_path: Path, label: Label) -> None:
    """A hole between header and sound: chunks that lay just below 4 GB are behind it when they move."""
    data = file("mp4-front").read_bytes()
    start = data.index(b"moov") - 4
    end = start + int.from_bytes(data[start : start + 4], "big")
    hole = (1 << 32) - (len(data) - end) - 1  # the last byte of the file is just below
    moov = join(moved_moov(split(data[start + 8 : end], "moov"), end, hole - end))
    path = tmp_path / "large.mp4"
    with path.open("wb") as out:
        out.write(data[:start] + struct.pack(">I4s", len(moov) + 8, b"moov") + moov)
        out.write(struct.pack(">I4sQ", 1, b"hole", hole - out.tell()))
        out.seek(hole)
        out.write(data[end:])
    assert packets(path) == packets(file("mp4-front"))
    (carrier, pieces), out = plan_label(path, label), tmp_path / "labelled.mp4"
    assert (carrier, keeps_places(pieces), b"co64" in head_of(path)) == ("mp4", False, False)
    with path.open("rb") as source, out.open("wb") as target:
        for piece in pieces:  # as `assemble` does, but over the hole
            if isinstance(piece, Put):
                target.write(piece.data)
                continue
            source.seek(piece.end - min(piece.size, 1 << 20))
            target.seek(piece.size - min(piece.size, 1 << 20), os.SEEK_CUR)
            target.write(source.read(min(piece.size, 1 << 20)))
    assert b"co64" in head_of(out)
    assert packets(out) == packets(file("mp4-front"))
    assert verify(out).verdict == "compliant"


def test_itunes_tags_stay_in_the_box_where_players_look(file: File, tmp_path: Path, label: Label) -> None:
    out = tmp_path / "out.m4a"
    write_label(file("m4a"), out, label)
    data = out.read_bytes()
    assert data.count(b"mdir") == 1
    assert data.index(b"mdir") < data.index(b"mdta")
    assert "马栏".encode() in data


def test_a_cover_picture_and_chapters_stay(file: File, tmp_path: Path, label: Label) -> None:
    import subprocess

    from imageio_ffmpeg import get_ffmpeg_exe

    chapters = tmp_path / "chapters.txt"
    chapters.write_text(";FFMETADATA1\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=900\ntitle=one\n", "utf-8")
    for suffix in ("mp4", "mp3", "flac", "mkv"):
        source = tmp_path / f"covered.{suffix}"
        command = [get_ffmpeg_exe(), "-v", "error", "-i", file("flac"), "-i", file("jpeg"), "-i", chapters]
        command += ["-map", "0:a", "-map", "1", "-map_metadata", "2", "-c:v", "copy"]
        subprocess.run([*map(str, command), "-disposition:v", "attached_pic", str(source)], check=True)
        write_label(source, tmp_path / f"out.{suffix}", label)
        assert packets(tmp_path / f"out.{suffix}") == packets(source)
        with av.open(str(source)) as a, av.open(str(tmp_path / f"out.{suffix}")) as b:
            assert b.chapters() == a.chapters()


# Pictures


@pytest.mark.parametrize("name", [name for name in RECIPES if name.startswith(PICTURES)])
def test_pixels_stay_as_they_were(name: str, file: File, tmp_path: Path, label: Label) -> None:
    out = tmp_path / file(name).name
    write_label(file(name), out, label)
    with Image.open(file(name)) as a, Image.open(out) as b:
        assert (a.size, a.mode, getattr(a, "n_frames", 1)) == (b.size, b.mode, getattr(b, "n_frames", 1))
        for number in range(getattr(a, "n_frames", 1)):
            a.seek(number)
            b.seek(number)
            assert a.tobytes() == b.tobytes()


PACKET = (
    '<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
    '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/"'
    "{attribute}><dc:title>马栏 &amp; <!-- a > b --></dc:title></rdf:Description>"
    "</rdf:RDF></x:xmpmeta><?xpacket end='w'?>"
)
AS_ATTRIBUTE = """ xmlns:T='http://www.tc260.org.cn/ns/AIGC/1.0/' T:AIGC='{"Label":"1"}'"""


@pytest.mark.parametrize("attribute", ["", AS_ATTRIBUTE], ids=["none", "as an attribute"])
@pytest.mark.parametrize("name", PICTURES)
def test_xmp_that_is_there_is_kept_around_the_label(
    name: str, attribute: str, file: File, tmp_path: Path, label: Label
) -> None:
    source, out = tmp_path / f"source-{file(name).name}", tmp_path / file(name).name
    packet = PACKET.format(attribute=attribute).encode()
    with Image.open(file(name)) as picture:
        info = PngImagePlugin.PngInfo()
        info.add_itxt("XML:com.adobe.xmp", packet.decode())
        picture.save(source, **({"pnginfo": info} if name == "png" else {"xmp": packet}))
    assert verify(source).verdict == ("noncompliant" if attribute else "not_found")
    write_label(source, out, label)
    assert verify(out).label == label.to_fields()
    assert "<dc:title>马栏 &amp; <!-- a > b --></dc:title>".encode() in out.read_bytes()


def test_a_label_in_the_exif_comment_is_read_and_replaced(file: File, tmp_path: Path, label: Label) -> None:
    source, out = tmp_path / "source.jpg", tmp_path / "out.jpg"
    exif = Image.Exif()
    exif[0x010F] = "a camera"
    exif.get_ifd(0x8769)[0x9286] = b"ASCII\0\0\0" + b'{"AIGC":' + label.to_json().encode() + b"}"
    with Image.open(file("jpeg")) as picture:
        picture.save(source, exif=exif)
    assert (verify(source).verdict, verify(source).where) == ("compliant", ("APP1/EXIF/UserComment",))
    write_label(source, out, label)
    assert (verify(out).verdict, verify(out).where) == ("compliant", ("APP1/XMP",))
    with Image.open(out) as picture:
        assert picture.getexif()[0x010F] == "a camera"


def test_a_label_hung_behind_a_picture_is_found_and_is_not_compliant(file: File, tmp_path: Path, label: Label) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(file("png").read_bytes() + b'{"AIGC":' + label.to_json().encode() + b"}")
    verdict = verify(path)
    assert (verdict.verdict, [r.code for r in verdict.reasons]) == ("noncompliant", ["label.outside"])
    write_label(path, tmp_path / "b.png", label)
    assert verify(tmp_path / "b.png").verdict == "compliant"


@pytest.mark.parametrize("kind", ["tEXt", "zTXt"])
def test_a_text_chunk_of_a_png_is_a_label_too(kind: str, file: File, tmp_path: Path, label: Label) -> None:
    path, info = tmp_path / "a.png", PngImagePlugin.PngInfo()
    info.add_text("AIGC", label.to_json(), zip=kind == "zTXt")
    with Image.open(file("png")) as picture:
        picture.save(path, pnginfo=info)
    assert verify(path).verdict == "compliant"
    write_label(path, tmp_path / "b.png", label)
    assert verify(tmp_path / "b.png").where == ("PNG/iTXt/XMP",)


# Places others use


def test_labels_where_other_tools_put_them_are_read_and_replaced(file: File, tmp_path: Path, label: Label) -> None:
    def meta(handler: bytes, kind: bytes, inner: bytes) -> bytes:
        hdlr = pack(b"hdlr", bytes(8) + handler + bytes(13))
        keys = pack(b"keys", bytes(4) + b"\0\0\0\1" + pack(b"mdta", b"AIGC")) if handler == b"mdta" else b""
        return pack(b"meta", bytes(4) + hdlr + keys + pack(b"ilst", pack(kind, inner)))

    text = label.to_json().encode()
    item = pack(b"data", b"\0\0\0\1\0\0\0\0" + text)
    mean = pack(b"mean", bytes(4) + b"com.apple.iTunes") + pack(b"name", bytes(4) + b"AIGC")
    places = {
        "moov/meta": meta(b"mdta", b"\0\0\0\1", item),
        "free form": pack(b"udta", meta(b"mdir", b"----", mean + item)),
        "keyless": pack(b"udta", meta(b"mdir", b"\xa9cmt", item)),
        "plain box": pack(b"udta", pack(b"AIGC", text)),
    }
    data = file("mp4-fragments").read_bytes()
    at = data.index(b"moov") - 4
    size = int.from_bytes(data[at : at + 4], "big")
    for name, box in places.items():
        path, out = tmp_path / "a.mp4", tmp_path / "b.mp4"
        path.write_bytes(
            data[:at] + (size + len(box)).to_bytes(4, "big") + data[at + 4 : at + size] + box + data[at + size :]
        )
        verdict = verify(path)
        assert (verdict.verdict, [r.code for r in verdict.reasons]) == ("compliant", ["label.odd_place"]), name
        write_label(path, out, label)
        assert verify(out).where == ("moov/udta/meta/keys",), name


# Trouble


def test_a_label_against_the_standard_is_not_written(file: File, tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        write_label(file("wav"), tmp_path / "out.wav", Label.first("某公司", "1"))
    assert not list(tmp_path.iterdir())


def test_the_source_cannot_be_the_target(file: File, label: Label) -> None:
    with pytest.raises(UsageError) as caught:
        write_label(file("wav"), file("wav"), label)
    assert caught.value.code == "label.same_file"


def test_a_full_disk_leaves_nothing(file: File, tmp_path: Path, label: Label, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(StoreError) as caught:
        write_label(file("mp4"), tmp_path / "out.mp4", label)
    assert caught.value.code == "label.not_written"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["mp4", "wav", "png"])
def test_a_copy_that_does_not_read_back_is_thrown_away(
    name: str, file: File, tmp_path: Path, label: Label, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / file(name).name
    kept.write_bytes(b"what was there before")
    monkeypatch.setattr(writing, "foreign_texts", lambda *_: writing_foreign([]))
    with pytest.raises(MediaError) as caught:
        write_label(file(name), kept, label)
    assert caught.value.code == "label.not_read_back"
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"what was there before"]


def writing_foreign(found: list[str]) -> Any:
    from malan.media.labels.readback import Foreign

    return Foreign(found, "nobody")


def test_media_that_changed_are_noticed(
    file: File, tmp_path: Path, label: Label, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An offset that was not corrected shows as other packets."""
    from malan.media.labels import bmff

    monkeypatch.setattr(bmff, "moved_moov", lambda children, *_: children)
    with pytest.raises(MediaError) as caught:
        write_label(file("mp4-front"), tmp_path / "out.mp4", label)
    assert caught.value.code == "label.media_changed"
    assert not list(tmp_path.iterdir())


def test_a_recording_that_was_never_closed_is_refused(file: File, tmp_path: Path, label: Label) -> None:
    data = bytearray(file("wav").read_bytes())
    at = data.index(b"data")
    data[at + 4 : at + 8] = b"\xff\xff\xff\xff"
    (tmp_path / "a.wav").write_bytes(data)
    with pytest.raises(MediaError) as caught:
        write_label(tmp_path / "a.wav", tmp_path / "b.wav", label)
    assert caught.value.code == "label.unfinished"


def test_a_picture_that_was_cut_off_is_named_as_damaged(file: File, tmp_path: Path, label: Label) -> None:
    (tmp_path / "a.jpg").write_bytes(file("jpeg").read_bytes()[:-200])
    with pytest.raises(MediaError) as caught:
        write_label(tmp_path / "a.jpg", tmp_path / "b.jpg", label)
    assert caught.value.code == "media.damaged"
    assert not (tmp_path / "b.jpg").exists()


@pytest.mark.parametrize("name", ["avi", "wav", "webp", "mp4", "mkv"])
def test_bytes_behind_the_end_of_a_file_do_no_harm(name: str, file: File, tmp_path: Path, label: Label) -> None:
    source, out = tmp_path / f"a-{file(name).name}", tmp_path / file(name).name
    source.write_bytes(file(name).read_bytes() + b"\1\2\3")
    write_label(source, out, label)
    assert verify(out).label == label.to_fields()


def test_the_sum_of_an_ogg_page_is_that_of_the_format(file: File) -> None:
    data = file("ogg").read_bytes()
    size = 27 + data[26] + sum(data[27 : 27 + data[26]])
    assert page_sum(data[:22] + bytes(4) + data[26:size]) == data[22:26]


def test_a_long_label_gives_an_ogg_stream_more_pages(file: File, tmp_path: Path) -> None:
    """The second page is full: later ones are numbered anew, and every check sum is right (libav would complain)."""
    long = Label.first(PRODUCER, "x", reserved_code1="r" * 15_000)
    path, out = file("ogg"), tmp_path / "out.ogg"
    for number in range(5):  # 75 kB of comments do not fit on a page of 65 kB; each is a label as far as ogg knows
        out = tmp_path / f"{number}.ogg"
        write_text(path, out, long.to_json())
        data = out.read_bytes()
        path = tmp_path / f"{number}-renamed.ogg"
        path.write_bytes(_renamed(data, number))
    assert packets(out) == packets(file("ogg"))


def _renamed(data: bytes, number: int) -> bytes:
    """The label made an ordinary comment, so that the next one comes beside it; page sums corrected."""
    data = data.replace(b"AIGC=", b"KEE%d=" % number)
    found, at = b"", 0
    while at < len(data):
        size = 27 + data[at + 26] + sum(data[at + 27 : at + 27 + data[at + 26]])
        page = data[at : at + 22] + bytes(4) + data[at + 26 : at + size]
        found += page[:22] + page_sum(page) + page[26:]
        at += size
    return found


# Hostile files


@pytest.mark.parametrize("name", RECIPES)
@given(data=st.data())
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_damage_brings_the_reader_or_the_planner_down(name: str, file: File, tmp_path: Path, data: Any) -> None:
    content = bytearray(file(name).read_bytes())
    near = st.integers(0, min(len(content), 4000) - 1) | st.integers(max(0, len(content) - 4000), len(content) - 1)
    for at, byte in data.draw(st.lists(st.tuples(near, st.sampled_from([0, 1, 127, 128, 255])), max_size=8)):
        content[at] = byte
    path = tmp_path / file(name).name
    path.write_bytes(bytes(content[: data.draw(st.just(len(content)) | st.integers(1, len(content)))]))
    for work in (verify, lambda p: plan_label(p, Label.first(PRODUCER, "1"))):
        with suppress(MalanError):
            work(path)


def _nested(levels: int) -> bytes:
    box = b""
    for _ in range(levels):
        box = struct.pack(">I4s", len(box) + 8, b"udta") + box
    return struct.pack(">I4s", len(box) + 8, b"moov") + box


@pytest.mark.parametrize(
    "content",
    [
        b"\0\0\0\x08ftyp" + b"\0\0\0\x01moov" + b"\xff" * 8,
        b"\0\0\0\x10ftypisom\0\0\0\0" + b"\0\0\0\x08free" * 200_000,
        b"\0\0\0\x10ftypisom\0\0\0\0" + _nested(3000),
        b"\x1a\x45\xdf\xa3\x8b\x42\x82\x88matroska" + b"\x18\x53\x80\x67\x01" + b"\xff" * 7 + b"\xec\x80" * 100_000,
        b"\x1a\x45\xdf\xa3\x8b\x42\x82\x88matroska\x18\x53\x80\x67\x01" + b"\xff" * 7 + b"\x11\x4d\x9b\x74\xff" * 9,
        b"RIFF\xff\xff\xff\xffWAVE" + b"LIST\xff\xff\xff\xff" * 1000,
        b"RF64\xff\xff\xff\xffWAVEds64\x1c\0\0\0" + b"\xff" * 28 + b"data\xff\xff\xff\xff" + bytes(100),
        b"FLV\1\5\0\0\0\x09\0\0\0\0\x12\0\x01\0\0\0\0\0\0\0\0\2\0\x0aonMetaData" + b"\x0a\xff\xff\xff\xff" * 60,
        b"ID3\4\0\x40\x7f\x7f\x7f\x7f" + bytes(5000),
        b"fLaC\x84\xff\xff\xff" + bytes(100),
        b"OggS\0\2" + bytes(20) + b"\xff" + b"\xff" * 255 + bytes(400),
        b"\x89PNG\r\n\x1a\n" + b"\xff\xff\xff\xffiTXt" + bytes(100),
        b"\xff\xd8" + b"\xff\xe1\0\x02" * 50_000,
        b"\xff\xd8" + b"\xff" * 300_000,
        b"RIFF\x10\0\0\0WEBPVP8X\xff\xff\xff\xff",
    ],
)
def test_a_bomb_ends_in_a_verdict_or_an_error_of_ours(content: bytes, tmp_path: Path, label: Label) -> None:
    path = tmp_path / "bomb"
    path.write_bytes(content)
    for work in (verify, lambda p: write_label(p, tmp_path / "out", label)):
        try:
            found = work(path)
            assert found.verdict in ("not_found", "inconclusive", "noncompliant")
        except MalanError:
            pass
    assert not (tmp_path / "out").exists()


def test_xmp_with_entities_is_refused(file: File, tmp_path: Path, label: Label) -> None:
    """Entities could make a small packet as large as they like."""
    data, bomb = file("webp").read_bytes(), b'<!DOCTYPE x [<!ENTITY a "aaaa">]><x>&a;</x>'
    chunk = b"XMP " + len(bomb).to_bytes(4, "little") + bomb + bytes(len(bomb) % 2)
    path = tmp_path / "a.webp"
    path.write_bytes(data[:4] + (len(data) + len(chunk) - 8).to_bytes(4, "little") + data[8:] + chunk)
    assert verify(path).verdict == "inconclusive"
    with pytest.raises(MediaError) as caught:
        write_label(path, tmp_path / "b.webp", label)
    assert caught.value.code == "label.cannot_write"


# In place


@pytest.mark.parametrize("name", RECIPES)
def test_a_file_of_ours_is_labelled_where_it_lies(name: str, file: File, tmp_path: Path, label: Label) -> None:
    copy, mine = tmp_path / f"copy-{file(name).name}", tmp_path / file(name).name
    mine.write_bytes(file(name).read_bytes())
    write_label(file(name), copy, label)
    label_in_place(mine, label)
    assert mine.read_bytes() == copy.read_bytes()
    assert sorted(tmp_path.iterdir()) == sorted([copy, mine])


@pytest.mark.parametrize("name", ["mp4", "mkv", "avi", "wav", "mp4-front", "png"])
def test_a_file_of_ours_stays_as_it_was_when_labelling_fails(
    name: str, file: File, tmp_path: Path, label: Label, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = tmp_path / file(name).name
    mine.write_bytes(file(name).read_bytes())
    monkeypatch.setattr(writing, "foreign_texts", lambda *_: writing_foreign(["something else"]))
    with pytest.raises(MediaError):
        label_in_place(mine, label)
    assert mine.read_bytes() == file(name).read_bytes()
    assert list(tmp_path.iterdir()) == [mine]
