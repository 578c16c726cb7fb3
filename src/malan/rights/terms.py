"""Terms as people write them: a short TOML file. Start reading at `load_terms`.

name = "Training, two years"
uses = ["retrieve", "train"]
purposes = ["research"]        # leave out for any
territories = ["CN"]           # leave out for any
starts = 2026-01-01
ends = 2027-12-31
attribution = "湖南台"
[limits]
clip_seconds = 1800000
[price]
minor = 250                    # 2.50 yuan
currency = "CNY"
"""

from __future__ import annotations

import tomllib
import unicodedata
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

from malan.core import Terms
from malan.core.errors import UsageError
from malan.core.ids import digest_record
from malan.rights.decide import USES

_MAX_BYTES = 65_536
_LISTS = ("uses", "purposes", "territories")
_TEXTS = ("name", "attribution", "share_rule")
_DAYS = ("starts", "ends")
_LIMITS = ("clip_seconds", "runs", "outputs")


def party_id(name: str) -> str:
    """Id of a party by its name: the same name, however typed (width, case, spaces), is the same party."""
    plain = " ".join(unicodedata.normalize("NFKC", name).split()).casefold()
    if not plain:
        raise UsageError("rights.no_owner")
    return digest_record("party", plain)


def default_terms(owner: str) -> Terms:
    """What holds when an owner registers footage and says nothing: use inside this workspace, nothing for others."""
    return Terms(owner_id=party_id(owner), name="in-house", uses=("retrieve", "derive", "export"))


def load_terms(path: Path, owner: str) -> Terms:
    """Read terms from a TOML file.

    A key this version does not know is kept in `other`, and then everything is denied until it is understood; a
    key with an impossible value is refused here.

    Raises:
        UsageError: The file cannot be read, does not parse, or says something impossible (end before start,
            negative price, no uses, an unknown use).
    """
    said = _parse(path)
    values: dict[str, Any] = {"owner_id": party_id(owner), "name": path.stem, "other": {}}
    for key, value in said.items():
        if key in _LISTS:
            values[key] = _strings(path, key, value)
        elif key in _TEXTS:
            values[key] = _text(path, key, value)
        elif key in _DAYS:
            values[key] = _day(path, key, value)
        elif key == "limits":
            values[key], unknown = _limits(path, value)
            values["other"] |= unknown
        elif key == "price":
            values |= _price(path, value)
        else:
            values["other"][key] = str(value)
    return _checked(path, values)


def _parse(path: Path) -> dict[str, Any]:
    try:
        data = path.read_bytes()
        if len(data) > _MAX_BYTES:
            raise UsageError("rights.bad_terms", path=str(path), detail=f"{len(data)} > {_MAX_BYTES} bytes")
        return tomllib.loads(data.decode("utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError("rights.bad_terms", path=str(path), detail=str(error)) from error


def _checked(path: Path, values: dict[str, Any]) -> Terms:
    uses = values.get("uses", ())
    if not uses:
        raise _impossible(path, "uses", "[]")
    for use in uses:
        if use not in USES:
            raise _impossible(path, "uses", use)
    if values.get("starts") and values.get("ends") and values["ends"] < values["starts"]:
        raise _impossible(path, "ends", values["ends"])
    return Terms(**values)


def _strings(path: Path, key: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise _impossible(path, key, value)
    return tuple(sorted(set(value)))


def _text(path: Path, key: str, value: Any) -> str:
    if not isinstance(value, str):
        raise _impossible(path, key, value)
    return value


def _day(path: Path, key: str, value: Any) -> str:
    """A TOML date, or the same as text."""
    try:
        return (value if type(value) is date else date.fromisoformat(value)).isoformat()
    except (TypeError, ValueError):
        raise _impossible(path, key, value) from None


def _limits(path: Path, value: Any) -> tuple[Mapping[str, int], Mapping[str, str]]:
    """The limits this version can count, and those it cannot."""
    if not isinstance(value, dict):
        raise _impossible(path, "limits", value)
    amounts = {name: _amount(path, f"limits.{name}", amount) for name, amount in value.items()}
    known = {name: amount for name, amount in amounts.items() if name in _LIMITS}
    return known, {f"limits.{name}": str(amount) for name, amount in amounts.items() if name not in _LIMITS}


def _price(path: Path, value: Any) -> dict[str, Any]:
    """Money is whole numbers of the smallest unit; `2.5` is refused rather than rounded."""
    if not isinstance(value, dict) or not set(value) <= {"minor", "currency"}:
        raise _impossible(path, "price", value)
    currency = value.get("currency", "CNY")
    if not (isinstance(currency, str) and len(currency) == 3 and currency.isascii() and currency.isupper()):
        raise _impossible(path, "price.currency", currency)
    return {"price_minor": _amount(path, "price.minor", value.get("minor", 0)), "currency": currency}


def _amount(path: Path, key: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise _impossible(path, key, value)
    return value


def _impossible(path: Path, key: str, value: Any) -> UsageError:
    return UsageError("rights.bad_value", path=str(path), key=key, value=value, uses=", ".join(USES))
