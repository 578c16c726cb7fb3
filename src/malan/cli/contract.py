"""`malan contract`: order a product, bargain over it, sign it here or outside, keep the agreement."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from malan.cli.product import PriceOption, print_conditions, shown_price
from malan.cli.show import (
    AsOption,
    JsonOption,
    WorkspaceOption,
    open_workspace,
    print_json,
    print_line,
    print_table,
    speak,
)
from malan.core.catalogue import session_language
from malan.core.errors import Rejected, UsageError

if TYPE_CHECKING:
    from malan.services.market.contracts import Changes, Contract
    from malan.workspace import Workspace

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None, help=speak("cli.contract"))

NumberArgument = Annotated[str, typer.Argument(help=speak("cli.contract.number"))]
TermsOption = Annotated[Path | None, typer.Option("--terms", help=speak("cli.contract.terms"), show_default=False)]
StartsOption = Annotated[str | None, typer.Option(help=speak("cli.contract.starts"), show_default=False)]
EndsOption = Annotated[str | None, typer.Option(help=speak("cli.contract.ends"), show_default=False)]
LimitOption = Annotated[list[str] | None, typer.Option("--limit", help=speak("cli.contract.limit"))]
UseOption = Annotated[list[str] | None, typer.Option("--use", help=speak("cli.contract.use"))]
PurposeOption = Annotated[list[str] | None, typer.Option("--purpose", help=speak("cli.contract.purpose"))]
OutOption = Annotated[Path, typer.Option(help=speak("cli.contract.out"))]

_MOST_BYTES = 4 << 20


@app.command(help=speak("cli.contract.order"))
def order(
    product: Annotated[str, typer.Argument(help=speak("cli.product.id"))],
    buyer: Annotated[str, typer.Option("--as", help=speak("cli.contract.buyer"))],
    key: Annotated[str | None, typer.Option(help=speak("cli.contract.key"), show_default=False)] = None,
    price: PriceOption = None,
    terms: TermsOption = None,
    starts: StartsOption = None,
    ends: EndsOption = None,
    limit: LimitOption = None,
    use: UseOption = None,
    purpose: PurposeOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    from malan.services.accounts.acting import caller_for
    from malan.services.market.contracts import order_product
    from malan.services.market.signing import read_public_key

    ws = open_workspace(workspace)
    changes = _changes(price, terms, starts, ends, limit, use, purpose)
    key_id = read_public_key(key) if key else None
    made = order_product(ws, product, buyer, changes=changes, key_id=key_id, caller=caller_for(ws, buyer))
    _print(ws, made, as_json=as_json)


@app.command(help=speak("cli.contract.counter"))
def counter(
    number: NumberArgument,
    price: PriceOption = None,
    terms: TermsOption = None,
    starts: StartsOption = None,
    ends: EndsOption = None,
    limit: LimitOption = None,
    use: UseOption = None,
    purpose: PurposeOption = None,
    acting_as: AsOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    from malan.services.accounts.acting import caller_for
    from malan.services.market.contracts import counter_contract

    ws = open_workspace(workspace)
    changes = _changes(price, terms, starts, ends, limit, use, purpose)
    _print(ws, counter_contract(ws, number, changes, caller=caller_for(ws, acting_as)), as_json=as_json)


@app.command(help=speak("cli.contract.accept"))
def accept(
    number: NumberArgument, acting_as: AsOption = None, workspace: WorkspaceOption = None, as_json: JsonOption = False
) -> None:
    from malan.services.accounts.acting import caller_for
    from malan.services.market.contracts import accept_contract

    ws = open_workspace(workspace)
    _print(ws, accept_contract(ws, number, caller=caller_for(ws, acting_as)), as_json=as_json)


@app.command(help=speak("cli.contract.refuse"))
def refuse(
    number: NumberArgument,
    reason: Annotated[str, typer.Option(help=speak("cli.contract.reason"), show_default=False)] = "",
    acting_as: AsOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    from malan.services.accounts.acting import caller_for
    from malan.services.market.contracts import refuse_contract

    ws = open_workspace(workspace)
    _print(ws, refuse_contract(ws, number, reason, caller=caller_for(ws, acting_as)), as_json=as_json)


@app.command(help=speak("cli.contract.sign"))
def sign(
    number_or_file: Annotated[str, typer.Argument(help=speak("cli.contract.number_or_file"))],
    key: Annotated[Path | None, typer.Option(help=speak("cli.contract.private_key"), show_default=False)] = None,
    acting_as: AsOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    if key is not None:
        _sign_file(Path(number_or_file), key, as_json=as_json)
        return
    from malan.services.accounts.acting import caller_for
    from malan.services.market.contracts import sign_contract

    ws = open_workspace(workspace)
    _print(ws, sign_contract(ws, number_or_file, caller=caller_for(ws, acting_as)), as_json=as_json)


@app.command(help=speak("cli.contract.export"))
def export(
    number: NumberArgument,
    out: OutOption,
    document: Annotated[Path | None, typer.Option(help=speak("cli.contract.document"), show_default=False)] = None,
    acting_as: AsOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    from malan.services.accounts.acting import caller_for
    from malan.services.market.contract_lookup import export_contract
    from malan.services.market.signing import document_of

    ws = open_workspace(workspace)
    data = export_contract(ws, number, caller=caller_for(ws, acting_as))
    _write_new(out, data)
    if document is not None:
        _write_new(document, document_of(data))
    if as_json:
        print_json({"contract": number, "out": out, "document": document})
    else:
        print_line(speak("cli.contract.exported", out=out))


@app.command("import", help=speak("cli.contract.import"))
def import_(
    file: Annotated[Path, typer.Argument(help=speak("cli.contract.file"))],
    signature: Annotated[Path | None, typer.Option(help=speak("cli.contract.signature"), show_default=False)] = None,
    acting_as: AsOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    from malan.services.accounts.acting import caller_for
    from malan.services.market.contracts import add_signatures
    from malan.services.market.signing import attach_signature

    ws, data = open_workspace(workspace), _read(file)
    if signature is not None:
        data = attach_signature(data, _read(signature))
    _print(ws, add_signatures(ws, data, caller=caller_for(ws, acting_as)), as_json=as_json)


@app.command("list", help=speak("cli.contract.list"))
def list_(acting_as: AsOption = None, workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    from malan.services.accounts.acting import caller_for
    from malan.services.market.contract_lookup import describe_contract, list_contracts

    ws = open_workspace(workspace)
    listed = list_contracts(ws, caller=caller_for(ws, acting_as))
    found = [describe_contract(ws, one, whole=False) for one in listed]
    if as_json:
        print_json({"contracts": found})
        return
    columns = [speak(f"cli.column.{name}") for name in ("number", "state", "buyer", "owners", "price", "waits")]
    rows = [
        (
            one["contract"],
            speak(f"contract.state.{one['state']}"),
            one["buyer"],
            ", ".join(one["owners"]),
            shown_price(one["price"]) if one["price"] else "–",
            ", ".join(one["waits_for"]) or "–",
        )
        for one in found
    ]
    print_table(columns, rows)


@app.command(help=speak("cli.contract.show"))
def show(
    number: NumberArgument, acting_as: AsOption = None, workspace: WorkspaceOption = None, as_json: JsonOption = False
) -> None:
    from malan.services.accounts.acting import caller_for
    from malan.services.market.contract_lookup import get_contract

    ws = open_workspace(workspace)
    _print(ws, get_contract(ws, number, caller=caller_for(ws, acting_as)), as_json=as_json)


def _changes(
    price: str | None,
    terms: Path | None,
    starts: str | None,
    ends: str | None,
    limits: list[str] | None,
    uses: list[str] | None,
    purposes: list[str] | None,
) -> Changes:
    from malan.rights import load_terms
    from malan.services.market.contracts import Changes
    from malan.services.market.products import Price

    return Changes(
        terms=load_terms(terms, "-") if terms else None,
        price=Price.read(price) if price else None,
        starts=starts,
        ends=ends,
        limits=dict(_limit(one) for one in limits or ()),
        uses=tuple(uses or ()),
        purposes=tuple(purposes or ()),
    )


def _limit(text: str) -> tuple[str, int]:
    """`clip_seconds=36000`."""
    name, _, amount = text.partition("=")
    if not amount.strip().isascii() or not amount.strip().isdigit():
        known = "clip_seconds, runs, outputs, output_bytes"
        raise UsageError("contract.bad_change", key=name[:40], value=amount[:40], known=known)
    return name.strip(), int(amount)


def _print(ws: Workspace, contract: Contract, *, as_json: bool) -> None:
    from malan.services.market.contract_lookup import describe_contract

    found = describe_contract(ws, contract)
    if as_json:
        print_json(found)
        return
    print_line(f"{found['contract']}  {speak('contract.state.' + found['state'])}")
    people = {"buyer": found["buyer"], "owners": ", ".join(found["owners"]), "price": shown_price(found["price"])}
    print_line(speak("cli.contract.people", **people))
    if found["waits_for"]:
        print_line(speak("cli.contract.waits", names=", ".join(found["waits_for"])))
    print_conditions(found["terms"])
    for tier, texts in found.get("agreement", {}).get("guarantee", {}).items():
        print_line(speak("cli.contract.guarantee", tier=tier, text=texts[session_language()]))
    if worst := found.get("agreement", {}).get("ceiling"):
        print_line(speak("cli.contract.ceiling", **worst))
    if found["grant"]:
        print_line(speak("cli.contract.granted", grant=found["grant"][:16]))


def _sign_file(file: Path, key: Path, *, as_json: bool) -> None:
    """Sign a file outside: no workspace is asked."""
    from malan.services.market.signing import sign_file

    data = sign_file(_read(file), key)
    part = file.with_name(f".{file.name}.part")
    part.write_bytes(data)
    part.replace(file)
    if as_json:
        print_json({"signed": file})
    else:
        print_line(speak("cli.contract.signed_file", file=file))


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_MOST_BYTES)
    except OSError as error:
        raise UsageError("contract.unreadable", path=str(path), detail=error.strerror or str(error)) from error


def _write_new(path: Path, data: bytes) -> None:
    try:
        with path.open("xb") as file:
            file.write(data)
    except FileExistsError:
        raise Rejected("terms.exists", path=str(path)) from None
