"""Describes the machine that a benchmark ran on, for the reader of its table."""

import os
from pathlib import Path

# Instruction sets by the kernel's names, widest first; they determine a network's speed.
_VECTORS = (("avx512f", "AVX-512"), ("avx2", "AVX2"))
_FOR_NETWORKS = (
    (("avx512_vnni", "avx_vnni"), "VNNI"),
    (("avx512_bf16", "amx_bf16"), "bfloat16"),
)


def processors(told: str | None = None) -> str:
    """Return the processor's name, the number of CPUs, and the arithmetic it supports.

    Args:
        told: the text of /proc/cpuinfo; read from the file by default.

    """
    names = _values("model name", told)
    name = names[0] if names else "unknown processor"
    return f"{name}, {os.cpu_count()} CPUs ({', '.join(arithmetic(told))})"


def arithmetic(told: str | None = None) -> list[str]:
    """Return the processor's widest vectors, then its extensions for networks."""
    flags = set(" ".join(_values("flags", told)[:1]).split())
    widest = next((name for flag, name in _VECTORS if flag in flags), "no-AVX2")
    return [widest, *(name for any_of, name in _FOR_NETWORKS if flags & set(any_of))]


def _values(key: str, told: str | None) -> list[str]:
    if told is None:
        told = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    lines = (line.partition(":") for line in told.splitlines())
    return [value.strip() for name, _, value in lines if name.strip() == key]
