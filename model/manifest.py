"""Reads and writes the bytes of a model file: verified before use, written whole or not at all.

Beside a model `NAME.onnx` is `NAME.onnx.sha256`, one line as `sha256sum` writes and checks it. A
file that does not match its line was damaged or replaced, and is not loaded. A file without one is
identified only by its own digest, which is part of its id.
"""

import hashlib
import os
import re
from collections.abc import Callable
from pathlib import Path

from model.errors import ExportError, ModelFileError

SUFFIX = ".sha256"
# Matches a key of TensorProto.external_data (onnx.proto): its tag and length, each in as many bytes
# as the writer chose. Not every engine refuses such a file by itself.
_LOCATION = b"location"
_EXTERNAL = re.compile(rb"(?:\x0a|\x8a\x80*\x00)(?:\x08|\x88\x80*\x00)" + _LOCATION)


def read_model(path: Path) -> bytes:
    """Read a model file.

    Raises:
        ModelFileError: it is missing, does not match its manifest, or keeps its weights in other
            files.

    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelFileError(f"expected a model file at {path}: {error.strerror}") from error
    expected = _expected(path)
    digest = hashlib.sha256(content).hexdigest()
    if expected is not None and digest != expected:
        raise ModelFileError(
            f"expected {path} to have the SHA-256 {expected} of {manifest_of(path).name}, got "
            f"{digest}: the file was damaged or replaced"
        )
    if _LOCATION in content and _EXTERNAL.search(content):
        raise ModelFileError(
            f"expected {path} to hold its weights itself, got one that refers to other files"
        )
    return content


def manifest_of(path: Path) -> Path:
    """Return the path of a model file's manifest."""
    return path.with_name(path.name + SUFFIX)


def check_place(path: Path) -> None:
    """Create the folder for a model file, and check that the file can be written there.

    Raises:
        ExportError: it cannot, or its name is not that of a model file.

    """
    if path.suffix != ".onnx":
        raise ExportError(f"expected the name of an .onnx file to write, got {path}")
    unfinished = _unfinished(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise IsADirectoryError(0, "Is a directory")
        unfinished.touch()
        unfinished.unlink()
    except OSError as error:
        raise ExportError(f"expected to write {path}, got: {error.strerror}") from error


def write_checked(path: Path, content: bytes, check: Callable[[Path], object]) -> str:
    """Write a model file and its manifest, or nothing if `check` of the written file raises.

    Even if interrupted, `path` holds either the old file or the new one, whole, and never a
    manifest that belongs to another file.

    Returns:
        The SHA-256 of the content, 64 hex digits.

    Raises:
        ExportError: the file cannot be written.

    """
    check_place(path)
    digest = hashlib.sha256(content).hexdigest()
    unfinished, manifest = _unfinished(path), manifest_of(path)
    try:
        _write_through(unfinished, content)
        check(unfinished)
        manifest.unlink(missing_ok=True)
        unfinished.replace(path)
        _write_through(unfinished, f"{digest}  {path.name}\n".encode())
        unfinished.replace(manifest)
    except OSError as error:
        raise ExportError(f"expected to write {path}, got: {error.strerror}") from error
    finally:
        unfinished.unlink(missing_ok=True)
    return digest


def _unfinished(path: Path) -> Path:
    return path.with_name(path.name + ".unfinished")


def _write_through(path: Path, content: bytes) -> None:
    """Write a file through to the disk, so that it is safe before it replaces another."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _expected(path: Path) -> str | None:
    try:
        words = manifest_of(path).read_text(encoding="utf-8").split()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeError) as error:
        raise ModelFileError(f"the manifest {manifest_of(path)} cannot be read: {error}") from error
    if len(words) != 2 or len(words[0]) != 64 or words[1].lstrip("*") != path.name:
        raise ModelFileError(
            f"expected {manifest_of(path)} to hold a SHA-256 and the name {path.name}"
        )
    return words[0].lower()
