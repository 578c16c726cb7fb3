"""What a micro-app is: a typed request, a card, and a run that leaves files whose every second has a source.

    request (a type) ─ command, form, HTTP ─▶ run(request, work) ─▶ files, published with sources, label, log entry

Command, form and HTTP endpoint are made from the type: an app writes none of them. Start reading at `App`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

from pydantic import BaseModel, ConfigDict, Field

from malan.core.catalogue import entry
from malan.core.errors import NotFound
from malan.services.access import HOUSE, Caller
from malan.services.market.granted import opened_by, require_source
from malan.services.outputs.manifests import Source
from malan.services.outputs.publish import AiPart, Draft, Planned, Published, publish

if TYPE_CHECKING:
    from malan.workspace import Workspace

Progress = Callable[[int, int, str], None]
BY_MACHINE = frozenset({"infer", "diffuse", "compose"})
"""Modes in which a machine makes what is seen or heard; what they publish is labelled, whatever the app says."""


class Request(BaseModel):
    """What somebody asks of an app. Frozen; what is not a field is refused.

    A field that is given without its name on the command line says so: `json_schema_extra={"place": "argument"}`; one
    that few need says `{"rare": True}`: form and command show it apart, after the others. What a field is about stands
    in the messages, as `app.<app>.<field>`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    grant: str = Field(default="", max_length=64, json_schema_extra={"rare": True, "shared": True})


@dataclass(frozen=True, slots=True)
class Card:
    """An app as people choose it. Title and summary stand in the messages, as `app.<name>` and `app.<name>.summary`.

    Args:
        name: `promo`; the name of its folder.
        mode: How it makes what it makes: retrieve, assemble, compose, render, infer, diffuse.
        uses: The rights it asks of every source; without sources, none.
        meter: What is counted: `output_second`, `input_minute`, `run`.
        price_minor: For one of those, in fen; what owners earn is settled beside it.
        needs_workspace: Whether it works on a library; otherwise plain files do.
        is_guarded: Whether the operator's rule packs are held against its requests; not where it judges itself.
        makes_media: Whether films, pictures or sound come out; not where it only writes about them.
        is_labelled: Whether all it makes is labelled as made by AI, in part at least, whatever the mode.
    """

    name: str
    mode: str
    uses: tuple[str, ...] = ()
    meter: str = "output_second"
    price_minor: int = 0
    needs_workspace: bool = True
    is_guarded: bool = True
    makes_media: bool = True
    is_labelled: bool = False

    def title(self, lang: str | None = None) -> str:
        """The name people know."""
        return entry(f"app.{self.name}").text(lang, {})

    def summary(self, lang: str | None = None) -> str:
        """What it does, in a sentence."""
        return entry(f"app.{self.name}.summary").text(lang, {})


@dataclass(frozen=True, slots=True)
class Made:
    """What a run left: files by what they are (`16x9`, `srt`, `report`), and what there is to tell, as plain JSON.

    `seconds` is what the meter of the card counts; without it the films and sounds that were published, each as long
    as it lasts."""

    files: dict[str, Path]
    report: dict[str, Any] = field(default_factory=dict)
    seconds: Fraction | None = None


@dataclass(frozen=True, slots=True)
class Expected:
    """What a run will come to, as far as it can be told before: seconds by the meter of its card, and files that are
    published."""

    seconds: Fraction
    outputs: int = 1


class Seats(Protocol):
    """Room for outputs under a grant; one for each file, taken before it is made."""

    def take(self, number: int) -> Callable[[str, Sequence[Source]], None]:
        """Hold one output; what counts it, by the digest of the file and what it stands on."""
        ...


@dataclass
class Work:
    """One run at work: where files go, on whose behalf, how far it is, and the only way to publish."""

    out: Path
    workspace: Workspace | None = None
    caller: Caller = HOUSE
    tell: Progress | None = None
    stop_if_asked: Callable[[], None] = lambda: None
    published: list[Published] = field(default_factory=list)
    models: list[str] = field(default_factory=list)  # digests of models that had a part
    planned: list[Planned] = field(default_factory=list)  # models that decided something and made nothing of it
    asked: list[tuple[str, int, int]] = field(default_factory=list)  # engines asked on the way: name, tokens in, out
    seats: Seats | None = None  # of a run under a grant
    check_words: Callable[[Mapping[str, str]], None] = lambda _: None

    @property
    def library(self) -> Workspace:
        """The workspace of an app that needs one.

        Raises:
            NotFound: There is none.
        """
        if self.workspace is None:
            raise NotFound("workspace.none", path=str(self.out))
        return self.workspace

    def progress(self, done: int, total: int, current: str = "") -> None:
        """Tell how far it is; where a person asked it to stop, it stops here."""
        self.stop_if_asked()
        if self.tell:
            self.tell(done, total, current)

    def publish(
        self, card: Card, title: str, sources: Sequence[Source], render: Callable[[Path], None], out: Path,
        *, ai: AiPart | None = None, mode: str = "", brought: Sequence[str] = (),
    ) -> Published:  # fmt: skip
        """Make a file that leaves the house: every right asked of every source, labelled, signed, logged, counted.

        Args:
            mode: How it is made, where that is not what the card says. What a machine makes (`BY_MACHINE`) is labelled
                as generated when `ai` says nothing else.
            ai: Which part AI had in it, and with which models.
            brought: Digests of files whoever asks brought along; log and credential name them.

        Raises:
            NotGranted: A source may not be used so, or the grant has no output left; nothing was made.
            Rejected: The operator's rule packs do not let the title through.
        """
        mode = mode or card.mode
        ai = ai or (AiPart("generated", tuple(self.models)) if mode in BY_MACHINE else None)
        self.check_words({"title": title})
        self._require(card, sources)
        count = self.seats.take(len(self.published)) if self.seats else None
        draft = Draft(card.name, mode, title, tuple(sources), ai=ai, brought=tuple(brought),
                      planned_by=tuple(self.planned))  # fmt: skip
        done = publish(
            self.library, draft, render, out, caller=self.caller,
            count=lambda output_id: count(output_id, sources) if count else None,
        )  # fmt: skip
        self.published.append(done)
        self.models += [model for model in (ai.model_ids if ai else ()) if model not in self.models]
        return done

    def _require(self, card: Card, sources: Sequence[Source]) -> None:
        opened = opened_by(self.library, self.caller, card.uses) if self.caller.grant_id and sources else None
        for use in card.uses:
            for one in sources:
                what = f"{one.clip.id[:12]} ({float(one.at_s):.2f}–{float(one.until_s):.2f} s)"
                require_source(
                    self.library, one.clip, one.terms_id, use, what, caller=self.caller, opened=opened
                )  # fmt: skip


RequestIn_contra = TypeVar("RequestIn_contra", bound=Request, contravariant=True)


class App(Protocol[RequestIn_contra]):
    """A micro-app."""

    @property
    def card(self) -> Card:
        """How people know it."""
        ...

    @property
    def request(self) -> type[Request]:
        """What can be asked of it."""
        ...

    def run(self, request: RequestIn_contra, work: Work) -> Made:
        """Do it. The same request, library and seed give the same bytes.

        Raises:
            MalanError: It cannot be done, with the reason; nothing is left in the folder that is not whole.
        """
        ...


@runtime_checkable
class Foretells(Protocol):
    """An app that can tell before a run what it will come to."""

    def expect(self, request: Any, work: Work) -> Expected:
        """What a request comes to; nothing is made, nothing is decoded."""
        ...
