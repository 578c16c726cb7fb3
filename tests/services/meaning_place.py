"""A library of coloured shots, and an encoder that knows colours: what a search by meaning must find is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from onnx_factory import coloured, write_encoder
from store.library_factory import a_scan, an_asset

from malan.core import Terms
from malan.media.thumbs import encode_jpeg
from malan.services.footage.owners import remember_owner, remember_terms
from malan.services.journal import record
from malan.services.log.facts import unlogged
from malan.services.models.bases import add_base
from malan.services.models.rows import ModelRow
from malan.workspace import Workspace

OWNER = "湖南台"
ENGINES = '[engines.eye]\nkind = "encoder"\nbackend = "onnx"\nmodel = "eye"\n'


def stored_colours(
    ws: Workspace, shots: Sequence[Sequence[str]], *, name: str = "one", captions: Mapping[int, str] | None = None,
    uses: tuple[str, ...] = ("retrieve",),
) -> list[str]:  # fmt: skip
    """A film whose shots show these colours; the ids of its clips in order."""
    owner = remember_owner(ws, OWNER)
    terms = remember_terms(ws, Terms(owner, f"for {name}", uses))
    row = an_asset(name, owner=owner, terms=terms, title="", tags=())
    said = [(captions or {}).get(number, "") for number in range(len(shots))]
    scan = a_scan(row, said, filmstrips={}, descriptors={})
    clips = [clip.id for clip in scan.clips or ()]
    pictures = {one: encode_jpeg(coloured(*colours)) for one, colours in zip(clips, shots, strict=True)}
    ws.library.put_assets([row])
    ws.library.put_scan(a_scan(row, said, filmstrips={}, descriptors={}, thumbnails=pictures))
    record(ws, unlogged(ws, [row.asset], with_terms=True))
    return clips


def with_encoder(ws: Workspace, folder: Path, *, licence: str = "MIT", name: str = "eye", side: int = 32) -> ModelRow:
    """Register the encoder of colours and name it in `models.toml`."""
    base = add_base(ws, write_encoder(folder / name, side=side), licence=licence, family="clip", name=name)
    row = ENGINES.replace("eye", name)
    file = ws.root / "models.toml"
    file.write_text((file.read_text() if file.exists() else "") + row)
    return base


def a_picture(path: Path, *colours: str) -> Path:
    from PIL import Image

    Image.fromarray(np.ascontiguousarray(coloured(*colours, size=(300, 400)))).save(path)
    return path
