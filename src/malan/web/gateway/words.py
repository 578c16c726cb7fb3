"""What clients say to engines, and what these answer, held against the rule packs an operator switched on.

Nothing is done, and nothing costs any time, where none is. Start at `hold`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.concurrency import run_in_threadpool

from malan.apps.guard import Where, check_words
from malan.web.gateway.desk import Counter

_REACH = 160  # letters: more than the longest word of a list, with what may be put between its letters


async def hold(counter: Counter, texts: Mapping[str, str], *, where: Where = "input") -> None:
    """Go on only when no rule refuses.

    Raises:
        Rejected: One does; field, words, rule and clause are named, and nothing is charged.
        UsageError: A text is too long to be looked at.
    """
    if counter.ws.settings.app_packs:
        await run_in_threadpool(check_words, counter.ws, texts, where=where)


class Saying:
    """A streamed answer as it comes.

    Each piece is held together with what was said shortly before it, so that a word is found however it is cut into
    pieces, and its last piece never goes out.
    """

    def __init__(self, counter: Counter) -> None:
        self._counter = counter
        self._said: dict[int, str] = {}  # by choice, as far back as a word reaches

    async def hold(self, event: Mapping[str, Any]) -> None:
        """Go on only when no rule refuses what a piece makes of the answer.

        Raises:
            Rejected: One does.
        """
        if not self._counter.ws.settings.app_packs:
            return
        for choice in event["choices"]:
            delta = choice.get("delta") if isinstance(choice, dict) else None
            piece = delta.get("content") if isinstance(delta, dict) else None
            if isinstance(piece, str) and piece:
                index = choice["index"] if isinstance(choice.get("index"), int) else 0
                whole = self._said.get(index, "") + piece
                await hold(self._counter, {f"choices.{index}": whole}, where="output")
                self._said[index] = whole[-_REACH:]


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
