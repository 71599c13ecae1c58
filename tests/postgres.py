"""A PostgreSQL server of our own: started once a session in a temporary folder, on a socket."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import psycopg
from psycopg import sql

USER = "metagait"
# What a test waits for a server on a busy machine.
_SECONDS = 120
# Nothing outlives the tests, so nothing needs to survive a power cut.
_FAST = ("fsync=off", "full_page_writes=off", "synchronous_commit=off", "max_connections=200")


class NoPostgresError(Exception):
    """There are no programs of a server, or nobody who may run them."""


@dataclass(frozen=True)
class Server:
    """A running server, reached by the socket in its folder."""

    folder: Path

    @contextmanager
    def database(self) -> Iterator[str]:
        """Make an empty database and drop it afterwards; gives its SQLAlchemy URL."""
        name = f"test_{uuid4().hex}"
        self.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        yield f"postgresql+psycopg://{USER}@/{name}?host={self.folder}"
        self.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """Stop every process of the server; its kernel goes on taking connections and bytes."""
        first = int((self.folder / "data" / "postmaster.pid").read_text().split()[0])
        stopped = [first]
        try:
            os.kill(first, signal.SIGSTOP)  # it makes no more of them
            for pid in map(int, Path(f"/proc/{first}/task/{first}/children").read_text().split()):
                stopped.append(pid)
                os.kill(pid, signal.SIGSTOP)
            yield
        finally:
            for pid in stopped:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    def execute(self, statement: sql.Composed) -> None:
        """Run one statement outside every test's database."""
        with psycopg.connect(
            host=str(self.folder), user=USER, dbname="postgres", autocommit=True
        ) as connection:
            connection.execute(statement)


@contextmanager
def serving() -> Iterator[Server]:
    """Start a server and stop it afterwards.

    Raises:
        NoPostgresError: it cannot be started here.

    """
    initdb, postgres = _program("initdb"), _program("postgres")
    owner = _owner()
    folder = Path(tempfile.mkdtemp(prefix="metagait-pg-"))
    try:
        if owner is not None:
            shutil.chown(folder, owner)
        data = folder / "data"
        subprocess.run(
            [initdb, "-D", data, "-U", USER, "-A", "trust", "-E", "UTF8", "--no-sync"],
            check=True,
            user=owner,
            cwd=folder,
            stdout=subprocess.DEVNULL,
        )
        settings = [f"-c{one}" for one in (*_FAST, "listen_addresses=")]
        with (
            (folder / "log").open("wb") as log,
            subprocess.Popen(
                [postgres, "-D", data, "-k", folder, *settings],
                user=owner,
                cwd=folder,
                stdout=log,
                stderr=log,
            ) as process,
        ):
            try:
                _wait(folder, process)
                yield Server(folder)
            finally:
                # Fast shutdown: whoever is still connected is disconnected.
                process.send_signal(signal.SIGINT)
                process.wait(_SECONDS)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _program(name: str) -> Path:
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    path = os.pathsep.join([os.environ.get("PATH", ""), *map(str, versions)])
    found = shutil.which(name, path=path)
    if found is None:
        raise NoPostgresError(f"no program `{name}`")
    return Path(found).resolve()


def _owner() -> str | None:
    """Whom the server runs as: it refuses root."""
    if os.getuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    found = next((name for name in ("postgres", "nobody") if name in names), None)
    if found is None:
        raise NoPostgresError("root may not run a server, and there is nobody else")
    return found


def _wait(folder: Path, process: subprocess.Popen[bytes]) -> None:
    ends = time.monotonic() + _SECONDS
    while time.monotonic() < ends and process.poll() is None:
        try:
            psycopg.connect(host=str(folder), user=USER, dbname="postgres").close()
        except psycopg.OperationalError:
            time.sleep(0.1)
        else:
            return
    raise NoPostgresError(f"the server did not start: {(folder / 'log').read_text()[-500:]}")
