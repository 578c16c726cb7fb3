"""How sure it is that a clip shows the words: its own words before those of its file."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from malan.core import Clip, Span
from malan.core.ids import digest_record
from malan.services.clips.relevance import Proof, joined, proofs
from malan.store import ClipHit
from malan.store.evidence import evidence_of
from malan.store.rows import ClipRow

MIST, FOREST, NIGHT = ([1.0, 0, 0, 0.1], [0.1, 1.0, 0, 0], [0, 0, 1.0, 0])


def hit(text: str, number: int, *, file: str = "a.mp4", seconds: float = 4.0, **known) -> ClipHit:
    span = Span(number * 250, number * 250 + round(seconds * 25), Fraction(1, 25))
    row = ClipRow(Clip(digest_record("a", file), 0, span), "o", "t", file_name=file, **known)
    return ClipHit(row, 1.0, evidence=evidence_of(row, text))


def looks(hits: list[ClipHit], *vectors: list[float]) -> dict[str, np.ndarray]:
    return {one.row.id: np.asarray(v, np.float32) for one, v in zip(hits, vectors, strict=True)}


def sure(hits: list[ClipHit], text: str, *vectors: list[float]) -> list[float]:
    return [round(one.sure, 2) for one in proofs(hits, text, looks(hits, *vectors))]


@pytest.mark.parametrize(("known", "field"), [({"caption": "远处的云海"}, "caption"), ({"look": ("云海",)}, "look")])
def test_words_of_the_shot_itself_are_sure_and_say_where_they_stand(known, field):
    hits = [hit("云海", 0, **known), hit("云海", 1, file="云海.mp4")]
    own, other = proofs(hits, "云海", looks(hits, MIST, FOREST))
    assert own == Proof(1.0, ("云海",), (), field)
    assert other.of_shot == ()
    assert other.of_file == ("云海",)
    assert other.sure < 0.9


def test_of_a_file_with_one_subject_a_shot_that_looks_otherwise_is_doubtful():
    hits = [hit("云海", n, file="张家界云海.mp4") for n in range(4)]
    mist, forest, *rest = sure(hits, "云海", MIST, FOREST, MIST, MIST)
    assert [mist, *rest] == [0.85] * 3
    assert forest < 0.6 * mist


def test_the_longer_part_of_a_file_tells_what_it_is_about():
    hits = [hit("云海", 0, file="云海.mp4", seconds=9), hit("云海", 1, file="云海.mp4", seconds=1)]
    long, short = sure(hits, "云海", FOREST, MIST)
    assert long > short


def test_of_a_file_without_one_subject_all_shots_are_as_likely():
    hits = [hit("云海", n, file="云海.mp4") for n in range(3)]
    assert len(set(sure(hits, "云海", MIST, FOREST, NIGHT))) == 1


def test_the_name_of_an_edited_film_is_a_title_and_says_the_same_of_every_shot():
    hits = [hit("云海", n, file="云海.mp4") for n in range(15)]
    assert set(sure(hits, "云海", *[MIST] * 10, *[FOREST] * 5)) == {0.5}


def test_where_some_shots_of_a_file_are_proven_the_others_are_held_against_those():
    hits = [hit("云海", n, file="云海.mp4", look=("云海",) if n == 0 else ()) for n in range(4)]
    assert sure(hits, "云海", MIST, MIST, FOREST, FOREST) == [1.0, 0.85, 0.35, 0.35]


def test_what_the_scan_saw_otherwise_is_doubtful_whatever_the_file_is_called():
    day = hit("夜景", 0, file="长沙夜景.mp4", labels=("scene.light", "scene.light=day"))
    dark = hit("夜景", 0, file="长沙夜景.mp4", labels=("scene.light", "scene.light=night"), look=("夜景", "night"))
    unknown = hit("夜景", 0, file="长沙夜景.mp4")
    [seen], [shown], [named] = (sure([one], "夜景", NIGHT) for one in (day, dark, unknown))
    assert seen < 0.5 * named < named < shown == 1.0


def test_words_that_are_nowhere_count_against_a_clip():
    both, one = hit("夜景 航拍", 0, look=("夜景",), caption="航拍"), hit("夜景 航拍", 1, look=("夜景",))
    assert sure([both, one], "夜景 航拍", NIGHT, NIGHT) == [1.0, 0.5]


def test_english_words_are_known_by_their_stem():
    [told] = proofs([hit("mountains", 0, caption="a Mountain lake")], "mountains", {})
    assert told.of_shot == ("mountains",)


def test_a_clip_nobody_described_is_judged_by_its_file_alone():
    [told] = proofs([hit("云海", 0, file="云海.mp4")], "云海", {})
    assert 0 < told.sure < 1


def test_proofs_of_words_asked_one_by_one_are_one():
    said = joined([Proof(1.0, ("云",), (), "look"), Proof(0.4, (), ("海",))], 4)
    assert said == Proof(0.35, ("云",), ("海",), "look")
