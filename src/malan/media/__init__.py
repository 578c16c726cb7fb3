"""Bytes of footage: probe, packet index, decode, cut, thumbnails. Computes; decides and records nothing."""

from malan.media.index import PacketIndex, build_index

__all__ = ["PacketIndex", "build_index"]
