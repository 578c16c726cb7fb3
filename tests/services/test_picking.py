"""What a filmstrip and its findings tell whoever picks shots."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from store.library_factory import a_scan, an_asset, shot

from malan.core import Finding
from malan.media.thumbs import encode_jpeg
from malan.services.clips.picking import look_into
from malan.workspace import Workspace


@pytest.mark.parametrize(
    ("faces", "told"),
    [
        ([{"at_s": 2.0, "box": [0.1, 0.1, 0.2, 0.2]}, {"at_s": 0.5}, {"at_s": 2.0}], (0.5, 2.0)),
        ([], ()),
        ([{"when": 3}, "somewhere", None, {"at_s": "now"}, {"at_s": 1}], (1.0,)),
        ({"at_s": 1.0}, ()),
        (None, ()),
    ],
)
def test_when_faces_were_seen_is_told_whoever_wrote_the_finding(
    tmp_path: Path, faces: object, told: tuple[float, ...]
) -> None:
    ws = Workspace.create(tmp_path / "ws")
    row = an_asset()
    ws.library.put_assets([row])
    seen = Finding(shot(row, 0), "privacy.face", "guest", "1", {"share": 0.5, "size": 0.2, "faces": faces})
    plain = encode_jpeg(np.full((90, 640, 3), 120, np.uint8))
    ws.library.put_scan(
        replace(a_scan(row, findings=(seen,)), filmstrips={shot(row, 0).id: plain, shot(row, 1).id: plain})
    )
    strips = look_into(ws, ws.library.clips(row.asset.id))
    assert strips[shot(row, 0).id].faces_s == told
    assert strips[shot(row, 1).id].faces_s == ()
