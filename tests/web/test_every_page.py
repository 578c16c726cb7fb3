"""What holds on every page: one heading, a name for every field, no script or style of its own, no dead link."""

from __future__ import annotations

from collections import Counter
from html.parser import HTMLParser

import pytest
from console_client import TestClient
from console_factory import Stage

from malan.apps.builtin import all_apps

PAGES = [
    "/", "/assets", "/market", "/contracts", "/terms", "/apps", "/runs", "/approvals", "/models", "/jobs", "/log",
    "/account", "/statements", "/parties", "/programs", "/engines", "/settings", "/trace", "/nowhere",
    *(f"/apps/{app.card.name}" for app in all_apps()),
]  # fmt: skip
_VOID = ("input", "img", "meta", "link", "br", "hr", "source", "rect", "path", "circle", "use")


class Seen(HTMLParser):
    """What a page holds, as far as these rules ask."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.headings = 0
        self.ids: Counter[str] = Counter()
        self.labelled: set[str] = set()
        self.nameless: list[str] = []
        self.fields: list[tuple[str, str]] = []
        self.loose: list[str] = []
        self.links: set[str] = set()
        self.lang = ""
        self._open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = {name: value or "" for name, value in attrs}
        if tag not in _VOID:
            self._open.append(tag)
        self.ids.update([said["id"]] if "id" in said else [])
        self.loose += [f"{tag} {name}" for name in said if name == "style" or name.startswith("on")]
        if tag == "html":
            self.lang = said.get("lang", "")
        elif tag == "h1":
            self.headings += 1
        elif tag == "label" and "for" in said:
            self.labelled.add(said["for"])
        elif tag == "script" and "nonce" not in said and said.get("type") != "application/json":
            self.loose.append("script")
        elif tag == "a" and said.get("href", "").startswith("/"):
            self.links.add(said["href"].split("#")[0])
        elif tag in ("input", "select", "textarea") and said.get("type") != "hidden" and "hidden" not in said:
            self._field(tag, said)

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop() != tag:
            pass

    def _field(self, tag: str, said: dict[str, str]) -> None:
        if "label" not in self._open and "aria-label" not in said:
            self.fields.append((f"{tag} {said.get('name', '')}", said.get("id", "")))

    @property
    def unnamed(self) -> list[str]:
        return [name for name, id_ in self.fields if id_ not in self.labelled]


@pytest.fixture(params=["zh", "en"])
def reader(request: pytest.FixtureRequest, client: TestClient) -> TestClient:
    client.cookies.set("malan_language", request.param)
    client.headers["accept"] = "text/html"
    return client


@pytest.mark.parametrize("path", PAGES)
def test_a_page_has_a_heading_names_for_its_fields_and_nothing_loose(reader: TestClient, path: str) -> None:
    text = reader.get(path).text
    seen = Seen(text)
    assert seen.lang == {"zh": "zh-CN", "en": "en"}[reader.cookies["malan_language"]]
    assert seen.headings == 1
    assert seen.unnamed == []
    assert seen.loose == []
    assert [one for one, count in seen.ids.items() if count > 1] == []
    assert "?" not in text[text.index("<title>") : text.index("</title>")]


def test_no_link_of_a_page_leads_nowhere(reader: TestClient, stage: Stage) -> None:
    pages = [*PAGES, f"/assets/{stage.city.asset_id}"]
    links = {link for path in pages if path != "/nowhere" for link in Seen(reader.get(path).text).links}
    dead = [link for link in sorted(links) if reader.get(link).status_code >= 400]
    assert dead == []


def test_every_page_keeps_to_its_own_host_and_runs_no_foreign_script(client: TestClient) -> None:
    reply = client.get("/apps/promo", headers={"accept": "text/html"})
    policy = reply.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    assert len(reply.content) < 40_000
