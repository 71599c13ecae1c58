"""Settings of a gallery: checked, kept in the store, and the same for every process."""

import argparse

import numpy as np
import pytest

from gallery import Gallery, GallerySettings, InvalidSetting, RebuildRefused
from gallery.commands.settings import configure, run
from gallery.settings import change_settings, read_settings
from gallery.store import Store


def test_defaults_are_those_of_a_new_gallery(location):
    store = Store.open(location)
    with store.database.reading() as connection:
        assert read_settings(connection, store.gallery_id) == GallerySettings()
    store.close()


def test_a_change_is_kept_and_seen_by_a_gallery_that_is_open(location):
    gallery = Gallery.open(location, model_id="model-a", embedding_length=4)
    gallery.enroll("anna", np.ones(4, np.float32), silhouettes=None)
    assert gallery.settings() == GallerySettings()
    store = Store.open(location)
    changed = change_settings(store, {"aggregation": "mean", "nearest_samples": 2})
    assert (changed.samples_of_a_subject, changed.conflict) == (2, "report")
    assert changed.aggregation_in_words == "mean of nearest 2"
    assert gallery.settings() == changed
    assert gallery.status().in_sync
    gallery.change_settings({"aggregation": "nearest"})
    assert gallery.settings().samples_of_a_subject == 1
    store.close()
    gallery.close()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"aggregation": "median"}, "expected aggregation of nearest, mean, got 'median'"),
        ({"conflict": ""}, "expected conflict of report, refuse, off, got ''"),
        ({"nearest_samples": 0}, "expected nearest_samples from 1 to 16, got 0"),
        ({"nearest_samples": True}, "got True"),
        ({"colour": "red"}, "expected a setting of a gallery .*got 'colour'"),
        ({"index_kind": ["exact"]}, "expected index_kind"),
    ],
)
def test_what_no_setting_takes_is_refused_and_nothing_changed(location, changes, says):
    store = Store.open(location)
    with pytest.raises(InvalidSetting, match=says):
        change_settings(store, {"conflict": "off", **changes})
    with store.database.reading() as connection:
        assert read_settings(connection, store.gallery_id) == GallerySettings()
    store.close()


def test_what_must_be_done_alone_is_refused_to_a_second_one(location):
    one, other = Store.open(location), Store.open(location)
    with one.database.alone("rebuild", one.gallery_id):
        with (
            pytest.raises(RebuildRefused, match="one rebuild of a gallery at a time"),
            other.database.alone("rebuild", other.gallery_id),
        ):
            pass
        with other.database.alone("rebuild", other.gallery_id + 1):
            pass
    with other.database.alone("rebuild", other.gallery_id):
        pass
    one.close()
    other.close()


def command(*words):
    parser = argparse.ArgumentParser()
    configure(parser)
    return run(parser.parse_args(words))


def test_the_command_shows_and_changes(tmp_path, capsys):
    Store.open(tmp_path).close()
    assert command("--data", str(tmp_path), "--set", "nearest_samples=2") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("gallery main: 0 samples of 0 subjects")
    assert "nearest_samples = 2" in lines
    with pytest.raises(InvalidSetting, match="NAME=VALUE"):
        command("--data", str(tmp_path), "--set", "aggregation")


def test_the_command_finds_the_gallery_by_the_variables_of_the_service(
    tmp_path, capsys, monkeypatch
):
    Store.open(tmp_path, "west").close()
    monkeypatch.setenv("METAGAIT_DATA", str(tmp_path))
    monkeypatch.setenv("METAGAIT_GALLERY", "west")
    assert command() == 0
    assert "gallery west" in capsys.readouterr().out
    monkeypatch.setenv("METAGAIT_DATABASE", f"sqlite:///{tmp_path / 'metagait.db'}")
    monkeypatch.setenv("METAGAIT_DATA", str(tmp_path / "nowhere"))
    assert command() == 0
