"""A workspace: one folder with `malan.toml`, and the engines opened on it, each built once when first asked for.

It wires; it decides nothing. Start reading at `Workspace.open`.
"""

from __future__ import annotations

import os
import tomllib
from contextlib import suppress
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from malan.core.errors import NotFound, UsageError

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from malan.ledger.book import LogBook
    from malan.ledger.keys import KeyRing
    from malan.runtime.devices import Devices
    from malan.runtime.jobs import Jobs
    from malan.store import Library

SETTINGS_FILE = "malan.toml"
_SECRET = (
    "database",
    "oidc_client_secret",
)
_FIRST_SETTINGS = """\
# Settings of this Malan workspace. Every one has a default; what is set here wins.
# 本工作区的设置。每一项都有默认值，此处填写的优先。

# workers = 2              # processes that read footage; default: one a core   读取素材的进程数，默认每核一个
# worker_memory_mb = 1200  # a worker above this is ended and reported          单个进程的内存上限，超出即终止并报告
# file_timeout_s = 7200    # a file that takes longer is ended and reported     单个文件的时限，超出即终止并报告
# runs_at_once = 1         # runs of one buyer at the same time               每个买方可同时执行的训练数
# runs_a_day = 50          # runs one buyer may submit a day                  每个买方每日可提交的训练数
# run_memory_mb = 8192     # an algorithm that asks for more is refused       算法可申请的内存上限，超出即拒绝
# run_hours = 48           # an algorithm that asks for longer is refused     算法可申请的时长上限，超出即拒绝
# organisation = ""        # who publishes; named in media credentials          发布机构名称，写入媒体凭证
# producer_code = ""       # your provider code, for labels of AI-made files    服务提供者编码，写入 AI 生成标识
# territory = ""           # where it is used (ISO 3166 code)                     使用地，ISO 3166 代码，如 CN
# app_packs = ""           # rule packs for requests to apps and what they make      约束请求与成品的规则包
# app_refuse = "block"     # block, major, minor: what is refused, from there on       达到该严重程度即拒绝
# model_share = 20         # percent of a price for those who trained the model        归模型训练素材方的百分比
# job_memory_mb = 8192     # a job of an app above this is ended and reported   应用任务的内存上限，超出即终止并报告
# job_hours = 6            # likewise above this time                           应用任务的时长上限，超出即终止并报告
# cpu_jobs = 2             # jobs of apps on the processor at the same time     处理器上同时执行的应用任务数
# open_jobs = 100          # jobs one party may have waiting and at work           每个机构同时排队与执行的任务数上限
# result_days = 30         # what the gateway's jobs made is kept so long; 0: always  网关任务成品的保留天数，0 为不清理
# webhook_hosts = ""       # hosts that may be told when a job is over            允许接收任务回调的主机，逗号分隔
# database = ""            # postgresql://USER@HOST/NAME; default: malan.db here  数据库地址，默认为本目录下的 malan.db
"""


@dataclass(frozen=True, slots=True)
class Settings:
    """What `malan.toml` may say."""

    workers: int = 0  # 0: one a core
    worker_memory_mb: int = 1200
    file_timeout_s: int = 7200
    organisation: str = ""  # who publishes; named in media credentials
    producer_code: str = ""  # of this provider (TC260-PG-20252A); named in labels of AI-made files
    runs_at_once: int = 1  # of one party
    runs_a_day: int = 50  # that one party may submit
    run_memory_mb: int = 8192  # an algorithm that asks for more is refused
    run_hours: int = 48  # likewise
    territory: str = ""  # where this is used: ISO 3166 code, such as CN; licences of models ask for it
    app_packs: str = ""  # rule packs, with commas, that requests to apps and what they make are held against
    app_refuse: str = "block"  # from which severity on: block, major, minor, info
    model_share: int = 20  # percent of the price of an app that goes to those whose footage trained its models
    job_memory_mb: int = 8192  # a job of an app that takes more is ended and reported
    job_hours: int = 6  # likewise one that takes longer
    cpu_jobs: int = 2  # jobs of apps on the processor at the same time; other devices do one
    open_jobs: int = 100  # that one party may have waiting and at work; 0: no bound
    result_days: int = 30  # what jobs of the gateway made is taken away after; 0: never
    webhook_hosts: str = ""  # hosts, with commas, that may be told when a job is over
    oidc_issuer: str = ""  # identity provider one may sign in by, such as https://id.example.org
    oidc_client_id: str = ""  # what we are called there
    oidc_client_secret: str = field(default="", repr=False)  # if it gave us one
    oidc_claim: str = "email"  # which of its claims is a login here: email (verified), sub, preferred_username
    database: str = field(default="", repr=False)  # empty: malan.db in the workspace; may hold a password: never shown

    @property
    def worker_count(self) -> int:
        return self.workers or len(os.sched_getaffinity(0))


class Workspace:
    """One folder of records. Opening it reads the settings and nothing else.

    Args:
        root: The folder; must hold a `malan.toml`.

    Raises:
        NotFound: There is none.
        UsageError: `malan.toml` does not parse or holds an unknown or impossible setting.
    """

    def __init__(self, root: Path) -> None:
        if not (root / SETTINGS_FILE).is_file():
            raise NotFound("workspace.none", path=str(root))
        self.root = root.resolve()
        self._settings_at = self._stamp()
        self._settings = read_settings(self.root / SETTINGS_FILE)

    @property
    def settings(self) -> Settings:
        """What `malan.toml` says, also to a process that was there before it was changed.

        While it cannot be read, what it said last holds: work under way does not end over a file being edited. What
        opens files and processes (database, workers) goes by what it said when it was opened.
        """
        if (stamp := self._stamp()) != self._settings_at:
            self._settings_at = stamp
            with suppress(UsageError, OSError):
                self._settings = read_settings(self.root / SETTINGS_FILE)
        return self._settings

    @settings.setter
    def settings(self, wanted: Settings) -> None:
        self._settings = wanted

    def _stamp(self) -> tuple[int, int]:
        with suppress(OSError):
            found = (self.root / SETTINGS_FILE).stat()
            return found.st_mtime_ns, found.st_ino
        return 0, 0

    @classmethod
    def create(cls, root: Path) -> Workspace:
        """Make a folder a workspace; one that is already is opened as it stands."""
        root.mkdir(parents=True, exist_ok=True)
        settings = root / SETTINGS_FILE
        if not settings.exists():
            settings.write_text(_FIRST_SETTINGS, "utf-8")
        return cls(root)

    @classmethod
    def find(cls, start: Path) -> Workspace:
        """The workspace a folder lies in: the nearest `malan.toml` upwards."""
        for folder in (start.resolve(), *start.resolve().parents):
            if (folder / SETTINGS_FILE).is_file():
                return cls(folder)
        raise NotFound("workspace.none", path=str(start))

    @cached_property
    def library(self) -> Library:
        """Tables of assets, clips, findings."""
        from malan.store import Library

        return Library(self.root / "library")

    @cached_property
    def database(self) -> Engine:
        """Parties, terms, jobs, usage, money."""
        from malan.runtime.database import open_database

        place = self.settings.database
        return open_database(place if "://" in place else self.root / (place or "malan.db"))

    @cached_property
    def jobs(self) -> Jobs:
        """Durable work."""
        from malan.runtime.jobs import Jobs

        return Jobs(self.database)

    @cached_property
    def keys(self) -> KeyRing:
        """The keys that sign events, checkpoints and media."""
        from malan.ledger.keys import KeyRing

        return KeyRing(self.root / "keys")

    @cached_property
    def log(self) -> LogBook:
        """What was done here, provably."""
        from malan.ledger.book import LogBook

        return LogBook(self.root / "log", self.keys, self.root / "log.db")

    @cached_property
    def devices(self) -> Devices:
        """What stands on processor and accelerators, one user at a time."""
        from malan.runtime.devices import Devices

        return Devices(self.root / "devices")

    def folder(self, name: str) -> Path:
        """A folder of the workspace (`blobs`, `exports`, …), made if it is not there."""
        path = self.root / name
        path.mkdir(parents=True, exist_ok=True)
        return path


def read_settings(path: Path) -> Settings:
    """What a `malan.toml` says.

    Raises:
        UsageError: It does not parse, or holds an unknown or impossible setting.
    """
    try:
        said: dict[str, Any] = tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError("workspace.bad_settings", path=str(path), detail=str(error)) from error
    known = {field.name for field in fields(Settings)}
    for name, value in said.items():
        if name not in known:
            raise UsageError("workspace.unknown_setting", path=str(path), name=name, known=", ".join(sorted(known)))
        if not _fits(value, getattr(Settings(), name)):
            raise UsageError("workspace.bad_value", path=str(path), name=name, value="…" if name in _SECRET else value)
    return Settings(**said)


def _fits(value: Any, default: int | str) -> bool:
    """Whether a setting has the sort of its default: a whole number that is not negative, or text of one line."""
    if isinstance(default, str):
        return isinstance(value, str) and value.isprintable()
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
