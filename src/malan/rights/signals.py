"""Terms as the signals that crawlers and tools read, and such signals read back. Never looser than the terms.

    Terms ─ answers ─▶ allowed, constrained, notAllowed for each use by models ─▶ CAWG, TDMRep, RSL, Croissant
    CAWG, TDMRep, RSL, PLUS ─ read ─▶ the same answers ─ stricter ─▶ what footage says of itself

A signal has no word for most conditions. A use is `allowed` only when anybody may do it without any condition,
`constrained` when somebody may, and whatever is not understood is `notAllowed`. Start at `answers` and `read_tdmrep`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from fnmatch import fnmatchcase
from typing import Any
from xml.etree.ElementTree import Element, SubElement, tostring
from xml.parsers import expat

from malan.core import Terms
from malan.rights.decide import EGRESS, TIERS, constraints
from malan.rights.odrl import to_odrl

ALLOWED, CONSTRAINED, NOT_ALLOWED = STRICTNESS = ("allowed", "constrained", "notAllowed")
MODEL_USES: Mapping[str, tuple[str, ...]] = {
    "data_mining": ("retrieve", "train"),
    "ai_inference": ("retrieve", "derive"),
    "ai_training": ("train",),
    "ai_generative_training": ("generative_train",),
}
"""The uses of CAWG training and data mining 1.1, and the uses of terms that must all be allowed for each."""

Answers = Mapping[str, str]
FORMATS = ("cawg", "tdmrep", "rsl", "croissant")
RSL = "https://rslstandard.org/rsl"
LARGEST_BYTES = 262_144
_PUBLIC_DOMAIN = ("CC0-1.0", "CC-PDDC")  # what runs here are held to binds nobody elsewhere
_RSL_USES = {"ai_training": "ai-train", "ai_inference": "ai-input", "data_mining": "ai-index"}
_RSL_PAID = {"clip_second": "training", "run": "training", "output": "use", "deal": "purchase"}
_RSL_ALL = {
    "all": tuple(MODEL_USES),
    "ai-all": tuple(MODEL_USES),
    "ai-train": ("ai_training", "ai_generative_training"),
    "ai-input": ("ai_inference",),
    "ai-index": ("data_mining",),
    "search": (),
}
_PLUS: Mapping[str, Answers | None] = {
    "DMI-ALLOWED": dict.fromkeys(MODEL_USES, ALLOWED),
    "DMI-UNSPECIFIED": None,
    "DMI-PROHIBITED": dict.fromkeys(MODEL_USES, NOT_ALLOWED),
    "DMI-PROHIBITED-EXCEPTSEARCHENGINEINDEXING": dict.fromkeys(MODEL_USES, NOT_ALLOWED),
    "DMI-PROHIBITED-AIMLTRAINING": dict.fromkeys(("ai_training", "ai_generative_training"), NOT_ALLOWED),
    "DMI-PROHIBITED-GENAIMLTRAINING": {"ai_generative_training": NOT_ALLOWED},
    "DMI-PROHIBITED-SEECONSTRAINT": dict.fromkeys(MODEL_USES, CONSTRAINED),
}


def answers(terms: Terms, on: date) -> dict[str, str]:
    """What terms answer on a day to each use of `MODEL_USES`, asked by anybody."""
    return {name: _answer(terms, uses, on) for name, uses in MODEL_USES.items()}


def stricter(one: Answers, two: Answers) -> dict[str, str]:
    """Of two answers to the same use the stricter; what only one speaks of stays."""
    names = sorted({*one, *two})
    return {name: max(one.get(name, ALLOWED), two.get(name, ALLOWED), key=STRICTNESS.index) for name in names}


def to_cawg(terms: Terms, on: date, more: str = "") -> dict[str, Any]:
    """The assertion `cawg.training-mining` 1.1 for a C2PA manifest; `more` is where conditions are explained."""
    entries = {}
    for name, answer in answers(terms, on).items():
        entry = {"use": answer}
        if answer == CONSTRAINED:
            entry["constraint_info"] = f"{more} {_conditions(terms)}".strip()
        entries[f"cawg.{name}"] = entry
    return {"label": "cawg.training-mining", "data": {"entries": entries}}


def to_tdmrep(terms: Terms, on: date, location: str, policy_url: str = "") -> dict[str, Any]:
    """TDMRep in its three forms: the entry of `/.well-known/tdmrep.json`, HTTP headers, HTML meta elements.

    Rights count as reserved unless anybody may mine and train without a condition.
    """
    is_free = all(answer == ALLOWED for name, answer in answers(terms, on).items() if name != "ai_inference")
    headers = {"tdm-reservation": "0" if is_free else "1"}
    if policy_url and not is_free:
        headers["tdm-policy"] = policy_url
    entry = {"location": location, **headers, "tdm-reservation": int(headers["tdm-reservation"])}
    meta = [f'<meta name="{name}" content="{_attribute(value)}">' for name, value in headers.items()]
    return {"well-known": [entry], "headers": headers, "meta": meta}


def to_rsl(terms: Terms, on: date, url: str, server: str = "") -> str:
    """An RSL 1.0 document for one address.

    Args:
        terms: What is allowed.
        on: The day.
        url: What it is about; may hold `*`.
        server: Where a licence is had. Without one, uses with conditions are prohibited: a permission could not say
            under which.
    """
    said = answers(terms, on)
    said["ai_training"] = stricter({"": said["ai_training"]}, {"": said["ai_generative_training"]})[
        ""
    ]  # one word for both
    may = {word for name, word in _RSL_USES.items() if said[name] == ALLOWED or (server and said[name] == CONSTRAINED)}
    root = Element("rsl", xmlns=RSL)
    content = SubElement(root, "content", {"url": url} | ({"server": server} if server else {}))
    licence = SubElement(content, "license")
    if may:
        SubElement(licence, "permits", type="usage").text = " ".join(sorted(may))
    rest = sorted(set(_RSL_USES.values()) - may)
    if rest:
        SubElement(licence, "prohibits", type="usage").text = " ".join(rest) if may else "all"
    if may and terms.price_minor:
        payment = SubElement(licence, "payment", type=_RSL_PAID[terms.price_per])
        SubElement(payment, "amount", currency=terms.currency).text = _decimal(terms.price_minor, terms.currency)
    elif may:
        SubElement(licence, "payment", type="attribution" if terms.attribution else "free")
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + tostring(root, encoding="unicode") + "\n"


def to_croissant(terms: Terms, target: str | None = None) -> dict[str, Any]:
    """`usageInfo` of a Croissant 1.1 card: the terms as an ODRL offer.

    Raises:
        UsageError: The terms hold what cannot be said.
    """
    offer = to_odrl(terms, target)
    context = {"sc": "https://schema.org/", "odrl": "http://www.w3.org/ns/odrl/2/"}
    return {"@context": context, "sc:usageInfo": {**offer, "@type": "odrl:Offer"}}


def usage_info(several: Sequence[Terms]) -> dict[str, Any]:
    """The part of a Croissant 1.1 card that holds the terms of a data set; terms that cannot be said are left out."""
    offers = [to_croissant(terms)["sc:usageInfo"] for terms in several if not terms.other]
    return {"sc:usageInfo": offers if len(offers) != 1 else offers[0]} if offers else {}


def read_cawg(entries: Any) -> dict[str, str]:
    """Answers of a training-mining assertion; `constrained` without a word on how counts as `notAllowed`."""
    if not isinstance(entries, Mapping):
        return dict.fromkeys(MODEL_USES, NOT_ALLOWED)
    said: dict[str, str] = {}
    for name, entry in list(entries.items())[:64]:
        use = str(name).rpartition(".")[2]
        word = entry.get("use") if isinstance(entry, Mapping) else None
        known = word if word in STRICTNESS else NOT_ALLOWED
        if known == CONSTRAINED and not entry.get("constraint_info"):
            known = NOT_ALLOWED
        if use in MODEL_USES:
            said = stricter(said, {use: known})
    return said


def read_plus(key: str) -> dict[str, str] | None:
    """Answers of the property Data Mining of PLUS (IPTC Photo Metadata 2023.1); None when it leaves things open."""
    name = key.rpartition("/")[2].upper()
    if name not in _PLUS:
        return dict.fromkeys(MODEL_USES, NOT_ALLOWED)
    known = _PLUS[name]
    return None if known is None else dict(known)


def read_tdmrep(data: bytes, name: str) -> dict[str, str] | None:
    """Answers of a `tdmrep.json` about a file of this name; None when it does not speak of it.

    A file that cannot be read, or says something unknown, reserves all rights. The first entry that fits counts.
    """
    reserved = dict.fromkeys(("data_mining", "ai_training", "ai_generative_training"), NOT_ALLOWED)
    try:
        entries = json.loads(data) if len(data) <= LARGEST_BYTES else None
    except (ValueError, RecursionError):
        entries = None
    if not isinstance(entries, list):
        return reserved
    for entry in entries[:1000]:
        if not isinstance(entry, dict) or not isinstance(entry.get("location"), str):
            return reserved
        if not _fits(entry["location"], name):
            continue
        if entry.get("tdm-reservation") == 0 and not isinstance(entry["tdm-reservation"], bool):
            return dict.fromkeys(reserved, ALLOWED)
        return dict.fromkeys(reserved, CONSTRAINED) if entry.get("tdm-policy") else reserved
    return None


def read_rsl(data: bytes, name: str) -> dict[str, str] | None:
    """Answers of an RSL document about a file of this name; None when it does not speak of it.

    What cannot be read, or holds a document type or entities, prohibits everything.
    """
    contents = _rsl_contents(data)
    if contents is None:
        return dict.fromkeys(MODEL_USES, NOT_ALLOWED)
    said: dict[str, str] | None = None
    for content in contents:
        if _fits(content.url, name):
            said = stricter(said or {}, content.answers())
    return said


def _answer(terms: Terms, uses: Iterable[str], on: date) -> str:
    is_over = terms.ends is not None and date.fromisoformat(terms.ends) < on
    if terms.other or is_over or not set(uses) <= set(terms.uses):
        return NOT_ALLOWED
    return CONSTRAINED if _has_conditions(terms, uses) else ALLOWED


def _has_conditions(terms: Terms, uses: Iterable[str]) -> bool:
    said = (terms.purposes, terms.territories, terms.recipients, terms.starts, terms.ends, terms.limits)
    asked = (terms.price_minor, terms.attribution, terms.prohibitions)
    if any(said) or any(asked):
        return True
    if not any("train" in use for use in uses) or terms.licence in _PUBLIC_DOMAIN:
        return False
    is_open = set(TIERS) <= set(terms.tiers) and set(EGRESS) <= set(terms.egress) and terms.isolation == "none"
    return not is_open


def _conditions(terms: Terms) -> str:
    return "; ".join(f"{one.name}: {one.value}" for one in constraints(terms))[:2000]


def _decimal(minor: int, currency: str) -> str:
    from malan.rights.shares import shown_money

    return shown_money(minor, currency).partition(" ")[0]


def _attribute(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")


def _fits(pattern: str, name: str) -> bool:
    """Whether a location speaks of a file beside it: by its name, with `*`, or as a folder; `$` ends a pattern."""
    if len(pattern) > 2000:
        return True
    path = re.sub(r"^https?://[^/]*", "", pattern) or "/"
    exact = path.endswith("$")
    plain = path.removesuffix("$").replace("[", "[[]").replace("?", "[?]")
    last = f"/{plain.rpartition('/')[2]}"
    if path.endswith(("/", "/*")) or last == "/":
        return True
    return fnmatchcase(f"/{name}", last if exact or "." in last else f"{last}*")


class _Content:
    """One `content` of an RSL document, as far as uses by models go."""

    def __init__(self, url: str, is_served: bool) -> None:
        self.url, self._is_served = url, is_served
        self.permits: list[str] = []
        self.prohibits: list[str] = []
        self.is_paid = False
        self.permits_listed = False

    def answers(self) -> dict[str, str]:
        permitted = {use for word in self.permits for use in _RSL_ALL.get(word, ())}
        prohibited = {use for word in self.prohibits for use in _RSL_ALL.get(word, tuple(MODEL_USES))}
        free = CONSTRAINED if self.is_paid or self._is_served else ALLOWED
        silent = NOT_ALLOWED if self.permits_listed else free
        return {use: NOT_ALLOWED if use in prohibited else free if use in permitted else silent for use in MODEL_USES}


def _rsl_contents(data: bytes) -> Sequence[_Content] | None:
    """What an RSL document says of each address; None when it cannot be read."""
    if len(data) > LARGEST_BYTES:
        return None
    reader = _RslReader()
    try:
        reader.parser.Parse(data, True)
    except (expat.ExpatError, ValueError):
        return None
    return reader.contents or None


class _RslReader:
    """Follows expat through an RSL document; a document type is refused, so nothing can grow."""

    def __init__(self) -> None:
        self.contents: list[_Content] = []
        self.parser = expat.ParserCreate(namespace_separator="|")
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._text
        self.parser.StartDoctypeDeclHandler = self._refuse
        self._words: list[str] | None = None
        self._kept = ""
        self._depth = 0

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        if self._depth > 64:
            raise ValueError("deep")
        space, _, tag = name.rpartition("|")
        if space not in ("", RSL):
            return
        if tag == "content":
            self.contents.append(_Content(attributes.get("url", "/"), bool(attributes.get("server"))))
        elif self.contents and tag in ("permits", "prohibits"):
            self._start_words(self.contents[-1], tag, attributes.get("type"))
        elif self.contents and tag == "payment":
            self.contents[-1].is_paid |= attributes.get("type", "free") not in ("free",)

    def _start_words(self, content: _Content, tag: str, kind: str | None) -> None:
        self._kept = ""
        if kind == "usage":
            self._words = content.permits if tag == "permits" else content.prohibits
            content.permits_listed |= tag == "permits"
        else:
            content.is_paid = True  # for some people or places only: a condition

    def _end(self, _name: str) -> None:
        self._depth -= 1
        if self._words is not None:
            self._words += re.split(r"[\s,]+", self._kept.strip())
            self._words = None

    def _text(self, text: str) -> None:
        if self._words is not None:
            self._kept += text

    def _refuse(self, *_: Any) -> None:
        raise ValueError("doctype")


def said_in(found: Iterable[Answers]) -> dict[str, str]:
    """All answers together: the strictest to each use."""
    said: dict[str, str] = {}
    for one in found:
        said = stricter(said, one)
    return said
