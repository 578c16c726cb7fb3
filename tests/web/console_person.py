"""Somebody who is signed in to the console and uses its pages: what tests of pages do their clicking with."""

from __future__ import annotations

from typing import Any

from account_factory import CHEAP, PASSWORD
from console_client import TestClient

from malan.services.accounts import sessions
from malan.web.app import create_app
from malan.workspace import Workspace

BASE = "http://127.0.0.1:8600"
PAGE, ORIGIN = {"accept": "text/html"}, {"origin": BASE}


class Person:
    """Somebody signed in, in Chinese or English."""

    def __init__(self, ws: Workspace, login: str, lang: str = "en") -> None:
        self.client = TestClient(create_app(ws), base_url=BASE, follow_redirects=False)
        token = sessions.sign_in(ws, login, PASSWORD, cost=CHEAP).token
        self.client.cookies.set("malan_session", token)
        self.client.cookies.set("malan_language", lang)
        self.token = sessions.form_token(token)

    def get(self, path: str, status: int = 200) -> str:
        reply = self.client.get(path, headers=PAGE)
        assert reply.status_code == status, reply.text[:2000]
        return reply.text

    def json(self, path: str) -> dict[str, Any]:
        found: dict[str, Any] = self.client.get(path).json()
        return found

    def post(self, path: str, status: int = 303, token: str | None = None, **said: str) -> str:
        sent = {"token": self.token if token is None else token, **said}
        reply = self.client.post(path, data=sent, headers={**ORIGIN, **PAGE})
        assert reply.status_code == status, reply.text[:2000]
        return str(reply.headers.get("location") or reply.text)
