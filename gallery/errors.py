"""What can go wrong in the gallery room.

GalleryError
├── InvalidInput             a value at the door that is not what the door takes
│   ├── InvalidSubject       a subject id that is too long, empty or not printable
│   ├── InvalidEmbedding     an embedding of a wrong shape, dtype, or with NaN or 1e20 in it
│   ├── InvalidSilhouettes   silhouettes that are not uint8 [T, H, W]
│   ├── InvalidMetadata      metadata that is no small JSON object
│   ├── InvalidKey           an API key with a name, scope, rate or end that cannot be used
│   ├── InvalidText          a name or id that the database can neither hold nor look for
│   ├── InvalidLimit         a number of results below one
│   ├── InvalidConsent       a consent without a basis, or that expires at no certain moment
│   ├── InvalidCapture       a capture time that is no certain moment
│   ├── InvalidGalleryName   a name that a new gallery cannot have
│   └── InvalidSetting       a gallery's setting that does not exist or takes other values
├── NotFound                 what was asked for is not in the gallery
│   ├── GalleryNotFound      no such gallery in the store
│   ├── ReceiptNotFound      no such receipt
│   ├── SubjectNotFound      no such subject
│   ├── SampleNotFound       no such sample
│   ├── KeyNotFound          no API key of that id
│   ├── SilhouettesNotKept   the sample is there, its silhouettes were never given
│   ├── JobNotFound          no such job of this gallery
│   └── ModelFileMissing     the file of a model that a generation was made with
├── GalleryNotEmpty          a gallery with people in it is not deleted
├── TooManyKeys              two API keys of that name are live already
├── CalibrationRefused       the gallery cannot show what a threshold would promise
├── EnrolmentConflict        a new sample is nearer to somebody else than to its own subject
├── ModelMismatch            the gallery was embedded by another model
├── RebuildError             a rebuild or rollback that cannot go on
│   ├── RebuildRefused       it would lose samples, or another one runs, so it does not start
│   ├── RebuildStopped       somebody stopped it; what it embedded is kept
│   └── RebuildFailed        what the new model made does not pass the checks
├── IndexUnavailable         the search engine cannot be used now
│   └── EngineMissing        what it needs is not here: a library, a GPU, a right setting
├── BackupError              a backup that cannot be made, read or restored
└── StoreError               the database does not do its part
    ├── StoreUnavailable     it cannot be opened, read or written now
    │   └── SampleDamaged    it can, but what it holds of one sample cannot be read any more
    ├── StoreFull            there is no room left to write
    ├── NotScrubbed          it is done, but old bytes may be left in the write-ahead log
    ├── StoreTooNew          a newer version of metagait wrote it
    ├── WrongMasterKey       the master key is missing, or not the one it was encrypted under
    └── AuditBroken          a row of the audit log was altered, removed or moved
"""
# ruff: noqa: N818 -- these names read as what happened; the tree above says they are errors


class GalleryError(Exception):
    """Any error of this package; its text is a sentence for the person who reads it."""

    for_people = True


class InvalidInput(GalleryError):
    """A value at the door is not what the door takes."""


class InvalidSubject(InvalidInput):
    """The subject id is too long, empty or not printable."""


class InvalidEmbedding(InvalidInput):
    """The embedding has a wrong shape or dtype, or a number in it is too large or not finite."""


class InvalidSilhouettes(InvalidInput):
    """The silhouettes are not uint8 `[T, H, W]`."""


class InvalidMetadata(InvalidInput):
    """The metadata is no JSON object, or too large a one."""


class InvalidKey(InvalidInput):
    """The API key would have a name, scope, rate or end that cannot be used."""


class InvalidText(InvalidInput):
    """The database can neither hold the text nor look for it: PostgreSQL knows no NUL."""


class InvalidLimit(InvalidInput):
    """Fewer than one result was asked for."""


class InvalidGalleryName(InvalidInput):
    """The name cannot be that of a new gallery."""


class InvalidSetting(InvalidInput):
    """There is no such setting of a gallery, or it does not take this value."""


class InvalidConsent(InvalidInput):
    """The consent has no basis, is too long, or expires at no certain moment."""


class InvalidCapture(InvalidInput):
    """The capture time says no certain moment."""


class NotFound(GalleryError):
    """What was asked for is not in the gallery."""


class GalleryNotFound(NotFound):
    """There is no gallery of that name in the store."""


class ReceiptNotFound(NotFound):
    """The gallery has no such receipt."""


class SubjectNotFound(NotFound):
    """The gallery has no such subject."""


class SampleNotFound(NotFound):
    """The gallery has no such sample."""


class KeyNotFound(NotFound):
    """There is no API key of that id."""


class SilhouettesNotKept(NotFound):
    """The sample was enrolled by its embedding alone."""


class JobNotFound(NotFound):
    """The gallery has no such job."""


class ModelFileMissing(NotFound):
    """The data folder does not keep the file of a model that a generation was made with."""


class GalleryNotEmpty(GalleryError):
    """A gallery with people in it is not deleted: each of them is erased first, with a receipt."""


class TooManyKeys(GalleryError):
    """Two API keys of that name are live already: the old one and its successor."""


class ModelMismatch(GalleryError):
    """The gallery was embedded by another model than the one that asks."""


class CalibrationRefused(GalleryError):
    """The gallery cannot show what a threshold would promise, or no rate was asked for."""


class EnrolmentConflict(GalleryError):
    """A new sample is nearer to somebody else than to its own subject, and is refused for it."""


class RebuildError(GalleryError):
    """A rebuild or rollback cannot go on."""


class RebuildRefused(RebuildError):
    """Going on would lose samples, so nothing was changed."""


class RebuildStopped(RebuildError):
    """Somebody stopped it; the next one with the same model goes on from there."""


class RebuildFailed(RebuildError):
    """What the new model made does not pass the checks; the live generation stays."""


class IndexUnavailable(GalleryError):
    """The search engine cannot be used now; the truth is not touched by that."""


class EngineMissing(IndexUnavailable):
    """The engine that was asked for cannot run here: a library, a GPU or a setting is missing."""


class BackupError(GalleryError):
    """A backup cannot be made, is damaged, or cannot be restored here."""


class StoreError(GalleryError):
    """The database does not do its part."""


class StoreUnavailable(StoreError):
    """The database cannot be opened, read or written now."""


class SampleDamaged(StoreUnavailable):
    """What is stored of one sample, which it names by its id, cannot be read any more."""


class StoreFull(StoreError):
    """The database has no room left to write."""


class NotScrubbed(StoreError):
    """What was to be done is done, but what it took away may be left in the write-ahead log."""


class StoreTooNew(StoreError):
    """The database was written by a newer version of metagait."""


class WrongMasterKey(StoreError):
    """The master key is missing or unreadable, or the store is encrypted under another one."""


class AuditBroken(StoreError):
    """A row of the audit log was altered, removed, added or moved."""
