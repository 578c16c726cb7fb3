"""Terms by a form instead of a file: what a person ticks and types becomes the same TOML, read by the same reader.

Nothing is stored here: the file is the owner's, to be kept and given with `malan asset add --terms`. Start at
`fill_form` and `read_form`.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from malan.core import Terms
from malan.core.errors import UsageError
from malan.core.numbers import read_whole
from malan.rights.decide import EGRESS, LEVELS, MEMORISATION, TIERS, USES
from malan.rights.ready import READY
from malan.rights.terms import LIMITS, PRICED, PROHIBITIONS, read_terms
from malan.services.market.terms import new_terms
from malan.services.market.view import Answer, Condition, answers, conditions
from malan.services.spoken import word

LISTS: Mapping[str, Sequence[str]] = {"uses": USES, "tiers": TIERS, "egress": EGRESS, "prohibitions": PROHIBITIONS}
"""What is ticked, and what there is to tick."""

TYPED = ("purposes", "territories", "recipients")
"""Lists that are typed, one below the other or with commas between."""

WORDS = {
    "uses": "web.use", "tiers": "market.tier", "egress": "market.egress", "prohibitions": "market.prohibition",
}  # fmt: skip
_TEXTS = ("name", "attribution", "share_rule", "licence")
_LONGEST = 500


@dataclass(frozen=True, slots=True)
class Choice:
    """Something to tick or choose."""

    value: str
    label: str
    is_chosen: bool


@dataclass(frozen=True, slots=True)
class TermsForm:
    """The form, filled: ticks by field, texts by field, and ready terms to start from."""

    ready: tuple[Choice, ...]
    choices: Mapping[str, tuple[Choice, ...]]
    isolation: tuple[Choice, ...]
    memorisation: tuple[Choice, ...]
    per: tuple[Choice, ...]
    texts: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class TermsChecked:
    """Terms read from a form: the file, what it demands, what it would answer today."""

    toml: str
    file_name: str
    conditions: tuple[Condition, ...]
    answers: tuple[Answer, ...]


def fill_form(said: Mapping[str, Sequence[str]], lang: str, ready: str = "") -> TermsForm:
    """The form as it was sent, or filled with ready-made terms.

    Args:
        said: Field → values, as a form sends them.
        lang: Of the labels.
        ready: Name of ready-made terms to begin with; they take the place of what was sent.

    Raises:
        UsageError: There are no such ready-made terms.
    """
    values = _of_ready(ready) if ready else dict(said)
    first = {name: (list(values.get(name, [])) or [""])[0] for name in ("isolation", "memorisation", "per")}
    return TermsForm(
        ready=tuple(Choice(name, word(f"terms.ready.{name}", lang), name == ready) for name in READY),
        choices={
            name: tuple(Choice(one, word(f"{WORDS[name]}.{one}", lang), one in values.get(name, ())) for one in known)
            for name, known in LISTS.items()
        },
        isolation=tuple(Choice(one, word(f"market.level.{one}", lang), one == first["isolation"]) for one in LEVELS),
        memorisation=tuple(
            Choice(one, word(f"market.memorisation.{one}", lang), one == first["memorisation"]) for one in MEMORISATION
        ),
        per=tuple(Choice(one, word(f"market.per.{one}", lang), one == (first["per"] or "deal")) for one in PRICED),
        texts={name: "\n".join(values.get(name, ())) for name in _text_fields()},
    )


def read_form(said: Mapping[str, Sequence[str]], lang: str) -> TermsChecked:
    """Terms from what a form says, as a file.

    Raises:
        UsageError: It says something impossible: no uses, an end before its start, a price below zero.
    """
    values = _values(said)
    toml = write_toml(values)
    terms = read_terms(tomllib.loads(toml), _owner(said), "form", "terms")  # what is shown is what the file says
    names = _names(values)
    shown = conditions(terms, lang, names), answers(terms, lang, None, names)
    return TermsChecked(toml, _file_name(terms), *shown)


def write_toml(values: Mapping[str, Any]) -> str:
    """Values as TOML 1.0: keys first, tables last. Texts are basic strings, so nothing in them can end one."""
    plain = [f"{key} = {_toml(value)}" for key, value in values.items() if not isinstance(value, Mapping)]
    tables = [
        "\n".join(["", f"[{key}]", *(f"{name} = {_toml(one)}" for name, one in value.items())])
        for key, value in values.items()
        if isinstance(value, Mapping)
    ]
    return "\n".join([*plain, *tables]) + "\n"


def _toml(value: Any) -> str:
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, list):
        return f"[{', '.join(_toml(one) for one in value)}]"
    if isinstance(value, int):
        return str(value)
    # a JSON string is a TOML basic string, but for DEL
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007F")


def _values(said: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    values: dict[str, Any] = {name: text for name in _TEXTS if (text := _one(said, name))}
    for name, known in LISTS.items():
        if chosen := [one for one in known if one in said.get(name, ())]:
            values[name] = chosen
    for name in TYPED:
        if typed := _typed(said, name):
            values[name] = typed
    for name in ("starts", "ends"):
        if text := _one(said, name):
            values[name] = _day(name, text)
    for name in ("isolation", "memorisation"):
        if level := _one(said, name):
            values[name] = level
    limits = {name: _whole(f"limits.{name}", text) for name in LIMITS if (text := _one(said, name))}
    if limits:
        values["limits"] = limits
    if amount := _one(said, "minor"):
        per = _one(said, "per") or "deal"
        values["price"] = {"minor": _whole("price", amount), "currency": _one(said, "currency") or "CNY", "per": per}
    return values


def _one(said: Mapping[str, Sequence[str]], name: str) -> str:
    text = next(iter(said.get(name, ())), "").strip()
    if len(text) > _LONGEST or not all(letter.isprintable() for letter in text):
        raise _bad(name, text)
    return text


def _typed(said: Mapping[str, Sequence[str]], name: str) -> list[str]:
    text = "\n".join(said.get(name, ())).replace("，", "\n").replace("、", "\n").replace(",", "\n")
    found = list(dict.fromkeys(" ".join(one.split()) for one in text.splitlines() if one.strip()))
    if len(found) > 50 or any(len(one) > 200 or not one.isprintable() for one in found):
        raise _bad(name, text)
    return found


def _day(name: str, text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise _bad(name, text) from None


def _bad(name: str, text: str) -> UsageError:
    return UsageError("rights.bad_value", path="form", key=name, value=text[:60], uses=", ".join(USES))


def _whole(name: str, text: str) -> int:
    if (count := read_whole(text)) is None:
        raise _bad(name, text)
    return count


def _of_ready(name: str) -> dict[str, list[str]]:
    """Ready-made terms as a form would send them."""
    said: dict[str, Any] = tomllib.loads(new_terms(name))
    flat = {**said, **said.pop("limits", {}), **said.pop("price", {})}
    flat = {key: value for key, value in flat.items() if not isinstance(value, Mapping)}
    return {
        key: [str(one) for one in value] if isinstance(value, list) else [str(value)] for key, value in flat.items()
    }


def _text_fields() -> tuple[str, ...]:
    return (*_TEXTS, *TYPED, *LIMITS, "starts", "ends", "minor", "currency", "owner")


def _owner(said: Mapping[str, Sequence[str]]) -> str:
    return _one(said, "owner") or "owner"


def _names(values: Mapping[str, Any]) -> dict[str, str]:
    from malan.rights.terms import party_id

    return {party_id(one): one for one in values.get("recipients", ())}


def _file_name(terms: Terms) -> str:
    safe = "".join(letter if letter.isalnum() or letter in "-_" else "-" for letter in terms.name).strip("-")[:60]
    return f"{safe or 'terms'}.toml"
