"""What a micro-app is: a typed request, a card, and a run that leaves files whose every second has a source.

    request (a type) ─ command, form, HTTP ─▶ run(request, work) ─▶ files, published with sources, label, log entry

Command, form and HTTP endpoint are made from the type: an app writes none of them. Start reading at `App`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict

from malan.core.catalogue import entry
from malan.core.errors import NotFound
from malan.services.access import HOUSE, Caller
from malan.services.outputs import Source
from malan.services.publish import AiPart, Draft, Published, publish

if TYPE_CHECKING:
    from malan.workspace import Workspace

Progress = Callable[[int, int, str], None]


class Request(BaseModel):
    """What somebody asks of an app. Frozen; what is not a field is refused.

    A field that is given without its name on the command line says so: `json_schema_extra={"place": "argument"}`. What
    a field is about stands in the messages, as `app.<app>.<field>`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True, slots=True)
class Card:
    """An app as people choose it. Title and summary stand in the messages, as `app.<name>` and `app.<name>.summary`.

    Args:
        name: `promo`; the name of its folder.
        mode: How it makes what it makes: retrieve, assemble, compose, render, infer, diffuse.
        uses: The rights it asks of every source; without sources, none.
        meter: What is counted: `output_second`, `input_minute`.
        price_minor: For one of those, in fen; what owners earn is settled beside it.
        needs_workspace: Whether it works on a library; otherwise plain files do.
    """

    name: str
    mode: str
    uses: tuple[str, ...] = ()
    meter: str = "output_second"
    price_minor: int = 0
    needs_workspace: bool = True

    def title(self, lang: str | None = None) -> str:
        """The name people know."""
        return entry(f"app.{self.name}").text(lang, {})

    def summary(self, lang: str | None = None) -> str:
        """What it does, in a sentence."""
        return entry(f"app.{self.name}.summary").text(lang, {})


@dataclass(frozen=True, slots=True)
class Made:
    """What a run left: files by what they are (`16x9`, `srt`, `report`), and what there is to tell, as plain JSON."""

    files: dict[str, Path]
    report: dict[str, Any] = field(default_factory=dict)


@dataclass
class Work:
    """One run at work: where files go, on whose behalf, how far it is, and the only way to publish."""

    out: Path
    workspace: Workspace | None = None
    caller: Caller = HOUSE
    tell: Progress | None = None
    stop_if_asked: Callable[[], None] = lambda: None
    published: list[Published] = field(default_factory=list)

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
        *, ai: AiPart | None = None,
    ) -> Published:  # fmt: skip
        """Make a file that leaves the house: every right asked of every source, labelled, signed, logged.

        Raises:
            NotGranted: A source may not be used so; nothing was made.
        """
        from malan.services.uses import require_use

        for use in card.uses:
            for source in sources:
                require_use(self.library, source.terms_id, use, source.clip.id[:12], caller=self.caller)
        draft = Draft(card.name, card.mode, title, tuple(sources), ai=ai)
        done = publish(self.library, draft, render, out, caller=self.caller)
        self.published.append(done)
        return done


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
