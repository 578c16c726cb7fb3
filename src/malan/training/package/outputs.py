"""What may come out of a run, settled before it begins: the declaration the gate holds the files against.

    [outputs.model] ─ read_output ─▶ OutputRule ─ declare_outputs(parameters, facts) ─▶ gate.Declared

Sizes may be small sums over whole-number parameters and facts about the data. Start reading at `declare_outputs`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from malan.core.errors import UsageError
from malan.inference.tensors import BYTES_OF, is_name
from malan.training.gate.declared import KINDS, MOST_TENSORS, NAMINGS, Declared
from malan.training.package.expressions import is_expression, names_in, whole_number
from malan.training.package.parameters import BOOL, FLOAT, INT, Parameter, Value, settle_parameters
from malan.training.package.request import Data, data_names
from malan.training.package.tables import Reader, Table

if TYPE_CHECKING:
    from malan.training.package.package import Package

FACTS: Mapping[str, str] = {
    "classes": "the classes of the label set among the clips, or how many there are",
    "descriptor": "numbers in one descriptor",
    "descriptor_width": "the same",
    "clips": "clips to learn from",
    "held_out": "clips held back",
    "owners": "owners of the clips",
    "base_modules": "modules of the base model: name → [outputs, inputs, kernel…]",
}
"""What is known of the data and of the base model before a run. In sums, a list stands for its length."""

MODULES = "$base_modules"
MOST_NAMES, MOST_REPEATS = 5_000, 4_096
_ANY_SIZE = 2**50
_SAMPLE = {"classes": 3, "descriptor": 64, "descriptor_width": 64, "clips": 60, "held_out": 12, "owners": 2}


@dataclass(frozen=True)
class OutputRule:
    """An output as written. `sizes` is what `Declared.from_output` takes, with expressions in the place of numbers.

    `repeats` says for a name with `{}` how many there are of it; `targets` which modules of the base get an adapter.
    """

    kind: str
    max_bytes: Any
    sizes: Mapping[str, Any]
    repeats: Mapping[str, Any]
    targets: tuple[str, ...] = ()

    def declare(self, names: Mapping[str, Any], where: str) -> Declared:
        """The declaration once all names are known.

        Raises:
            UsageError: A name is missing, a size is none, or the file would be larger than its limit.
        """
        table = _lora(self, names, where) if self.kind == "lora" else _weights(self, names, where)
        declared = Declared.from_output(table | {"type": self.kind, "max_bytes": _ANY_SIZE})
        if self.max_bytes is None:
            return replace(declared, max_bytes=declared.needed_bytes)
        return replace(declared, max_bytes=whole_number(self.max_bytes, names, f"{where}.max_bytes"))


def declare_outputs(package: Package, parameters: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, Declared]:
    """What a run with these parameters on such data must put out, by name.

    Args:
        package: Which algorithm.
        parameters: What is given; the rest are defaults.
        facts: Those of `FACTS` that are known; others play no part.

    Raises:
        UsageError: A parameter does not fit, a fact that is needed is missing, or a size is impossible.
    """
    known = {name: value for name, value in facts.items() if name in FACTS}
    for name, other in (("descriptor", "descriptor_width"), ("descriptor_width", "descriptor")):
        if other in known:
            known.setdefault(name, known[other])
    names = settle_parameters(package.parameters, parameters) | known
    return {name: rule.declare(names, f"outputs.{name}") for name, rule in package.outputs.items()}


def read_output(table: Table) -> OutputRule | None:
    """An output from its table; what is wrong is noted there."""
    before = len(table.reader.problems)
    kind = table.choice("type", KINDS)
    table.choice("format", ("safetensors",), "safetensors")
    max_bytes = _size(table, "max_bytes") if "max_bytes" in table.values else None
    sizes: dict[str, Any] = {}
    if "max_norm" in table.values:
        sizes["max_norm"] = table.number("max_norm")
    repeats: dict[str, Any] = {}
    targets: tuple[str, ...] = ()
    if kind == "weights":
        sizes["tensors"], repeats = _read_tensors(table)
    else:
        sizes |= _read_lora(table)
        targets = table.strings("targets", ())
    table.done()
    return OutputRule(kind, max_bytes, sizes, repeats, targets) if len(table.reader.problems) == before else None


def check_names(
    reader: Reader, parameters: tuple[Parameter, ...], outputs: Mapping[str, OutputRule], data: Data
) -> None:
    """Note what is wrong between the parts: names that are none, parameters called like facts, sizes that cannot be."""
    known = {one.name: one for one in parameters}
    for name in known.keys() & FACTS.keys():
        reader.wrong("algorithm.named_like_fact", f"parameters.{name}", name=name)
    _check_labels(reader, known, data)
    numbers = {name for name, one in known.items() if one.type in (INT, BOOL)}
    for key, asked in data_names(data).items():
        _check_known(reader, key, asked, numbers)
    for name, rule in outputs.items():
        where = f"outputs.{name}"
        loose = numbers | FACTS.keys() | {one.name for one in parameters if one.type == FLOAT}
        _check_known(reader, where, _asked(rule), loose)
        if not reader.problems and rule.sizes.get("modules") != MODULES:
            _try_out(reader, rule, {one.name: one.default for one in parameters}, where)


def _try_out(reader: Reader, rule: OutputRule, defaults: Mapping[str, Value], where: str) -> None:
    """Declare it once for data such as there might be: what is wrong for all data is told now."""
    try:
        rule.declare(dict(defaults) | _SAMPLE, where)
    except UsageError as error:
        reader.problems.append(error)


def _check_labels(reader: Reader, known: Mapping[str, Parameter], data: Data) -> None:
    if data.labels.startswith("$"):
        one = known.get(data.labels[1:])
        if one is None or one.type not in ("text", "choice"):
            reader.wrong("algorithm.labels_name", "data.labels", name=data.labels)


def _check_known(reader: Reader, key: str, asked: set[str], known: set[str]) -> None:
    for name in sorted(asked - known):
        reader.problems.append(
            UsageError(
                "algorithm.no_such_name", where=f"{reader.place(key)} {key}", name=name, names=", ".join(sorted(known))
            )
        )


def _asked(rule: OutputRule) -> set[str]:
    """Every name in the expressions of an output."""
    pending: list[Any] = [rule.max_bytes, rule.repeats, rule.sizes]
    found: set[str] = set()
    while pending:
        one = pending.pop()
        if isinstance(one, str):
            found |= names_in(one)
        elif isinstance(one, Mapping):
            pending += one.values()
        elif isinstance(one, list | tuple):
            pending += one
    return found


def _read_tensors(table: Table) -> tuple[dict[str, Any], dict[str, Any]]:
    """`name = ["F32", [sides…]]`, and for a name with `{}` a third: how many there are, numbered from 0."""
    inner = table.table("tensors", needed=True)
    sizes: dict[str, Any] = {}
    repeats: dict[str, Any] = {}
    if inner is None or len(inner.values) > MOST_NAMES or not inner.values:
        table.wrong("algorithm.bad_value", "tensors", value="", wanted=f"1–{MOST_NAMES}")
        return sizes, repeats
    for name in inner.values:
        held = inner.raw(name)
        if not _is_tensor(name, held):
            inner.wrong("algorithm.bad_tensor", name[:80], name=name[:80], types=", ".join(BYTES_OF))
            continue
        sizes[name] = held[:2]
        if len(held) == 3:
            repeats[name] = held[2]
    return sizes, repeats


def _is_tensor(name: str, held: Any) -> bool:
    if not isinstance(held, list) or len(held) not in (2, 3) or (len(held) == 3) != ("{}" in name):
        return False
    kind, sides = held[:2]
    plain = is_name(name.replace("{}", "0", 1)) and kind in BYTES_OF if isinstance(kind, str) else False
    return plain and isinstance(sides, list) and all(map(_is_size, [*sides, *held[2:]]))


def _read_lora(table: Table) -> dict[str, Any]:
    found: dict[str, Any] = {
        "rank": _size(table, "rank"),
        "dtype": table.choice("dtype", tuple(BYTES_OF), "BF16"),
        "naming": table.choice("naming", tuple(NAMINGS), "peft"),
    }
    if "alpha" in table.values:
        found["alpha"] = _amount(table, "alpha")
    modules = table.raw("modules")
    fits = modules == MODULES or (isinstance(modules, dict) and 0 < len(modules) <= MOST_NAMES)
    if fits and isinstance(modules, dict):
        fits = all(
            is_name(name) and isinstance(sides, list) and len(sides) >= 2 and all(map(_is_size, sides))
            for name, sides in modules.items()
        )
    if not fits:
        table.wrong("algorithm.bad_modules", "modules", fact=MODULES)
    return found | {"modules": modules}


def _weights(rule: OutputRule, names: Mapping[str, Any], where: str) -> dict[str, Any]:
    tensors: dict[str, Any] = {}
    for name, (kind, sides) in rule.sizes["tensors"].items():
        shape = [whole_number(side, names, f"{where}.tensors.{name}") for side in sides]
        if name not in rule.repeats:
            tensors[name] = [kind, shape]
            continue
        count = whole_number(rule.repeats[name], names, f"{where}.tensors.{name}")
        if not 0 <= count <= MOST_REPEATS:
            raise UsageError("algorithm.out_of_range", where=name, value=count, least=0, most=MOST_REPEATS)
        if len(tensors) + count > MOST_TENSORS:
            raise UsageError(
                "algorithm.out_of_range", where=name, value=len(tensors) + count, least=0, most=MOST_TENSORS
            )
        tensors |= {name.replace("{}", str(number), 1): [kind, shape] for number in range(count)}
    return {**rule.sizes, "tensors": tensors}


def _lora(rule: OutputRule, names: Mapping[str, Any], where: str) -> dict[str, Any]:
    table = dict(rule.sizes) | {"rank": whole_number(rule.sizes["rank"], names, f"{where}.rank")}
    if "alpha" in table:
        table["alpha"] = _settled(table["alpha"], names, f"{where}.alpha")
    modules = names.get("base_modules", {}) if table["modules"] == MODULES else table["modules"]
    if rule.targets:
        modules = {name: sides for name, sides in modules.items() if _is_target(name, rule.targets)}
    if not modules:
        raise UsageError("algorithm.no_modules", where=where, targets=", ".join(rule.targets) or MODULES)
    table["modules"] = {
        name: [whole_number(side, names, f"{where}.modules.{name}") for side in sides]
        for name, sides in modules.items()
    }
    return table


def _is_target(name: str, targets: tuple[str, ...]) -> bool:
    """`to_q` names every module that is called so or ends in `.to_q`."""
    return any(name == target or name.endswith(f".{target}") for target in targets)


def _settled(value: Any, names: Mapping[str, Any], where: str) -> float:
    """A number that need not be whole: written as one, or the value of one parameter."""
    if isinstance(value, str) and value[1:] in names and isinstance(names[value[1:]], float):
        return float(names[value[1:]])
    return value if isinstance(value, float) else whole_number(value, names, where)


def _size(table: Table, name: str) -> Any:
    held = table.raw(name)
    if held is None:
        table.wrong("algorithm.missing_key", name)
    elif not _is_size(held):
        table.wrong("algorithm.bad_expression", name, where=name, text=str(held)[:60])
    return held


def _amount(table: Table, name: str) -> Any:
    held = table.raw(name)
    if type(held) is float or _is_size(held):
        return held
    table.wrong("algorithm.bad_expression", name, where=name, text=str(held)[:60])
    return None


def _is_size(value: Any) -> bool:
    return (type(value) is int and 0 < value < 2**31) or (is_expression(value) and len(value) <= 120)
