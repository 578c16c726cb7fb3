"""The 27 characters that name who offers a generative service, and what can be checked of them without asking anyone.

    00 · type · binding · 18 characters of identity · service · 4 characters of the provider's own

With type 1 and binding 1 the identity is a unified social credit code, whose last character checks the others
(GB 32100-2015, §4). Whether the code was ever given to anybody cannot be seen from it. Start at `provider_trouble`.
"""

from __future__ import annotations

import re

_CODE = re.compile(r"00[0-9][0-9][0-9A-Z]{18}[0-9][0-9A-Z]{4}")
_DIGITS = "0123456789ABCDEFGHJKLMNPQRTUWXY"  # no I, O, S, V, Z
_WORDS = ("PLACEHOLDER", "EXAMPLE", "CHANGEME", "CHANGE-ME", "YOURCODE", "YOUR-CODE", "YOUR_CODE", "TODO", "DUMMY")


def provider_trouble(code: str) -> str | None:
    """The message code of what is wrong with a provider code; None when nothing is to be seen."""
    if not _CODE.fullmatch(code):
        return "label.provider_form"
    if code[2] == "1" and code[3] == "1" and not is_credit_code(code[4:22]):
        return "label.provider_check"
    if code[22] not in "12":
        return "label.provider_service"
    return None


def is_credit_code(code: str) -> bool:
    """Whether 18 characters are a unified social credit code by their check character."""
    if len(code) != 18 or any(character not in _DIGITS for character in code):
        return False
    total = sum(_DIGITS.index(character) * pow(3, place, 31) for place, character in enumerate(code[:17]))
    return _DIGITS[(31 - total % 31) % 31] == code[17]


def is_placeholder(code: str) -> bool:
    """Whether it stands for a code that somebody still has to fill in."""
    upper = code.upper()
    if upper in ("TEST", "NONE", "NULL", "UNKNOWN", "XXX", "N/A"):
        return True
    identity = upper[4:22] if _CODE.fullmatch(upper) else upper
    is_repeated = len(identity) >= 6 and len(set(identity)) == 1
    return is_repeated or any(word in upper for word in _WORDS)
