"""A `Credential` as the manifest definition that `c2pa-python` takes. Start at `definition`."""

from __future__ import annotations

import mimetypes
from typing import Any

from malan import __version__
from malan.media.credentials.records import Action, Credential, Ingredient

DIGEST = "org.malan.digest"


def definition(credential: Credential) -> dict[str, Any]:
    """The manifest, without what is added as a stream (see `streamed`)."""
    named = [(i, _id(n)) for n, i in enumerate(credential.ingredients)]
    return {
        "title": credential.title,
        "claim_generator_info": [{"name": "Malan", "version": __version__}],
        "ingredients": [_ingredient(i, label) for i, label in named if i.path is None],
        "assertions": [
            {"label": "c2pa.actions.v2", "data": {"actions": _actions(credential)}},
            {"label": "cawg.metadata", "data": _metadata(credential)},
            *_training_mining(credential),
            *([{"label": "c2pa.ai-disclosure", "data": dict(credential.disclosure)}] if credential.disclosure else []),
            *({"label": label, "data": dict(body)} for label, body in credential.assertions.items()),
        ],
    }


def streamed(credential: Credential) -> list[tuple[Ingredient, dict[str, Any]]]:
    """Ingredients whose file the library reads itself, each with its definition."""
    return [(i, _ingredient(i, _id(n))) for n, i in enumerate(credential.ingredients) if i.path is not None]


def media_type(ingredient: Ingredient) -> str:
    """The media type of an ingredient: of its file name where it has one."""
    guessed = mimetypes.guess_type(ingredient.path.name)[0] if ingredient.path else None
    return guessed or ingredient.media_type


def _id(number: int) -> str:
    return f"ingredient-{number}"


def _ingredient(ingredient: Ingredient, label: str) -> dict[str, Any]:
    made: dict[str, Any] = {
        "title": ingredient.title,
        "format": media_type(ingredient),
        "relationship": ingredient.relation,
        "label": label,
    }
    if ingredient.digest:
        made["instance_id"] = "urn:" + ingredient.digest
    metadata: dict[str, Any] = {DIGEST: ingredient.digest} if ingredient.digest else {}
    if ingredient.span is not None:  # regions of interest, C2PA 2.x §18.2
        start, end = ingredient.span.fragment().removeprefix("t=").split(",")
        metadata["regionOfInterest"] = {
            "region": [{"type": "temporal", "time": {"type": "npt", "start": start, "end": end}}]
        }
    return made | ({"metadata": metadata} if metadata else {})


def _actions(credential: Credential) -> list[dict[str, Any]]:
    """The first action says how the file began; then each ingredient is named by the action that took it in."""
    ids: dict[str, list[str]] = {}
    for number, ingredient in enumerate(credential.ingredients):
        ids.setdefault(ingredient.relation, []).append(_id(number))
    source_type = {"digitalSourceType": str(credential.source_type)}
    if "parentOf" in ids:  # it takes in the parent and nothing else
        actions = [_taking({"action": "c2pa.opened"} | source_type, ids["parentOf"])]
        actions += [_taking({"action": "c2pa.edited"}, ids["inputTo"])] if "inputTo" in ids else []
    else:
        actions = [_taking({"action": "c2pa.created"} | source_type, ids.get("inputTo", []))]
    if "componentOf" in ids:
        actions.append(_taking({"action": "c2pa.placed"}, ids["componentOf"]))
    return [*actions, *map(_action, credential.actions)]


def _taking(action: dict[str, Any], ids: list[str]) -> dict[str, Any]:
    return action | ({"parameters": {"ingredientIds": ids}} if ids else {})


def _action(action: Action) -> dict[str, Any]:
    made: dict[str, Any] = {"action": action.name}
    if action.description:
        made["description"] = action.description
    if action.source_type:
        made["digitalSourceType"] = str(action.source_type)
    return made


def _metadata(credential: Credential) -> dict[str, Any]:
    return {
        "@context": {"dc": "http://purl.org/dc/elements/1.1/"},
        "dc:creator": [credential.producer],
        "dc:title": credential.title,
    }


def _training_mining(credential: Credential) -> list[dict[str, Any]]:
    if not credential.training_mining:
        return []
    entries = {f"cawg.{use}": {"use": value} for use, value in credential.training_mining.items()}
    return [{"label": "cawg.training-mining", "data": {"entries": entries}}]
