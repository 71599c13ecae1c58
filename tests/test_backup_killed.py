"""A backup that is killed at any moment leaves a whole file of its name, or none."""

import errno
import multiprocessing
import os
import signal
import sys
from contextlib import closing
from itertools import count

import numpy as np
import pytest

from gallery import Gallery
from gallery.backup import back_up, check
from gallery.durable import name_finished
from gallery.store import Store


def kill_before_step(number):
    """End this process, as `kill -9` does, when it is about to touch files for that time."""
    left = number

    def look(event, _arguments):
        nonlocal left
        if event in {"open", "tempfile.mkstemp"} or event.startswith(("os.", "ctypes.dlsym")):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(look)


def back_up_killed_later_and_later(data, backups):
    """Back a store up to the files 1, 2, ... until one is not killed, each from a process."""
    for number in count(1):
        child = os.fork()
        if not child:
            with closing(Store.open(data)) as store:
                kill_before_step(number)
                back_up(store.database, backups / str(number))
                os._exit(0)
        _child, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            sys.exit(os.waitstatus_to_exitcode(status))


def test_a_backup_that_is_killed_leaves_a_whole_file_or_none(tmp_path):
    with closing(Gallery.open(tmp_path, model_id="model-a", embedding_length=8)) as gallery:
        gallery.enroll("anna", np.ones(8, np.float32), silhouettes=None)
    backups = tmp_path / "backups"
    backups.mkdir()
    # A process of its own, for one with threads cannot be forked safely.
    process = multiprocessing.get_context("spawn").Process(
        target=back_up_killed_later_and_later, args=(tmp_path, backups)
    )
    process.start()
    process.join(timeout=300)
    assert process.exitcode == 0
    left = {path.name for path in backups.iterdir()}
    whole = {name for name in left if name.isdecimal()}
    assert all(check(backups / name).tables["samples"] == 1 for name in whole)
    assert any(name.endswith(".partial") for name in left)
    assert len(whole) > 1  # one that nothing killed, and one that was killed with its name


def not_here(_old, new):
    raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), str(new))


@pytest.mark.parametrize("ways", [(not_here,), (not_here, not_here)])
def test_a_file_system_that_lacks_a_way_of_naming_takes_another(ways, tmp_path):
    partial, path = tmp_path / "partial", tmp_path / "backup"
    partial.write_text("whole")
    name_finished(partial, path, *ways)
    assert path.read_text() == "whole"
    partial.write_text("another")
    path.unlink()
    path.write_text("somebody's")
    with pytest.raises(FileExistsError):
        name_finished(partial, path, *ways)
    assert path.read_text() == "somebody's"
