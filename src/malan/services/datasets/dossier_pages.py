"""The pages of a dossier that people read and print: one content, in English and Chinese, as Markdown and as HTML.

Holds no fact of its own. Start at `pages`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from malan.core import Snapshot
from malan.core.catalogue import LANGUAGES, entry

_SUFFIX = {"en": "", "zh": ".zh-CN"}
_STYLE = """\
body{font:11pt/1.5 "Noto Serif CJK SC","Source Han Serif SC","Songti SC",Georgia,serif;color:#1a1a1a;max-width:46rem;
margin:2rem auto;padding:0 1rem}h1{font-size:1.7rem;margin:0 0 .3rem}h2{font-size:1.1rem;margin:1.8rem 0 .4rem;
border-bottom:1px solid #bbb}table{border-collapse:collapse;width:100%}th,td{text-align:left;vertical-align:top;
padding:.25rem .6rem .25rem 0;border-bottom:1px solid #e4e4e4;overflow-wrap:anywhere}th{font-weight:600}
@page{size:A4;margin:20mm}@media print{body{margin:0;max-width:none}h2{break-after:avoid}tr{break-inside:avoid}}"""


@dataclass(frozen=True)
class Section:
    """A heading, a sentence, a table."""

    title: str
    text: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def pages(snapshot: Snapshot, frozen_at: str, said: Mapping[str, Any]) -> dict[str, str]:
    """Every page by its file name."""
    made = {}
    for lang in LANGUAGES:
        title = _say(lang, "dossier.page.title", name=snapshot.name)
        lead = _say(lang, "dossier.page.lead", root=snapshot.id, day=frozen_at[:10])
        sections = _sections(lang, snapshot, said)
        made[f"README{_SUFFIX[lang]}.md"] = _markdown(title, lead, sections)
        made[f"README{_SUFFIX[lang]}.html"] = _html(lang, title, lead, sections)
    return made


def _sections(lang: str, snapshot: Snapshot, said: Mapping[str, Any]) -> list[Section]:
    return [
        _contents(lang),
        _figures(lang, said["quality"]),
        _owners(lang, said["owners"]),
        _sources(lang, said["sources"]),
        _rules(lang, snapshot, said["processing"]),
        _measures(lang, said["quality"]),
        _fields(lang, said["provenance"]["fields"]),
        Section(_say(lang, "dossier.page.check"), _say(lang, "dossier.page.check_text"), (), ()),
    ]


def _contents(lang: str) -> Section:
    """Which file answers which demand of a registry or an exchange."""
    demands = ("source", "rules", "samples", "manifest", "owners", "quality", "terms", "provenance", "time")
    rows = tuple((_say(lang, f"dossier.demand.{one}"), entry(f"dossier.answer.{one}").text(lang)) for one in demands)
    columns = (_say(lang, "dossier.page.demand"), _say(lang, "dossier.page.answer"))
    return Section(_say(lang, "dossier.page.contents"), "", columns, rows)


def _figures(lang: str, quality: Mapping[str, Any]) -> Section:
    names = ("hours", "clips", "shots", "assets", "near_duplicates", "damaged_assets")
    rows = [(_say(lang, f"dossier.figure.{name}"), str(quality[name])) for name in names]
    sizes = ", ".join(f"{size} ({clips})" for size, clips in quality["resolutions"].items())
    rows.append((_say(lang, "dossier.figure.resolutions"), sizes))
    rows.append((_say(lang, "dossier.figure.languages"), ", ".join(quality["languages"]) or "–"))
    return Section(_say(lang, "dossier.page.figures"), "", ("", ""), tuple(rows))


def _owners(lang: str, owners: Sequence[Mapping[str, Any]]) -> Section:
    columns = tuple(_say(lang, f"dossier.column.{one}") for one in ("owner", "files", "seconds", "share", "key"))
    rows = tuple((one["name"], str(one["assets"]), one["seconds"], one["share"], one["key"]) for one in owners)
    return Section(_say(lang, "dossier.demand.owners"), _say(lang, "dossier.page.owners_text"), columns, rows)


def _sources(lang: str, sources: Sequence[Mapping[str, Any]]) -> Section:
    columns = tuple(_say(lang, f"dossier.column.{one}") for one in ("file", "seconds", "registered", "event"))
    most = 200
    rows = [(one["asset"], one["seconds"], one["registered"], str(one["event"])) for one in sources[:most]]
    if len(sources) > most:
        rows.append(("…", "", "", f"+{len(sources) - most}: sources.json"))
    return Section(_say(lang, "dossier.demand.source"), _say(lang, "dossier.page.source_text"), columns, tuple(rows))


def _rules(lang: str, snapshot: Snapshot, rules: Mapping[str, Any]) -> Section:
    rows = [(name, ", ".join(versions)) for name, versions in rules["operators"].items()]
    choice = ", ".join(f"{name}={value}" for name, value in rules["choice"].items()) or "–"
    split = ", ".join(f"{name} {share}" for name, share in rules["split"].items())
    rows += [
        (_say(lang, "dossier.rule.choice"), choice),
        (_say(lang, "dossier.rule.rights"), rules["rights_asked"]),
        (_say(lang, "dossier.rule.split"), f"{split}; seed {snapshot.split_seed}"),
    ]
    columns = (_say(lang, "dossier.column.operator"), _say(lang, "dossier.column.version"))
    return Section(_say(lang, "dossier.demand.rules"), _say(lang, "dossier.page.rules_text"), columns, tuple(rows))


def _measures(lang: str, quality: Mapping[str, Any]) -> Section:
    columns = tuple(_say(lang, f"dossier.column.{one}") for one in ("measure", "clips", "least", "median", "most"))
    rows = tuple(
        (name, str(one["clips"]), f"{one['least']:.4g}", f"{one['median']:.4g}", f"{one['most']:.4g}")
        for name, one in quality["measures"].items()
    )
    return Section(_say(lang, "dossier.demand.quality"), "", columns, rows)


def _fields(lang: str, fields: Sequence[Mapping[str, Any]]) -> Section:
    columns = tuple(_say(lang, f"dossier.column.{one}") for one in ("field", "value"))
    unsaid = _say(lang, "dossier.page.open")
    rows = tuple((one["field"], unsaid if one["status"] == "open" else _shown(one["value"])) for one in fields)
    return Section(_say(lang, "dossier.demand.provenance"), _say(lang, "dossier.page.fields_text"), columns, rows)


def _shown(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _markdown(title: str, lead: str, sections: Sequence[Section]) -> str:
    lines = [f"# {_cell(title)}", "", lead, ""]
    for section in sections:
        lines += [f"## {section.title}", ""]
        if section.text:
            lines += [section.text, ""]
        if section.rows:
            lines += [f"| {' | '.join(section.columns)} |", f"|{'---|' * len(section.columns)}"]
            lines += [f"| {' | '.join(map(_cell, row))} |" for row in section.rows]
            lines.append("")
    return "\n".join(lines)


def _html(lang: str, title: str, lead: str, sections: Sequence[Section]) -> str:
    parts = [f"<h1>{escape(title)}</h1>", f"<p>{escape(lead)}</p>"]
    for section in sections:
        parts.append(f"<h2>{escape(section.title)}</h2>")
        if section.text:
            parts.append(f"<p>{escape(section.text)}</p>")
        if section.rows:
            head = "".join(f"<th>{escape(one)}</th>" for one in section.columns)
            body = "".join(f"<tr>{''.join(f'<td>{escape(one)}</td>' for one in row)}</tr>" for row in section.rows)
            parts.append(f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>")
    language = {"en": "en", "zh": "zh-CN"}[lang]
    head = f'<meta charset="utf-8"><title>{escape(title)}</title><style>{_STYLE}</style>'
    return f'<!doctype html><html lang="{language}"><head>{head}</head><body>{"".join(parts)}</body></html>\n'


def _cell(text: str) -> str:
    """Text that cannot end its cell or begin markup."""
    return " ".join(text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("[", "\\[").split())


def _say(lang: str, code: str, **values: Any) -> str:
    return entry(code).text(lang, values)
