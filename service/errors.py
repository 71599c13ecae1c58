"""The errors of the service; `service.problems` maps them to HTTP answers.

ServiceError
├── SettingsError            a setting has a wrong value, or an unknown name
├── StartError               the service cannot start (address taken, folder not writable)
├── RequestError             what the caller sent cannot be used
│   ├── MalformedUploadError     the body is not the expected multipart form
│   ├── InvalidFieldError        a form field is missing, unknown or wrong
│   ├── UploadTooLargeError      the body has more bytes than allowed
│   ├── UploadTimeoutError       the body arrived too slowly
│   ├── UnsupportedFormatError   a file is not in an accepted format
│   ├── DamagedUploadError       a file of a known format is cut short or inconsistent
│   ├── UnsafeArchiveError       an archive looks malicious
│   ├── FrameTooLargeError       a frame, or the whole walk, has too many pixels
│   ├── TooManyFramesError       the walk is longer than the model or service allows
│   ├── TooFewFramesError        the walk has too few usable frames
│   ├── PoorQualityError         the walk's quality is too poor to enrol it
│   ├── IdempotencyError         an Idempotency-Key was used for another request
│   ├── InWorkError              the first request with an Idempotency-Key is still in work
│   ├── AuthenticationError      there is no API key, or it is not live
│   ├── MissingScopeError        the key lacks the scope for this
│   ├── ForeignGalleryError      the key is for other galleries
│   ├── RateLimitedError         the key has used up its rate of requests
│   ├── UnknownModelError        no such model to rebuild with
│   ├── UnusableModelError       a file is not a model that can run here
│   ├── JobRunningError          a second rebuild while one runs
│   ├── OwnGalleryError          the service's own gallery cannot be deleted through it
│   └── CrossOriginError         a page of another site tried to change something here
├── BusyError                no room or time for another walk now; retry in a moment
├── DeadlineError            a walk waited too long to be decoded or encoded; retry in a moment
├── NotReadyError            the service is starting, stopping, or its index is behind
├── EncoderFaultError        the encoder returned embeddings of a wrong shape
└── ClientError              raised by the client, on the caller's side
    ├── UnreachableError         nothing answers at the URL, or something else does
    ├── NoKeyError               the API key cannot be read from its file, or cannot be sent
    ├── RefusedError             the service answered with a problem
    │   └── AnswerLostError      a repeated erasure found nothing: maybe the first one worked
    └── NoWalksError             a path holds no walk to send, or none that can be read
"""

from collections.abc import Sequence


class ServiceError(Exception):
    """Any error of this package; its text is a sentence for the person who reads it."""

    for_people = True


class SettingsError(ServiceError):
    """A setting has a wrong value, or an unknown name."""


class StartError(ServiceError):
    """The service cannot start."""


class RequestError(ServiceError):
    """What the caller sent cannot be used."""


class MalformedUploadError(RequestError):
    """The body is not the expected multipart form."""


class InvalidFieldError(RequestError):
    """A form field is missing, unknown or wrong."""


class UploadTooLargeError(RequestError):
    """The body has more bytes than allowed."""


class UploadTimeoutError(RequestError):
    """The body arrived too slowly."""


class UnsupportedFormatError(RequestError):
    """A file is not in an accepted format."""


class DamagedUploadError(RequestError):
    """A file of a known format is cut short or inconsistent."""


class UnsafeArchiveError(RequestError):
    """An archive looks malicious."""


class FrameTooLargeError(RequestError):
    """A frame, or the whole walk, has too many pixels."""


class TooManyFramesError(RequestError):
    """The walk is longer than the model or service allows."""


class TooFewFramesError(RequestError):
    """The walk has too few usable frames."""


class PoorQualityError(RequestError):
    """The walk's quality is too poor to enrol it; `reasons` says why, from a closed list."""

    def __init__(self, reasons: Sequence[str]) -> None:
        super().__init__(
            f"expected a walk of good quality, got one with {', '.join(reasons)}; a key with the "
            "scope `review` may enrol it all the same with `force=true`"
        )
        self.reasons = tuple(reasons)


class IdempotencyError(RequestError):
    """The Idempotency-Key was used before for another request."""


class InWorkError(RequestError):
    """The first request with this Idempotency-Key is still in work; retry in a moment."""

    retry_after_s = 1


class AuthenticationError(RequestError):
    """The request has no API key, or one that is not live."""


class MissingScopeError(RequestError):
    """The API key lacks the scope for this."""


class ForeignGalleryError(RequestError):
    """The API key is for other galleries."""


class RateLimitedError(RequestError):
    """The API key has used up its rate of requests."""

    def __init__(self, sentence: str, *, retry_after_s: int) -> None:
        super().__init__(sentence)
        self.retry_after_s = retry_after_s


class CrossOriginError(RequestError):
    """A page of another site tried to change something here."""


class UnknownModelError(RequestError):
    """It is neither a model that the gallery had, nor a file of the models folder."""


class UnusableModelError(RequestError):
    """The file is not a model that can run here."""


class JobRunningError(RequestError):
    """A rebuild was requested while one runs."""


class OwnGalleryError(RequestError):
    """The service's own gallery cannot be deleted through it."""


class BusyError(ServiceError):
    """There is no room or time for another walk now; retry in a moment."""

    def __init__(self, sentence: str, *, retry_after_s: int = 1) -> None:
        super().__init__(sentence)
        self.retry_after_s = retry_after_s


class DeadlineError(ServiceError):
    """A walk waited too long to be decoded or encoded."""

    def __init__(self, sentence: str, *, retry_after_s: int = 1) -> None:
        super().__init__(sentence)
        self.retry_after_s = retry_after_s


class NotReadyError(ServiceError):
    """The service is starting, stopping, or its index is behind its store."""


class EncoderFaultError(ServiceError):
    """The encoder returned embeddings of a wrong shape."""


class ClientError(ServiceError):
    """Raised by the client, on the caller's side."""


class UnreachableError(ClientError):
    """Nothing answers at the URL, or something else than a metagait."""


class NoKeyError(ClientError):
    """The API key cannot be read from its file, or cannot be sent."""


class RefusedError(ClientError):
    """The service answered with a problem (RFC 9457)."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(f"the service refused ({status} {code}): {detail}")
        self.status = status
        self.code = code
        self.detail = detail


class AnswerLostError(RefusedError):
    """A deletion was repeated, because its answer was lost, and found nothing to delete.

    What was there is deleted. The receipt of an erasure is in the store, but its salt was told to
    nobody.
    """


class NoWalksError(ClientError):
    """A path holds no walk to send, or none that can be read."""
