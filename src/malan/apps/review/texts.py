"""The stored texts that rules cite: clause by clause, each document with its source, date, standing and digest.

`wording` says whether the text is the official one (`verbatim`) or our own notes (`summary`); `standing` how sure it
is: `official`, `second_hand` (a republished page), `unconfirmed` (news, summaries), `house` (our own profile). Both are
shown beside every citation. Start at `read_document`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from malan.core.errors import UsageError

_HEAD = re.compile(r"\A---\n(.*?)\n---\n(.*)\Z", re.S)
_CLAUSE = re.compile(r"^## (\S+) (.+)$", re.M)
_ITEM = re.compile(r"^（[一二三四五六七八九十]+）", re.M)
_FIELDS = ("id", "title", "title_en", "issuer", "number", "published", "effective", "source", "wording", "standing")
WORDINGS = ("verbatim", "summary")
STANDINGS = ("official", "second_hand", "unconfirmed", "house")


@dataclass(frozen=True, slots=True)
class Clause:
    """One numbered part of a document."""

    id: str
    label: str
    text: str


@dataclass(frozen=True)
class Document:
    """A text with its clauses. `digest` is that of the whole file."""

    id: str
    about: Mapping[str, str]
    clauses: Mapping[str, Clause]
    digest: str

    @property
    def title(self) -> str:
        return self.about["title"]

    def place_of(self, clause: str, quote: str) -> str | None:
        """Where a quotation stands, `第二十七条（一）`; None if the clause does not say it word for word.

        The item is found from the text, so a citation cannot name the wrong one.
        """
        found = self.clauses.get(clause)
        at = found.text.find(quote) if found and quote else -1
        if found is None or at < 0:
            return None
        items = [match.group() for match in _ITEM.finditer(found.text, 0, at + 3) if match.start() <= at]
        return found.label + (items[-1] if items else "")


def read_document(data: bytes, name: str) -> Document:
    """A document from its file.

    Raises:
        UsageError: The file has no head, a field is missing or impossible, or a clause stands twice.
    """
    text = data.decode("utf-8")
    match = _HEAD.match(text)
    if match is None:
        raise UsageError("review.text.head", file=name)
    about = dict(_field(line) for line in match.group(1).splitlines() if line.strip())
    for field in _FIELDS:
        if not about.get(field):
            raise UsageError("review.text.field", file=name, field=field)
    if about["wording"] not in WORDINGS or about["standing"] not in STANDINGS:
        raise UsageError("review.text.field", file=name, field="wording, standing")
    return Document(about["id"], about, _clauses(match.group(2), name), hashlib.sha256(data).hexdigest())


def _field(line: str) -> tuple[str, str]:
    key, _, value = line.partition(":")
    return key.strip(), value.strip()


def _clauses(body: str, name: str) -> dict[str, Clause]:
    found: dict[str, Clause] = {}
    heads = list(_CLAUSE.finditer(body))
    for head, following in zip(heads, [*heads[1:], None], strict=True):
        end = following.start() if following else len(body)
        clause = Clause(head.group(1), head.group(2), body[head.end() : end].strip())
        if clause.id in found:
            raise UsageError("review.text.twice", file=name, clause=clause.id)
        found[clause.id] = clause
    return found
