"""The three marks of one file: explicit label, implicit label, credential; in this order they hold, in no other."""

from __future__ import annotations

import dataclasses
import subprocess
from pathlib import Path

import pytest
from media_factory import draw_film

from malan.media.credentials import Chain, Credential, Ingredient, SourceType, new_chain, read_credential, sign_media
from malan.media.explicit import burn_label
from malan.media.labels import Label, verify, write_label

NAMES = (
    *("film.mp4", "film.mov", "sound.m4a", "sound.mp3", "sound.wav", "sound.flac"),
    *("picture.jpg", "picture.png"),
)
PROMO = Credential("预告片", "马栏影业", SourceType.AI_COMPOSITE)


@pytest.fixture(scope="module")
def chain() -> Chain:
    return new_chain("马栏影业")


@pytest.fixture(scope="module")
def burned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One small file of each kind that already carries its explicit label."""
    from imageio_ffmpeg import get_ffmpeg_exe

    folder = tmp_path_factory.mktemp("burned")
    film = draw_film(folder / "film.mp4", (30,), audio=True).path
    for name in NAMES[1:]:
        one = ["-frames:v", "1"] if name.startswith("picture") else ["-vn"] if name.startswith("sound") else []
        subprocess.run([get_ffmpeg_exe(), "-v", "error", "-i", film, *one, folder / name], check=True)
    for name in NAMES:
        burn_label(folder / name, folder / name)
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_label_first_and_sign_last_and_both_hold(burned: Path, tmp_path: Path, chain: Chain, name: str) -> None:
    labelled = tmp_path / f"labelled-{name}"
    write_label(burned / name, labelled, _label("propagator-one"))
    signed = sign_media(labelled, tmp_path / name, chain, PROMO).path
    assert read_credential(signed, (chain.root_pem,)).state == "trusted"
    assert verify(signed).verdict == "compliant"


@pytest.mark.parametrize("name", NAMES)
def test_a_label_written_after_signing_leaves_no_trusted_credential(
    burned: Path, tmp_path: Path, chain: Chain, name: str
) -> None:
    signed = sign_media(burned / name, tmp_path / name, chain, PROMO).path
    labelled = tmp_path / f"labelled-{name}"
    write_label(signed, labelled, _label("propagator-one"))
    assert verify(labelled).verdict == "compliant"
    assert read_credential(labelled, (chain.root_pem,)).state == "invalid"


@pytest.mark.parametrize("name", NAMES)
def test_publishing_again_names_a_new_propagator_and_the_parent(
    burned: Path, tmp_path: Path, chain: Chain, name: str
) -> None:
    labelled, relabelled = tmp_path / f"1-{name}", tmp_path / f"2-{name}"
    write_label(burned / name, labelled, _label("propagator-one"))
    published = sign_media(labelled, tmp_path / name, chain, PROMO).path
    write_label(published, relabelled, _label("propagator-two"))
    parent = Ingredient("预告片", "parentOf", path=published)
    again = sign_media(relabelled, relabelled, chain, dataclasses.replace(PROMO, ingredients=(parent,)))
    assert (again.report.state, again.report.manifest_count) == ("trusted", 2)
    verdict = verify(relabelled)
    assert verdict.verdict == "compliant"
    assert verdict.label is not None
    assert verdict.label["ContentPropagator"] == "propagator-two"


def _label(propagator: str) -> Label:
    return Label.first("001191440300708461136T1XGW3", "0192-7c-produce", content_propagator=propagator)
