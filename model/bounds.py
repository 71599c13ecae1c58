"""Range checks for settings and arguments, so that a bad value is reported before anything runs."""

import argparse
import math
from collections.abc import Callable
from pathlib import Path

from model.errors import ConfigError

_MOST_DIGITS = 18  # of a whole number, so that it fits into 64 bits


def check_at_least(least: float, where: str, config: object, *keys: str) -> None:
    """Check that fields, or each number in those that are tuples, are finite and at least `least`.

    Raises:
        ConfigError: one is not; the message names it after `where`, its place in the configuration.

    """
    for key in keys:
        value = getattr(config, key)
        numbers = value if isinstance(value, tuple) else (value,)
        if not all(least <= number < math.inf for number in numbers):  # so that NaN fails as well
            raise ConfigError(
                f"{where}.{key}: expected at least {least:g} and no infinity, got {value}"
            )


def check_share(where: str, config: object, *keys: str) -> None:
    """Check that fields are shares.

    Raises:
        ConfigError: one is not between 0 and 1.

    """
    for key in keys:
        value = getattr(config, key)
        if not 0 <= value <= 1:
            raise ConfigError(f"{where}.{key}: expected a share from 0 to 1, got {value}")


def check_positive(where: str, config: object, *keys: str) -> None:
    """Check that fields are finite and greater than zero."""
    for key in keys:
        value = getattr(config, key)
        if not 0 < value < math.inf:
            raise ConfigError(f"{where}.{key}: expected more than 0 and no infinity, got {value}")


def share(text: str) -> float:
    """Parse an argument that lies strictly between 0 and 1."""
    value = _float(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"expected a number between 0 and 1, got {text[:40]!r}")
    return value


def number(least: float, most: float = math.inf) -> Callable[[str], float]:
    """Return a parser for a finite number from `least` to `most`."""
    told = f"of {least:g} or more" if most == math.inf else f"from {least:g} to {most:g}"

    def read(text: str) -> float:
        value = _float(text)
        if not (least <= value <= most and math.isfinite(value)):
            raise argparse.ArgumentTypeError(f"expected a number {told}, got {text[:40]!r}")
        return value

    return read


def above_zero(text: str) -> float:
    """Parse an argument that is a finite number greater than 0."""
    value = _float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text[:40]!r}")
    return value


def whole(least: int, most: int | None = None) -> Callable[[str], int]:
    """Return a parser for a whole number from `least` to `most`."""
    told = f"of {least} or more" if most is None else f"from {least} to {most}"

    def read(text: str) -> int:
        is_whole = text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS
        if not (is_whole and least <= int(text) and (most is None or int(text) <= most)):
            raise argparse.ArgumentTypeError(f"expected a whole number {told}, got {text[:40]!r}")
        return int(text)

    return read


count = whole(1)
"""Parses an argument that is a whole number of at least 1."""


def _float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def check_writable(*paths: Path | None) -> None:
    """Check that results can be written to these paths, leaving any existing files unchanged.

    Raises:
        ConfigError: one cannot be written; missing folders are not created.

    """
    for path in filter(None, paths):
        try:
            new = not path.exists()
            with path.open("ab"):
                pass
            if new:
                path.unlink()
        except OSError as error:
            raise ConfigError(f"expected to write {path}, got: {error.strerror}") from error
