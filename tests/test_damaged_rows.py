"""What cannot be read any more of a key, a consent, a job or a receipt spoils nothing else."""

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Column, Table, update

from gallery.database import Database
from gallery.schema import api_keys
from metagait import main
from service.errors import AuthenticationError
from tests.test_keys import FRESH_S, Keys

NO_MOMENTS = ["yesterday", "", "2026-03-01T08:00:00"]


def damage(location: Any, column: Column[Any], value: object) -> None:
    """Write something else into a column of every row."""
    assert isinstance(column.table, Table)
    with closing(Database(location)) as database, database.writing() as connection:
        connection.execute(update(column.table).values({column: value}))


@pytest.mark.parametrize(
    ("column", "value"),
    [(api_keys.c.created_at, "yesterday"), (api_keys.c.expires_at, ""),
     (api_keys.c.expires_at, "2026-03-01T08:00:00"), (api_keys.c.revoked_at, "\\xff"),
     (api_keys.c.scopes, "{cut"), (api_keys.c.scopes, "3"), (api_keys.c.galleries, "[1]")],
)  # fmt: skip
def test_a_damaged_key_opens_nothing_and_keeps_nobody_else_out(
    tmp_path: Path,
    column: Column[Any],
    value: str,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    keys = Keys(tmp_path)
    damaged, lost = keys.store.create("camera", ["read"])
    damage(tmp_path, column, value)
    _, text = keys.store.create("phone", ["read"])
    for _ in range(2):
        assert keys.admit(text).name == "phone"
        with pytest.raises(AuthenticationError):
            keys.admit(lost)
        keys.clock.now += FRESH_S
    told = [record.getMessage() for record in caplog.records]
    assert [damaged.key_id in one for one in told] == [True]
    assert main(["keys", "list", "--data", str(tmp_path)]) == 0
    assert f"{damaged.key_id}  damaged camera" in capsys.readouterr().out
    keys.store.revoke(damaged.key_id)
    keys.store.close()


def test_a_damaged_digest_is_of_no_secret(tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    _, text = keys.store.create("camera", ["read"])
    damage(tmp_path, api_keys.c.digest, "é" * 64)
    with pytest.raises(AuthenticationError):
        keys.admit(text)
    keys.store.close()
