"""Code of others learns from footage only when every owner of it said so, of exactly that code."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from algorithm_factory import files
from market_place import BUYER_NAME, RIVAL, STATION, STUDIO, granted, party

from malan.core.errors import NotFound, NotGranted, ProofError, Rejected, StoreError, UsageError
from malan.rights.terms import party_id
from malan.services.access import COMMAND_LINE, OPERATOR, Caller
from malan.services.footage.owners import remember_owner
from malan.services.journal import read_event
from malan.services.runs import approvals
from malan.services.runs.algorithms import (
    Algorithm,
    ask_owners,
    built_ins,
    describe_algorithm,
    find_algorithm,
    get_algorithm,
    list_algorithms,
    load_package,
    submit_algorithm,
    tiers_of,
)
from malan.services.runs.approvals import (
    approval_of,
    approve_algorithm,
    approved_for,
    compare_with_before,
    describe_approvals,
    reject_algorithm,
    revoke_approval,
    trust_publisher,
    trusted_publishers,
)
from malan.training.algorithms import builtin_files, builtin_names
from malan.training.package import check_files
from malan.workspace import Workspace

OWNERS = (party_id(STATION), party_id(STUDIO))


@pytest.fixture
def local(tmp_path: Path) -> Workspace:
    """A workspace on SQLite alone: where the database plays no part."""
    return Workspace.create(tmp_path / "local")


def submitted(ws: Workspace, grant: str | None = None, **changes: str) -> Algorithm:
    return submit_algorithm(ws, _by(BUYER_NAME, **changes), grant=grant, caller=party(BUYER_NAME))


def _by(publisher: str, **changes: str) -> Mapping[str, bytes]:
    return files(publisher=publisher, **changes)


def test_what_was_submitted_is_found_under_its_digest_and_stays(workspace: Workspace) -> None:
    found = submitted(workspace)
    assert submitted(workspace) == found
    assert find_algorithm(workspace, "lines", caller=party(BUYER_NAME)) == found
    assert get_algorithm(workspace, found.digest[:10]).files == _by(BUYER_NAME)
    assert len(workspace.log.find("algorithm.submit")) == 1


def test_a_version_is_one_code_for_good(local: Workspace) -> None:
    submitted(local)
    with pytest.raises(Rejected, match="raise the version"):
        submitted(local, summary="Another")
    newer = submitted(local, summary="Another", version="1.0.1")
    assert find_algorithm(local, "lines").digest == newer.digest
    assert find_algorithm(local, "lines@1.0.0").digest != newer.digest


def test_nobody_publishes_in_anothers_name(local: Workspace) -> None:
    for name in (RIVAL, "malan", " MALAN "):
        with pytest.raises(Rejected, match="publishes it"):
            submit_algorithm(local, _by(name), caller=party(BUYER_NAME))
    with pytest.raises(Rejected):
        submit_algorithm(local, _by("malan"), caller=party("malan"))


def test_only_those_concerned_see_code(local: Workspace) -> None:
    grant = granted(local)
    found = submitted(local)
    with pytest.raises(NotFound):
        find_algorithm(local, found.digest, caller=party(STATION))
    ask_owners(local, found.digest, grant, caller=party(BUYER_NAME))
    assert find_algorithm(local, found.digest, caller=party(STATION)) == found
    for stranger in (party(RIVAL), Caller(party_id("谁"), frozenset({"buyer"}), "session")):
        with pytest.raises(NotFound):
            find_algorithm(local, found.digest, caller=stranger)
    with pytest.raises(NotGranted):
        list_algorithms(local, caller=Caller(party_id("标注员"), frozenset({"annotator"}), "session"))


def test_somebody_elses_grant_shows_code_to_nobody(local: Workspace) -> None:
    grant = granted(local)
    with pytest.raises(NotFound):
        submit_algorithm(local, _by(RIVAL), grant=grant, caller=party(RIVAL))
    with pytest.raises(NotFound):
        ask_owners(local, "0" * 64, grant, caller=party(STATION))


def test_code_may_run_once_every_owner_approved_it(workspace: Workspace) -> None:
    found = submitted(workspace, granted(workspace))
    assert approval_of(workspace, found.digest, OWNERS).missing == tuple(sorted(OWNERS))
    approve_algorithm(workspace, "lines", reason="read it", caller=party(STATION))
    assert not approved_for(workspace, found.digest, OWNERS).allowed
    assert approval_of(workspace, found.digest, OWNERS).missing == (party_id(STUDIO),)
    approve_algorithm(workspace, "lines", caller=party(STUDIO))
    decision = approved_for(workspace, found.digest, OWNERS)
    assert decision.allowed
    assert STATION in " ".join(reason.text("zh") for reason in decision.reasons)


def test_an_approval_is_for_one_digest(local: Workspace) -> None:
    grant = granted(local)
    found = submitted(local, grant)
    for name in (STATION, STUDIO):
        approve_algorithm(local, found.digest, caller=party(name))
    newer = submitted(local, grant, version="1.0.1")
    assert not approved_for(local, newer.digest, OWNERS).allowed


def test_who_read_one_version_does_not_approve_the_next_by_its_name(local: Workspace) -> None:
    grant = granted(local)
    submitted(local, grant)
    newer = submitted(local, grant, version="1.0.1")
    with pytest.raises(UsageError, match=r"lines@1\.0\.1, lines@1\.0\.0"):
        approve_algorithm(local, "lines", caller=party(STATION))
    approve_algorithm(local, "lines@1.0.0", caller=party(STATION))
    assert not approved_for(local, newer.digest, (party_id(STATION),)).allowed


def test_the_last_word_counts(workspace: Workspace) -> None:
    found = submitted(workspace, granted(workspace))
    owner = (party_id(STATION),)
    for decide, allowed in ((approve_algorithm, True), (revoke_approval, False), (approve_algorithm, True)):
        decide(workspace, found.digest, reason="…", caller=party(STATION))
        assert approved_for(workspace, found.digest, owner).allowed is allowed
    rejected = reject_algorithm(workspace, found.digest, reason="opens sockets", caller=party(STATION))
    assert rejected.is_rejected
    assert len(workspace.log.find("algorithm.decide")) == 4


def test_an_owner_may_trust_a_publisher_and_still_say_no(workspace: Workspace) -> None:
    grant = granted(workspace)
    trust_publisher(workspace, BUYER_NAME, caller=party(STATION))
    found = submitted(workspace, grant)
    owner = (party_id(STATION),)
    assert approved_for(workspace, found.digest, owner).allowed
    reject_algorithm(workspace, found.digest, reason="not this one", caller=party(STATION))
    assert not approved_for(workspace, found.digest, owner).allowed
    newer = submitted(workspace, grant, version="1.0.1")
    assert approved_for(workspace, newer.digest, owner).allowed
    assert not approved_for(workspace, newer.digest, OWNERS).allowed
    trust_publisher(workspace, BUYER_NAME, trusted=False, caller=party(STATION))
    assert not approved_for(workspace, newer.digest, owner).allowed
    assert trusted_publishers(workspace, caller=party(STATION)) == {party_id(STATION): ()}


def test_trust_goes_to_who_submits_not_to_a_name_in_a_file(local: Workspace) -> None:
    remember_owner(local, STATION)
    submitted(local)
    trust_publisher(local, BUYER_NAME, caller=party(STATION))
    theirs = submit_algorithm(local, _by(RIVAL), caller=party(RIVAL))
    assert not approved_for(local, theirs.digest, (party_id(STATION),)).allowed


def test_an_operator_from_afar_does_not_decide_for_owners(local: Workspace) -> None:
    found = submitted(local, granted(local))
    with pytest.raises(NotGranted):
        approve_algorithm(local, found.digest, caller=Caller(None, frozenset({OPERATOR}), "session"))
    with pytest.raises(NotGranted):
        approve_algorithm(local, found.digest, caller=Caller(party_id(BUYER_NAME), frozenset({"buyer"}), "session"))
    assert approve_algorithm(local, found.digest, caller=COMMAND_LINE).decision.allowed


def test_a_buyer_who_owns_nothing_of_it_cannot_approve_its_own_code(local: Workspace) -> None:
    found = submitted(local, granted(local))
    approve_algorithm(local, found.digest, caller=party(BUYER_NAME))  # an owner too, of other footage
    assert not approved_for(local, found.digest, OWNERS).allowed


def test_no_owner_at_all_is_no_approval(local: Workspace) -> None:
    assert not approved_for(local, submitted(local).digest, ()).allowed
    with pytest.raises(UsageError, match="nobody was asked"):
        approve_algorithm(local, "lines", caller=COMMAND_LINE)


def test_what_comes_with_malan_needs_no_approval_and_is_a_recipe(local: Workspace) -> None:
    package = built_ins()["tagger"]
    assert approved_for(local, package.digest, OWNERS).allowed
    assert tiers_of(package)[0] == "recipe"
    assert tiers_of(load_package(local, submitted(local).digest)) == ("code",)
    assert find_algorithm(local, "tagger", caller=party(RIVAL)).is_built_in
    with pytest.raises(Rejected, match="needs no approval"):
        approve_algorithm(local, "tagger", caller=COMMAND_LINE)
    with pytest.raises(Rejected, match="comes with Malan"):
        submit_algorithm(local, package.files, caller=party(BUYER_NAME))


def test_every_algorithm_that_comes_with_malan_is_sound() -> None:
    assert tuple(built_ins()) == builtin_names()
    assert all(check_files(builtin_files(name)).problems == () for name in builtin_names())


@pytest.mark.parametrize("path", ["../out.py", "/tmp/out.py", "a//b.py", ".hidden", "A.py"])
def test_files_that_were_sent_are_held_against_the_same_rules_as_a_folder(local: Workspace, path: str) -> None:
    with pytest.raises(UsageError):
        submit_algorithm(local, {**_by(BUYER_NAME), path: b"", "a.py": b""}, caller=party(BUYER_NAME))


def test_an_algorithm_called_like_ours_is_not_ours(local: Workspace) -> None:
    found = submit_algorithm(local, _by(BUYER_NAME, name="tagger"), caller=party(BUYER_NAME))
    assert not approved_for(local, found.digest, OWNERS).allowed
    assert find_algorithm(local, found.digest[:12]).party_id == party_id(BUYER_NAME)
    with pytest.raises(UsageError, match="Several"):
        find_algorithm(local, "tagger", caller=party(BUYER_NAME))


def test_a_changed_blob_is_not_believed(local: Workspace) -> None:
    found = submitted(local)
    for place in (local.root / "blobs").rglob("*"):
        if place.is_file():
            data = place.read_bytes()
            place.write_bytes(data[:50] + (b"A" if data[50:51] != b"A" else b"B") + data[51:])
    with pytest.raises(ProofError):
        load_package(local, found.digest)


def test_an_owner_sees_what_is_new_since_the_version_it_approved(local: Workspace) -> None:
    grant = granted(local)
    first = submitted(local, grant)
    assert compare_with_before(local, first.digest, caller=party(STATION)) is None
    approve_algorithm(local, first.digest, caller=party(STATION))
    submitted(local, grant, version="1.0.1")
    third = submitted(local, grant, version="1.0.2", summary="New")
    found = compare_with_before(local, third.digest, caller=party(STATION))
    assert found is not None
    assert (found.before, found.after) == (first.digest, third.digest)
    assert found.settings["version"] == ("1.0.0", "1.0.2")
    assert found.files == {"algorithm.toml": "changed"}


def test_the_log_names_no_owner_and_no_publisher(local: Workspace) -> None:
    found = submitted(local, granted(local))
    approve_algorithm(local, found.digest, reason="秘密", caller=party(STATION))
    trust_publisher(local, BUYER_NAME, caller=party(STATION))
    for kind in ("algorithm.submit", "algorithm.decide", "algorithm.trust"):
        for place in local.log.find(kind):
            entry = read_event(local, place).entry.decode("latin-1")
            for secret in (BUYER_NAME, STATION, party_id(STATION), party_id(BUYER_NAME), "lines@1.0.0"):
                assert secret.encode().decode("latin-1") not in entry


def test_what_is_shown_says_where_it_stands(local: Workspace) -> None:
    found = submitted(local, granted(local))
    approve_algorithm(local, found.digest, reason="fine", caller=party(STATION))
    shown = describe_algorithm(local, found)
    assert (shown["tiers"], shown["submitted_by"]["name"]) == (["code"], BUYER_NAME)
    said = describe_approvals(local, found, caller=COMMAND_LINE)
    assert {one["name"]: one["state"] for one in said["owners"]} == {STATION: "approved", STUDIO: "waiting"}
    assert describe_approvals(local, found, caller=party(STUDIO))["history"] == []


def test_a_buyer_who_owns_no_footage_sees_where_its_code_stands(local: Workspace) -> None:
    found = submitted(local, granted(local))
    reject_algorithm(local, found.digest, reason="opens sockets", caller=party(STATION))
    buyer = Caller(party_id(BUYER_NAME), frozenset({"buyer"}), "session")
    said = describe_approvals(local, found, caller=buyer)
    assert {one["name"]: one["state"] for one in said["owners"]} == {STATION: "rejected", STUDIO: "waiting"}
    assert said["history"][0]["reason"] == "opens sockets"
    assert compare_with_before(local, found.digest, caller=buyer) is None


def test_an_approval_that_the_log_did_not_take_does_not_hold(local: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    found = submitted(local, granted(local))

    def full(*_: object) -> None:
        raise StoreError("log.full")

    approve_algorithm(local, found.digest, caller=party(STUDIO))
    monkeypatch.setattr(approvals, "record", full)
    with pytest.raises(StoreError):
        approve_algorithm(local, found.digest, caller=party(STATION))
    with pytest.raises(StoreError):
        revoke_approval(local, found.digest, reason="…", caller=party(STUDIO))
    assert approval_of(local, found.digest, OWNERS).missing == tuple(sorted(OWNERS))
