"""The tracks beside the picture in a cut file: sound and subtitles, in step with the frames.

Packets are copied where the container can hold the codec: every packet keeps its exact distance to the picture, and a
stretch begins and ends within half a packet of the picture's edge. What the container cannot hold is encoded to AAC,
exact to the sample (sound), or left out with a note (subtitles, data). Start at `OtherTracks`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from typing import TypeAlias, cast

import av
import numpy as np
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.stream import Stream
from numpy.typing import NDArray

Timed: TypeAlias = "tuple[float, av.Packet[Stream]]"  # seconds in the output, packet

_LEAD_S = Fraction(1)  # sound of this long before a stretch is looked through for its first packet
_AAC_SAMPLES = 1024
_COVERS = 1 << 10  # disposition: attached picture


@dataclass(frozen=True)
class Stretch:
    """Seconds of the source, and where in the output they start."""

    start_s: Fraction
    end_s: Fraction
    out_s: Fraction


class _Track:
    """One track on its way into the output."""

    def __init__(self, source: Stream, target: Stream) -> None:
        self.source, self._target = source, target
        self._timebase = source.time_base or Fraction(1)
        self._seconds = float(self._timebase)
        self._stretch: Stretch | None = None
        self._edges = (0, 0, 0)

    def take(self, packet: av.Packet[Stream], stretch: Stretch) -> Iterator[Timed]:
        """What a packet of the source becomes."""
        raise NotImplementedError

    def end(self, _stretch: Stretch) -> Iterator[Timed]:
        """What is left at the end of a stretch."""
        return iter(())

    def finish(self) -> Iterator[Timed]:
        """What is left at the end of the file."""
        return iter(())


class OtherTracks:
    """Sound and subtitle tracks of a file, added to an output container that has not been written to yet.

    Args:
        may_lead: Whether the container can hold packets before time zero and hide them (mp4, mov): then one more
            packet is copied in front, so that the first audible one decodes as in the source.
    """

    def __init__(self, source: InputContainer, target: OutputContainer, *, picture: Stream, may_lead: bool) -> None:
        self.notes: list[str] = []
        self._source = source
        self._tracks: dict[int, _Track] = {}
        for stream in source.streams:
            if stream.index != picture.index and (track := self._add(stream, target, may_lead)):
                self._tracks[stream.index] = track

    def _add(self, stream: Stream, target: OutputContainer, may_lead: bool) -> _Track | None:
        if stream.type not in ("audio", "subtitle") or stream.codec_context is None:
            if not (stream.type == "video" and int(stream.disposition) & _COVERS):
                self.notes.append(f"track {stream.index} ({stream.type}) left out")
            return None
        try:
            if target.format.name == "mp4" and stream.codec_context.name.startswith("pcm_"):
                raise ValueError("players do not read PCM in mp4")
            copy = target.add_stream_from_template(stream, opaque=True)
        except ValueError:
            if stream.type == "subtitle":
                self.notes.append(f"track {stream.index} (subtitle) left out: the container cannot hold it")
                return None
            return _Encoded(cast(AudioStream, stream), target)
        _describe(copy, stream)
        return _Copied(stream, copy, may_lead) if stream.type == "audio" else _Subtitles(stream, copy)

    def packets(self, stretches: Sequence[Stretch]) -> Iterator[Timed]:
        """All packets of these tracks for the stretches one after another, about in the order of time."""
        if not self._tracks:
            return
        for stretch in stretches:
            for packet in self._read(stretch):
                yield from self._tracks[packet.stream_index].take(packet, stretch)
            for track in self._tracks.values():
                yield from track.end(stretch)
        for track in self._tracks.values():
            yield from track.finish()

    def _read(self, stretch: Stretch) -> Iterator[av.Packet[Stream]]:
        """Packets around a stretch, from about a second before it to its end."""
        ended: set[int] = set()
        ends = {n: stretch.end_s / (track.source.time_base or 1) for n, track in self._tracks.items()}
        for packet in self._from_before(stretch):
            if (packet.pts or 0) < ends[packet.stream_index]:
                yield packet
                continue
            ended.add(packet.stream_index)
            if len(ended) == len(self._tracks):
                return

    def _from_before(self, stretch: Stretch) -> Iterator[av.Packet[Stream]]:
        """Packets from a place where sound has not passed the start of the stretch; seeks land where they like."""
        for lead in (_LEAD_S, 10 * _LEAD_S, None):
            seconds = stretch.start_s - lead if lead is not None else Fraction(-1)
            try:
                self._source.seek(int(seconds * av.time_base))
            except av.FFmpegError:
                continue
            packets, passed = self._from_here(), []
            for packet in packets:
                passed.append(packet)
                if packet.stream.type == "audio" or _start_s(packet) > stretch.end_s:
                    break
            if lead is None or not passed or _start_s(passed[-1]) <= stretch.start_s:
                return chain(passed, packets)
        return iter(())

    def _from_here(self) -> Iterator[av.Packet[Stream]]:
        try:
            for packet in self._source.demux([t.source for t in self._tracks.values()]):
                if packet.size and packet.pts is not None:
                    yield packet
        except av.FFmpegError:
            return


class _Copied(_Track):
    """Sound packets, copied. Times in ticks of the track."""

    def __init__(self, source: Stream, target: Stream, may_lead: bool) -> None:
        super().__init__(source, target)
        self._may_lead = may_lead
        self._written: int | None = None  # end of what was written, in the output

    def take(self, packet: av.Packet[Stream], stretch: Stretch) -> Iterator[Timed]:
        start, end, out = self._ticks(stretch)
        length, pts = packet.duration or 0, packet.pts or 0
        middle = pts + length // 2
        if not start - (length if self._may_lead and self._written is None else 0) <= middle < end:
            return
        at = pts - start + out
        if self._written is None:
            at = at if self._may_lead else max(at, 0)
        elif at + length // 2 < self._written:
            return
        else:
            at = max(at, self._written)
        self._written = at + length
        packet.stream = self._target
        packet.pts = packet.dts = at
        yield at * self._seconds, packet

    def _ticks(self, stretch: Stretch) -> tuple[int, int, int]:
        if stretch is not self._stretch:
            self._stretch = stretch
            self._edges = (
                round(stretch.start_s / self._timebase),
                round(stretch.end_s / self._timebase),
                round(stretch.out_s / self._timebase),
            )
        return self._edges


class _Subtitles(_Track):
    """Subtitle packets, copied; what reaches over an edge is shortened to it."""

    def take(self, packet: av.Packet[Stream], stretch: Stretch) -> Iterator[Timed]:
        begin = max(_start_s(packet), stretch.start_s)
        finish = min(_start_s(packet) + (packet.duration or 0) * self._timebase, stretch.end_s)
        if finish <= begin:
            return
        out_s = begin - stretch.start_s + stretch.out_s
        packet.stream = self._target
        packet.pts = packet.dts = round(out_s / self._timebase)
        packet.duration = round((finish - begin) / self._timebase)
        yield float(out_s), packet


class _Encoded(_Track):
    """Sound decoded, trimmed to the sample, and encoded to AAC."""

    def __init__(self, source: AudioStream, target: OutputContainer) -> None:
        self._sound, context = source, source.codec_context
        self._rate = context.sample_rate
        layout = context.layout.name or "stereo"
        self._aac = target.add_stream("aac", rate=self._rate, layout=layout)
        super().__init__(source, self._aac)
        _describe(self._aac, source)
        self._layout, self._channels = layout, context.layout.nb_channels
        self._resampler = AudioResampler("fltp", layout, self._rate)
        self._kept_CN: NDArray[np.float32] = np.zeros((self._channels, 0), np.float32)
        self._samples = 0  # given to the encoder or kept, since the start of the output
        self._sent = 0

    def take(self, packet: av.Packet[Stream], stretch: Stretch) -> Iterator[Timed]:
        try:
            frames = self._sound.codec_context.decode(packet)
        except av.FFmpegError:
            return  # a damaged packet is silence
        for frame in frames:
            if frame.pts is not None and frame.time_base is not None:
                start_s = frame.pts * frame.time_base
                for plain in self._resampler.resample(frame):
                    self._add(plain.to_ndarray().astype(np.float32), start_s, stretch)
                    start_s += Fraction(plain.samples, self._rate)
        yield from self._encode(_AAC_SAMPLES)

    def _add(self, samples_CN: NDArray[np.float32], start_s: Fraction, stretch: Stretch) -> None:
        at = round((start_s - stretch.start_s + stretch.out_s) * self._rate)
        limit = round((stretch.end_s - stretch.start_s + stretch.out_s) * self._rate)
        skip = max(0, self._samples - at)
        samples_CN = samples_CN[:, skip : max(skip, limit - at)]
        if samples_CN.shape[1]:
            self._pad_to(at + skip)
            self._kept_CN = np.concatenate([self._kept_CN, samples_CN], axis=1)
            self._samples += samples_CN.shape[1]

    def _pad_to(self, sample: int) -> None:
        missing = max(0, sample - self._samples)
        self._kept_CN = np.concatenate([self._kept_CN, np.zeros((self._channels, missing), np.float32)], axis=1)
        self._samples += missing

    def _encode(self, block: int) -> Iterator[Timed]:
        while self._kept_CN.shape[1] >= block > 0:
            frame = av.AudioFrame.from_ndarray(self._kept_CN[:, :block].copy(), format="fltp", layout=self._layout)
            self._kept_CN = self._kept_CN[:, block:]
            frame.sample_rate, frame.pts, frame.time_base = self._rate, self._sent, Fraction(1, self._rate)
            self._sent += block
            yield from self._timed(self._aac.encode(frame))

    def _timed(self, packets: list[av.Packet[AudioStream]]) -> Iterator[Timed]:
        for packet in packets:
            yield float((packet.pts or 0) * (packet.time_base or 1)), packet  # type: ignore[misc]

    def end(self, _stretch: Stretch) -> Iterator[Timed]:
        self._sound.codec_context.flush_buffers()
        self._resampler = AudioResampler("fltp", self._layout, self._rate)
        self._pad_to(round((_stretch.end_s - _stretch.start_s + _stretch.out_s) * self._rate))
        yield from self._encode(_AAC_SAMPLES)

    def finish(self) -> Iterator[Timed]:
        yield from self._encode(self._kept_CN.shape[1])
        yield from self._timed(self._aac.encode(None))


def _describe(target: Stream, source: Stream) -> None:
    for name in ("language", "title", "handler_name"):
        if name in source.metadata:
            target.metadata[name] = source.metadata[name]
    target.disposition = source.disposition


def _start_s(packet: av.Packet[Stream]) -> Fraction:
    return (packet.pts or 0) * (packet.time_base or Fraction(1))
