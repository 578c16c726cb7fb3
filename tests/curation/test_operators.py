"""The operators of the first scan: one suite for all and a guest, then each held to pictures whose truth is known."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from face_factory import draw_face, plain
from view_factory import batch, burst, flat, packets, scenery, sound, view

from malan.core import Finding
from malan.core.errors import UsageError
from malan.curation.operator import READS, Batch, ClipView, Damage, Operator, Vector, check_operators, finding
from malan.curation.operators import BUILT_IN, all_operators
from malan.curation.operators.colour import DominantColours
from malan.curation.operators.faces import FacesInView
from malan.curation.operators.hearing import Loudness, Silence, SpeechSegments
from malan.curation.operators.light import SceneLight
from malan.curation.operators.motion import MotionClass
from malan.curation.operators.prints import VideoFingerprint
from malan.curation.operators.quality import DecodingDamage, TechnicalQuality
from malan.curation.operators.similar import DIMENSIONS, LooksLike


class Brightness:
    """A guest: somebody else's operator."""

    name = "guest.brightness"
    version = "7"
    reads = frozenset({"pictures"})
    emits = ("guest.brightness",)

    def run(self, batch: Batch) -> Sequence[Finding]:
        return [
            finding(self, v, "guest.brightness", {"mean": v.samples[0].luma_HW.mean()})
            for v in batch.views
            if v.samples
        ]


needs_face_weights = pytest.mark.skipif(not FacesInView.is_ready(), reason="the weights of faces are not installed")
EVERYONE = [*all_operators(), Brightness()]


def rich_view() -> ClipView:
    texture = scenery(3, (160, 90))[..., 0].astype(np.float32)
    heard = sound([0.9] * 40 + [0.0] * 40, [-20.0] * 40 + [-90.0] * 40, [-23.0] * 12 + [-90.0] * 12)
    return view(
        [scenery(1), scenery(2)],
        [burst([texture, np.roll(texture, 1, 1)])],
        packets=packets([9000, *[300] * 49]),
        sound=heard,
        damage=(Damage(0.5, 0.6, 3, "video"),),
    )


@pytest.mark.parametrize("operator", EVERYONE, ids=lambda o: o.name)
class TestEveryOperator:
    """The conformance suite of the protocol."""

    def test_keeps_the_protocol(self, operator: Operator) -> None:
        assert isinstance(operator, Operator)
        assert operator.name
        assert operator.version
        assert operator.reads <= READS
        assert operator.emits

    def test_emits_only_what_it_declares_under_its_own_name(self, operator: Operator) -> None:
        for learned in operator.run(batch(rich_view(), replace(rich_view(), is_whole=True, samples=()))):
            assert learned.kind in operator.emits
            assert (learned.producer, learned.version) == (operator.name, operator.version)

    def test_learns_something_of_a_clip_with_everything(self, operator: Operator) -> None:
        assert operator.run(batch(rich_view(), replace(rich_view(), is_whole=True, samples=())))

    def test_says_the_same_twice(self, operator: Operator) -> None:
        first, second = (operator.run(batch(rich_view())) for _ in range(2))
        assert [_identity(item) for item in first] == [_identity(item) for item in second]

    def test_findings_are_plain_json_with_a_confidence_between_0_and_1(self, operator: Operator) -> None:
        for learned in operator.run(batch(rich_view(), replace(rich_view(), is_whole=True, samples=()))):
            if isinstance(learned, Finding):
                json.dumps(dict(learned.value), allow_nan=False)
                assert learned.confidence is None or 0 <= learned.confidence <= 1

    def test_is_silent_about_a_clip_of_which_nothing_is_known(self, operator: Operator) -> None:
        assert list(operator.run(batch(view()))) == []

    def test_takes_an_empty_batch(self, operator: Operator) -> None:
        assert list(operator.run(batch())) == []

    def test_stays_calm_about_black_white_and_tiny_pictures(self, operator: Operator) -> None:
        for picture in (flat((0, 0, 0)), flat((255, 255, 255)), flat((9, 200, 3), (18, 16))):
            still = burst([np.zeros((16, 16), np.float32)] * 3)
            operator.run(batch(view([picture], [still], packets=packets([500, 20, 20]))))


def _identity(item: Finding | Vector) -> object:
    return item.id if isinstance(item, Finding) else (item.clip.id, item.values.tobytes())


def test_two_operators_of_one_name_are_refused() -> None:
    with pytest.raises(UsageError, match=r"guest\.brightness"):
        check_operators([Brightness(), Brightness()])


def test_an_operator_that_reads_what_nobody_offers_is_refused() -> None:
    class Smell(Brightness):
        reads = frozenset({"smell"})

    with pytest.raises(UsageError, match="smell"):
        check_operators([Smell()])


def test_all_operators_have_names_of_their_own() -> None:
    assert len({operator.name for operator in all_operators()}) == len(BUILT_IN) - (not FacesInView.is_ready())


# quality.technical


def quality(*rgbs: np.ndarray, **more: object) -> dict[str, object]:
    (found,) = TechnicalQuality().run(batch(view(rgbs, **more)))
    return dict(found.value)


def test_a_blurred_picture_scores_more_blur_than_the_sharp_one() -> None:
    sharp = scenery(5, (640, 360), cell=2)
    soft = sharp.astype(np.float32)
    for axis in (0, 1):
        soft = sum(np.roll(soft, shift, axis) for shift in range(-4, 5)) / 9
    assert quality(sharp)["blur"] + 0.2 < quality(soft.astype(np.uint8))["blur"]


def test_a_flat_picture_has_no_blur_to_speak_of() -> None:
    assert quality(flat((120, 120, 120)))["blur"] is None


def test_exposure_follows_brightness_and_clipping_is_counted() -> None:
    half_white = flat((60, 60, 60))
    half_white[:, 160:] = 255
    assert quality(flat((40, 40, 40)))["exposure"] < 0.2 < 0.8 < quality(flat((230, 230, 230)))["exposure"]
    assert quality(half_white)["clipped_bright"] == pytest.approx(0.5, abs=0.02)


def test_black_pictures_are_told_with_the_reason() -> None:
    (found,) = TechnicalQuality().run(batch(view([flat((0, 0, 0)), flat((0, 0, 0)), flat((2, 2, 2)), scenery()])))
    assert found.value["black_share"] == 0.75
    (dark,) = TechnicalQuality().run(batch(view([flat((0, 0, 0))])))
    assert "black" in (dark.reason or "")


@pytest.mark.parametrize(
    ("bars", "name", "share"), [((22, 0), "letterbox", 44 / 180), ((0, 40), "pillarbox", 80 / 320), ((0, 0), "none", 0)]
)
def test_bars_are_measured_to_the_row(bars: tuple[int, int], name: str, share: float) -> None:
    picture = np.maximum(scenery(8), 60)
    above, beside = bars
    picture[:above] = picture[180 - above :] = 0
    picture[:, :beside] = picture[:, 320 - beside :] = 0
    found = quality(picture)
    assert found["bars"] == name
    assert found["letterbox_share"] == pytest.approx(share, abs=0.012)


def test_a_dark_sky_is_no_bar() -> None:
    picture = scenery(8).astype(np.float32)
    picture[:60] *= (np.arange(60) / 60)[:, None, None] ** 2
    assert quality(picture.astype(np.uint8))["bars"] == "none"


def test_a_freeze_is_a_run_of_tiny_packets_over_equal_pictures() -> None:
    still = scenery(4)
    sizes = [9000, *[900] * 24, *[28] * 25]
    assert quality(still, still, still, still, packets=packets(sizes))["freeze_share"] == 0.5


def test_tiny_packets_over_changing_pictures_are_no_freeze() -> None:
    sizes = [9000, *[28] * 49]
    assert quality(scenery(1), scenery(2), scenery(3), packets=packets(sizes))["freeze_share"] == 0


# quality.damage


def test_damage_is_told_with_its_place() -> None:
    (found,) = DecodingDamage().run(batch(view(damage=(Damage(1.0, 1.2, 5, "video"),)), view()))
    assert found.value["frames"] == 5
    assert found.value["ranges"] == [{"start_s": 1.0, "end_s": 1.2, "frames": 5, "track": "video"}]


# motion.class


def moving(right: float = 0, down: float = 0, growth: float = 0, steps: int = 4, jitter: float = 0) -> ClipView:
    """A clip of a soft texture that moves so many pixels (of 160) a frame of 0.08 s."""
    rng = np.random.default_rng(2)
    pictures = []
    for step in range(steps):
        shake = rng.normal(0, jitter, 2) if jitter else (0, 0)
        ys, xs = np.mgrid[:90, :160].astype(np.float64)
        scale = 1 + growth * step
        x = (xs - 80) / scale - right * step - shake[0]
        y = (ys - 45) / scale - down * step - shake[1]
        waves = sum(np.sin(x / a + y / b + c) for a, b, c in ((7, 19, 0), (-13, 9, 1), (23, -11, 2), (5, 6, 3)))
        pictures.append((128 + 25 * waves).astype(np.float32))
    return view(bursts=[burst(pictures)])


@pytest.mark.parametrize(
    ("clip_view", "name"),
    [
        (moving(), "static"),
        (moving(right=-3), "pan"),
        (moving(down=2), "tilt"),
        (moving(growth=0.02), "zoom"),
        (moving(jitter=2.0, steps=5), "handheld"),
    ],
    ids=["static", "pan", "tilt", "zoom", "handheld"],
)
def test_camera_movements_are_named(clip_view: ClipView, name: str) -> None:
    (found,) = MotionClass().run(batch(clip_view))
    assert found.value["class"] == name


def test_the_speed_of_a_pan_is_in_widths_a_second() -> None:
    (found,) = MotionClass().run(batch(moving(right=-3)))
    assert found.value["camera_right"] == pytest.approx(3 / 160 / 0.08, rel=0.05)


def test_much_movement_before_a_still_camera_is_action() -> None:
    rng = np.random.default_rng(4)
    background = scenery(6, (160, 90))[..., 0].astype(np.float32)
    pictures = []
    for _ in range(4):
        picture = background.copy()
        for x, y in rng.integers(0, 90, (14, 2)):
            picture[y : y + 22, x : x + 30] = 255 - picture[y : y + 22, x : x + 30]
        pictures.append(picture)
    (found,) = MotionClass().run(batch(view(bursts=[burst(pictures)])))
    assert found.value["class"] == "action"


def test_a_flash_is_no_movement() -> None:
    texture = scenery(6, (160, 90))[..., 0].astype(np.float32)
    (found,) = MotionClass().run(batch(view(bursts=[burst([texture, texture, texture * 0 + 250, texture, texture])])))
    assert found.value["class"] == "static"


# colour.dominant and scene.light


@pytest.mark.parametrize(
    ("rgb", "name", "zh"),
    [
        ((200, 30, 30), "red", "红"),
        ((240, 140, 30), "orange", "橙"),
        ((235, 215, 50), "yellow", "黄"),
        ((40, 140, 50), "green", "绿"),
        ((30, 170, 170), "cyan", "青"),
        ((40, 70, 200), "blue", "蓝"),
        ((130, 50, 170), "purple", "紫"),
        ((240, 150, 180), "pink", "粉"),
        ((110, 70, 40), "brown", "棕"),
        ((225, 205, 175), "beige", "米"),
        ((250, 250, 250), "white", "白"),
        ((128, 128, 128), "grey", "灰"),
        ((6, 6, 6), "black", "黑"),
    ],
)
def test_colours_have_the_names_people_give_them(rgb: tuple[int, int, int], name: str, zh: str) -> None:
    (found,) = DominantColours().run(batch(view([flat(rgb)])))
    assert [(c["name"], c["zh"]) for c in found.value["colours"]] == [(name, zh)]


def test_shares_of_colours_are_areas() -> None:
    picture = flat((40, 70, 200))
    picture[120:] = (40, 140, 50)
    (found,) = DominantColours().run(batch(view([picture])))
    shares = {c["name"]: c["share"] for c in found.value["colours"]}
    assert shares == {"blue": pytest.approx(2 / 3, abs=0.02), "green": pytest.approx(1 / 3, abs=0.02)}


def test_bars_do_not_count_as_black() -> None:
    picture = flat((200, 30, 30))
    picture[:30] = picture[150:] = 0
    (found,) = DominantColours().run(batch(view([picture])))
    assert [c["name"] for c in found.value["colours"]] == ["red"]


def test_lamps_in_the_dark_are_night_and_a_bright_scene_is_day() -> None:
    night = (scenery(2) // 5).astype(np.uint8)
    night[40:48, 60:70] = night[90:96, 200:210] = (250, 230, 180)
    names = [
        f.value["class"] for f in SceneLight().run(batch(view([night]), view([scenery(2)]), view([flat((90,) * 3)])))
    ]
    assert names == ["night", "day", "mixed"]


def test_black_is_not_night() -> None:
    assert SceneLight().run(batch(view([flat((0, 0, 0))]))) == []


# descriptor.look and fingerprint.video


def vector(*rgbs: np.ndarray) -> np.ndarray:
    (found,) = LooksLike().run(batch(view(rgbs)))
    return found.values


def test_descriptors_are_unit_vectors_of_one_size() -> None:
    found = vector(scenery(1))
    assert found.shape == (DIMENSIONS,)
    assert found.dtype == np.float32
    assert np.linalg.norm(found) == pytest.approx(1, abs=1e-5)


def test_what_looks_alike_is_nearer_than_what_does_not() -> None:
    original = scenery(1)
    brighter = np.clip(original.astype(int) + 15, 0, 255).astype(np.uint8)
    assert vector(original) @ vector(brighter) > 0.95 > 0.9 > vector(original) @ vector(255 - original)


def test_black_clips_have_no_fingerprint() -> None:
    assert VideoFingerprint().run(batch(view([flat((0, 0, 0))]))) == []


# speech.segment, audio.loudness, audio.silence


def whole(heard: object) -> ClipView:
    return view(sound=heard, is_whole=True, duration_s=10.0)


def test_speech_is_told_segment_by_segment_short_pauses_bridged() -> None:
    spoken = [0.0] * 20 + [0.95] * 30 + [0.1] * 5 + [0.95] * 30 + [0.0] * 60 + [0.9] * 20 + [0.0] * 20
    found = SpeechSegments().run(batch(whole(sound(spoken, [-20.0] * len(spoken), [-23.0] * 60))))
    assert [(round(f.clip.span.start_s, 2), round(f.clip.span.end_s, 2)) for f in found] == [(0.58, 2.78), (4.58, 5.34)]


def test_a_cough_is_no_speech() -> None:
    spoken = [0.0] * 20 + [0.9] * 4 + [0.0] * 20
    assert SpeechSegments().run(batch(whole(sound(spoken, [-20.0] * 44, [-23.0] * 12)))) == []


def test_silence_shorter_than_half_a_second_is_not_told() -> None:
    levels = [-20.0] * 10 + [-95.0] * 10 + [-20.0] * 10 + [-95.0] * 20 + [-20.0] * 10
    found = Silence().run(batch(whole(sound([0.0] * 60, levels, [-23.0] * 18))))
    assert [round(f.clip.span.start_s, 2) for f in found] == [0.96]


def test_the_whole_track_comes_with_its_curve_and_true_peak() -> None:
    heard = sound([0.0] * 60, [-20.0] * 60, [-23.0] * 18)
    clip_finding, track_finding = Loudness().run(batch(view(sound=heard), whole(heard)))
    assert clip_finding.value["integrated_lufs"] == track_finding.value["integrated_lufs"] == -23.0
    assert track_finding.value["true_peak_dbtp"] == -1.5
    assert track_finding.value["curve_lufs"] == [-23.0] * 18
    assert "curve_lufs" not in clip_finding.value


# privacy.face


@needs_face_weights
class TestFacesInView:
    def test_the_share_of_pictures_with_a_face_and_the_largest_are_told(self) -> None:
        [found] = FacesInView().run(batch(view([draw_face(plain(), 160, 90, 18), plain(), plain(), plain()])))
        assert found.value["share"] == 0.25
        assert found.value["class"] == "people"
        assert 0.1 < found.value["size"] < 0.3
        [face] = found.value["faces"]
        assert face["at_s"] == 0.0
        assert face["box"][0] < 0.5 < face["box"][0] + face["box"][2]

    def test_a_view_of_nobody_says_so(self) -> None:
        [found] = FacesInView().run(batch(view([scenery(1), scenery(2)])))
        assert (found.value["class"], found.value["share"], found.value["size"]) == ("none", 0, 0)
        assert found.value["faces"] == []

    def test_nothing_that_tells_people_apart_is_kept(self) -> None:
        [found] = FacesInView().run(batch(view([draw_face(plain(), 160, 90, 18)])))
        assert set(found.value) == {"class", "share", "size", "most", "pictures", "faces"}
        assert all(set(face) == {"at_s", "box", "score"} for face in found.value["faces"])

    def test_an_upright_picture_is_looked_at_upright(self) -> None:
        [found] = FacesInView().run(batch(view([draw_face(plain((180, 320)), 90, 100, 18)])))
        assert found.value["share"] == 1


def test_without_the_weights_a_scan_does_without_faces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FacesInView, "is_ready", staticmethod(lambda: False))
    assert "privacy.face" not in {operator.name for operator in all_operators()}
