"""One gateway for all tests of it, and the mark of those that ask it with the official client.

A test is marked `openai_sdk` where its code, a fixture of its module, or code of this folder that these name makes a
client of the official package; and it fails when it then asks nothing with one, or asks without being marked.
So the count of

    pytest tests/web/gateway -m openai_sdk

is the number of contract cases that really went through that client.
"""

from __future__ import annotations

import types
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from openai.resources.webhooks import Webhooks

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from gateway_factory import Gateway, gateway

_HERE = Path(__file__).parent
_MARK = "openai_sdk"
_MAKERS = {"official", "OpenAI", "AsyncOpenAI"}


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway with its engines and a key."""
    with gateway(tmp_path_factory.mktemp("gateway")) as found:
        yield found


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if isinstance(item, pytest.Function) and item.path.parent == _HERE:
            fixtures = (getattr(item.module, name, None) for name in item.fixturenames)
            named = [item.function, *(one._get_wrapped_function() for one in fixtures if one is not None)]
            if any(_makes_client(one, set()) for one in named):
                item.add_marker(getattr(pytest.mark, _MARK))


@pytest.fixture(autouse=True)
def _asked_with_the_official_client(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    asked: list[str] = []
    for place, name in (
        (openai.OpenAI, "request"), (openai.AsyncOpenAI, "request"), (Webhooks, "unwrap"),
    ):  # fmt: skip
        monkeypatch.setattr(place, name, _noted(getattr(place, name), asked))
    yield
    assert bool(asked) == (request.node.get_closest_marker(_MARK) is not None), "the mark openai_sdk is not true"


def _noted(ask: Callable[..., Any], asked: list[str]) -> Callable[..., Any]:
    def noted(*given: Any, **named: Any) -> Any:
        asked.append(ask.__name__)
        return ask(*given, **named)

    return noted


def _makes_client(function: Callable[..., Any], seen: set[types.CodeType]) -> bool:
    """Whether a function, or a function of this folder that it names, makes a client of the official package."""
    code = getattr(function, "__code__", None)
    if code is None or code in seen:
        return False
    seen.add(code)
    names = _names(code)
    if names & _MAKERS:
        return True
    found = (function.__globals__.get(name) for name in names)
    near = (one for one in found if isinstance(one, types.FunctionType) and _is_near(one))
    return any(_makes_client(one, seen) for one in near)


def _names(code: types.CodeType) -> set[str]:
    inner = (one for one in code.co_consts if isinstance(one, types.CodeType))
    return set(code.co_names).union(*map(_names, inner))


def _is_near(function: types.FunctionType) -> bool:
    return Path(function.__code__.co_filename).parent == _HERE
