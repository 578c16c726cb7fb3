"""Offers and agreements as ODRL policies: checked, compared, and made from the terms of an owner.

Every action and operand other than plain `use` is written as a full address, so that a reader of linked data and a
reader of plain JSON see the same. Nothing here decides whether a use is allowed. Start at `check_offer`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from malan.core import Terms
from malan.rights.odrl import to_odrl
from malan.services.dsp import words
from malan.services.dsp.errors import bad

MOST_RULES = 200
RULES = ("permission", "prohibition", "obligation")
_WRITTEN = {
    "odrl:": words.ODRL,
    "malan:": words.MALAN,
    "xsd:": "http://www.w3.org/2001/XMLSchema#",
    "dc:": "http://purl.org/dc/terms/",
}
_PARTIES = ("assigner", "assignee", "timestamp", "@id", "target", "@type")


def check_offer(policy: Mapping[str, Any], where: str, *, is_agreement: bool = False) -> None:
    """Refuse a policy that is not an offer, or an agreement, of the protocol.

    Raises:
        BadMessage: `where` and the field say what is wrong: no id or target, no rule, a number where an object is
            due, a target inside a rule, an action or operand that is no word.
    """
    for name in ("@id", "target"):
        _word(policy.get(name), f"{where}.{name}")
    for name in ("assigner", "assignee"):
        if is_agreement or name in policy:
            _word(policy.get(name), f"{where}.{name}")
    if is_agreement and "timestamp" in policy:
        _word(policy["timestamp"], f"{where}.timestamp")
    wanted = "Agreement" if is_agreement else "Offer"
    if policy.get("@type", wanted if not is_agreement else None) != wanted:
        raise bad(f"{where}.@type")
    found = 0
    for name in RULES:
        for rule in listed(policy.get(name), f"{where}.{name}"):
            _check_rule(rule, f"{where}.{name}")
            found += 1
    if not 0 < found <= MOST_RULES or not (policy.get("permission") or policy.get("prohibition")):
        raise bad(f"{where}.permission")


def target_of(policy: Mapping[str, Any]) -> str:
    """The dataset a policy is about."""
    return _word(policy.get("target"), "target")


def id_of(policy: Mapping[str, Any]) -> str:
    """The id of an offer or agreement."""
    return _word(policy.get("@id"), "@id")


def same_rules(one: Mapping[str, Any], two: Mapping[str, Any]) -> bool:
    """Whether two policies say the same about the same dataset; ids, parties and spelling aside.

    A rule or constraint in other order is the same; anything that is not understood must be equal as it stands.
    """
    return _form(one) == _form(two)


def listed(value: Any, where: str) -> list[dict[str, Any]]:
    """One object or several, as a list.

    Raises:
        BadMessage: There is something else among them.
    """
    if value is None:
        return []
    found = value if isinstance(value, list) else [value]
    if not all(isinstance(one, dict) for one in found):
        raise bad(where)
    return found


def plain_use(offer_id: str, dataset_id: str | None = None) -> dict[str, Any]:
    """An offer of plain use without constraints."""
    offer: dict[str, Any] = {"@id": offer_id, "@type": "Offer"}
    if dataset_id:
        offer["target"] = dataset_id
    return {**offer, "permission": [{"action": "use"}]}


def from_terms(terms: Terms, target: str) -> dict[str, Any]:
    """An owner's terms as the rules of an offer, every name written out; id and parties are still to be set.

    Raises:
        UsageError: The terms hold what cannot be said in other words.
    """
    said = to_odrl(terms, target)
    kept = {key: value for key, value in said.items() if key not in ("@context", "@type", "uid", "assigner")}
    for name in RULES:
        if name in kept:
            kept[name] = [_flat(rule) for rule in kept[name]]
    written: dict[str, Any] = _written(kept)
    return {**written, "@type": "Offer", "target": target}


def _flat(rule: Mapping[str, Any]) -> dict[str, Any]:
    """A rule whose action is a word: the protocol has no refinements, so those become constraints of the rule."""
    action = rule["action"]
    if isinstance(action, list) and len(action) == 1:
        action = action[0]
    if not isinstance(action, dict):
        return dict(rule)
    refined = [*action.get("refinement", ()), *rule.get("constraint", ())]
    return {**rule, "action": action["rdf:value"]["@id"], **({"constraint": refined} if refined else {})}


def _written(value: Any) -> Any:
    """The same with every prefixed name as an address: the protocol's context knows none of the prefixes."""
    if isinstance(value, dict):
        return {_name(key): _written(held) for key, held in value.items()}
    if isinstance(value, list):
        return [_written(one) for one in value]
    return _address(value) if isinstance(value, str) else value


def _name(key: str) -> str:
    return key if key.startswith("@") else _address(key)


def _address(text: str) -> str:
    for prefix, address in _WRITTEN.items():
        if text.startswith(prefix):
            return address + text[len(prefix) :]
    return text


def _check_rule(rule: Mapping[str, Any], where: str) -> None:
    _word(rule.get("action"), f"{where}.action")
    if "target" in rule:
        raise bad(f"{where}.target")
    for constraint in listed(rule.get("constraint"), f"{where}.constraint"):
        _check_constraint(constraint, f"{where}.constraint")
    for duty in listed(rule.get("duty"), f"{where}.duty"):
        _check_rule(duty, f"{where}.duty")


def _check_constraint(constraint: Mapping[str, Any], where: str) -> None:
    parts = [name for name in ("and", "or", "xone", "andSequence") if name in constraint]
    if parts:
        if len(constraint) != 1:
            raise bad(where)
        for one in listed(constraint[parts[0]], f"{where}.{parts[0]}"):
            _check_constraint(one, where)
        return
    _word(constraint.get("leftOperand"), f"{where}.leftOperand")
    _word(constraint.get("operator"), f"{where}.operator")
    right = constraint.get("rightOperand")
    if isinstance(right, bool) or not isinstance(right, str | dict | list) or not right:
        raise bad(f"{where}.rightOperand")


def _word(value: Any, where: str) -> str:
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, dict) and set(value) <= {"@id", "@type"}:
        value = value.get("@id")
    if isinstance(value, dict) and set(value) <= {"@value", "@type"}:
        value = value.get("@value")
    if not isinstance(value, str) or not 0 < len(value) <= 500 or not value.isprintable():
        raise bad(where)
    return value


def _form(policy: Mapping[str, Any]) -> str:
    """One text for all spellings of the same rules."""
    said: dict[str, Any] = {"target": target_of(policy)}
    for name in RULES:
        said[name] = sorted(_rule_form(rule) for rule in listed(policy.get(name), name))
    said["rest"] = {
        key: value for key, value in policy.items() if key not in (*_PARTIES, *RULES) and value not in ([], {}, None)
    }
    return _text(said)


def _rule_form(rule: Mapping[str, Any]) -> str:
    known = ("action", "constraint", "duty", "@id", "@type", "assigner", "assignee")
    return _text(
        {
            "action": _whole(_word(rule.get("action"), "action")),
            "constraint": sorted(_constraint_form(one) for one in listed(rule.get("constraint"), "constraint")),
            "duty": sorted(_rule_form(one) for one in listed(rule.get("duty"), "duty")),
            "rest": {key: value for key, value in rule.items() if key not in known and value not in ([], {}, None)},
        }
    )


def _constraint_form(constraint: Mapping[str, Any]) -> str:
    simple = {}
    for key, value in constraint.items():
        if key in ("leftOperand", "operator"):
            simple[key] = _whole(_word(value, key))
        elif key in ("and", "or", "xone", "andSequence"):
            inner = [_constraint_form(one) for one in listed(value, key)]
            simple[key] = json.dumps(inner if key == "andSequence" else sorted(inner))
        elif not key.startswith("@"):
            simple[key] = _text(list(_operands(value)))
    return _text(simple)


def _operands(value: Any) -> Iterator[Any]:
    for one in value if isinstance(value, list) else [value]:
        if isinstance(one, dict) and set(one) <= {"@value", "@type"}:
            yield [str(one.get("@value")), _whole(str(one.get("@type", "")))]
        elif isinstance(one, dict) and set(one) == {"@id"}:
            yield [_whole(str(one["@id"])), ""]
        else:
            yield one if isinstance(one, dict) else [_whole(str(one)), ""]


def _whole(word: str) -> str:
    """A word as a full address: `use`, `odrl:use` and the address are one."""
    return words.ODRL + word if word.isalnum() else _address(word)


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)
