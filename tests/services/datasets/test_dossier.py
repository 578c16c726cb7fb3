"""A dossier holds what is asked for, none of the footage that not everybody may see, and no byte of it can change."""

from __future__ import annotations

import json
import os
import shutil
from html.parser import HTMLParser

import pytest
from market_place import BUYER_NAME, STATION, STUDIO, party, pool, single, terms_of

from malan.core.errors import MalanError, NotFound, ProofError, Rejected, UsageError
from malan.rights.terms import party_id
from malan.services.datasets.dossier import write_dossier
from malan.services.datasets.dossier_check import PARTS, check_dossier
from malan.services.footage.withdrawal import withdraw_asset
from malan.workspace import Workspace


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A workspace and a dossier of footage of two owners, one of whom shows nothing to the public."""
    folder = tmp_path_factory.mktemp("dossier")
    ws = Workspace.create(folder / "ws")
    pool(ws, studio=terms_of(STUDIO, recipients=[BUYER_NAME]))
    return ws, write_dossier(ws, "夜景", folder / "out")


@pytest.fixture
def copy(made, tmp_path):
    return shutil.copytree(made[1].folder, tmp_path / "copy")


def read(made, name):
    return json.loads((made[1].folder / name).read_bytes())


def test_it_holds_everything_and_is_in_the_log(made):
    ws, dossier = made
    assert all((dossier.folder / name).is_file() for name in PARTS)
    assert len(list((dossier.folder / "receipts/assets").iterdir())) == dossier.assets == 2
    assert len(ws.log.find("dataset.export")) == 1
    assert check_dossier(dossier.folder, ws.keys.log_signer().vkey) == dossier


def test_it_says_whose_footage_it_is_and_in_which_parts(made):
    owners = {owner["name"]: owner["share"] for owner in read(made, "owners.json")}
    assert owners == {STATION: "1/2", STUDIO: "1/2"}


def test_the_22_fields_are_there_and_what_nobody_said_is_open(made):
    fields = read(made, "provenance.json")["fields"]
    assert len(fields) == 22
    assert [sum(one["group"] == group for one in fields) for group in ("source", "provenance", "use")] == [6, 8, 8]
    assert "Data origin geography" in made[1].open_fields


def test_samples_are_only_of_footage_anybody_may_see(made):
    theirs = {row.asset.id for row in made[0].library.assets(owner_id=party_id(STUDIO))}
    samples = read(made, "samples.json")
    assert len(samples) == 2
    assert theirs.isdisjoint(one["fragment"][:64] for one in samples)


def test_the_card_carries_the_terms(made):
    card = read(made, "croissant.json")
    assert card["conformsTo"] == "http://mlcommons.org/croissant/1.1"
    assert {offer["@type"] for offer in card["sc:usageInfo"]} == {"odrl:Offer"}


class Balanced(HTMLParser):
    """Follows which elements are open."""

    def __init__(self):
        super().__init__()
        self.opened = []

    def handle_starttag(self, tag, attrs):
        if tag != "meta":
            self.opened.append(tag)

    def handle_endtag(self, tag):
        assert self.opened.pop() == tag


def test_the_pages_are_whole_in_both_languages(made):
    for name, word in (("README.html", "Owner chain"), ("README.zh-CN.html", "权属链")):
        text, parser = (made[1].folder / name).read_text("utf-8"), Balanced()
        parser.feed(text)
        assert (parser.opened, word in text) == ([], True)
        assert word in (made[1].folder / name.replace("html", "md")).read_text("utf-8")


def test_a_changed_missing_or_added_file_is_found(copy):
    names = sorted(path.relative_to(copy).as_posix() for path in copy.rglob("*") if path.is_file())
    for name in names:
        path, whole = copy / name, (copy / name).read_bytes()
        middle = len(whole) // 2
        path.write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
        with pytest.raises(ProofError):
            check_dossier(copy)
        path.unlink()
        with pytest.raises(MalanError):
            check_dossier(copy)
        path.write_bytes(whole)
    (copy / "more.txt").write_text("x")
    with pytest.raises(ProofError):
        check_dossier(copy)


def test_an_index_that_was_made_anew_does_not_fit_the_receipt(copy):
    from malan.core.ids import digest_bytes
    from malan.services.datasets.dossier_check import root_of

    (copy / "quality.json").write_bytes(b"{}\n")
    index = json.loads((copy / "dossier.json").read_bytes())
    index["files"]["quality.json"] = {"sha256": digest_bytes(b"{}\n"), "size": 3}
    index["root"] = root_of({name: one["sha256"] for name, one in index["files"].items()})
    (copy / "dossier.json").write_text(json.dumps(index))
    with pytest.raises(ProofError, match="receipt"):
        check_dossier(copy)


def test_what_is_no_plain_file_is_refused(copy):
    (copy / "receipt.json").unlink()
    os.mkfifo(copy / "receipt.json")
    with pytest.raises(ProofError):
        check_dossier(copy)
    (copy / "receipt.json").unlink()
    (copy / "receipt.json").symlink_to("/dev/zero")
    with pytest.raises(ProofError):
        check_dossier(copy)


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "a/../b"])
def test_an_index_cannot_name_files_elsewhere(copy, name):
    index = json.loads((copy / "dossier.json").read_bytes())
    index["files"][name] = {"sha256": "0" * 64, "size": 1}
    (copy / "dossier.json").write_text(json.dumps(index))
    with pytest.raises(ProofError):
        check_dossier(copy)


def test_the_dossier_of_another_log_is_not_believed(made, copy, tmp_path):
    other = Workspace.create(tmp_path / "other")
    single(other)
    with pytest.raises(ProofError):
        check_dossier(copy, other.keys.log_signer().vkey)


def test_it_is_written_only_where_nothing_is_and_of_what_is_whole(made, tmp_path):
    ws = Workspace.create(tmp_path / "ws")
    single(ws)
    (tmp_path / "full").mkdir()
    (tmp_path / "full/x").write_text("x")
    with pytest.raises(UsageError):
        write_dossier(ws, "云海", tmp_path / "full")
    with pytest.raises(NotFound):
        write_dossier(ws, "nothing", tmp_path / "out")
    with pytest.raises(NotFound):
        write_dossier(ws, "云海", tmp_path / "out", caller=party(BUYER_NAME))
    withdraw_asset(ws, ws.library.assets()[0].asset.id, "x")
    with pytest.raises(Rejected):
        write_dossier(ws, "云海", tmp_path / "out")
    with pytest.raises(NotFound):
        check_dossier(tmp_path)
