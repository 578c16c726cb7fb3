"""The gate for picture and sound detectors: what no model looks at stays unknown, and a person decides.

None comes with Malan. A detector names what it finds in the words rules use (`nudity`, `weapon`), which model it is and
under which licence; one whose licence forbids commercial use is not let in. Start at `Detectors`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from malan.apps.review.language.values import Moment, Value, moments
from malan.core.errors import Rejected

_REFUSED = ("NC", "NONCOMMERCIAL", "RESEARCH", "AGPL")


class Detector(Protocol):
    """Finds things in the pictures (`vision`) or the sound (`hearing`) of a file."""

    @property
    def sense(self) -> str: ...

    @property
    def names(self) -> tuple[str, ...]:
        """What it finds."""
        ...

    @property
    def model(self) -> str:
        """Which weights, by name and digest."""
        ...

    @property
    def licence(self) -> str:
        """Of the weights, as an SPDX id."""
        ...

    def detect(self, path: Path) -> dict[str, Sequence[Moment]]:
        """What it found, by name; a name it has and does not return was looked for and not found."""
        ...


class SpeechReader(Protocol):
    """Writes down what is said."""

    @property
    def model(self) -> str: ...

    def read(self, path: Path) -> Sequence[Moment]:
        """What is said, a moment a sentence."""
        ...


class Detectors:
    """The detectors of a review, each let in by its licence.

    Raises:
        Rejected: A licence does not allow this use.
    """

    def __init__(self, listed: Sequence[Detector] = ()) -> None:
        for one in listed:
            if any(word in one.licence.upper().replace("-", "") for word in _REFUSED):
                raise Rejected("review.detector.licence", model=one.model, licence=one.licence)
        self._listed = tuple(listed)

    @property
    def models(self) -> tuple[str, ...]:
        return tuple(one.model for one in self._listed)

    def look(self, path: Path) -> dict[tuple[str, str], tuple[Moment, ...]]:
        """What all of them found in a file."""
        found: dict[tuple[str, str], tuple[Moment, ...]] = {}
        for one in self._listed:
            said = one.detect(path)
            for name in one.names:
                found[one.sense, name] = (*found.get((one.sense, name), ()), *said.get(name, ()))
        return found


def detected(found: dict[tuple[str, str], tuple[Moment, ...]], sense: str, name: str) -> Value:
    """The value of `vision(name)` or `hearing(name)`."""
    if (sense, name) in found:
        return moments(found[sense, name])
    return moments((), (f"{sense}.{name}",))
