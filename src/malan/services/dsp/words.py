"""The words of the Dataspace Protocol 2025-1 and its two state machines, each as one table.

    NEGOTIATION, TRANSFER: (state, message, sender) → state

A message that is not in the table at the state a process is in is refused, whoever sends it. Start at `Machine`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from malan.rights.odrl import PROFILE

VERSION = "2025-1"
ROOT = f"/dsp/{VERSION}"
VERSION_PATH = "/.well-known/dspace-version"
CONTEXT = "https://w3id.org/dspace/2025/1/context.jsonld"
DSPACE = "https://w3id.org/dspace/2025/1/"
ODRL = "http://www.w3.org/ns/odrl/2/"
MALAN = f"{PROFILE}#"

COMPUTE_TO_DATA = f"{MALAN}compute-to-data"
HTTP_PULL = "HttpData-PULL"

CONSUMER, PROVIDER = "consumer", "provider"
NEGOTIATION_KIND, TRANSFER_KIND = "negotiation", "transfer"

# States of a negotiation, of a transfer, and of both.
REQUESTED, OFFERED, ACCEPTED, AGREED, VERIFIED, FINALIZED, TERMINATED = (
    "REQUESTED",
    "OFFERED",
    "ACCEPTED",
    "AGREED",
    "VERIFIED",
    "FINALIZED",
    "TERMINATED",
)
STARTED, SUSPENDED, COMPLETED = "STARTED", "SUSPENDED", "COMPLETED"

# Messages. The two events of a negotiation are told apart by their type.
CONTRACT_REQUEST = "ContractRequestMessage"
CONTRACT_OFFER = "ContractOfferMessage"
CONTRACT_EVENT = "ContractNegotiationEventMessage"
CONTRACT_ACCEPTED, CONTRACT_FINALIZED = f"{CONTRACT_EVENT}:ACCEPTED", f"{CONTRACT_EVENT}:FINALIZED"
CONTRACT_AGREEMENT = "ContractAgreementMessage"
CONTRACT_VERIFICATION = "ContractAgreementVerificationMessage"
CONTRACT_TERMINATION = "ContractNegotiationTerminationMessage"
TRANSFER_REQUEST = "TransferRequestMessage"
TRANSFER_START = "TransferStartMessage"
TRANSFER_SUSPENSION = "TransferSuspensionMessage"
TRANSFER_COMPLETION = "TransferCompletionMessage"
TRANSFER_TERMINATION = "TransferTerminationMessage"
CATALOG_REQUEST = "CatalogRequestMessage"

NEGOTIATION_ERROR, TRANSFER_ERROR, CATALOG_ERROR = "ContractNegotiationError", "TransferError", "CatalogError"


@dataclass(frozen=True)
class Machine:
    """One kind of process: its transitions, what its body and its errors are called, where it lives."""

    kind: str
    body: str
    error: str
    folder: str
    final: frozenset[str]
    steps: Mapping[tuple[str | None, str, str], str]

    def next_state(self, state: str | None, message: str, sender: str) -> str | None:
        """The state a message leads to; None where it is not allowed."""
        return self.steps.get((state, message, sender))


def _steps(lines: str) -> dict[tuple[str | None, str, str], str]:
    """`state message sender → state`, a line each; `-` is the start, a sender C, P or CP."""
    found: dict[tuple[str | None, str, str], str] = {}
    for line in lines.strip().splitlines():
        state, message, senders, _, after = line.split()
        for letter in senders:
            sender = CONSUMER if letter == "C" else PROVIDER
            found[None if state == "-" else state, message, sender] = after
    return found


NEGOTIATION = Machine(
    NEGOTIATION_KIND,
    "ContractNegotiation",
    NEGOTIATION_ERROR,
    "negotiations",
    frozenset({FINALIZED, TERMINATED}),
    _steps(f"""
        -         {CONTRACT_REQUEST}      C  → REQUESTED
        -         {CONTRACT_OFFER}        P  → OFFERED
        REQUESTED {CONTRACT_OFFER}        P  → OFFERED
        REQUESTED {CONTRACT_AGREEMENT}    P  → AGREED
        REQUESTED {CONTRACT_TERMINATION}  CP → TERMINATED
        OFFERED   {CONTRACT_REQUEST}      C  → REQUESTED
        OFFERED   {CONTRACT_ACCEPTED}     C  → ACCEPTED
        OFFERED   {CONTRACT_TERMINATION}  CP → TERMINATED
        ACCEPTED  {CONTRACT_AGREEMENT}    P  → AGREED
        ACCEPTED  {CONTRACT_TERMINATION}  P  → TERMINATED
        AGREED    {CONTRACT_VERIFICATION} C  → VERIFIED
        AGREED    {CONTRACT_TERMINATION}  CP → TERMINATED
        VERIFIED  {CONTRACT_FINALIZED}    P  → FINALIZED
        VERIFIED  {CONTRACT_TERMINATION}  P  → TERMINATED
    """),
)

TRANSFER = Machine(
    TRANSFER_KIND,
    "TransferProcess",
    TRANSFER_ERROR,
    "transfers",
    frozenset({COMPLETED, TERMINATED}),
    _steps(f"""
        -         {TRANSFER_REQUEST}     C  → REQUESTED
        REQUESTED {TRANSFER_START}       P  → STARTED
        REQUESTED {TRANSFER_TERMINATION} CP → TERMINATED
        STARTED   {TRANSFER_SUSPENSION}  CP → SUSPENDED
        STARTED   {TRANSFER_COMPLETION}  CP → COMPLETED
        STARTED   {TRANSFER_TERMINATION} CP → TERMINATED
        SUSPENDED {TRANSFER_START}       CP → STARTED
        SUSPENDED {TRANSFER_TERMINATION} CP → TERMINATED
    """),
)

MACHINES: Mapping[str, Machine] = {machine.kind: machine for machine in (NEGOTIATION, TRANSFER)}


def other(role: str) -> str:
    """The role across the table."""
    return PROVIDER if role == CONSUMER else CONSUMER
