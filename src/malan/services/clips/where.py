"""Conditions as people type them, for searching and for freezing: words and `name=value`.

    夜景 航拍 owner=湖南台 min-duration=2 blur<=0.3 motion=pan speech=no tag=shot-size=close-up

Start reading at `parse_where`.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from malan.core.errors import UsageError
from malan.rights.terms import party_id

if TYPE_CHECKING:
    from malan.store import ClipQuery

_CONDITION = re.compile(r"([a-zA-Z][\w.-]*)(<=|>=|=)(.*)", re.DOTALL)


def condition(text: str) -> ClipQuery:
    """A query that asks for nothing else than the text does."""
    from malan.store import ClipQuery

    return parse_where(text, ClipQuery())


def parse_where(text: str, query: ClipQuery) -> ClipQuery:
    """`query` narrowed by what the text says; what is no condition is a word to look for.

    Raises:
        UsageError: An unknown name, or a value that is none.
    """
    words = [query.text] if query.text else []
    for token in _tokens(text):
        match = _CONDITION.fullmatch(token)
        if match is None:
            words.append(token)
        else:
            query = _narrowed(query, token, *match.groups())
    return replace(query, text=" ".join(words))


def _tokens(text: str) -> list[str]:
    try:
        return shlex.split(text, posix=True)
    except ValueError:
        return text.split()


def _narrowed(query: ClipQuery, token: str, name: str, sign: str, value: str) -> ClipQuery:
    from malan.store.flatten import MEASURES

    name = name.lower().replace("_", "-")
    measure = name.replace("-", "_")
    try:
        if sign == "=" and name in _PLAIN:
            return replace(query, **_PLAIN[name](query, value))
        if sign == "=" and measure in _LABELS:
            return replace(query, labels=(*query.labels, f"{_LABELS[measure]}={value}"))
        if measure in MEASURES and sign == ">=":
            return replace(query, at_least={**query.at_least, measure: float(value)})
        if measure in MEASURES and sign == "<=":
            return replace(query, at_most={**query.at_most, measure: float(value)})
    except ValueError:
        pass
    bounds = (f"{one}<=N" for one in MEASURES)
    names = ", ".join([*(f"{one}=" for one in (*_PLAIN, *_LABELS)), *bounds])
    raise UsageError("dataset.bad_where", text=token, names=names)


def tagged(query: ClipQuery, value: str) -> dict[str, Any]:
    """A tag of the asset (`夜市`), or one that people or a model gave the clip (`shot-size=close-up`)."""
    if "=" in value:
        return {"labels": (*query.labels, f"tag.{value}")}
    return {"tags": (*query.tags, value)}


def _yes(value: str) -> bool:
    if value.lower() in ("yes", "true", "1", "是"):
        return True
    if value.lower() in ("no", "false", "0", "否"):
        return False
    raise ValueError(value)


_PLAIN: Mapping[str, Callable[[ClipQuery, str], dict[str, Any]]] = {
    "owner": lambda query, value: {"owner_ids": (*query.owner_ids, party_id(value))},
    "asset": lambda query, value: {"asset_ids": (*query.asset_ids, value)},
    "min-duration": lambda _query, value: {"min_duration_s": float(value)},
    "max-duration": lambda _query, value: {"max_duration_s": float(value)},
    "tag": tagged,
    "label": lambda query, value: {"labels": (*query.labels, value)},
    "speech": lambda _query, value: {"has_speech": _yes(value)},
    "captions": lambda _query, value: {"has_captions": _yes(value)},
}
_LABELS = {"motion": "motion.class", "colour": "colour.dominant", "light": "scene.light", "faces": "privacy.face"}
