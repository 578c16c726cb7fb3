"""Who may come to which address: for every route of the console the action it stands for, checked by `gate`.

A route that is not in the table answers nobody, and a test compares the table with the routes there are. What may be
seen behind an address is decided by the services. Start at `RULES`.
"""

from __future__ import annotations

from collections.abc import Mapping

PUBLIC = "public"
"""Open to everybody: nothing of the library is behind it."""

RULES: Mapping[str, str] = {
    "GET /": "find",
    "GET /.json": "find",
    "GET /search": "find",
    "GET /search.json": "find",
    "GET /search/results": "find",
    "POST /clips/list": "list",
    "POST /clips/export": "export",
    "GET /assets": "find",
    "GET /assets.json": "find",
    "GET /assets/{asset_id}": "show",
    "GET /assets/{asset_id}.json": "show",
    "GET /assets/{asset_id}/frames": "show",
    "GET /assets/{asset_id}/peaks": "show",
    "GET /strips/{clip_id}.jpg": "show",
    "GET /thumbs/{clip_id}.jpg": "show",
    "POST /assets/{asset_id}/proxy": "play",
    "GET /assets/{asset_id}/proxy.json": "play",
    "GET /media/{asset_id}": "play",
    "GET /proxies/{asset_id}.mp4": "play",
    "GET /apps": "app.see",
    "GET /apps.json": "app.see",
    "GET /apps/{name}": "app.see",
    "POST /apps/{name}": "app.run",
    "POST /api/apps/{name}": "app.run",
    "POST /api/apps/{name}/quote": "app.run",
    "GET /api/apps/runs/{job_id}": "app.see",
    "POST /api/apps/runs/{job_id}/cancel": "app.run",
    "POST /api/apps/runs/{job_id}/resume": "app.run",
    "POST /apps/runs/{job_id}/cancel": "app.run",
    "POST /apps/runs/{job_id}/resume": "app.run",
    "GET /apps/runs/{job_id}/board": "app.see",
    "GET /apps/boards/{digest}": "app.see",
    "GET /apps/boards/{digest}.json": "app.see",
    "GET /apps/boards/others/{clip_id}.json": "app.see",
    "POST /apps/boards": "app.run",
    "GET /apps/runs/{job_id}/review": "review",
    "GET /apps/runs/{job_id}/review.json": "review",
    "POST /apps/runs/{job_id}/review": "review",
    "POST /apps/runs/{job_id}/review/{finding}": "review",
    "POST /api/apps/runs/{job_id}/review/{finding}": "review",
    "GET /apps/runs/{job_id}/review/pictures/{name}": "review",
    "GET /apps/runs/{job_id}": "app.see",
    "GET /apps/runs/{job_id}.json": "app.see",
    "GET /apps/runs/{job_id}/files/{name}": "app.see",
    "GET /jobs": "jobs.see",
    "GET /jobs.json": "jobs.see",
    "GET /jobs/running.json": "jobs.see",
    "GET /jobs/events": "jobs.see",
    "POST /jobs/{job_id}/retry": "jobs.change",
    "POST /jobs/{job_id}/cancel": "jobs.change",
    "GET /market": "snapshots",
    "GET /market.json": "snapshots",
    "GET /market/{product_id}": "snapshots",
    "GET /market/{product_id}.json": "snapshots",
    "POST /market/{product_id}/order": "order",
    "GET /contracts": "sign",
    "GET /contracts.json": "sign",
    "GET /contracts/{number}": "sign",
    "GET /contracts/{number}.json": "sign",
    "GET /contracts/{number}/document": "sign",
    "POST /contracts/{number}/{action}": "sign",
    "GET /terms": "offer",
    "POST /terms": "offer",
    "GET /log": "log.read",
    "GET /log.json": "log.read",
    "GET /account": "own.account",
    "GET /account.json": "own.account",
    "POST /account/password": "own.account",
    "POST /account/keys": "own.account",
    "POST /account/keys/{prefix}/end": "own.account",
    "POST /account/sign-out-everywhere": "own.account",
    "GET /openapi.json": "own.account",
    "GET /sign-in": PUBLIC,
    "GET /sign-in/provider": PUBLIC,
    "GET /sign-in/back": PUBLIC,
    "POST /sign-in": PUBLIC,
    "POST /sign-out": PUBLIC,
    "POST /language/{lang}": PUBLIC,
    "GET /healthz": PUBLIC,
    "GET /static": PUBLIC,
}


def rule_of(method: str, path: str) -> str | None:
    """The action behind a method and the path of a route, as it was declared; None: nobody may."""
    return RULES.get(f"{'GET' if method == 'HEAD' else method} {path}")
