"""Role and terms together: over generated callers and terms, nobody is given what an independent reading denies."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from malan.core import Terms
from malan.core.catalogue import entry
from malan.rights.decide import USES
from malan.services.access import ACTIONS, HOUSE, ROLES, Caller, denied
from malan.services.footage.owners import remember_terms
from malan.services.uses import allowed_terms, decide_use, withdrawn_terms
from malan.workspace import Workspace

PARTIES = ("a" * 64, "b" * 64, "c" * 64)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Workspace, dict[str, Terms]]]:
    """Terms of two owners: every pair of uses, open to all or to some, and withdrawn."""
    ws, kept = Workspace.create(tmp_path_factory.mktemp("access")), {}
    recipients = ((), PARTIES[:1], PARTIES[1:])
    uses = ((), ("retrieve",), ("export",), ("retrieve", "export"), ("train",), USES)
    for owner, may, whom in itertools.product(PARTIES[:2], uses, recipients):
        terms = Terms(owner, "terms", may, recipients=whom)
        kept[remember_terms(ws, terms)] = terms
    for owner in PARTIES[:2]:
        kept[remember_terms(ws, withdrawn_terms(owner))] = withdrawn_terms(owner)
    yield ws, kept
    ws.database.dispose()


def oracle(caller: Caller, terms: Terms, use: str) -> bool:
    """The same rules, read from the page on parties and written down a second time."""
    is_mine = caller.party_id == terms.owner_id and "owner" in caller.roles
    beyond_own = {"operator", "buyer"} if use == "export" else {"operator", "buyer", "annotator", "reviewer"}
    if not (caller.roles & beyond_own or is_mine):
        return False
    if use == "retrieve" and is_mine and terms.name != "withdrawn":
        return True
    return use in terms.uses and (not terms.recipients or caller.party_id in terms.recipients)


callers = st.builds(
    Caller, st.sampled_from([*PARTIES, None]), st.frozensets(st.sampled_from(ROLES)), st.just("session")
)


@settings(max_examples=300, deadline=None)
@given(caller=callers, use=st.sampled_from([*USES, "sell"]))
def test_nobody_is_given_what_role_or_terms_deny(
    library: tuple[Workspace, dict[str, Terms]], caller: Caller, use: str
) -> None:
    ws, kept = library
    found = set(allowed_terms(ws, use, kept, caller=caller))
    assert found == {terms_id for terms_id, terms in kept.items() if oracle(caller, terms, use)}


def test_the_reasons_say_whether_role_or_terms_refuse(library: tuple[Workspace, dict[str, Terms]]) -> None:
    ws, kept = library
    terms_id = next(one for one, terms in kept.items() if terms.uses == ("retrieve",) and not terms.recipients)
    auditor, owner = (Caller(kept[terms_id].owner_id, frozenset({role}), "session") for role in ("auditor", "owner"))
    assert [r.code for r in decide_use(ws, terms_id, "retrieve", caller=auditor).reasons] == ["rights.role"]
    assert [r.code for r in decide_use(ws, terms_id, "retrieve", caller=owner).reasons] == ["rights.own"]
    assert [r.code for r in decide_use(ws, terms_id, "export", caller=owner).reasons] == ["rights.use"]
    assert decide_use(ws, terms_id, "retrieve").allowed


def test_purposes_are_those_of_the_party(tmp_path: Path) -> None:
    ws = Workspace.create(tmp_path)
    terms_id = remember_terms(ws, Terms(PARTIES[0], "for research", ("retrieve",), purposes=("research",)))
    for purpose, may in (("research", True), ("advertising", False), (None, False)):
        caller = Caller(PARTIES[1], frozenset({"buyer"}), "session", purpose=purpose)
        assert bool(allowed_terms(ws, "retrieve", [terms_id], caller=caller)) == may
    assert not allowed_terms(ws, "retrieve", ["0" * 64], caller=HOUSE)
    ws.database.dispose()


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("lang", ["en", "zh"])
def test_a_refusal_names_the_action_in_words(action: str, lang: str) -> None:
    said = denied(Caller("a" * 64, frozenset(), "session", name="湖南台"), action).message(lang)
    assert "." not in said.rstrip(".。").replace(". Roles", "")
    assert entry(f"access.action.{action}").text(lang) in said
