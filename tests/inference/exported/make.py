"""Exports tiny models of the real architectures, random weights, with what their own library answers.

    python make.py            (torch, transformers and onnx; run by hand, the files are kept)

CLIP as `text_model.onnx` and `vision_model.onnx`, Depth Anything as `model.onnx`; each with the configuration that
transformers writes beside it, and `truth.npz`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    DepthAnythingConfig,
    DepthAnythingForDepthEstimation,
    Dinov2Config,
    DPTImageProcessor,
    PreTrainedTokenizerFast,
)

HERE = Path(__file__).parent
SMALL = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2, "num_hidden_layers": 1}


class Part(torch.nn.Module):
    """One answer of a model as a model of its own."""

    def __init__(self, model: torch.nn.Module, answer: Any) -> None:
        super().__init__()
        self.model, self.answer = model, answer

    def forward(self, *given: torch.Tensor) -> torch.Tensor:
        return self.answer(self.model, *given)


def export(part: Part, given: dict[str, torch.Tensor], name: str, path: Path, free: tuple[int, ...]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    axes = {one: {side: f"{one}{side}" for side in free if side < value.ndim} for one, value in given.items()}
    torch.onnx.export(
        part, tuple(given.values()), str(path), input_names=list(given), output_names=[name],
        dynamic_axes={**axes, name: {side: f"{name}{side}" for side in free}}, dynamo=False, opset_version=18,
    )  # fmt: skip


def clip(folder: Path) -> None:
    text = {**SMALL, "vocab_size": 99, "max_position_embeddings": 20}
    text |= {"eos_token_id": 98, "bos_token_id": 97, "pad_token_id": 1}
    vision = {**SMALL, "image_size": 32, "patch_size": 16}
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=12)).eval()
    words = Part(model, lambda m, i, a: m.text_projection(m.text_model(input_ids=i, attention_mask=a).pooler_output))
    sight = Part(model, lambda m, p: m.visual_projection(m.vision_model(pixel_values=p).pooler_output))
    ids, mask = torch.tensor([[97, 5, 6, 98], [97, 7, 98, 1]]), torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])
    export(words, {"input_ids": ids, "attention_mask": mask}, "text_embeds", folder / "onnx/text_model.onnx", (0, 1))
    export(sight, {"pixel_values": torch.zeros(2, 3, 32, 32)}, "image_embeds", folder / "onnx/vision_model.onnx", (0,))
    prepare = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    prepare.save_pretrained(folder)
    model.config.save_pretrained(folder)
    vocabulary = {f"w{n}": n for n in range(2, 97)} | {"<unk>": 0, "<pad>": 1, "<s>": 97, "</s>": 98}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, "<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    ends = [("<s>", 97), ("</s>", 98)]
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A </s>", special_tokens=ends)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"pad_token": "<pad>", "model_max_length": 20}))
    texts = ["w5 w6", "w7", "w9 " * 50]
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>")
    read = fast(texts, padding=True, truncation=True, max_length=20, return_tensors="pt")
    pictures = np.random.default_rng(1).integers(0, 256, (2, 45, 70, 3), np.uint8)
    with torch.no_grad():
        said = torch.nn.functional.normalize(words(read["input_ids"], read["attention_mask"]))
        seen = torch.nn.functional.normalize(sight(prepare(list(pictures), return_tensors="pt")["pixel_values"]))
    np.savez_compressed(folder / "truth.npz", texts=texts, pictures=pictures, said=said.numpy(), seen=seen.numpy())


def depth(folder: Path) -> None:
    body = Dinov2Config(
        hidden_size=16, num_attention_heads=2, num_hidden_layers=4, mlp_ratio=1, image_size=42, patch_size=14,
        out_features=["stage1", "stage2", "stage3", "stage4"], reshape_hidden_states=False, apply_layernorm=True,
    )  # fmt: skip
    config = DepthAnythingConfig(
        backbone_config=body, reassemble_hidden_size=16, neck_hidden_sizes=[4, 4, 4, 4], fusion_hidden_size=8,
        head_hidden_size=4, patch_size=14,
    )  # fmt: skip
    model = DepthAnythingForDepthEstimation(config).eval()
    with torch.no_grad():  # random weights would all end below zero, where the last layer is flat
        for weight in model.parameters():
            weight.copy_(0.3 * torch.randn_like(weight))
        model.head.conv3.bias.fill_(5.0)
    prepare = DPTImageProcessor(size={"height": 42, "width": 42}, keep_aspect_ratio=True, ensure_multiple_of=14)
    picture = np.random.default_rng(2).integers(0, 256, (60, 81, 3), np.uint8)
    values = prepare(picture, return_tensors="pt")["pixel_values"]
    part = Part(model, lambda m, p: m(pixel_values=p).predicted_depth)
    export(part, {"pixel_values": values}, "predicted_depth", folder / "model.onnx", ())
    prepare.save_pretrained(folder)
    model.config.save_pretrained(folder)
    with torch.no_grad():
        near = part(values)[0].numpy()
    np.savez_compressed(folder / "truth.npz", picture=picture, values=values.numpy(), near=near)


if __name__ == "__main__":
    torch.manual_seed(0)
    clip(HERE / "clip")
    depth(HERE / "depth")
