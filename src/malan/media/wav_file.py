"""The sound of a file as 16-bit PCM in a WAV file, which every trainer of music reads. Start reading at `write_wav`."""

from __future__ import annotations

import wave
from dataclasses import dataclass
from pathlib import Path

from malan.core.errors import MediaError
from malan.media.sniff import shown

_BYTES = 2


@dataclass(frozen=True, slots=True)
class Wav:
    """What was written: samples a second, channels (one or two), and how many samples of each."""

    rate_hz: int
    channels: int
    samples: int

    @property
    def seconds(self) -> float:
        return self.samples / self.rate_hz


def write_wav(path: str | Path, out: Path, *, rate_hz: int | None = None) -> Wav | None:
    """Decode the first sound track of a file to a WAV file; more than two channels are mixed to two.

    An implicit AIGC label (GB 45438-2025) in the file goes along.

    Args:
        path: Any file with sound.
        out: The WAV file.
        rate_hz: Samples a second; those of the track, unless said otherwise.

    Returns:
        What was written; None, and no file, when there is no sound.

    Raises:
        MediaError: The sound cannot be decoded; nothing is left.
    """
    import av
    from av.error import FFmpegError

    part = out.with_name(f".{out.name}.part")
    try:
        with av.open(str(path)) as container:
            if not container.streams.audio:
                return None
            made = _decoded(container, part, rate_hz)
        if not made.samples:
            return None
        part.replace(out)
    except FFmpegError as error:
        raise MediaError("cutting.sound_failed", path=shown(path), detail=str(error)[:200]) from error
    finally:
        part.unlink(missing_ok=True)
    _carry_label(Path(path), out)
    return made


def _decoded(container: object, part: Path, rate_hz: int | None) -> Wav:
    import av
    from av.container import InputContainer

    assert isinstance(container, InputContainer)  # noqa: S101
    stream = container.streams.audio[0]
    rate, channels = rate_hz or stream.rate or 48_000, min(stream.channels or 1, 2)
    resampler = av.AudioResampler("s16", "mono" if channels == 1 else "stereo", rate)
    samples = 0
    with wave.open(str(part), "wb") as file:
        file.setparams((channels, _BYTES, rate, 0, "NONE", "not compressed"))
        for frame in container.decode(stream):
            for piece in resampler.resample(frame):
                file.writeframes(piece.to_ndarray().tobytes())
                samples += piece.samples
        for piece in resampler.resample(None):
            file.writeframes(piece.to_ndarray().tobytes())
            samples += piece.samples
    return Wav(rate, channels, samples)


def _carry_label(source: Path, out: Path) -> None:
    """The file never leaves without the label of what it was made from."""
    from malan.media.labels import look_through, text_in_place

    try:
        found = look_through(source).found
    except MediaError as error:
        if error.code != "label.no_carrier":
            raise
        return
    if found:
        text_in_place(str(out), "".join(c if c.isprintable() else " " for c in found[0].text))
