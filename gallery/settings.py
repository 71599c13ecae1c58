"""The settings that an operator chooses for one gallery, stored for all processes to share."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from sqlalchemy import Connection, delete, select, update

from gallery.errors import InvalidSetting
from gallery.generations import lock, record
from gallery.indexes.choose import KINDS, WRITING, no_plain_files
from gallery.preparing import BY_SERVICE
from gallery.schema import EMBEDDINGS_ONLY, KEEP, galleries, samples, silhouettes
from gallery.store import Store
from gallery.wiping import owe

NEAREST, MEAN = "nearest", "mean"
REPORT, REFUSE, OFF = "report", "refuse", "off"
SETTINGS_CHANGED = "settings"

_CHOICES: Mapping[str, tuple[str, ...]] = {
    "aggregation": (NEAREST, MEAN),
    "conflict": (REPORT, REFUSE, OFF),
    "retention": (KEEP, EMBEDDINGS_ONLY),
    "index_kind": (BY_SERVICE, *KINDS),
}
_MOST_SAMPLES = 16


@dataclass(frozen=True)
class GallerySettings:
    """The settings of a gallery; each name is a column of the table `galleries`."""

    aggregation: str = NEAREST
    """A subject's distance: that of its nearest sample, or the mean over its nearest few."""
    nearest_samples: int = 3
    """How many samples `mean` uses, or all if a subject has fewer."""
    conflict: str = REPORT
    """How to treat a new sample that is nearer to another subject than to its own."""
    retention: str = KEEP
    """`keep` keeps silhouettes, for other models to embed; `embeddings-only` deletes them."""
    index_kind: str = BY_SERVICE
    """The kind of index, or `service` for the service's own setting. A process applies a change the
    next time it opens the gallery."""

    @property
    def samples_of_a_subject(self) -> int:
        """Return how many nearest samples a subject's distance is averaged over."""
        return self.nearest_samples if self.aggregation == MEAN else 1

    @property
    def deletes_silhouettes(self) -> bool:
        """Tell whether silhouettes are deleted instead of kept."""
        return self.retention == EMBEDDINGS_ONLY

    @property
    def aggregation_in_words(self) -> str:
        """Return the aggregation as worded in answers and records."""
        if self.aggregation == NEAREST:
            return NEAREST
        return f"mean of nearest {self.nearest_samples}"

    def changed(self, changes: Mapping[str, Any]) -> "GallerySettings":
        """Return a copy with some settings changed.

        Raises:
            InvalidSetting: an unknown name, or a value that the setting does not accept.

        """
        for name, value in changes.items():
            _check(name, value)
        return replace(self, **changes)


def read_settings(connection: Connection, gallery: int) -> GallerySettings:
    """Return a gallery's settings, as this transaction sees them."""
    columns = [galleries.c[field.name] for field in fields(GallerySettings)]
    row = connection.execute(select(*columns).where(galleries.c.id == gallery)).one()
    return GallerySettings(**row._asdict())


def change_settings(store: Store, changes: Mapping[str, Any]) -> GallerySettings:
    """Change some settings of the store's gallery, for every process that has it open.

    If `deletes_silhouettes` holds afterwards, the caller has to scrub the database of them.

    Raises:
        InvalidSetting: an unknown name, or a value that the setting does not accept; also an index
            kind that writes unencrypted files, if the gallery is encrypted.

    """
    with store.database.writing() as connection:
        lock(connection, store.gallery_id)
        changed = read_settings(connection, store.gallery_id).changed(changes)
        if store.database.vault.master is not None and changed.index_kind in WRITING:
            raise InvalidSetting(no_plain_files(changed.index_kind))
        is_it = galleries.c.id == store.gallery_id
        connection.execute(update(galleries).where(is_it).values(**asdict(changed)))
        if changed.deletes_silhouettes:
            _forget_silhouettes(connection, store.gallery_id)
        # Recorded as a numbered change, so that every process re-reads it before its next answer.
        record(connection, store.gallery_id, SETTINGS_CHANGED, [])
    return changed


def reset_settings(connection: Connection, gallery: int) -> None:
    """Set a gallery back to the defaults, without telling any process that has it open."""
    is_it = galleries.c.id == gallery
    connection.execute(update(galleries).where(is_it).values(**asdict(GallerySettings())))


def _forget_silhouettes(connection: Connection, gallery: int) -> None:
    """Delete the silhouettes of a gallery for good; no later setting brings them back."""
    of_gallery = select(samples.c.id).where(samples.c.gallery == gallery)
    connection.execute(delete(silhouettes).where(silhouettes.c.sample.in_(of_gallery)))
    connection.execute(update(samples).where(samples.c.gallery == gallery).values(frames=0))
    owe(connection)


def _check(name: str, value: Any) -> None:
    if name == "nearest_samples":
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= _MOST_SAMPLES:
            raise InvalidSetting(
                f"expected nearest_samples from 1 to {_MOST_SAMPLES}, got {value!r}"
            )
    elif name not in _CHOICES:
        known = ", ".join(field.name for field in fields(GallerySettings))
        raise InvalidSetting(f"expected a setting of a gallery ({known}), got {name!r}")
    elif value not in _CHOICES[name]:
        raise InvalidSetting(f"expected {name} of {', '.join(_CHOICES[name])}, got {value!r}")
