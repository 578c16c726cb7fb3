"""A film is exact, whole or not there at all, and leaves no process behind."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from malan.core.errors import StoreError
from malan.media.motion.film import write_film
from malan.media.motion.planes import Frame


def frames(count: int, size=(64, 48)):
    width, height = size
    for number in range(count):
        y = np.full((height, width), 16 + number * 3 % 200, np.uint8)
        yield Frame(y, *(np.full((height // 2, width // 2), 128, np.uint8) for _ in range(2)))


def ffmpegs() -> set[str]:
    """Processes of ffmpeg that are ours."""
    found = set()
    for place in Path("/proc").glob("[0-9]*"):
        try:
            if (
                b"ffmpeg" in (place / "cmdline").read_bytes().split(b"\0")[0]
                and f"\nPPid:\t{_own()}\n" in (place / "status").read_text()
            ):
                found.add(place.name)
        except OSError:
            continue
    return found


def _own() -> str:
    return Path("/proc/self").resolve().name


@pytest.mark.parametrize(("count", "rate"), [(1, 25), (2, 10), (75, 25), (61, 60), (40, Fraction(30000, 1001))])
def test_a_film_has_exactly_its_frames(tmp_path, count, rate):
    write_film(frames(count), tmp_path / "a.mp4", (64, 48), Fraction(rate))
    with av.open(str(tmp_path / "a.mp4")) as film:
        stream = film.streams.video[0]
        assert sum(1 for _ in film.decode(stream)) == count
        assert stream.average_rate == rate or count == 1
        assert (stream.codec_context.color_range, stream.codec_context.colorspace) == (1, 1)


def test_the_same_frames_are_the_same_bytes(tmp_path):
    for name in ("a.mp4", "b.mp4"):
        write_film(frames(30), tmp_path / name, (64, 48), Fraction(25))
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_what_stops_it_leaves_nothing(tmp_path):
    class Stopped(Exception):
        pass

    def stopped():
        yield from frames(20)
        raise Stopped

    before = ffmpegs()
    with pytest.raises(Stopped):
        write_film(stopped(), tmp_path / "a.mp4", (64, 48), Fraction(25))
    assert list(tmp_path.iterdir()) == []
    assert ffmpegs() == before


def test_a_place_that_cannot_be_written_is_a_typed_error(tmp_path):
    for place in (tmp_path / "none" / "a.mp4", Path("/proc/a.mp4")):
        with pytest.raises(StoreError) as refused:
            write_film(frames(400), place, (64, 48), Fraction(25))
        assert refused.value.code == "render.not_written"


def test_a_full_disk_is_a_typed_error_and_leaves_nothing(tmp_path, monkeypatch):
    """ffmpeg is told to write to a device that is always full."""
    import malan.media.motion.film as film

    monkeypatch.setattr(film, "encoder", lambda rate: ["-c:v", "rawvideo", "-f", "rawvideo"])
    monkeypatch.setattr(film, "_target", lambda work: "/dev/full")
    before = ffmpegs()
    with pytest.raises(StoreError) as refused:
        write_film(frames(300, (640, 360)), tmp_path / "a.mp4", (640, 360), Fraction(25))
    assert "space" in refused.value.message("en").lower()
    assert list(tmp_path.iterdir()) == []
    assert ffmpegs() == before
