"""Every file of the corpus: the right refusal, little memory, nothing embedded, nothing written."""

import io
import tempfile
import tracemalloc
from pathlib import Path

import pytest

from gallery import Gallery
from model.errors import SilhouetteError
from model.silhouettes import align
from service.errors import RequestError
from service.limits import Limits
from service.uploads import Upload, frames_of
from tests.caller import Caller
from tests.fakes import FakeEncoder
from tests.hostile.corpus import Hostile, corpus
from tests.test_service_refusals import check_problem

CORPUS = list(corpus())
# The limits of a service, and what a refusal may cost beside the upload itself.
LIMITS = Limits(upload_bytes=2**26, frames=1000, frame_pixels=8_294_400, walk_pixels=640_000_000)
MEMORY_BYTES = 40_000_000


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files go, and no other test's process writes meanwhile."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.mark.parametrize("upload", CORPUS, ids=lambda upload: upload.name)
def test_it_is_refused_and_nothing_is_written(
    client: Caller, encoder: FakeEncoder, gallery: Gallery, temporary: Path, upload: Hostile
) -> None:
    for path in ("/enroll", "/identify"):
        fields = {"subject": "eve"} if path == "/enroll" else {}
        file = (upload.filename, upload.data)
        response = client.post(path, data=fields, files={"sequence": file})
        check_problem(response, upload.status, upload.code)
    assert encoder.batches == []
    assert gallery.status().samples == 0
    assert not list(temporary.iterdir())


@pytest.mark.parametrize("upload", CORPUS, ids=lambda upload: upload.name)
def test_it_costs_little_memory_to_refuse(upload: Hostile) -> None:
    tracemalloc.start()
    try:
        # Larger limits than the service's in these tests: some get further than a refusal at once.
        align(frames_of(Upload(sequence=io.BytesIO(upload.data)), LIMITS))
    except (RequestError, SilhouetteError):
        pass
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak - len(upload.data) < MEMORY_BYTES
