"""What engines of this machine make on the spot, published like every file: labelled, signed, logged.

Start at `keep_sound` and `keep_pictures`.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import wave
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from malan.core.errors import NotFound, UsageError
from malan.inference.backends import Sound
from malan.services.access import HOUSE, Caller
from malan.services.engines.settings import EngineRow
from malan.services.models.rows import find_model
from malan.services.outputs.publish import AiPart, Draft, publish

if TYPE_CHECKING:
    from malan.workspace import Workspace

_FOLDER = "made"
_ENCODERS = {"mp3": (".mp3", "libmp3lame"), "flac": (".flac", "flac"), "wav": (".wav", "pcm_s16le")}


@dataclass(frozen=True, slots=True)
class MadeBytes:
    """A published file as bytes, and its digest, by which it is traced."""

    data: bytes
    output_id: str


def keep_sound(ws: Workspace, row: EngineRow, sound: Sound, kind: str, title: str, caller: Caller = HOUSE) -> MadeBytes:
    """A sound, published.

    Raises:
        UsageError: The format carries no label; or nobody said who provides (`producer_code`).
    """
    if kind not in _ENCODERS:
        raise UsageError("gateway.no_label", format=kind, known=", ".join(_ENCODERS))
    ending, codec = _ENCODERS[kind]
    return _keep(ws, row, "speech", title, ending, lambda out: _encode(sound, codec, out), caller)


def keep_pictures(
    ws: Workspace, row: EngineRow, pictures_NHWC: NDArray[np.uint8], title: str, caller: Caller = HOUSE
) -> list[MadeBytes]:
    """Pictures, published as PNG."""
    from PIL import Image

    return [
        _keep(ws, row, "image", title, ".png", Image.fromarray(one).save, caller)
        for one in pictures_NHWC
    ]  # fmt: skip


def _keep(
    ws: Workspace, row: EngineRow, app: str, title: str, ending: str, render: object, caller: Caller
) -> MadeBytes:
    folder = ws.folder(_FOLDER) / f"{app}-{uuid4().hex}"
    folder.mkdir()
    try:
        models = (find_model(ws, row.model).id,) if row.model else ()
    except NotFound:
        models = ()
    mode = "infer" if app == "speech" else "diffuse"
    draft = Draft(app, mode, title, (), ai=AiPart("generated", models))
    try:
        done = publish(ws, draft, render, folder / f"made{ending}", caller=caller)  # type: ignore[arg-type]
        return MadeBytes(done.path.read_bytes(), done.output_id)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _encode(sound: Sound, codec: str, out: Path) -> None:
    import imageio_ffmpeg

    plain = io.BytesIO()
    with wave.open(plain, "wb") as file:
        file.setnchannels(sound.samples_NC.shape[1])
        file.setsampwidth(2)
        file.setframerate(sound.rate_hz)
        file.writeframes(np.round(np.clip(sound.samples_NC, -1, 1) * 32767).astype("<i2").tobytes())
    if codec == "pcm_s16le":
        out.write_bytes(plain.getvalue())
        return
    program = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-nostdin", "-y", "-i", "pipe:0", "-c:a", codec]
    environment = {"PATH": os.environ.get("PATH", "")}
    subprocess.run([*program, str(out)], input=plain.getvalue(), check=True, capture_output=True, env=environment)
