"""The window follows the subject, keeps it inside, and moves like a camera."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from subject_factory import RATE, SCENES, Subject, draw_subject

from malan.apps.promo.framing import LINES, frame_shot, path
from malan.apps.promo.looking import faces_along
from malan.inference.faces import Face, FaceFinder, has_face_weights
from malan.media.render import Format, View
from malan.media.render.looks import look_along

TALL, WIDE, SQUARE = Format("9x16", 1080, 1920), Format("16x9", 1920, 1080), Format("1x1", 1080, 1080)
ACROSS = 170


def scene(boxes, seed: int = 0, noise: float = 12.0):
    """Pictures of a textured ground with something on it, one box (x, y, width, height as shares) a picture."""
    rng = np.random.default_rng(seed)
    ground = np.kron(rng.integers(60, 150, (12, 22, 3)), np.ones((8, 8, 1)))[:LINES, :ACROSS]
    for x, y, width, height in boxes:
        picture = ground + rng.normal(0, noise, ground.shape)
        top, left = round(y * LINES), round(x * ACROSS)
        body = picture[top : top + round(height * LINES), left : left + round(width * ACROSS)]
        body[:] = [205, 150, 120]
        body[: len(body) // 3] = [40, 30, 160]
        yield np.clip(picture, 0, 255).astype(np.uint8)


def walk(start: float, end: float, count: int = 10):
    return [(x, 0.3, 0.12, 0.5) for x in np.linspace(start, end, count)]


def inside(view, boxes, times, size=(1920, 1080), form=TALL) -> float:
    share = size[1] * form.width / form.height / size[0]
    at = np.interp(times, [key.at_s for key in view.keys], [key.x for key in view.keys])
    middles = np.asarray([x + width / 2 for x, _, width, _ in boxes])
    return float((np.abs(at - middles) + 0.06 <= share / 2 + 0.01).mean())


@pytest.mark.parametrize(("start", "end"), [(0.1, 0.12), (0.75, 0.75), (0.15, 0.7), (0.8, 0.3)])
@pytest.mark.parametrize("seed", range(4))
def test_the_subject_stays_inside_the_window(start, end, seed):
    boxes, times = walk(start, end), list(np.linspace(0.15, 3.0, 10))
    view = frame_shot(list(scene(boxes, seed)), times, (1920, 1080), TALL)
    assert view.is_whole or inside(view, boxes, times) >= 0.9


@pytest.fixture(scope="module")
def filmed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Subject]:
    """Every scene of the factory, as a film."""
    folder = tmp_path_factory.mktemp("subjects")
    return {
        name: draw_subject(folder / f"{place}.mp4", scene, seconds=2.4, size=(320, 180), seed=40 + place)
        for place, (name, scene) in enumerate(SCENES.items())
    }


@pytest.mark.parametrize("form", [TALL, SQUARE, Format("4x5", 1080, 1350)], ids=lambda form: form.name)
def test_a_known_subject_is_inside_in_ninety_eight_of_a_hundred_frames(filmed, form):
    """Walking, running, before leaves, in a crowd, one of two, followed or passed by the camera; never shown whole."""
    kept, jerks, true = {}, [], []
    for name, film in filmed.items():
        view = seen_as(film, form, (320, 180))
        assert not view.is_whole, name
        at = np.interp(
            np.arange(len(film.boxes_T4)) / RATE, [key.at_s for key in view.keys], [key.x for key in view.keys]
        )
        kept[name] = inside_of(film, at, form)
        jerks.append(np.abs(np.diff(at, 3)).mean())
        true.append(np.abs(np.diff(film.boxes_T4[:, [0, 2]].mean(axis=1), 3)).mean())
    assert np.mean(list(kept.values())) >= 0.98, kept
    assert min(kept.values()) >= 0.9, kept
    assert np.mean(jerks) < 0.5 * np.mean(true)


def seen_as(film: Subject, form: Format, size: tuple[int, int]) -> View:
    seen = look_along(str(film.path), 0, Fraction(0), film.seconds, a_second=6, lines=LINES)
    return frame_shot(seen.pictures, seen.times_s, size, form)


def inside_of(film: Subject, middle_T: np.ndarray, form: Format) -> float:
    share = 180 * form.width / form.height / 320
    left, right = film.boxes_T4[:, 0], film.boxes_T4[:, 2]
    seen = np.minimum(middle_T + share / 2, right) - np.maximum(middle_T - share / 2, left)
    return float((seen >= 0.9 * np.minimum(right - left, share)).mean())


def test_a_subject_in_a_vertical_picture_is_followed_along_its_height(tmp_path):
    film = draw_subject(tmp_path / "tall.mp4", SCENES["walks across"], seconds=2.4, size=(320, 180), turned=True)
    view = seen_as(film, WIDE, (180, 320))
    at = np.interp(np.arange(len(film.boxes_T4)) / RATE, [key.at_s for key in view.keys], [key.y for key in view.keys])
    share = 180 * 9 / 16 / 320
    top, bottom = film.boxes_T4[:, 1], film.boxes_T4[:, 3]
    seen = np.minimum(at + share / 2, bottom) - np.maximum(at - share / 2, top)
    assert view.is_whole or (seen >= 0.9 * np.minimum(bottom - top, share)).mean() >= 0.9


def test_a_subject_that_stands_still_is_framed_without_moving():
    view = frame_shot(list(scene(walk(0.7, 0.7))), list(np.linspace(0, 3, 10)), (1920, 1080), TALL)
    assert len(view.keys) == 1
    assert view.keys[0].x > 0.6


def test_the_camera_does_not_jerk():
    rng = np.random.default_rng(1)
    boxes = [(x + rng.uniform(-0.03, 0.03), 0.3, 0.12, 0.5) for x in np.linspace(0.15, 0.7, 12)]
    view = frame_shot(list(scene(boxes)), list(np.linspace(0, 3, 12)), (1920, 1080), TALL)
    if not view.is_whole:
        followed = np.asarray([key.x for key in view.keys])
        naive = np.asarray([x + 0.06 for x, *_ in boxes])
        assert np.abs(np.diff(followed, 3)).sum() < 0.5 * np.abs(np.diff(naive, 3)).sum()


def test_nothing_is_cut_where_the_shape_is_the_same():
    view = frame_shot(list(scene(walk(0.1, 0.1))), list(range(10)), (1920, 1080), WIDE)
    assert (view.zoom, len(view.keys), view.is_whole) == (1.0, 1, False)


def test_black_bars_are_cut_away():
    view = frame_shot((), (), (1920, 1080), WIDE, active=(0.0, 0.125, 1.0, 0.75))
    assert 1 / 0.75 < view.zoom < 1.03 / 0.75  # a little more than the bars, so that no line is left of them


def test_a_vertical_picture_is_cut_along_its_height():
    boxes = [(0.3, 0.1, 0.4, 0.15)] * 6
    pictures = [np.rot90(one).copy() for one in scene([(0.1, 0.3, 0.15, 0.4)] * 6)]
    view = frame_shot(pictures, list(range(6)), (1080, 1920), SQUARE)
    assert len(boxes) == 6
    assert view.is_whole or view.keys[0].x == pytest.approx(0.5)


def test_a_path_keeps_to_the_picture():
    profiles = [np.eye(40)[n] + 1e-3 for n in (0, 5, 39, 20)]
    _, found = path([one / one.sum() for one in profiles], [0, 1, 2, 3], 0.3)
    assert min(found) >= 0.15 - 1e-9
    assert max(found) <= 0.85 + 1e-9


def test_an_even_grey_picture_is_framed_in_its_middle():
    grey = [np.full((LINES, ACROSS, 3), 128, np.uint8)] * 5
    view = frame_shot(grey, list(range(5)), (1920, 1080), SQUARE)
    assert view.keys[0].x == pytest.approx(0.5, abs=0.1)


# Faces


def head_is_kept(view: View, times, heads, form: Format, size=(1920, 1080)) -> bool:
    share = size[1] * form.width / form.height / size[0]
    at = np.interp(times, [key.at_s for key in view.keys], [key.x for key in view.keys])
    return all(
        middle - share / 2 <= x + 0.005 and x + wide <= middle + share / 2 + 0.005
        for middle, (x, _, wide, _) in zip(at, heads, strict=True)
    )


@pytest.mark.parametrize("x", [0.02, 0.2, 0.5, 0.86])
def test_a_face_is_kept_although_something_else_moves_and_shines(x):
    pictures, times = list(scene(walk(0.75 if x < 0.5 else 0.1, 0.7 if x < 0.5 else 0.15))), list(np.linspace(0, 3, 10))
    face = (x, 0.3, 0.1, 0.25)
    view = frame_shot(pictures, times, (1920, 1080), TALL, faces=[[face]] * 10)
    assert not view.is_whole
    assert head_is_kept(view, times, [face] * 10, TALL)


def test_a_walking_face_is_followed_smoothly():
    times = list(np.linspace(0, 3, 16))
    heads = [(x, 0.25, 0.1, 0.25) for x in np.linspace(0.1, 0.75, 16)]
    view = frame_shot(list(scene(walk(0.3, 0.3, 16))), times, (1920, 1080), TALL, faces=[[head] for head in heads])
    assert head_is_kept(view, times, heads, TALL)
    middles = np.asarray([key.x for key in view.keys])
    assert np.abs(np.diff(middles, 2)).max() < 0.01


def test_of_two_far_apart_the_nearer_person_is_shown():
    near, far = (0.75, 0.2, 0.18, 0.5), (0.1, 0.4, 0.05, 0.1)
    view = frame_shot(list(scene(walk(0.4, 0.4))), list(range(10)), (1920, 1080), TALL, faces=[[far, near]] * 10)
    assert not view.is_whole
    assert view.keys[0].x > 0.7


def test_faces_are_placed_within_the_picture_without_its_bars():
    pictures = [np.pad(one[12:84], ((12, 12), (0, 0), (0, 0))) for one in scene(walk(0.1, 0.1))]
    face = (0.8, 0.4, 0.08, 0.2)
    view = frame_shot(pictures, list(range(10)), (1920, 1080), TALL, (0.0, 0.125, 1.0, 0.75), faces=[[face]] * 10)
    assert view.keys[0].x > 0.75


@pytest.mark.parametrize(
    "face", [(-0.2, -0.3, 0.3, 0.4), (0.9, 0.9, 0.4, 0.5), (0.5, 0.5, 0.0, 0.0), (2.0, 2.0, 1.0, 1.0)]
)
def test_a_face_at_the_edge_or_beyond_it_is_no_error(face):
    view = frame_shot(list(scene(walk(0.4, 0.4))), list(range(10)), (1920, 1080), TALL, faces=[[face]] * 10)
    assert all(0 <= key.x <= 1 for key in view.keys)


class Eyes:
    """Sees what it is told to, one list of boxes a picture that is shown to it."""

    def __init__(self, *seen):
        self.seen = [tuple(Face(*box, 0.9) for box in boxes) for boxes in seen]

    def find(self, pictures):
        return self.seen[: len(pictures)]


BOX = (0.4, 0.3, 0.1, 0.2)


def moments(count: int) -> list[np.ndarray]:
    return [np.zeros((4, 4, 3), np.uint8)] * count


def test_a_face_missed_once_between_two_is_held():
    found = faces_along(moments(12), Eyes([BOX], [], [BOX], []))
    assert [bool(faces) for faces in found] == [True] * 8 + [False] * 4


def test_between_two_looks_a_face_is_on_its_way():
    found = faces_along(moments(4), Eyes([(0.1, 0.3, 0.1, 0.2)], [(0.4, 0.3, 0.1, 0.2)]))
    assert [round(face[0], 3) for [face] in found] == [0.1, 0.2, 0.3, 0.4]


def test_what_is_seen_once_only_is_no_face():
    assert not any(faces_along(moments(12), Eyes([], [BOX], [], [])))
    assert all(faces_along(moments(2), Eyes([BOX])))


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 7])
def test_every_picture_has_its_faces_however_few_there_are(count):
    found = faces_along(moments(count), Eyes(*[[BOX]] * 9))
    assert len(found) == count
    assert all(found)


def test_the_widest_picture_is_no_mere_strip_in_a_tall_film():
    rng = np.random.default_rng(3)
    busy = [rng.integers(0, 255, (LINES, ACROSS, 3), np.uint8) for _ in range(6)]
    view = frame_shot(busy, list(range(6)), (2350, 1000), TALL)
    if view.is_whole:
        width, height = view.part[2] * 2350, view.part[3] * 1000
        assert TALL.width * height / width >= 0.4 * TALL.height


@pytest.mark.skipif(not has_face_weights(), reason="the weights of faces are not installed")
def test_the_heads_of_real_people_stay_whole(footage):
    finder = FaceFinder(enlarge=2.0)
    for name in ("sam2_juggle.mp4", "asl/book.mkv"):
        seen = look_along(str(footage / "video" / name), 0, Fraction(0), 3.0, a_second=6, lines=LINES)
        size = (16 * 80, 9 * 80) if "juggle" in name else (640, 480)
        faces = faces_along(seen.pictures, finder)
        view = frame_shot(seen.pictures, seen.times_s, size, TALL, faces=faces)
        known = [(at, boxes[0]) for at, boxes in zip(seen.times_s, faces, strict=True) if boxes]
        assert len(known) > len(faces) / 2
        assert not view.is_whole
        assert head_is_kept(view, [at for at, _ in known], [box for _, box in known], TALL, size)
