"""Texts and scores drawn by seed: sentences with a pattern, scales in MIDI and ABC."""

from __future__ import annotations

import json

import numpy as np
from drawn_job import DrawnClips


def drawn_texts(count: int, seed: int, *, as_talk: bool = False) -> DrawnClips:
    """Sentences of one shape, which a model can learn the shape of."""
    lots = np.random.default_rng(seed)
    places, colours = ("city", "street", "夜景"), ("red", "blue", "night")
    found = []
    for _ in range(count):
        place, colour = places[lots.integers(3)], colours[lots.integers(3)]
        question, answer = f"what is over the {place}?", f"a {colour} sky over the {place}."
        turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        found.append(json.dumps({"messages": turns}) if as_talk else f"{question} {answer}")
    return DrawnClips({}, [text.encode() for text in found])


def drawn_scores(count: int, seed: int) -> DrawnClips:
    """Rising scales from some key, as ABC and as MIDI by turns."""
    lots = np.random.default_rng(seed)
    found: list[bytes] = []
    for number in range(count):
        first = int(lots.integers(48, 72))
        if number % 2:
            found.append(midi_scale(first))
        else:
            found.append(f"X:1\nT:scale\nM:4/4\nL:1/4\nK:{'CDEFGAB'[first % 7]}\n|: CDEF | GABc :|\n".encode())
    return DrawnClips({}, found)


def midi_scale(first: int, division: int = 480) -> bytes:
    """Eight quarters upwards, written by hand byte by byte, with running status."""
    steps = (0, 2, 4, 5, 7, 9, 11, 12)
    track = bytearray(b"\x00\xc0\x00")
    for place, step in enumerate(steps):
        status = b"\x90" if place == 0 else b""
        track += b"\x00" + status + bytes([first + step, 80])
        track += bytes([0x80 | division >> 7, division & 0x7F]) + bytes([first + step, 0])
    track += b"\x00\xff\x2f\x00"
    head = b"MThd\x00\x00\x00\x06\x00\x00\x00\x01" + division.to_bytes(2, "big")
    return head + b"MTrk" + len(track).to_bytes(4, "big") + bytes(track)
