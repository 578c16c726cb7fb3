"""What people do at the command line: offer footage, look at a partner's, ask, use."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from console_factory import register
from media_factory import draw_film
from nodes import fresh, key_of, node
from typer.testing import CliRunner
from waiting import until

from malan.cli.exchange import app
from malan.core.errors import NotFound, NotGranted, Rejected, UsageError
from malan.rights.terms import default_terms
from malan.services.access import COMMAND_LINE, Caller
from malan.services.datasets.freezing import freeze_snapshot
from malan.services.dsp.contracts import LocalContracts, SignedAgreement
from malan.services.exchange.connector import offer_snapshot, show_exchange, withdraw_offer
from malan.services.footage.owners import remember_terms, terms_of
from malan.services.footage.withdrawal import withdraw_asset
from malan.store import ClipQuery
from malan.workspace import Workspace


@dataclass
class Shell:
    """A command line in one workspace."""

    ws: Workspace

    def __call__(self, *words: str) -> Any:
        done = CliRunner().invoke(app, [*words, "--workspace", str(self.ws.root), "--json"])
        if done.exception:
            raise done.exception
        return json.loads(done.output)

    def says(self, *words: str) -> str:
        done = CliRunner().invoke(app, [*words, "--workspace", str(self.ws.root)])
        assert done.exit_code == 0, done.output
        return done.output


@pytest.fixture(scope="module")
def shells(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Shell, Shell]]:
    folder = tmp_path_factory.mktemp("trade")
    archive, studio = fresh(folder / "archive"), fresh(folder / "studio")
    film = draw_film(folder / "city.mp4", (30, 25, 35))
    register(archive, film, owner="湖南台", uses=("retrieve", "train"), lengths=(30, 25, 35))
    freeze_snapshot(archive, "night", ClipQuery())
    short = draw_film(folder / "alps.mp4", (20, 25), seed=11)
    shown = register(archive, short, owner="Studio North", uses=("retrieve",), lengths=(20, 25))
    _end_terms(archive, shown.asset_id, "2030-12-31")
    freeze_snapshot(archive, "short", ClipQuery(asset_ids=(shown.asset_id,)))
    with ExitStack() as nodes:
        urls = {ws.root: nodes.enter_context(node(ws)).url for ws in (archive, studio)}
        for ws, partner, name in ((archive, studio, "Studio"), (studio, archive, "Archive")):
            _write(ws, urls[ws.root], partner, urls[partner.root], name)
        yield Shell(archive), Shell(studio)
    archive.database.dispose()
    studio.database.dispose()


def _end_terms(ws: Workspace, asset_id: str, day: str) -> None:
    """Put an asset under terms that end on a day."""
    row = ws.library.asset(asset_id)
    ends = replace(terms_of(ws, row.asset.terms_id), ends=day)
    ws.library.put_assets([replace(row, asset=replace(row.asset, terms_id=remember_terms(ws, ends)))])


def _write(ws: Workspace, url: str, partner: Workspace, partner_url: str, name: str) -> None:
    theirs = show_exchange(partner, COMMAND_LINE)
    (ws.root / "exchange.toml").write_text(
        f'address = "{url}/dsp/2025-1"\nallowed_networks = ["127.0.0.1"]\n[[partner]]\nid = "{theirs.participant}"\n'
        f'name = "{name}"\nkeys = ["{key_of(partner)}"]\nconnector = "{partner_url}/dsp/2025-1"\n'
    )


def test_footage_is_offered_found_agreed_on_and_used(shells: tuple[Shell, Shell]) -> None:
    archive, studio = shells
    made = archive("offer", "night")
    assert archive("offer", "night") == made
    assert "night" in archive.says("offers")
    found = studio("browse", "Archive")["datasets"]
    assert [one["title"] for one in found] == ["night"]
    assert "night" in studio.says("browse", "Archive")

    asked = studio("ask", "Archive", found[0]["id"])
    done = until(lambda: _in(studio, asked["pid"], "FINALIZED"))
    used = studio("use", "Archive", done["agreement"])
    until(lambda: _in(studio, used["pid"], "STARTED"))
    archive_side = until(lambda: [one for one in archive("list")["processes"] if one["peer_pid"] == used["pid"]])[0]
    studio("move", used["pid"], "complete")
    until(lambda: _in(archive, archive_side["pid"], "COMPLETED"))
    assert used["pid"][-12:] in studio.says("list")

    archive.says("withdraw", made["offer_id"])
    assert studio("browse", "Archive")["datasets"] == []


def test_what_was_agreed_ends_with_the_terms_of_the_footage(
    shells: tuple[Shell, Shell], monkeypatch: pytest.MonkeyPatch
) -> None:
    archive, studio = shells
    archive("offer", "short")
    dataset = next(one["id"] for one in studio("browse", "Archive")["datasets"] if one["title"] == "short")
    asked = studio("ask", "Archive", dataset)
    done = until(lambda: _in(studio, asked["pid"], "FINALIZED"))
    first = studio("use", "Archive", done["agreement"])
    until(lambda: _in(studio, first["pid"], "STARTED"))
    monkeypatch.setattr("malan.services.dsp.contracts.today", lambda: date(2031, 1, 1))
    second = studio("use", "Archive", done["agreement"])
    until(lambda: _in(studio, second["pid"], "TERMINATED"))
    archive_side = next(one for one in archive("list")["processes"] if one["peer_pid"] == first["pid"])
    studio("move", first["pid"], "suspend")
    until(lambda: _in(archive, archive_side["pid"], "SUSPENDED"))
    studio("move", first["pid"], "start")
    problem = until(lambda: (_in(studio, first["pid"], "STARTED") or {}).get("problem"))
    assert problem["detail"] == "400 exchange.not_in_force"
    assert _in(archive, archive_side["pid"], "SUSPENDED")


def _in(shell: Shell, pid: str, state: str) -> Any:
    return next((one for one in shell("list")["processes"] if (one["pid"], one["state"]) == (pid, state)), None)


def test_what_a_partner_needs_to_know_is_shown(shells: tuple[Shell, Shell]) -> None:
    said = shells[0].says("show")
    assert key_of(shells[0].ws) in said
    assert "Studio" in said


def test_what_is_not_there_is_named(shells: tuple[Shell, Shell]) -> None:
    archive, studio = shells
    for words in (("browse", "Nobody"), ("ask", "Archive", "no-such"), ("move", "no-such", "x")):
        with pytest.raises(NotFound):
            studio(*words)
    with pytest.raises(NotFound):
        withdraw_offer(archive.ws, COMMAND_LINE, "no-such")
    asked = archive("offer", "night", "--by-hand", "--only-for", "did:web:somebody-else")
    assert asked["party"] == "did:web:somebody-else"


def test_footage_that_is_for_the_house_alone_is_not_offered(tmp_path: Path) -> None:
    ws = fresh(tmp_path)
    film = draw_film(tmp_path / "own.mp4", (20, 25), seed=5)
    shown = register(ws, film, owner="Studio North", uses=("retrieve", "derive", "export"), lengths=(20, 25))
    row = ws.library.asset(shown.asset_id)
    own = remember_terms(ws, default_terms("Studio North"))
    ws.library.put_assets([replace(row, asset=replace(row.asset, terms_id=own))])
    freeze_snapshot(ws, "own", ClipQuery())
    with pytest.raises(Rejected):
        offer_snapshot(ws, COMMAND_LINE, "own")
    ws.database.dispose()


def test_an_agreement_about_footage_that_was_taken_back_is_not_in_force(tmp_path: Path) -> None:
    ws = fresh(tmp_path)
    shown = register(ws, draw_film(tmp_path / "a.mp4", (20, 25), seed=9), owner="S", uses=("train",), lengths=(20, 25))
    freeze_snapshot(ws, "all", ClipQuery(), use="train")
    made = offer_snapshot(ws, COMMAND_LINE, "all")
    contracts = LocalContracts(ws)
    agreed = SignedAgreement("a", "provider", "did:web:peer", made.dataset_id, made.policy, finalized="2026-01-01")
    contracts.check_agreement(agreed)
    withdraw_asset(ws, shown.asset_id, "claimed by another")
    with pytest.raises(NotGranted):
        contracts.check_agreement(agreed)
    ws.database.dispose()


def test_only_who_may_offer_offers(shells: tuple[Shell, Shell]) -> None:
    stranger = Caller("p" * 64, frozenset({"annotator"}), "session")
    with pytest.raises(NotGranted):
        offer_snapshot(shells[0].ws, stranger, "night")


@pytest.mark.parametrize(
    "text",
    [
        "participant = 7",
        "unheard = 1",
        "[[partner]]\nname = 'no id'",
        "[[partner]]\nid = 'a'\nkeys = ['nonsense']",
        "[[partner]]\nid = 'a'\n[[partner]]\nid = 'a'",
        "allowed_networks = ['everywhere']",
        "partner = 7",
        "not toml",
    ],
)
def test_settings_that_are_not_understood_stop_everything(tmp_path: Path, text: str) -> None:
    ws = fresh(tmp_path)
    (ws.root / "exchange.toml").write_text(text)
    with pytest.raises(UsageError) as refused:
        show_exchange(ws, COMMAND_LINE)
    assert refused.value.code == "exchange.settings"
