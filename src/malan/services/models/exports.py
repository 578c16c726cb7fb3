"""A model as files for somebody: weights, card, proof; or as ONNX for use offline. Every right is asked for first.

    decide_model_use(export) ─▶ weights.safetensors | model.onnx, README.md, README.zh-CN.md, model.json, receipt.json

Start reading at `export_model`.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from malan.core.errors import Rejected, StoreError, UsageError
from malan.core.ids import digest_bytes
from malan.inference.tensors import parse_tensors
from malan.ledger.statement import Subject, urn
from malan.models.classifier import Classifier, read_classifier
from malan.models.onnx import check_onnx, write_onnx
from malan.models.safetensors import Adapter, read_adapter
from malan.rights.shares import fraction_text
from malan.services.access import HOUSE, Caller
from malan.services.journal import Fact, read_event, record
from malan.services.log.proofs import bundle, write_receipt
from malan.services.models.cards import card_markdown, describe_model
from malan.services.models.registry import ADAPTER, get_model, release_events, weights_bytes
from malan.services.models.rights import Asked, require_model_use
from malan.services.models.rows import ModelRow

if TYPE_CHECKING:
    from malan.workspace import Workspace

SAFETENSORS, ONNX = FORMATS = ("safetensors", "onnx")
_OF_PEFT = "base_model.model."


@dataclass(frozen=True)
class ExportedModel:
    """Files that were written. `difference` is that of the ONNX file from the model itself, the largest of a drawn
    batch; None for safetensors."""

    model: ModelRow
    format: str
    out: Path
    files: tuple[str, ...]
    digest: str  # of the file of the model
    difference: float | None


def export_model(
    ws: Workspace, text: str, out: Path, *, form: str = SAFETENSORS, asked: Asked | None = None, caller: Caller = HOUSE
) -> ExportedModel:
    """Write a model into a new or empty folder, with its card in both languages and the proof of its release.

    Args:
        ws: Where it is.
        text: Name or digest.
        out: A folder that is new or empty.
        form: `safetensors`, as it is; `onnx`, for classifiers, run and compared before it is written.
        asked: What for and where, for the licences; the action is always `export`.
        caller: On whose behalf; the receipt of the ledger says that it was exported.

    Raises:
        NotGranted: It may not leave: retired, a licence, an owner; every reason is in the message.
        UsageError: No such format, or the folder is not empty.
        Rejected: ONNX of what is no classifier.
        ProofError: The weights are not what they were, or the ONNX file does not answer as the model does.
    """
    if form not in FORMATS:
        raise UsageError("models.bad_format", format=form[:40], known=", ".join(FORMATS))
    model = get_model(ws, text, caller=caller)
    wanted = asked or Asked("export")
    require_model_use(ws, model, Asked("export", wanted.is_commercial, wanted.territory, wanted.name), caller=caller)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError("dataset.out_not_empty", path=str(out))
    files, difference = _onnx(ws, model) if form == ONNX else (_plain(ws, model), None)
    digest = digest_bytes(next(iter(files.values())))
    files |= _papers(ws, model)
    record(ws, [_exported(model, form, digest)])
    _write(out, files)
    return ExportedModel(model, form, out, tuple(files), digest, difference)


def _write(out: Path, files: dict[str, bytes]) -> None:
    """The folder has its name only when all of it is there."""
    part = out.with_name(f".{out.name}.malan-{os.getpid()}")
    try:
        part.mkdir(parents=True)
        for name, data in files.items():
            (part / name).write_bytes(data)
        part.replace(out)
    except OSError as error:
        shutil.rmtree(part, ignore_errors=True)
        raise StoreError("cli.not_written", path=str(out), detail=error.strerror or str(error)) from error


def classifier_of(ws: Workspace, model: ModelRow) -> Classifier:
    """The classifier a model is, with the names of its classes.

    Raises:
        Rejected: It is none.
    """
    classes = model.run.get("facts", {}).get("classes") or model.card.get("classes")
    if model.form == ADAPTER or model.place or not isinstance(classes, list):
        raise Rejected("models.no_classes", model=model.title)
    return read_classifier(parse_tensors(weights_bytes(ws, model)).tensors, [str(one) for one in classes])


def _plain(ws: Workspace, model: ModelRow) -> dict[str, bytes]:
    """The weights under the name their loader looks for: peft's, where its names say so, else that of diffusers."""
    data = weights_bytes(ws, model)
    if model.form != ADAPTER:
        return {"model.safetensors": data}
    adapter = read_adapter(data)
    if not all(module.startswith(_OF_PEFT) for module in adapter.pairs):
        return {"pytorch_lora_weights.safetensors": data}
    config = json.dumps(_peft_config(adapter, model.card.get("alpha")), indent=1, sort_keys=True)
    return {"adapter_model.safetensors": data, "adapter_config.json": config.encode()}


def _peft_config(adapter: Adapter, alpha: float | None) -> dict[str, Any]:
    """What peft asks of a configuration: the modules, their ranks where they differ, and alpha beside each rank."""
    ranks = {module.removeprefix(_OF_PEFT): pair.rank for module, pair in adapter.pairs.items()}
    differing = {module: rank for module, rank in ranks.items() if rank != adapter.rank}
    return {
        "peft_type": "LORA",
        "r": adapter.rank,
        "lora_alpha": adapter.rank if alpha is None else alpha,
        "bias": "none",
        "target_modules": sorted(ranks),
        "rank_pattern": differing,
        "alpha_pattern": differing if alpha is None else {},
    }


def _onnx(ws: Workspace, model: ModelRow) -> tuple[dict[str, bytes], float]:
    classifier = classifier_of(ws, model)
    said = {
        "classes": json.dumps(classifier.classes, ensure_ascii=False),
        "features": str(model.run.get("facts", {}).get("features", "")),
        "thresholds": json.dumps(classifier.thresholds),
        "model": model.id,
        "name": model.title,
        "licence": model.licence,
    }
    data = write_onnx(classifier, said)
    return {"model.onnx": data}, check_onnx(data, classifier)


def _papers(ws: Workspace, model: ModelRow) -> dict[str, bytes]:
    """Cards for people and machines, and the proof that it was released."""
    described = json.dumps(describe_model(ws, model), ensure_ascii=False, indent=1, default=fraction_text)
    receipt = bundle(ws, read_event(ws, release_events(ws, model.id)[0]))
    return {
        "README.md": card_markdown(ws, model, "en").encode(),
        "README.zh-CN.md": card_markdown(ws, model, "zh").encode(),
        "model.json": described.encode(),
        "receipt.json": write_receipt(receipt),
    }


def _exported(model: ModelRow, form: str, digest: str) -> Fact:
    return Fact(
        "model.export",
        (Subject(urn("model", model.id), model.id),),
        "model.export",
        facts={"format": form, "file": digest},
    )
