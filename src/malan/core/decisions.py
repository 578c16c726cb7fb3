"""The answer to "may I?": yes or no, always with reasons."""

from __future__ import annotations

from dataclasses import dataclass

from malan.core.catalogue import entry


@dataclass(frozen=True, slots=True)
class Reason:
    """One ground of a decision; `code` is in the message catalogue, `values` fill its sentence."""

    code: str
    values: tuple[tuple[str, str], ...] = ()

    def text(self, lang: str | None = None) -> str:
        return entry(self.code).text(lang, dict(self.values))


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a use is allowed. A decision without a reason cannot be made."""

    allowed: bool
    reasons: tuple[Reason, ...]

    def __post_init__(self) -> None:
        if not self.reasons:
            raise ValueError("a decision needs at least one reason")
