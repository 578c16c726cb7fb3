"""The base model of a run, where its algorithm starts from one: of the right family, under a licence that allows it.

Start reading at `find_base`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from malan.core.decisions import Reason
from malan.core.errors import NotFound
from malan.inference.weights import base_modules
from malan.models.licences import TRAIN
from malan.services.models.bases import base_files
from malan.services.models.rights import Asked, decide_model_use
from malan.services.models.rows import ModelRow, find_model
from malan.training.package import Package

if TYPE_CHECKING:
    from malan.workspace import Workspace

_PART = "part"  # the parameter by which an algorithm lets a buyer choose what of the base is trained


@dataclass(frozen=True)
class Base:
    """Files of a base by their names, each what was registered, and the matrices an adapter may sit on."""

    model: ModelRow
    files: Mapping[str, Path]
    modules: Mapping[str, list[int]]


def base_id(ws: Workspace, text: str) -> str | None:
    """The id of the base somebody named; None when none was."""
    return find_model(ws, text).id if text else None


def objections(ws: Workspace, package: Package, asked: Mapping[str, Any]) -> list[Reason]:
    """Why a base cannot be trained by an algorithm; nothing when it can, or the algorithm needs none."""
    if not package.families:
        return []
    try:
        model = find_model(ws, str(asked.get("base_id") or ""))
    except NotFound:
        return [Reason("runs.needs_base")]
    found = []
    if model.family not in package.families:
        values = {"wanted": ", ".join(package.families), "base": model.title, "family": model.family or "–"}
        found.append(Reason("runs.other_family", tuple(values.items())))
    if package.base_licences and model.licence not in package.base_licences:
        values = {"allowed": ", ".join(package.base_licences), "base": model.title, "licence": model.licence}
        found.append(Reason("runs.base_licence", tuple(values.items())))
    decision = decide_model_use(ws, model, Asked(TRAIN, territory=asked.get("territory")))
    return [*found, *(decision.reasons if not decision.allowed else ())]


def find_base(ws: Workspace, package: Package, parameters: Mapping[str, Any], asked: Mapping[str, Any]) -> Base | None:
    """The base of a run that nothing was said against; None when its algorithm needs none.

    Raises:
        NotFound, ProofError: A file of it is gone, or is not what was registered.
        Rejected: It has no matrices in the part that is to be trained.
    """
    if not package.families:
        return None
    model = find_model(ws, str(asked["base_id"]))
    files = base_files(ws, model.id)
    name, path = next(iter(files.items()))
    folder = Path(str(path).removesuffix(name))
    return Base(model, files, base_modules(folder, str(parameters.get(_PART, ""))))
