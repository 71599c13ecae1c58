"""What can go wrong in the service room.

ServiceError
├── SettingsError            a setting has a wrong value, or an unknown name
├── StartError               the service cannot start (address taken, folder not writable)
├── RequestError             what the caller sent cannot be used
│   ├── MalformedUploadError     the body is not the multipart form that is asked for
│   ├── InvalidFieldError        a form field is missing, unknown or wrong
│   ├── UploadTooLargeError      the body has more bytes than one upload may have
│   ├── UploadTimeoutError       the body came too slowly
│   ├── UnsupportedFormatError   a file is none of the formats that are read
│   ├── DamagedUploadError       a file of a known format is cut short or inconsistent
│   ├── UnsafeArchiveError       an archive that looks made to harm
│   ├── FrameTooLargeError       a frame, or the whole walk, has too many pixels
│   ├── TooManyFramesError       the walk is longer than the model or the service takes
│   ├── TooFewFramesError        the walk is too short to be one
│   ├── PoorQualityError         the walk is too poor to be enrolled
│   ├── IdempotencyError         an Idempotency-Key that came with another body
│   ├── InWorkError              the first request with an Idempotency-Key is still in work
│   ├── AuthenticationError      no API key, or none that is live
│   ├── MissingScopeError        the key was not made for this
│   ├── ForeignGalleryError      the key was made for other galleries
│   ├── RateLimitedError         the key has asked as often as it may
│   ├── UnknownModelError        a model that this service may not rebuild with
│   ├── UnusableModelError       a file that is no model that runs here
│   ├── JobRunningError          a second rebuild while one runs
│   ├── OwnGalleryError          the service's own gallery cannot be deleted through it
│   └── CrossOriginError         a page of another site tried to change something here
├── BusyError                no room for another walk now; come back in a moment
├── DeadlineError            a walk waited too long to be decoded or encoded; come back in a moment
├── NotReadyError            the service is starting, stopping, or its index is behind
├── EncoderFaultError        the encoder failed, or answered with a wrong shape
└── ClientError              raised by the client, on the caller's side
    ├── UnreachableError         nothing answers at the URL, or something else does
    ├── NoKeyError               the API key cannot be read from its file
    ├── RefusedError             the service answered with a problem
    │   └── AnswerLostError      there is nothing to erase, maybe because a lost answer said so
    └── NoWalksError             a path holds no walk to send
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
    """The body is not the multipart form that is asked for."""


class InvalidFieldError(RequestError):
    """A form field is missing, unknown or wrong."""


class UploadTooLargeError(RequestError):
    """The body has more bytes than one upload may have."""


class UploadTimeoutError(RequestError):
    """The body came too slowly."""


class UnsupportedFormatError(RequestError):
    """A file is none of the formats that are read."""


class DamagedUploadError(RequestError):
    """A file of a known format is cut short or inconsistent."""


class UnsafeArchiveError(RequestError):
    """The archive looks made to harm."""


class FrameTooLargeError(RequestError):
    """A frame, or the whole walk, has too many pixels."""


class TooManyFramesError(RequestError):
    """The walk is longer than the model or the service takes."""


class TooFewFramesError(RequestError):
    """The walk is too short to be one."""


class PoorQualityError(RequestError):
    """The walk is too poor to be enrolled; `reasons` says why, in words of a closed list."""

    def __init__(self, reasons: Sequence[str]) -> None:
        super().__init__(
            f"expected a walk of good quality, got one with {', '.join(reasons)}; a key with the "
            "scope `review` may enrol it all the same with `force=true`"
        )
        self.reasons = tuple(reasons)


class IdempotencyError(RequestError):
    """The Idempotency-Key came with another body before."""


class InWorkError(RequestError):
    """The first request with this Idempotency-Key is still in work; come back in a moment."""

    retry_after_s = 1


class AuthenticationError(RequestError):
    """There is no API key with the request, or none that is live."""


class MissingScopeError(RequestError):
    """The API key was not made for this."""


class ForeignGalleryError(RequestError):
    """The API key was made for other galleries."""


class RateLimitedError(RequestError):
    """The API key has asked as often as it may."""

    def __init__(self, sentence: str, *, retry_after_s: int) -> None:
        super().__init__(sentence)
        self.retry_after_s = retry_after_s


class CrossOriginError(RequestError):
    """A page of another site tried to change something here."""


class UnknownModelError(RequestError):
    """Neither a model that the gallery had, nor a file of the models folder."""


class UnusableModelError(RequestError):
    """The file is no model that runs here."""


class JobRunningError(RequestError):
    """A rebuild was asked for while one runs."""


class OwnGalleryError(RequestError):
    """The service's own gallery cannot be deleted through it."""


class BusyError(ServiceError):
    """There is no room for another walk now, or no time."""

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
    """The encoder failed, or answered with a wrong shape."""


class ClientError(ServiceError):
    """Raised by the client, on the caller's side."""


class UnreachableError(ClientError):
    """Nothing answers at the URL, or something else than a metagait."""


class NoKeyError(ClientError):
    """The API key cannot be read from its file."""


class RefusedError(ClientError):
    """The service answered with a problem (RFC 9457)."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(f"the service refused ({status} {code}): {detail}")
        self.status = status
        self.code = code
        self.detail = detail


class AnswerLostError(RefusedError):
    """An erasure whose answer was lost found nothing to erase when it was sent again.

    What was there is erased; its receipt is in the store, and nobody was told the salt of it.
    """


class NoWalksError(ClientError):
    """A path holds no walk to send, or none that can be read."""
