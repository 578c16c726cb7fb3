"""Recognisers and voices of sherpa-onnx, on models whose letters are tones."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest
from onnx_factory import RATE_HZ, VOICE_TONES, model, node, takes, tones, write_listener, write_voice

from malan.core.errors import MalanError, NotFound, Rejected, UsageError, WorkerDied
from malan.inference.apart import Apart
from malan.inference.backends import SpeechAsk
from malan.inference.depth import files_below
from malan.inference.listening import FAMILIES, LONGEST_S, SherpaListener, family_of, open_listener, pieces
from malan.inference.opening import Opening
from malan.inference.speaking import SherpaSpeaker, sentences, voice_files

pytest.importorskip("sherpa_onnx")


@pytest.fixture(scope="module")
def listener(tmp_path_factory: pytest.TempPathFactory):
    made = SherpaListener(files_below(write_listener(tmp_path_factory.mktemp("listener"))), threads=1)
    yield made
    made.close()


@pytest.fixture(scope="module")
def speaker(tmp_path_factory: pytest.TempPathFactory):
    made = SherpaSpeaker(files_below(write_voice(tmp_path_factory.mktemp("voice"))), threads=1)
    yield made
    made.close()


def test_chinese_gives_a_word_a_character_with_its_times(listener: SherpaListener) -> None:
    said = listener.transcribe(tones("马栏山水水"))
    assert said.text == "马栏山水水"
    assert said.language == "zh"
    assert [word.text for word in said.words] == list("马栏山水水")
    for place, word in enumerate(said.words):
        assert word.start_s == pytest.approx(0.1 + 0.4 * place, abs=0.05)
        assert word.start_s < word.end_s <= word.start_s + 0.8


def test_pieces_of_english_words_are_put_together(tmp_path: Path) -> None:
    listener = SherpaListener(files_below(write_listener(tmp_path, english=True)), threads=1)
    said = listener.transcribe(tones(["▁HEL", "LO", "▁THE", "RE"]))
    listener.close()
    assert said.text == "HELLO THERE"
    assert [word.text for word in said.words] == ["HELLO", "THERE"]
    assert said.words[1].start_s == pytest.approx(0.9, abs=0.05)


def test_long_sound_is_heard_whole_and_in_order(listener: SherpaListener) -> None:
    said = listener.transcribe(tones("马栏山水" * 45))  # 72 s
    assert said.text == "马栏山水" * 45
    starts = [word.start_s for word in said.words]
    assert starts == sorted(starts)
    assert starts[-1] == pytest.approx(71.7, abs=0.1)


def test_long_sound_is_cut_in_pauses(listener: SherpaListener) -> None:
    sound = tones("马栏山水" * 45)
    cuts = [end for _, end in pieces(sound)][:-1]
    assert cuts
    assert all(np.abs(sound[cut - 80 : cut + 80]).max() == 0 for cut in cuts)
    assert all(end - first <= LONGEST_S * RATE_HZ for first, end in pieces(sound))


@pytest.mark.parametrize("samples", [np.zeros(0), np.zeros(100), np.zeros(RATE_HZ), np.full(RATE_HZ, 1e-30)])
def test_silence_and_next_to_nothing_say_nothing(listener: SherpaListener, samples: np.ndarray) -> None:
    assert listener.transcribe(samples.astype(np.float32)).text == ""


@pytest.mark.parametrize("samples", [np.zeros((9, 2), np.float32), np.full(RATE_HZ, np.nan, np.float32)])
def test_what_is_no_mono_sound_is_refused(listener: SherpaListener, samples: np.ndarray) -> None:
    with pytest.raises(UsageError):
        listener.transcribe(samples)


def test_whoever_does_not_wait_any_more_is_let_go(listener: SherpaListener) -> None:
    def stop() -> None:
        raise UsageError("encoder.empty_text")

    with pytest.raises(UsageError):
        listener.transcribe(tones("马"), stop=stop)
    assert listener.transcribe(tones("马")).text == "马"


def test_a_process_that_died_takes_nobody_along_and_is_started_again(listener: SherpaListener) -> None:
    child = listener._apart._child
    assert child is not None
    os.kill(child.process.pid, signal.SIGKILL)
    child.process.wait()
    assert listener.transcribe(tones("山")).text == "山"


def test_a_model_that_ends_its_process_is_told_as_an_error(tmp_path: Path) -> None:
    folder = write_listener(tmp_path)
    (folder / "tokens.txt").write_text("not a table of tokens\n")
    with pytest.raises(MalanError) as told:
        SherpaListener(files_below(folder))
    assert isinstance(told.value, WorkerDied | Rejected)


def test_a_child_whose_maker_is_not_there_is_told() -> None:
    with pytest.raises(WorkerDied):
        Apart("malan.inference.apart:nobody", {}, "x").open()


def test_the_family_is_read_from_the_files(tmp_path: Path) -> None:
    assert family_of(files_below(write_listener(tmp_path)))[0] == "zipformer_ctc"


def test_every_family_is_one_that_the_wheel_can_make() -> None:
    import inspect

    import sherpa_onnx

    for family, arguments in FAMILIES.items():
        known = inspect.signature(getattr(sherpa_onnx.OfflineRecognizer, f"from_{family}")).parameters
        assert {*arguments, "tokens", "num_threads", "provider"} <= set(known)


def test_a_family_that_cannot_be_told_must_be_named(tmp_path: Path) -> None:
    folder = write_voice(tmp_path)
    with pytest.raises(Rejected) as refused:
        family_of(files_below(folder))
    assert "models.toml" in str(refused.value)
    with pytest.raises(UsageError):
        family_of(files_below(folder), "parrot")


def test_a_model_without_tokens_is_refused(tmp_path: Path) -> None:
    folder = write_listener(tmp_path)
    (folder / "tokens.txt").unlink()
    with pytest.raises(NotFound):
        SherpaListener(files_below(folder))


@pytest.mark.parametrize("threads", ["two", 0, 1000, True, 1.5])
def test_an_option_that_makes_no_sense_is_refused(threads: object) -> None:
    with pytest.raises(UsageError) as refused:
        open_listener(Opening("ear", "transcription", options={"threads": threads}))
    assert refused.value.code == "speech.bad_option"


# Speaking


def heard(samples: np.ndarray, rate_hz: int, place: int, letter_s: float = 0.1) -> float:
    """The loudest frequency of a letter."""
    count = round(letter_s * rate_hz)
    part = samples[place * count : (place + 1) * count] * np.hanning(count)
    return float(np.argmax(np.abs(np.fft.rfft(part, rate_hz))))


def test_each_letter_sounds_as_it_shall(speaker: SherpaSpeaker) -> None:
    said = speaker.speak(SpeechAsk("马栏山水"))
    assert said.rate_hz == 16_000
    assert said.seconds == pytest.approx(0.4, abs=0.01)
    for place, letter in enumerate("马栏山水"):
        assert heard(said.samples_NC[:, 0], said.rate_hz, place) == pytest.approx(VOICE_TONES[letter], abs=12)


def test_sentences_are_spoken_one_after_the_other_with_a_pause(speaker: SherpaSpeaker) -> None:
    said = speaker.speak(SpeechAsk("马栏。山水。"))
    assert said.seconds == pytest.approx(0.6, abs=0.02)
    middle = said.samples_NC[round(0.25 * said.rate_hz) : round(0.35 * said.rate_hz)]
    assert np.abs(middle).max() < 0.01


def test_speed_makes_it_shorter(speaker: SherpaSpeaker) -> None:
    assert speaker.speak(SpeechAsk("马栏", speed=2.0)).seconds == pytest.approx(0.1, abs=0.01)


def test_what_the_lexicon_lacks_is_named(speaker: SherpaSpeaker) -> None:
    assert speaker.unspoken("马栏 xyz 龙") == ("xyz", "龙")
    with pytest.raises(UsageError) as refused:
        speaker.speak(SpeechAsk("龙"))
    assert "龙" in str(refused.value)


@pytest.mark.parametrize(
    ("text", "voice", "speed"),
    [("", "", 1), ("  ", "", 1), ("马" * 30_000, "", 1), ("马", "", 9), ("马", "bob", 1)],
)
def test_what_cannot_be_asked_is_refused(speaker: SherpaSpeaker, text: str, voice: str, speed: float) -> None:
    with pytest.raises(UsageError):
        speaker.speak(SpeechAsk(text, voice=voice, speed=speed))


def test_a_voice_that_would_need_espeak_is_refused(tmp_path: Path) -> None:
    folder = write_voice(tmp_path)
    made = model(
        [node("Identity", ["x"], "y")], [takes("x", 1, "N")], [takes("y", 1, "N")], {}, comment="piper", voice="en-us"
    )
    (folder / "model.onnx").write_bytes(made.SerializeToString())
    with pytest.raises(Rejected) as refused:
        voice_files(files_below(folder))
    assert refused.value.code == "speech.no_lexicon"


def test_a_long_text_is_spoken_in_parts() -> None:
    text = "第一句话。第二句，" + "很长的话，" * 100 + "完。3.5 is a number. End"
    parts = list(sentences(text))
    assert parts[0] == "第一句话。"
    assert all(len(part) <= 240 for part in parts)
    assert "3.5 is a number." in parts
    assert "".join("".join(parts).split()) == "".join(text.split())


def test_marks_alone_are_not_spoken() -> None:
    assert list(sentences("……！？ — \n\n")) == []
