"""The bytes of a model file, checked before anything interprets them.

Beside a model `NAME.onnx` stands `NAME.onnx.sha256`, one line as `sha256sum` writes and checks it.
A file that differs from its line was damaged or replaced, and is not loaded; a file without one is
known by its own digest alone, which is in its id.
"""

import hashlib
from pathlib import Path

from model.errors import ModelFileError

SUFFIX = ".sha256"
# A key of TensorProto.external_data (onnx.proto): tag and length, the word, the next tag.
_EXTERNAL = b"\x0a\x08location\x12"


def read_model(path: Path) -> bytes:
    """Read a model file.

    Raises:
        ModelFileError: it is not there, is not the file of its manifest, or keeps its weights in
            other files.

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
    if _EXTERNAL in content:
        raise ModelFileError(
            f"expected {path} to hold its weights itself, got one that refers to other files"
        )
    return content


def manifest_of(path: Path) -> Path:
    """Where the manifest of a model file stands."""
    return path.with_name(path.name + SUFFIX)


def write_manifest(path: Path, digest: str) -> None:
    """Write the manifest of a model file whose SHA-256 is `digest`, 64 hex digits."""
    manifest_of(path).write_text(f"{digest}  {path.name}\n", encoding="utf-8")


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
