"""Every error Malan raises, as one tree.

    MalanError
    ├── UsageError        the request itself makes no sense (exit 2)
    ├── NotFound          an id, file or name that is not there
    ├── MediaError        the bytes of a file cannot be used as asked
    ├── Rejected          understood and refused for good: asking again changes nothing
    ├── RetryLater        refused for the moment: asking again may work
    ├── StoreError        the library or database could not be read or written
    ├── WorkerDied        a worker process ended before its work did
    ├── MissingExtra      an optional part of Malan is not installed
    ├── NotGranted        the rights do not allow it (exit 3)
    └── ProofError        a proof does not hold (exit 4)

A raise site names a stable `code` and the values; the sentence and the hint come from the message catalogue in
both languages, so an error without a translation cannot be raised in a tested path.
"""

from __future__ import annotations

from typing import Any

from malan.core.catalogue import entry


class MalanError(Exception):
    """Something went wrong that a person can act on.

    Args:
        code: Stable name such as `media.truncated`; must be in the catalogue.
        values: What the sentence is about; shown, so never a secret.
    """

    exit_code = 1

    def __init__(self, code: str, /, **values: Any) -> None:
        self.code = code
        self.values = values
        super().__init__(code)

    def message(self, lang: str | None = None) -> str:
        """The sentence, in `lang` (`en`, `zh`) or the language of the session."""
        return entry(self.code).text(lang, self.values)

    def hint(self, lang: str | None = None) -> str:
        """What the user can do next; empty when nothing helps."""
        return entry(self.code).hint(lang, self.values)

    def __str__(self) -> str:
        hint = self.hint("en")
        return f"{self.message('en')} {hint}".strip()

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.code, self.values)


def _rebuild(kind: type[MalanError], code: str, values: dict[str, Any]) -> MalanError:
    """Errors cross process borders: keep code and values, not only the text."""
    return kind(code, **values)


class UsageError(MalanError):
    """The request itself makes no sense: a span that ends before it starts, an unknown option value."""

    exit_code = 2


class NotFound(MalanError):
    """An id, file or name that is not there."""


class MediaError(MalanError):
    """The bytes of a file cannot be used as asked: damaged, unsupported, changed under the reader."""


class Rejected(MalanError):
    """Understood and refused for good; the reason is kept."""


class RetryLater(MalanError):
    """Refused for the moment: a lock is held, a limit is reached."""


class StoreError(MalanError):
    """The library or the database could not be read or written; what was there before still is."""


class WorkerDied(MalanError):
    """A worker process ended before its work did: killed, out of memory, out of time."""


class MissingExtra(MalanError):
    """An optional part of Malan is not installed; the hint names the extra."""


class NotGranted(MalanError):
    """The rights do not allow it."""

    exit_code = 3


class ProofError(MalanError):
    """A proof does not hold; the values say where."""

    exit_code = 4
