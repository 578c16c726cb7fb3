"""`algorithm.toml` is read strictly: what is not understood is a problem with a line, never ignored."""

from __future__ import annotations

from typing import Any

import pytest
from algorithm_factory import FILES, manifest
from hypothesis import given, settings
from hypothesis import strategies as st

from malan.core.errors import UsageError
from malan.training.package import (
    ask_for_data,
    check_files,
    compare_packages,
    declare_outputs,
    find_hints,
    missing_packages,
    package_of,
    parameter_schema,
    read_settings,
    settle_parameters,
)
from malan.training.package.environment import Environment
from malan.training.package.expressions import whole_number
from malan.training.package.lines import unified_lines
from malan.training.package.parameters import Parameter, is_safe_pattern

PACKAGE = package_of(FILES)


def problems(text: str, **more: bytes) -> list[str]:
    """The codes of all that is wrong with a manifest."""
    files = (
        FILES | {"algorithm.toml": text.encode()} | {name.replace("_py", ".py"): data for name, data in more.items()}
    )
    return [problem.code for problem in check_files(files).problems]


def edited(*changes: tuple[str, str]) -> str:
    text = manifest()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    return text


WRONG: dict[str, tuple[tuple[str, str], str]] = {
    "no TOML": (("[data]", "[data"), "algorithm.syntax"),
    "a key twice": (("min_clips = 10", "min_clips = 10\nmin_clips = 11"), "algorithm.syntax"),
    "unknown key": (("min_clips = 10", "min_clip = 10"), "algorithm.unknown_key"),
    "unknown table": (("[smoke]", "[smokes]"), "algorithm.unknown_key"),
    "version": (('version = "1.0.0"', 'version = "1.0"'), "algorithm.bad_value"),
    "name": (('name = "lines"', 'name = "../lines"'), "algorithm.bad_value"),
    "one language": (('title = {en = "Lines", zh = "直线"}', 'title = {en = "Lines"}'), "algorithm.missing_key"),
    "control letters": (('publisher = "Example Lab"', 'publisher = "Ex\\u001bample"'), "algorithm.bad_value"),
    "use": (('use = "train"', 'use = "publish"'), "algorithm.bad_choice"),
    "deliver": (('["descriptor", "labels"]', '["descriptor", "labels", "files"]'), "algorithm.bad_choice"),
    "labels without": (('["descriptor", "labels"]', '["descriptor"]'), "algorithm.goes_together"),
    "labels of nobody": (('labels = "$label_set"', 'labels = "$label"'), "algorithm.labels_name"),
    "type": (('type = "float"', 'type = "complex"'), "algorithm.bad_choice"),
    "default too large": (("default = 0.1", "default = 99.0"), "algorithm.bad_value"),
    "default of another type": (("default = 1\n", 'default = "1"\n'), "algorithm.bad_value"),
    "bool for int": (("default = 1\n", "default = true\n"), "algorithm.bad_value"),
    "infinite": (("max = 10.0", "max = inf"), "algorithm.bad_value"),
    "huge": (("max = 512", f"max = {10**400}"), "algorithm.bad_value"),
    "choices misplaced": (("max = 512", 'choices = ["a"]'), "algorithm.misplaced"),
    "a choice of none": (('choices = ["plain", "momentum"]', ""), "algorithm.misplaced"),
    "slow pattern": (('pattern = "[a-z0-9.-]*"', 'pattern = "(a+)+"'), "algorithm.bad_pattern"),
    "like a fact": (("[parameters.hidden]", "[parameters.classes]"), "algorithm.named_like_fact"),
    "no module": (('train = "algorithm:train"', 'train = "other:train"'), "algorithm.no_module"),
    "no function": (('train = "algorithm:train"', 'train = "algorithm:learn"'), "algorithm.no_function"),
    "code in entry": (('train = "algorithm:train"', 'train = "algorithm:train();x"'), "algorithm.bad_value"),
    "no output": (('type = "weights"', 'type = "pickle"'), "algorithm.bad_choice"),
    "tensor type": (('bias = ["F32"', 'bias = ["OBJ"'), "algorithm.bad_tensor"),
    "tensor name": (('bias = ["F32"', '"../bias" = ["F32"'), "algorithm.bad_tensor"),
    "unknown name in a size": (('["$classes"]', '["$owners * $x"]'), "algorithm.no_such_name"),
    "text in a size": (('["$classes"]', '["$solver"]'), "algorithm.no_such_name"),
    "expression": (('["$classes"]', '["$classes **  2"]'), "algorithm.bad_expression"),
    "code in a size": (('["$classes"]', '["$classes.__class__"]'), "algorithm.bad_expression"),
    "too many bytes": (('["$classes"]', '["$classes * 2000000000"]'), "gate.bad_declaration"),
    "metric range": (("low = 0\nhigh = 1", "low = 1\nhigh = 1"), "algorithm.bad_value"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_told(case: str) -> None:
    change, code = WRONG[case]
    assert code in problems(edited(change))


@pytest.mark.parametrize(
    ("table", "code"),
    [
        ('[environment]\npackages = ["requests"]\n', "algorithm.bad_choice"),
        ('[environment]\nlock = {torch = "2.x"}\n', "algorithm.bad_choice"),
        ('[environment]\npython = ">=3.11; import os"\n', "algorithm.bad_value"),
        ("[resources]\nmemory_mb = 0\n", "algorithm.bad_value"),
        ('[resources]\naccelerator = "cuda"\n', "algorithm.bad_choice"),
        ('[privacy]\nmethod = "trust me"\n', "algorithm.bad_choice"),
        ("[outputs.extra]\ntype = 1\n", "algorithm.too_many"),
        ('[base]\nfamilies = "wan"\n', "algorithm.wrong_type"),
        ('[base]\nfamilies = ["wan", "wan"]\n', "algorithm.bad_value"),
        ("smuggled = 1\n", "algorithm.unknown_key"),
    ],
)
def test_further_tables_are_read_as_strictly(table: str, code: str) -> None:
    text = table + manifest() if table.startswith("smuggled") else manifest() + table
    assert code in problems(text)


def test_python_that_does_not_parse_is_a_problem_not_a_crash() -> None:
    for source in (b"def train(:", b"\0", b"(" * 5000, b"\xff\xfe", b"x = " + b"-" * 20_000 + b"1"):
        assert problems(manifest(), algorithm_py=source)[0] == "algorithm.no_function"


def test_a_function_may_come_from_another_file() -> None:
    files = FILES | {"algorithm.py": b"from work import train, evaluate\n", "work.py": b"def train(): ...\n"}
    assert check_files(files).package is not None


@given(st.binary(max_size=400))
def test_no_bytes_crash_the_reader(data: bytes) -> None:
    assert check_files(FILES | {"algorithm.toml": data}).package is None


@settings(max_examples=60)
@given(st.integers(0, len(manifest())), st.integers(0, 30), st.text(max_size=12))
def test_no_edit_crashes_the_reader(start: int, gone: int, put: str) -> None:
    text = manifest()
    report = check_files(
        FILES | {"algorithm.toml": (text[:start] + put + text[start + gone :]).encode("utf-8", "replace")}
    )
    assert (report.package is None) == bool(report.problems)
    assert all(problem.message("zh") and problem.message("en") for problem in report.problems)


# --- parameters


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("hidden", 1.0),
        ("hidden", True),
        ("hidden", -1),
        ("hidden", 513),
        ("hidden", "3"),
        ("rate", float("nan")),
        ("rate", float("inf")),
        ("rate", 10.1),
        ("rate", None),
        ("rate", [0.1]),
        ("solver", "adam"),
        ("label_set", "a b"),
        ("label_set", "x" * 201),
        ("label_set", "a\n"),
        ("nothing", 1),
    ],
)
def test_values_that_do_not_fit_are_refused(name: str, value: Any) -> None:
    with pytest.raises(UsageError):
        settle_parameters(PACKAGE.parameters, {name: value})


def test_defaults_stand_in_for_what_is_not_given() -> None:
    settled = settle_parameters(PACKAGE.parameters, {"rate": 1})
    assert settled == {"label_set": "", "hidden": 1, "rate": 1.0, "solver": "plain"}
    assert type(settled["rate"]) is float


def test_what_a_person_types_becomes_typed() -> None:
    found = read_settings(PACKAGE.parameters, ["hidden=4", "rate=1e-3", "solver=momentum", "hidden=5"])
    assert found == {"hidden": 5, "rate": 0.001, "solver": "momentum"}
    for text in ("hidden", "hidden=", "hidden=four", f"hidden={'9' * 5000}", "rate=nan", "hiden=1"):
        with pytest.raises(UsageError):
            read_settings(PACKAGE.parameters, [text])


def test_forms_can_be_made_from_parameters() -> None:
    schema = parameter_schema(PACKAGE.parameters, "zh")
    assert schema["properties"]["rate"] == {
        "type": "number",
        "title": "学习率",
        "default": 0.1,
        "minimum": 0.0,
        "maximum": 10.0,
    }
    assert schema["properties"]["solver"]["enum"] == ["plain", "momentum"]
    assert schema["additionalProperties"] is False


@pytest.mark.parametrize("pattern", ["[a-z]+", "[a-z0-9.-]*", r"[\w.-]{1,40}", r"v\d+\.\d+", "[^ ]*x", ".*", "a{2,5}"])
def test_plain_patterns_are_taken(pattern: str) -> None:
    assert is_safe_pattern(pattern)


@pytest.mark.parametrize("pattern", ["(a+)+", "a|b", "a*a*a*b", r"(?=x)", r"\1", "[a-", "a{2,1}", "[z-a]", "x" * 101])
def test_patterns_that_could_be_slow_or_mean_nothing_are_not(pattern: str) -> None:
    assert not is_safe_pattern(pattern)


@given(st.from_regex(r"(\[[ab]\]|a|b|\\w)([*+?]|\{1,9\})?(\[[ab]\]|a|\\w)([*+?])?b?", fullmatch=True))
def test_whatever_pattern_is_taken_comes_to_an_end_on_the_longest_text(pattern: str) -> None:
    if not is_safe_pattern(pattern):
        return
    one = Parameter("x", "text", "", {"en": "x", "zh": "x"}, {}, pattern=pattern)
    for text in ("a" * 199 + "!", "ab" * 100):
        try:
            one.check(text)
        except UsageError:
            continue


# --- sizes


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("$a", 5),
        ("$a * 2 + 1", 11),
        ("2 + 3 * $a", 17),
        ("(2 + 3) * $a", 25),
        ("$a // 2 - 1", 1),
        ("$a % 3", 2),
        ("min($a, 3) + max(1, 2, $a)", 8),
        ("10 - 2 - 3 + $a", 10),
        (7, 7),
    ],
)
def test_sizes_are_small_sums(text: Any, found: int) -> None:
    assert whole_number(text, {"a": 5}, "x") == found


@pytest.mark.parametrize(
    "text",
    ["", "$", "$b", "$a +", "$a 2", "(($a)", "$a)", "$a // 0", "$a ** 2", "1.5", "$a; 1", "a", "max()", "min($a"],
)
def test_what_is_no_sum_is_no_size(text: str) -> None:
    with pytest.raises(UsageError):
        whole_number(text, {"a": 5, "f": 1.5, "t": "x"}, "x")


@pytest.mark.parametrize(
    "text",
    ["$a" * 61, 1.0, "__import__('os')", "$f", "$t", f"{10**15} * {10**15}", "(" * 30 + "$a" + ")" * 30, None, [1]],
)
def test_anything_else_is_no_size(text: Any) -> None:
    with pytest.raises(UsageError):
        whole_number(text, {"a": 5, "f": 1.5, "t": "x"}, "x")


@given(st.text("$ab0123456789+-*/%(), minax", max_size=60))
def test_no_text_crashes_the_sums(text: str) -> None:
    try:
        assert type(whole_number(text, {"a": 5, "b": 2}, "x")) is int
    except UsageError:
        return


@given(st.integers(-999, 999), st.integers(-999, 999), st.integers(1, 99), st.sampled_from(["+", "-", "*", "//", "%"]))
def test_sums_agree_with_python(a: int, b: int, c: int, sign: str) -> None:
    names = {"a": a, "b": b, "c": c}
    assert whole_number(f"$a {sign} $c + $b", names, "x") == eval(f"a {sign} c + b", names)
    assert whole_number(f"$b * ($a {sign} $c)", names, "x") == eval(f"b * (a {sign} c)", names)


# --- data and outputs


def test_a_label_set_must_be_named() -> None:
    with pytest.raises(UsageError, match="label_set"):
        ask_for_data(PACKAGE, {})
    assert ask_for_data(PACKAGE, {"label_set": "mood"}).min_clips == 10


def test_windows_may_depend_on_parameters_within_bounds() -> None:
    window = 'deliver = ["descriptor", "labels", "frames"]\nwindow = {frames = "$hidden * 4 + 1", size_px = 64}'
    package = package_of(FILES | {"algorithm.toml": edited(('deliver = ["descriptor", "labels"]', window)).encode()})
    asked = ask_for_data(package, {"label_set": "x", "hidden": 4}).window
    assert asked is not None
    assert (asked.frames, asked.size_px, asked.every) == (17, 64, 1)
    with pytest.raises(UsageError):
        ask_for_data(package, {"label_set": "x", "hidden": 300})


def test_a_fact_that_is_missing_is_named() -> None:
    with pytest.raises(UsageError, match="classes"):
        declare_outputs(PACKAGE, {}, {"descriptor": 4})


LORA = """
[outputs.model]
type = "lora"
rank = "$rank"
modules = "$base_modules"
targets = ["to_q", "mid.to_v"]

[parameters.rank]
type = "int"
default = 4
min = 1
max = 64
"""


def test_adapters_are_declared_for_the_modules_that_are_meant() -> None:
    head, _, tail = manifest().partition("[outputs.model]")
    files = FILES | {"algorithm.toml": (head + "[metrics" + tail.partition("[metrics")[2] + LORA).encode()}
    package = package_of(files)
    modules = {"up.to_q": [8, 8], "mid.to_v": [8, 16], "low.mid.to_v": [4, 4], "x.to_v": [8, 8], "not_to_q": [8, 8]}
    declared = declare_outputs(package, {"rank": 2}, {"base_modules": modules})["model"]
    names = {name.rpartition(".lora_")[0] for name in declared.slots}
    assert names == {"up.to_q", "mid.to_v", "low.mid.to_v"}
    with pytest.raises(UsageError, match="no module"):
        declare_outputs(package, {}, {"base_modules": {"x": [1, 1]}})
    with pytest.raises(UsageError):
        declare_outputs(package, {}, {"base_modules": {"a.to_q": [0, -1]}})


# --- environment, hints, differences


def test_what_is_not_here_is_missing() -> None:
    assert missing_packages(Environment("3.11", ("numpy",), {"numpy": "x"})) == []
    assert missing_packages(Environment("3.99", ("opacus",), {})) == ["python 3.99", "opacus"]
    assert missing_packages(Environment("3.11", ("numpy",), {"numpy": "1.x"})) == ["numpy 1.x"]


def test_hints_name_what_a_reviewer_should_look_at() -> None:
    source = b"import ctypes, numpy\nfrom os import path\neval('1')\nx.__globals__\ny = '" + b"QUJD" * 60 + b"'\n"
    found = {(hint.line, hint.kind, hint.name) for hint in find_hints({"a.py": source, "b.bin": b"\xff\0"})}
    assert {(1, "import", "ctypes"), (2, "import", "os"), (3, "call", "eval"), (4, "call", "__globals__")} <= found
    assert {(5, "text", "240"), (0, "binary", "2")} <= found
    assert not any(name == "numpy" for _, _, name in found)


def test_a_difference_shows_settings_files_and_lines() -> None:
    text = edited(('version = "1.0.0"', 'version = "1.1.0"'), ("max = 512", "max = 64"))
    code = FILES["algorithm.py"] + b"import socket\n"
    found = compare_packages(
        PACKAGE, package_of({"algorithm.toml": text.encode(), "algorithm.py": code, "notes.md": b"new"})
    )
    assert found.settings["version"] == ("1.0.0", "1.1.0")
    assert found.settings["parameters.hidden.most"] == (512.0, 64.0)
    assert found.files == {"algorithm.py": "changed", "algorithm.toml": "changed", "notes.md": "added"}
    assert "+import socket" in found.lines
    assert [hint.name for hint in found.hints] == ["socket"]


def test_a_difference_is_bounded_and_safe_to_show() -> None:
    long = b"\n".join(b"x = %d" % number for number in range(30_000))
    sly = "x = 1  # \x1b[2J \u202e evil\n".encode()
    after = package_of({**FILES, "long.py": long, "sly.py": sly, "data.bin": b"\xff\xfe"})
    found = compare_packages(PACKAGE, after)
    assert set(found.left_out) == {"long.py", "data.bin"}
    assert all(letter.isprintable() or letter == "\t" for line in found.lines for letter in line)


@given(st.lists(st.sampled_from("abcd"), max_size=14), st.lists(st.sampled_from("abcd"), max_size=14))
def test_a_difference_leads_from_one_text_to_the_other(old: list[str], new: list[str]) -> None:
    lines = unified_lines("x", old, new, context=99)[3:]
    kept = [line[1:] for line in lines if line[0] != "+"], [line[1:] for line in lines if line[0] != "-"]
    assert kept == (old, new) if old != new else not lines


def test_texts_with_nothing_in_common_are_told_as_gone_and_new() -> None:
    old, new = [f"a{n % 90}" for n in range(4000)], [f"b{n % 90}" for n in range(4000)]
    assert len(unified_lines("x", old, new)) == 8003


def test_hostile_sources_are_not_read_and_said_to_be_unreadable() -> None:
    bombs = {
        "size.py": b"x = 1\n" * 20_000,
        "braces.py": b'f"' + b"{x}" * 4000 + b'"',
        "deep.py": b"x" + b".x" * 40_000,
        "sign.py": b"-" * 90_000 + b"1",
    }
    assert {hint.path for hint in find_hints(bombs) if hint.kind == "unreadable"} == set(bombs)
    for source in bombs.values():
        assert problems(manifest(), algorithm_py=source)[0] == "algorithm.no_function"


def test_only_so_much_source_is_read_for_hints() -> None:
    files = {f"f{number}.py": b"#\n" * 45_000 for number in range(6)}
    assert sum(hint.kind == "unreadable" for hint in find_hints(files)) == 2


def test_a_file_in_the_place_of_a_module_is_hinted_at() -> None:
    assert [hint.kind for hint in find_hints({"json.py": b"", "numpy/core.py": b"", "mine.py": b""})] == ["shadow"] * 2


@pytest.mark.parametrize("name", ["malan_run.py", "malan_run.json", "malan_inside/data.py", "malan_inside.py"])
def test_names_of_the_sandbox_are_refused(name: str) -> None:
    assert [problem.code for problem in check_files({**FILES, name: b""}).problems] == ["algorithm.reserved_file"]


def test_a_long_line_does_not_make_the_reader_slow() -> None:
    text = manifest() + '[resources]\nmemory = """\n[' + " " * 60_000 + '\n"""\n'
    assert problems(text) == ["algorithm.unknown_key"]


def test_repeats_cannot_add_up_to_millions_of_tensors() -> None:
    many = "\n".join(f'"t{number}.{{}}" = ["F32", [1], "$hidden * 4000"]' for number in range(400))
    text = edited(('bias = ["F32", ["$classes"]]', many))
    assert problems(text) == ["algorithm.out_of_range"]


def test_the_same_package_has_no_difference() -> None:
    assert compare_packages(PACKAGE, PACKAGE).is_empty
