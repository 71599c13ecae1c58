"""Remembers people: subjects, their samples, and who is nearest to a probe.

Everything another room needs is here; the modules behind this door may change.
"""

from gallery.errors import (
    EngineMissing,
    GalleryError,
    IndexUnavailable,
    InvalidEmbedding,
    InvalidInput,
    InvalidLimit,
    InvalidMetadata,
    InvalidSetting,
    InvalidSilhouettes,
    InvalidSubject,
    ModelFileMissing,
    ModelMismatch,
    NotFound,
    RebuildError,
    RebuildFailed,
    RebuildRefused,
    SampleNotFound,
    SilhouettesNotKept,
    StoreError,
    StoreFull,
    StoreTooNew,
    StoreUnavailable,
    SubjectNotFound,
)
from gallery.gallery import Gallery
from gallery.generations import Model
from gallery.model_files import ModelFiles
from gallery.records import (
    Candidate,
    Enrolment,
    Erasure,
    GalleryStatus,
    Sample,
    SubjectDetail,
    SubjectSummary,
)
from gallery.settings import GallerySettings

__all__ = [
    "Candidate",
    "EngineMissing",
    "Enrolment",
    "Erasure",
    "Gallery",
    "GalleryError",
    "GallerySettings",
    "GalleryStatus",
    "IndexUnavailable",
    "InvalidEmbedding",
    "InvalidInput",
    "InvalidLimit",
    "InvalidMetadata",
    "InvalidSetting",
    "InvalidSilhouettes",
    "InvalidSubject",
    "Model",
    "ModelFileMissing",
    "ModelFiles",
    "ModelMismatch",
    "NotFound",
    "RebuildError",
    "RebuildFailed",
    "RebuildRefused",
    "Sample",
    "SampleNotFound",
    "SilhouettesNotKept",
    "StoreError",
    "StoreFull",
    "StoreTooNew",
    "StoreUnavailable",
    "SubjectDetail",
    "SubjectNotFound",
    "SubjectSummary",
]
