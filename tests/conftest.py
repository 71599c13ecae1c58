"""Fixtures: the real app and gallery, a fake encoder, a temporary folder, both databases."""

import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

from gallery import Gallery
from service.app import create_app
from service.settings import Settings
from tests.caller import Caller, calling, listening
from tests.fakes import FakeEncoder
from tests.milvus import MilvusServer, NoMilvusError, lite, real
from tests.postgres import NoPostgresError, Server, serving

_WITHOUT = pytest.StashKey[str]()

# No test decides by speed: a busy machine takes seconds to make what an idle one makes at once.
hypothesis_settings.register_profile(
    "metagait", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
hypothesis_settings.load_profile("metagait")


@pytest.fixture(autouse=True, scope="session")
def _one_torch_thread() -> None:
    """Tests have tiny networks, whose threads only wait for each other on a busy machine."""
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data=tmp_path / "data", max_upload_mb=2, max_frames=200)


@pytest.fixture
def encoder() -> FakeEncoder:
    return FakeEncoder()


def _opened(folder: Path) -> Gallery:
    facts = FakeEncoder().facts
    return Gallery.open(folder, model_id=facts.model_id, embedding_length=facts.embedding_length)


@pytest.fixture(scope="session")
def _empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder as `gallery` begins with: its tables take longer to make than most tests."""
    folder = tmp_path_factory.mktemp("empty")
    _opened(folder).close()
    return folder


@pytest.fixture
def gallery(settings: Settings, _empty: Path) -> Iterator[Gallery]:
    shutil.copytree(_empty, settings.data)
    opened = _opened(settings.data)
    yield opened
    opened.close()


@pytest.fixture
def client(settings: Settings, encoder: FakeEncoder, gallery: Gallery) -> Iterator[Caller]:
    with calling(create_app(settings, encoder=encoder, gallery=gallery)) as caller:
        yield caller


@pytest.fixture
def url(settings: Settings, encoder: FakeEncoder, gallery: Gallery) -> Iterator[str]:
    """A real server on a free port, in a thread of this process."""
    with listening(create_app(settings, encoder=encoder, gallery=gallery)) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="session")
def postgres_server(pytestconfig: pytest.Config) -> Iterator[Server]:
    """A PostgreSQL server, one a session."""
    with ExitStack() as stack:
        try:
            server = stack.enter_context(serving())
        except NoPostgresError as error:
            pytestconfig.stash[_WITHOUT] = str(error)
            pytest.skip(f"no PostgreSQL server: {error}")
        yield server


@pytest.fixture
def postgres_url(postgres_server: Server) -> Iterator[str]:
    """The URL of an empty PostgreSQL database."""
    with postgres_server.database() as url:
        yield url


@pytest.fixture(scope="session")
def lite_milvus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MilvusServer]:
    """Milvus Lite's server, one a session."""
    pytest.importorskip("milvus_lite")
    yield from _running(lite(tmp_path_factory.mktemp("milvus-lite")))


@pytest.fixture(scope="session")
def real_milvus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MilvusServer]:
    """Milvus itself, one a session, where its program is installed."""
    pytest.importorskip("pymilvus")
    try:
        server = real(tmp_path_factory.mktemp("milvus"))
    except NoMilvusError as error:
        pytest.skip(f"no Milvus server: {error}")
    yield from _running(server)


def _running(server: MilvusServer) -> Iterator[MilvusServer]:
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(params=["lite", "real"])
def milvus_server(request: pytest.FixtureRequest) -> MilvusServer:
    """A server that speaks Milvus's protocol: Milvus Lite's, and then Milvus itself."""
    server: MilvusServer = request.getfixturevalue(f"{request.param}_milvus")
    return server


@pytest.fixture(params=["sqlite", "postgresql"])
def location(request: pytest.FixtureRequest) -> str | Path:
    """Where a store can be opened: a folder, and then a database of a server."""
    where: str | Path = request.getfixturevalue(
        "tmp_path" if request.param == "sqlite" else "postgres_url"
    )
    return where


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse two tests of one name: where processes share the tests, the second is never run."""
    twice = [name for name, count in Counter(item.nodeid for item in items).items() if count > 1]
    if twice:
        raise pytest.UsageError(f"expected a name of its own for each test, got twice: {twice[:5]}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say loudly what was not tested."""
    reason = terminalreporter.config.stash.get(_WITHOUT, None)
    if reason is not None:
        terminalreporter.write_line(f"NOT TESTED ON POSTGRESQL: {reason}", red=True, bold=True)
