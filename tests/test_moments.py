"""Everything that one answer says is as of one write, and the store is asked for it once."""

from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from sqlalchemy import event

from gallery import Gallery, InvalidLimit, ModelMismatch, SubjectNotFound
from tests.waiting import wait_until


def opened(folder: Path, model: str = "model-a") -> Gallery:
    return Gallery.open(folder, model_id=model, embedding_length=8)


@pytest.fixture
def gallery(tmp_path: Path) -> Iterator[Gallery]:
    gallery = opened(tmp_path)
    for number, subject in enumerate(("ann", "ben", "ben")):
        gallery.enroll(subject, np.full(8, number, np.float32), silhouettes=None)
    yield gallery
    gallery.close()


PROBE = np.full(8, 1.1, np.float32)


def test_a_moment_stays_as_it_was_while_another_process_writes(
    gallery: Gallery, tmp_path: Path
) -> None:
    there = opened(tmp_path)
    with gallery.moment() as moment:
        there.enroll("cem", PROBE, silhouettes=None)
        assert [one.subject for one in moment.identify(PROBE)] == ["ben", "ann"]
        assert (moment.size.subjects, moment.size.samples) == (2, 3)
        assert moment.calibration is None
        assert moment.settings == gallery._current.settings
    assert gallery.identify(PROBE)[0].subject == "cem"
    there.close()


def test_a_moment_keeps_its_settings_while_this_process_follows_a_change(gallery: Gallery) -> None:
    writer = Thread(
        target=lambda: [gallery.change_settings({"aggregation": "mean"}), gallery.size()]
    )
    searching = gallery._current._searching
    with gallery.moment() as moment:
        before = moment.settings
        writer.start()
        wait_until(lambda: searching._writers_waiting == 1)
        assert (moment.settings, moment.calibration) == (before, None)
    writer.join()
    assert gallery.settings().aggregation == "mean"


def test_a_moment_looks_at_the_store_once(gallery: Gallery) -> None:
    statements: list[str] = []
    engine = gallery._store.database.engine
    event.listen(
        engine, "before_cursor_execute", lambda *given: statements.append(str(given[2]).lower())
    )
    with gallery.moment() as moment:
        found = moment.identify(PROBE, limit=1)
        told = moment.size, moment.settings, moment.calibration
    assert len([one for one in statements if one.startswith("select")]) == 1
    assert found == gallery.identify(PROBE, limit=1)
    assert told == (gallery.size(), gallery.settings(), gallery.calibration())


def test_a_moment_verifies_and_refuses_as_the_gallery_does(
    gallery: Gallery, tmp_path: Path
) -> None:
    with gallery.moment() as moment:
        assert moment.verify("ben", PROBE) == gallery.verify("ben", PROBE)
        with pytest.raises(SubjectNotFound):
            moment.verify("dan", PROBE)
        with pytest.raises(InvalidLimit):
            moment.identify(PROBE, limit=0)
    other = opened(tmp_path, "model-b")
    with pytest.raises(ModelMismatch), other.moment():
        pass
    other.close()
