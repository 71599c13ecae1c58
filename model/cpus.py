"""Determines how many CPUs this process may use."""

import os
from collections.abc import Iterator
from pathlib import Path

_GROUPS = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")


def available_cpus(groups: Path = _GROUPS, own: Path = _OWN) -> int:
    """Return how many CPUs this process may use: its affinity, or less if a cgroup quota says so.

    Args:
        groups: where the kernel exposes its control groups.
        own: the file that says which group this process is in. A container sees its own group as
            the root, but limits by systemd (`CPUQuota=`) lie deeper, and every group above may
            limit it further.

    """
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([cpus, *_quotas(groups, own)]))


def _quotas(groups: Path, own: Path) -> Iterator[int]:
    """Yield the whole CPUs allowed by control groups, both version 2 and version 1."""
    told = [line.split(":", 2) for line in _read(own).splitlines()]
    for _, controllers, path in (words for words in told if len(words) == 3):
        if not controllers:
            for folder in _upwards(groups, path):
                yield from _whole(*_read(folder / "cpu.max").split()[:2])
        elif "cpu" in controllers.split(","):
            for folder in _upwards(groups / controllers, path):
                quota, period = (
                    _read(folder / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period")
                )
                yield from _whole(quota, period)


def _upwards(root: Path, path: str) -> Iterator[Path]:
    """Yield the group at a path, then its ancestors up to the root."""
    parts = Path(path.lstrip("/")).parts
    for count in range(len(parts), -1, -1):
        yield root.joinpath(*parts[:count])


def _whole(quota: str = "", period: str = "") -> Iterator[int]:
    # "max" and -1 mean no limit.
    if quota.isdigit() and period.isdigit() and int(period):
        yield int(quota) // int(period)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except (OSError, UnicodeError):
        return ""
