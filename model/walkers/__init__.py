"""Synthetic walkers: people who never existed, walking past cameras that never existed."""

from model.walkers.generate import packed_walk, render_walk, render_walks
from model.walkers.packed import write_casia_b, write_packed
from model.walkers.settings import CONDITIONS, VIEWS, WalkerSettings

__all__ = [
    "CONDITIONS",
    "VIEWS",
    "WalkerSettings",
    "packed_walk",
    "render_walk",
    "render_walks",
    "write_casia_b",
    "write_packed",
]
