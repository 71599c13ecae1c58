"""Compares the configuration of a checkpoint with the one that resumes it."""

from collections.abc import Iterator, Mapping
from typing import Any

from model.config import TrainConfig, plain
from model.errors import ConfigError

_WITHOUT_EFFECT = ("optimiser.weight_decay", "optimiser.meta_rate", "meta_start", "start")
"""Settings that apply only at the start of a training, or come from the checkpoint's optimiser."""
_LONGEST = 80


def changes(before: TrainConfig, now: TrainConfig) -> str | None:
    """Return one line that lists the changed settings, or None if nothing has changed.

    Raises:
        ConfigError: a changed setting would have no effect, or the network is different.

    """
    if before.network != now.network:
        raise ConfigError(f"network: expected the checkpoint's {before.network}, got {now.network}")
    old, new = dict(_settings(plain(before))), dict(_settings(plain(now)))
    other = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    for key in _WITHOUT_EFFECT:
        if key in other:
            raise ConfigError(
                f"{key}: expected the checkpoint's {old[key]}, got {new[key]}, which would have no "
                "effect on a training that has begun"
            )
    if not other:
        return None
    told = ", ".join(_told(key, old.get(key), new.get(key)) for key in other)
    return f"going on with other settings than the checkpoint's: {told}"


def _told(key: str, old: object, new: object) -> str:
    """Show old and new value if they are short, else only the key."""
    text = f"{key} {new} (was {old})"
    return text if len(text) <= _LONGEST else key


def _settings(values: Mapping[str, Any], where: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every setting under its dotted name; a list counts as one value."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _settings(value, f"{where}{key}.")
        else:
            yield where + key, value
