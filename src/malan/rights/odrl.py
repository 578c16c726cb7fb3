"""Terms as ODRL 2.2 policies in JSON-LD, with Malan's profile, and back.

    Terms ─ to_odrl ─▶ Offer: permissions with constraints, prohibitions, duties ─ from_odrl ─▶ Terms

Each use is a permission of its own. Every action and operand is an absolute or `odrl:` name, so that another reader of
JSON-LD gets no relative ones. Reading is strict: a context, action, operand or operator that is not understood lands in
`Terms.other`, and such terms deny everything. The profile is described in `docs/reference/odrl.md`. Start at `to_odrl`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any

from malan.core import Terms
from malan.core.errors import UsageError
from malan.rights.decide import EGRESS, LEVELS, MEMORISATION, TIERS, USES
from malan.rights.terms import LIMITS, PRICED, PROHIBITIONS

PROFILE = "https://malan-platform.github.io/malan/odrl/1"
CONTEXT = "http://www.w3.org/ns/odrl.jsonld"
PREFIXES = {"malan": f"{PROFILE}#", "xsd": "http://www.w3.org/2001/XMLSchema#"}
LARGEST_BYTES = 262_144

_ACTIONS = {
    "retrieve": "odrl:search",
    "derive": "odrl:derive",
    "export": "odrl:reproduce",
    "publish": "odrl:present",
    "train": "malan:train",
    "generative_train": "malan:generativeTrain",
}
_PROHIBITED = {
    "likeness": "malan:replicateLikeness",
    "redistribution": "odrl:distribute",
    "scene": "malan:recreateScene",
}
_LIMITS = {
    "clip_seconds": "malan:clipSeconds",
    "runs": "odrl:count",
    "outputs": "malan:outputs",
    "output_bytes": "malan:egressBytes",
}
_LISTS = {"purposes": "odrl:purpose", "territories": "odrl:spatial", "recipients": "odrl:recipient"}
_RUN_LISTS = {"tiers": "malan:tier", "egress": "malan:egressClass"}
_RUN_RANKS = {"isolation": ("malan:isolation", LEVELS), "memorisation": ("malan:memorisation", MEMORISATION)}
_OF_RUNS = (*_RUN_LISTS, *_RUN_RANKS)
_OPERATOR = {"list": "odrl:isAnyOf", "most": "odrl:lteq", "least": "odrl:gteq", "is": "odrl:eq"}


def to_odrl(terms: Terms, target: str | None = None) -> dict[str, Any]:
    """Terms as an ODRL Offer of their owner.

    Raises:
        UsageError: They hold what this version does not understand, so they cannot be said in other words.
    """
    if terms.other:
        raise UsageError("rights.not_sayable", operand=min(terms.other))
    policy: dict[str, Any] = {
        "@context": [CONTEXT, PREFIXES],
        "@type": "Offer",
        "uid": f"urn:malan:terms:{terms.id}",
        "profile": PROFILE,
        "conflict": "odrl:prohibit",
        "dc:title": terms.name,
        "assigner": f"urn:malan:party:{terms.owner_id}",
        "permission": [_permission(terms, use) for use in terms.uses],
    }
    if target:
        policy["target"] = target
    if terms.prohibitions:
        policy["prohibition"] = [{"action": _PROHIBITED[one]} for one in terms.prohibitions]
    if duties := list(_duties(terms)):
        policy["obligation"] = duties
    if terms.licence:
        policy["dc:license"] = terms.licence
    if terms.share_rule:
        policy["malan:shareRule"] = terms.share_rule
    return policy


def from_odrl(policy: Any) -> Terms:
    """Terms from a policy somebody else wrote; what is not understood stays in `other`, and denies.

    Raises:
        UsageError: It is no policy of a form that could be understood: wrong context, number where an object is due,
            no assigner, negative amounts, an end before the start.
    """
    return _Reader(policy).terms()


def _permission(terms: Terms, use: str) -> dict[str, Any]:
    constraints = [*_constraints(terms), *(_run_constraints(terms) if "train" in use else ())]
    return {"action": _ACTIONS[use], **({"constraint": constraints} if constraints else {})}


def _constraints(terms: Terms) -> Iterable[dict[str, Any]]:
    if terms.starts:
        yield _constraint("odrl:dateTime", "least", _typed(terms.starts, "date"))
    if terms.ends:
        yield _constraint("odrl:dateTime", "most", _typed(terms.ends, "date"))
    for field, operand in _LISTS.items():
        if listed := getattr(terms, field):
            yield _constraint(operand, "list", list(listed))
    for name, most in sorted(terms.limits.items()):
        yield _constraint(_LIMITS[name], "most", _typed(str(most), "integer"))


def _run_constraints(terms: Terms) -> Iterable[dict[str, Any]]:
    for field, operand in _RUN_LISTS.items():
        if listed := getattr(terms, field):
            yield _constraint(operand, "list", list(listed))
    for field, (operand, _) in _RUN_RANKS.items():
        if least := getattr(terms, field):
            yield _constraint(operand, "least", least)


def _duties(terms: Terms) -> Iterable[dict[str, Any]]:
    if terms.price_minor:
        amount = _constraint("odrl:payAmount", "is", _typed(str(terms.price_minor), "integer"))
        amount |= {"unit": f"urn:iso:std:iso:4217:{terms.currency}", "malan:per": terms.price_per}
        yield {"action": [{"rdf:value": {"@id": "odrl:compensate"}, "refinement": [amount]}]}
    if terms.attribution:
        yield {"action": "odrl:attribute", "malan:attributedTo": terms.attribution}


def _constraint(operand: str, operator: str, right: Any) -> dict[str, Any]:
    return {"leftOperand": operand, "operator": _OPERATOR[operator], "rightOperand": right}


def _typed(value: str, kind: str) -> dict[str, str]:
    return {"@value": value, "@type": f"xsd:{kind}"}


class _Reader:
    """Reads one policy. What it does not understand, it collects."""

    def __init__(self, policy: Any) -> None:
        if not isinstance(policy, dict):
            raise UsageError("rights.bad_odrl", where="policy")
        self._policy = policy
        self._other: dict[str, str] = {}
        self._values: dict[str, Any] = {}

    def terms(self) -> Terms:
        policy = self._policy
        self._check_head()
        uses = self._permissions(self._objects(policy.get("permission", []), "permission"))
        for one in self._objects(policy.get("prohibition", []), "prohibition"):
            self._prohibition(one)
        for one in self._objects(policy.get("obligation", []), "obligation"):
            self._duty(one)
        values = self._values
        if values.get("starts") and values.get("ends") and values["ends"] < values["starts"]:
            raise UsageError("rights.bad_odrl", where="odrl:dateTime")
        return Terms(
            owner_id=self._party(policy.get("assigner")),
            name=self._text(policy.get("dc:title", "ODRL"), "dc:title"),
            uses=uses,
            licence=policy.get("dc:license"),
            share_rule=policy.get("malan:shareRule"),
            other=self._other,
            **values,
        )

    def _check_head(self) -> None:
        policy = self._policy
        contexts = policy.get("@context", [])
        contexts = contexts if isinstance(contexts, list) else [contexts]
        for context in contexts:
            if context not in (CONTEXT, PREFIXES):
                raise UsageError("rights.bad_odrl", where="@context")
        if CONTEXT not in contexts:
            raise UsageError("rights.bad_odrl", where="@context")
        if policy.get("@type") not in ("Offer", "Set", "Agreement", "odrl:Offer", "odrl:Set", "odrl:Agreement"):
            raise UsageError("rights.bad_odrl", where="@type")
        if policy.get("profile") not in (None, PROFILE):
            self._other["profile"] = str(policy["profile"])[:200]
        known = {"@context", "@type", "uid", "@id", "profile", "conflict", "dc:title", "dc:license", "malan:shareRule"}
        known |= {"assigner", "assignee", "target", "permission", "prohibition", "obligation"}
        self._note(set(policy) - known, "policy")
        for name in ("dc:license", "malan:shareRule"):
            if policy.get(name) is not None:
                self._text(policy[name], name)

    def _permissions(self, permissions: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
        """The uses, and what all of them ask: terms hold one set of conditions, and the laxer is never assumed."""
        read = [self._permission(one) for one in permissions]
        plain = [{name: held for name, held in asked.items() if name not in _OF_RUNS} for _, asked in read]
        runs = [
            {name: held for name, held in asked.items() if name in _OF_RUNS} for use, asked in read if "train" in use
        ]
        elsewhere = any(name in _OF_RUNS for use, asked in read for name in asked if "train" not in use)
        if elsewhere or any(one != several[0] for several in (plain, runs) for one in several):
            self._other["permissions that differ"] = "?"
        for asked in (*plain[:1], *runs[:1]):
            self._values |= asked
        return tuple(sorted({use for use, _ in read if use}))

    def _permission(self, permission: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        """One use and what it asks."""
        self._note(set(permission) - {"action", "constraint", "target"}, "permission")
        use = _named(_ACTIONS, permission.get("action"))
        if use is None:
            self._other[f"action {str(permission.get('action'))[:80]}"] = "?"
        asked: dict[str, Any] = {}
        for one in self._objects(permission.get("constraint", []), "constraint"):
            name, value = self._constraint(one)
            if name in asked and name != "limits":
                self._other[f"{name} twice"] = "?"
            asked[name] = {**asked.get(name, {}), **value} if name == "limits" else value
        asked.pop("", None)
        return use or "", asked

    def _constraint(self, constraint: Mapping[str, Any]) -> tuple[str, Any]:
        operand, operator = constraint.get("leftOperand"), constraint.get("operator")
        self._note(set(constraint) - {"leftOperand", "operator", "rightOperand"}, "constraint")
        right = constraint.get("rightOperand")
        if operand == "odrl:dateTime" and operator in ("odrl:gteq", "odrl:lteq"):
            return ("starts" if operator == "odrl:gteq" else "ends"), self._day(right)
        if (name := _named(_LIMITS, operand)) and operator == _OPERATOR["most"]:
            return "limits", {name: self._amount(right, str(operand))}
        if (name := _named(_LISTS | _RUN_LISTS, operand)) and operator == _OPERATOR["list"]:
            return name, self._list(right, str(operand), {"tiers": TIERS, "egress": EGRESS}.get(name))
        for field, (short, ranks) in _RUN_RANKS.items():
            if operand == short and operator == _OPERATOR["least"] and right in ranks:
                return field, right
        self._other[f"{str(operand)[:80]} {str(operator)[:40]}"] = str(right)[:200]
        return "", None

    def _prohibition(self, prohibition: Mapping[str, Any]) -> None:
        name = _named(_PROHIBITED, prohibition.get("action"))
        if name is None or set(prohibition) - {"action", "target"}:
            self._other[f"prohibition {str(prohibition.get('action'))[:80]}"] = "?"
            return
        self._values["prohibitions"] = tuple(sorted({*self._values.get("prohibitions", ()), name}))

    def _duty(self, duty: Mapping[str, Any]) -> None:
        if duty.get("action") == "odrl:attribute" and set(duty) <= {"action", "malan:attributedTo"}:
            self._values["attribution"] = self._text(duty.get("malan:attributedTo"), "malan:attributedTo")
            return
        price = _price_of(duty)
        if price is None:
            self._other[f"obligation {str(duty.get('action'))[:80]}"] = "?"
            return
        per, unit = price.get("malan:per", "deal"), str(price.get("unit", ""))
        currency = unit.removeprefix("urn:iso:std:iso:4217:")
        if per not in PRICED or len(currency) != 3 or not currency.isalpha() or not currency.isupper():
            raise UsageError("rights.bad_odrl", where="odrl:payAmount")
        amount = self._amount(price.get("rightOperand"), "odrl:payAmount")
        self._values |= {"price_minor": amount, "currency": currency, "price_per": per}

    def _note(self, unknown: Iterable[str], where: str) -> None:
        self._other |= {f"{where} {str(name)[:80]}": "?" for name in unknown}

    def _objects(self, value: Any, where: str) -> list[Mapping[str, Any]]:
        listed = value if isinstance(value, list) else [value]
        if len(listed) > 64 or not all(isinstance(one, dict) for one in listed):
            raise UsageError("rights.bad_odrl", where=where)
        return listed

    def _party(self, value: Any) -> str:
        text = self._text(value.get("uid", value.get("@id")) if isinstance(value, dict) else value, "assigner")
        return text.removeprefix("urn:malan:party:")

    def _text(self, value: Any, where: str) -> str:
        if not isinstance(value, str) or not 0 < len(value) <= 1000:
            raise UsageError("rights.bad_odrl", where=where)
        return value

    def _day(self, value: Any) -> str:
        text = value.get("@value") if isinstance(value, dict) else value
        try:
            return date.fromisoformat(text[:10] if isinstance(text, str) else "").isoformat()
        except ValueError:
            raise UsageError("rights.bad_odrl", where="odrl:dateTime") from None

    def _amount(self, value: Any, where: str) -> int:
        """A whole number in text; a bare JSON number is refused, as the schemas of the field do."""
        text = value.get("@value") if isinstance(value, dict) else value
        if not isinstance(text, str) or not text.isascii() or not text.isdigit() or len(text) > 18:
            raise UsageError("rights.bad_odrl", where=where)
        return int(text)

    def _list(self, value: Any, where: str, known: tuple[str, ...] | None) -> tuple[str, ...]:
        listed = value if isinstance(value, list) else [value]
        texts = sorted({self._text(one.get("@id") if isinstance(one, dict) else one, where) for one in listed})
        for text in texts:
            if known is not None and text not in known:
                self._other[f"{where} {text[:80]}"] = "?"
        return tuple(text for text in texts if known is None or text in known)


def _named(table: Mapping[str, str], iri: Any) -> str | None:
    """Our word for a name of ODRL, written with its prefix or in full."""
    full = {"odrl:": "http://www.w3.org/ns/odrl/2/", "malan:": f"{PROFILE}#"}
    for name, short in table.items():
        prefix = short.partition(":")[0] + ":"
        if iri in (short, full[prefix] + short.removeprefix(prefix)):
            return name
    return None


def _price_of(duty: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The amount of a duty to pay; None for any other duty."""
    actions = duty.get("action")
    if (
        set(duty) != {"action"}
        or not isinstance(actions, list)
        or len(actions) != 1
        or not isinstance(actions[0], dict)
    ):
        return None
    action = actions[0]
    refinement = action.get("refinement")
    if (
        action.get("rdf:value") != {"@id": "odrl:compensate"}
        or not isinstance(refinement, list)
        or len(refinement) != 1
    ):
        return None
    amount = refinement[0]
    keys = {"leftOperand", "operator", "rightOperand", "unit", "malan:per"}
    if not isinstance(amount, dict) or set(amount) - keys or amount.get("leftOperand") != "odrl:payAmount":
        return None
    return amount if amount.get("operator") == _OPERATOR["is"] else None


assert set(_ACTIONS) == set(USES) and set(_PROHIBITED) == set(PROHIBITIONS) and set(_LIMITS) == set(LIMITS)  # noqa: S101,PT018
