"""The tables of generation jobs: what was asked, where it stands, who is at it, whom to tell when it is over."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Engine,
    Float,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from malan.runtime.database import ensure_tables
from malan.services.gateway.tables import gateway_tables

if TYPE_CHECKING:
    from malan.workspace import Workspace

_metadata = MetaData()

JOBS = Table(
    "app_jobs",
    _metadata,
    Column("id", String(64), primary_key=True),
    Column("sort", String(12), nullable=False),  # video, music, app
    Column("party_id", String(64), nullable=False),  # empty: this program's operator
    Column("prefix", String(20), nullable=False),  # of the gateway's key; empty: none
    Column("key_app", Text, nullable=False),  # the program the key was given to
    Column("app", String(40), nullable=False),  # which makes it
    Column("model", Text, nullable=False),  # as it was asked for
    Column("device", String(40), nullable=False),  # whose queue it stands in
    Column("request", JSON, nullable=False),  # of the app
    Column("asked", JSON, nullable=False),  # what the answer repeats: prompt, size, seconds
    Column("price", JSON, nullable=False),  # currency, request, second: minor units
    Column("state", String(12), nullable=False),
    Column("turn", Integer, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("worker", String(120)),  # host, process, its start; None: nobody is at it
    Column("beat_s", Float),
    Column("not_before_s", Float, nullable=False),
    Column("cancel_asked", Integer, nullable=False),
    Column("percent", Integer, nullable=False),
    Column("current", Text, nullable=False),
    Column("created_s", Float, nullable=False),
    Column("started_s", Float),
    Column("ended_s", Float),
    Column("idempotency", String(255)),  # the client's own name for it
    Column("digest", String(64), nullable=False),  # of what was asked
    Column("folder", Text, nullable=False),  # in the workspace
    Column("remixed_from", String(64), nullable=False),
    Column("webhook", Text, nullable=False),
    Column("code", String(80), nullable=False),  # of the error that ended it
    Column("said", JSON, nullable=False),  # its values
    Column("told", JSON, nullable=False),  # what the app left
    Column("micro", BigInteger, nullable=False),  # what it cost
    UniqueConstraint("party_id", "idempotency", name="app_jobs_once"),
    Index("app_jobs_queue", "state", "device", "party_id", "priority", "created_s"),
    Index("app_jobs_list", "party_id", "sort", "created_s", "id"),
    Index("app_jobs_latest", "created_s", "id"),
)
TURNS = Table(
    "app_job_turns",
    _metadata,
    Column("party_id", String(64), primary_key=True),
    Column("device", String(40), primary_key=True),
    Column("started_s", Float, nullable=False),  # when its last job began
)
WORKERS = Table(
    "app_workers",
    _metadata,
    Column("worker", String(120), primary_key=True),
    Column("device", String(40), nullable=False),
    Column("beat_s", Float, nullable=False),
)
WEBHOOKS = Table(
    "app_webhooks",
    _metadata,
    Column("id", String(64), primary_key=True),
    Column("job_id", String(64), nullable=False),
    Column("prefix", String(20), nullable=False),  # whose secret signs it
    Column("url", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("state", String(10), nullable=False),  # waiting, done, given_up
    Column("tries", Integer, nullable=False),
    Column("next_s", Float, nullable=False),
    Column("last", String(80), nullable=False),  # what became of the last try
    Index("app_webhooks_due", "state", "next_s"),
)


def queue_tables(ws: Workspace) -> Engine:
    """The database, with the tables of jobs and of the gateway in it."""
    engine = gateway_tables(ws)
    ensure_tables(engine, _metadata)
    return engine
