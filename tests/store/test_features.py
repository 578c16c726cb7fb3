"""What was measured of a clip becomes one row of numbers, finite, in one layout."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from store.library_factory import a_scan, an_asset, shot

from malan.core import Finding
from malan.curation.colour import NAMES as COLOUR_NAMES
from malan.curation.operators.similar import DIMENSIONS
from malan.store import Library
from malan.store.features import _COLOURS, LOOK_WIDTH, NAMES, WIDTH, features_of


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library(tmp_path / "library")


def column(features_ND: np.ndarray, name: str) -> list[float]:
    return [round(float(one), 4) for one in features_ND[:, NAMES.index(name)]]


def scanned(library: Library, *findings: Finding, look: bool = True) -> list[str]:
    row = an_asset()
    scan = a_scan(row, ("", ""))
    vectors = {clip.id: np.full(LOOK_WIDTH, LOOK_WIDTH**-0.5, np.float32) for clip in scan.clips or ()}
    library.put_assets([row])
    library.put_scan(replace(scan, findings=findings, descriptors=vectors if look else {}))
    return [clip.id for clip in scan.clips or ()]


def found(number: int, kind: str, value: dict[str, object], author: str = "operator") -> Finding:
    return Finding(shot(an_asset(), number), kind, kind, "1", value, author=author)


def test_the_layout_follows_what_operators_measure() -> None:
    assert LOOK_WIDTH == DIMENSIONS
    assert tuple(name for name, _ in COLOUR_NAMES) == _COLOURS
    assert len(set(NAMES)) == WIDTH


def test_clips_come_in_the_order_asked_for(library: Library) -> None:
    ids = scanned(library, found(0, "scene.light", {"brightness": 0.1}), found(1, "scene.light", {"brightness": 0.9}))
    assert column(features_of(library, ids), "scene.light.brightness") == [0.1, 0.9]
    assert column(features_of(library, reversed(ids)), "scene.light.brightness") == [0.9, 0.1]


def test_a_group_that_was_not_measured_is_zero_and_says_so(library: Library) -> None:
    ids = scanned(library, found(0, "motion.class", {"class": "pan", "camera_right": 0.2}), look=False)
    features = features_of(library, ids)
    assert column(features, "motion.class.known") == [1, 0]
    assert column(features, "motion.class.pan") == [1, 0]
    assert column(features, "look.known") == [0, 0]
    assert not features[1, : NAMES.index("length")].any()


def test_a_look_has_numbers_of_the_order_of_one(library: Library) -> None:
    ids = scanned(library)
    assert column(features_of(library, ids), "look.7") == [1, 1]


@pytest.mark.parametrize("value", [None, "loud", 1e300, True, {"a": 1}])
def test_whatever_a_finding_says_the_numbers_are_finite(library: Library, value: object) -> None:
    names = ("class", "camera_right", "brightness", "colours", "saturation", "blur", "integrated_lufs", "wobble")
    kinds = ("motion.class", "scene.light", "colour.dominant", "quality.technical", "audio.loudness")
    said = {name: value for name in names if not (name == "colours" and value is not None)}
    ids = scanned(library, *(found(0, kind, {**said, "colours": []}) for kind in kinds))
    features = features_of(library, ids)
    assert np.isfinite(features).all()
    assert np.abs(features).max() <= 16


def test_what_people_say_is_not_measured(library: Library) -> None:
    ids = scanned(library, found(0, "scene.light", {"brightness": 0.7}, author="person:li"))
    assert column(features_of(library, ids), "scene.light.brightness") == [0, 0]


def test_a_clip_that_is_not_there_is_all_zero(library: Library) -> None:
    ids = scanned(library)
    features = features_of(library, [ids[0], "f" * 64])
    assert features.shape == (2, WIDTH)
    assert not features[1].any()
