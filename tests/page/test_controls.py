"""The page as a tool: player, keyboard, key, files of one's own, a phone."""

import re
from pathlib import Path

import numpy as np
from playwright.sync_api import Page, expect

from gallery import Gallery
from model.silhouettes import align
from service.routes.page import WEB
from tests.fakes import mean_picture
from tests.page.hands import PATIENCE_MS, ask, enrol, needs_chromium, picture, take_sample

PHONE = {"width": 390, "height": 844}

pytestmark = needs_chromium


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


def test_a_key_is_asked_for_once_and_kept_for_the_tab(guarded: tuple[Page, str]) -> None:
    page, secret = guarded
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
    assert page.context.cookies() == []


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
        "The walk is of poor quality: many frames are the same picture.", timeout=PATIENCE_MS
    )
    ask(page, "Cannot tell.")
    because = page.locator(".verdict .because")
    expect(because).to_contain_text("Many frames are the same picture.")
    picture(page, "poor-walk")
    page.locator("#subject").fill("Ada")
    page.get_by_role("button", name="Enrol", exact=True).click()
    expect(page.get_by_role("alert")).to_have_text(
        "The walk is too poor to enrol. Many frames are the same picture.",
        timeout=PATIENCE_MS,
    )
    take_sample(page, "Ada", "Tuesday")
    expect(quality).to_be_hidden()


def test_the_walks_of_a_person_are_shown_some_at_a_time(page: Page, gallery: Gallery) -> None:
    with np.load(WEB / "samples" / "ada-nm-01.npz", allow_pickle=False) as held:
        walk = align(held["silhouettes"]).silhouettes
    for first in range(14):
        part = walk[first : first + 12]
        gallery.enroll("Ada", mean_picture(part), silhouettes=part)
    page.reload()
    person = page.locator("#people .person")
    person.locator("summary").click()
    pictures = person.locator(".thumb canvas")
    expect(pictures).to_have_count(12, timeout=PATIENCE_MS)
    more = person.get_by_role("button", name="More walks")
    with page.expect_response("**/subjects/Ada?**"):
        more.dblclick()
    expect(pictures).to_have_count(14, timeout=PATIENCE_MS)
    expect(more).to_have_count(0)
    expect(person.get_by_role("button", name="Erase person")).to_have_count(1)
    picture(page, "many-walks")


def test_the_answer_covers_nobody_of_the_gallery(page: Page, gallery: Gallery) -> None:
    for number in range(30):
        gallery.enroll(f"p-{number:02}", np.full(88, number, np.float32), silhouettes=None)
    page.reload()
    expect(page.locator("#people .person")).to_have_count(30, timeout=PATIENCE_MS)
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    below = page.evaluate("document.getElementById('gallery').getBoundingClientRect().top")
    answer = page.evaluate("document.getElementById('answers').getBoundingClientRect().bottom")
    assert answer <= below
    picture(page, "many-people")


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
