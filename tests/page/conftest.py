"""The page in the system's Chromium, driven by Playwright; the service has a fake encoder."""

from collections.abc import Iterator
from contextlib import closing

import httpx
import numpy as np
import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from gallery import Gallery, KeyStore
from model.encoder import Threshold
from service.access import SCOPES
from service.app import create_app
from service.settings import Settings
from tests.caller import listening
from tests.fakes import FakeEncoder
from tests.page.hands import CHROMIUM, PATIENCE_MS, embedding, own_distance
from tests.waiting import wait_until


@pytest.fixture
def encoder(request: pytest.FixtureRequest) -> FakeEncoder:
    """The threshold lies between Ada's own two walks and the stranger's; "strict": before both."""
    far = float(np.linalg.norm(embedding("dan-nm-05.npz") - embedding("ada-nm-01.npz")))
    assert own_distance() < far
    middle = (own_distance() + far) / 2
    distance = own_distance() * 0.9 if getattr(request, "param", "") == "strict" else middle
    promise = Threshold(distance, 0.01, 0.1, 50, 300, "made-up walkers", inconclusive_to=middle)
    return FakeEncoder(threshold=promise)


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        # The test's own machine may be a container without user namespaces.
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def url(settings: Settings, encoder: FakeEncoder, gallery: Gallery) -> Iterator[str]:
    app = create_app(settings, encoder=encoder, gallery=gallery)
    with listening(app) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def page(browser: Browser, url: str) -> Iterator[Page]:
    """The page, opened; whatever its console complains about fails the test."""
    context = browser.new_context(color_scheme="light", reduced_motion="reduce")
    context.set_default_timeout(PATIENCE_MS)
    opened = context.new_page()
    complaints: list[str] = []
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on(
        "console",
        lambda told: complaints.append(told.text) if is_complaint(told) else None,
    )
    opened.goto(url)
    expect(opened.locator("#status")).to_have_class("ready", timeout=PATIENCE_MS)
    yield opened
    context.close()
    assert complaints == []


@pytest.fixture
def guarded(browser: Browser, url: str, settings: Settings) -> Iterator[tuple[Page, str]]:
    """The page of a service that asks for a key, opened without one, and the key."""
    with closing(KeyStore.open(settings.store())) as keys:
        _, secret = keys.create("page", SCOPES)
    wait_until(lambda: httpx.get(f"{url}/info").status_code == 401)
    context = browser.new_context(reduced_motion="reduce")
    context.set_default_timeout(PATIENCE_MS)
    opened = context.new_page()
    opened.goto(url)
    yield opened, secret
    context.close()


def is_complaint(told: ConsoleMessage) -> bool:
    # A refusal of the service is the browser's to note and the page's to show.
    is_refusal = told.text.startswith("Failed to load resource")
    return told.type in ("error", "warning") and not is_refusal
