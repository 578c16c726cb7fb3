"""`malan product`: offer a snapshot to others, see what is offered, withdraw it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

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

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None, help=speak("cli.product"))

PriceOption = Annotated[str | None, typer.Option(help=speak("cli.market.price"), show_default=False)]
ProductArgument = Annotated[str, typer.Argument(help=speak("cli.product.id"))]


@app.command(help=speak("cli.product.offer"))
def offer(
    snapshot: Annotated[str, typer.Argument(help=speak("cli.product.snapshot"))],
    terms: Annotated[Path | None, typer.Option(help=speak("cli.product.terms"), show_default=False)] = None,
    price: PriceOption = None,
    title: Annotated[str, typer.Option(help=speak("cli.product.title"), show_default=False)] = "",
    automatic: Annotated[bool, typer.Option("--automatic", help=speak("cli.product.automatic"))] = False,
    acting_as: AsOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    from malan.rights import load_terms
    from malan.services.accounts.acting import caller_for
    from malan.services.market.product_card import describe_product
    from malan.services.market.products import Price, offer_product

    ws = open_workspace(workspace)
    found = offer_product(
        ws,
        snapshot,
        terms=load_terms(terms, acting_as or "-") if terms else None,
        price=Price.read(price) if price else None,
        title=title,
        automatic=automatic,
        caller=caller_for(ws, acting_as),
    )
    _print(describe_product(ws, found), as_json=as_json)


@app.command("list", help=speak("cli.product.list"))
def list_(acting_as: AsOption = None, workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    from malan.services.accounts.acting import caller_for
    from malan.services.market.product_card import describe_product
    from malan.services.market.products import list_products

    ws = open_workspace(workspace)
    found = [describe_product(ws, one, whole=False) for one in list_products(ws, caller=caller_for(ws, acting_as))]
    if as_json:
        print_json({"products": found})
        return
    columns = [speak(f"cli.column.{name}") for name in ("title", "state", "owners", "uses", "price", "id")]
    rows = [
        (
            one["title"],
            speak(f"product.state.{one['state']}"),
            _names(one["owners"]),
            ", ".join(one["uses"]),
            shown_price(one["price"]),
            one["product"][:16],
        )
        for one in found
    ]
    print_table(columns, rows)


@app.command(help=speak("cli.product.show"))
def show(
    product: ProductArgument, acting_as: AsOption = None, workspace: WorkspaceOption = None, as_json: JsonOption = False
) -> None:
    from malan.services.accounts.acting import caller_for
    from malan.services.market.product_card import describe_product
    from malan.services.market.products import get_product

    ws = open_workspace(workspace)
    _print(describe_product(ws, get_product(ws, product, caller=caller_for(ws, acting_as))), as_json=as_json)


@app.command(help=speak("cli.product.withdraw"))
def withdraw(
    product: ProductArgument, acting_as: AsOption = None, workspace: WorkspaceOption = None, as_json: JsonOption = False
) -> None:
    from malan.services.accounts.acting import caller_for
    from malan.services.market.product_card import describe_product
    from malan.services.market.products import withdraw_product

    ws = open_workspace(workspace)
    found = withdraw_product(ws, product, caller=caller_for(ws, acting_as))
    if as_json:
        print_json(describe_product(ws, found, whole=False))
    else:
        print_line(speak("cli.product.withdrawn", title=found.title, id=found.id[:16]))


def shown_price(price: dict[str, Any]) -> str:
    """`2500.00 CNY / deal`; a dash where nothing is asked."""
    from malan.rights.shares import shown_money

    if not price["minor"]:
        return "–"
    return f"{shown_money(price['minor'], price['currency'])} / {speak('market.per.' + price['per'])}"


def print_conditions(terms: dict[str, Any]) -> None:
    """What terms demand, and what stands behind each demand."""
    columns = [speak(f"cli.column.{name}") for name in ("condition", "value", "mark")]
    rows = [(one["name"], one["value"], speak(f"terms.mark.{one['mark']}")) for one in terms["constraints"]]
    print_table(columns, rows)


def _print(found: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    print_line(f"{found['title']}  {found['product'][:16]}  {speak('product.state.' + found['state'])}")
    print_line(speak("cli.product.owners", names=_names(found["owners"]), price=shown_price(found["price"])))
    if found["waits_for"]:
        print_line(speak("cli.product.waits", names=", ".join(found["waits_for"])))
    counted = found["statistics"]
    sizes = ", ".join(f"{size} ({clips})" for size, clips in counted["resolutions"].items())
    languages = ", ".join(counted["languages"]) or "–"
    figures = {name: counted[name] for name in ("hours", "clips", "shots", "assets")}
    print_line(speak("cli.product.figures", **figures, sizes=sizes, languages=languages))
    print_line(speak("cli.product.samples", count=len(found["samples"])))
    print_conditions(found["terms"])


def _names(owners: list[dict[str, str]]) -> str:
    return ", ".join(owner["name"] for owner in owners)
