"""The errors of the gallery package.

GalleryError
├── InvalidInput             an argument that the gallery does not accept
│   ├── InvalidSubject       a subject id that is empty, too long, not printable or not NFC
│   ├── InvalidEmbedding     an embedding of a wrong shape or dtype, or with NaN or 1e20 in it
│   ├── InvalidSilhouettes   silhouettes that are not uint8 [T, H, W]
│   ├── InvalidMetadata      metadata that is not a small JSON object
│   ├── InvalidKey           an API key with an unusable name, scope, rate or expiry
│   ├── InvalidText          a name or id that the database can neither store nor search for
│   ├── InvalidLimit         a number of results below one
│   ├── InvalidConsent       a consent without a basis, or whose expiry is ambiguous
│   ├── InvalidCapture       a capture time that is ambiguous
│   ├── InvalidGalleryName   a name that a new gallery cannot have
│   └── InvalidSetting       an unknown gallery setting, or a value that it does not accept
├── NotFound                 the requested thing is not in the gallery
│   ├── GalleryNotFound      no such gallery in the store
│   ├── ReceiptNotFound      no such receipt
│   ├── SubjectNotFound      no such subject
│   ├── SampleNotFound       no such sample
│   ├── KeyNotFound          no API key with that id
│   ├── SilhouettesNotKept   the sample exists, but only its embedding is stored
│   ├── JobNotFound          no such job of this gallery
│   └── ModelFileMissing     no file of the model that a generation was made with
├── GalleryNotEmpty          a gallery with people in it cannot be deleted
├── TooManyKeys              two live API keys already have that name
├── CalibrationRefused       the gallery cannot back the promise of such a threshold
├── EnrolmentConflict        a new sample is nearer to another subject than to its own
├── ModelMismatch            the gallery was embedded by another model
├── RebuildError             a rebuild or rollback cannot continue
│   ├── RebuildRefused       it would lose samples, or another one is running; not started
│   ├── RebuildStopped       somebody stopped it; what it embedded is kept
│   └── RebuildFailed        the new model's results fail the checks
├── IndexUnavailable         the search engine cannot be used at the moment
│   └── EngineMissing        it lacks a library, a GPU or a valid setting here
├── BackupError              a backup cannot be made, read or restored
└── StoreError               the database failed
    ├── StoreUnavailable     it cannot be opened, read or written at the moment
    │   ├── SampleDamaged    the stored data of one sample can no longer be read
    │   └── ReceiptDamaged   a stored receipt can no longer be read
    ├── StoreFull            there is no space left
    ├── NotScrubbed          the work is done, but old bytes may be left in the write-ahead log
    ├── StoreTooNew          a newer version of metagait wrote it
    ├── WrongMasterKey       the master key is missing, or is not the one it is encrypted under
    └── AuditBroken          a row of the audit log was altered, removed or moved
"""
# ruff: noqa: N818 -- these names read as what happened; the tree above says they are errors


class GalleryError(Exception):
    """Any error of this package; its text is a sentence for the person who reads it."""

    for_people = True


class InvalidInput(GalleryError):
    """An argument is not what the gallery accepts."""


class InvalidSubject(InvalidInput):
    """The subject id is empty, too long, not printable or not in composed form (NFC)."""


class InvalidEmbedding(InvalidInput):
    """The embedding has a wrong shape or dtype, or a number in it is too large or not finite."""


class InvalidSilhouettes(InvalidInput):
    """The silhouettes are not uint8 `[T, H, W]`."""


class InvalidMetadata(InvalidInput):
    """The metadata is not a JSON object, or is too large."""


class InvalidKey(InvalidInput):
    """The API key would have an unusable name, scope, rate or expiry."""


class InvalidText(InvalidInput):
    """The database can neither store nor search for the text: bytes, or NUL in PostgreSQL."""


class InvalidLimit(InvalidInput):
    """Fewer than one result was requested."""


class InvalidGalleryName(InvalidInput):
    """A new gallery cannot have this name."""


class InvalidSetting(InvalidInput):
    """The gallery has no such setting, or the setting does not accept this value."""


class InvalidConsent(InvalidInput):
    """The consent has no basis, is too long, or its expiry is not a definite moment."""


class InvalidCapture(InvalidInput):
    """The capture time is not a definite moment."""


class NotFound(GalleryError):
    """The requested thing is not in the gallery."""


class GalleryNotFound(NotFound):
    """The store has no gallery of that name."""


class ReceiptNotFound(NotFound):
    """The gallery has no such receipt."""


class SubjectNotFound(NotFound):
    """The gallery has no such subject."""


class SampleNotFound(NotFound):
    """The gallery has no such sample."""


class KeyNotFound(NotFound):
    """There is no API key with that id."""


class SilhouettesNotKept(NotFound):
    """Only the sample's embedding is stored."""


class JobNotFound(NotFound):
    """The gallery has no such job."""


class ModelFileMissing(NotFound):
    """The data folder lacks the file of the model that a generation was made with."""


class GalleryNotEmpty(GalleryError):
    """A gallery with people in it cannot be deleted: each must first be erased, with a receipt."""


class TooManyKeys(GalleryError):
    """Two live API keys already have that name: an old one and its successor."""


class ModelMismatch(GalleryError):
    """The gallery was embedded by a different model from the one in use."""


class CalibrationRefused(GalleryError):
    """The target is not a valid rate, or the gallery cannot back the promise of its threshold."""


class EnrolmentConflict(GalleryError):
    """A new sample was refused because it is nearer to another subject than to its own."""


class RebuildError(GalleryError):
    """A rebuild or rollback cannot continue."""


class RebuildRefused(RebuildError):
    """Continuing would lose samples, or another rebuild is running; nothing was changed."""


class RebuildStopped(RebuildError):
    """Somebody stopped it; the next rebuild with the same model continues from there."""


class RebuildFailed(RebuildError):
    """The new model's results fail the checks; the live generation stays."""


class IndexUnavailable(GalleryError):
    """The search engine cannot be used at the moment; the stored data is unaffected."""


class EngineMissing(IndexUnavailable):
    """The requested engine cannot run here: a library, a GPU or a setting is missing."""


class BackupError(GalleryError):
    """A backup cannot be made, is damaged, or cannot be restored here."""


class StoreError(GalleryError):
    """The database failed."""


class StoreUnavailable(StoreError):
    """The database cannot be opened, read or written at the moment."""


class SampleDamaged(StoreUnavailable):
    """The stored data of one sample, named by its id, can no longer be read."""


class ReceiptDamaged(StoreUnavailable):
    """What is stored of one receipt, which it names by its id, cannot be read any more."""


class StoreFull(StoreError):
    """The database has no space left."""


class NotScrubbed(StoreError):
    """The work is done, but the bytes that it removed may be left in the write-ahead log."""


class StoreTooNew(StoreError):
    """The database was written by a newer version of metagait."""


class WrongMasterKey(StoreError):
    """The master key is missing or unreadable, or the store is encrypted under another one."""


class AuditBroken(StoreError):
    """A row of the audit log was altered, removed, added or moved."""
