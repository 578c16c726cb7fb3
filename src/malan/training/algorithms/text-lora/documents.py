"""A text as tokens: plain, or a conversation of which only the answers are learned. Start reading at `reader_of`."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from next_token import IGNORED, Window

_MOST_BYTES = 4_000_000
_ROLES = ("system", "user", "assistant")


def reader_of(tokenizer: Any) -> Callable[[bytes], Window]:
    """A function from a text to its tokens, and to those that are to be learned."""

    def tokens_of(text: bytes) -> Window:
        words = text[:_MOST_BYTES].decode("utf-8", "replace")
        talk = conversation_in(words)
        if talk is not None and tokenizer.chat_template:
            return _of_talk(tokenizer, talk)
        ids = [*tokenizer(words, add_special_tokens=False).input_ids]
        if ids and tokenizer.eos_token_id is not None:
            ids.append(tokenizer.eos_token_id)
        return ids, list(ids)

    return tokens_of


def conversation_in(text: str) -> list[dict[str, str]] | None:
    """The turns of `{"messages": [{"role": …, "content": …}]}`; None when the text is something else."""
    if not text.lstrip().startswith("{"):
        return None
    try:
        turns = json.loads(text)["messages"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    sound = isinstance(turns, list) and all(
        isinstance(turn, dict) and turn.get("role") in _ROLES and isinstance(turn.get("content"), str) for turn in turns
    )
    return [{"role": turn["role"], "content": turn["content"]} for turn in turns] if sound and turns else None


def _of_talk(tokenizer: Any, turns: list[dict[str, str]]) -> Window:
    """All turns as the model's own template writes them; what the assistant says is learned."""
    ids = _written(tokenizer, turns, is_asking=False)
    wanted = [IGNORED] * len(ids)
    for place, turn in enumerate(turns):
        if turn["role"] == "assistant":
            before = len(_written(tokenizer, turns[:place], is_asking=True))
            until = len(_written(tokenizer, turns[: place + 1], is_asking=False))
            wanted[before:until] = ids[before:until]
    return ids, wanted


def _written(tokenizer: Any, turns: list[dict[str, str]], *, is_asking: bool) -> list[int]:
    if not turns:
        return []
    text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=is_asking)
    return [*tokenizer(text, add_special_tokens=False).input_ids]
