"""A power cut takes back no acknowledged name: of a backup, a master key's file or a model's."""

import errno
import os
import stat
from contextlib import closing

import numpy as np
import pytest

from gallery import Gallery
from gallery.backup import back_up
from gallery.durable import sync_folder
from gallery.master_keys import write_master_key
from gallery.model_files import ModelFiles, sha256_of
from gallery.store import Store


@pytest.fixture
def synced(monkeypatch):
    """What was synced, in order: the names in each folder at that moment, None for a file."""
    told, sync = [], os.fsync

    def look(descriptor):
        is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        told.append(set(os.listdir(descriptor)) if is_folder else None)
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", look)
    return told


def test_the_name_of_a_master_key_is_synced_after_its_content(tmp_path, synced):
    write_master_key(tmp_path / "master.key")
    assert synced == [None, {"master.key"}]


def test_the_name_of_a_backup_is_synced_after_its_content(tmp_path, synced):
    with closing(Gallery.open(tmp_path, model_id="model-a", embedding_length=8)) as gallery:
        gallery.enroll("anna", np.ones(8, np.float32), silhouettes=None)
    backups = tmp_path / "backups"
    backups.mkdir()
    synced.clear()
    with closing(Store.open(tmp_path)) as store:
        back_up(store.database, backups / "monday")
    assert synced == [None, {"monday"}]


def test_the_name_of_a_model_s_file_is_synced_after_its_content(tmp_path, synced):
    source = tmp_path / "new.onnx"
    source.write_bytes(b"a model")
    model_id = f"new-{sha256_of(source)[:12]}"
    files = ModelFiles.of(tmp_path)
    files.add(source, model_id)
    assert synced == [None, {f"{model_id}.onnx"}]
    assert files.find(model_id).read_bytes() == b"a model"


def test_a_folder_that_cannot_be_synced_is_no_error_and_a_broken_disk_is(tmp_path, monkeypatch):
    def fail(number):
        def refuse(_descriptor):
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(os, "fsync", refuse)
        sync_folder(tmp_path)

    fail(errno.EINVAL)
    with pytest.raises(OSError, match="Input/output"):
        fail(errno.EIO)
