"""The machine that a benchmark ran on, for the reader of its table."""

import os


def processors() -> str:
    """Name the processor and count the CPUs."""
    with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
        names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    return f"{names[0] if names else 'unknown processor'}, {os.cpu_count()} CPUs"
