"""Rendering: a page, a piece of a page, or the same data as JSON, in the reader's language."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from malan import __version__
from malan.core.catalogue import catalogue, entry
from malan.services import spoken
from malan.services.access import may
from malan.services.accounts.sessions import form_token
from malan.web.built import Built, Fresh
from malan.web.gate import session_of
from malan.web.language import language_of

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_TEMPLATES = Path(__file__).parent / "templates"


class Pages:
    """Turns what a service returned into a reply."""

    def __init__(self, built: Built | None = None) -> None:
        self._env = Environment(
            loader=FileSystemLoader(_TEMPLATES),
            autoescape=select_autoescape(default=True),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._env.filters["block"] = _data_block
        self._env.filters["short"] = _short_count
        self._env.filters |= {
            "size": spoken.size,
            "clock": spoken.clock,
            "number": _number,
            "decimal": _decimal,
            "day": _day,
        }
        self._read_built: Callable[[], Built] = (lambda: built) if built else Fresh()

    def html(self, request: Request, template: str, *, status: int = 200, **values: Any) -> HTMLResponse:
        """A page or a piece of one. `values` are what the template names."""
        lang = language_of(request.scope)
        text = self._env.get_template(template).render(
            t=_translator(lang),
            lang=lang,
            named=partial(_named, lang),
            money=partial(spoken.money, lang=lang),
            cost=partial(spoken.cost, lang=lang),
            moment=partial(spoken.moment, lang=lang),
            lasting=partial(spoken.lasting, lang=lang),
            path=request.url.path,
            query=request.url.query,
            built=self._read_built,
            nonce=request.state.nonce,
            version=__version__,
            caller=(caller := getattr(request.state, "caller", None)),
            may=partial(may, caller),
            form_token=form_token(secret) if (secret := session_of(request)) else "",
            words=_browser_words(lang),
            **values,
        )
        return HTMLResponse(text, status, headers={"vary": "cookie, accept-language"})

    @staticmethod
    def json(value: DataclassInstance) -> Response:
        """One documented object."""
        return Response(to_json(value), media_type="application/json")


def to_json(value: DataclassInstance) -> bytes:
    """A view as JSON; a name that is not valid Unicode is escaped."""
    return json.dumps(asdict(value), ensure_ascii=False).encode("utf-8", "backslashreplace")


def _translator(lang: str) -> Any:
    def translate(code: str, /, **values: Any) -> str:
        return entry(code).text(lang, values)

    return translate


def _named(lang: str, code: str, fallback: str) -> str:
    """A message, or what stands there where nobody wrote one: steps, figures and classes of others show by name."""
    said = catalogue().get(code)
    return said.text(lang, {}) if said else fallback


def _browser_words(lang: str) -> Mapping[str, str]:
    """The words scripts show, sent with each page."""
    return {code: said.words[lang] for code, said in catalogue().items() if code.startswith("web.js.")}


def _short_count(number: int) -> str:
    """`987`, `12k`: for where there is little room."""
    return str(number) if number < 1000 else f"{number / 1000:.1f}".removesuffix(".0") + "k"


def _number(value: float) -> str:
    """`8`, `8.5`, `12.25`: a count that may be a fraction, without empty digits."""
    return f"{float(value):.2f}".rstrip("0").rstrip(".")


def _day(seconds: float) -> str:
    """`2026-11-22`: the day of a time in seconds, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).date().isoformat()


def _decimal(text: Any) -> float | None:
    """A figure as a number; None for what is none."""
    try:
        return float(text)
    except (TypeError, ValueError):
        return None


def _data_block(value: Any) -> Markup:
    """JSON for a data block of a page: nothing in it can end the block or be taken for markup."""
    plain = asdict(value) if hasattr(value, "__dataclass_fields__") else value
    text = json.dumps(plain, ensure_ascii=True, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))  # noqa: S704 - escaped above
