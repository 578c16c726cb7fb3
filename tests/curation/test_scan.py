"""The first scan as a whole: clips, findings, pictures and vectors of a file in one go; damage is told, not fatal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
from face_factory import draw_face, plain
from media_factory import draw_film

from malan.core.errors import MediaError
from malan.curation.fingerprint import ClipPrint
from malan.curation.operator import Batch
from malan.curation.operators import all_operators
from malan.curation.operators.colour import DominantColours
from malan.curation.operators.faces import FacesInView
from malan.curation.operators.hearing import Loudness
from malan.curation.scan import ScanResult, scan_file
from malan.media.index import build_index
from malan.media.probe import probe

ASSET_ID = "b" * 64


def scan(path: Path, **more: object) -> ScanResult:
    try:
        index = build_index(path)
    except MediaError:
        index = None
    return scan_file(path, ASSET_ID, probe(path), index, **more)  # type: ignore[arg-type]


def kinds(result: ScanResult) -> set[str]:
    return {finding.kind for finding in result.findings}


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> ScanResult:
    film = draw_film(tmp_path_factory.mktemp("scan") / "f.mp4", (40, 30, 50), audio=True)
    return scan(film.path)


def test_each_shot_is_a_clip_with_its_exact_span(result: ScanResult) -> None:
    assert [(c.span.start_s, c.span.end_s) for c in result.clips] == [(0, 1.6), (1.6, 2.8), (2.8, 4.8)]
    assert {c.asset_id for c in result.clips} == {ASSET_ID}
    assert result.shots is not None
    assert result.shots.frames == 120


def test_each_clip_has_its_findings_pictures_and_vectors(result: ScanResult) -> None:
    for clip in result.clips:
        about = {f.kind for f in result.findings if f.clip.id == clip.id}
        assert about >= {"shot.transition", "quality.technical", "motion.class", "colour.dominant", "audio.loudness"}
        assert result.thumbnails[clip.id][:2] == result.filmstrips[clip.id][:2] == b"\xff\xd8"
        assert np.linalg.norm(result.descriptors[clip.id]) == pytest.approx(1, abs=1e-5)
        assert len(ClipPrint.from_bytes(clip.id, ASSET_ID, result.fingerprints[clip.id]).times_s)


def test_the_transition_says_where_the_clip_begins(result: ScanResult) -> None:
    found = [f.value for f in result.findings if f.kind == "shot.transition"]
    assert [(v["type"], v["clip_first_frame"], v["clip_end_frame"]) for v in found] == [
        ("start", 0, 40),
        ("cut", 40, 70),
        ("cut", 70, 120),
    ]


def test_the_whole_sound_track_is_measured_too(result: ScanResult) -> None:
    (whole,) = [f for f in result.findings if f.kind == "audio.loudness" and "curve_lufs" in f.value]
    assert whole.clip.span.end_s == pytest.approx(4.8, abs=0.1)
    assert result.sound is not None


def test_accounts_name_every_part_and_producers_every_operator(result: ScanResult) -> None:
    names = {operator.name for operator in all_operators()}
    assert set(result.costs) >= {"shots", "decode", "sound", "pictures", *names}
    assert set(result.producers) == {"scan", *names}
    assert not result.problems


def test_a_scan_says_the_same_twice(tmp_path: Path) -> None:
    path = draw_film(tmp_path / "f.mp4", (30, 30), audio=True).path
    one, two = scan(path), scan(path)
    assert [f.id for f in one.findings] == [f.id for f in two.findings]
    assert one.thumbnails == two.thumbnails
    assert one.fingerprints == two.fingerprints


def test_what_nobody_reads_is_not_decoded(tmp_path: Path) -> None:
    path = draw_film(tmp_path / "f.mp4", (30, 30), audio=True).path
    deaf, blind = scan(path, operators=[DominantColours()]), scan(path, operators=[Loudness()])
    assert deaf.sound is None
    assert "audio.loudness" not in kinds(deaf)
    assert blind.costs.get("decode") is None
    assert kinds(blind) == {"shot.transition", "audio.loudness"}


def test_an_operator_that_fails_is_named_and_the_others_go_on(tmp_path: Path) -> None:
    class Broken:
        name, version, reads, emits = "guest.broken", "1", frozenset({"pictures"}), ("guest.broken",)

        def run(self, batch: Batch) -> Sequence[object]:
            raise ZeroDivisionError("by design")

    found = scan(draw_film(tmp_path / "f.mp4", (30,)).path, operators=[Broken(), DominantColours()])
    assert "colour.dominant" in kinds(found)
    assert [problem.code for problem in found.problems] == ["operator.failed"]
    assert "guest.broken" in str(found.problems[0])
    assert "guest.broken" not in found.producers


def test_captions_become_findings_about_their_own_stretch(tmp_path: Path) -> None:
    line = SimpleNamespace(
        text="你好", first_frame=5, end_frame=20, box=(10, 20, 100, 40), confidence=0.9, language="zh"
    )
    report = SimpleNamespace(captions=(line,), persistent=(), frames_decoded=3)
    found = scan(draw_film(tmp_path / "f.mp4", (30, 30)).path, captions=lambda _path, _index: report)
    (caption,) = [f for f in found.findings if f.kind == "text.caption"]
    assert caption.value["text"] == "你好"
    assert (caption.clip.span.start_s, caption.clip.span.end_s) == (0.2, 0.8)
    assert found.captions is report


def test_progress_names_the_parts_and_reaches_the_end(tmp_path: Path) -> None:
    told: list[tuple[str, float]] = []
    scan(draw_film(tmp_path / "f.mp4", (30,), audio=True).path, progress=lambda part, done: told.append((part, done)))
    assert {part for part, _ in told} >= {"shots", "sound", "clips"}
    assert ("clips", 1.0) in told


def test_sound_alone_makes_one_clip_of_the_whole_track(tmp_path: Path) -> None:
    path = tmp_path / "t.wav"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=16_000, layout="mono")
        samples = (np.sin(np.arange(48_000) / 9) * 9000).astype(np.int16)[None]
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        frame.sample_rate = 16_000
        container.mux([*stream.encode(frame), *stream.encode(None)])
    found = scan(path)
    assert [(c.span.start_s, c.span.end_s) for c in found.clips] == [(0, pytest.approx(3, abs=0.05))]
    assert found.shots is None
    assert "audio.loudness" in kinds(found)


def test_a_still_picture_is_one_clip_with_a_thumbnail(tmp_path: Path) -> None:
    path = draw_film(tmp_path / "p.png", (1,), codec="png", pixel_format="rgb24", options={}).path
    found = scan(path)
    assert len(found.clips) == len(found.thumbnails) == 1
    assert kinds(found) >= {"quality.technical", "colour.dominant"}


def test_damage_in_the_middle_is_told_with_its_place(tmp_path: Path) -> None:
    film = draw_film(
        tmp_path / "f.mp4", (50, 50), options={"preset": "ultrafast", "g": "25", "sc_threshold": "0", "bf": "0"}
    )
    index = build_index(film.path)
    data = bytearray(film.path.read_bytes())
    for packet in range(25, 34):
        at, size = int(index.position[packet]), int(index.size_bytes[packet])
        data[at + 8 : at + size] = np.random.default_rng(packet).bytes(size - 8)
    film.path.write_bytes(data)
    found = scan(film.path)
    damage = [part for f in found.findings if f.kind == "quality.damage" for part in f.value["ranges"]]
    assert damage
    assert all(0.9 <= part["start_s"] < part["end_s"] <= 2.1 for part in damage)
    assert found.clips[-1].span.end_s == 4.0


def without_pictures(path: Path, *, audio: bool) -> ScanResult:
    """Scan a film whose every picture was overwritten after it was registered."""
    film = draw_film(path, (20,), options={"preset": "ultrafast"}, audio=audio)
    index, known = build_index(film.path), probe(film.path)
    data = bytearray(film.path.read_bytes())
    for at, size in zip(index.position.tolist(), index.size_bytes.tolist(), strict=True):
        data[at : at + size] = bytes(size)
    film.path.write_bytes(data)
    return scan_file(film.path, ASSET_ID, known, index)


def test_where_no_picture_decodes_the_sound_is_still_heard(tmp_path: Path) -> None:
    found = without_pictures(tmp_path / "f.mp4", audio=True)
    assert "audio.loudness" in kinds(found)
    assert [problem.code.split(".")[0] for problem in found.problems] == ["shots"]


def test_where_nothing_decodes_the_reason_is_told(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="can be decoded"):
        without_pictures(tmp_path / "f.mp4", audio=False)


def test_neither_picture_nor_sound_is_refused(tmp_path: Path) -> None:
    path = draw_film(tmp_path / "f.mp4", (5,)).path
    known = probe(path)
    with pytest.raises(MediaError, match="neither a picture nor a sound"):
        scan_file(path, ASSET_ID, SimpleNamespace(tracks=known.tracks), None)  # type: ignore[arg-type]


AWKWARD = [
    "damaged/bitflips.ts",
    "damaged/bitflips_mdat.mp4",
    "damaged/truncated.mkv",
    "damaged/ts_starts_mid_gop.ts",
    "damaged/ts_pts_jump_back.ts",
    "damaged/single_frame.mp4",
    "damaged/tiny_odd_size_17x31.mp4",
    "damaged/black_and_silent.mp4",
    "damaged/audio_longer_than_video.mp4",
    "damaged/truncated.jpg",
    "derived/climbing_vfr_rotated.mov",
    "derived/juggle_prores_proxy.mov",
    "derived/dog_hevc10.mkv",
    "photos/portrait-orientation-6.jpg",
    "photos/denali.webp",
    "audio/music_vibe_ace.ogg",
]


@pytest.mark.parametrize("name", AWKWARD)
def test_awkward_files_are_scanned_to_their_end(footage: Path, name: str) -> None:
    found = scan(footage / name)
    assert found.clips
    assert not found.problems
    assert all(a.span.end_s <= b.span.start_s + 1e-9 for a, b in zip(found.clips, found.clips[1:], strict=False))


def test_thumbnails_of_turned_footage_stand_upright(footage: Path) -> None:
    found = scan(footage / "derived" / "climbing_vfr_rotated.mov", operators=[DominantColours()])
    (jpeg,) = found.thumbnails.values()
    (frame,) = av.CodecContext.create("mjpeg", "r").decode(av.Packet(jpeg))
    assert frame.height > frame.width


def test_bars_night_and_movement_of_known_footage(footage: Path) -> None:
    part = scan(footage / "video" / "sintel_trailer_part_854x480.mp4")
    bars = [f.value["letterbox_share"] for f in part.findings if f.kind == "quality.technical"]
    assert np.median(bars) == pytest.approx(0.24, abs=0.03)
    street = scan(footage / "video" / "intel_car_detection.mp4")
    assert [f.value["class"] for f in street.findings if f.kind == "motion.class"] == ["static"]
    hands = scan(footage / "video" / "sam2_bedroom.mp4")
    assert [f.value["class"] for f in hands.findings if f.kind == "motion.class"] == ["handheld"]


def test_speech_is_found_where_people_speak(footage: Path) -> None:
    spoken, music = (scan(footage / "audio" / name) for name in ("speech_zh_autumn.wav", "nature_humpback_whale.ogg"))
    seconds = sum(float(f.clip.span.duration) for f in spoken.findings if f.kind == "speech.segment")
    assert 40 < seconds < 53
    assert not [f for f in music.findings if f.kind == "speech.segment"]


needs_face_weights = pytest.mark.skipif(not FacesInView.is_ready(), reason="the weights of faces are not installed")


def film_of(picture: np.ndarray, path: Path, codec: str, pixel_format: str) -> Path:
    """A second of one picture."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width, stream.pix_fmt = *picture.shape[:2], pixel_format
        for _ in range(25):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


@needs_face_weights
@pytest.mark.parametrize(
    ("codec", "pixel_format"),
    [("libx264", "yuv420p"), ("libx264", "yuv420p10le"), ("ffv1", "yuv422p16le"), ("ffv1", "bgr0")],
)
def test_a_face_is_found_whatever_the_depth_of_the_film(tmp_path: Path, codec: str, pixel_format: str) -> None:
    film = film_of(draw_face(plain((640, 360)), 320, 180, 40), tmp_path / "face.mkv", codec, pixel_format)
    [found] = scan(film, operators=[FacesInView()]).findings[1:]
    assert (found.kind, found.value["class"], found.value["share"]) == ("privacy.face", "people", 1)
    x, y, width, height = found.value["faces"][0]["box"]
    assert x < 0.5 < x + width
    assert y < 0.5 < y + height


@needs_face_weights
def test_people_and_places_of_known_footage(footage: Path) -> None:
    def said(name: str) -> list[str]:
        found = scan(footage / name, operators=[FacesInView()])
        return [f.value["class"] for f in found.findings if f.kind == "privacy.face"]

    assert said("video/asl/book.mkv") == said("video/sam2_juggle.mp4") == ["people"]
    assert said("video/gopro_max_heromode.mp4") == said("video/intel_car_detection.mp4") == ["none"]
    assert said("photos/portrait.jpg") == ["people"]
    assert "closeup" in said("video/sintel_trailer_part_854x480.mp4")
