"""One gateway for all tests of it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from gateway_factory import Gateway, gateway


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway with its engines and a key."""
    with gateway(tmp_path_factory.mktemp("gateway")) as found:
        yield found
