"""Every claim on the page about recipes has a test of that name."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def test_each_claim_of_the_design_page_has_its_test() -> None:
    page = (ROOT / "docs" / "design" / "recipes.md").read_text("utf-8")
    claimed = set(re.findall(r"`(test_\w+)`", page))
    files = [
        *(ROOT / "tests" / "training" / "algorithms").glob("*.py"),
        ROOT / "tests" / "training" / "test_privacy.py",
    ]
    there = {name for file in files for name in re.findall(r"^def (test_\w+)", file.read_text("utf-8"), re.MULTILINE)}
    assert len(claimed) > 8
    assert claimed <= there, sorted(claimed - there)
