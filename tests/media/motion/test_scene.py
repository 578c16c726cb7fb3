"""Laws of a picture in motion: begins as it is, no hole, no jump, exact, the same for the same seed, seamless."""

from __future__ import annotations

import itertools
from dataclasses import replace

import av
import numpy as np
import pytest
from drawn_pictures import ball_before_hills, plain_texture, vase_on_a_plain_ground

from malan.core.errors import MediaError
from malan.media.motion import (
    ENOUGH,
    MOVES,
    Wish,
    find_subject,
    flat,
    framed_still,
    make_scene,
    relief_from_map,
    relief_from_mask,
    relief_from_subject,
    weight_of,
    with_faces,
)
from malan.media.motion.camera import Camera, ease
from malan.media.motion.fill import fill_colour
from malan.media.motion.layers import take_apart
from malan.media.motion.shoot import air_of, frame_of

PIXELS, DEPTH = ball_before_hills()
SIZES = {"16:9": (640, 360), "9:16": (360, 640), "1:1": (360, 360), "4:5": (360, 450)}


def scene_of(move="orbit", size=(640, 360), *, frames=25, loop=False, seed=0, depth=True, strength=1.0, pixels=PIXELS):
    relief = relief_from_map(pixels, DEPTH) if depth else flat(pixels.shape[1::-1])
    wish = Wish(move, frames, frames / 25, size, loop, seed, strength)
    return make_scene(pixels, relief, weight_of(pixels), wish), wish


def rgb(frame):
    height, width = frame.y.shape
    made = av.VideoFrame(width, height, "yuv420p")
    for plane, values in zip(made.planes, (frame.y, frame.u, frame.v), strict=True):
        held = np.zeros((values.shape[0], plane.line_size), np.uint8)
        held[:, : values.shape[1]] = values
        plane.update(held)
    made.colorspace, made.color_range = 1, 1
    return made.to_ndarray(format="rgb24")


def psnr(a, b) -> float:
    return float(10 * np.log10(255**2 / np.mean((a.astype(np.float64) - b.astype(np.float64)) ** 2)))


def as_framed(scene, size):
    """The part of the picture that the first frame shows, shrunk by area, without anything of ours."""
    from PIL import Image

    (x, y), per = scene.framed.middle, scene.framed.per_px
    box = (x - size[0] * per / 2, y - size[1] * per / 2, x + size[0] * per / 2, y + size[1] * per / 2)
    return luma(np.asarray(Image.fromarray(PIXELS).resize(size, Image.Resampling.BICUBIC, box=box)))


def luma(pixels):
    """Rec. ITU-R BT.709-6, 3.2, limited range."""
    return 16 + pixels.astype(np.float64) @ (0.182586, 0.614231, 0.062007)


@pytest.mark.parametrize("move", [move for move in MOVES if not move.startswith("drift")])
@pytest.mark.parametrize("shape", ["16:9", "9:16"])
def test_the_first_frame_is_the_picture_as_it_is_framed(move, shape):
    scene, wish = scene_of(move, SIZES[shape])
    near = psnr(frame_of(scene, 0, air_of(wish, scene)).y, as_framed(scene, SIZES[shape]))
    assert near > 38  # rims are a large part of so small a picture; the bench holds 40 for a photograph


@pytest.mark.parametrize("move", MOVES)
@pytest.mark.parametrize("shape", list(SIZES))
@pytest.mark.parametrize("loop", [False, True])
def test_no_frame_looks_beyond_the_picture(move, shape, loop):
    scene, _ = scene_of(move, SIZES[shape], loop=loop)
    width, height = scene.stage.extent
    for pose in scene.path:
        left, top, right, bottom = scene.stage.reach(pose)
        assert left > -1
        assert top > -1
        assert right < width
        assert bottom < height


def test_there_are_no_holes():
    """Of a white picture every frame is white, whatever it is cut into."""
    white = np.full_like(PIXELS, 255)
    for move in ("orbit", "dolly-zoom", "push", "swing"):
        scene, wish = scene_of(move, strength=2.0, pixels=white)
        assert scene.layers > 1
        for number in range(0, 25, 6):
            assert int(frame_of(scene, number, air_of(wish, scene)).y.min()) >= 233


def test_near_things_move_against_far_ones():
    scene, _ = scene_of("swing", frames=50)
    rest, moved = (rgb(scene.stage.draw(pose)).astype(int) for pose in (scene.path[0], scene.path[13]))
    ball = [np.argwhere((one[..., 0] - one[..., 2]) > 90)[:, 1].mean() for one in (rest, moved)]
    assert 2 < abs(ball[1] - ball[0]) < 30
    sky = np.abs(rest[:20] - moved[:20]).mean()
    assert sky < 6


@pytest.mark.parametrize("move", MOVES)
def test_nothing_jumps(move):
    """From frame to frame a pose changes a little, and that change changes even less."""
    scene, wish = scene_of(move, frames=75)
    at = np.array([(c.zoom, *c.pan, *c.shift, c.dolly) for c in scene.path])
    speed, jerk = np.abs(np.diff(at, axis=0)), np.abs(np.diff(at, 2, axis=0))
    assert speed.max() < 0.02
    assert jerk.max() < 0.004
    assert speed[0].max() < 0.3 * speed.max() + 1e-9  # begins softly …
    assert speed[-1].max() < 0.3 * speed.max() + 1e-9  # … and ends so
    assert speed[10:-10].max(axis=1).min() > 0 or wish.move in ("orbit", "swing", "drift-light", "drift-mist")


@pytest.mark.parametrize("move", MOVES)
def test_a_loop_goes_on_into_its_first_frame(move):
    scene, wish = scene_of(move, frames=30, loop=True)
    air = air_of(wish, scene)
    first, last, after = (frame_of(scene, number, air).y for number in (0, 29, 30))
    within = [np.abs(frame_of(scene, n, air).y.astype(int) - frame_of(scene, n + 1, air).y).mean() for n in (4, 12, 20)]
    assert np.abs(after.astype(int) - first).mean() < 1.0  # the dither alone may differ
    assert np.abs(first.astype(int) - last).mean() < 1.3 * max(within) + 0.3


def test_the_same_seed_makes_the_same_film_and_another_goes_the_other_way():
    for move in ("orbit", "drift-mist"):
        frames = {}
        for run, seed in enumerate((0, 0, 1, 2, 3)):
            scene, wish = scene_of(move, seed=seed, frames=20)
            frames[run] = frame_of(scene, 7, air_of(wish, scene)).y
        assert np.array_equal(frames[0], frames[1])
        assert any(not np.array_equal(frames[0], frames[run]) for run in (2, 3, 4))


def test_layers_are_the_picture_again_at_rest():
    layers = take_apart(PIXELS, DEPTH, 20.0, 8.0)
    assert 2 <= len(layers) <= 4
    seen = layers[0].pixels_HWC.astype(np.float32)
    for layer in layers[1:]:
        alpha = layer.alpha[..., None].astype(np.float32) / 255
        seen = seen * (1 - alpha) + layer.pixels_HWC * alpha
    assert psnr(seen, PIXELS) > 40


def test_what_lies_behind_the_ball_holds_nothing_of_the_ball():
    layers = take_apart(PIXELS, DEPTH, 20.0, 8.0)
    for layer in layers[:-1]:
        red = layer.pixels_HWC[..., 0].astype(int) - layer.pixels_HWC[..., 2]
        inside = np.ones(DEPTH.shape, bool) if layer.alpha is None else layer.alpha > 128
        assert (red[inside] > 90).mean() < 0.002


def on_plain_ground():
    """A dark disc before a light ground, cut out a little too far inside; a joint of the wall that goes on behind it,
    a strand that hangs on it; its relief."""
    y, x = np.mgrid[0:480, 0:640]
    far = np.hypot(x - 320, y - 240)
    pixels = np.full((480, 640, 3), 200, np.uint8)
    pixels[236:240] = 40
    pixels[(far < 103) & (np.abs(y - x * 0.5 - 40) < 2)] = 40
    pixels[far < 100] = 40
    return pixels, np.where(far < 97, 0.9, 0.1).astype(np.float32)


def test_a_joint_of_the_wall_stays_with_the_wall_and_a_rim_goes_with_its_thing():
    pixels, relief = on_plain_ground()
    alpha = take_apart(pixels, relief, 20.0, 8.0)[-1].alpha.astype(float) / 255
    y, x = np.mgrid[0:480, 0:640]
    far = np.hypot(x - 320, y - 240)
    joint = (y >= 236) & (y < 240)
    assert alpha[joint & (far > 106)].max() < 0.05
    assert alpha[~joint & (far < 99)].min() > 0.5
    strand = (far > 100) & (far < 102) & (np.abs(y - x * 0.5 - 40) < 1)
    assert alpha[strand].mean() > 0.4


def test_a_jump_within_one_texture_is_not_seen_at_rest():
    rng = np.random.default_rng(4)
    pixels = np.repeat(rng.integers(90, 130, (480, 640, 1)), 3, axis=2).astype(np.uint8)
    relief = np.where(np.arange(480)[:, None] > 300, 0.8, 0.2) + np.zeros((480, 640))
    back, front = take_apart(pixels, relief.astype(np.float32), 20.0, 8.0)
    alpha = front.alpha[..., None].astype(np.float32) / 255
    assert psnr(back.pixels_HWC * (1 - alpha) + front.pixels_HWC * alpha, pixels) > 45


def test_horizontals_go_on_straight_behind_a_round_thing():
    rows = (128 + 90 * np.sin(np.arange(480) / 9)).astype(np.uint8)
    stripes = np.repeat(np.tile(rows[:, None], (1, 640))[..., None], 3, axis=2)
    y, x = np.mgrid[0:480, 0:640]
    far = np.hypot(x - 320, y - 240)
    filled = fill_colour(stripes, far < 120, 30.0)[..., 0].astype(float)
    beside = (far > 112) & (far < 120) & (np.abs(x - 320) > 75)
    assert np.abs(filled - stripes[..., 0])[beside].mean() < 12


def test_no_layer_is_stretched_like_rubber():
    for layer in take_apart(PIXELS, DEPTH, 20.0, 8.0):
        steps = [np.abs(np.diff(layer.relief, axis=axis)).max() for axis in (0, 1)]
        assert max(steps) * 20.0 / 8.0 < 0.4


def test_a_hole_is_filled_from_around_it_to_the_last_pixel():
    hole = np.zeros(PIXELS.shape[:2], bool)
    hole[200:420, 300:560] = True
    marked = PIXELS.copy()
    marked[hole] = (255, 0, 255)
    filled = fill_colour(marked, hole, 20.0)
    assert np.array_equal(filled[~hole], PIXELS[~hole])
    assert not (np.abs(filled[hole].astype(int) - (255, 0, 255)).max(axis=1) < 40).any()
    everything = np.ones(PIXELS.shape[:2], bool)
    assert fill_colour(marked, everything, 20.0).std() == 0


def test_a_subject_that_stands_out_is_believed_and_texture_is_not():
    pixels, vase = vase_on_a_plain_ground()
    found = find_subject(pixels, weight_of(pixels))
    assert found.confidence >= ENOUGH
    rows, columns = (np.arange(n) * m // n for n, m in zip(vase.shape, found.mask.shape, strict=True))
    mask = found.mask[np.ix_(rows, columns)] > 0.5
    assert (mask & vase).sum() / (mask | vase).sum() > 0.9
    for other in (plain_texture(), np.full((300, 400, 3), 90, np.uint8)):
        subject = find_subject(other, weight_of(other))
        assert subject.confidence < ENOUGH
        assert relief_from_subject(other, subject).is_flat


def test_maps_that_do_not_belong_are_refused():
    with pytest.raises(MediaError) as refused:
        relief_from_map(PIXELS, np.zeros((100, 100), np.float32))
    assert refused.value.code == "picture.other_shape"
    even = np.full(DEPTH.shape, 0.4, np.float32)
    for made in (relief_from_map, relief_from_mask):
        with pytest.raises(MediaError) as refused:
            made(PIXELS, even)
        assert refused.value.code == "picture.even_map"


def test_a_mask_makes_two_layers():
    relief = relief_from_mask(PIXELS, (DEPTH > 0.8).astype(np.float32))
    scene = make_scene(PIXELS, relief, weight_of(PIXELS), Wish("orbit", 10, 0.4, (640, 360), depth=1.0))
    assert scene.layers == 2


def test_an_upright_picture_in_a_wide_frame_is_shown_whole_where_a_crop_would_lose_too_much():
    tall = np.ascontiguousarray(np.rot90(PIXELS))[:, 100:500]
    even = np.ones((16, 16), np.float32)
    wish = Wish("push", 10, 2.0, (640, 360))
    whole = make_scene(tall, flat(tall.shape[1::-1]), even, wish)
    assert whole.is_whole
    middle = np.zeros((16, 16), np.float32)
    middle[6:9] = 1
    cropped = make_scene(tall, flat(tall.shape[1::-1]), middle, wish)
    assert not cropped.is_whole
    asked = make_scene(tall, flat(tall.shape[1::-1]), middle, wish, whole=True)
    frame = rgb(asked.stage.draw(Camera()))
    assert asked.is_whole
    assert frame[:, :40].std() < frame[:, 300:340].std()


def test_the_subject_stays_in_the_frame():
    weight = np.zeros((12, 16), np.float32)
    weight[3, 13] = 1  # far right, high
    for shape, size in SIZES.items():
        scene = make_scene(PIXELS, flat((960, 720)), weight, Wish("push", 20, 3.0, size), whole=False)
        x, y = 13.5 / 16 * 960, 3.5 / 12 * 720
        pose = scene.path[-1]
        (cx, cy), per, short = scene.framed.middle, scene.framed.per_px, min(size)
        seen_x = ((x - cx) / per - short * pose.pan[0]) * pose.zoom
        seen_y = ((y - cy) / per - short * pose.pan[1]) * pose.zoom
        assert abs(seen_x) < 0.47 * size[0], shape
        assert abs(seen_y) < 0.47 * size[1], shape


def test_a_still_for_a_model_has_the_size_it_asks_for():
    for size in SIZES.values():
        assert framed_still(PIXELS, weight_of(PIXELS), size).shape == (size[1], size[0], 3)


def test_the_pace_is_even_soft_at_both_ends_and_never_dead():
    steps = np.diff([ease(n / 200) for n in range(201)])
    assert ease(0) == 0
    assert ease(1) == pytest.approx(1)
    assert steps[60:140].std() < 1e-9
    assert 0.2 * steps.max() < steps[0] < 0.3 * steps.max()
    assert steps.min() == pytest.approx(steps[0])


def test_movement_is_finer_than_a_pixel():
    """A slow push: each frame's mean shift follows the curve, none stands still to jump later."""
    scene, _ = scene_of("push", frames=100, depth=False)
    rows = [scene.stage.draw(pose).y[180].astype(np.float64) for pose in scene.path[40:60]]
    changes = [np.abs(b - a).mean() for a, b in itertools.pairwise(rows)]
    assert min(changes) > 0.4 * max(changes)


@pytest.mark.parametrize("move", ["orbit", "push", "dolly-zoom", "swing", "pull"])
def test_cells_of_one_layer_drawn_at_once_are_as_if_every_layer_were_drawn_everywhere(move):
    scene, wish = scene_of(move, strength=2.0, frames=9)
    drawn = [frame_of(scene, number, air_of(wish, scene)) for number in range(9)]
    for page in scene.stage._sheet.pages:
        if page.cover:
            page.cover.seen[:], page.cover.solid[:] = 255, 0
    for number, frame in enumerate(drawn):
        other = frame_of(scene, number, air_of(wish, scene))
        for one, two in ((frame.y, other.y), (frame.u, other.u), (frame.v, other.v)):
            assert np.abs(one.astype(int) - two).max() <= 3


def test_mist_has_the_light_of_its_place():
    bright, dark = (PIXELS, (PIXELS * 0.15).astype(np.uint8))
    added = []
    for pixels in (bright, dark):
        scene, wish = scene_of("drift-mist", pixels=pixels, depth=False)
        clear = scene.stage.draw(scene.path[12]).y.astype(float)
        added.append((frame_of(scene, 12, air_of(wish, scene)).y - clear).max())
    assert added[0] > 40
    assert 4 < added[1] < 0.6 * added[0]


def test_mist_and_light_follow_depth():
    """Mist is the thicker the farther, evenly over a slope; light falls behind what is in front rather than on it."""
    slope = np.tile(np.linspace(0, 1, 720, dtype=np.float32)[:, None], (1, 960))
    pixels = np.full((720, 960, 3), 60, np.uint8)
    wish = Wish("drift-mist", 25, 1.0, (640, 360), depth=1.0)
    scene = make_scene(pixels, relief_from_map(pixels, slope), weight_of(pixels), wish)
    added = frame_of(scene, 20, air_of(wish, scene)).y.astype(float).mean(axis=1) - 16 - 60 * 219 / 255
    assert added[120:200].mean() > 2 * added[280:340].mean()
    assert np.abs(np.diff(added)).max() < 3
    mask = np.zeros((720, 960), np.float32)
    mask[:, 320:640] = 1
    lit = replace(wish, move="drift-light")
    scene = make_scene(pixels, relief_from_mask(pixels, mask), weight_of(pixels), lit)
    added = frame_of(scene, 20, air_of(lit, scene)).y[:120].astype(float).mean(axis=0) - 67
    assert added[220:420].mean() < 0.6 * max(added[:150].mean(), added[490:].mean())


def test_mist_drifts_no_faster_in_a_short_loop():
    paces = []
    for loop in (False, True):
        scene, wish = scene_of("drift-mist", frames=50, depth=False, loop=loop)
        air = air_of(wish, scene)
        frames = [frame_of(scene, number, air).y.astype(int) for number in range(20, 26)]
        paces.append(np.mean([np.abs(b - a).mean() for a, b in itertools.pairwise(frames)]))
    assert paces[1] < 2.5 * paces[0]


def test_a_mask_tells_what_a_crop_must_keep():
    """A tall frame of a wide picture: the thing that is marked fits, so it is not shown as a small card."""
    mask = np.zeros((720, 960), np.float32)
    mask[250:500, 120:330] = 1
    everywhere = np.ones((12, 16), np.float32)
    wish = Wish("orbit", 5, 1.0, (360, 640), depth=1.0)
    assert make_scene(PIXELS, flat((960, 720)), everywhere, wish).is_whole
    assert not make_scene(PIXELS, relief_from_mask(PIXELS, mask), everywhere, wish).is_whole


def test_what_is_mirrored_behind_a_ragged_rim_is_no_lattice():
    """Stripes go on as stripes, though the rim of the hole is frayed."""
    rng = np.random.default_rng(3)
    row = (128 + 90 * np.sin(np.arange(400) / 6)).astype(np.uint8)
    pixels = np.repeat(np.tile(row[:, None], (1, 500))[..., None], 3, axis=2)
    hole = np.zeros((400, 500), bool)
    hole[100:300, 150:350] = True
    fray = rng.random((400, 500)) < 0.5
    hole[90:310, 140:360] |= fray[90:310, 140:360]
    filled = fill_colour(pixels, hole, 24.0)[..., 0].astype(float)
    rim = np.abs(np.diff(filled, 2, axis=1))[150:250, 141:152]
    assert rim.mean() < 12


def test_faces_draw_the_eye_more_than_anything_else():
    weight = np.zeros((12, 16), np.float32)
    weight[9, 2] = 1
    faced = with_faces(weight, [(0.7, 0.1, 0.1, 0.2)])
    assert np.unravel_index(faced.argmax(), faced.shape) == (2, 11)
    assert np.array_equal(with_faces(weight, []), weight)
