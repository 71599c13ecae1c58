"""Where a service listens without keys, and the first key that it makes itself."""

import errno
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from gallery import KeyStore, StoreFull
from service.access import SCOPES
from service.errors import StartError
from service.keyring import is_loopback
from service.serve import _write_first_key, require_keys
from service.settings import Settings
from tests.test_keys import Keys


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("localhost", True),
     ("0.0.0.0", False), ("::", False), ("10.0.0.1", False), ("example.org", False)],
)  # fmt: skip
def test_what_is_loopback(host: str, *, expected: bool) -> None:
    assert is_loopback(host) is expected


def test_without_keys_it_listens_on_loopback_only_and_says_how(tmp_path: Path) -> None:
    require_keys(Settings(data=tmp_path))
    everywhere = Settings(data=tmp_path, host="0.0.0.0")
    with pytest.raises(StartError, match="metagait keys create"):
        require_keys(everywhere)
    store = KeyStore.open(tmp_path)
    key, _ = store.create("camera", ["read"])
    require_keys(everywhere)
    store.revoke(key.key_id)
    with pytest.raises(StartError, match=r"expected a live API key to listen on 0\.0\.0\.0"):
        require_keys(everywhere)
    store.close()


def test_the_first_key_is_written_once_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "first.key"
    settings = Settings(data=tmp_path, host="0.0.0.0", first_key_file=path)
    require_keys(settings)
    assert path.stat().st_mode & 0o777 == 0o600
    text = path.read_text().strip()
    keys = Keys(tmp_path)
    assert keys.admit(text).scopes == frozenset(SCOPES)
    path.unlink()
    require_keys(settings)
    assert not path.exists()
    keys.store.close()


def test_a_first_key_that_cannot_be_written_is_not_made(tmp_path: Path) -> None:
    path = tmp_path / "first.key"
    path.write_text("something else")
    with pytest.raises(StartError, match="a new file"):
        require_keys(Settings(data=tmp_path, host="0.0.0.0", first_key_file=path))
    keys = Keys(tmp_path)
    assert keys.store.all() == ()
    keys.store.close()


class FullStore(KeyStore):
    """A store that has no room for a key, after its text was told."""

    def create(self, *words: Any, **named: Any) -> Any:
        super().create(*words, **named)
        raise StoreFull("no room")


def test_a_first_key_that_cannot_be_kept_leaves_no_file_in_the_way_of_the_next_start(
    tmp_path: Path,
) -> None:
    path = tmp_path / "first.key"
    with closing(FullStore.open(tmp_path)) as store, pytest.raises(StoreFull):
        _write_first_key(store, path)
    assert not path.exists()


def test_a_key_whose_text_nobody_could_take_is_none(tmp_path: Path) -> None:
    def refuse(_text: str) -> None:
        raise OSError(errno.ENOSPC, "no room")

    with closing(KeyStore.open(tmp_path)) as store:
        with pytest.raises(OSError, match="no room"):
            store.create("first", SCOPES, before_it_counts=refuse)
        assert store.all() == ()
