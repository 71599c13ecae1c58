"""Opens the chosen kind of index."""

from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from gallery.errors import EngineMissing, IndexUnavailable
from gallery.index import ExactIndex, VectorIndex
from gallery.indexes.compact import CompactIndex
from gallery.indexes.folder import Folder
from gallery.indexes.gpu import GpuIndex
from gallery.indexes.milvus import MilvusIndex

# The kinds that write embeddings to files.
WRITING = {"compact", "milvus"}
KINDS = ("exact", "compact", "gpu", "milvus")


@dataclass(frozen=True)
class IndexChoice:
    """The kind of index, with the settings that the kinds need."""

    kind: str = "exact"
    folder: Path = Path("data") / "index"
    """Where `compact` keeps its files; `milvus` too, if it is given no URL."""
    milvus_url: str | None = None
    milvus_token: str = ""
    milvus_type: str = "FLAT"


def open_index(
    choice: IndexChoice, gallery: str, model_id: str, length: int, *, encrypted: bool = False
) -> VectorIndex:
    """Open the index of a gallery for a model's embeddings float32 `[length]`.

    For an encrypted gallery, kinds that would write unencrypted files are refused.

    Raises:
        EngineMissing: this kind cannot run here, or may not with an encrypted gallery.
        IndexUnavailable: its folder or server cannot be used at the moment.

    """
    if encrypted and choice.kind in WRITING:
        raise EngineMissing(no_plain_files(choice.kind))
    if choice.kind == "exact":
        return ExactIndex(length)
    if choice.kind == "gpu":
        return GpuIndex(length)
    if choice.kind == "compact":
        forget_others(choice, gallery, model_id)
        return CompactIndex(length, choice.folder / _short(gallery) / _short(model_id))
    if choice.kind == "milvus":
        url = choice.milvus_url or _milvus_file(choice.folder)
        token, index_type = choice.milvus_token, choice.milvus_type
        return MilvusIndex(length, url, token=token, index_type=index_type)
    raise EngineMissing(f"expected an index kind of {', '.join(KINDS)}, got {choice.kind!r}")


def no_plain_files(kind: str) -> str:
    """Return why an encrypted gallery cannot use an index kind that is in `WRITING`."""
    return (
        f"expected the index kind exact or gpu for an encrypted gallery, got {kind}, which writes "
        "embeddings as they are"
    )


def forget_others(choice: IndexChoice, gallery: str, model_id: str) -> bool:
    """Delete the files of a gallery's unused indexes, of other models or other kinds.

    Nobody would remove an erased sample from them. Returns False if some are left for a later try:
    an index still answers from them, or they cannot be written.
    """
    answers = _short(model_id) if choice.kind == "compact" else None
    done = True
    for other in (choice.folder / _short(gallery)).glob("*"):
        if other.name == answers:
            continue
        try:
            folder = Folder(other)
        except IndexUnavailable:
            done = False
            continue
        try:
            folder.empty()
        except OSError:
            done = False
        finally:
            folder.close()
    return done


def keeps_files(choice: IndexChoice, gallery: str) -> bool:
    """Tell whether an index of the gallery has vectors outside of memory, here or in Milvus."""
    found = (choice.folder / _short(gallery)).glob("*/*")
    return choice.kind == "milvus" or any(path.name != "lock" for path in found)


def _milvus_file(folder: Path) -> str:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return str(folder / "milvus.db")


def _short(name: str) -> str:
    return blake2b(name.encode(), digest_size=8).hexdigest()
