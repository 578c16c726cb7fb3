"""Documents cannot fall behind: both READMEs run the same commands, and the reference is what the code says."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CODE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
COMMENT = re.compile(r"[ \t]+#[ \t].*$", re.MULTILINE)


def test_both_readmes_hold_the_same_code() -> None:
    english, chinese = (CODE.findall((ROOT / name).read_text("utf-8")) for name in ("README.md", "README.zh-CN.md"))
    commands = [[text for kind, text in blocks if kind != "text"] for blocks in (english, chinese)]
    assert commands[0] == commands[1]


def code_of(guide: Path) -> list[tuple[str, str]]:
    """Blocks of code by language, without comments: those are in the language of the guide."""
    return [(kind, COMMENT.sub("", code)) for kind, code in CODE.findall(guide.read_text("utf-8"))]


def test_guides_in_two_languages_hold_the_same_code() -> None:
    for chinese in (ROOT / "docs" / "guides").glob("*.zh-CN.md"):
        english = chinese.with_name(chinese.name.replace(".zh-CN", ""))
        assert code_of(english) == code_of(chinese), chinese.name


def test_every_guide_is_there_in_both_languages() -> None:
    names = {path.name for path in (ROOT / "docs" / "guides").glob("*.md")}
    english = {name for name in names if not name.endswith(".zh-CN.md")}
    assert names == english | {name.replace(".md", ".zh-CN.md") for name in english}


def test_the_reference_is_what_the_code_says() -> None:
    code = (
        "import sys; sys.path.insert(0, 'tools'); import reference, pathlib\n"
        "for name, text in reference.pages().items():\n"
        "    assert pathlib.Path(f'docs/reference/{name}.md').read_text('utf-8') == text, name"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, f"run: make reference\n{result.stderr[-600:]}"


def test_links_in_documents_lead_somewhere() -> None:
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#\s]+)", page.read_text("utf-8")):
            assert "://" in target or (page.parent / target).exists(), f"{page.relative_to(ROOT)}: {target}"
