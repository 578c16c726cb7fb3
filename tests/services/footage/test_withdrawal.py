"""Footage that is taken back is gone at the next read, everywhere, and what was made from it is listed and signed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from media_factory import draw_film

from malan.core.errors import NotGranted, ProofError, Rejected
from malan.rights import load_terms
from malan.services.clips import search as clips
from malan.services.clips.exports import export_clips
from malan.services.clips.where import condition
from malan.services.datasets.freezing import export_snapshot, freeze_snapshot
from malan.services.footage.assets import add_assets
from malan.services.footage.scan import scan_assets
from malan.services.footage.withdrawal import check_reach, restore_asset, withdraw_asset, withdrawal_receipt
from malan.services.log.keys import show_keys
from malan.services.log.proofs import write_receipt
from malan.services.outputs.manifests import trace_output
from malan.workspace import Workspace


@pytest.fixture
def ws(tmp_path: Path) -> Iterator[Workspace]:
    ws = Workspace.create(tmp_path / "ws")
    for number in range(2):
        draw_film(tmp_path / f"films/{number}.mp4", (14, 12), seed=number + 21, options={"preset": "veryfast"})
    add_assets(ws, [tmp_path / "films"], owner="湖南台")
    scan_assets(ws, captions=False)
    yield ws
    ws.log.close()
    ws.database.dispose()


@pytest.fixture(autouse=True)
def films(tmp_path: Path) -> None:
    (tmp_path / "films").mkdir()


def asset_of(ws: Workspace) -> str:
    return next(iter(ws.library.assets())).asset.id


def test_it_is_gone_from_every_read(ws, tmp_path):
    asset = asset_of(ws)
    frozen = freeze_snapshot(ws, "both", condition("")).saved.snapshot.id
    clip = ws.library.clips(asset)[0].id
    withdraw_asset(ws, asset, "the contract ended")
    assert {hit.row.clip.asset_id for hit in clips.find(ws, condition("")).hits}.isdisjoint({asset})
    for read in (
        lambda: clips.show(ws, clip),
        lambda: export_clips(ws, [clip], tmp_path / "out"),
        lambda: export_snapshot(ws, frozen, "edl", tmp_path / "export"),
    ):
        with pytest.raises(NotGranted):
            read()
    assert freeze_snapshot(ws, "rest", condition("")).denied_clips == len(ws.library.clips(asset))


def test_what_derives_from_it_is_listed(ws, tmp_path):
    asset = asset_of(ws)
    frozen = freeze_snapshot(ws, "both", condition("")).saved.snapshot.id
    export_snapshot(ws, frozen, "edl", tmp_path / "export")
    exported = export_clips(ws, [ws.library.clips(asset)[0].id], tmp_path / "out")[0]
    other = next(row for row in ws.library.assets() if row.asset.id != asset)
    export_clips(ws, [ws.library.clips(other.asset.id)[0].id], tmp_path / "out")
    reach = withdraw_asset(ws, asset, "why not").reach
    assert (reach.clips, reach.snapshots, reach.outputs) == (2, (frozen,), (exported.output_id,))
    assert len(reach.exports) == 1


def test_the_owner_keeps_a_receipt_a_stranger_can_check(ws, tmp_path):
    withdrawn = withdraw_asset(ws, asset_of(ws), "private")
    receipt = write_receipt(withdrawal_receipt(ws, withdrawn))
    assert json.loads(json.loads(receipt)["attached"]["reach"])["clips"] == 2
    assert b"private" not in receipt
    (tmp_path / "receipt").write_bytes(receipt)
    command = [sys.executable, "-m", "malan.ledger.verify", str(tmp_path / "receipt"), "--key", show_keys(ws).vkey]
    assert subprocess.run(command, check=False, capture_output=True).returncode == 0
    (tmp_path / "receipt").write_bytes(receipt.replace(b'\\"clips\\":2', b'\\"clips\\":1'))
    assert subprocess.run(command, check=False, capture_output=True).returncode == 4


def test_a_list_that_was_changed_is_found(ws):
    withdrawn = withdraw_asset(ws, asset_of(ws), "x")
    assert check_reach(ws, withdrawn.event) == withdrawn.reach
    blob = next(path for path in (ws.root / "blobs").rglob("*") if path.is_file())
    blob.write_bytes(blob.read_bytes().replace(b'"clips":2', b'"clips":1'))
    with pytest.raises(ProofError):
        check_reach(ws, withdrawn.event)


def test_adding_the_file_again_does_not_bring_it_back(ws, tmp_path):
    asset = asset_of(ws)
    withdraw_asset(ws, asset, "x")
    again = add_assets(ws, [tmp_path / "films"], owner="湖南台")
    assert [refused.error.code for refused in again.refused] == ["asset.withdrawn"]
    copy = tmp_path / "copy.mp4"
    copy.write_bytes(Path(ws.library.asset(asset).locations[0].path).read_bytes())
    assert [one.error.code for one in add_assets(ws, [copy], owner="湖南台").refused] == ["asset.withdrawn"]
    assert scan_assets(ws, captions=False, again=True).scanned != ()
    assert asset not in {one.asset_id for one in scan_assets(ws, captions=False, again=True).scanned}


def test_its_owner_can_bring_it_back_and_take_it_again(ws, tmp_path):
    asset = asset_of(ws)
    (tmp_path / "terms.toml").write_text('uses = ["retrieve"]\n')
    terms = load_terms(tmp_path / "terms.toml", "湖南台")
    with pytest.raises(Rejected):
        restore_asset(ws, asset, terms)
    first = withdraw_asset(ws, asset, "x").event
    assert withdraw_asset(ws, asset, "x").event == first
    with pytest.raises(Rejected):
        restore_asset(ws, asset, load_terms(tmp_path / "terms.toml", "somebody else"))
    restore_asset(ws, asset, terms)
    assert asset in {hit.row.clip.asset_id for hit in clips.find(ws, condition("")).hits}
    assert withdraw_asset(ws, asset, "x").event > first


def test_what_was_published_before_still_leads_back(ws, tmp_path):
    asset = asset_of(ws)
    exported = export_clips(ws, [ws.library.clips(asset)[0].id], tmp_path / "out")[0]
    withdraw_asset(ws, asset, "x")
    assert trace_output(ws, str(exported.path)).sources[0].owner == "湖南台"
