"""A small transformer over tokens of notes, with names and sizes that the manifest declares. Start at `Composer`."""

from __future__ import annotations

import torch
from notes import BEGIN, END, VOCABULARY
from torch import nn
from torch.nn import functional


class Composer(nn.Module):
    """Tokens in, logits of the next ones out. The embedding is the last layer too."""

    def __init__(self, width: int, layers: int, heads: int, length: int) -> None:
        super().__init__()
        if width % heads:
            raise ValueError("width must be a multiple of heads")
        self.length = length
        self.embed = nn.Embedding(VOCABULARY, width)
        self.position = nn.Embedding(length, width)
        self.blocks = nn.ModuleList([_Block(width, heads) for _ in range(layers)])
        self.norm = nn.RMSNorm(width)
        self.apply(_small)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """(N, T) → (N, T, vocabulary)."""
        held = self.embed(ids) + self.position(torch.arange(ids.shape[1], device=ids.device))
        for block in self.blocks:
            held = block(held)
        logits: torch.Tensor = self.norm(held) @ self.embed.weight.T
        return logits

    @torch.inference_mode()
    def compose(self, count: int, seed: int, temperature: float = 0.9) -> list[int]:
        """Tokens of a new piece, drawn one after another: at most so many."""
        lots = torch.Generator().manual_seed(seed)
        tokens = [BEGIN]
        while len(tokens) < count and tokens[-1] != END:
            logits = self(torch.tensor([tokens[-self.length :]]))[0, -1]
            chances = functional.softmax(logits / temperature, -1)
            tokens.append(int(torch.multinomial(chances, 1, generator=lots)))
        return tokens


class _Block(nn.Module):
    """Attention to what came before, then two layers; each adds to what it was given."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.RMSNorm(width), nn.RMSNorm(width)
        self.mix, self.out = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)
        self.up, self.down = nn.Linear(width, 4 * width, bias=False), nn.Linear(4 * width, width, bias=False)

    def forward(self, held: torch.Tensor) -> torch.Tensor:
        count, length, width = held.shape
        asks, keys, says = self.mix(self.norm1(held)).reshape(count, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        seen = functional.scaled_dot_product_attention(asks, keys, says, is_causal=True)
        held = held + self.out(seen.transpose(1, 2).reshape(count, length, width))
        more: torch.Tensor = self.down(functional.gelu(self.up(self.norm2(held))))
        return held + more


def _small(module: nn.Module) -> None:
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
