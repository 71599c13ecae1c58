"""`metagait keys`: create, list and revoke API keys on the machine with the gallery's data.

    metagait keys create camera-3 --scopes identify,read --expires-days 90 --per-minute 600
    metagait keys list
    metagait keys revoke 0123456789ab

A running service, and every other replica on the same database, notices within two seconds.
"""

import argparse
import math
import sys
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

from gallery import ApiKey, KeyStore, StoreUnavailable
from service.access import SCOPES
from service.commands.numbers import whole
from service.settings import load_settings

_MOST_DAYS = 36_500  # a century; a date can hold no more than 80 of them
_MOST_PER_MINUTE = 1_000_000


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the actions on keys: create, list and revoke."""
    parser.epilog = (
        "Run it where the database is. A running service follows within two seconds. Only `create` "
        "makes a store that is missing, for a key before the first start, and only in a folder "
        "that --data or METAGAIT_DATA names."
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    create = actions.add_parser("create", help="make a key and print it; it is shown only once")
    create.add_argument("name", help="whose key it is; at most two live keys may share a name")
    create.add_argument(
        "--scopes",
        type=_scopes,
        required=True,
        help=f"what the key opens: one or more of {','.join(SCOPES)}, or `all`",
    )
    create.add_argument(
        "--galleries",
        type=_names,
        help="the only galleries that the key is for, separated by commas (default: all)",
    )
    create.add_argument(
        "--expires-days", type=_days, metavar="D", help="days until it ends (default: never)"
    )
    create.add_argument(
        "--per-minute",
        type=whole(1, _MOST_PER_MINUTE),
        metavar="N",
        help="most requests in a minute (default: no limit)",
    )
    listing = actions.add_parser("list", help="list the keys, without their secrets")
    revoke = actions.add_parser("revoke", help="end a key for good")
    revoke.add_argument("key_id", help="the id of the key, between mg_ and the secret")
    for action in (create, listing, revoke):
        action.add_argument(
            "--data",
            type=Path,
            help="the service's data folder (default: METAGAIT_DATA, or ./data)",
        )


def run(arguments: argparse.Namespace) -> int:
    """Perform the action; the entry point prints an error as a sentence and returns 2."""
    settings = load_settings(data=arguments.data)
    location = settings.store()
    is_new = not KeyStore.is_there(location)
    make = arguments.action == "create"
    if make and is_new and "data" not in settings.model_fields_set:
        # The first key may precede the service, but a store that nobody named is a mistake.
        raise StoreUnavailable(
            f"expected a store in the folder {_shown(location)}, got none there: go where the "
            "service's data folder is, or name it with --data, which also makes a new one"
        )
    with closing(KeyStore.open(location, make=make)) as keys:
        if is_new:
            said = f"made a new store in {_shown(location)}, for a service to be started with it"
            print(said, file=sys.stderr)
        if arguments.action == "create":
            _create(keys, arguments)
        elif arguments.action == "list":
            _list(keys)
        else:
            keys.revoke(arguments.key_id)
            print(f"revoked {arguments.key_id}")
    return 0


def _shown(folder: str | Path) -> Path:
    return Path(folder).absolute()


def _create(keys: KeyStore, arguments: argparse.Namespace) -> None:
    days = arguments.expires_days
    key, text = keys.create(
        arguments.name,
        arguments.scopes,
        galleries=arguments.galleries,
        per_minute=arguments.per_minute,
        expires_at=None if days is None else datetime.now(UTC) + timedelta(days=days),
    )
    # Only the key goes to standard output, so that `> FILE` makes a file for `--key-file`.
    print(_line(key, datetime.now(UTC)), file=sys.stderr)
    print("The key is shown only now; it cannot be shown again:", file=sys.stderr)
    print(text)


def _list(keys: KeyStore) -> None:
    now = datetime.now(UTC)
    found = keys.all()
    for key in found:
        print(_line(key, now))
    if not found:
        print("no keys: the service listens on loopback only and asks for none")


def _line(key: ApiKey, now: datetime) -> str:
    ended = "damaged" if key.is_damaged else "revoked" if key.revoked_at else "expired"
    state = "live" if key.is_live(now) else ended
    end = f", until {key.expires_at:%Y-%m-%d %H:%M} UTC" if key.expires_at else ""
    rate = f", {key.per_minute} a minute" if key.per_minute else ""
    where = "every gallery" if key.galleries is None else ",".join(sorted(key.galleries))
    return (
        f"{key.key_id}  {state:<8}{key.name}: {','.join(sorted(key.scopes))} in {where}{rate}{end}"
    )


def _scopes(text: str) -> frozenset[str]:
    named = _names(text)
    if named == {"all"}:
        return frozenset(SCOPES)
    if not named or not named <= set(SCOPES):
        raise argparse.ArgumentTypeError(
            f"expected scopes of {','.join(SCOPES)}, or `all`, got {text!r}"
        )
    return named


def _days(text: str) -> float:
    try:
        days = float(text)
    except ValueError:
        days = math.nan
    if not 0 < days <= _MOST_DAYS:
        raise argparse.ArgumentTypeError(
            f"expected a number of days above 0, up to {_MOST_DAYS}, got {text[:40]!r}"
        )
    return days


def _names(text: str) -> frozenset[str]:
    return frozenset(part.strip() for part in text.split(",") if part.strip())
