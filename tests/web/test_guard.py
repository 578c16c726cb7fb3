"""Other pages cannot read, change or frame the console, and nothing it shows can run."""

from __future__ import annotations

import re

import pytest
from console_client import TestClient


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "127.0.0.1@evil.example", "[::1"])
def test_a_foreign_host_name_is_refused(client: TestClient, host: str) -> None:
    reply = client.get("/", headers={"host": host})
    assert reply.status_code == 421
    assert reply.json()["error"]["code"] == "web.host"


@pytest.mark.parametrize("host", ["127.0.0.1:8600", "localhost:9999", "[::1]:8600", "LOCALHOST"])
def test_this_machine_is_answered_under_all_its_names(client: TestClient, host: str) -> None:
    assert client.get("/healthz", headers={"host": host}).status_code == 200


def test_a_change_asked_by_a_page_of_another_site_is_refused(client: TestClient) -> None:
    for headers in (
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:1"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ):
        reply = client.post("/language/zh", data={"back": "/"}, headers=headers)
        assert (reply.status_code, reply.json()["error"]["code"]) == (403, "web.origin"), headers


def test_a_change_asked_by_the_console_itself_is_done(client: TestClient) -> None:
    headers = {"origin": "http://127.0.0.1:8600", "sec-fetch-site": "same-origin"}
    reply = client.post("/language/zh", data={"back": "/jobs"}, headers=headers, follow_redirects=False)
    assert (reply.status_code, reply.headers["location"]) == (303, "/jobs")


@pytest.mark.parametrize("back", ["//evil.example", "https://evil.example", "/\\evil.example", "/\nx", "evil"])
def test_choosing_a_language_leads_nowhere_else(client: TestClient, back: str) -> None:
    reply = client.post("/language/en", data={"back": back}, follow_redirects=False)
    assert reply.headers["location"] == "/"


def test_a_page_runs_its_own_scripts_only(client: TestClient) -> None:
    reply = client.get("/", headers={"accept": "text/html"})
    policy = reply.headers["content-security-policy"]
    nonce = re.search(r"script-src 'nonce-([\w-]+)' 'strict-dynamic';", policy)
    assert nonce is not None
    assert "unsafe" not in policy
    scripts = re.findall(r"<script\b[^>]*>", reply.text)
    assert all(f'nonce="{nonce[1]}"' in tag or 'type="application/json"' in tag for tag in scripts)
    assert not re.search(r"\son\w+=|\sstyle=|<style", reply.text)
    assert client.get("/").headers["content-security-policy"] != policy


def test_every_reply_forbids_sniffing_framing_and_foreign_use(client: TestClient) -> None:
    for path in ("/", "/jobs.json", "/nothing", "/static/icon.svg"):
        headers = client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert "access-control-allow-origin" not in headers


def test_requests_beyond_the_limits_end_early(client: TestClient) -> None:
    assert client.get("/?q=" + "x" * 9000).status_code == 414
    assert client.get("/search.json?q=" + "x" * 400).status_code == 400
    big = client.post("/clips/list", content=b"x" * 300_000, headers={"content-type": "application/json"})
    assert (big.status_code, big.json()["error"]["code"]) == (413, "web.too_large")
    assert "nonce" in big.headers["content-security-policy"]
    page = client.post("/parties", content=b"x" * 300_000, headers={"accept": "text/html", "accept-language": "zh"})
    assert page.status_code == 413
    assert "262 kB" in page.text
    assert "<h1>" in page.text
    unsized = client.post("/clips/list", content=(b"x" * 50_000 for _ in range(8)))
    assert unsized.json()["error"]["code"] == "web.too_large"


def test_a_name_with_markup_in_it_stays_text(client: TestClient) -> None:
    page = client.get("/", params={"q": "</script><img src=x onerror=alert(1)>"}, headers={"accept": "text/html"})
    assert "<img src=x" not in page.text
