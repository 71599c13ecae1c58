"""Keys, from making to revoking: how they are kept, and whom the key ring admits."""

import asyncio
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, text

from gallery import (
    ApiKey,
    InvalidKey,
    KeyNotFound,
    KeyStore,
    StoreUnavailable,
    TooManyKeys,
    parse_key,
)
from service.errors import AuthenticationError, RateLimitedError
from service.keyring import FRESH_S, LOCAL, KeyRing
from tests.waiting import wait_until


def test_keys_are_kept_without_their_secrets(tmp_path: Path) -> None:
    store = KeyStore.open(tmp_path)
    key, text = store.create("camera", ["identify"], galleries=["main"], per_minute=9)
    parsed = parse_key(text)
    assert parsed is not None
    assert parsed[0] == key.key_id
    assert store.all() == (key,)
    store.close()
    content = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert parsed[1].encode() not in content
    assert bytes.fromhex(parsed[1]) not in content
    assert key.key_id.encode() in content


def test_two_keys_of_a_name_may_live_for_a_change(tmp_path: Path) -> None:
    store = KeyStore.open(tmp_path)
    first, second = (store.create("camera", ["read"])[0] for _ in range(2))
    with pytest.raises(TooManyKeys, match=first.key_id):
        store.create("camera", ["read"])
    store.revoke(first.key_id)
    store.revoke(first.key_id)
    third, _ = store.create("camera", ["read"])
    now = datetime.now(UTC)
    live = {key.key_id for key in store.all() if key.is_live(now)}
    assert live == {second.key_id, third.key_id}
    with pytest.raises(KeyNotFound):
        store.revoke("0" * 12)
    store.close()


def test_two_who_make_a_key_at_once_leave_no_third_of_its_name(postgres_url: str) -> None:
    """The second begins while the first has counted the keys and not yet added its own."""
    store, other = KeyStore.open(postgres_url), KeyStore.open(postgres_url)
    store.create("camera", ["read"])
    refused: list[TooManyKeys] = []

    def make_another() -> None:
        try:
            other.create("camera", ["read"])
        except TooManyKeys as error:
            refused.append(error)

    def is_over_or_waits() -> bool:
        with other._database.engine.connect() as connection:
            waiting = connection.scalar(text("SELECT count(*) FROM pg_locks WHERE NOT granted"))
        return bool(waiting) or not rival.is_alive()

    def let_the_other_in(_c: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        if statement.startswith("INSERT INTO api_keys"):
            rival.start()
            wait_until(is_over_or_waits)

    rival = threading.Thread(target=make_another)
    event.listen(store._database.engine, "before_cursor_execute", let_the_other_in)
    store.create("camera", ["read"])
    rival.join()
    live = [key for key in store.all() if key.is_live(datetime.now(UTC))]
    store.close()
    other.close()
    assert (len(live), len(refused)) == (2, 1)


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""},
        {"name": "a\nb"},
        {"name": "x" * 65},
        {"scopes": []},
        {"galleries": []},
        {"per_minute": 0},
        {"expires_at": datetime(2020, 1, 1, tzinfo=UTC)},
    ],
)
def test_a_key_that_would_be_of_no_use_is_not_made(tmp_path: Path, wrong: Any) -> None:
    store = KeyStore.open(tmp_path)
    with pytest.raises(InvalidKey, match="expected"):
        store.create(**{"name": "camera", "scopes": ["read"], **wrong})
    assert store.all() == ()
    store.close()


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Keys:
    """A key ring on a real store, with clocks that stand still."""

    def __init__(self, folder: Path, *, open_without_keys: bool = False) -> None:
        self.store = KeyStore.open(folder)
        self.clock = Clock()
        self.date = datetime.now(UTC)
        self.reads = 0
        self.ring = KeyRing(
            self._read,
            open_without_keys=open_without_keys,
            clock=self.clock,
            today=lambda: self.date,
        )

    def _read(self) -> tuple[ApiKey, ...]:
        self.reads += 1
        return self.store.all()

    def admit(self, key: str | None) -> Any:
        return asyncio.run(self.ring.admit(None if key is None else f"Bearer {key}"))


@pytest.fixture
def keys(tmp_path: Path) -> Iterator[Keys]:
    opened = Keys(tmp_path)
    yield opened
    opened.store.close()


def test_a_revoked_key_opens_nothing_two_seconds_later(keys: Keys) -> None:
    key, text = keys.store.create("camera", ["read"])
    assert keys.admit(text).key_id == key.key_id
    keys.store.revoke(key.key_id)
    keys.clock.now += FRESH_S
    with pytest.raises(AuthenticationError):
        keys.admit(text)


def test_an_expired_key_opens_nothing_at_once(keys: Keys) -> None:
    end = keys.date + timedelta(days=1)
    key, text = keys.store.create("camera", ["read"], expires_at=end)
    assert keys.admit(text).key_id == key.key_id
    keys.date = end
    with pytest.raises(AuthenticationError):
        keys.admit(text)


def test_a_flood_of_wrong_keys_does_not_reach_the_store(keys: Keys) -> None:
    keys.store.create("camera", ["read"])
    for number in range(50):
        with pytest.raises(AuthenticationError):
            keys.admit(f"mg_{number:012x}_{'0' * 64}")
    assert keys.reads == 1


def test_a_store_that_hangs_holds_nobody_and_is_asked_once(keys: Keys) -> None:
    key, text = keys.store.create("camera", ["read"])
    free, reads = threading.Event(), []

    def read() -> tuple[ApiKey, ...]:
        reads.append(free.wait(20))
        return keys.store.all()

    async def story() -> None:
        ring = KeyRing(read, open_without_keys=False, wait_s=0.5)
        asking = (ring.admit(f"Bearer {text}") for _ in range(20))
        answers = await asyncio.gather(*asking, return_exceptions=True)
        assert {type(answer) for answer in answers} == {StoreUnavailable}
        free.set()
        admitted = await ring.admit(f"Bearer {text}")
        assert admitted.key_id == key.key_id
        assert reads == [True]

    asyncio.run(story())


def test_a_store_that_fails_is_asked_again_by_the_next_request(keys: Keys) -> None:
    key, text = keys.store.create("camera", ["read"])
    failures = [StoreUnavailable("gone for a moment")]

    def read() -> tuple[ApiKey, ...]:
        if failures:
            raise failures.pop()
        return keys.store.all()

    ring = KeyRing(read, open_without_keys=False)
    with pytest.raises(StoreUnavailable, match="gone for a moment"):
        asyncio.run(ring.admit(f"Bearer {text}"))
    assert asyncio.run(ring.admit(f"Bearer {text}")).key_id == key.key_id


def test_a_rate_is_kept_and_says_when_to_come_back(keys: Keys) -> None:
    _, text = keys.store.create("camera", ["read"], per_minute=30)
    _, other = keys.store.create("phone", ["read"], per_minute=30)
    for _ in range(30):
        keys.admit(text)
    with pytest.raises(RateLimitedError) as refused:
        keys.admit(text)
    assert refused.value.retry_after_s == 2
    keys.admit(other)
    keys.clock.now += 2
    keys.admit(text)
    with pytest.raises(RateLimitedError):
        keys.admit(text)


def test_what_costs_more_than_a_request_is_owed_by_the_next_ones(keys: Keys) -> None:
    _, text = keys.store.create("camera", ["identify"], per_minute=30)
    caller = keys.admit(text)
    keys.ring.charge(caller, 63)
    with pytest.raises(RateLimitedError) as refused:
        keys.admit(text)
    assert refused.value.retry_after_s == 70  # for the 34 that are owed, and the one asked for
    keys.clock.now += 70
    keys.admit(text)
    keys.ring.charge(LOCAL, 63)


def test_keys_share_the_service_as_soon_as_there_are_two_live_ones(keys: Keys) -> None:
    _, text = keys.store.create("camera", ["identify"])
    assert keys.ring.sharer(keys.admit(text)) is None
    other, _ = keys.store.create("phone", ["identify"])
    keys.clock.now += FRESH_S
    caller = keys.admit(text)
    assert keys.ring.sharer(caller) == caller.key_id
    keys.store.revoke(other.key_id)
    keys.clock.now += FRESH_S
    assert keys.ring.sharer(keys.admit(text)) is None
    assert keys.ring.sharer(LOCAL) is None


def test_loopback_is_open_until_there_is_a_key(tmp_path: Path) -> None:
    keys = Keys(tmp_path, open_without_keys=True)
    assert keys.admit(None) == LOCAL
    key, _ = keys.store.create("camera", ["read"])
    keys.store.revoke(key.key_id)
    keys.clock.now += FRESH_S
    with pytest.raises(AuthenticationError):
        keys.admit(None)
    keys.store.close()
