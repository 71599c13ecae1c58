"""Datasets: their layouts on disk, the packed cache for fast reading, and what they lack.

A raw dataset has a layout (`layouts`), which divides it into portions (`trees`, `archives`). `pack`
aligns their walks and writes a packed cache, which `open_packed` opens for training and evaluation.
`opengait` imports pickled trees, offline and only for `metagait convert`.
"""

from model.dataset.layouts import LAYOUTS, Layout, layout_of
from model.dataset.packed import PackedWriter, is_packed, open_packed
from model.dataset.packing import pack
from model.dataset.partitions import (
    PARTITIONS,
    Partition,
    first_subjects,
    listed_subjects,
    named_partition,
)
from model.dataset.report import SHORT, Report
from model.dataset.samples import Dataset, Sample, Source, joined

__all__ = [
    "LAYOUTS",
    "PARTITIONS",
    "SHORT",
    "Dataset",
    "Layout",
    "PackedWriter",
    "Partition",
    "Report",
    "Sample",
    "Source",
    "first_subjects",
    "is_packed",
    "joined",
    "layout_of",
    "listed_subjects",
    "named_partition",
    "open_packed",
    "pack",
]
