"""What a scan still decodes: what every shot needs, then what is nice to have, cheapest first."""

from __future__ import annotations

from pathlib import Path

import pytest
from media_factory import Film, draw_film
from view_factory import track

from malan.curation.plan import carry_out, plan_decode, stretches, strip_step_s
from malan.curation.samples import Sampler
from malan.curation.shots.report import Shot, Transition, shots_between
from malan.media.decode import FrameDecoder
from malan.media.index import PacketIndex, build_index

LONG_GOP = {"preset": "ultrafast", "g": "250", "keyint_min": "250", "sc_threshold": "0", "bf": "0"}


def shots_of(film: Film) -> tuple[Shot, ...]:
    return shots_between([Transition("cut", c - 1, c, 1.0) for c in film.cuts], film.frame_count)


def prepared(tmp_path: Path, lengths: tuple[int, ...], **more: object) -> tuple[Film, PacketIndex, Sampler]:
    film = draw_film(tmp_path / "f.mp4", lengths, **more)  # type: ignore[arg-type]
    index = build_index(film.path)
    return film, index, Sampler(index, track((320, 180)))


def test_every_shot_gets_a_picture_and_a_burst_even_without_allowance(tmp_path: Path) -> None:
    film, index, sampler = prepared(tmp_path, (30, 20, 40), options=LONG_GOP)
    parts = stretches(shots_of(film))
    with FrameDecoder(film.path, index) as decoder:
        carry_out(plan_decode(parts, index, sampler, motion=True, allowance=0), decoder, sampler)
    for part in parts:
        assert sampler.samples(part.first, part.end)
        assert sampler.bursts(part.first, part.end)


def test_nothing_is_decoded_for_shots_that_have_all(tmp_path: Path) -> None:
    film, index, sampler = prepared(tmp_path, (30, 20))
    with FrameDecoder(film.path, index) as decoder:
        for number, frame in decoder.frames():
            sampler.observe(frame, number, bool(frame.key_frame))
            if number in (0, 30):
                sampler.begin_burst(frame, number)
    plan = plan_decode(stretches(shots_of(film)), index, sampler, motion=True, allowance=0)
    assert plan.runs == ()


def test_pictures_alone_cost_a_key_frame_where_the_shot_has_one(tmp_path: Path) -> None:
    film, index, sampler = prepared(tmp_path, (60, 60), options={"preset": "ultrafast", "g": "20", "sc_threshold": "0"})
    plan = plan_decode(stretches(shots_of(film)), index, sampler, motion=False, allowance=0)
    assert plan.predicted_frames == 2
    with FrameDecoder(film.path, index) as decoder:
        assert carry_out(plan, decoder, sampler).frames_decoded == 2


def test_wishes_of_one_group_of_pictures_become_one_run(tmp_path: Path) -> None:
    film, index, sampler = prepared(tmp_path, (20, 20, 20), options=LONG_GOP)
    plan = plan_decode(stretches(shots_of(film)), index, sampler, motion=True, allowance=500)
    assert len(plan.runs) == 1
    with FrameDecoder(film.path, index) as decoder:
        assert carry_out(plan, decoder, sampler).frames_decoded == plan.predicted_frames


def test_a_larger_allowance_gives_more_pictures_and_is_kept(tmp_path: Path) -> None:
    film, index, sampler = prepared(tmp_path, (200,), options=LONG_GOP)
    parts = stretches(shots_of(film))
    needed, some, all_ = (
        plan_decode(parts, index, sampler, motion=True, allowance=allowance) for allowance in (0, 60, 400)
    )
    pictures = [sum(len(run.pictures) for run in plan.runs) for plan in (needed, some, all_)]
    assert pictures[0] < pictures[1] < pictures[2]
    assert some.predicted_frames <= needed.predicted_frames + 60


def test_frames_of_a_dissolve_are_left_out_unless_there_are_no_others() -> None:
    shots = shots_between([Transition("dissolve", 20, 40, 0.9), Transition("dissolve", 42, 60, 0.9)], 100)
    first, middle, last = stretches(shots)
    assert (first.clean_first, first.clean_end) == (0, 21)
    assert (last.clean_first, last.clean_end) == (60, 100)
    assert middle.first <= middle.clean_first < middle.clean_end <= middle.end


def test_frames_that_cannot_be_decoded_are_told(tmp_path: Path) -> None:
    film, index, sampler = prepared(tmp_path, (30,), options=LONG_GOP)
    data = bytearray(film.path.read_bytes())
    for packet in (5, 6):
        at, size = int(index.position[packet]), int(index.size_bytes[packet])
        data[at : at + size] = bytes(size)
    film.path.write_bytes(data)
    plan = plan_decode(stretches(shots_of(film)), index, sampler, motion=True, allowance=0)
    with FrameDecoder(film.path, index) as decoder:
        filled = carry_out(plan, decoder, sampler)
    assert {*filled.lost, *sampler.damaged} >= {5, 6}


@pytest.mark.parametrize(("duration_s", "step_s"), [(0.4, 0.5), (2.5, 0.5), (2.6, 1), (9, 2), (60, 16)])
def test_pictures_of_a_shot_stand_at_even_seconds(duration_s: float, step_s: float) -> None:
    assert strip_step_s(duration_s) == step_s
