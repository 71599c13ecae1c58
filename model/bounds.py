"""Bounds of what people give, so that a wrong one is named before anything runs."""

import argparse
from pathlib import Path

from model.errors import ConfigError


def check_at_least(least: float, where: str, config: object, *keys: str) -> None:
    """Check that fields, or each number of them where they hold several, are `least` or more.

    Raises:
        ConfigError: one is not; it is named with `where`, its place in the configuration.

    """
    for key in keys:
        value = getattr(config, key)
        numbers = value if isinstance(value, tuple) else (value,)
        if not all(number >= least for number in numbers):  # so NaN is refused as well
            raise ConfigError(f"{where}.{key}: expected at least {least:g}, got {value}")


def check_share(where: str, config: object, *keys: str) -> None:
    """Check that fields are shares.

    Raises:
        ConfigError: one lies outside 0 to 1.

    """
    for key in keys:
        value = getattr(config, key)
        if not 0 <= value <= 1:
            raise ConfigError(f"{where}.{key}: expected a share from 0 to 1, got {value}")


def check_positive(where: str, config: object, *keys: str) -> None:
    """Check that fields are above zero.

    Raises:
        ConfigError: one is not.

    """
    for key in keys:
        value = getattr(config, key)
        if not value > 0:
            raise ConfigError(f"{where}.{key}: expected more than 0, got {value}")


def share(text: str) -> float:
    """Read an argument that lies between 0 and 1, neither included."""
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"expected a number between 0 and 1, got {text!r}")
    return value


def count(text: str) -> int:
    """Read an argument that is a whole number of 1 or more."""
    if not (text.isascii() and text.isdecimal() and int(text[:18]) >= 1):
        raise argparse.ArgumentTypeError(f"expected a whole number of 1 or more, got {text[:40]!r}")
    return int(text[:18])


def check_writable(*paths: Path | None) -> None:
    """See that results can be written at these paths once they are there; leaves what stands there.

    Raises:
        ConfigError: one cannot be written; its folder is not made.

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
