"""What the commands of the gallery do with mistakes, interruptions and odd surroundings."""

import os
import subprocess
import sys
from contextlib import closing

import numpy as np
import pytest
from sqlalchemy import event, inspect, select, text
from sqlalchemy.exc import OperationalError

from gallery import Gallery, KeyStore, MasterKey, RebuildRefused, StoreUnavailable, WrongMasterKey
from gallery.ciphers import Vault
from gallery.connecting import FILE_NAME
from gallery.database import Database
from gallery.master_keys import rotate
from gallery.on_ray import RayWorkers
from gallery.schema import generations
from gallery.store import Store
from metagait import main
from tests.fakes import SIZE
from tests.galleries import embedding, open_gallery, walk
from tests.tiny_models import tiny_model

TOO_LONG = "a" * 300


def filled(location):
    with closing(open_gallery(location)) as gallery:
        gallery.enroll("anna", embedding(1), silhouettes=walk(1))


def where(location):
    return ["--database" if "://" in str(location) else "--data", str(location)]


def test_what_is_printed_into_nothing_ends_in_peace(tmp_path):
    filled(tmp_path)
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "metagait", "audit", "export", *where(tmp_path)]
    ended = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, timeout=120, check=False)
    os.close(write)
    assert (ended.returncode, ended.stderr) == (141, b"")


def test_a_file_of_the_database_s_url_that_cannot_be_read_is_a_sentence(monkeypatch, capsys):
    monkeypatch.setenv("METAGAIT_DATABASE_FILE", "/nowhere/url")
    assert main(["backup", "x"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "METAGAIT_DATABASE_FILE: expected a database URL in /nowhere/url, got: No such" in line


def test_a_url_on_the_command_line_goes_before_the_file_of_one(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("METAGAIT_DATABASE_FILE", "/nowhere/url")
    assert main(["gallery", "--database", f"sqlite:///{tmp_path / 'none.db'}"]) == 2
    assert "expected the tables of a gallery in the database" in capsys.readouterr().err


def test_names_that_no_file_can_have_are_sentences(tmp_path, capsys):
    filled(tmp_path)
    for command in (
        ["gallery", "--data", TOO_LONG],
        ["backup", TOO_LONG, *where(tmp_path)],
        ["restore", TOO_LONG, *where(tmp_path)],
    ):
        assert main(command) == 2
        assert "File name too long" in capsys.readouterr().err, command


def test_a_look_at_an_empty_database_makes_nothing_and_it_can_be_restored_into(
    location, tmp_path_factory, capsys
):
    folder = tmp_path_factory.mktemp("first")
    filled(folder)
    backup = str(folder / "backup")
    assert main(["backup", backup, *where(folder)]) == 0
    if "://" not in str(location):
        (location / FILE_NAME).touch()  # as a restore leaves it that was killed
    with (
        pytest.raises(StoreUnavailable, match="expected the tables of a gallery"),
        closing(KeyStore.open(location, make=False)),
    ):
        pass
    for command in (["gallery"], ["gallery", "--list"], ["audit", "verify"]):
        assert main([*command, *where(location)]) == 2
        assert "expected the tables of a gallery in the database" in capsys.readouterr().err
    with closing(Database(location)) as database, database.reading() as connection:
        assert inspect(connection).get_table_names() == []
    assert main(["restore", backup, *where(location)]) == 0
    assert main(["gallery", *where(location)]) == 0
    assert "1 samples of 1 subjects" in capsys.readouterr().out
    assert main(["restore", backup, *where(location)]) == 2
    assert "got one with tables: restore into another" in capsys.readouterr().err


def test_a_master_key_is_not_changed_to_itself(tmp_path):
    key = MasterKey(bytes(range(32)))
    open_gallery(tmp_path, master_key=key).close()
    with (
        closing(Database(tmp_path, Vault(key))) as database,
        pytest.raises(WrongMasterKey, match="another master key to rotate to, got the present one"),
    ):
        rotate(database, MasterKey(bytes(range(32))))


def test_a_master_key_that_has_no_room_leaves_no_file_in_the_way(tmp_path):
    path = tmp_path / "master.key"
    command = [sys.executable, "-m", "metagait", "masterkey", "new", str(path)]
    ended = subprocess.run(
        ["sh", "-c", 'ulimit -f 0; exec "$@"', "sh", *command],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 2
    assert f"expected to write the file {path}, got: File too large" in ended.stderr
    assert not path.exists()


def test_a_lock_whose_connection_broke_undoes_nothing_of_what_was_done(postgres_url):
    with closing(Database(postgres_url)) as database:
        with database.alone("rebuild", 1), database.writing() as connection:
            holder = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'"
            assert connection.scalars(text(holder)).all() == [True]
        with database.alone("rebuild", 1):
            pass


def test_a_lock_that_cannot_be_given_back_goes_with_its_connection(postgres_url):
    with closing(Database(postgres_url)) as database, closing(database.again()) as other:

        @event.listens_for(database.engine, "before_cursor_execute")
        def _cancel(_connection, _cursor, statement, *_words):
            if "pg_advisory_unlock" in statement:
                raise OperationalError(statement, {}, Exception("canceled"))

        with database.alone("rebuild", 1):
            pass
        with other.alone("rebuild", 1):
            pass


@pytest.mark.parametrize("wrong", [{"workers": 0}, {"workers": -1}, {"threads": 0}])
def test_fewer_than_one_worker_is_refused_before_ray_starts(tmp_path, wrong):
    with pytest.raises(RebuildRefused, match="workers and threads of 1 or more, got"):
        RayWorkers(tmp_path / "none.onnx", lambda path: None, model_id="model-a", **wrong)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["rebuild", "--rollback", "--ray"], "expected --ray only together with --model"),
        (
            ["rebuild", "--rollback", "--threads", "2"],
            "expected --threads only together with --model",
        ),
        (
            ["rebuild", "--drop-old", "--provider", "cpu"],
            "expected --provider only together with --model",
        ),
        (
            ["rebuild", "--model", "x.onnx", "--workers", "2"],
            "expected --workers only together with --ray",
        ),
        (["masterkey", "encrypt", "some.key"], "expected no FILE after `encrypt`"),
        (["restore", "some.backup", "--check", "--takes-over"], "--check or --takes-over"),
        (["audit", "export", "--head", "main:1:ab"], "expected --head and --file with `verify`"),
    ],
)
def test_options_that_would_do_nothing_are_refused(tmp_path, capsys, words, said):
    filled(tmp_path)
    assert main([*words, *where(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


@pytest.mark.parametrize("provider", ["cpu", "cuda", "tensorrt"])
def test_a_rebuild_runs_on_the_provider_asked_for_or_begins_nothing(tmp_path, capsys, provider):
    data, models = tmp_path / "data", tmp_path / "made"
    models.mkdir()
    new = tiny_model(models / "new.onnx", "tiny-new", dimensions=4)
    gallery = Gallery.open(data, model_id="model-old", embedding_length=8)
    walk = np.full((4, *SIZE), 255, np.uint8)
    gallery.enroll("anna", np.ones(8, np.float32), silhouettes=walk)
    gallery.close()
    command = ["rebuild", "--model", str(new), "--provider", provider, *where(data)]
    status = main(command)
    printed = capsys.readouterr()
    with closing(Store.open(data, make=False)) as store:
        model = store.head().model.model_id
        with store.database.reading() as connection:
            made = connection.scalars(select(generations.c.id)).all()
    named = {"cpu": "CPU", "cuda": "CUDA", "tensorrt": "Tensorrt"}[provider]
    if status == 0:  # always on the CPU; the others where this machine has such a GPU
        assert f"on {named}" in printed.out
        assert (model.startswith("tiny-new"), len(made)) == (True, 2)
    else:
        assert (status, provider != "cpu") == (2, True)
        assert f"{named}ExecutionProvider was asked for" in printed.err
        assert (model, len(made), (data / "models").exists()) == ("model-old", 1, False)


def test_what_is_about_the_whole_store_asks_for_no_gallery(tmp_path, capsys, monkeypatch):
    store = tmp_path / "store"
    with closing(open_gallery(store, name="lab")) as gallery:
        gallery.enroll("anna", embedding(1), silhouettes=walk(1))
    backup = str(tmp_path / "backup")
    monkeypatch.setenv("METAGAIT_MASTER_KEY_FILE", str(tmp_path / "key"))
    assert main(["masterkey", "new", str(tmp_path / "key")]) == 0
    for command in (["masterkey", "encrypt"], ["audit", "verify"], ["backup", backup]):
        assert main([*command, *where(store)]) == 0, command
    assert main(["restore", backup, *where(tmp_path / "restored")]) == 0
    told = capsys.readouterr().out
    assert "Encrypted 1 subjects." in told
    assert "lab:1:" in told
    for command in (["backup", "x"], ["restore", "x"], ["masterkey", "encrypt"]):
        with pytest.raises(SystemExit):
            main([*command, "--gallery", "lab"])


def test_names_that_are_bytes_are_sentences(tmp_path, capsys):
    filled(tmp_path)
    for command in (
        ["erase", "\udcff"],
        ["erase", "--sample", "\udcff"],
        ["gallery", "--gallery", "\udcff"],
        ["gallery", "--delete", "\udcff"],
        ["audit", "verify", "--head", "\udcff:1:ab"],
        ["keys", "revoke", "\udcff"],
    ):
        assert main([*command, "--data", str(tmp_path)]) == 2, command
        assert "expected a text of Unicode characters" in capsys.readouterr().err, command


def test_a_database_that_is_no_url_makes_no_folder(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    filled(tmp_path / "store")
    assert main(["backup", "backup", "--data", "store"]) == 0
    for command in (["gallery"], ["restore", "backup"]):
        assert main([*command, "--database", "mistyped"]) == 2
        assert "expected a database as a URL" in capsys.readouterr().err
    assert not (tmp_path / "mistyped").exists()
