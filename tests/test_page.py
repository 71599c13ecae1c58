"""The web page in a real browser: enrol, identify, stranger, erase, key, keyboard, phone.

Driven by Playwright with the system's Chromium. Screenshots go to the folder that
`METAGAIT_TEST_SCREENSHOTS` names, for people to look at.
"""

import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Route, expect, sync_playwright

from gallery import Gallery, KeyStore
from model.encoder import Threshold
from model.silhouettes import align
from service.access import SCOPES
from service.app import create_app
from service.routes.page import WEB
from service.settings import Settings
from tests.caller import listening
from tests.fakes import FakeEncoder, mean_picture

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
PATIENCE_MS = 60_000
# A running service follows its keys within two seconds.
KEYS_SEEN_S = 3
PHONE = {"width": 390, "height": 844}

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="NO CHROMIUM: the web page goes untested; install Debian's `chromium`"
)


def embedding(sample: str) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    with np.load(WEB / "samples" / sample, allow_pickle=False) as held:
        return mean_picture(align(held["silhouettes"]).silhouettes)


def own_distance() -> float:
    return float(np.linalg.norm(embedding("ada-nm-05.npz") - embedding("ada-nm-01.npz")))


@pytest.fixture
def encoder(request: pytest.FixtureRequest) -> FakeEncoder:
    """The threshold lies between Ada's own two walks and the stranger's; "strict": before both."""
    far = float(np.linalg.norm(embedding("dan-nm-05.npz") - embedding("ada-nm-01.npz")))
    assert own_distance() < far
    middle = (own_distance() + far) / 2
    distance = own_distance() * 0.9 if getattr(request, "param", "") == "strict" else middle
    promise = Threshold(distance, 0.01, 0.1, 50, 300, "made-up walkers", inconclusive_to=middle)
    return FakeEncoder(threshold=promise)


@pytest.fixture(scope="module")
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


def is_complaint(told: ConsoleMessage) -> bool:
    # A refusal of the service is the browser's to note and the page's to show.
    is_refusal = told.text.startswith("Failed to load resource")
    return told.type in ("error", "warning") and not is_refusal


def picture(page: Page, name: str) -> None:
    folder = os.environ.get("METAGAIT_TEST_SCREENSHOTS")
    if folder:
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


def take_sample(page: Page, person: str, words: str) -> None:
    page.get_by_role("group", name=person, exact=True).get_by_text(words).click()
    caption = page.locator(".tile.probe .caption")
    expect(caption).to_have_text(re.compile(f"^{person}, {words} · "), timeout=PATIENCE_MS)
    expect(page.locator("#subject")).to_have_value(person)


def enrol(page: Page, person: str, words: str) -> None:
    take_sample(page, person, words)
    page.get_by_role("button", name="Enrol", exact=True).click()
    expect(page.locator(".verdict")).to_contain_text(f"Enrolled as {person}.", timeout=PATIENCE_MS)


def ask(page: Page, verdict: str) -> None:
    page.get_by_role("button", name="Who is it?").click()
    expect(page.locator(".verdict .words")).to_have_text(verdict, timeout=PATIENCE_MS)


def test_enrol_identify_stranger_erase(page: Page) -> None:
    enrol(page, "Ada", "Monday")
    enrol(page, "Ben", "Monday")
    expect(page.locator("#count")).to_have_text("2 people, 2 walks")
    take_sample(page, "Ada", "Tuesday")
    ask(page, "This is Ada.")
    first = page.locator(".card").first
    expect(first).to_have_class(re.compile("near.*beside"), timeout=PATIENCE_MS)
    expect(first.locator(".distance strong")).to_have_text(f"{own_distance():.2f}")
    expect(page.locator(".tile.enrolled .caption")).to_contain_text("Ada, enrolled")
    picture(page, "match-light")
    page.emulate_media(color_scheme="dark")
    picture(page, "match-dark")
    take_sample(page, "Dan", "a stranger")
    ask(page, "Nobody near enough.")
    expect(page.locator(".card.near")).to_have_count(0)
    picture(page, "stranger-dark")
    erase(page, "Ada")
    expect(page.locator("#count")).to_have_text("1 person, 1 walk", timeout=PATIENCE_MS)
    take_sample(page, "Ada", "Tuesday")
    ask(page, "Nobody near enough.")
    expect(page.locator(".card .who")).to_have_text(["Ben"])


def test_an_answer_never_stands_beside_another_walk(page: Page, encoder: FakeEncoder) -> None:
    answer = page.locator("#answer")
    take_sample(page, "Ada", "Monday")
    page.get_by_role("button", name="Enrol", exact=True).click()
    expect(answer).to_contain_text("Enrolled as Ada", timeout=PATIENCE_MS)
    take_sample(page, "Ada", "Tuesday")
    page.get_by_role("button", name="Who is it?").click()
    expect(answer).to_contain_text("This is Ada.", timeout=PATIENCE_MS)
    take_sample(page, "Dan", "a stranger")
    expect(answer).not_to_contain_text("Ada")
    # Nor one that comes late, when another walk is there already.
    take_sample(page, "Ada", "Tuesday")
    encoder.free.clear()
    page.get_by_role("button", name="Who is it?").click()
    take_sample(page, "Dan", "a stranger")
    with page.expect_response("**/identify"):
        encoder.free.set()
    page.wait_for_timeout(300)
    expect(answer).not_to_contain_text("Ada")
    take_sample(page, "Ada", "Tuesday")
    encoder.free.clear()
    page.get_by_role("button", name="Enrol", exact=True).click()
    take_sample(page, "Dan", "a stranger")
    with page.expect_response("**/enroll"):
        encoder.free.set()
    expect(page.locator("#count")).to_have_text("1 person, 2 walks", timeout=PATIENCE_MS)
    expect(answer).not_to_contain_text("Ada")


def test_the_walk_that_was_chosen_last_is_the_one_that_is_enrolled(page: Page) -> None:
    held: list[Route] = []

    def hold_the_first(route: Route) -> None:
        if held:
            route.continue_()
        else:
            held.append(route)

    page.route("**/preview", hold_the_first)
    with page.expect_request("**/preview"):
        page.get_by_role("group", name="Ada", exact=True).get_by_text("Monday").click()
    take_sample(page, "Ben", "Monday")
    with page.expect_response("**/preview"):
        held[0].continue_()
    page.wait_for_timeout(300)
    expect(page.locator(".tile.probe .caption")).to_contain_text("Ben, Monday")
    expect(page.locator("#subject")).to_have_value("Ben")


def test_the_name_of_the_walk_before_is_not_left_for_the_next(page: Page) -> None:
    take_sample(page, "Ada", "Monday")
    page.locator("#files").set_input_files(WEB / "samples" / "ben-nm-01.npz")
    caption = page.locator(".tile.probe .caption")
    expect(caption).to_contain_text("ben-nm-01.npz", timeout=PATIENCE_MS)
    expect(page.locator("#subject")).to_have_value("")


def test_a_walk_that_is_nearer_to_somebody_else_is_doubted_aloud(page: Page) -> None:
    enrol(page, "Ada", "Monday")
    enrol(page, "Ben", "Monday")
    take_sample(page, "Ada", "Tuesday")
    page.locator("#subject").fill("Ben")
    page.get_by_role("button", name="Enrol", exact=True).click()
    verdict = page.locator(".verdict.inconclusive")
    expect(verdict).to_contain_text("Enrolled as Ben.", timeout=PATIENCE_MS)
    expect(verdict).to_contain_text("nearer to Ada")
    picture(page, "doubt-light")


@pytest.mark.parametrize("encoder", ["strict"], indirect=True)
def test_who_is_near_but_not_near_enough_is_shown_as_such(page: Page) -> None:
    enrol(page, "Ada", "Monday")
    enrol(page, "Ben", "Monday")
    take_sample(page, "Ada", "Tuesday")
    ask(page, "Perhaps Ada.")
    expect(page.locator(".verdict")).to_have_class(re.compile("inconclusive"))
    expect(page.locator(".verdict .because")).to_contain_text("near, but not within the")
    expect(page.locator(".card").first).to_have_class(re.compile("unsure"))
    expect(page.locator(".legend")).to_contain_text("too near to rule out")
    picture(page, "perhaps-light")
    page.emulate_media(color_scheme="dark")
    picture(page, "perhaps-dark")


def test_one_walk_under_two_names_is_said_to_be_either(page: Page) -> None:
    enrol(page, "Ada", "Monday")
    take_sample(page, "Ada", "Monday")
    page.locator("#subject").fill("Eva")
    page.get_by_role("button", name="Enrol", exact=True).click()
    expect(page.locator("#count")).to_have_text("2 people, 2 walks", timeout=PATIENCE_MS)
    ask(page, "Perhaps Ada, or Eva.")
    expect(page.locator(".verdict .because")).to_contain_text("one person under two names")
    expect(page.locator(".card.near .who")).to_have_text(["Ada", "Eva"])
    picture(page, "either-light")


def erase(page: Page, person: str) -> None:
    row = page.locator("#people .person").filter(has_text=person)
    row.locator("summary").click()
    expect(row.locator(".thumb canvas")).to_have_count(1, timeout=PATIENCE_MS)
    row.get_by_role("button", name="Erase person").click()
    expect(page.locator("#question")).to_contain_text(f"Erase {person} with all walks?")
    page.get_by_role("button", name="Keep").click()
    expect(row).to_have_count(1)
    row.get_by_role("button", name="Erase person").click()
    page.get_by_role("button", name="Erase for good").click()
    expect(row).to_have_count(0, timeout=PATIENCE_MS)


def test_the_player_plays_steps_and_obeys_the_keyboard(page: Page) -> None:
    take_sample(page, "Ada", "Monday")
    frame = page.locator("#frame-number")
    # Whoever asked for less motion sees the walk stand still until it is started.
    expect(frame).to_have_text("1 / 40")
    page.locator("body").press("ArrowRight")
    expect(frame).to_have_text("2 / 40")
    page.locator("body").press("ArrowLeft")
    page.locator("body").press("ArrowLeft")
    expect(frame).to_have_text("40 / 40")
    page.get_by_label("Frame", exact=True).fill("11")
    expect(frame).to_have_text("12 / 40")
    page.get_by_label("Speed").select_option("2")
    page.evaluate("document.activeElement.blur()")
    page.locator("body").press(" ")
    expect(page.locator("#play")).to_have_attribute("aria-label", "Pause")
    expect(frame).not_to_have_text("12 / 40", timeout=PATIENCE_MS)
    page.locator("body").press("?")
    expect(page.locator("#help-dialog")).to_be_visible()
    page.keyboard.press("Escape")
    # Closing gives the focus back a moment later; a key pressed before would be undone by it.
    expect(page.locator("#help-dialog")).to_be_hidden()
    page.evaluate("document.activeElement.blur()")
    page.locator("body").press("e")
    expect(page.locator("#subject")).to_be_focused()


def test_a_key_is_asked_for_once_and_kept_for_the_tab(
    browser: Browser, url: str, settings: Settings
) -> None:
    with closing(KeyStore.open(settings.store())) as keys:
        _, secret = keys.create("page", SCOPES)
    time.sleep(KEYS_SEEN_S)
    context = browser.new_context()
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    page.goto(url)
    for entered in ("mg_wrong", secret):
        expect(page.locator("#key-dialog")).to_be_visible(timeout=PATIENCE_MS)
        page.locator("#key-field").fill(entered)
        page.keyboard.press("Enter")
    expect(page.locator("#status")).to_have_class("ready", timeout=PATIENCE_MS)
    expect(page.locator("#key")).to_have_class(re.compile("set"))
    enrol(page, "Ada", "Monday")
    page.reload()
    expect(page.locator("#count")).to_have_text("1 person, 1 walk", timeout=PATIENCE_MS)
    assert secret not in page.content()
    assert page.evaluate("localStorage.length") == 0
    assert context.cookies() == []
    context.close()


def test_a_file_of_ones_own_and_what_is_wrong_with_it(page: Page, tmp_path: Path) -> None:
    own = WEB / "samples" / "ben-nm-01.npz"
    page.locator("#files").set_input_files(own)
    expect(page.locator(".tile.probe .caption")).to_contain_text(
        "ben-nm-01.npz", timeout=PATIENCE_MS
    )
    broken = tmp_path / "broken.npz"
    broken.write_bytes(own.read_bytes()[:-100])
    page.locator("#files").set_input_files(broken)
    message = page.get_by_role("alert")
    expect(message).to_contain_text("expected a zip archive", timeout=PATIENCE_MS)
    expect(page.locator("#actions")).to_be_hidden()
    page.locator("#files").set_input_files(own)
    expect(message).to_be_hidden(timeout=PATIENCE_MS)


def test_what_is_wrong_with_a_walk_is_said_in_words(page: Page, tmp_path: Path) -> None:
    enrol(page, "Ada", "Monday")
    with np.load(WEB / "samples" / "ada-nm-05.npz", allow_pickle=False) as held:
        frozen = np.repeat(held["silhouettes"][:1], 20, axis=0)
    file = tmp_path / "frozen.npy"
    np.save(file, frozen, allow_pickle=False)
    page.locator("#files").set_input_files(file)
    quality = page.locator("#quality")
    expect(quality).to_have_text(
        "A poor walk: many frames are the same picture.", timeout=PATIENCE_MS
    )
    ask(page, "Cannot say.")
    because = page.locator(".verdict .because")
    expect(because).to_contain_text("Because many frames are the same picture.")
    picture(page, "poor-walk")
    page.locator("#subject").fill("Ada")
    page.get_by_role("button", name="Enrol", exact=True).click()
    expect(page.get_by_role("alert")).to_have_text(
        "The walk is too poor to enrol. Because many frames are the same picture.",
        timeout=PATIENCE_MS,
    )
    take_sample(page, "Ada", "Tuesday")
    expect(quality).to_be_hidden()


def test_nothing_is_wider_than_a_phone(page: Page) -> None:
    page.set_viewport_size(PHONE)  # type: ignore[arg-type]
    enrol(page, "Ada", "Monday")
    take_sample(page, "Ada", "Tuesday")
    ask(page, "This is Ada.")
    expect(page.locator(".card.beside")).to_have_count(1, timeout=PATIENCE_MS)
    page.locator("#people summary").click()
    expect(page.locator(".thumb canvas")).to_have_count(1, timeout=PATIENCE_MS)
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    targets = page.locator("button:visible, select:visible, #subject")
    heights = [box["height"] for box in (one.bounding_box() for one in targets.all()) if box]
    assert min(heights) >= 36
    picture(page, "phone-light")
    page.emulate_media(color_scheme="dark")
    picture(page, "phone-dark")


def test_the_page_needs_nothing_but_its_own_service(page: Page, url: str) -> None:
    loaded = page.evaluate("performance.getEntriesByType('resource').map((one) => one.name)")
    assert loaded
    assert all(name.startswith(url) for name in loaded)
