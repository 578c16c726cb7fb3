"""What engines cost whoever asks: the table `[prices]` of `models.toml`, and sums that are never a float.

    [prices.qwen]                   # of an engine, or of a name clients use; what has no price is free
    currency = "CNY"
    input_million = 100             # minor units (fen) a million input tokens; so one token is 100 micro
    output_million = 200
    request = 0                     # a request
    image = 20                      # a picture
    second = 5                      # a second of sound or film, begun ones whole
    thousand_chars = 10             # characters to be spoken

Start reading at `read_prices`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from malan.core.errors import UsageError
from malan.services.engines.settings import ENGINES_FILE, EngineRow
from malan.services.gateway.tables import MICRO

if TYPE_CHECKING:
    from malan.workspace import Workspace

_UNITS = ("input_million", "output_million", "request", "image", "second", "thousand_chars")
_MOST = 10**9


@dataclass(frozen=True, slots=True)
class Price:
    """Minor units for each unit of use."""

    currency: str = ""  # empty: free, in whatever currency
    input_million: int = 0
    output_million: int = 0
    request: int = 0
    image: int = 0
    second: int = 0
    thousand_chars: int = 0

    def micro(
        self, *, input_tokens: int = 0, output_tokens: int = 0, images: int = 0, seconds: int = 0, chars: int = 0
    ) -> int:
        """What a request costs, in millionths of the minor unit, rounded up."""
        whole = self.request + self.image * images + self.second * seconds
        tokens = self.input_million * input_tokens + self.output_million * output_tokens
        return whole * MICRO + tokens + self.thousand_chars * chars * (MICRO // 1000)


FREE = Price()


def read_prices(ws: Workspace) -> Mapping[str, Price]:
    """Prices by name of engine or route.

    Raises:
        UsageError: A price makes no sense.
    """
    try:
        said: dict[str, Any] = tomllib.loads((ws.root / ENGINES_FILE).read_text("utf-8")).get("prices", {})
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError("engines.bad_settings", file=ENGINES_FILE, place="–", detail=str(error)[:300]) from error
    if not isinstance(said, dict):
        raise _wrong("prices", "[prices.…]")
    return {name: _price(name, row) for name, row in said.items()}


def price_for(prices: Mapping[str, Price], asked: str, row: EngineRow | None = None) -> Price:
    """The price under the name that was asked for, else that of the engine that answers, else none."""
    found = prices.get(asked)
    return found or (prices.get(row.name, FREE) if row else FREE)


def dearest(prices: Mapping[str, Price], asked: str, rows: tuple[EngineRow, ...], **use: int) -> tuple[int, str]:
    """The most a request may cost, whichever engine answers, and in which currency.

    Raises:
        UsageError: Engines of one route are paid in different currencies.
    """
    found = [price_for(prices, asked, row) for row in rows] or [price_for(prices, asked)]
    currencies = {price.currency for price in found if price.currency}
    if len(currencies) > 1:
        raise _wrong(asked, ", ".join(sorted(currencies)))
    return max(price.micro(**use) for price in found), next(iter(currencies), "")


def _price(name: str, row: Any) -> Price:
    place = f"prices.{name[:80]}"
    if not isinstance(row, dict) or (stray := sorted(set(row) - {*_UNITS, "currency"})):
        raise _wrong(place if not isinstance(row, dict) else f"{place}.{stray[0][:80]}", ", ".join(_UNITS))
    currency = row.get("currency", "")
    if not (isinstance(currency, str) and len(currency) == 3 and currency.isascii() and currency.isupper()):
        raise _wrong(f"{place}.currency", "CNY")
    for unit in _UNITS:
        value = row.get(unit, 0)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _MOST:
            raise _wrong(f"{place}.{unit}", f"0–{_MOST}")
    return Price(**row)


def _wrong(place: str, detail: str) -> UsageError:
    return UsageError("engines.bad_settings", file=ENGINES_FILE, place=place, detail=detail)
