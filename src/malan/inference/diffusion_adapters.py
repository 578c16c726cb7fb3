"""Sub-models attached to a pipeline for one request: every name must find its place, and the whole must do something.

The commonest failure of adapters is silence: names that match nothing are skipped and the picture looks as before. Here
that is an error. Start reading at `Attached.only`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from malan.core.errors import Rejected, UsageError
from malan.inference.adapters import find_pairs
from malan.inference.diffusion_parts import library
from malan.inference.opening import Adapter, FindAdapter

MOST_ADAPTERS, MOST_WEIGHT = 8, 4.0
_PARTS = ("transformer", "transformer_2", "unet")


@dataclass
class Attached:
    """What is attached to a pipeline at this moment."""

    pipeline: Any
    find: FindAdapter
    _standing: dict[str, tuple[str, ...]] = field(default_factory=dict)  # id of an adapter → parts it changes

    def only(self, asked: Mapping[str, float]) -> list[Adapter]:
        """Attach these sub-models with these weights and no others; those that were asked for.

        Raises:
            UsageError: Too many, or a weight that means nothing.
            Rejected: Names that match nothing in the base, shapes that differ, or weights that do nothing.
            MalanError: One may not be used by whoever asks.
        """
        check_weights(asked)
        found = [self.find(name) for name in asked]
        weights = {one.id: weight for one, weight in zip(found, asked.values(), strict=True)}
        if len(weights) < len(found):
            raise UsageError("engines.adapter_twice")
        try:
            if set(self._standing) - set(weights):
                self.remove()
            for one in found:
                if one.id not in self._standing:
                    self._standing[one.id] = self._attach(one)
            self._weigh(weights)
        except BaseException:
            self.remove()
            raise
        return found

    def remove(self) -> None:
        """As if none had ever been attached."""
        for part in _PARTS:
            model = getattr(self.pipeline, part, None)
            if model is not None and getattr(model, "_hf_peft_config_loaded", False):
                model.unload_lora()
        self._standing.clear()

    def _weigh(self, weights: Mapping[str, float]) -> None:
        for part in _PARTS:
            here = [one for one, parts in self._standing.items() if part in parts]
            if here:
                getattr(self.pipeline, part).set_adapters([_name(one) for one in here], [weights[one] for one in here])

    def _attach(self, adapter: Adapter) -> tuple[str, ...]:
        by_part = _factors(adapter, self.pipeline)
        for part, factors in by_part.items():
            model = getattr(self.pipeline, part)
            model.load_lora_adapter(factors, prefix=None, adapter_name=_name(adapter.id))
            _check_attached(adapter, model, factors)
        return tuple(by_part)


def check_weights(asked: Mapping[str, float]) -> None:
    """Raises:
    UsageError: Too many sub-models, or a weight that means nothing.
    """
    if len(asked) > MOST_ADAPTERS:
        raise UsageError("engines.many_adapters", count=len(asked), most=MOST_ADAPTERS)
    for name, weight in asked.items():
        if not 0 < abs(weight) <= MOST_WEIGHT:  # also what is no number
            raise UsageError("engines.adapter_weight", model=str(name)[:80], weight=str(weight)[:20], most=MOST_WEIGHT)


def _name(adapter_id: str) -> str:
    return f"m{adapter_id[:16]}"


def _factors(adapter: Adapter, pipeline: Any) -> dict[str, dict[str, Any]]:
    """Part of the pipeline → its factors under the names peft gives them, scaled so that alpha is the rank.

    Raises:
        Rejected: Anything in the file that is no pair, or of a module that is not there.
    """
    torch = library("torch")
    held = library("safetensors.torch").load_file(adapter.path)
    pairs, others = find_pairs(held)
    if others or not pairs:
        raise _misfit(adapter, others or ["–"], len(held))
    found: dict[str, dict[str, Any]] = {}
    lost: list[str] = []
    is_felt = False
    for pair in pairs:
        part, _, module = pair.module.partition(".")
        layer = _layer(pipeline, part, module)
        up, down = held[pair.up].float(), held[pair.down].float()
        if (
            layer is None
            or (up.shape[0], down.shape[1]) != tuple(layer.weight.shape[:2])
            or up.shape[1] != down.shape[0]
        ):
            lost.append(pair.module)
            continue
        alpha = float(held[pair.alpha]) if pair.alpha else adapter.alpha
        scaled = up * (1.0 if alpha is None else alpha / down.shape[0])
        if not (torch.isfinite(scaled).all() and torch.isfinite(down).all()):
            raise Rejected("engines.adapter_numbers", model=adapter.title, module=pair.module[:80])
        is_felt = is_felt or bool((scaled.flatten(1) @ down.flatten(1)).any())
        found.setdefault(part, {}).update({f"{module}.lora_A.weight": down, f"{module}.lora_B.weight": scaled})
    if lost:
        raise _misfit(adapter, lost, len(pairs))
    if not is_felt:
        raise Rejected("engines.adapter_silent", model=adapter.title)
    return found


def _layer(pipeline: Any, part: str, module: str) -> Any:
    """The module an adapter names, where it is one that can be adapted."""
    model = getattr(pipeline, part, None) if part in _PARTS else None
    if model is None:
        return None
    try:
        layer = model.get_submodule(module)
    except AttributeError:
        return None
    layer = getattr(layer, "base_layer", layer)  # another adapter is on it already
    return layer if hasattr(layer, "weight") and layer.weight.ndim >= 2 else None


def _check_attached(adapter: Adapter, model: Any, factors: Mapping[str, Any]) -> None:
    """Every factor stands in the model as it was in the file, and nothing else of this adapter does."""
    torch, mark = library("torch"), f".{_name(adapter.id)}.weight"
    standing = {name.replace(mark, ".weight"): one for name, one in model.named_parameters() if name.endswith(mark)}
    wrong = sorted(set(standing) ^ set(factors))
    wrong += [
        name for name, one in standing.items()
        if name in factors and not torch.equal(one.detach().cpu(), factors[name].to(one.dtype))
    ]  # fmt: skip
    if wrong:
        raise _misfit(adapter, wrong, len(factors))


def _misfit(adapter: Adapter, names: Sequence[str], whole: int) -> Rejected:
    return Rejected(
        "engines.adapter_misfit", model=adapter.title, count=len(names), whole=whole, first=str(names[0])[:80]
    )
