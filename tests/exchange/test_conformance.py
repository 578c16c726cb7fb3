"""What a conformance kit plays: every mandatory scenario of both roles, against the connector over HTTP."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from counterparty import Counterparty, Play
from dsp_messages import message
from dsp_schemas import check
from nodes import Node, seeded_node

from malan.exchange.test_mode import Seed, load_seed

# Each line: a name, the script of the connector under test, and what the counterparty does.
# `>x` we send, `!x` we send and it must be refused, `<x` we are sent, `=X` its state.

OFFER, AGREEMENT = "ContractOfferMessage", "ContractAgreementMessage"
FINALIZED, ACCEPTED = "ContractNegotiationEventMessage:FINALIZED", "ContractNegotiationEventMessage:ACCEPTED"
REQUEST, VERIFICATION = "ContractRequestMessage", "ContractAgreementVerificationMessage"
END = "ContractNegotiationTerminationMessage"
START, PAUSE, DONE = "TransferStartMessage", "TransferSuspensionMessage", "TransferCompletionMessage"
STOP = "TransferTerminationMessage"

PROVIDER = {
    "CN0101": ("REQUESTED offer", f"<{OFFER} =OFFERED"),
    "CN0102": ("REQUESTED offer, REQUESTED terminate", f"<{OFFER} =OFFERED >counter <{END} =TERMINATED"),
    "CN0103": (
        "REQUESTED offer, ACCEPTED agree, VERIFIED finalize",
        f"<{OFFER} =OFFERED >accept <{AGREEMENT} =AGREED >verify <{FINALIZED} =FINALIZED",
    ),
    "CN0104": ("REQUESTED agree, VERIFIED finalize", f"<{AGREEMENT} =AGREED >verify <{FINALIZED} =FINALIZED"),
    "CN0201": ("", "=REQUESTED >terminate =TERMINATED"),
    "CN0202": ("REQUESTED terminate", f"<{END} =TERMINATED"),
    "CN0203": ("REQUESTED offer", f"<{OFFER} =OFFERED >terminate =TERMINATED"),
    "CN0204": ("REQUESTED offer, OFFERED terminate", f"<{OFFER} <{END} =TERMINATED"),
    "CN0205": ("REQUESTED offer, ACCEPTED terminate", f"<{OFFER} =OFFERED >accept <{END} =TERMINATED"),
    "CN0206": ("REQUESTED agree", f"<{AGREEMENT} =AGREED >terminate =TERMINATED"),
    "CN0207": ("REQUESTED agree, VERIFIED terminate", f"<{AGREEMENT} =AGREED >verify <{END} =TERMINATED"),
    "CN0301": (
        "REQUESTED agree, VERIFIED finalize",
        f"<{AGREEMENT} =AGREED >verify <{FINALIZED} =FINALIZED !terminate !verify !counter !accept",
    ),
    "CN0302": ("REQUESTED offer", f"<{OFFER} =OFFERED !verify"),
    "CN0303": ("REQUESTED offer", f"<{OFFER} =OFFERED >accept !verify !accept !counter"),
    "CN0304": ("REQUESTED offer", f"<{OFFER} =OFFERED >counter !counter"),
    "CN0305": ("", "=REQUESTED !accept !verify !offer !agree !finalize !counter"),
    "CN0306": ("REQUESTED terminate", f"<{END} =TERMINATED !terminate !accept !counter !verify"),
}

CONSUMER = {
    "CNC0101": ("OFFERED accept, AGREED verify", f">offer <{ACCEPTED} >agree <{VERIFICATION} >finalize =FINALIZED"),
    "CNC0102": ("OFFERED counter", f">offer <{REQUEST} =REQUESTED >offer =OFFERED"),
    "CNC0103": ("AGREED verify", f">agree <{VERIFICATION} =VERIFIED >finalize =FINALIZED"),
    "CNC0104": ("OFFERED counter, AGREED verify", f">offer <{REQUEST} >agree <{VERIFICATION} >finalize =FINALIZED"),
    "CNC0201": ("", ">terminate =TERMINATED"),
    "CNC0202": ("REQUESTED terminate", f"<{END} =TERMINATED"),
    "CNC0203": ("OFFERED terminate", f">offer <{END} =TERMINATED"),
    "CNC0204": ("", ">offer >terminate =TERMINATED"),
    "CNC0205": ("OFFERED accept", f">offer <{ACCEPTED} >terminate =TERMINATED"),
    "CNC0206": ("AGREED terminate", f">agree <{END} =TERMINATED"),
    "CNC0207": ("AGREED verify", f">agree <{VERIFICATION} >terminate =TERMINATED"),
    "CNC0301": ("", "=REQUESTED !finalize"),
    "CNC0302": ("", ">offer =OFFERED !agree"),
    "CNC0303": ("", ">offer =OFFERED !finalize"),
    "CNC0304": ("OFFERED accept", f">offer <{ACCEPTED} !finalize"),
    "CNC0305": ("OFFERED accept", f">offer <{ACCEPTED} !offer"),
    "CNC0306": ("", ">agree =AGREED !finalize !agree !offer"),
    "CNC0307": ("AGREED verify", f">agree <{VERIFICATION} >finalize =FINALIZED !finalize !terminate !offer !agree"),
}

TRANSFERS = {
    "TP0101": ("REQUESTED start, STARTED terminate", f"<{START} <{STOP} =TERMINATED"),
    "TP0102": ("REQUESTED start, STARTED complete", f"<{START} <{DONE} =COMPLETED"),
    "TP0103": ("REQUESTED start, STARTED suspend, SUSPENDED terminate", f"<{START} <{PAUSE} <{STOP} =TERMINATED"),
    "TP0104": (
        "REQUESTED start, STARTED suspend, SUSPENDED start, STARTED complete",
        f"<{START} <{PAUSE} <{START} <{DONE} =COMPLETED",
    ),
    "TP0105": ("REQUESTED terminate", f"<{STOP} =TERMINATED"),
    "TP0201": ("REQUESTED start", f"<{START} =STARTED >terminate =TERMINATED"),
    "TP0202": ("REQUESTED start", f"<{START} =STARTED >complete =COMPLETED"),
    "TP0203": ("REQUESTED start", f"<{START} =STARTED >suspend =SUSPENDED >terminate =TERMINATED"),
    "TP0204": ("REQUESTED start", f"<{START} =STARTED >suspend =SUSPENDED >start =STARTED >complete =COMPLETED"),
    "TP0205": ("", "=REQUESTED >terminate =TERMINATED"),
    "TP0301": ("", "=REQUESTED !complete"),
    "TP0302": ("", "=REQUESTED !suspend !start"),
    "TP0303": ("REQUESTED start", f"<{START} =STARTED >suspend =SUSPENDED !complete !suspend"),
    "TP0304": ("REQUESTED start", f"<{START} =STARTED >terminate =TERMINATED !start"),
    "TP0305": ("REQUESTED start", f"<{START} =STARTED >terminate =TERMINATED !suspend"),
    "TP0306": ("REQUESTED start", f"<{START} =STARTED >terminate =TERMINATED !complete !terminate"),
}

TRANSFERS_AS_CONSUMER = {
    "TPC0101": ("", ">start =STARTED >terminate =TERMINATED"),
    "TPC0102": ("", ">start =STARTED >complete =COMPLETED"),
    "TPC0103": ("", ">start >suspend =SUSPENDED >terminate =TERMINATED"),
    "TPC0104": ("", ">start >suspend =SUSPENDED >start =STARTED >complete =COMPLETED"),
    "TPC0105": ("", ">terminate =TERMINATED"),
    "TPC0201": ("STARTED terminate", f">start <{STOP} =TERMINATED"),
    "TPC0202": ("STARTED complete", f">start <{DONE} =COMPLETED"),
    "TPC0203": ("STARTED suspend, SUSPENDED terminate", f">start <{PAUSE} <{STOP} =TERMINATED"),
    "TPC0204": (
        "STARTED suspend, SUSPENDED start, STARTED complete",
        f">start <{PAUSE} <{START} <{DONE} =COMPLETED",
    ),
    "TPC0205": ("REQUESTED terminate", f"<{STOP} =TERMINATED"),
    "TPC0301": ("", "=REQUESTED !complete"),
    "TPC0302": ("", "=REQUESTED !suspend"),
    "TPC0303": ("", ">start >suspend =SUSPENDED !complete"),
    "TPC0304": ("", ">start >terminate =TERMINATED !start"),
    "TPC0305": ("", ">start >terminate =TERMINATED !suspend"),
    "TPC0306": ("", ">start >terminate =TERMINATED !complete"),
}


def _script(text: str) -> tuple[tuple[str, str], ...]:
    steps = [one.split() for one in text.split(",") if one.strip()]
    return tuple((state, action) for state, action in steps)


def _seed() -> Seed:
    scripts = {}
    for folder, role, table in (
        ("negotiations", "provider", PROVIDER),
        ("negotiations", "consumer", CONSUMER),
        ("transfers", "provider", TRANSFERS),
        ("transfers", "consumer", TRANSFERS_AS_CONSUMER),
    ):
        scripts |= {(folder, role, name): _script(script) for name, (script, _) in table.items()}
    datasets = [*PROVIDER, "CAT0101", "CAT0102"]
    agreements = [{"id": name, "role": "provider", "datasetId": "CN0101"} for name in TRANSFERS]
    agreements += [{"id": name, "role": "consumer", "datasetId": "REMOTE"} for name in TRANSFERS_AS_CONSUMER]
    return Seed(
        participant="CONNECTOR_UNDER_TEST",
        counterparty="TCK_PARTICIPANT",
        step_delay_s=0.015,
        data_address={"@type": "DataAddress", "endpointType": "http", "endpoint": "http://127.0.0.1:9/none"},
        datasets=tuple({"id": i, "offerId": f"CD123:{i}:456", "formats": ["HttpData-PULL"]} for i in datasets),
        agreements=tuple(agreements),
        scripts=scripts,
    )


@pytest.fixture(scope="module")
def under_test() -> Iterator[Node]:
    with seeded_node(_seed()) as found:
        found.ex.sender._pauses_s = (0.03, 0.2)
        yield found


@pytest.fixture(scope="module")
def party() -> Iterator[Counterparty]:
    found = Counterparty()
    yield found
    found.close()


def act_out(play: Play, lines: str) -> None:
    for _ in range(lines.count("<")):
        play.party.expect(play.mine)
    for step in lines.split():
        mark, word = step[0], step[1:]
        {"<": play.expect, ">": play.tell, "!": play.refused, "=": play.is_in}[mark](word)
    assert play.party.nothing_waits(play.mine)


@pytest.mark.parametrize("name", PROVIDER)
def test_a_consumer_negotiates_with_us(under_test: Node, party: Counterparty, name: str) -> None:
    act_out(Play(under_test.url, party).request(name, f"CD123:{name}:456"), PROVIDER[name][1])


@pytest.mark.parametrize("name", CONSUMER)
def test_we_negotiate_with_a_provider(under_test: Node, party: Counterparty, name: str) -> None:
    play = Play(under_test.url, party)
    play.have_it_ask("negotiations/requests", name, datasetId=name, offerId=f"CD123:{name}:456")
    assert play.offer_id == f"CD123:{name}:456"
    act_out(play, CONSUMER[name][1])


@pytest.mark.parametrize("name", TRANSFERS)
def test_a_consumer_transfers_from_us(under_test: Node, party: Counterparty, name: str) -> None:
    act_out(Play(under_test.url, party).request_transfer(name), TRANSFERS[name][1])


@pytest.mark.parametrize("name", TRANSFERS_AS_CONSUMER)
def test_we_transfer_from_a_provider(under_test: Node, party: Counterparty, name: str) -> None:
    play = Play(under_test.url, party)
    play.have_it_ask("transfers/requests", name, agreementId=name, format="HttpData-PULL")
    act_out(play, TRANSFERS_AS_CONSUMER[name][1])


def test_a_scenario_can_be_repeated_without_a_restart(under_test: Node, party: Counterparty) -> None:
    for _ in range(2):
        act_out(Play(under_test.url, party).request("CN0104", "CD123:CN0104:456"), PROVIDER["CN0104"][1])


def test_the_version_document_names_the_protocol(under_test: Node) -> None:
    said = httpx.get(f"{under_test.url}/.well-known/dspace-version").json()
    entry = next(one for one in said["protocolVersions"] if one["version"] == "2025-1")
    assert (entry["path"], entry["binding"]) == ("/dsp/2025-1", "HTTPS")


def test_the_catalogue_lists_what_is_seeded(under_test: Node) -> None:
    reply = httpx.post(f"{under_test.root}/catalog/request", json=message("CatalogRequestMessage"))
    assert reply.status_code == 200
    said = check(reply.json())
    assert {one["@id"] for one in said["dataset"]} == {*PROVIDER, "CAT0101", "CAT0102"}
    assert said["participantId"] == "CONNECTOR_UNDER_TEST"


def test_a_dataset_is_read_by_its_id(under_test: Node) -> None:
    said = check(httpx.get(f"{under_test.root}/catalog/datasets/CAT0102").json())
    assert (said["@id"], said["hasPolicy"][0]["@id"]) == ("CAT0102", "CD123:CAT0102:456")


def test_a_dataset_that_is_not_there_is_a_typed_404(under_test: Node) -> None:
    reply = httpx.get(f"{under_test.root}/catalog/datasets/CAT0103")
    assert (reply.status_code, check(reply.json())["@type"]) == (404, "CatalogError")


def test_a_catalogue_with_a_filter_is_a_typed_400(under_test: Node) -> None:
    said = message("CatalogRequestMessage", filter=[{"keyword": "night"}])
    reply = httpx.post(f"{under_test.root}/catalog/request", json=said)
    assert (reply.status_code, check(reply.json())["code"]) == (400, "exchange.filter")


def test_a_message_not_expected_yet_is_sent_again(under_test: Node, party: Counterparty) -> None:
    play = Play(under_test.url, party).request("CN0101", "CD123:CN0101:456")
    party.refuse[play.mine] = [404, 503]
    party.expect(play.mine)
    play.expect(OFFER)
    assert party.tries[play.mine] == 3


def test_a_message_that_is_refused_is_never_sent_again(under_test: Node, party: Counterparty) -> None:
    play = Play(under_test.url, party)
    party.refuse["CNC0205"] = [422]
    said = {"providerId": "x", "connectorAddress": party.url, "datasetId": "CNC0205", "offerId": "o"}
    tries = party.tries["CNC0205"]
    reply = httpx.post(f"{under_test.url}/test/negotiations/requests", json=said)
    play.theirs = reply.json()["consumerPid"]
    until = under_test.ex
    while not (found := _problem(until, play.theirs)):
        pass
    assert found["detail"].startswith("422")
    assert party.tries["CNC0205"] == tries + 1


def _problem(ex: object, pid: str) -> dict[str, str] | None:
    from malan.services.exchange.negotiation import show_negotiation

    return show_negotiation(ex, pid).details.get("problem")  # type: ignore[arg-type]


def test_the_seed_of_the_specification_is_understood(tmp_path: object) -> None:
    from pathlib import Path

    path = Path(str(tmp_path)) / "seed.json"
    path.write_text(
        '{"participantId": "CONNECTOR_UNDER_TEST", "counterparty": "TCK_PARTICIPANT", "stepDelayMs": 500,'
        '"datasets": [{"id": "A", "offerId": "o", "formats": ["HttpData-PULL"]}],'
        '"agreements": [{"id": "X", "role": "consumer", "datasetId": "R"}],'
        '"negotiations": {"provider": {"A": [["REQUESTED", "offer"]], "B": []}, "consumer": {}}}'
    )
    seed = load_seed(path)
    assert seed.scripts["negotiations", "provider", "B"] == ()
    assert seed.step_delay_s == 0.5
