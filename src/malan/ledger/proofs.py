"""Inclusion and consistency proofs from the nodes of a tree that is not in memory (RFC 6962 §2.1.1, §2.1.2).

`root_of(first, end)` gives the root over a range of entries; where it comes from does not matter here.
"""

from __future__ import annotations

from collections.abc import Callable

RootOf = Callable[[int, int], bytes]


def inclusion_path(index: int, size: int, root_of: RootOf) -> list[bytes]:
    """PATH(index, D[size]): the neighbours on the way from the entry to the root, lowest first."""
    if not 0 <= index < size:
        raise IndexError(index)
    first, end, path = 0, size, []
    while end - first > 1:
        split = first + _half(end - first)
        if index < split:
            path.append(root_of(split, end))
            end = split
        else:
            path.append(root_of(first, split))
            first = split
    return path[::-1]


def consistency_path(old_size: int, new_size: int, root_of: RootOf) -> list[bytes]:
    """PROOF(old_size, D[new_size]): what shows that the older tree is the beginning of the newer one."""
    if not 0 <= old_size <= new_size:
        raise IndexError(old_size)
    if old_size in (0, new_size):
        return []
    first, end, path = 0, new_size, []
    while end != old_size:
        split = first + _half(end - first)
        if old_size <= split:
            path.append(root_of(split, end))
            end = split
        else:
            path.append(root_of(first, split))
            first = split
    if first:
        path.append(root_of(first, end))  # the older tree is not this subtree alone: its root is not known to the asker
    return path[::-1]


def _half(count: int) -> int:
    """The largest power of two below `count`: where RFC 6962 §2.1 splits."""
    return 1 << (count - 1).bit_length() - 1
