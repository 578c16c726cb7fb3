"""What clients say to engines, and what these answer, held against the rule packs an operator switched on.

Nothing is done, and nothing costs any time, where none is. Start at `hold`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.concurrency import run_in_threadpool

from malan.apps.guard import Where, check_words
from malan.web.gateway.desk import Counter


async def hold(counter: Counter, texts: Mapping[str, str], *, where: Where = "input") -> None:
    """Go on only when no rule refuses.

    Raises:
        Rejected: One does; field, words, rule and clause are named, and nothing is charged.
        UsageError: A text is too long to be looked at.
    """
    if counter.ws.settings.app_packs:
        await run_in_threadpool(check_words, counter.ws, texts, where=where)


def texts_of_chat(said: Mapping[str, Any]) -> dict[str, str]:
    """The words of a conversation, by message."""
    listed = enumerate(one for one in said["messages"] if isinstance(one, dict))
    return {f"messages.{number}": _text(one.get("content")) for number, one in listed}


def texts_of_answer(answer: Mapping[str, Any]) -> dict[str, str]:
    """The words of an answer, by choice."""
    found = {}
    for number, one in enumerate(answer["choices"]):
        message = one.get("message") if isinstance(one, dict) else None
        if isinstance(message, dict):
            found[f"choices.{number}"] = _text(message.get("content"))
    return found


def _text(content: Any) -> str:
    """Words, or the words among the parts of a message."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return "\n".join(one["text"] for one in parts if isinstance(one, dict) and isinstance(one.get("text"), str))
