"""Speech to text with sherpa-onnx: Paraformer, Zipformer, SenseVoice, Whisper and their kin, from ONNX files.

    files ─ which family? ─▶ recogniser, in a process of its own ─▶ tokens with times ─▶ words

Which family it is, the files say: their names, and the `model_type` inside; `options.family` of `models.toml` decides
where they do not. Long sound is cut where it is quietest. Chinese gives a word a character; where a model tells no
times, there are no words, and none are invented. Start reading at `SherpaListener.transcribe`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from malan.core.errors import MissingExtra, NotFound, Rejected, UsageError
from malan.inference.apart import Apart, Facts
from malan.inference.backends import Kind, Stop, Transcript, Word, go_on
from malan.inference.onnx_guard import check_onnx
from malan.inference.opening import Opening
from malan.inference.speech import RATE_HZ

MAKER = "malan.inference.sherpa_child:listener"
LONGEST_S, SEARCHED_S = 28.0, 8.0  # Whisper hears 30 s; the cut is looked for in the last of them
SHORTEST_S = 0.1
_LAST_S, _LONGEST_WORD_S = 0.4, 0.8
_STEP_S = 0.02
_MOST_THREADS = 64

FAMILIES: Mapping[str, Mapping[str, str]] = {
    "transducer": {"encoder": "encoder", "decoder": "decoder", "joiner": "joiner"},
    "whisper": {"encoder": "encoder", "decoder": "decoder"},
    "fire_red_asr": {"encoder": "encoder", "decoder": "decoder"},
    "paraformer": {"paraformer": "model"},
    **{
        name: {"model": "model"}
        for name in (
            "sense_voice", "zipformer_ctc", "nemo_ctc", "wenet_ctc", "telespeech_ctc", "dolphin_ctc", "tdnn_ctc",
            "omnilingual_asr_ctc", "fire_red_asr_ctc",
        )
    },
}  # fmt: skip
"""Family → argument of its maker → part of a file's name."""
_BY_TYPE = (
    ("whisper", "whisper"), ("paraformer", "paraformer"), ("sense_voice", "sense_voice"),
    ("sense-voice", "sense_voice"), ("zipformer", "zipformer_ctc"), ("encdecctc", "nemo_ctc"),
    ("encdechybrid", "nemo_ctc"), ("wenet", "wenet_ctc"), ("telespeech", "telespeech_ctc"), ("dolphin", "dolphin_ctc"),
    ("tdnn", "tdnn_ctc"), ("omnilingual", "omnilingual_asr_ctc"), ("fire-red-asr-ctc", "fire_red_asr_ctc"),
    ("fire-red", "fire_red_asr"), ("fire_red", "fire_red_asr"),
)  # fmt: skip
_CHINESE = re.compile(r"[\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
_JAPANESE = re.compile(r"[\u3040-\u30ff]")
_TAG = re.compile(r"<\|.*?\|>")
_WORDLESS = re.compile(r"[^\w]+")

Samples = NDArray[np.float32]


class SherpaListener:
    """A recogniser that stands ready.

    Args:
        files: Of the model, by their names in its folder.
        name: What it is called in errors.
        family: One of `FAMILIES`; empty: what the files say.
        language: Told to models that want to know; empty: they find out.
        threads: Inside one run.
        device: `cpu`, or `cuda:0` where the wheel was built for it.
        stop: Raises when the opening shall end.

    Raises:
        MissingExtra: sherpa-onnx is not installed.
        NotFound: A file is missing.
        Rejected: A file is damaged or foreign, or of no family that is known.
        WorkerDied: The model's process ended while it was loaded.
    """

    kind: Kind = "transcription"

    def __init__(
        self, files: Mapping[str, Path], *, name: str = "", family: str = "", language: str = "", threads: int = 2,
        device: str = "cpu", stop: Stop = go_on,
    ) -> None:  # fmt: skip
        if find_spec("sherpa_onnx") is None:
            raise MissingExtra("extra.missing", extra="speech")
        chosen, parts = family_of(files, family)
        facts = {
            "family": chosen,
            "files": {key: str(path) for key, path in parts.items()},
            "name": name or "model",
            "language": language,
            "threads": threads,
            "provider": device.partition(":")[0],
        }
        self._apart = Apart(MAKER, facts, name or "model")
        self._apart.open(stop=stop)

    def transcribe(self, samples: Samples, *, language: str = "", stop: Stop = go_on) -> Transcript:
        """What is said in 16 kHz mono samples of any length.

        Raises:
            UsageError: They are no samples.
            WorkerDied: The model's process ended; the next call starts another.
        """
        if samples.ndim != 1 or not np.isfinite(samples).all():
            raise UsageError("speech.no_samples", shape=str(samples.shape))
        found = Transcript("", (), language)
        for first, end in pieces(samples):
            stop()
            part = np.ascontiguousarray(samples[first:end], "<f4")
            said, _ = self._apart.call({"language": language}, part.tobytes(), stop=stop)
            found = _joined(found, _transcript(said, language, len(part) / RATE_HZ), first / RATE_HZ)
        return found

    def close(self) -> None:
        """End the model's process. May be called twice."""
        self._apart.close()


def open_listener(opening: Opening) -> SherpaListener:
    """The backend `sherpa`, kind transcription. Options: family, language, threads."""
    options = opening.options
    return SherpaListener(
        opening.files, name=opening.name, family=str(options.get("family", "")),
        language=str(options.get("language", "")), threads=threads_of(opening), device=opening.processor,
        stop=opening.stop,
    )  # fmt: skip


def threads_of(opening: Opening) -> int:
    """Raises:
    UsageError: `options.threads` is no small number.
    """
    said = opening.options.get("threads", 2)
    if isinstance(said, bool) or not isinstance(said, int) or not 1 <= said <= _MOST_THREADS:
        raise UsageError("speech.bad_option", name=opening.name, option="threads", value=str(said)[:40], known="1–64")
    return said


def family_of(files: Mapping[str, Path], family: str = "") -> tuple[str, dict[str, Path]]:
    """Which family a folder of files is, and the arguments of its maker; every model among them was looked through.

    Raises:
        NotFound: A file is missing.
        Rejected: It is of no family that is known, or a file is damaged.
        UsageError: There is no such family.
    """
    if family and family not in FAMILIES:
        raise UsageError("speech.no_family", family=family[:40], known=", ".join(FAMILIES))
    tokens = find_file(files, ".txt", "tokens")
    if tokens is None:
        raise NotFound("encoder.no_file", name="tokens.txt")
    chosen = family or _guessed(files)
    parts: dict[str, Path] = {"tokens": tokens}
    for argument, part in FAMILIES[chosen].items():
        path = find_file(files, ".onnx", part) or (_only_model(files) if part == "model" else None)
        if path is None:
            raise NotFound("encoder.no_file", name=f"{part}.onnx")
        check_onnx(path)
        parts[argument] = path
    return chosen, parts


def find_file(files: Mapping[str, Path], ending: str, part: str) -> Path | None:
    """The file whose name has a part in it; of several, the one with 8-bit numbers, which is faster on a processor."""
    found = [name for name in files if name.endswith(ending) and part in name.rpartition("/")[2]]
    return files[min(found, key=lambda name: (".int8" not in name, len(name), name))] if found else None


def _only_model(files: Mapping[str, Path]) -> Path | None:
    found = [path for name, path in files.items() if name.endswith(".onnx")]
    return found[0] if len(found) == 1 else None


def _guessed(files: Mapping[str, Path]) -> str:
    if find_file(files, ".onnx", "joiner"):
        return "transducer"
    path = find_file(files, ".onnx", "encoder") or find_file(files, ".onnx", "model") or _only_model(files)
    if path is None:
        raise NotFound("encoder.no_file", name="model.onnx")
    told = check_onnx(path).metadata
    words = f"{told.get('model_type', '')} {told.get('comment', '')}".lower()
    found = next((family for word, family in _BY_TYPE if word in words), None)
    if found is None:
        raise Rejected("speech.unknown_family", path=path.name, type=told.get("model_type", "–")[:40])
    return found


def pieces(samples: Samples) -> Iterator[tuple[int, int]]:
    """Where long sound is cut: at the quietest moment of the last seconds that fit."""
    first, most, back = 0, round(LONGEST_S * RATE_HZ), round(SEARCHED_S * RATE_HZ)
    step = round(_STEP_S * RATE_HZ)
    while len(samples) - first > most:
        window = samples[first + most - back : first + most]
        loud = (window[: len(window) // step * step].reshape(-1, step) ** 2).mean(axis=1)
        end = first + most - back + int(np.argmin(np.convolve(loud, np.ones(9), "same"))) * step + step // 2
        yield first, end
        first = end
    if len(samples) - first >= SHORTEST_S * RATE_HZ:
        yield first, len(samples)


def _transcript(said: Facts, language: str, seconds: float) -> Transcript:
    text = _TAG.sub("", str(said["text"])).strip()
    tongue = str(said["language"]).strip("<|>") or language or guess_language(text)
    return Transcript(text, tuple(_words(said, seconds)), tongue)


def guess_language(text: str) -> str:
    """Of a text in a script that tells it; empty where it does not."""
    if _JAPANESE.search(text):
        return "ja"
    return "zh" if _CHINESE.search(text) else ""


def _words(said: Mapping[str, Any], seconds: float) -> Iterator[Word]:
    """Tokens put together: pieces of a word follow one another, Chinese characters stand alone."""
    word: Word | None = None
    counted, glued = 0, False
    for token, start_s, end_s, chance in _timed(said, seconds):
        text, begins = token.replace("▁", " "), False
        begins = text.startswith(" ") or bool(_CHINESE.search(text)) or word is None
        begins = begins or (bool(_CHINESE.search(word.text)) if word else True)
        if word is not None and (glued or not begins or _WORDLESS.fullmatch(text.strip() or ".")):
            confidence = (word.confidence * counted + chance) / (counted + 1)
            ends = word.end_s if _WORDLESS.fullmatch(text.strip() or ".") else end_s
            word = replace(word, text=word.text + text.strip().removesuffix("@@"), end_s=ends, confidence=confidence)
            counted += 1
        else:
            if word is not None:
                yield word
            word, counted = Word(text.strip().removesuffix("@@"), start_s, end_s, chance), 1
        glued = text.endswith("@@")
    if word is not None and word.text:
        yield word


def _timed(said: Mapping[str, Any], seconds: float) -> Iterator[tuple[str, float, float, float]]:
    """Token, start, end and confidence; none where the model tells no times."""
    tokens: Sequence[str] = said["tokens"]
    starts, lengths, chances = said["starts"], said["lengths"], said["chances"]
    if len(starts) != len(tokens):
        return
    for place, token in enumerate(tokens):
        if _TAG.fullmatch(token.strip()) or not token.strip("▁ "):
            continue
        start = min(max(0.0, starts[place]), seconds)
        following = starts[place + 1] if place + 1 < len(starts) else start + _LAST_S
        if len(lengths) == len(tokens) and lengths[place] > 0:
            following = start + lengths[place]
        end = min(seconds, max(start, min(following, start + _LONGEST_WORD_S)))
        chance = float(np.exp(min(0.0, chances[place]))) if len(chances) == len(tokens) else 1.0
        yield token, start, end, round(chance, 4)


def _joined(before: Transcript, after: Transcript, at_s: float) -> Transcript:
    """One after the other; a space where the words need one."""
    moved = tuple(replace(w, start_s=w.start_s + at_s, end_s=w.end_s + at_s) for w in after.words)
    gap = " " if before.text and after.text and not _CHINESE.search(before.text[-1] + after.text[0]) else ""
    return Transcript(before.text + gap + after.text, before.words + moved, before.language or after.language)
