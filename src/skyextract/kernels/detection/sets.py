"""Disjoint sets of indices (union-find)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from skyextract.kernels.jit import helper

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import I4


@helper
def find_root(parent: I4, i: int) -> int:
    """Return the root of the set that i belongs to, halving the path."""
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i
