"""Standard MIDI Files: what is written is read back the same; what is damaged is refused."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from malan.core.errors import MediaError
from malan.media.midi import MidiFile, MidiNote, MidiTrack, bend_value, read_midi, write_midi

ticks = st.integers(0, 1 << 20)


@st.composite
def tracks(draw):
    """A track whose notes of one pitch do not overlap, as on a keyboard."""
    notes, end = [], dict.fromkeys(range(128), 0)
    for start, length, pitch, velocity in draw(
        st.lists(st.tuples(ticks, st.integers(1, 5000), st.integers(0, 127), st.integers(1, 127)), max_size=20)
    ):
        begin = max(start, end[pitch])
        notes.append(MidiNote(begin, length, pitch, velocity))
        end[pitch] = begin + length
    controls = draw(st.lists(st.tuples(ticks, st.integers(0, 119), st.integers(0, 127)), max_size=5))
    name = draw(st.text(max_size=12))
    return MidiTrack(
        name, draw(st.integers(0, 15)), draw(st.integers(0, 127)), tuple(sorted(notes)), (), tuple(sorted(controls))
    )


@st.composite
def pieces(draw):
    tempos = draw(st.lists(st.tuples(ticks, st.integers(1, (1 << 24) - 1)), max_size=4))
    return MidiFile(
        draw(st.integers(1, 32767)), tuple(sorted(tempos)), tuple(draw(st.lists(tracks(), max_size=4))),
        ((0, draw(st.integers(1, 16)), draw(st.integers(0, 5))),),
        draw(st.none() | st.tuples(st.integers(-7, 7), st.booleans())),
        tuple(draw(st.lists(st.text(max_size=8), max_size=2))),
    )  # fmt: skip


@settings(max_examples=80, deadline=None)
@given(pieces())
def test_what_is_written_is_read_back_the_same(piece):
    assert read_midi(write_midi(piece)) == piece


@settings(max_examples=80, deadline=None)
@given(pieces(), st.data())
def test_a_file_that_is_cut_off_is_refused(piece, data):
    whole = write_midi(piece)
    with pytest.raises(MediaError) as refused:
        read_midi(whole[: data.draw(st.integers(0, len(whole) - 1))])
    assert refused.value.code == "music.bad_midi"


@settings(max_examples=150, deadline=None)
@given(pieces(), st.data())
def test_damage_gives_a_piece_or_a_typed_error_and_nothing_else(piece, data):
    spoilt = bytearray(write_midi(piece))
    for _ in range(data.draw(st.integers(1, 6))):
        spoilt[data.draw(st.integers(0, len(spoilt) - 1))] = data.draw(st.integers(0, 255))
    try:
        read_midi(bytes(spoilt))
    except MediaError as error:
        code = error.code
    else:
        code = "music.bad_midi"
    assert code == "music.bad_midi"


def one_track(events: bytes) -> bytes:
    return struct.pack(">4sIHHH", b"MThd", 6, 0, 1, 480) + struct.pack(">4sI", b"MTrk", len(events)) + events


def test_running_status_and_silent_ends_are_understood():
    events = bytes([0, 0x90, 60, 100, 10, 60, 0, 5, 64, 90, 10, 64, 0, 0, 0xFF, 0x2F, 0])
    [track] = read_midi(one_track(events)).tracks
    assert track.notes == (MidiNote(0, 10, 60, 100), MidiNote(15, 10, 64, 90))


@pytest.mark.parametrize(
    "events",
    [
        bytes([0, 0x90, 60, 100, 0, 0xFF, 0x2F, 0]),  # never ends
        bytes([0, 60, 100]),  # no status
        bytes([0, 0x90, 60]),  # half a message
        bytes([0, 0x90, 200, 100]),  # no data byte
        bytes([0x80, 0x80, 0x80, 0x80, 0]),  # no number
        bytes([0, 0xF4]),  # no message of a file
        bytes([0, 0xFF, 0x51, 9, 0]),  # runs over its end
    ],
)
def test_what_makes_no_sense_is_refused(events):
    with pytest.raises(MediaError):
        read_midi(one_track(events))


@pytest.mark.parametrize(
    "head", [b"", b"RIFF", b"MThd\0\0\0\6\0\2\0\1\1\xe0", b"MThd\0\0\0\6\0\1\0\1\xe7\x28", b"MThd\0\0\0\6\0\1\0\1\0\0"]
)
def test_headers_that_are_none_are_refused(head):
    with pytest.raises(MediaError):
        read_midi(head)


def test_a_track_too_few_is_refused():
    whole = write_midi(MidiFile(480, ((0, 500_000),), ()))
    with pytest.raises(MediaError):
        read_midi(whole[:10] + b"\0\2" + whole[12:])


def test_times_follow_the_tempi():
    piece = MidiFile(480, ((0, 500_000), (960, 1_000_000)), ())
    assert [piece.seconds_at(tick) for tick in (0, 480, 960, 1440)] == [0, 0.5, 1.0, 2.0]


def test_bends_are_two_semitones_wide():
    assert [bend_value(cents) for cents in (-400, -200, 0, 200, 400)] == [0, 0, 8192, 16383, 16383]
