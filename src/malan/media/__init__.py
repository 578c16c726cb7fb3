"""Bytes of footage: probe, packet index, decode, cut, thumbnails. Computes; decides and records nothing."""

from malan.media.audio import AudioBlock, audio_blocks
from malan.media.decode import FrameDecoder
from malan.media.index import PacketIndex, build_index

__all__ = ["AudioBlock", "FrameDecoder", "PacketIndex", "audio_blocks", "build_index"]
