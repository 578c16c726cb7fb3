"""Every claim on the design page has a test of that name."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def test_each_claim_of_the_design_page_has_its_test() -> None:
    page = (ROOT / "docs" / "design" / "gate.md").read_text("utf-8")
    claimed = set(re.findall(r"`(test_\w+)`", page))
    tests = ROOT / "tests"
    files = [*(tests / "training" / "gate").glob("*.py"), *(tests / "training" / "running").glob("*.py")]
    files += [tests / "inference" / "test_tensors.py", tests / "services" / "runs" / "test_run_memory.py"]
    there = {name for file in files for name in re.findall(r"^def (test_\w+)", file.read_text("utf-8"), re.MULTILINE)}
    assert len(claimed) > 30
    assert claimed <= there, sorted(claimed - there)
