"""Names, sizes and bytes of tiles as C2SP tlog-tiles gives them."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from malan.core.errors import ProofError
from malan.core.merkle import leaf_hash, merkle_root
from malan.ledger.edge import Edge
from malan.ledger.tiles import (
    ENTRIES,
    WIDTH,
    Tile,
    edge_tiles,
    full_root,
    leaf_hashes,
    pack,
    tile_at,
    tile_rows,
    tiles_of,
    unpack,
    unpack_proved,
)

SIZES = [0, 1, 2, 255, 256, 257, 511, 512, 65_535, 65_536, 65_537, 70_000, 10**9]


@pytest.mark.parametrize(
    ("tile", "path"),
    [
        (Tile(0, 1_234_067), "tile/0/x001/x234/067"),
        (Tile(ENTRIES, 0), "tile/entries/000"),
        (Tile(2, 999, 17), "tile/2/999.p/17"),
        (Tile(63, 1000, 1), "tile/63/x001/000.p/1"),
    ],
)
def test_a_tile_has_the_path_of_the_standard(tile: Tile, path: str) -> None:
    assert tile.path == path
    assert Tile.parse(path) == tile


@settings(deadline=None)
@given(st.integers(-1, 63), st.integers(0, 2**55), st.integers(1, 256))
def test_a_path_is_read_back(level: int, index: int, width: int) -> None:
    tile = Tile(level, index, width)
    assert Tile.parse(tile.path) == tile


@pytest.mark.parametrize(
    "path",
    ["tile/0/1", "tile/00/001", "tile/64/001", "tile/0/x000/001", "tile/0/001/002", "tile/0/001.p/0",
     "tile/0/001.p/256", "tile/0/001.p/01", "tile/0/x1/001", "tile/-1/001", "tile/0/001.new", "tile/0/00１",
     "/tile/0/001", "tile/0/001\n"],
)  # fmt: skip
def test_another_spelling_names_no_tile(path: str) -> None:
    assert Tile.parse(path) is None


def test_seventy_thousand_entries_have_the_tiles_the_standard_counts() -> None:
    tiles = list(tiles_of(70_000))
    level = {n: [tile for tile in tiles if tile.level == n] for n in range(-1, 4)}
    assert (len(level[0]), level[0][-1].width) == (274, 112)
    assert [tile.width for tile in level[1]] == [256, 17]
    assert [tile.width for tile in level[2]] == [1]
    assert not level[3]
    assert len(level[ENTRIES]) == 274


def test_256_entries_are_a_full_tile_and_one_hash_above() -> None:
    assert [(t.level, t.width) for t in tiles_of(256)] == [(ENTRIES, 256), (0, 256), (1, 1)]


@pytest.mark.parametrize("size", SIZES)
def test_the_edge_of_a_tree_is_what_is_not_full(size: int) -> None:
    assert [tile.width for tile in edge_tiles(size)] == [size >> 8 * t.level & 255 for t in edge_tiles(size)]
    assert all(tile_at(t.level, t.index, size) == t for t in edge_tiles(size))


def test_entries_of_every_length_come_back_from_a_bundle() -> None:
    held = [b"", b"a", b"\x00\x01", bytes(65_535)]
    assert pack(held[:2]) == b"\x00\x00\x00\x01a"
    assert unpack(pack(held), 4) == held


@pytest.mark.parametrize("data", [b"", b"\x00", b"\x00\x02a", b"\x00\x01ab"])
def test_bytes_that_are_no_bundle_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"\d"):
        unpack(data, 1)


def test_a_changed_entry_of_a_bundle_is_named() -> None:
    held = [b"one", b"two", b"three"]
    hashes = leaf_hashes(held)
    data = pack([b"one", b"tWo", b"three"])
    with pytest.raises(ProofError) as error:
        unpack_proved(data, hashes, Tile(ENTRIES, 2, 3))
    assert (error.value.values["entry"], error.value.values["byte"]) == (513, 5)
    assert unpack_proved(pack(held), hashes[:2], Tile(ENTRIES, 0)) == held[:2]
    with pytest.raises(ProofError, match="goes on after"):
        unpack_proved(pack(held), hashes[:2], Tile(ENTRIES, 0, 2))


def test_a_full_tile_is_the_tree_of_the_standard() -> None:
    hashes = [hashlib.sha256(bytes([i])).digest() for i in range(WIDTH)]
    assert full_root(hashes) == merkle_root(hashes)
    assert tile_rows(hashes)[3][5] == merkle_root(hashes[40:48])


@settings(deadline=None)
@given(st.lists(st.integers(1, 600), max_size=6))
def test_the_edge_knows_the_root_however_leaves_arrive(parts: list[int]) -> None:
    edge, leaves = Edge(), [leaf_hash(bytes([i % 256])) for i in range(sum(parts))]
    full = []
    for part in parts:
        full += edge.add(leaves[edge.size : edge.size + part])
    assert edge.root() == merkle_root(leaves)
    assert [tile for tile, _ in full if tile.level == 0] == [Tile(0, i) for i in range(len(leaves) // WIDTH)]
    assert [tile.width for tile, _ in edge.partials()] == [t.width for t in edge_tiles(len(leaves)) if t.width]


def test_the_edge_carries_over_several_levels() -> None:
    edge, leaf = Edge(), leaf_hash(b"")
    full = edge.add([leaf] * (WIDTH**2 + 1))
    assert full[-1][0] == Tile(1, 0)
    assert [len(row) for row in edge.rows] == [1, 0, 1]
    assert edge.root() == merkle_root([leaf] * (WIDTH**2 + 1))
