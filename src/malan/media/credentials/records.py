"""What a credential says before it is signed, and what one was found to say. Plain data; picklable."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

from malan.core import Span
from malan.core.errors import UsageError

Relation = Literal["parentOf", "componentOf", "inputTo"]
Use = Literal["allowed", "notAllowed", "constrained"]
State = Literal["trusted", "valid", "invalid", "absent"]

STRICTNESS: tuple[Use, ...] = ("allowed", "constrained", "notAllowed")
_USES = ("ai_inference", "ai_generative_training", "ai_training", "data_mining")  # CAWG training and data mining 1.1
_IPTC = "http://cv.iptc.org/newscodes/digitalsourcetype/"


class SourceType(StrEnum):
    """How pixels or samples came to be (IPTC digital source type). `.value` is the full address."""

    CAPTURED = _IPTC + "digitalCapture"
    CREATED_BY_PEOPLE = _IPTC + "digitalCreation"
    EDITED_BY_PEOPLE = _IPTC + "humanEdits"
    COMPOSITE = _IPTC + "composite"
    ALGORITHMIC = _IPTC + "algorithmicMedia"
    AI_ENHANCED = _IPTC + "algorithmicallyEnhanced"
    AI_GENERATED = _IPTC + "trainedAlgorithmicMedia"
    AI_COMPOSITE = _IPTC + "compositeWithTrainedAlgorithmicMedia"


AI_SOURCES = frozenset(
    {
        *("trainedAlgorithmicMedia", "compositeWithTrainedAlgorithmicMedia", "algorithmicallyEnhanced"),
        *("trainedAlgorithmicData", "compositeSynthetic"),
    }
)


@dataclass(frozen=True)
class Action:
    """Something that was done to the file, such as `c2pa.edited` or `c2pa.color_adjustments`."""

    name: str
    description: str = ""
    source_type: SourceType | None = None


@dataclass(frozen=True)
class Ingredient:
    """What a file was made from.

    Args:
        path: The file itself: it is hashed and its own credential comes along. Else `digest` must tell which it was.
        digest: Such as `sha256:…`, for what never leaves its owner.
        span: Which part was used, on the clock of the ingredient.
    """

    title: str
    relation: Relation
    path: Path | None = None
    digest: str = ""
    media_type: str = "application/octet-stream"
    span: Span | None = None

    def __post_init__(self) -> None:
        if self.path is None and not self.digest:
            raise UsageError("credentials.bad_ingredient", title=self.title)


@dataclass(frozen=True)
class Credential:
    """What to sign. The first action (`c2pa.created`, or `c2pa.opened` where there is a parent) is written by us.

    Args:
        producer: Who made it, for people; the signer is whoever holds the chain.
        training_mining: Which uses of the file for models are allowed: keys of CAWG such as `ai_generative_training`.
        disclosure: Body of `c2pa.ai-disclosure`; None leaves it out.
        assertions: Further assertions by label; labels of our own start with `org.malan.`.

    Raises:
        UsageError: Two parents, or a use or label that is not known.
    """

    title: str
    producer: str
    source_type: SourceType
    actions: tuple[Action, ...] = ()
    ingredients: tuple[Ingredient, ...] = ()
    training_mining: Mapping[str, Use] = field(default_factory=dict)
    disclosure: Mapping[str, Any] | None = None
    assertions: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if sum(i.relation == "parentOf" for i in self.ingredients) > 1:
            raise UsageError("credentials.two_parents", title=self.title)
        for use, value in self.training_mining.items():
            if use not in _USES or value not in STRICTNESS:
                raise UsageError("credentials.bad_use", use=use, value=value, allowed=", ".join(_USES))
        for label in self.assertions:
            if not label.startswith("org.malan."):
                raise UsageError("credentials.bad_label", label=label)

    @property
    def parent(self) -> Ingredient | None:
        return next((i for i in self.ingredients if i.relation == "parentOf"), None)


@dataclass(frozen=True)
class Problem:
    """Why a credential is not trusted: a code of C2PA (`assertion.bmffHash.mismatch`) or of ours, and a sentence."""

    code: str
    detail: str


@dataclass(frozen=True)
class FoundIngredient:
    """An ingredient as a file names it. `start_s` and `end_s` are as written; empty when the whole was used."""

    title: str
    relation: str
    digest: str = ""
    start_s: str = ""
    end_s: str = ""
    has_credential: bool = False


@dataclass(frozen=True)
class CredentialReport:
    """What a file claims about itself, and what those claims are worth.

    `trusted`: intact, signed under one of our anchors. `valid`: intact, by a signer nobody here knows. `invalid`:
    broken, changed, expired or unreadable. `absent`: none. What stands below `problems` is mere claim unless `trusted`.

    `ai_generated` and `training_mining` take in all credentials the file carries, also those of its ingredients, and of
    two answers the stricter; a word that is not understood counts as `notAllowed`.
    """

    state: State
    problems: tuple[Problem, ...] = ()
    title: str = ""
    signer: str = ""
    signer_serial: str = ""
    producer: str = ""
    generator: str = ""
    manifest_id: str = ""
    manifest_count: int = 0
    source_types: tuple[str, ...] = ()
    actions: tuple[str, ...] = ()
    ingredients: tuple[FoundIngredient, ...] = ()
    training_mining: Mapping[str, Use] = field(default_factory=dict)
    ai_generated: bool = False
    assertions: Mapping[str, Any] = field(default_factory=dict)  # those of `org.malan.` and `c2pa.ai-disclosure`

    @property
    def is_intact(self) -> bool:
        return self.state in ("trusted", "valid")
