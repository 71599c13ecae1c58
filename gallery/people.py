"""What a gallery keeps about people: list it, read it, change why it is kept, erase it.

All of it is asked of the store; only an erasure goes on to the index, which must not find them.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from gallery import erasing
from gallery.audit import LOCAL
from gallery.checks import check_consent, check_limit
from gallery.finding import find_subject
from gallery.listing import describe_subject, list_subjects, record_consent
from gallery.records import Consent, Erasure, Receipt, SubjectDetail, SubjectSummary
from gallery.scrubbing import Scrubber
from gallery.store import Store
from gallery.views import views_of


class People:
    """The people of one gallery, whichever model embeds them; any thread may call any method."""

    def __init__(self, store: Store, scrubber: Scrubber) -> None:
        self._store = store
        self._scrubber = scrubber

    def subjects(
        self, *, limit: int = 50, after: str | None = None, expired: bool = False
    ) -> tuple[SubjectSummary, ...]:
        """List subjects in the order of their ids, a page of `limit` of those after `after`.

        With `expired`, only those of whom a consent, or one to a sample of theirs, has expired.

        Raises:
            InvalidLimit: `limit` is below 1.

        """
        check_limit(limit)
        return list_subjects(self._store, limit, after, expired=expired)

    def subject(
        self, subject: str, *, limit: int | None = None, after: str | None = None
    ) -> SubjectDetail:
        """Read a subject with its samples, oldest first: all, or a page of those after `after`.

        Raises:
            InvalidLimit: `limit` is below 1.
            SubjectNotFound: there is no such subject.
            SampleNotFound: there is no sample `after`, or it was erased meanwhile.

        """
        if limit is not None:
            check_limit(limit)
        return describe_subject(self._store, subject, limit, after)

    def require_subject(self, subject: str) -> None:
        """Refuse a subject who is not enrolled.

        Raises:
            SubjectNotFound: there is no such subject.

        """
        with self._store.database.reading() as connection:
            find_subject(connection, self._store, subject)

    def set_consent(self, subject: str, consent: Consent, *, actor: str = LOCAL) -> None:
        """Record why a subject may be here, in place of what was recorded before.

        Raises:
            InvalidConsent: it has no basis, or expires at no certain moment.
            SubjectNotFound: there is no such subject.

        """
        check_consent(consent)
        record_consent(self._store, subject, consent, actor)

    def silhouettes(self, sample_id: str) -> NDArray[np.uint8]:
        """Read a sample's silhouettes uint8 `[T, H, W]`, as they were enrolled.

        Raises:
            SampleNotFound: there is no such sample.
            SilhouettesNotKept: it was enrolled by its embedding alone.

        """
        return self._store.silhouettes(sample_id)

    def erase_subject(self, subject: str, *, actor: str = LOCAL) -> Erasure:
        """Erase a subject with all its samples, from every generation and from the files.

        Raises:
            SubjectNotFound: there is no such subject.

        """
        return self._scrubber.finish(erasing.erase_subject(self._store, subject, actor))

    def erase_sample(self, sample_id: str, *, actor: str = LOCAL) -> Erasure:
        """Erase one sample; the subject goes with its last one.

        Raises:
            SampleNotFound: there is no such sample.

        """
        return self._scrubber.finish(erasing.erase_sample(self._store, sample_id, actor))

    def receipt(self, receipt_id: str) -> Receipt:
        """Read the receipt of an erasure again.

        Raises:
            ReceiptNotFound: there is none of this id.

        """
        return erasing.read_receipt(self._store, receipt_id)

    def erasures(self) -> int:
        """Count the erasures so far, by whichever process: what named people before is old."""
        return erasing.count_erasures(self._store)

    def views(self, sample_ids: Sequence[str]) -> Mapping[str, float]:
        """Read the views, in degrees, of those samples whose metadata name one."""
        return views_of(self._store, sample_ids)
