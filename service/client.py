"""A typed Python client of a running service.

    with Client("http://127.0.0.1:8000") as client:
        client.enroll("p-017", Path("walks/p-017.zip"))
        print(client.identify(silhouettes).decision)

A walk is a file that the service reads, a folder of pictures, a list of pictures, or an array.
"""

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, Self, TypeVar
from urllib.parse import quote

import httpx
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from service import schemas
from service.archives import natural_key
from service.errors import NoWalksError, RefusedError, UnreachableError

PICTURES = frozenset({".png", ".jpg", ".jpeg"})
FILES = frozenset({".zip", ".npy", ".npz"})

WalkSource = Path | str | Sequence[Path] | NDArray[Any]
B = TypeVar("B", bound=BaseModel)


class Client:
    """Calls one service. Every method raises UnreachableError or RefusedError."""

    def __init__(
        self,
        url: str,
        *,
        key: str | None = None,
        timeout_s: float = 60,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._url = url
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        self._http = httpx.Client(
            base_url=url, headers=headers, timeout=timeout_s, transport=transport
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def enroll(
        self, subject: str, walk: WalkSource, *, metadata: Mapping[str, Any] | None = None
    ) -> schemas.Enrolled:
        """Enrol a walk of a subject, who is made when new."""
        fields = {"subject": subject}
        if metadata:
            fields["metadata"] = json.dumps(metadata)
        return self._send("/enroll", walk, fields, schemas.Enrolled)

    def identify(self, walk: WalkSource, *, limit: int = 5) -> schemas.Identified:
        """Find the subjects nearest to a walk."""
        return self._send("/identify", walk, {"limit": str(limit)}, schemas.Identified)

    def verify(self, subject: str, walk: WalkSource) -> schemas.Verified:
        """Compare a walk with one subject."""
        return self._send("/verify", walk, {"subject": subject}, schemas.Verified)

    def subjects(self, *, limit: int = 50, after: str | None = None) -> schemas.Subjects:
        """List one page of subjects."""
        query = {"limit": str(limit)} if after is None else {"limit": str(limit), "after": after}
        return self._call("GET", "/subjects", schemas.Subjects, params=query)

    def subject(self, subject: str) -> schemas.SubjectDetail:
        """Show a subject with its samples."""
        return self._call("GET", _subject_path(subject), schemas.SubjectDetail)

    def erase_subject(self, subject: str) -> schemas.Erased:
        """Erase a subject and all its samples for good."""
        return self._call("DELETE", _subject_path(subject), schemas.Erased)

    def erase_sample(self, sample_id: str) -> schemas.Erased:
        """Erase one sample for good."""
        return self._call("DELETE", f"/samples/{quote(sample_id, safe='')}", schemas.Erased)

    def info(self) -> schemas.Info:
        """Ask what runs there."""
        return self._call("GET", "/info", schemas.Info)

    def ready(self) -> schemas.Ready:
        """Ask whether the service is ready; RefusedError when it is not yet."""
        return self._call("GET", "/readyz", schemas.Ready)

    def _send(self, path: str, walk: WalkSource, fields: dict[str, str], body: type[B]) -> B:
        with ExitStack() as opened:
            files = [(name, (name, file)) for name, file in _open(walk, opened)]
            return self._call("POST", path, body, data=fields, files=files)

    def _call(self, method: str, path: str, body: type[B], **options: Any) -> B:
        try:
            response = self._http.request(method, path, **options)
        except httpx.TransportError as error:
            raise UnreachableError(f"nothing answers at {self._url}: {error}") from error
        if response.is_success:
            return body.model_validate_json(response.content)
        raise _refusal(response)


def _subject_path(subject: str) -> str:
    return f"/subjects/{quote(subject, safe='')}"


def _refusal(response: httpx.Response) -> RefusedError:
    try:
        problem = response.json()
        return RefusedError(response.status_code, problem["code"], problem["detail"])
    except (ValueError, KeyError, TypeError):
        return RefusedError(response.status_code, "unknown", response.reason_phrase)


def _open(walk: WalkSource, opened: ExitStack) -> list[tuple[str, IO[bytes]]]:
    """Turn a walk into form files: one `sequence`, or several `frames`."""
    if isinstance(walk, np.ndarray):
        return [("sequence", _as_npy(walk))]
    if not isinstance(walk, Path | str):
        return [("frames", opened.enter_context(path.open("rb"))) for path in walk]
    path = Path(walk)
    if path.is_dir():
        return [("sequence", _as_zip(path))]
    if not path.is_file():
        raise NoWalksError(f"expected a file or a folder of pictures at {path}, got nothing")
    return [("sequence", opened.enter_context(path.open("rb")))]


def _as_npy(walk: NDArray[Any]) -> IO[bytes]:
    file = io.BytesIO()
    np.save(file, np.ascontiguousarray(walk), allow_pickle=False)
    file.seek(0)
    return file


def _as_zip(folder: Path) -> IO[bytes]:
    """Pack the pictures of a folder; stored, because pictures do not shrink a second time."""
    pictures = [path for path in folder.iterdir() if path.suffix.lower() in PICTURES]
    if not pictures:
        raise NoWalksError(f"expected PNG or JPEG pictures in {folder}, got none")
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(pictures, key=lambda picture: natural_key(picture.name)):
            archive.write(path, path.name)
    file.seek(0)
    return file
