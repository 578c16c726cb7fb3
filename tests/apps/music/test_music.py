"""The music app: from tags to a labelled file of exactly the length asked for, with notes, stems and a score."""

from __future__ import annotations

import json
import subprocess
from collections import namedtuple
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from model_factory import ANN, release_classifier, run_facts

from malan.apps.builtin import app_named
from malan.apps.music.app import LABEL_S
from malan.apps.music.bed import make_bed
from malan.apps.music.infer import fitted
from malan.apps.running import run_app
from malan.composing import bed
from malan.core.errors import MalanError, MissingExtra, NotFound, Rejected, StoreError, UsageError
from malan.inference.backends import MusicAsk, Sound
from malan.inference.music_lm import VOCABULARY, MusicModel, read_tokens
from malan.inference.tensors import Tensor, write_tensors
from malan.media.explicit.burn_sound import heard_at_start
from malan.media.labels.verify import glance
from malan.media.mastering import write_wav_24
from malan.media.midi import read_midi
from malan.services.engines.opening import BACKENDS, Backend
from malan.services.models.registry import register_model
from malan.services.outputs.manifests import trace_output
from malan.workspace import Workspace

CODE = "001191110000802100433B10001"  # a well-formed code of an organisation that does not exist


@pytest.fixture(scope="module")
def ws(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    root = tmp_path_factory.mktemp("music") / "ws"
    root.mkdir()
    (root / "malan.toml").write_text(f'organisation = "湖南台"\nproducer_code = "{CODE}"\n', "utf-8")
    return Workspace(root)


@pytest.fixture(scope="module")
def made(ws, tmp_path_factory):
    out = tmp_path_factory.mktemp("made")
    asked = {"tags": ("江南丝竹，宁静",), "seconds": 12.0, "stems": True, "format": ("wav", "m4a"), "seed": 3}
    return out, run_app(ws, "music", asked, out)[1]


def length_of(path: Path) -> float:
    said = ["ffprobe", "-v", "error", "-show_entries", "format=duration", "-of", "csv=p=0", str(path)]
    return float(subprocess.run(said, capture_output=True, text=True, check=True).stdout)


def samples_of(path: Path) -> np.ndarray:
    with av.open(str(path)) as opened:
        frames = [frame.to_ndarray() for frame in opened.decode(opened.streams.audio[0])]
    whole = np.concatenate(frames, axis=1)
    channels = 2 if whole.shape[0] == 1 else 1
    return whole.reshape(-1, channels) / 2**31 if channels == 2 else whole.T


def test_the_file_is_as_long_as_asked_with_its_label(made):
    out, told = made
    assert abs(length_of(out / "music.wav") - 12.0) <= 0.010
    assert abs(length_of(out / "music.m4a") - 12.0) <= 0.1
    assert told["music_s"] == pytest.approx(12.0 - LABEL_S)
    assert told["samples"] == round(48_000 * (12.0 - LABEL_S))


def test_the_file_carries_label_credential_and_log_entry(ws, made):
    out, told = made
    assert heard_at_start(out / "music.wav") == pytest.approx(0.0, abs=0.05)
    assert glance(out / "music.wav")
    [wav] = [one for one in told["files"] if one["what"] == "wav"]
    assert wav["event"]
    assert trace_output(ws, out / "music.wav").output_id == wav["output"]
    assert told["mode"] == "compose"
    assert told["engine"] == "malan-compose"


def test_the_loudness_is_what_was_asked(made):
    assert abs(made[1]["loudness_lufs"] + 16.0) <= 0.5
    assert made[1]["true_peak_dbtp"] <= -1.0


def test_notes_and_score_come_along(made):
    out, told = made
    piece = read_midi((out / "music.mid").read_bytes())
    assert {track.name for track in piece.tracks} == set(told["parts"])
    assert any("AI生成" in text for text in piece.texts)
    score = json.loads((out / "score.json").read_text("utf-8"))
    assert score["key"] == told["key"]
    assert score["label"] == "AI生成"


def test_a_person_is_told_in_a_line(made):
    [line] = made[1]["lines"]
    assert "jiangnan" in line
    assert "1.8" in line


def test_each_instrument_is_left_by_itself(made):
    out, told = made
    stems = sorted((out / "stems").glob("*.wav"))
    assert len(stems) == len(told["parts"])
    assert all(abs(length_of(stem) - 12.0) <= 0.010 for stem in stems)
    assert all(heard_at_start(stem) is not None for stem in stems)


def test_the_same_seed_gives_the_same_samples_notes_and_score(ws, made, tmp_path):
    asked = {"tags": ("江南丝竹，宁静",), "seconds": 12.0, "seed": 3}
    told = run_app(ws, "music", asked, tmp_path)[1]
    assert told["samples_sha256"] == made[1]["samples_sha256"]
    for name in ("music.mid", "score.json"):
        assert (tmp_path / name).read_bytes() == (made[0] / name).read_bytes()


def test_a_loop_leads_from_its_end_into_its_beginning(tmp_path):
    asked = {"tags": ("lofi",), "seed": 2}
    loop = samples_of(bed(8.0, tmp_path / "loop.wav", loop=True, **asked))
    plain = samples_of(bed(8.0, tmp_path / "plain.wav", **asked))
    assert len(loop) == len(plain) == 384_000
    seam = np.abs(loop[0] - loop[-1]).max()
    usual = np.quantile(np.abs(np.diff(loop, axis=0)), 0.999)
    assert seam <= 2 * usual
    assert np.abs(plain[-480:]).max() < 0.001 < np.abs(loop[-4800:]).max()


def test_cuts_are_struck_on_the_clock_of_the_file(ws, tmp_path):
    asked = {"tags": ("cinematic",), "seconds": 14.0, "hits": (5.0, 8.5)}
    told = run_app(ws, "music", asked, tmp_path)[1]
    for hit in told["hits"]:
        assert abs(hit["at_s"] - hit["asked_s"]) <= 0.02


def test_a_bed_for_a_film_has_its_length_and_no_label(tmp_path):
    part = make_bed(("国风", "宁静"), Fraction(77, 10), (1.5, 3.0, 99.0), 1, tmp_path / "bed.wav")
    assert part.share == "composite"
    assert abs(length_of(tmp_path / "bed.wav") - 7.7) <= 0.001
    assert heard_at_start(tmp_path / "bed.wav") is None


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"seconds": 0}, "music.bad_length"), ({"seconds": 36_000}, "music.bad_length"),
        ({"seconds": -1}, "music.bad_length"),
        ({"seconds": float("nan")}, "app.bad_request"), ({"seconds": "long"}, "app.bad_request"),
        ({"tags": ()}, "music.no_tag"),
        ({"tags": ("",)}, "music.no_tag"), ({"tags": ("\x00\x1b[31m",)}, "music.no_tag"),
        ({"tags": ("x" * 100_000,)}, "music.too_many_tags"),
        ({"tags": ("快", "慢")}, "music.contradiction"), ({"tags": ("pop", "摇滚")}, "music.contradiction"),
        ({"tempo": 500}, "music.bad_tempo"), ({"key": "Q"}, "music.bad_key"), ({"hits": (0.5,)}, "music.early_hit"),
        ({"hits": (99,)}, "music.early_hit"), ({"loudness": 0}, "app.bad_request"),
        ({"mode": "infer"}, "music.no_model"),
        ({"mode": "infer", "model": "x", "loop": True}, "music.only_compose"), ({"model": "x"}, "music.not_compose"),
        ({"format": ("ogg",)}, "app.bad_request"), ({"unknown": 1}, "app.bad_request"),
        ({"loop": True, "tempo": 121}, "music.no_loop"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_and_leaves_nothing(ws, tmp_path, asked, code):
    with pytest.raises(MalanError) as refused:
        run_app(ws, "music", {"tags": ("pop",), "seconds": 20.0, **asked}, tmp_path / "out")
    assert refused.value.code == code
    assert refused.value.hint("zh")
    assert not [path for path in (tmp_path / "out").glob("*") if path.suffix in (".wav", ".mid", ".json")]


def test_without_a_provider_code_nothing_is_made(tmp_path):
    bare = Workspace.create(tmp_path / "bare")
    with pytest.raises(UsageError) as refused:
        run_app(bare, "music", {"tags": ("pop",), "seconds": 6.0}, tmp_path / "out")
    assert refused.value.code == "publish.no_producer"
    assert not list((tmp_path / "out").glob("*.wav"))


def test_without_a_soundfont_the_app_says_what_to_install(ws, tmp_path, monkeypatch):
    monkeypatch.setenv("MALAN_SOUNDFONT", str(tmp_path / "none"))
    with pytest.raises(MissingExtra):
        run_app(ws, "music", {"tags": ("pop",), "seconds": 6.0}, tmp_path / "out")


def test_where_there_is_no_room_nothing_is_begun(ws, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("malan.apps.music.app.shutil.disk_usage", lambda _: usage(10**9, 10**9, 3_000_000))
    with pytest.raises(StoreError) as refused:
        run_app(ws, "music", {"tags": ("pop",), "seconds": 6.0, "stems": True}, tmp_path / "out")
    assert refused.value.code == "music.no_room"
    assert not [path for path in (tmp_path / "out").rglob("*") if path.suffix in (".wav", ".mid", ".json")]


def test_a_sound_that_cannot_be_written_is_a_typed_error(tmp_path):
    with pytest.raises(StoreError) as refused:
        write_wav_24(np.zeros((480, 2), np.float32), tmp_path / "nowhere" / "a.wav")
    assert refused.value.code == "render.not_written"


def test_a_tag_nobody_knows_is_answered_with_the_nearest_words(ws, tmp_path):
    with pytest.raises(UsageError) as refused:
        run_app(ws, "music", {"tags": ("忧愁",), "seconds": 6.0}, tmp_path)
    assert "忧伤" in refused.value.hint("zh")
    told = run_app(ws, "music", {"tags": ("pop", "cinematik"), "seconds": 6.0}, tmp_path)[1]
    assert any("cinematic" in line for line in told["lines"])


def test_a_stop_is_heard_while_it_plays(ws, tmp_path):
    calls = []

    def stop() -> None:
        calls.append(1)
        if len(calls) > 3:
            raise NotFound("app.no_run")

    with pytest.raises(NotFound):
        run_app(ws, "music", {"tags": ("pop",), "seconds": 60.0}, tmp_path / "out", stop_if_asked=stop)
    assert not list((tmp_path / "out").glob("*.wav"))


def drawn_weights(width: int = 32, layers: int = 2, length: int = 48) -> dict[str, np.ndarray]:
    lots = np.random.default_rng(5)
    held = {"embed.weight": (VOCABULARY, width), "position.weight": (length, width), "norm.weight": (width,)}
    for number in range(layers):
        name = f"blocks.{number}."
        held |= {
            name + "norm1.weight": (width,),
            name + "norm2.weight": (width,),
            name + "mix.weight": (3 * width, width),
        }
        held |= {
            name + "out.weight": (width, width),
            name + "up.weight": (4 * width, width),
            name + "down.weight": (width, 4 * width),
        }
    return {name: (0.3 * lots.standard_normal(shape)).astype(np.float32) for name, shape in held.items()}


def test_a_music_model_of_the_registry_writes_and_we_play(ws, tmp_path):
    weights = write_tensors([Tensor.of(name, values) for name, values in drawn_weights().items()])
    run = run_facts(7, algorithm="music-lm", parameters={"heads": 4})
    row = register_model(ws, weights, name="山歌", licence="Apache-2.0", run=run, shares={ANN: Fraction(1)})
    told = run_app(ws, "music", {"mode": "infer", "model": "山歌", "seconds": 9.0}, tmp_path)[1]
    assert abs(length_of(tmp_path / "music.wav") - 9.0) <= 0.010
    assert told["mode"] == "infer"
    assert told["engine"] == row.title
    assert read_midi((tmp_path / "music.mid").read_bytes()).tracks


def test_a_model_of_another_kind_is_refused(ws, tmp_path):
    release_classifier(ws)
    with pytest.raises(Rejected) as refused:
        run_app(ws, "music", {"mode": "infer", "model": "景别", "seconds": 9.0}, tmp_path)
    assert refused.value.code == "music.wrong_model"


def test_a_model_that_is_not_there_is_not_found(ws, tmp_path):
    with pytest.raises(NotFound):
        run_app(ws, "music", {"mode": "infer", "model": "nobody", "seconds": 9.0}, tmp_path)


def test_weights_that_are_no_music_model_are_refused():
    with pytest.raises(Rejected):
        MusicModel({"embed.weight": np.zeros((10, 4), np.float32)}, 4)


def test_tokens_that_make_no_sense_are_passed_over():
    lots = np.random.default_rng(0)
    for _ in range(50):
        notes = read_tokens(lots.integers(0, VOCABULARY, 200).tolist())
        assert all(note.length > 0 and 0 <= note.pitch < 128 for note in notes)


def test_a_small_model_repeats_itself_for_one_seed():
    model = MusicModel(drawn_weights(), 4)
    assert model.compose(40, 1) == model.compose(40, 1) != model.compose(40, 2)


@dataclass
class Hum:
    """An engine of a guest: a tone at another rate, one channel, longer than asked."""

    kind: str = "music"

    def play(self, ask: MusicAsk, **_: object) -> Sound:
        time = np.arange(round((ask.seconds + 1) * 22_050)) / 22_050
        return Sound((0.1 * np.sin(2 * np.pi * 220 * time))[:, None].astype(np.float32), 22_050)

    def close(self) -> None:
        pass


def open_hum(_opening: object) -> Hum:
    return Hum()


def test_an_engine_plays_and_we_master(ws, tmp_path, monkeypatch):
    opens = Backend(f"{__name__}:open_hum", frozenset({"music"}), needs_weights=False)
    monkeypatch.setitem(BACKENDS, "hum", opens)
    monkeypatch.setattr(Backend, "open", lambda self, opening: open_hum(opening))
    (ws.root / "models.toml").write_text('[engines.hummer]\nkind = "music"\nbackend = "hum"\n')
    try:
        asked = {"mode": "infer", "model": "hummer", "tags": ("安静",), "seconds": 8.0}
        told = run_app(ws, "music", asked, tmp_path)[1]
    finally:
        (ws.root / "models.toml").unlink()
        ws.devices.close()
    assert told["engine"] == "hummer"
    assert abs(length_of(tmp_path / "music.wav") - 8.0) <= 0.010
    assert abs(told["loudness_lufs"] + 16) <= 0.5


def test_what_an_engine_gives_is_fitted_to_the_length():
    for seconds in (0.5, 2.0, 3.5):
        out = fitted(np.ones((44_100, 1), np.float32), 44_100, seconds)
        assert out.shape == (round(48_000 * seconds), 2)


def test_the_card_foretells_seconds_and_files():
    app = app_named("music")
    expected = app.expect(app.request(tags=("pop",), seconds=33.0, format=("wav", "mp3")), None)
    assert (expected.seconds, expected.outputs) == (Fraction(33), 2)
