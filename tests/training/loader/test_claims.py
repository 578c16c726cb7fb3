"""Every claim on the design page has a test of that name."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def test_each_claim_of_the_design_page_has_its_test() -> None:
    claimed = set(re.findall(r"`(test_\w+)`", (ROOT / "docs" / "design" / "loader.md").read_text("utf-8")))
    places = [ROOT / "tests" / "training" / name for name in ("loader", "running")]
    files = [
        *(file for place in places for file in place.glob("test_*.py")),
        ROOT / "tests/services/datasets/test_loading.py",
    ]
    there = {name for file in files for name in re.findall(r"^def (test_\w+)", file.read_text("utf-8"), re.MULTILINE)}
    assert len(claimed) > 20
    assert claimed <= there, sorted(claimed - there)
