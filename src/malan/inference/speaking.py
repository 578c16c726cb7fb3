"""Text to speech with sherpa-onnx: Kokoro, Matcha and VITS voices, Chinese and English, from a folder of ONNX files.

    files ─ which family? ─▶ voice, in a process of its own ─ sentence by sentence ─▶ samples

How words are pronounced is in the model's own lexicon; nothing here stands on espeak-ng or its data, which are under
the GPL. A word that the lexicon lacks is not spoken, and `SherpaSpeaker.unspoken` names it. Start reading at
`SherpaSpeaker.speak`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from malan.core.errors import MissingExtra, NotFound, Rejected, UsageError
from malan.inference.apart import Apart
from malan.inference.backends import Kind, Sound, SpeechAsk, Stop, go_on
from malan.inference.listening import find_file, threads_of
from malan.inference.onnx_guard import check_onnx
from malan.inference.opening import Opening

MAKER = "malan.inference.sherpa_child:speaker"
FAMILIES = ("kokoro", "matcha", "vits")
SLOWEST, FASTEST = 0.25, 4.0
MOST_CHARACTERS = 20_000
PAUSE_S = 0.2  # between sentences
_LONGEST = 240  # characters spoken at once
_LEXICON_BYTES, _MOST_VOICES = 2**26, 2000
_VOCODERS = ("vocos", "hifigan", "vocoder")
_LEXICON = re.compile(r"lexicon.*\.txt")
_ENDS = re.compile(r"(?<=[。！？!?；;…\n])|(?<=\.)(?=\s|$)")
_BREATHS = re.compile(r"(?<=[，,、：:\s])")
_WORD = re.compile(r"[A-Za-z][A-Za-z'’]*|[\u3400-\u9fff\uf900-\ufaff]")


class SherpaSpeaker:
    """A voice that stands ready.

    Args:
        files: Of the model, by their names in its folder.
        name: What it is called in errors.
        family: One of `FAMILIES`; empty: what the files say.
        threads: Inside one run.
        device: `cpu`, or `cuda:0` where the wheel was built for it.
        stop: Raises when the opening shall end.

    Raises:
        MissingExtra: sherpa-onnx is not installed.
        NotFound: A file is missing.
        Rejected: A file is damaged or foreign, or needs espeak-ng.
        WorkerDied: The model's process ended while it was loaded.
    """

    kind: Kind = "speech"

    def __init__(
        self, files: Mapping[str, Path], *, name: str = "", family: str = "", threads: int = 2, device: str = "cpu",
        stop: Stop = go_on,
    ) -> None:  # fmt: skip
        if find_spec("sherpa_onnx") is None:
            raise MissingExtra("extra.missing", extra="speech")
        self._name = name or "model"
        chosen, parts, names = voice_files(files, family)
        self._lexicons = [Path(one) for one in parts.get("lexicon", "").split(",") if one]
        self._tokens = Path(parts["tokens"])
        rules = sorted(str(path) for named, path in files.items() if named.endswith(".fst") and "/" not in named)
        facts = {
            "family": chosen, "files": parts, "name": self._name, "threads": threads, "rules": ",".join(rules),
            "provider": device.partition(":")[0],
        }  # fmt: skip
        self._apart = Apart(MAKER, facts, self._name)
        said = self._apart.open(stop=stop)
        count = max(1, min(int(said["voices"]), _MOST_VOICES))
        self._voices = names if len(names) == count else tuple(map(str, range(count)))

    @property
    def voices(self) -> tuple[str, ...]:
        """Names that `SpeechAsk.voice` may have; the first is the default."""
        return self._voices

    def speak(self, ask: SpeechAsk, *, stop: Stop = go_on) -> Sound:
        """The words, spoken.

        Raises:
            UsageError: No words, no such voice, too fast or slow, or nothing of it can be pronounced.
            WorkerDied: The model's process ended; the next call starts another.
        """
        voice = self._voice(ask)
        parts, rate_hz = [], 0
        for sentence in sentences(ask.text):
            stop()
            asked = {"text": sentence, "voice": voice, "speed": ask.speed}
            said, data = self._apart.call(asked, stop=stop)
            if data:
                rate_hz = int(said["rate_hz"])
                parts += [np.frombuffer(data, "<f4"), np.zeros(round(PAUSE_S * rate_hz), np.float32)]
        if not parts:
            raise UsageError("speech.cannot_say", words=", ".join(self.unspoken(ask.text)[:10]) or ask.text[:60])
        samples = np.concatenate(parts[:-1])
        return Sound(np.clip(samples, -1, 1).reshape(-1, 1).astype(np.float32), rate_hz)

    def unspoken(self, text: str) -> tuple[str, ...]:
        """The words of a text that the model's lexicon lacks: they are left out when it is spoken."""
        words = dict.fromkeys(match.group() for match in _WORD.finditer(text))
        return tuple(word for word in words if not self._is_known(word.lower().replace("’", "'")))

    def close(self) -> None:
        """End the model's process. May be called twice."""
        self._apart.close()

    def _voice(self, ask: SpeechAsk) -> int:
        if not ask.text.strip() or len(ask.text) > MOST_CHARACTERS:
            raise UsageError("speech.text_length", count=len(ask.text.strip()), most=MOST_CHARACTERS)
        if not SLOWEST <= ask.speed <= FASTEST:
            raise UsageError("speech.speed", speed=ask.speed, least=SLOWEST, most=FASTEST)
        if not ask.voice:
            return 0
        if ask.voice not in self._voices:
            known = ", ".join(self._voices[:12])
            raise UsageError("speech.no_voice", voice=ask.voice[:40], known=known)
        return self._voices.index(ask.voice)

    def _is_known(self, word: str) -> bool:
        return word in self._known or (not self._lexicons and all(letter in self._known for letter in word))

    @cached_property
    def _known(self) -> set[str]:
        """Words and characters that can be pronounced."""
        known: set[str] = set()
        for path in self._lexicons or [self._tokens]:
            with path.open("rb") as file:
                text = file.read(_LEXICON_BYTES).decode("utf-8", "replace")
            for line in text.splitlines():
                word = line.split(" ", 1)[0].lower()
                known |= {word, *(one for one in word if "\u3400" <= one <= "\u9fff")}
        return known


def open_speaker(opening: Opening) -> SherpaSpeaker:
    """The backend `sherpa`, kind speech. Options: family, threads."""
    options = opening.options
    return SherpaSpeaker(
        opening.files, name=opening.name, family=str(options.get("family", "")), threads=threads_of(opening),
        device=opening.processor, stop=opening.stop,
    )  # fmt: skip


def voice_files(files: Mapping[str, Path], family: str = "") -> tuple[str, dict[str, str], tuple[str, ...]]:
    """Which family a folder is, the arguments of its maker, and the names of its voices.

    Raises:
        NotFound: A file is missing.
        Rejected: A model is damaged, or needs espeak-ng.
        UsageError: There is no such family.
    """
    if family and family not in FAMILIES:
        raise UsageError("speech.no_family", family=family[:40], known=", ".join(FAMILIES))
    vocoder = next((found for part in _VOCODERS if (found := find_file(files, ".onnx", part))), None)
    chosen = family or ("kokoro" if "voices.bin" in files else "matcha" if vocoder else "vits")
    plain = {n: p for n, p in files.items() if n.endswith(".onnx") and not any(part in n for part in _VOCODERS)}
    model = _there(find_file(plain, ".onnx", "model") or next(iter(plain.values()), None), "model.onnx")
    told = check_onnx(model).metadata
    parts = {"tokens": str(_there(find_file(files, ".txt", "tokens"), "tokens.txt"))}
    lexicons = sorted(str(p) for n, p in files.items() if _LEXICON.fullmatch(n.rpartition("/")[2]))
    if lexicons:
        parts["lexicon"] = ",".join(lexicons)
    elif told.get("frontend") != "characters":
        raise Rejected("speech.no_lexicon", path=model.name)
    names = tuple(name.strip() for name in told.get("speaker_names", "").split(",") if name.strip())
    if chosen == "matcha":
        check_onnx(_there(vocoder, "vocos.onnx, hifigan.onnx"))
        return chosen, {"acoustic_model": str(model), "vocoder": str(vocoder), **parts}, names
    if chosen == "kokoro":
        parts["voices"] = str(_there(files.get("voices.bin"), "voices.bin"))
    return chosen, {"model": str(model), **parts}, names


def _there(path: Path | None, name: str) -> Path:
    """Raises:
    NotFound: The model has no such file.
    """
    if path is None:
        raise NotFound("encoder.no_file", name=name)
    return path


def sentences(text: str) -> Iterator[str]:
    """A text in parts that are spoken at once: sentences, and long ones at their commas."""
    for sentence in _ENDS.split(text):
        part = ""
        for breath in _BREATHS.split(sentence):
            pieces = [breath[at : at + _LONGEST] for at in range(0, len(breath), _LONGEST)]
            for piece in pieces:
                if len(part) + len(piece) > _LONGEST and part.strip():
                    yield part.strip()
                    part = ""
                part += piece
        if _WORD.search(part) or any(one.isalnum() for one in part):
            yield part.strip()
