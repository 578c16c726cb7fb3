"""A classifier that answers others: opened once, asked often, and stopped by what stops a model.

Start reading at `open_service`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Any

import numpy as np

from malan.core.errors import UsageError
from malan.models.classifier import Classifier
from malan.services.access import HOUSE, Caller
from malan.services.models.cards import describe_model
from malan.services.models.exports import classifier_of
from malan.services.models.registry import family_tree, get_model
from malan.services.models.rights import Asked, require_model_use
from malan.services.models.rows import RETIRED, ModelRow, find_model

if TYPE_CHECKING:
    from malan.workspace import Workspace

MOST_ROWS = 4_096
ASK_AGAIN_S = 5.0


@dataclass
class ModelService:
    """A model that answers. Whether anything in its line was retired is asked before every answer; licences, owners and
    footage that was taken back every few seconds, for that reads a whole snapshot."""

    ws: Workspace
    model: ModelRow
    classifier: Classifier
    asked: Asked
    caller: Caller
    clock: Callable[[], float] = time.monotonic
    checked_s: float = -inf

    def classify(self, rows: Sequence[Sequence[float]]) -> dict[str, Any]:
        """Labels and probabilities for rows of features.

        Raises:
            NotGranted: The model was retired or an approval is gone since it was opened.
            UsageError: No rows, too many, of another width, or not finite.
        """
        self._check()
        if not 0 < len(rows) <= MOST_ROWS or len({len(row) for row in rows}) != 1:
            raise UsageError("models.how_many_rows", found=len(rows), most=MOST_ROWS)
        with np.errstate(over="ignore", invalid="ignore"):  # numbers beyond float32 become infinite, and are refused
            found = self.classifier.probabilities(np.asarray(rows, np.float64))
        return {
            "model": self.model.id,
            "name": self.model.title,
            "classes": list(self.classifier.classes),
            "labels": [
                [{"label": label, "probability": round(chance, 6)} for label, chance in row]
                for row in self.classifier.labels(found)
            ],
            "probabilities": [[round(float(one), 6) for one in row] for row in found],
        }

    def _check(self) -> None:
        now = self.clock()
        is_retired = any(one.state == RETIRED for one in family_tree(self.ws, find_model(self.ws, self.model.id)))
        if is_retired or now - self.checked_s >= ASK_AGAIN_S:
            self.checked_s = -inf
            require_model_use(self.ws, find_model(self.ws, self.model.id), self.asked, caller=self.caller)
            self.checked_s = now

    def describe(self) -> dict[str, Any]:
        """What answers, and what it wants to be asked."""
        facts = self.model.run.get("facts", {})
        wanted = {"width": self.classifier.width, "features": facts.get("features", ""), "most_rows": MOST_ROWS}
        return describe_model(self.ws, self.model) | {"input": wanted, "classes": list(self.classifier.classes)}


def open_service(ws: Workspace, text: str, asked: Asked | None = None, *, caller: Caller = HOUSE) -> ModelService:
    """A model, ready to answer.

    Args:
        ws: Where it is.
        text: Name or digest.
        asked: What for and where, for the licences; the action is always `serve`.
        caller: On whose behalf it answers.

    Raises:
        NotGranted: It may not answer others: retired, a licence, an owner; every reason is in the message.
        Rejected: It is no classifier.
    """
    model = get_model(ws, text, caller=caller)
    wanted = Asked("serve", asked.is_commercial if asked else True, asked.territory if asked else None)
    require_model_use(ws, model, wanted, caller=caller)
    return ModelService(ws, model, classifier_of(ws, model), wanted, caller)
