"""The music app: tags to files. The label that AI-made sound must begin with is part of the length asked for.

    file of 60 s = label (1.8 s, GB 45438-2025, 5.3) + music of 58.2 s

Start reading at `Music.run`.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from malan.apps.frame import Card, Expected, Made, Request, Work
from malan.apps.music.infer import find_music_model, played_by_engine, written_by_model
from malan.apps.music.request import MusicRequest
from malan.composing import Plan, Rendered, Score, compose, describe, make_plan, read_tags, render, to_midi
from malan.composing.plan import LONGEST_S, SHORTEST_S
from malan.composing.words import nearest_words
from malan.core.catalogue import entry
from malan.core.errors import StoreError, UsageError
from malan.media.explicit.rhythm import GAPS, PATTERN, PAUSE_UNITS, UNIT_S
from malan.media.mastering import RATE_HZ, Sound, master, write_wav_24
from malan.media.midi import write_midi
from malan.media.render.process import from_fd, readable, run_ffmpeg
from malan.services.outputs.publish import AiPart

LABEL_S = round((sum(PATTERN) + sum(GAPS) + PAUSE_UNITS) * UNIT_S, 6)
SHORTEST_FILE_S = 5.0
_FRAME_BYTES = 6  # two channels of 24 bits
_ENCODERS = {
    ".m4a": ["-c:a", "aac", "-b:a", "256k", "-f", "ipod"],
    ".mp3": ["-c:a", "libmp3lame", "-b:a", "256k", "-f", "mp3"],
}


@dataclass(frozen=True)
class Piece:
    """What is to be published: the score where there is one, its sound, the word for who wrote it, and its models."""

    score: Score | None
    sound: Rendered
    engine: str
    ai: AiPart


class Music:
    """Music of any length from tags: file, notes, stems."""

    card = Card("music", "compose", meter="output_second", price_minor=2)
    request: type[Request] = MusicRequest

    def expect(self, request: MusicRequest, _work: Work) -> Expected:
        """As many seconds as asked for; a file each format, and each instrument where stems are."""
        return Expected(Fraction(str(request.seconds)), len(request.format))

    def run(self, request: MusicRequest, work: Work) -> Made:
        """Compose (or let a model write), play, master, publish.

        Raises:
            UsageError: The tags contradict each other; length, tempo, key or hits are not possible.
            MissingExtra: FluidSynth, a soundfont or an engine is not installed.
            NotFound, NotGranted: The model is not there, or may not be used.
        """
        began = time.perf_counter()
        check_request(request)
        work.check_words({"tags": " ".join(request.tags)})
        piece = self._piece(request, work)
        took = time.perf_counter() - began
        work.progress(70, 100, "publish")
        files = self._leave(request, work, piece)
        told = {"mode": request.mode, "engine": piece.engine, "seconds": request.seconds, "label_s": LABEL_S}
        told |= {
            "music_s": round(request.seconds - LABEL_S, 6),
            "compose_s": round(took, 3),
            **_sound_facts(piece.sound),
        }
        if piece.score:
            told |= _score_facts(piece.score, request.seconds)
        return Made(files, {**told, "lines": _lines(told)}, Fraction(str(request.seconds)))

    def _piece(self, request: MusicRequest, work: Work) -> Piece:
        seconds = round(request.seconds - LABEL_S, 6)
        if request.mode == "infer":
            return _inferred(request, work, seconds)
        plan = make_plan(
            read_tags(request.tags, tempo=request.tempo, key=request.key), seconds, seed=request.seed,
            hits=[hit - LABEL_S for hit in request.hits], loop=request.loop,
        )  # fmt: skip
        score = compose(plan)
        work.progress(10, 100, "play")
        sound = render(score, loudness=request.loudness, stems=request.stems, stop=work.stop_if_asked)
        return Piece(score, sound, "malan-compose", AiPart("generated"))

    def _leave(self, request: MusicRequest, work: Work, piece: Piece) -> dict[str, Path]:
        """Publish the sound; put notes and score beside it. Nothing is begun that finds no room.

        Raises:
            StoreError: The disk is full.
        """
        require_room(work.out, piece.sound, len(set(request.format)))
        files: dict[str, Path] = {}
        title = (piece.score.title if piece.score else piece.engine)[:80]
        publish = partial(work.publish, self.card, title, (), ai=piece.ai, mode=request.mode)
        for form in dict.fromkeys(request.format):
            files[form] = work.out / f"music.{form}"
            publish(_writer(piece.sound.mastered.samples), files[form])
        if piece.score:
            files |= _notes(piece.score, work.out)
        if request.stems:
            (work.out / "stems").mkdir(exist_ok=True)
        for number, (name, stem) in enumerate(piece.sound.stems.items(), 1):
            place = work.out / "stems" / f"{number:02d}-{name.replace(' ', '-').replace(',', '')}.wav"
            publish(_writer(stem), place)
            files[f"stem {name}"] = place
            work.progress(75 + 25 * number // len(piece.sound.stems), 100, name)
        return files


def check_request(request: MusicRequest) -> None:
    """What no field can say by itself.

    Raises:
        UsageError: The length is not possible, a hit lies in the label, or a field has no meaning in this mode.
    """
    least, most = max(SHORTEST_FILE_S, SHORTEST_S + LABEL_S), LONGEST_S
    if not least <= request.seconds <= most:
        raise UsageError("music.bad_length", seconds=f"{request.seconds:g}", least=f"{least:g}", most=f"{most:g}")
    for hit in request.hits:
        if not LABEL_S <= hit < request.seconds:
            raise UsageError("music.early_hit", hit=f"{hit:g}", least=f"{LABEL_S:g}", seconds=f"{request.seconds:g}")
    if request.mode == "infer":
        if not request.model:
            raise UsageError("music.no_model")
        for field in ("hits", "loop", "key"):
            if getattr(request, field):
                raise UsageError("music.only_compose", field=field)
    elif request.model:
        raise UsageError("music.not_compose", field="model")


def _inferred(request: MusicRequest, work: Work, seconds: float) -> Piece:
    """Written by a model of the registry and played by us, or played by an engine."""
    from malan.services.engines.opening import ai_part

    row = find_music_model(work, request.model)
    if row is None:
        made = played_by_engine(work, request.model, ", ".join(request.tags), seconds, request.seed)
        sound = Rendered(master(made, request.loudness), {})
        return Piece(None, sound, request.model, ai_part(work.library, request.model, caller=work.caller))
    score = written_by_model(work, row, _free_plan(request, seconds))
    score = replace(score, tags=tuple(request.tags))
    sound = render(score, loudness=request.loudness, stems=request.stems, stop=work.stop_if_asked)
    return Piece(score, sound, row.title, AiPart("generated", (row.id,)))


def _free_plan(request: MusicRequest, seconds: float) -> Plan:
    """Length and tempo for a model, which knows no tags."""
    return make_plan(read_tags(("pop",), tempo=request.tempo or 100.0), seconds, seed=request.seed)


def _writer(samples: Sound) -> Callable[[Path], None]:
    """Writes samples in the container that the path names."""

    def write(out: Path) -> None:
        if out.suffix == ".wav":
            write_wav_24(samples, out)
            return
        plain = out.with_name(f"{out.stem}-plain.wav")
        try:
            write_wav_24(samples, plain)
            with readable([str(plain)]) as fds:
                run_ffmpeg(
                    [*from_fd(fds[0]), "-map_metadata", "-1", *_ENCODERS[out.suffix], f"file:{out.name}"],
                    fds,
                    out.parent,
                )
        finally:
            plain.unlink(missing_ok=True)

    return write


def require_room(out: Path, sound: Rendered, formats: int) -> None:
    """Room for every file of a piece, and for one more while it is labelled and signed.

    Raises:
        StoreError: There is none.
    """
    one = (len(sound.mastered.samples) + round(LABEL_S * RATE_HZ)) * _FRAME_BYTES
    needed, free = (formats + len(sound.stems) + 2) * one, shutil.disk_usage(out).free
    if needed > free:
        raise StoreError("music.no_room", mb=-(-needed // 1_000_000), free=free // 1_000_000, path=str(out))


def _notes(score: Score, out: Path) -> dict[str, Path]:
    """MIDI and score. Their clock begins with the music, which begins in the file after the label.

    Raises:
        StoreError: They cannot be written.
    """
    midi, told = out / "music.mid", out / "score.json"
    held = {**describe(score), "label": "AI生成", "music_from_s": LABEL_S}
    try:
        midi.write_bytes(write_midi(to_midi(score)))
        told.write_text(json.dumps(held, ensure_ascii=False, indent=1) + "\n", "utf-8")
    except OSError as error:
        raise StoreError("render.not_written", path=str(out), detail=error.strerror or str(error)) from error
    return {"midi": midi, "score": told}


def _sound_facts(sound: Rendered) -> dict[str, Any]:
    done = sound.mastered
    return {
        "loudness_lufs": round(done.loudness_lufs, 2),
        "true_peak_dbtp": round(done.true_peak_dbtp, 2),
        "samples": len(done.samples),
        "sample_rate_hz": RATE_HZ,
        "samples_sha256": sha256(np.ascontiguousarray(done.samples).tobytes()).hexdigest(),
    }


def _lines(told: dict[str, Any]) -> list[str]:
    """What a person wants to know, in the language of the session."""
    if "style" not in told:
        return []
    key, tempo = told["key"] or "–", f"{told['tempo_bpm']:.1f}"
    said = {"style": told["style"], "key": key, "tempo": tempo, "loudness": f"{told['loudness_lufs']:.1f}"}
    lines = [entry("music.line").text(None, {**said, "label": told["label_s"], "music": told["music_s"]})]
    if unknown := told.get("not_understood"):
        said = {"tags": "、".join(unknown)[:200], "nearest": ", ".join(nearest_words(unknown)) or "–"}
        lines.append(entry("music.unknown_line").text(None, said))
    return lines


def _score_facts(score: Score, seconds: float) -> dict[str, Any]:
    """What was composed, on the clock of the file."""
    said = describe(score)
    hits = [{key: round(value + LABEL_S, 4) for key, value in hit.items()} for hit in said["hits"]]
    form = [
        {**one, "from_s": round(one["from_s"] + LABEL_S, 4), "to_s": round(one["to_s"] + LABEL_S, 4)}
        for one in said["form"]
    ]
    loop = {"loop": {"from_s": LABEL_S, "to_s": seconds}} if score.is_loop else {}
    names = ("style", "key", "tempo_bpm", "beats_a_bar", "seed")
    unknown = {"not_understood": list(score.notes)} if score.notes else {}
    parts = [part.name for part in score.parts]
    return {**{name: said[name] for name in names}, "parts": parts, "form": form, "hits": hits, **loop, **unknown}


APP = Music()
