"""Receives the body of an upload, a form or a bare file, within limits of bytes and seconds.

Starlette's parser does the parsing. It is driven here rather than by FastAPI's `File` parameters,
because the limits must hold while the body arrives, with or without a declared length.
"""

import asyncio
import codecs
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from tempfile import SpooledTemporaryFile

from fastapi import Request
from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from service import packed
from service.admission import Place
from service.errors import (
    InvalidFieldError,
    MalformedUploadError,
    UnsupportedFormatError,
    UploadTimeoutError,
    UploadTooLargeError,
)
from service.limits import Limits, check_frames
from service.spooling import room_for_bodies
from service.uploads import Upload

TEXT_FIELDS = ("subject", "metadata", "limit", "captured_at", "consent", "force")
RAW_TYPES = (packed.MEDIA_TYPE, "application/zip", "application/octet-stream")
"""Types of a body that is the file `sequence` itself; its format is recognised by its content."""
_IN_MEMORY = 1024 * 1024
_MAX_FIELD_BYTES = 64 * 1024

Received = tuple[Upload, Callable[[], Awaitable[None]]]
"""An upload, and a function that closes its files."""


@asynccontextmanager
async def received(
    request: Request, limits: Limits, timeout_s: float, place: Place
) -> AsyncIterator[Upload]:
    """Receive a body, and close its files on leaving; text fields may come in the query.

    Raises:
        MalformedUploadError, InvalidFieldError: it is not the expected form.
        UnsupportedFormatError: it is compressed (Content-Encoding).
        UploadTooLargeError, UploadTimeoutError, TooManyFramesError: it exceeds a limit.
        BusyError: the bodies in work leave no room for this one, or the folder for temporary files
            is full.

    """
    check_coding(request)
    kind = request.headers.get("content-type", "").lower()
    is_raw = kind.partition(";")[0].strip() in RAW_TYPES
    if not is_raw and not kind.startswith("multipart/form-data"):
        raise MalformedUploadError(
            f"expected a body of multipart/form-data, or of {', '.join(RAW_TYPES)}, "
            f"got {kind[:80] or 'no content type'!r}"
        )
    place.hold(_announced(request, limits))
    chunks = _bounded(request, limits, place)
    receive = _receive_raw(request, chunks) if is_raw else _receive_form(request, limits, chunks)
    try:
        with room_for_bodies():
            async with asyncio.timeout(timeout_s):
                upload, close = await receive
    except TimeoutError as error:
        raise UploadTimeoutError(f"expected the whole body within {timeout_s:g} seconds") from error
    try:
        yield upload
    finally:
        await close()


def check_coding(request: Request) -> None:
    """Refuse a body with a Content-Encoding other than identity, by UnsupportedFormatError."""
    coding = ", ".join(request.headers.getlist("content-encoding") or ["identity"]).lower()
    if coding != "identity":
        raise UnsupportedFormatError(
            f"expected a body that is not compressed, got the content encoding {coding[:40]!r}"
        )


async def _receive_raw(request: Request, chunks: AsyncGenerator[bytes, None]) -> Received:
    file = SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115 -- closed by the caller

    async def close() -> None:
        file.close()

    try:
        async for chunk in chunks:
            file.write(chunk)
        file.seek(0)
        return Upload(sequence=file, fields=_query_fields(request)), close
    except BaseException:
        file.close()
        raise


async def _receive_form(
    request: Request, limits: Limits, chunks: AsyncGenerator[bytes, None]
) -> Received:
    form = await _parse(request, limits, chunks)
    try:
        return _as_upload(form, _query_fields(request)), form.close
    except BaseException:
        await form.close()
        raise


def _query_fields(request: Request) -> dict[str, str]:
    return {name: value for name, value in request.query_params.items() if name in TEXT_FIELDS}


def _announced(request: Request, limits: Limits) -> int:
    """Return the body's announced length in bytes, checked; 0 if none is announced."""
    announced = request.headers.get("content-length", "0")
    count = int(announced[:18]) if announced.isdecimal() else 0
    if count > limits.upload_bytes:
        raise _too_large(limits)
    return count


async def _parse(request: Request, limits: Limits, chunks: AsyncGenerator[bytes, None]) -> FormData:
    _check_charset(request)
    parser = MultiPartParser(
        request.headers,
        chunks,
        # One more than allowed, so that the error can name the count as the problem.
        max_files=limits.frames + 1,
        max_fields=len(TEXT_FIELDS),
        max_part_size=_MAX_FIELD_BYTES,
    )
    try:
        return await parser.parse()
    except MultiPartException as error:
        check_frames(sum(isinstance(value, UploadFile) for _, value in parser.items), limits)
        raise MalformedUploadError(f"expected a multipart form: {error.message}") from error


def _check_charset(request: Request) -> None:
    """Refuse a form that names a charset other than UTF-8; the parser would use any.

    Some of Python's codecs decode to text that cannot be encoded again, and one takes half a second
    for 64 KiB, on the event loop.
    """
    _, options = parse_options_header(request.headers["content-type"])
    charset = options.get(b"charset", b"utf-8").decode("latin-1")
    try:
        name = codecs.lookup(charset).name
    except (ValueError, LookupError):  # not a valid charset name, or an unknown one
        name = "unknown"
    if name not in ("utf-8", "ascii"):
        raise MalformedUploadError(f"expected a form in UTF-8, got the charset {charset[:40]!r}")


async def _bounded(request: Request, limits: Limits, place: Place) -> AsyncGenerator[bytes, None]:
    count = 0
    async for chunk in request.stream():
        count += len(chunk)
        if count > limits.upload_bytes:
            raise _too_large(limits)
        place.hold(count)
        yield chunk


def _too_large(limits: Limits) -> UploadTooLargeError:
    return UploadTooLargeError(f"expected a body of at most {limits.upload_bytes:,} bytes")


def _as_upload(form: FormData, query: Mapping[str, str]) -> Upload:
    sequences: list[UploadFile] = []
    frames: list[UploadFile] = []
    fields = dict(query)
    for name, value in form.multi_items():
        if isinstance(value, UploadFile) and name in ("sequence", "frames"):
            (sequences if name == "sequence" else frames).append(value)
        elif isinstance(value, str) and name in TEXT_FIELDS and name not in fields:
            fields[name] = value
        else:
            raise InvalidFieldError(_explain(name, value))
    return Upload(
        sequence=sequences[0].file if sequences else None,
        frames=tuple(frame.file for frame in frames),
        fields=fields,
        more=tuple(sequence.file for sequence in sequences[1:]),
    )


def _explain(name: str, value: UploadFile | str) -> str:
    if name == "gallery":
        return (
            "expected the gallery in the query, as `?gallery=NAME`, where the key is judged before "
            "the body is read; got a form field"
        )
    kind = "a file" if isinstance(value, UploadFile) else "text"
    return (
        "expected the files `sequence` or `frames` and at most one text each of "
        f"{', '.join(f'`{field}`' for field in TEXT_FIELDS)}; got {kind} called {name[:80]!r}"
    )
