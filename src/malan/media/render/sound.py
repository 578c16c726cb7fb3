"""The sound of a film: what is heard in its pieces, a voice, and music that gives way to both, at a set loudness.

    pieces ─ fades, gain ─▶ concat ─┬────────────────────────┐
    voice ──────────────────────────┤                        ├─▶ mix, measured ─▶ gain, limiter ─▶ AAC in m4a ─ measured
    music ─ trim, fade ─ ducked by ─┘── sidechain compressor ┘

Two passes: the mix is measured while it is made (ITU-R BS.1770-5, EBU R 128), then brought to its loudness by one gain
and kept below its true peak by a limiter. What the limiter will take away is known before (`limiting.py`), so that one
pass does; the finished sound is measured, and mastered once more where it is not what it should be. Start reading at
`mix_sound`.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from malan.core.errors import MediaError
from malan.media.render.graph import input_options, seconds
from malan.media.render.limiting import ATTACK_S, RELEASE_S, gain_for
from malan.media.render.process import Tell, from_fd, readable, run_ffmpeg
from malan.media.render.timeline import Timeline

RATE_HZ = 48_000
TARGET_LUFS, TRUE_PEAK_DBTP = -16.0, -1.5
_FADE_S = 0.03  # where pieces meet, so that nothing clicks
# A voice is understood over music 12 dB and more below it; what is heard in the footage only leads.
_UNDER_VOICE = "sidechaincompress=threshold=0.012:ratio=8:attack=15:release=600:knee=4:level_sc=1"
_UNDER_FOOTAGE = "sidechaincompress=threshold=0.03:ratio=6:attack=15:release=350:level_sc=1"
_TAIL_S = 1.5  # music fades out over the end
_SPARE_S = 1  # mixed beyond the end: where one of two inputs ends first, what is left of the other is left to chance
_QUIETEST = -70.0
_CLOSE_LU, _OVER_DB, _TRIES, _MOST_GAIN_DB = 0.3, 0.05, 4, 40.0
_RAW = ("-f", "f32le", "-ar", str(RATE_HZ), "-ac", "2")


@dataclass(frozen=True, slots=True)
class Music:
    """A track under the film: from `start` on, at `gain_db` before it is ducked."""

    path: str
    start: Fraction = Fraction(0)
    gain_db: float = -6.0


@dataclass(frozen=True, slots=True)
class Mixed:
    """The sound of a film, and what was measured of it."""

    path: Path
    loudness_lufs: float
    true_peak_dbtp: float


def mix_sound(
    timeline: Timeline,
    out: Path,
    *,
    music: Music | None = None,
    voice: str | None = None,
    target_lufs: float = TARGET_LUFS,
    true_peak_dbtp: float = TRUE_PEAK_DBTP,
    tell: Tell | None = None,
) -> Mixed:
    """Mix and master the sound of a timeline; exactly as long as its picture.

    Args:
        voice: A file that is spoken over the film from its first frame; everything else gives way to it.
        target_lufs: Integrated loudness to reach; a mix that is silent stays so.

    Raises:
        MediaError: A file has no sound or cannot be read.
    """
    work = out.with_name(f".malan-{os.getpid()}-{out.stem}.f32")
    try:
        loud = _loudness(_mix(timeline, work, music, voice, tell))
        return _brought_to(target_lufs, true_peak_dbtp, loud, work, out, timeline.duration)
    finally:
        work.unlink(missing_ok=True)


def _brought_to(
    target_lufs: float, true_peak_dbtp: float, loud: float, work: Path, out: Path, duration: Fraction
) -> Mixed:
    """Master a mix; again where it did not come out as loud as it should, or an encoder let it ring too high."""
    limit = 10 ** ((true_peak_dbtp - 0.3) / 20)  # the encoder adds a little
    is_silent = loud <= _QUIETEST
    gain = 0.0 if is_silent else min(gain_for(work, RATE_HZ, loud, target_lufs, limit), _MOST_GAIN_DB)
    for _ in range(_TRIES):
        _master(work, out, gain, limit, duration)
        heard, top = _measured(_ebur128(out))
        over, away = top - true_peak_dbtp, 0.0 if is_silent else target_lufs - heard
        if over <= _OVER_DB and abs(away) <= _CLOSE_LU:
            break
        gain = min(gain + away, _MOST_GAIN_DB)
        limit *= 10 ** (-(over + _OVER_DB) / 20) if over > _OVER_DB else 1.0
    return Mixed(out, heard, top)


def _mix(timeline: Timeline, work: Path, music: Music | None, voice: str | None, tell: Tell | None) -> str:
    pieces = [piece for piece in timeline.pieces if piece.path and piece.sound_track is not None and _is_heard(piece)]
    paths = [piece.path for piece in pieces] + [one for one in (voice, music.path if music else None) if one]
    with readable(paths) as fds:
        arguments: list[str] = []
        for piece, fd in zip(pieces, fds, strict=False):
            arguments += ["-vn", *input_options(piece, timeline.rate), *from_fd(fd)]
        for fd, options in zip(fds[len(pieces) :], _read_from(music, voice), strict=True):
            arguments += ["-vn", *options, *from_fd(fd)]
        whole = f"atrim=0:{seconds(timeline.duration)}"
        graph = f"{_graph(timeline, music, voice)};[mix]{whole},ebur128=framelog=quiet,aformat=sample_fmts=flt[out]"
        arguments += ["-filter_complex", graph, "-map", "[out]", *_RAW, f"file:{work.name}"]
        return run_ffmpeg(["-v", "info", *arguments], fds, work.parent, duration_s=float(timeline.duration), tell=tell)


def _read_from(music: Music | None, voice: str | None) -> Sequence[Sequence[str]]:
    """How voice and music are read; a whole track that is shorter than the film begins again."""
    heard = [["-ss", seconds(Fraction(0))]] if voice else []
    if music:
        heard.append(["-ss", seconds(music.start)] if music.start else ["-stream_loop", "-1"])
    return heard


def _is_heard(piece: object) -> bool:
    return getattr(piece, "gain_db", None) is not None


def _graph(timeline: Timeline, music: Music | None, voice: str | None) -> str:
    parts, joined, number = [], "", 0
    for place, piece in enumerate(timeline.pieces):
        length = piece.frames / timeline.rate
        if piece.path and piece.sound_track is not None and piece.gain_db is not None:
            parts.append(
                f"[{number}:{piece.sound_track}]{_even()},apad,atrim=0:{seconds(length)},asetpts=PTS-STARTPTS,"
                f"afade=t=in:d={_FADE_S},afade=t=out:st={max(0.0, float(length) - _FADE_S):.6f}:d={_FADE_S},"
                f"volume={piece.gain_db}dB[a{place}]"
            )
            number += 1
        else:
            parts.append(f"anullsrc=r={RATE_HZ}:cl=stereo,atrim=0:{seconds(length)}[a{place}]")
        joined += f"[a{place}]"
    whole = seconds(timeline.duration + _SPARE_S)
    parts.append(f"{joined}concat=n={len(timeline.pieces)}:v=0:a=1,apad,atrim=0:{whole}[own]")
    heard = "[own]"
    if voice:
        keys = "[key0][key2]" if music else "[key0]"
        parts.append(f"[{number}:a:0]{_even()},apad,atrim=0:{whole},asplit={3 if music else 2}[voice]{keys}")
        parts.append(f"[own][key0]{_UNDER_VOICE}[under]")
        heard, number = "[under]", number + 1
    if music:
        fade = max(0.0, float(timeline.duration) - _TAIL_S)
        parts.append(
            f"[{number}:a:0]{_even()},apad,atrim=0:{whole},volume={music.gain_db}dB,"
            f"afade=t=in:d=0.2,afade=t=out:st={fade:.6f}:d={_TAIL_S}[bed]"
        )
        parts.append(f"{heard}asplit[front][key1]")
        parts.append(f"[bed][key1]{_UNDER_FOOTAGE}[low]")
        parts += [f"[low][key2]{_UNDER_VOICE}[lower]"] if voice else []
        parts.append(f"[front][{'lower' if voice else 'low'}]amix=inputs=2:duration=first:normalize=0[both]")
        heard = "[both]"
    parts.append(f"{heard}[voice]amix=inputs=2:duration=first:normalize=0[mix]" if voice else f"{heard}anull[mix]")
    return ";".join(parts)


def _even() -> str:
    """Two channels at one rate, whatever comes; times without gaps."""
    return f"aresample={RATE_HZ}:async=1:first_pts=0,aformat=sample_fmts=fltp:channel_layouts=stereo"


def _master(work: Path, out: Path, gain_db: float, limit: float, duration: Fraction) -> None:
    """One gain, a limiter at four times the rate so that it sees true peaks, AAC."""
    chain = (
        f"volume={gain_db:.3f}dB,aresample={4 * RATE_HZ},"
        f"alimiter=limit={limit:.5f}:attack={1000 * ATTACK_S:g}:release={1000 * RELEASE_S:g}:level=0,"
        f"aresample={RATE_HZ},atrim=0:{seconds(duration)}"
    )
    made = out.with_name(f".malan-{os.getpid()}-{out.stem}.m4a")
    with ExitStack() as stack:
        stack.callback(made.unlink, missing_ok=True)
        with readable([str(work)]) as fds:
            arguments = [
                *_RAW,
                *from_fd(fds[0]),
                "-af",
                chain,
                "-c:a",
                "aac",
                "-b:a",
                "192k",
                "-ar",
                str(RATE_HZ),
                "-ac",
                "2",
            ]
            bare = ["-map_metadata", "-1", "-fflags", "+bitexact", "-flags:a", "+bitexact", "-f", "mp4"]
            run_ffmpeg([*arguments, *bare, f"file:{made.name}"], fds, out.parent)
        made.replace(out)


def _ebur128(path: Path) -> str:
    with readable([str(path)]) as fds:
        chain = ["-af", "ebur128=peak=true:framelog=quiet", "-f", "null", "-"]
        return run_ffmpeg(["-v", "info", *from_fd(fds[0]), *chain], fds, path.parent)


_LOUD = re.compile(r"\bI:\s+(-?[\d.]+|-inf|nan) LUFS")
_PEAK = re.compile(r"\bPeak:\s+(-?[\d.]+|-inf|nan) dBFS")


def _measured(said: str) -> tuple[float, float]:
    """Integrated loudness and true peak from the summary."""
    loud, peak = _LOUD.findall(said), _PEAK.findall(said)
    if not loud or not peak:
        raise MediaError("render.failed", detail=json.dumps(said[-200:]))
    return _number(loud[-1]), _number(peak[-1])


def _loudness(said: str) -> float:
    """Integrated loudness from the summary, LUFS."""
    found = _LOUD.findall(said)
    if not found:
        raise MediaError("render.failed", detail=json.dumps(said[-200:]))
    return _number(found[-1])


def _number(text: str) -> float:
    found = float(text)
    return found if found > -200 else -200.0  # also what is no number
