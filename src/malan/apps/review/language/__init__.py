"""The language rules are written in: typed, total, three-valued. `parse` reads, `type_of` checks, `evaluate` judges."""

from malan.apps.review.language.check import Scope, type_of
from malan.apps.review.language.evaluate import Facts, Scene, Words, evaluate
from malan.apps.review.language.read import Node, SyntaxFault, parse
from malan.apps.review.language.values import Moment, Value, Verdict

__all__ = [
    "Facts", "Moment", "Node", "Scene", "Scope", "SyntaxFault", "Value", "Verdict", "Words", "evaluate", "parse",
    "type_of",
]  # fmt: skip
