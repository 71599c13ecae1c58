"""A backup is the store of one moment, checked to the byte; what is restored answers the same."""

import gzip
import io
import json
import stat
import tarfile
import threading
from contextlib import closing

import numpy as np
import pytest

from gallery import BackupError, Consent, Gallery, MasterKey, WrongMasterKey
from gallery.backup import back_up, restore
from gallery.ciphers import Vault
from gallery.database import Database
from gallery.generations import names
from gallery.packing import pack_silhouettes
from gallery.store import Store
from metagait import main

LENGTH = 64
KEY = MasterKey(bytes(range(32)))


def open_gallery(location, key=None):
    return Gallery.open(location, model_id="model-a", embedding_length=LENGTH, master_key=key)


def embedding(seed):
    return np.random.default_rng(seed).normal(size=LENGTH).astype(np.float32)


def walk(seed, frames=6):
    return np.random.default_rng(seed).integers(0, 256, (frames, 8, 6), dtype=np.uint8)


def fill(gallery):
    for seed in range(9):
        gallery.enroll(
            f"s{seed % 4}", embedding(seed), silhouettes=walk(seed), metadata={"n": seed}
        )
    gallery.set_consent("s1", Consent("consent", "paper 7"))
    receipt = gallery.erase_subject("s3").receipt
    gallery.note_search("identify", "match", subject="s1")
    return receipt


def answers(gallery):
    found = [gallery.identify(embedding(seed), limit=10) for seed in range(12)]
    people = [gallery.subject(summary.subject) for summary in gallery.subjects()]
    walks = [
        gallery.silhouettes(sample.sample_id).tobytes()
        for person in people
        for sample in person.samples
    ]
    return found, people, walks


def restored(path, location, key=None):
    database = Database(location, Vault(key))
    restore(path, database)
    database.close()


@pytest.mark.parametrize("key", [None, KEY], ids=["plain", "encrypted"])
def test_what_is_restored_answers_the_same(location, tmp_path, key):
    gallery = open_gallery(location, key)
    receipt = fill(gallery)
    gallery._searches.flush()
    path = tmp_path / "store.backup"
    manifest = back_up(gallery._store.database, path)
    assert manifest.tables["samples"] == 7
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    restored(path, tmp_path / "new", key)
    again = open_gallery(tmp_path / "new", key)
    assert answers(again) == answers(gallery)
    assert again.receipt(receipt.receipt_id) == receipt
    assert again.status() == gallery.status()
    again.enroll("new", embedding(50), silhouettes=walk(50))
    assert again.verify("new", embedding(50)).distance == 0
    gallery.close()
    again.close()


def test_a_backup_moves_from_sqlite_to_a_server_and_back(tmp_path, postgres_url):
    gallery = open_gallery(tmp_path / "first")
    fill(gallery)
    back_up(gallery._store.database, tmp_path / "one")
    expected = answers(gallery)
    gallery.close()
    restored(tmp_path / "one", postgres_url)
    gallery = open_gallery(postgres_url)
    assert answers(gallery) == expected
    gallery.enroll("new", embedding(50), silhouettes=walk(50))
    gallery.erase_subject("new")
    back_up(gallery._store.database, tmp_path / "two")
    gallery.close()
    restored(tmp_path / "two", tmp_path / "second")
    gallery = open_gallery(tmp_path / "second")
    assert answers(gallery) == expected
    gallery.close()


def test_a_backup_while_people_are_enrolled_is_of_one_moment(location, tmp_path):
    gallery, stop = open_gallery(location), threading.Event()
    fill(gallery)

    def enroll():
        seed = 100
        while not stop.is_set():
            gallery.enroll(f"s{seed}", embedding(seed), silhouettes=walk(seed))
            seed += 1

    thread = threading.Thread(target=enroll)
    thread.start()
    try:
        manifests = [back_up(gallery._store.database, tmp_path / str(n)) for n in range(3)]
    finally:
        stop.set()
        thread.join()
    gallery.close()
    for number, manifest in enumerate(manifests):
        counts = {manifest.tables[name] for name in ("samples", "embeddings", "silhouettes")}
        assert len(counts) == 1
        restored(tmp_path / str(number), tmp_path / f"new{number}")
        again = open_gallery(tmp_path / f"new{number}")
        assert again.status().in_sync
        again.close()


def test_an_encrypted_backup_is_noise_and_demands_the_key(tmp_path):
    gallery = open_gallery(tmp_path / "data", KEY)
    fill(gallery)
    back_up(gallery._store.database, tmp_path / "backup")
    gallery.close()
    content = gzip.decompress((tmp_path / "backup").read_bytes())
    assert pack_silhouettes(walk(0)).data not in content
    restored(tmp_path / "backup", tmp_path / "new", None)
    with pytest.raises(WrongMasterKey, match="got none"):
        open_gallery(tmp_path / "new")


def damaged(path):
    """Archives that are not what was written, each by another way."""
    whole = path.read_bytes()
    with tarfile.open(path) as archive:
        members = [(m, archive.extractfile(m).read()) for m in archive.getmembers()]
    name = next(m.name for m, _data in members if m.name.startswith("subjects/"))

    def packed(change):
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode="w:gz") as archive:
            for member, data in members:
                changed = change(member.name, data)
                if changed is not None:
                    member.size = len(changed)
                    archive.addfile(member, io.BytesIO(changed))
        return file.getvalue()

    def newer(entry, data):
        if entry != "manifest.json":
            return data
        return json.dumps({**json.loads(data), "schema": "9999"}).encode()

    return {
        "cut short": whole[: len(whole) // 2],
        "empty": b"",
        "no archive": b"not an archive at all",
        "altered": packed(lambda n, d: d.replace(b"s1", b"s9") if n == name else d),
        "a piece less": packed(lambda n, d: None if n == name else d),
        "no manifest": packed(lambda n, d: None if n == "manifest.json" else d),
        "newer": packed(newer),
    }


def test_a_damaged_backup_is_a_sentence_and_restores_nothing(tmp_path):
    gallery = open_gallery(tmp_path / "data")
    fill(gallery)
    back_up(gallery._store.database, tmp_path / "backup")
    gallery.close()
    for name, content in damaged(tmp_path / "backup").items():
        path = tmp_path / "damaged"
        path.write_bytes(content)
        target = tmp_path / f"new {name}"
        with pytest.raises(BackupError, match="expected"):
            restored(path, target)
        assert main(["restore", str(path), "--data", str(tmp_path / "by command")]) == 2
        assert not (tmp_path / "by command" / "metagait.db").exists(), name
    restored(tmp_path / "backup", tmp_path / "new altered")


def test_nothing_is_overwritten(tmp_path):
    gallery = open_gallery(tmp_path / "data")
    fill(gallery)
    database = gallery._store.database
    back_up(database, tmp_path / "backup")
    with pytest.raises(BackupError, match="there already"):
        back_up(database, tmp_path / "backup")
    with pytest.raises(BackupError, match="expected to write"):
        back_up(database, tmp_path / "no folder" / "backup")
    with pytest.raises(BackupError, match="empty database"):
        restore(tmp_path / "backup", database)
    assert gallery.status().in_sync
    assert main(["restore", str(tmp_path / "backup"), "--data", str(tmp_path / "data")]) == 2
    gallery.close()


class Meanwhile(Database):
    """Lets something happen when a backup of it begins to read, its file still without a name."""

    def reading(self):
        self.then()
        return super().reading()


def test_of_two_backups_to_one_name_the_first_to_end_stays(location, tmp_path):
    gallery = open_gallery(location)
    fill(gallery)
    path = tmp_path / "of two"
    slow, kept = Meanwhile(location), []

    def end_first():
        slow.then = lambda: None
        back_up(gallery._store.database, path)
        kept.append((path.stat().st_ino, path.read_bytes()))

    slow.then = end_first
    with (
        closing(slow),
        pytest.raises(BackupError, match="of two, got one that came there meanwhile"),
    ):
        back_up(slow, path)
    assert kept == [(path.stat().st_ino, path.read_bytes())]
    assert not list(tmp_path.glob("of two.*"))
    restored(path, tmp_path / "new")
    gallery.close()


def test_the_commands_back_up_check_restore_list_and_encrypt(tmp_path, capsys):
    data, new, key = tmp_path / "data", tmp_path / "new", tmp_path / "master.key"
    gallery = open_gallery(data)
    fill(gallery)
    gallery.close()
    backup = str(tmp_path / "backup")
    assert main(["backup", backup, "--data", str(data)]) == 0
    assert main(["restore", backup, "--check"]) == 0
    assert main(["restore", backup, "--data", str(new)]) == 0
    assert "Restored 7 samples" in capsys.readouterr().out
    assert main(["audit", "verify", "--data", str(new)]) == 0
    head = capsys.readouterr().out.split()[-1]
    assert main(["audit", "verify", "--data", str(new), "--head", head]) == 0
    assert main(["audit", "verify", "--data", str(new), "--head", f"{head}0"]) == 2
    assert "hash that was kept" in capsys.readouterr().err
    assert main(["audit", "export", "--data", str(new)]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["action"] for row in rows][-3:] == ["consent", "erase", "identify"]
    assert main(["consent", "--data", str(new)]) == 0
    assert capsys.readouterr().out == "never\ts1\t-\tconsent\tpaper 7\n"
    assert main(["consent", "--expired", "--data", str(new)]) == 0
    assert capsys.readouterr().out == ""
    assert main(["masterkey", "new", str(key)]) == 0
    assert main(["masterkey", "new"]) == 2
    with_key = ["--data", str(new), "--master-key-file", str(key)]
    assert main(["masterkey", "encrypt", *with_key]) == 0
    assert "Encrypted 3 subjects" in capsys.readouterr().out
    assert main(["masterkey", "new", str(tmp_path / "next.key")]) == 0
    assert main(["masterkey", "rotate", str(tmp_path / "next.key"), *with_key]) == 0
    assert main(["audit", "verify", *with_key]) == 2
    assert main(["audit", "verify", *with_key[:3], str(tmp_path / "next.key")]) == 0


def name_outside(folder):
    with closing(Store.open(folder)) as store, store.database.reading() as connection:
        return names(connection, store.gallery_id, store.head().generation)[0]


def test_a_restored_store_is_another_one_unless_it_takes_over(tmp_path):
    gallery = open_gallery(tmp_path / "data")
    fill(gallery)
    back_up(gallery._store.database, tmp_path / "backup")
    gallery.close()
    for name, words in (("one", []), ("two", []), ("instead", ["--takes-over"])):
        command = ["restore", str(tmp_path / "backup"), "--data", str(tmp_path / name)]
        assert main([*command, *words]) == 0
    original, one, two, instead = (
        name_outside(tmp_path / name) for name in ("data", "one", "two", "instead")
    )
    assert len({original, one, two}) == 3
    assert instead == original
    with closing(Store.open(tmp_path / "one")) as store:
        back_up(store.database, tmp_path / "again")
    restored(tmp_path / "again", tmp_path / "three")
    assert name_outside(tmp_path / "three") not in {original, one, two}


def test_a_database_and_a_backup_are_their_owner_s_alone_in_a_folder_for_everybody(tmp_path):
    tmp_path.chmod(0o755)
    gallery = Gallery.open(tmp_path, model_id="model-a", embedding_length=8)
    gallery.enroll("anna", np.ones(8, np.float32), silhouettes=None)
    somebody_s = tmp_path / "now.backup.partial"
    somebody_s.touch()
    somebody_s.chmod(0o666)
    back_up(gallery._store.database, tmp_path / "now.backup")
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    gallery.close()
    assert modes.pop(somebody_s.name) == 0o666
    assert set(modes) >= {"metagait.db", "metagait.db-wal", "now.backup"}
    assert set(modes.values()) == {0o600}
    assert somebody_s.read_bytes() == b""
