"""The stored data about people: list it, read it, change its consent, erase it.

All of this works on the store; only an erasure also involves the index, which must forget them.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from gallery import erasing
from gallery.audit import LOCAL
from gallery.checks import check_consent, check_limit
from gallery.finding import find_subject
from gallery.listing import describe_subject, list_subjects, record_consent
from gallery.looking import find_subjects
from gallery.records import (
    Consent,
    Erasure,
    FoundSubjects,
    Receipt,
    SubjectDetail,
    SubjectSummary,
)
from gallery.scrubbing import Scrubber
from gallery.store import Store
from gallery.views import views_of


class People:
    """The people of one gallery, whichever model embeds them. All methods are thread-safe."""

    def __init__(self, store: Store, scrubber: Scrubber) -> None:
        self._store = store
        self._scrubber = scrubber

    def subjects(
        self, *, limit: int = 50, after: str | None = None, expired: bool = False
    ) -> tuple[SubjectSummary, ...]:
        """Return a page of up to `limit` subjects ordered by id, starting behind `after`.

        With `expired`, only subjects with an expired consent, their own or one for a sample.

        Raises:
            InvalidLimit: `limit` is below 1.

        """
        check_limit(limit)
        return list_subjects(self._store, limit, after, expired=expired)

    def find_subjects(
        self, text: str, *, limit: int = 50, after: str | None = None, expired: bool = False
    ) -> FoundSubjects:
        """Return a page of up to `limit` subjects whose id contains `text`, ordered by id.

        Case and accents make no difference. Only so many ids are compared for one page, so it may
        hold fewer than `limit` subjects, or none, and still have a `next`: go on behind that.

        Raises:
            InvalidLimit: `limit` is below 1.

        """
        check_limit(limit)
        return find_subjects(self._store, text, limit, after, expired=expired)

    def subject(
        self, subject: str, *, limit: int | None = None, after: str | None = None
    ) -> SubjectDetail:
        """Return a subject with its samples, oldest first: all, or `limit` of them behind `after`.

        Raises:
            InvalidLimit: `limit` is below 1.
            SubjectNotFound: there is no such subject.
            SampleNotFound: there is no sample `after`, or it was erased meanwhile.

        """
        if limit is not None:
            check_limit(limit)
        return describe_subject(self._store, subject, limit, after)

    def require_subject(self, subject: str) -> None:
        """Raise unless a subject is enrolled.

        Raises:
            SubjectNotFound: there is no such subject.

        """
        with self._store.database.reading() as connection:
            find_subject(connection, self._store, subject)

    def set_consent(self, subject: str, consent: Consent, *, actor: str = LOCAL) -> None:
        """Record why a subject may be in the gallery, replacing the previous consent.

        Raises:
            InvalidConsent: it has no basis, or its expiry is not a definite moment.
            SubjectNotFound: there is no such subject.

        """
        check_consent(consent)
        record_consent(self._store, subject, consent, actor)

    def silhouettes(self, sample_id: str) -> NDArray[np.uint8]:
        """Return a sample's silhouettes uint8 `[T, H, W]`, as they were enrolled.

        Raises:
            SampleNotFound: there is no such sample.
            SilhouettesNotKept: only its embedding is stored.
            SampleDamaged: the stored silhouettes can no longer be read.

        """
        return self._store.silhouettes(sample_id)

    def erase_subject(self, subject: str, *, actor: str = LOCAL) -> Erasure:
        """Erase a subject with all its samples, from every generation and from the files.

        Raises:
            SubjectNotFound: there is no such subject.

        """
        return self._scrubber.finish(erasing.erase_subject(self._store, subject, actor))

    def erase_sample(self, sample_id: str, *, actor: str = LOCAL) -> Erasure:
        """Erase one sample, and its subject if this was its last sample.

        Raises:
            SampleNotFound: there is no such sample.

        """
        return self._scrubber.finish(erasing.erase_sample(self._store, sample_id, actor))

    def receipt(self, receipt_id: str) -> Receipt:
        """Return the stored receipt of an erasure.

        Raises:
            ReceiptNotFound: there is none with this id.
            ReceiptDamaged: it can no longer be read.

        """
        return erasing.read_receipt(self._store, receipt_id)

    def erasures(self) -> int:
        """Count all erasures so far, by any process; when it grows, cached names are stale."""
        return erasing.count_erasures(self._store)

    def views(self, sample_ids: Sequence[str]) -> Mapping[str, float]:
        """Return the views, in degrees, of those samples whose metadata contain one."""
        return views_of(self._store, sample_ids)
