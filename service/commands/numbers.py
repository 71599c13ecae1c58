"""Checks numbers on the command line, so that a wrong one is reported before anything is sent."""

import argparse
from collections.abc import Callable


def whole(least: int, most: int) -> Callable[[str], int]:
    """Return an argparse type for a whole number from `least` to `most`."""

    def read(text: str) -> int:
        is_whole = text.isascii() and text.isdecimal() and len(text) <= len(str(most))
        if not (is_whole and least <= int(text) <= most):
            raise argparse.ArgumentTypeError(
                f"expected a whole number from {least} to {most}, got {text[:40]!r}"
            )
        return int(text)

    return read
