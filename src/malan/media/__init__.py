"""Bytes of footage: probe, packet index, decode, cut, thumbnails. Computes; decides and records nothing."""

from malan.media.audio import AudioBlock, audio_blocks
from malan.media.decode import FrameDecoder
from malan.media.index import PacketIndex, build_index
from malan.media.open import open_media
from malan.media.probe import Chapter, Probe, probe
from malan.media.register import Registered, register

__all__ = [
    "AudioBlock",
    "Chapter",
    "FrameDecoder",
    "PacketIndex",
    "Probe",
    "Registered",
    "audio_blocks",
    "build_index",
    "open_media",
    "probe",
    "register",
]
