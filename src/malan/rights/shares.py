"""Dividing money: whole numbers of the smallest unit, shares as fractions, exact sums. Pure; no float anywhere.

    gross ─ fees, each rounded down ─▶ net ─ by weight, largest remainder ─▶ what each right holder gets

A weight is clip-microseconds × tier × share. Start reading at `split`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from hashlib import sha256
from math import lcm
from typing import Any

from malan.core.errors import UsageError
from malan.core.ids import digest_record
from malan.core.numbers import read_whole
from malan.rights.usage import MOST, check_id

FINEST_SHARE = 10_000  # the largest denominator of one holder's share
HIGHEST_TIER = 1_000
MOST_HOLDERS = 1_000
_DIGITS = {  # of the smallest unit, where it is not a hundredth (ISO 4217)
    **dict.fromkeys(("CLP", "ISK", "JPY", "KRW", "PYG", "RWF", "UGX", "VND", "VUV", "XAF", "XOF", "XPF"), 0),
    **dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3),
}


@dataclass(frozen=True, slots=True)
class Holder:
    """One right holder of an asset: the share of it, and how many times a second of it counts.

    Raises:
        UsageError: A share that is no `Fraction` above zero and up to one, or a tier that is no whole number.
    """

    party_id: str
    share: Fraction = Fraction(1)
    tier: int = 1

    def __post_init__(self) -> None:
        check_id("party", self.party_id)
        share = self.share
        if not isinstance(share, Fraction) or not 0 < share <= 1 or share.denominator > FINEST_SHARE:
            raise UsageError("shares.bad_share", party=self.party_id[:12], share=str(share)[:40], finest=FINEST_SHARE)
        if not _is_whole(self.tier) or not 0 < self.tier <= HIGHEST_TIER:
            raise UsageError("shares.bad_tier", party=self.party_id[:12], tier=str(self.tier)[:40], most=HIGHEST_TIER)


@dataclass(frozen=True, slots=True)
class Fee:
    """A part of the gross that goes elsewhere before the owners: platform, annotators, tax.

    Raises:
        UsageError: A rate that is no `Fraction` from zero to one.
    """

    name: str
    rate: Fraction

    def __post_init__(self) -> None:
        check_id("fee", self.name)
        if not isinstance(self.rate, Fraction) or not 0 <= self.rate <= 1 or self.rate.denominator > FINEST_SHARE:
            raise UsageError("shares.bad_rate", name=self.name, rate=str(self.rate)[:40])


def check_holders(holders: Iterable[Holder]) -> tuple[Holder, ...]:
    """The holders of one asset in the order of their ids.

    Raises:
        UsageError: Nobody, somebody twice, or shares that do not add to exactly one.
    """
    listed = tuple(sorted(holders, key=lambda one: one.party_id))
    if not 0 < len(listed) <= MOST_HOLDERS:
        raise UsageError("shares.how_many", found=len(listed), most=MOST_HOLDERS)
    if len({one.party_id for one in listed}) != len(listed):
        raise UsageError("shares.twice")
    total = sum((one.share for one in listed), Fraction())
    if total != 1:
        raise UsageError("shares.over" if total > 1 else "shares.under", total=str(total))
    return listed


def holders_digest(holders: Sequence[Holder]) -> str:
    """The name of a division: the same holders with the same shares and tiers have the same one."""
    return digest_record("holders", holders_json(holders))


def holders_json(holders: Sequence[Holder]) -> list[list[Any]]:
    return [[one.party_id, fraction_text(one.share), one.tier] for one in check_holders(holders)]


def take_fees(gross_minor: int, fees: Sequence[Fee]) -> tuple[dict[str, int], int]:
    """What each fee takes, rounded down in the owners' favour, and the net that is left.

    Raises:
        UsageError: An impossible amount, a fee twice, or fees above the whole.
    """
    check_money(gross_minor)
    if len({fee.name for fee in fees}) != len(fees) or sum(fee.rate for fee in fees) > 1:
        raise UsageError("shares.bad_fees")
    taken = {fee.name: gross_minor * fee.rate.numerator // fee.rate.denominator for fee in fees}
    return taken, gross_minor - sum(taken.values())


def split(amount_minor: int, weights: Mapping[str, Fraction | int], *, salt: str = "") -> dict[str, int]:
    """Divide an amount by weight: whole units, adding up exactly (largest remainder, Hare quota).

    Everybody gets the exact share rounded down; the units left over go to the largest remainders, one each. Of equal
    remainders the smaller SHA-256 of salt and id comes first: fixed, and nobody's name is an advantage for ever. More
    weight never gets less. Order does not matter.

    Args:
        amount_minor: What is divided, 0 or above.
        weights: Party → weight, each above zero.
        salt: What is divided; decides between equal remainders only.

    Raises:
        UsageError: Nobody to divide among, a weight that is not above zero or not exact, an impossible amount.
    """
    if not (_is_whole(amount_minor) and amount_minor == 0):
        check_money(amount_minor)
    if not weights:
        raise UsageError("shares.nobody")
    whole = _whole_weights(weights)
    total = sum(whole.values())
    shares, remainders = {}, {}
    for party, weight in whole.items():
        shares[party], remainders[party] = divmod(amount_minor * weight, total)
    for party in _largest(remainders, amount_minor - sum(shares.values()), salt):
        shares[party] += 1
    return shares


def weigh(used: Mapping[str, int], sets: Mapping[str, Sequence[Holder]]) -> dict[str, Fraction | int]:
    """The weight of each party: the sum of clip-microseconds × tier × share.

    Args:
        used: Clip-microseconds of each division of holders, by its digest.
        sets: The holders of each division.
    """
    weights: dict[str, Fraction | int] = {}
    for holders_id, amount in used.items():
        for one in sets[holders_id]:
            whole, parts = amount * one.tier * one.share.numerator, one.share.denominator
            more = whole if parts == 1 else Fraction(whole, parts)  # a million additions: whole numbers stay whole
            weights[one.party_id] = weights.get(one.party_id, 0) + more
    return weights


def check_money(value: Any, most: int = MOST) -> None:
    """Raises:
    UsageError: Not a whole number of the smallest unit above zero; a float is refused, never rounded.
    """
    if not _is_whole(value) or not 0 < value <= most:
        raise UsageError("shares.bad_money", value=str(value)[:40], most=most)


def check_currency(value: Any) -> None:
    """Raises:
    UsageError: Not three capital letters (ISO 4217).
    """
    if not (isinstance(value, str) and len(value) == 3 and value.isascii() and value.isalpha() and value.isupper()):
        raise UsageError("shares.bad_currency", value=str(value)[:20])


def shown_money(amount_minor: int, currency: str) -> str:
    """An amount for people, exact: `28.05 CNY`, `300 JPY`."""
    digits = digits_of(currency)
    sign, (whole, rest) = "-" if amount_minor < 0 else "", divmod(abs(amount_minor), 10**digits)
    return f"{sign}{whole}.{rest:0{digits}} {currency}" if digits else f"{sign}{whole} {currency}"


def read_money(text: str, currency: str) -> int:
    """An amount as people write it (`28.05`, `300`) in the smallest unit of its currency.

    Raises:
        UsageError: It is no amount, or has more decimal places than the currency.
    """
    digits = digits_of(currency)
    whole, point, part = text.strip().partition(".")
    units, rest = read_whole(whole, 10), read_whole(part, digits) if point else 0
    if units is None or rest is None:
        raise UsageError("shares.bad_amount", text=text[:40], currency=currency, digits=digits)
    return units * int(10**digits) + rest * int(10 ** (digits - len(part.strip())))


def fraction_text(value: Fraction | int) -> str:
    """A fraction as it is signed: `25/2`, also `3/1`."""
    return f"{value.numerator}/{value.denominator}"


def read_fraction(text: Any) -> Fraction:
    """A fraction from `25/2` or `3`, in lowest terms or not; nothing else is understood: no point, sign or exponent.

    Raises:
        UsageError: It is not one.
    """
    over, _, under = text.partition("/") if isinstance(text, str) else ("", "", "")
    under = under or "1"
    if not (over.isascii() and under.isascii() and over.isdigit() and under.isdigit() and len(text) < 10_000):
        raise UsageError("shares.bad_fraction", value=str(text)[:40])
    if int(under) == 0:
        raise UsageError("shares.bad_fraction", value=text[:40])
    return Fraction(int(over), int(under))


def _whole_weights(weights: Mapping[str, Fraction | int]) -> dict[str, int]:
    """The same proportions in whole numbers."""
    for party, weight in weights.items():
        if not (_is_whole(weight) or isinstance(weight, Fraction)) or weight <= 0:
            raise UsageError("shares.bad_weight", party=party[:12], weight=str(weight)[:40])
    common = lcm(*{weight.denominator for weight in weights.values()})
    return {party: weight.numerator * (common // weight.denominator) for party, weight in weights.items()}


def _largest(remainders: Mapping[str, int], count: int, salt: str) -> list[str]:
    """The parties with the largest remainders; among those that are equal at the edge, the lot decides."""
    if not count:
        return []
    edge = sorted(remainders.values(), reverse=True)[count - 1]
    above = [party for party, remainder in remainders.items() if remainder > edge]
    equal = [party for party, remainder in remainders.items() if remainder == edge]
    return above + sorted(equal, key=lambda party: _lot(salt, party))[: count - len(above)]


def _lot(salt: str, party: str) -> bytes:
    return sha256(f"{salt}\n{party}".encode()).digest()


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def digits_of(currency: str) -> int:
    """Decimal places of the smallest unit (ISO 4217)."""
    return _DIGITS.get(currency, 2)
