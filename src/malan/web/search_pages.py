"""Search: the page, its results alone for typing and scrolling, the same as JSON, and what is done with a choice."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from starlette.responses import JSONResponse, Response

from malan.services.clips import browse, choice
from malan.services.clips.browse import SearchRequest
from malan.web.gate import caller_of
from malan.web.language import language_of
from malan.web.pages import Pages

router = APIRouter()
PAGE_CLIPS = 24


def _none_if_blank(value: object) -> object:
    return None if value == "" else value


Seconds = Annotated[Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)] | None, BeforeValidator(_none_if_blank)]


class SearchForm(BaseModel):
    """What the search form sends. Empty means not asked for."""

    model_config = ConfigDict(frozen=True)

    q: str = Field("", max_length=300)
    owner: str = Field("", max_length=200)
    min_s: Seconds = None
    max_s: Seconds = None
    motion: str = Field("", max_length=60)
    light: str = Field("", max_length=60)
    faces: str = Field("", max_length=60)
    colour: str = Field("", max_length=60)
    use: str = Field("", max_length=60)
    captions: Literal["", "1"] = ""
    speech: Literal["", "1"] = ""
    clean: Literal["", "1"] = ""
    meaning: Literal["", "1"] = ""
    sort: Literal["", "newest", "longest", "shortest", "time"] = ""
    like: str = Field("", pattern=r"^([0-9a-f]{6,64})?$")
    group: str = Field("", max_length=100)
    offset: int = Field(0, ge=0, le=100_000)

    def request(self) -> SearchRequest:
        return SearchRequest(
            text=self.q.strip(),
            owner=self.owner,
            min_duration_s=self.min_s,
            max_duration_s=self.max_s,
            motion=self.motion,
            light=self.light,
            faces=self.faces,
            colour=self.colour,
            use=self.use,
            with_captions=bool(self.captions),
            with_speech=bool(self.speech),
            clean_only=bool(self.clean),
            sort=self.sort,
            like=self.like,
            group=self.group,
            by_meaning=bool(self.meaning),
            limit=PAGE_CLIPS,
            offset=self.offset,
        )

    @property
    def has_filters(self) -> bool:
        """Whether anything but words and order narrows the search."""
        return bool(set(self.model_dump(exclude_defaults=True)) - {"q", "sort", "offset", "meaning"})

    def address(self, path: str = "/", **changed: object) -> str:
        """The address of this search, with only what was asked."""
        said = {**self.model_dump(exclude_defaults=True), **changed}
        query = urlencode({name: value for name, value in said.items() if value not in ("", 0, None)})
        return f"{path}?{query}" if query else path


Asked = Annotated[SearchForm, Query()]


@router.get("/", include_in_schema=False)
@router.get("/search", include_in_schema=False)
def search_page(request: Request, asked: Asked) -> Response:
    workspace, pages, lang = request.app.state.workspace, request.app.state.pages, language_of(request.scope)
    return pages.html(  # type: ignore[no-any-return]
        request,
        "search.html",
        view=browse.search(workspace, asked.request(), lang, caller=caller_of(request)),
        filters=browse.filters(workspace, lang, caller=caller_of(request)),
        asked=asked,
    )


@router.get("/search/results", include_in_schema=False)
def search_results(request: Request, asked: Asked) -> Response:
    """The results alone; the address bar follows, so that a reload or a link shows the same."""
    workspace, pages, lang = request.app.state.workspace, request.app.state.pages, language_of(request.scope)
    view = browse.search(workspace, asked.request(), lang, caller=caller_of(request))
    template = "_more.html" if asked.offset else "_results.html"
    reply: Response = pages.html(request, template, view=view, asked=asked)
    if not asked.offset:
        reply.headers["hx-replace-url"] = asked.address()
    return reply


@router.get("/.json")
@router.get("/search.json", include_in_schema=False)
def search_json(request: Request, asked: Asked) -> Response:
    """Clips that match, with the evidence."""
    view = browse.search(
        request.app.state.workspace, asked.request(), language_of(request.scope), caller=caller_of(request)
    )
    return Pages.json(view)


class Chosen(BaseModel):
    """Clips somebody picked."""

    clip_ids: list[Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]] = Field(min_length=1, max_length=2000)


class ListChosen(Chosen):
    format: Literal["edl", "json"] = "json"


@router.post("/clips/list")
def list_clips(request: Request, chosen: ListChosen) -> Response:
    """The chosen clips as an edit decision list or as JSON, to keep."""
    listed = choice.write_list(request.app.state.workspace, chosen.clip_ids, chosen.format, caller=caller_of(request))
    return Response(
        listed.data,
        media_type=listed.media_type,
        headers={"content-disposition": f'attachment; filename="{listed.file_name}"'},
    )


@router.post("/clips/export")
def export_clips(request: Request, chosen: Chosen) -> Response:
    """Cut the chosen clips into files in the workspace's `exports` folder."""
    said = choice.start_export(
        request.app.state.workspace, chosen.clip_ids, language_of(request.scope), caller=caller_of(request)
    )
    return JSONResponse(asdict(said), status_code=202)
