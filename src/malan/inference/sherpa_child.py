"""What runs in the process of a sherpa-onnx model: recognisers and voices, made from files that were looked through.

Only `inference/listening.py` and `inference/speaking.py` start it, through `apart`. Start at `listener` and `speaker`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from malan.core.errors import Rejected
from malan.inference.apart import Facts, Served
from malan.inference.speech import RATE_HZ

_SPEAKS = ("whisper", "sense_voice")  # families that are told the language when they are made


def listener(facts: Facts) -> Served:
    return _Listener(facts)


def speaker(facts: Facts) -> Served:
    return _Speaker(facts)


class _Listener:
    """One recogniser; made anew when another language is asked for, where its family must know."""

    def __init__(self, facts: Facts) -> None:
        self._made_of = facts
        self._language = str(facts.get("language", ""))
        self._recogniser = self._make(self._language)

    @property
    def facts(self) -> Facts:
        return {}

    def call(self, asked: Facts, data: bytes) -> tuple[Facts, bytes]:
        language = str(asked.get("language", "")) or str(self._made_of.get("language", ""))
        if language != self._language and self._made_of["family"] in _SPEAKS:
            self._recogniser, self._language = self._make(language), language
        stream = self._recogniser.create_stream()
        stream.accept_waveform(RATE_HZ, np.frombuffer(data, "<f4"))
        self._recogniser.decode_stream(stream)
        said = stream.result
        return {
            "text": said.text,
            "tokens": list(said.tokens),
            "starts": [float(one) for one in said.timestamps],
            "lengths": [float(one) for one in said.durations],
            "chances": [float(one) for one in said.ys_log_probs],
            "language": said.lang,
        }, b""

    def _make(self, language: str) -> Any:
        import sherpa_onnx

        facts = self._made_of
        more: dict[str, Any] = dict(facts["files"])
        if facts["family"] in _SPEAKS:
            more["language"] = language
        if facts["family"] == "whisper":
            more["enable_token_timestamps"] = True
        if facts["family"] == "sense_voice":
            more["use_itn"] = True
        make = getattr(sherpa_onnx.OfflineRecognizer, f"from_{facts['family']}")
        try:
            return make(num_threads=int(facts["threads"]), provider=str(facts["provider"]), **more)
        except (RuntimeError, ValueError, TypeError) as error:
            raise Rejected("onnx.refused", path=str(facts["name"]), detail=str(error)[:200]) from error


class _Speaker:
    """One voice, or a model with many."""

    def __init__(self, facts: Facts) -> None:
        import sherpa_onnx

        family = {"vits": "Vits", "matcha": "Matcha", "kokoro": "Kokoro"}[facts["family"]]
        inner = getattr(sherpa_onnx, f"OfflineTts{family}ModelConfig")(**facts["files"])
        model = sherpa_onnx.OfflineTtsModelConfig(
            **{facts["family"]: inner}, num_threads=int(facts["threads"]), provider=str(facts["provider"])
        )
        config = sherpa_onnx.OfflineTtsConfig(model=model, rule_fsts=str(facts.get("rules", "")), max_num_sentences=1)
        try:
            if not config.validate():
                raise RuntimeError("validate")
            self._tts = sherpa_onnx.OfflineTts(config)
        except (RuntimeError, ValueError) as error:
            raise Rejected("onnx.refused", path=str(facts["name"]), detail=str(error)[:200]) from error

    @property
    def facts(self) -> Facts:
        return {"voices": int(self._tts.num_speakers), "rate_hz": int(self._tts.sample_rate)}

    def call(self, asked: Facts, _data: bytes) -> tuple[Facts, bytes]:
        text = str(asked["text"])
        how = {"sid": int(asked["voice"]), "speed": float(asked["speed"])}
        made = self._tts.generate(text, **how)
        if not len(made.samples) and len(text) == 1:  # models by characters do not take one alone
            made = self._tts.generate(f"{text} ", **how)
        samples = np.asarray(made.samples, "<f4")
        return {"rate_hz": int(made.sample_rate)}, samples.tobytes()
