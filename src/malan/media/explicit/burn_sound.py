"""Put the audible label in front of a recording: the rhythm, or a spoken sentence (GB 45438-2025, 5.3).

As loud as the programme, at its rate, with its channels, in its codec; one ffmpeg process joins both. WAV and FLAC stay
what they are to the last bit; a lossy codec is encoded anew. Start at `burn_sound`.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from malan.core import Track
from malan.core.errors import MediaError, MissingExtra, StoreError
from malan.media.audio import audio_blocks, audio_stream
from malan.media.explicit.rhythm import LISTEN_HZ, PAUSE_UNITS, UNIT_S, find_rhythm, rhythm
from malan.media.open import open_media, open_plain
from malan.media.probe import probe
from malan.media.sniff import shown

Notice = Literal["rhythm", "voice"]

FORMATS = {".wav": "wav", ".flac": "flac", ".mp3": "mp3", ".m4a": "ipod", ".ogg": "ogg", ".opus": "opus"}
SENTENCE = "本音频由人工智能生成"
_CODECS = {
    "mp3": ("libmp3lame", "-q:a", "2"), "aac": ("aac",), "vorbis": ("libvorbis", "-q:a", "6"), "alac": ("alac",),
    "opus": ("libopus", "-b:a", "128k"),
}  # fmt: skip
_LOSSLESS = re.compile(r"pcm_\w+|flac")
_QUIETEST, _LOUDEST, _UNKNOWN = -36.0, -12.0, -23.0  # LUFS; EBU R 128 where the programme is silent
_MOST_PEAK = 0.89  # -1 dB
_WORDS_A_MINUTE = 165  # of espeak-ng; comes out as 140 characters a minute, and 5.3 wants 120 to 160
_MEASURE_S = 600


@dataclass(frozen=True)
class BurnedSound:
    """What stands in front of the programme: how long, how loud, and whether the programme was encoded anew."""

    notice: Notice
    seconds: float
    loudness_lufs: float
    is_lossless: bool


def burn_sound(source: Path, part: Path, suffix: str, notice: Notice = "rhythm") -> BurnedSound:
    """Write a labelled copy of a recording to `part`, and hear the label in it.

    Raises:
        MediaError: It has no sound, or the label cannot be heard in the copy.
        MissingExtra: A voice is wanted and espeak-ng is not installed.
        StoreError: It could not be written.
    """
    track = probe(source).first("audio")
    if track is None:
        raise MediaError("media.no_audio", path=shown(source))
    rate, channels = track.sample_rate_hz or 48_000, track.channels or 2
    loudness = min(max(_loudness(source), _QUIETEST), _LOUDEST)
    label = _spoken(part, rate) if notice == "voice" else rhythm(rate, 1.0)
    label = _as_loud_as(label, rate, channels, loudness)
    _join(source, part, suffix, track, np.repeat(label[:, None], channels, axis=1), rate)
    if notice == "rhythm" and heard_at_start(part) is None:
        raise MediaError("explicit.not_heard", path=shown(source))
    is_lossless = bool(_LOSSLESS.fullmatch(track.codec)) or track.codec == "alac"
    return BurnedSound(notice, len(label) / rate, loudness, is_lossless)


def heard_at_start(path: str | Path, seconds: float = 12.0) -> float | None:
    """Where in the first seconds a rhythm starts; None when none is heard."""
    found = find_rhythm(opening(path, seconds), LISTEN_HZ)
    return None if found is None else found.start_s


def opening(path: str | Path, seconds: float) -> NDArray[np.float32]:
    """The first seconds of a file's sound, one channel at `LISTEN_HZ`; holes are silence."""
    out = np.zeros(round(seconds * LISTEN_HZ), np.float32)
    origin = None
    for block in audio_blocks(path, rate=LISTEN_HZ, block_s=1.0):
        origin = block.start if origin is None else origin
        at = round((block.start - origin) * LISTEN_HZ)
        if at >= len(out):
            break
        taken = block.samples[: len(out) - at]
        out[at : at + len(taken)] = taken
    return out


def _loudness(source: Path) -> float:
    """Integrated loudness of the first minutes in LUFS (ITU-R BS.1770)."""
    text = _ffmpeg(source, ["-t", str(_MEASURE_S), "-map", "0:a:0", "-af", "ebur128=framelog=quiet", "-f", "null", "-"])
    found = re.findall(r"I:\s+(-?[\d.]+) LUFS", text)
    measured = float(found[-1]) if found else _UNKNOWN
    return measured if measured > -69 else _UNKNOWN  # the meter's floor: silence


def _as_loud_as(label: NDArray[np.float32], rate: int, channels: int, lufs: float) -> NDArray[np.float32]:
    """Scaled so that its sounding parts are `lufs` loud when they come from every channel; never above -1 dB.

    At 1 kHz, and about so for a voice, loudness is the mean square over channels (BS.1770: the weight there makes up
    for the constant).
    """
    step = max(1, rate // 10)
    tenths = (label[: len(label) // step * step].astype(np.float64) ** 2).reshape(-1, step).mean(axis=1)
    blocks = np.convolve(tenths, np.full(4, 0.25), "valid")  # 0.4 s each, as a meter takes them
    sounding = float(blocks[blocks > 0.1 * blocks.max()].mean())
    gain = float(np.sqrt(10 ** (lufs / 10) / (sounding * min(channels, 5))))
    louder: NDArray[np.float32] = label * np.float32(min(gain, _MOST_PEAK / float(np.abs(label).max())))
    return louder


def _spoken(part: Path, rate: int) -> NDArray[np.float32]:
    """The sentence as espeak-ng says it, then a pause."""
    program = shutil.which("espeak-ng")
    if program is None:
        raise MissingExtra("explicit.no_voice")
    said = part.with_name(part.name + ".say.wav")
    try:
        command = [program, "-v", "cmn", "-s", str(_WORDS_A_MINUTE), "-w", str(said), SENTENCE]
        subprocess.run(command, check=True, capture_output=True)
        voice = np.concatenate([block.samples for block in audio_blocks(said, rate=rate)])
    except (OSError, subprocess.CalledProcessError) as error:
        raise MissingExtra("explicit.no_voice") from error
    finally:
        said.unlink(missing_ok=True)
    return np.concatenate([voice, np.zeros(round(PAUSE_UNITS * UNIT_S * rate), np.float32)])


def _join(source: Path, part: Path, suffix: str, track: Track, label_TC: NDArray[np.float32], rate: int) -> None:
    """Label, then programme, by the concat filter; pictures on the sleeve and tags come along."""
    raw, layout = part.with_name(part.name + ".f64"), _layout(source, label_TC.shape[1])
    programme = "[0:a:0]asetpts=PTS-STARTPTS,aformat=sample_fmts=dbl[p]"
    graph = f"{programme};[1:a:0][p]concat=n=2:v=0:a=1{_format(track)}[a]"
    try:
        raw.write_bytes(label_TC.astype("<f8").tobytes())
        _ffmpeg(source, [
            "-f", "f64le", "-ar", str(rate), "-ch_layout", layout, "-i", f"file:{raw.absolute()}", "-filter_complex",
            graph, "-map", "[a]",
            *(["-map", "0:v?", "-c:v", "copy"] if suffix in (".mp3", ".m4a", ".flac") else ["-vn"]),
            "-map_metadata", "0", "-map_chapters", "-1", *_encoder(track, suffix), "-ar", str(rate),
            "-f", FORMATS[suffix], f"file:{part.absolute()}",
        ])  # fmt: skip
    finally:
        raw.unlink(missing_ok=True)


def _layout(source: Path, channels: int) -> str:
    """The channels of the programme by name, so that nothing is mixed when both are joined."""
    with open_media(source) as container:
        name = audio_stream(container, None, source).codec_context.layout.name
    return name or f"{channels}c"


def _format(track: Track) -> str:
    """Samples of the same kind as in the source, so that lossless stays lossless."""
    kinds = {"pcm_u8": "u8", "pcm_s16le": "s16", "pcm_s24le": "s32", "pcm_s32le": "s32", "pcm_f32le": "flt"}
    return f",aformat=sample_fmts={kinds[track.codec]}" if track.codec in kinds else ""


def _encoder(track: Track, suffix: str) -> list[str]:
    """The codec of the source; for one that nobody writes, the usual one of the container."""
    if _LOSSLESS.fullmatch(track.codec):
        return ["-c:a", track.codec]
    if suffix in (".wav", ".flac"):
        return ["-c:a", "pcm_s16le" if suffix == ".wav" else "flac"]
    known = _CODECS.get(track.codec, ("aac",))
    rate = ["-b:a", f"{max(96, 80 * (track.channels or 2))}k"] if known == ("aac",) else []
    return ["-c:a", *known, *rate]


def _ffmpeg(source: Path, options: list[str]) -> str:
    """Run ffmpeg on a source, which is its first input, and give what it told.

    Raises:
        StoreError: It ended with an error.
    """
    from imageio_ffmpeg import get_ffmpeg_exe

    fd = open_plain(source)
    head = [get_ffmpeg_exe(), "-nostdin", "-hide_banner", "-nostats", "-y", "-protocol_whitelist", "fd,file,pipe"]
    try:
        command = [*head, "-fd", str(fd), "-i", "fd:", *options]
        result = subprocess.run(command, pass_fds=(fd,), capture_output=True, check=False)
    finally:
        os.close(fd)
    told = result.stderr.decode("utf-8", "replace")
    if result.returncode:
        raise StoreError("explicit.not_written", path=shown(source), detail=(told.strip().splitlines() or ["?"])[-1])
    return told
