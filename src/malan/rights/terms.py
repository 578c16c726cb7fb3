"""Terms as people write them: a short TOML file. Start reading at `load_terms`.

name = "Training, two years"
uses = ["retrieve", "train"]
purposes = ["research"]        # leave out for any
territories = ["CN"]           # leave out for any
recipients = ["某模型公司"]     # leave out for anybody
starts = 2026-01-01
ends = 2027-12-31
attribution = "湖南台"
prohibitions = ["likeness", "redistribution"]
isolation = "sandbox"          # least level of a run
tiers = ["recipe"]             # who may write what trains
egress = ["metrics", "adapter"]
memorisation = "checked"       # what a model learned by heart is looked for
[limits]
clip_seconds = 1800000
[price]
minor = 250                    # 2.50 yuan
currency = "CNY"
per = "clip_second"
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
from malan.rights.decide import EGRESS, LEVELS, MEMORISATION, TIERS, USES

_MAX_BYTES = 65_536
PROHIBITIONS = ("likeness", "redistribution", "scene")
"""What is promised and cannot be enforced: no copy of a person's likeness, no passing on, no re-making of a scene."""

PRICED = ("deal", "clip_second", "run", "output")
LIMITS = ("clip_seconds", "runs", "outputs", "output_bytes")

_LISTS = ("uses", "purposes", "territories", "prohibitions", "tiers", "egress")
_CHOICES = {
    "uses": USES,
    "prohibitions": PROHIBITIONS,
    "tiers": TIERS,
    "egress": EGRESS,
    "isolation": LEVELS,
    "memorisation": MEMORISATION,
}
_TEXTS = ("name", "attribution", "share_rule", "isolation", "memorisation", "licence")
_DAYS = ("starts", "ends")


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
    return read_terms(_parse(path), owner, str(path), path.stem)


def read_terms(said: Mapping[str, Any], owner: str, where: str, name: str) -> Terms:
    """Terms from what a TOML file or a form says; `where` is named in errors, `name` is used where none is given."""
    values: dict[str, Any] = {"owner_id": party_id(owner), "name": name, "other": {}}
    for key, value in said.items():
        if key in _LISTS:
            values[key] = _strings(where, key, value)
        elif key == "recipients":
            values[key] = tuple(sorted({party_id(one) for one in _strings(where, key, value)}))
        elif key in _TEXTS:
            values[key] = _text(where, key, value)
        elif key in _DAYS:
            values[key] = _day(where, key, value)
        elif key == "limits":
            values[key], unknown = _limits(where, value)
            values["other"] |= unknown
        elif key == "price":
            values |= _price(where, value)
        else:
            values["other"][key] = str(value)
    return _checked(where, values)


def _parse(path: Path) -> dict[str, Any]:
    try:
        data = path.read_bytes()
        if len(data) > _MAX_BYTES:
            raise UsageError("rights.bad_terms", path=str(path), detail=f"{len(data)} > {_MAX_BYTES} bytes")
        return tomllib.loads(data.decode("utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError("rights.bad_terms", path=str(path), detail=str(error)) from error


def _checked(where: str, values: dict[str, Any]) -> Terms:
    uses = values.get("uses", ())
    if not uses:
        raise _impossible(where, "uses", "[]")
    for key, known in _CHOICES.items():
        said = values.get(key, ())
        for one in (said,) if isinstance(said, str) else said:
            if one not in known:
                raise _impossible(where, key, one)
    if values.get("starts") and values.get("ends") and values["ends"] < values["starts"]:
        raise _impossible(where, "ends", values["ends"])
    return Terms(**values)


def _strings(where: str, key: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise _impossible(where, key, value)
    return tuple(sorted(set(value)))


def _text(where: str, key: str, value: Any) -> str:
    if not isinstance(value, str):
        raise _impossible(where, key, value)
    return value


def _day(where: str, key: str, value: Any) -> str:
    """A TOML date, or the same as text."""
    try:
        return (value if type(value) is date else date.fromisoformat(value)).isoformat()
    except (TypeError, ValueError):
        raise _impossible(where, key, value) from None


def _limits(where: str, value: Any) -> tuple[Mapping[str, int], Mapping[str, str]]:
    """The limits this version can count, and those it cannot."""
    if not isinstance(value, dict):
        raise _impossible(where, "limits", value)
    amounts = {name: _amount(where, f"limits.{name}", amount) for name, amount in value.items()}
    known = {name: amount for name, amount in amounts.items() if name in LIMITS}
    return known, {f"limits.{name}": str(amount) for name, amount in amounts.items() if name not in LIMITS}


def _price(where: str, value: Any) -> dict[str, Any]:
    """Money is whole numbers of the smallest unit; `2.5` is refused rather than rounded."""
    if not isinstance(value, dict) or not set(value) <= {"minor", "currency", "per"}:
        raise _impossible(where, "price", value)
    currency = value.get("currency", "CNY")
    if not (isinstance(currency, str) and len(currency) == 3 and currency.isascii() and currency.isupper()):
        raise _impossible(where, "price.currency", currency)
    if (per := value.get("per", "deal")) not in PRICED:
        raise _impossible(where, "price.per", per)
    minor = _amount(where, "price.minor", value.get("minor", 0))
    return {"price_minor": minor, "currency": currency, "price_per": per}


def _amount(where: str, key: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise _impossible(where, key, value)
    return value


def _impossible(where: str, key: str, value: Any) -> UsageError:
    return UsageError("rights.bad_value", path=where, key=key, value=value, uses=", ".join(USES))
