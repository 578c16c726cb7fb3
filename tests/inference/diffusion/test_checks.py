"""Every tiny base is well by `malan model check`, which needs no torch; what it refuses an engine refuses too."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from diffusion_bases import KINDS

from malan.services.models.bases import add_base
from malan.services.models.upkeep import check_model
from malan.workspace import Workspace


@pytest.mark.parametrize("name", sorted(KINDS))
def test_a_base_that_can_be_opened_is_well(name: str, base: Callable[[str], Path], tmp_path: Path) -> None:
    ws = Workspace.create(tmp_path / "ws")
    add_base(ws, base(name), licence="Apache-2.0", family=KINDS[name][0], name=name)
    found = check_model(ws, name)
    assert found.is_well, [one for one in found.findings if not one.is_well]


def test_a_base_that_was_registered_as_another_family_is_not_well(base: Callable[[str], Path], tmp_path: Path) -> None:
    ws = Workspace.create(tmp_path / "ws")
    add_base(ws, base("ltx"), licence="Apache-2.0", family="wan", name="ltx")
    assert [one.what for one in check_model(ws, "ltx").findings if not one.is_well] == ["family"]
