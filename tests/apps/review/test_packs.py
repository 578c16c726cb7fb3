"""Packs: every rule has its source, every quotation stands in its clause; what does not is refused with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from malan.apps.review.packs import DECISIONS, SEVERITIES, Folder, Pack, load_pack, pack_names, read_pack
from malan.apps.review.strict_yaml import read_yaml
from malan.core.errors import MalanError, NotFound, UsageError

RULE = """\
pack: mine
version: "1"
title: {zh: 我的, en: Mine}
extends: [tech-qc]
rules:
  - id: MY-01
    title: {zh: 测试, en: Test}
    severity: minor
    decision: machine
    when: qc.duration > 10s
    cites:
      - {text: house-technical, clause: "1", quote: 黑场持续时间不超过限值}
"""


def read(text: str) -> Pack:
    return read_pack(text.encode(), "mine.yaml", Folder())


@pytest.mark.parametrize("name", pack_names())
def test_every_rule_that_comes_with_malan_has_its_source(name: str) -> None:
    pack = load_pack(name)
    for rule in pack.rules:
        assert rule.cites
        assert rule.severity in SEVERITIES
        assert rule.decision in DECISIONS
        for cite in rule.cites:
            assert cite.quote in cite.document.clauses[cite.clause].text
            assert cite.label.startswith(cite.document.clauses[cite.clause].label)


def test_the_pack_of_micro_dramas_is_as_large_as_promised() -> None:
    own = [rule for rule in load_pack("cn-microdrama").rules if rule.pack == "cn-microdrama"]
    assert len(own) >= 35
    assert len({rule.id for rule in own}) == len(own)


def test_content_rules_are_left_to_people() -> None:
    for rule in load_pack("cn-microdrama").rules:
        if rule.id.startswith("CON-"):
            assert rule.decision == "person"


def test_official_wording_is_only_claimed_for_official_texts() -> None:
    for document in load_pack("cn-microdrama").documents.values():
        if document.about["wording"] == "summary":
            assert "非原文" in document.about["scope"] or document.about["standing"] in ("unconfirmed", "house")
            assert document.about["standing"] != "official"


def test_the_item_of_a_clause_is_found_from_its_text() -> None:
    order = load_pack("cn-microdrama").documents["nrta-order-16"]
    assert order.place_of("33", "不得使用其他播出单位的节目编号") == "第三十三条（二）"
    assert order.place_of("34", "在每集明显位置添加提示标识") == "第三十四条"
    assert order.place_of("34", "不得使用其他播出单位的节目编号") is None


def test_rules_hold_from_their_day_to_their_day() -> None:
    pack = load_pack("cn-microdrama")
    assert pack.rule("NUM-01-35").in_force("2026-08-31")
    assert not pack.rule("NUM-01-35").in_force("2026-09-01")
    assert pack.rule("NUM-01").in_force("2026-09-01")
    assert not pack.rule("CLS-03").in_force("2026-06-30")


@pytest.mark.parametrize(
    ("old", "new", "code", "line"),
    [
        ("黑场持续时间不超过限值", "黑场持续时间不超过三秒", "review.rule.misquote", 12),
        ('clause: "1"', 'clause: "99"', "review.rule.misquote", 12),
        ("house-technical", "nrta-order-99", "review.rule.no_text", 12),
        ("qc.duration > 10s", "qc.duration >", "review.rule.expression", 10),
        ("qc.duration > 10s", "qc.duration > 10%", "review.rule.expression", 10),
        ("qc.duration > 10s", "__import__('os')", "review.rule.expression", 10),
        ("when:", "find:", "review.rule.expression", 10),
        ("severity: minor", "severity: awful", "review.rule.value", 8),
        ("decision: machine", "decision: oracle", "review.rule.value", 9),
        ("id: MY-01", "id: my rule", "review.rule.id", 6),
        ("    severity: minor\n", "    severity: minor\n    code: print(1)\n", "review.pack.key", 9),
        ("    severity: minor\n", "    severity: minor\n    from: gestern\n", "review.rule.day", 9),
        ("    severity: minor\n", "    severity: minor\n    severity: major\n", "review.pack.yaml", 9),
        ("{zh: 测试, en: Test}", "&a {zh: 测试, en: Test}", "review.pack.yaml", 7),
        ("{zh: 测试, en: Test}", "!!python/object:os.system {}", "review.pack.yaml", 7),
        ("{zh: 测试, en: Test}", "{zh: 测试}", "review.pack.field", 7),
        ('version: "1"', "version: [", "review.pack.yaml", 4),
        ("extends: [tech-qc]", "extends: [tech-qc]\ntexts:\n  none: '0'", "review.pack.absent", 6),
        ("extends: [tech-qc]", "extends: [tech-qc]\nlexicons:\n  none: '0'", "review.pack.absent", 6),
        ("extends: [tech-qc]", "extends: tech-qc", "review.pack.field", 4),
        ("extends: [tech-qc]", "extends: [mine]", "review.pack.absent", 4),
        ("黑场持续时间不超过限值", "黑场", "review.rule.short_quote", 12),
        ("    severity: minor\n", "    <<: {severity: minor}\n", "review.pack.key", 8),
        ("version:", "a: &a [x]\nb: [*a, *a]\nversion:", "review.pack.yaml", 2),
        ("extends: [tech-qc]", "extends: [none]", "review.pack.absent", 4),
        ("extends: [tech-qc]", "extends: [../../etc/passwd]", "review.pack.absent", 4),
    ],
)
def test_a_pack_with_a_fault_is_refused_with_line_and_reason(old: str, new: str, code: str, line: int | None) -> None:
    assert old in RULE
    with pytest.raises(MalanError) as caught:
        read(RULE.replace(old, new))
    assert caught.value.code == code
    assert caught.value.values.get("line") == line
    assert "?" not in caught.value.message("en")
    assert "?" not in caught.value.message("zh")


def test_a_fault_is_told_in_the_language_of_the_reader() -> None:
    for old, new, zh in (
        ("qc.duration", "qc.durations", "没有这个名称 (qc.durations)"),
        ("{zh: 测试", "&a {zh: 测试", "不允许使用锚点"),
    ):
        with pytest.raises(UsageError) as caught:
            read(RULE.replace(old, new))
        assert zh in caught.value.message("zh")
        assert zh not in caught.value.message("en")


def test_a_file_that_is_no_text_is_refused_and_one_with_a_mark_of_its_encoding_is_read() -> None:
    for data in (RULE.encode("gbk"), b"\x00\x01", RULE.encode("utf-16")):
        with pytest.raises(UsageError) as caught:
            read_pack(data, "mine.yaml", Folder())
        assert caught.value.values["why"] == "encoding"
    assert read_pack(b"\xef\xbb\xbf" + RULE.encode(), "mine.yaml", Folder()).name == "mine"


def test_a_pack_may_only_change_limits_and_bring_no_rule() -> None:
    text = RULE[: RULE.index("rules:")] + "params:\n  QC-01: {limit: 1s}\n"
    assert read(text).rule("QC-01").settings["limit"] == "1s"
    with pytest.raises(UsageError) as caught:
        read(text.replace("extends: [tech-qc]\n", "").partition("params")[0])
    assert caught.value.code == "review.pack.field"


def test_a_rule_that_stands_twice_is_refused() -> None:
    rule = RULE[RULE.index("  - id") :]
    with pytest.raises(UsageError, match="stands twice"):
        read(RULE + rule)


def test_a_changed_text_or_list_is_refused(tmp_path: Path) -> None:
    own = tmp_path / "texts"
    own.mkdir()
    original = Folder().text("house-technical").decode()
    (own / "house-technical.md").write_text(original.replace("不超过限值", "不超过五秒"))
    (tmp_path / "mine.yaml").write_text(RULE)
    with pytest.raises(UsageError) as caught:
        load_pack(str(tmp_path / "mine.yaml"))
    assert caught.value.code in ("review.pack.digest", "review.rule.misquote")


def test_a_pack_changes_limits_of_the_pack_it_extends() -> None:
    pack = read(RULE + "params:\n  QC-01: {limit: 5s}\n")
    assert pack.rule("QC-01").settings["limit"] == "5s"
    assert pack.rule("QC-01").version != load_pack("tech-qc").rule("QC-01").version
    for wrong in ("QC-01: {limit: 5%}", "QC-01: {other: 5s}", "QC-99: {limit: 5s}"):
        with pytest.raises(UsageError) as caught:
            read(RULE + f"params:\n  {wrong}\n")
        assert caught.value.code == "review.pack.override"


def test_a_circle_of_packs_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(RULE.replace("pack: mine", "pack: a").replace("[tech-qc]", "[b, tech-qc]"))
    (tmp_path / "b.yaml").write_text(RULE.replace("pack: mine", "pack: b").replace("[tech-qc]", "[a, tech-qc]"))
    with pytest.raises(UsageError) as caught:
        load_pack(str(tmp_path / "a.yaml"))
    assert caught.value.code == "review.pack.circle"


def test_a_pack_nobody_has_is_named() -> None:
    with pytest.raises(NotFound, match="cn-microdrama"):
        load_pack("cn-opera")


@pytest.mark.parametrize("data", [b"", b"- 1\n", b"\xff\xfe", b"a: " + b"[" * 40, b"a: *b\n", b"x" * 1_100_000])
def test_what_is_no_map_is_refused(data: bytes) -> None:
    with pytest.raises(UsageError):
        read_yaml(data, "x.yaml")


def test_no_rule_rests_on_a_text_of_later() -> None:
    pack = load_pack("cn-microdrama")
    for day in ("2024-12-01", "2026-08-15", "2026-10-01"):
        for rule in pack.rules:
            if rule.in_force(day):
                assert all(cite.document.about["effective"] <= day for cite in rule.cites_on(day))
    old = [cite.document.id for cite in pack.rule("CON-13").cites_on("2026-08-15")]
    assert old == ["cnsa-2021"]
    assert not pack.rule("CPR-01").in_force("2020-01-01")


@pytest.mark.parametrize("name", ["cn-microdrama", "tech-qc"])
def test_what_a_machine_blocks_rests_on_more_than_our_own_notes(name: str) -> None:
    """Notes of ours may find; only an official text, a republished one beside it, or a physical danger blocks."""
    for rule in load_pack(name).rules:
        if (rule.severity, rule.decision) != ("block", "machine") or rule.pack == "tech-qc":
            continue
        assert "official" in {one.document.about["standing"] for one in rule.cites}, rule.id


def test_a_rule_that_never_holds_is_refused() -> None:
    with pytest.raises(UsageError) as caught:
        read(RULE.replace("    when", "    from: 2026-05-01\n    until: 2026-04-30\n    when"))
    assert (caught.value.code, caught.value.values["line"]) == ("review.rule.never", 11)


@pytest.mark.parametrize("template", ["{name}" * 30 + "x", "{name} {digits}号", "{name}一" * 5, "{name}", "{word}号"])
def test_a_format_that_could_be_matched_for_ever_is_refused(template: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(RULE.replace("rules:", f'patterns: {{bad: ["{template}"]}}\nrules:'))
    assert caught.value.code == "review.pack.pattern"
