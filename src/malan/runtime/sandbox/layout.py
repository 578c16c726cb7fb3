"""What a run sees: a read-only Python, the packages it may use, its own code, and nothing of the host.

    /runtime   Python, its standard library, the packages on the list     read only
    /code      the files of the algorithm                                 read only
    /base      files the caller names, such as weights of a base model    read only
    /tmp       scratch of a fixed size; also /dev/shm and the home        the only place to write
    /usr/lib   shared libraries of the system                             read only
    /proc /sys /etc   a few files written here; the real ones are not there

Start reading at `Layout`.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path, PurePosixPath

from malan.core.errors import NotFound, UsageError
from malan.runtime.sandbox.inside import landlock

PYTHON = "/runtime/bin/python3"
_HERE = Path(__file__).parent
_DEVICES = ("null", "zero", "full", "random", "urandom")
_VERSION = f"python{sys.version_info.major}.{sys.version_info.minor}"


@dataclass(frozen=True, slots=True)
class Mount:
    """A file or folder of the host and where it appears, read only."""

    source: Path
    place: str
    is_device: bool = False


@dataclass(frozen=True, slots=True)
class Layout:
    """The mounts of one run, and what Landlock lets it do beneath them."""

    mounts: tuple[Mount, ...]
    landlock: dict[str, int]
    hidden: tuple[str, ...]  # folders covered by an empty one
    folder: Path  # on the host, of this run alone


def lay_out(packages: Iterable[str], folder: Path, base: Mapping[str, Path] | None = None) -> Layout:
    """What a run with these packages sees.

    Args:
        packages: Names of installed distributions; what they require comes along. `malan` is this program itself.
        folder: Made by `write_folder`.
        base: Files of the host that appear below `/base`, by their name there.

    Raises:
        UsageError: A name leads out of `/base`.
        NotFound: A package is not installed, or one of the files is not there.
    """
    mounts = [*_python(), *_libraries(), *_packages(packages)]
    mounts += [Mount(folder / name, f"/{name}") for name in ("code", "proc", "sys", "etc")]
    mounts += _base(base or {}, folder)
    mounts += [Mount(Path(f"/dev/{name}"), f"/dev/{name}", is_device=True) for name in _DEVICES]
    site = f"/runtime/lib/{_VERSION}/site-packages"
    hidden = (site,) if (_standard_library() / "site-packages").is_dir() else ()
    return Layout(tuple(mounts), _rules(mounts), hidden, folder)


def write_folder(folder: Path, code: dict[str, bytes], memory_bytes: int) -> None:
    """The algorithm's files, and the few of the system's that libraries look for.

    Raises:
        UsageError: A name leads out of the folder.
    """
    for name, content in code.items():
        _write(folder / "code" / _check_name(name), content)
    (folder / "code").mkdir(parents=True, exist_ok=True)
    _write(folder / "etc/passwd", b"run:x:1000:1000::/tmp:/bin/false\n")
    _write(folder / "etc/group", b"run:x:1000:\n")
    _write(folder / "proc/cpuinfo", _first_processor())
    _write(folder / "proc/meminfo", _memory(memory_bytes))
    _write(folder / "proc/sys/vm/overcommit_memory", b"0\n")
    processors = f"0-{max(os.sched_getaffinity(0))}\n".encode()
    for name in ("possible", "present", "online"):
        _write(folder / f"sys/devices/system/cpu/{name}", processors)


def _check_name(name: str) -> PurePosixPath:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts or "\0" in name:
        raise UsageError("sandbox.bad_name", name=name)
    return path


def _python() -> Iterator[Mount]:
    yield Mount(Path(sys.executable).resolve(), PYTHON)
    yield Mount(_standard_library(), f"/runtime/lib/{_VERSION}")
    library = Path(sysconfig.get_config_var("LIBDIR") or "/") / (sysconfig.get_config_var("INSTSONAME") or "-")
    if library.is_file() and library.suffix != ".a":
        yield Mount(library.resolve(), f"/runtime/lib/{library.name}")
    yield Mount(_HERE / "inside", "/runtime/site/malan_inside")


def _base(files: Mapping[str, Path], folder: Path) -> Iterator[Mount]:
    """Each file by itself, so that links of the host lead nowhere inside.

    When the supervisor is root, the run belongs to another user: a file that only its owner may read is copied into the
    folder of the run, and ends with it.
    """
    for name, path in files.items():
        inside = _check_name(name)
        if not path.is_file():
            raise NotFound("sandbox.no_base", path=str(path))
        source = path.resolve()
        if os.geteuid() == 0 and not source.stat().st_mode & stat.S_IROTH:
            source = folder / "base" / inside
            source.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, source)
            source.chmod(0o644)
        yield Mount(source, f"/base/{name}")


def _standard_library() -> Path:
    return Path(sysconfig.get_path("stdlib", vars={"installed_base": sys.base_prefix})).resolve()


def _libraries() -> Iterator[Mount]:
    """The system's shared libraries, where the linker looks for them without a cache."""
    multiarch = sysconfig.get_config_var("MULTIARCH") or "x86_64-linux-gnu"
    for place in (f"/usr/lib/{multiarch}", "/usr/lib64"):
        if Path(place).is_dir():
            yield Mount(Path(place).resolve(), place)


def _packages(names: Iterable[str]) -> Iterator[Mount]:
    seen: set[str] = set()
    for name in _with_required(names):
        for path in _places(name):
            if path.name not in seen and path.exists():
                seen.add(path.name)
                yield Mount(path, f"/runtime/site/{path.name}")


def _with_required(names: Iterable[str]) -> list[str]:
    """Distributions and all they require, except for extras; what is not installed is left out, if only required."""
    found: list[str] = []
    waiting = [(name, True) for name in names]
    while waiting:
        name, asked = waiting.pop(0)
        key = re.sub(r"[-_.]+", "-", name).lower()
        if key in found:
            continue
        if key != "malan":
            try:
                required = metadata.distribution(name).requires or []
            except metadata.PackageNotFoundError as error:
                if asked:
                    raise NotFound("sandbox.no_package", name=name) from error
                continue
            waiting += [(re.split(r"[^\w.-]", r, maxsplit=1)[0], False) for r in required if "extra ==" not in r]
        found.append(key)
    return found


def _places(name: str) -> list[Path]:
    """The top-level folders and files of a distribution beside each other in the library of packages."""
    if name == "malan":
        return [_HERE.parents[1]]
    distribution = metadata.distribution(name)
    root = Path(str(distribution.locate_file(""))).resolve()
    tops = {PurePosixPath(str(file)).parts[0] for file in distribution.files or ()}
    return [root / top for top in sorted(tops) if top not in ("..", "__pycache__", "bin")]


def _rules(mounts: list[Mount]) -> dict[str, int]:
    rules = dict.fromkeys(("/runtime", "/code", "/proc", "/sys", "/etc", "/usr/lib"), landlock.READ)
    rules |= dict.fromkeys((m.place for m in mounts if m.place == "/usr/lib64"), landlock.READ)
    rules |= {"/base": landlock.READ} if any(m.place.startswith("/base/") for m in mounts) else {}
    rules |= {m.place: landlock.READ_FILE | landlock.WRITE_FILE for m in mounts if m.is_device}
    rules |= {"/dev": landlock.READ_DIR, "/tmp": landlock.WRITE, PYTHON: landlock.READ_FILE | landlock.EXECUTE}  # noqa: S108
    loader = "/lib64/ld-linux-x86-64.so.2"
    if os.path.exists(loader):  # noqa: PTH110  # a link to the loader, followed inside too
        rules[loader] = landlock.READ_FILE | landlock.EXECUTE
    return rules


def _first_processor() -> bytes:
    """What one processor can do, once for each this process may use: numeric libraries choose their kernels by it."""
    text = ""
    with suppress(OSError):
        text = Path("/proc/cpuinfo").read_text().split("\n\n")[0]
    count = range(len(os.sched_getaffinity(0)))
    return "".join(re.sub(r"(?m)^(processor\s*: ).*$", rf"\g<1>{n}", text) + "\n\n" for n in count).encode()


def _memory(limit_bytes: int) -> bytes:
    kilobytes = limit_bytes // 1024
    return f"MemTotal: {kilobytes} kB\nMemFree: {kilobytes} kB\nMemAvailable: {kilobytes} kB\n".encode()


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
