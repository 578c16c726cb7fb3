"""Which language a page is in: what the reader chose, else what the browser asks for, else English."""

from __future__ import annotations

from starlette.requests import Request
from starlette.types import Scope

from malan.core.catalogue import LANGUAGES

COOKIE = "malan_language"
COOKIE_AGE_S = 365 * 24 * 3600


def language_of(scope: Scope) -> str:
    """`zh` or `en` for a request."""
    request = Request(scope)
    chosen = request.cookies.get(COOKIE, "")
    if chosen in LANGUAGES:
        return chosen
    return _preferred(request.headers.get("accept-language", ""))


def _preferred(header: str) -> str:
    """The first of our languages by weight (RFC 9110, §12.5.4); those of equal weight in the order given."""
    asked = [_weighted(part) for part in header[:500].split(",")]
    for tag, weight in sorted(asked, key=lambda pair: -pair[1]):
        language = tag.split("-")[0]
        if weight > 0 and language in LANGUAGES:
            return language
    return "en"


def _weighted(part: str) -> tuple[str, float]:
    tag, _, rest = part.partition(";")
    name, _, value = rest.strip().partition("=")
    try:
        weight = float(value) if name.strip() == "q" else 1.0
    except ValueError:
        weight = 0.0
    return tag.strip().lower(), weight
