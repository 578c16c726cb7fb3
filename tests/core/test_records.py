import pickle
from fractions import Fraction

import pytest

from malan.core import Clip, Decision, Finding, Span, Track
from malan.core.errors import MediaError
from malan.core.ids import canonical_bytes, check_prefix, digest_record

ASSET = "ab" * 32


def test_the_id_of_a_clip_follows_from_asset_track_and_span_alone() -> None:
    one = Clip(ASSET, 0, Span(10, 20, Fraction(1, 25)))
    assert one.id == Clip(ASSET, 0, Span(10, 20, Fraction(1, 25))).id
    others = [Clip(ASSET, 1, one.span), Clip(ASSET, 0, Span(10, 21, Fraction(1, 25))), Clip("cd" * 32, 0, one.span)]
    assert len({one.id, *(clip.id for clip in others)}) == 4


def test_two_kinds_of_record_never_share_an_id() -> None:
    assert digest_record("clip", [1]) != digest_record("finding", [1])


def test_canonical_bytes_do_not_depend_on_the_order_of_keys() -> None:
    assert canonical_bytes({"b": 1, "a": "字"}) == '{"a":"字","b":1}'.encode()


def test_a_prefix_is_read_in_either_case() -> None:
    assert check_prefix(" ABCDEF12 ") == "abcdef12"


def test_a_finding_changes_its_id_with_its_producer_version() -> None:
    clip = Clip(ASSET, 0, Span(0, 5, Fraction(1)))
    first = Finding(clip, "quality.technical", "technical", "1", {"blur": 0.25})
    assert first.id != Finding(clip, "quality.technical", "technical", "2", {"blur": 0.25}).id


def test_the_shown_size_honours_rotation_and_sample_aspect() -> None:
    track = Track(0, "video", "h264", Fraction(1, 25), width_px=720, height_px=576, sample_aspect=Fraction(16, 11))
    assert track.shown_size_px == (1047, 576)
    turned = Track(0, "video", "h264", Fraction(1, 25), width_px=720, height_px=576, rotation_deg=90)
    assert turned.shown_size_px == (576, 720)


def test_errors_and_clips_survive_the_way_between_processes() -> None:
    error = pickle.loads(pickle.dumps(MediaError("media.no_video", path="a.wav")))
    assert (type(error), error.code, error.values) == (MediaError, "media.no_video", {"path": "a.wav"})
    clip = Clip(ASSET, 0, Span(0, 5, Fraction(1)))
    assert pickle.loads(pickle.dumps(clip)).id == clip.id


def test_a_decision_without_a_reason_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="reason"):
        Decision(True, ())
