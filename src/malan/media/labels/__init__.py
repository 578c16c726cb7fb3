"""The implicit AIGC label of GB 45438-2025 in fourteen kinds of file: write, read back, verify.

    Label ─ write_label ─▶ a copy with exactly one label, read back by a foreign parser
    file  ─ verify ─▶ Verdict: compliant, noncompliant, not_found, inconclusive

Start at `write_label` and `verify`; a kind of file is a module beside, listed in `carriers`.
"""

from malan.media.labels.carriers import CARRIERS
from malan.media.labels.payload import KEYS, Label, Reason, parse, strongest
from malan.media.labels.verify import Seen, Verdict, glance, judge, label_of, look_through, verify
from malan.media.labels.write import Written, label_in_place, plan_label, text_in_place, write_label, write_text

__all__ = [
    "CARRIERS",
    "KEYS",
    "Label",
    "Reason",
    "Seen",
    "Verdict",
    "Written",
    "glance",
    "judge",
    "label_in_place",
    "label_of",
    "look_through",
    "parse",
    "plan_label",
    "strongest",
    "text_in_place",
    "verify",
    "write_label",
    "write_text",
]
