"""The page for whoever hears it, or has no mouse: focus, live regions, dialogs, contrast."""

import re
from contextlib import closing

import httpx
import pytest
from playwright.sync_api import Page, expect

from gallery import KeyStore
from service.routes.page import WEB
from service.settings import Settings
from tests.page.hands import PATIENCE_MS, ask, enrol, needs_chromium, picture, take_sample
from tests.waiting import wait_until

pytestmark = needs_chromium


def test_what_is_read_aloud_is_what_is_new_and_no_more(page: Page) -> None:
    enrol(page, "Ada", "Monday")
    take_sample(page, "Ada", "Tuesday")
    ask(page, "This is Ada.")
    # The number of the frame changes 25 times a second, and a card is no news beside the decision.
    for quiet in ("#frame-number", ".cards", ".notes"):
        expect(page.locator(quiet)).to_have_attribute("aria-live", "off")
    expect(page.locator("#answers")).to_have_attribute("aria-live", "polite")
    slider = page.get_by_role("slider", name="Frame")
    expect(slider).to_have_attribute("aria-valuetext", "1 / 40")
    page.locator("#people summary").click()
    # Of many buttons of one name, each says whose it is.
    for name in ("Play", "Erase"):
        button = page.locator("#people").get_by_role("button", name=name, exact=True)
        expect(button).to_have_accessible_description(re.compile("^Ada, 40 frames"))
    expect(page.get_by_role("button", name="Plays beside")).to_have_accessible_description("Ada")


def test_keys_and_files_act_where_they_are_meant_to(page: Page) -> None:
    # Where there is nothing to play, space is the browser's own.
    prevented = """(key) => !document.body.dispatchEvent(
        new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }))"""
    assert page.evaluate(prevented, " ") is False
    take_sample(page, "Ada", "Monday")
    assert page.evaluate(prevented, "ArrowRight") is True
    page.get_by_role("button", name="Keyboard shortcuts").press("Enter")
    page.locator("#help-dialog").get_by_role("heading").click()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("e")
    expect(page.locator("#frame-number")).to_have_text("2 / 40")
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Keyboard shortcuts")).to_be_focused()
    # Nor does a file take the page's place where it misses the frame.
    drop = """async (url) => {
        const held = new DataTransfer();
        held.items.add(new File([await (await fetch(url)).blob()], "mine.npz"));
        const options = { dataTransfer: held, bubbles: true, cancelable: true };
        return !document.querySelector("#gallery").dispatchEvent(new DragEvent("drop", options));
    }"""
    assert page.evaluate(drop, "/web/samples/ada-nm-01.npz") is True
    caption = page.locator(".tile.probe .caption")
    expect(caption).to_contain_text("mine.npz", timeout=PATIENCE_MS)


def test_keys_that_are_wrong_are_said_to_be_and_forgotten_ones_take_all_with_them(
    guarded: tuple[Page, str], url: str, settings: Settings
) -> None:
    page, secret = guarded
    dialog, field = page.get_by_role("dialog"), page.locator("#key-field")
    expect(dialog).to_be_visible(timeout=PATIENCE_MS)
    # A character that no header can carry is not one of a service that is away.
    field.fill("mg_…")
    page.keyboard.press("Enter")
    assert field.evaluate("(field) => field.validity.patternMismatch") is True
    field.fill("mg_wrong")
    page.keyboard.press("Enter")
    expect(page.locator("#key-why")).to_contain_text("expected", timeout=PATIENCE_MS)
    # What is entered next takes the place of the wrong one.
    expect(field).to_have_value("mg_wrong")
    page.keyboard.insert_text(secret)
    page.keyboard.press("Enter")
    expect(page.locator("#status")).to_have_class("ready", timeout=PATIENCE_MS)
    enrol(page, "Ada", "Monday")
    with closing(KeyStore.open(settings.store())) as keys:
        keys.revoke(secret.split("_")[1])
    wait_until(lambda: httpx.get(f"{url}/info", headers=bearer(secret)).status_code == 401)
    page.get_by_role("button", name="Who is it?").click()
    expect(dialog).to_be_visible(timeout=PATIENCE_MS)
    picture(page, "key-expired")
    # A phone has no Escape.
    page.get_by_role("button", name="Not now").click()
    expect(dialog).to_be_hidden()
    expect(page.get_by_role("alert")).to_be_visible()
    page.locator("#key").click()
    page.get_by_role("button", name="Forget").click()
    expect(page.locator("#key")).not_to_have_class(re.compile("set"))
    expect(page.locator("#people .person")).to_have_count(0)


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


def test_the_api_page_tells_paths_as_they_are_and_fits_a_phone(page: Page, url: str) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(f"{url}/docs")
    page.get_by_role("link", name="POST /identify", exact=True).click()
    heading = page.locator("#identify strong").first
    expect(heading).to_be_in_viewport()
    # `innerText` is what a copy takes.
    assert heading.evaluate("(told) => told.innerText") == "POST /identify"
    page.locator("#identify summary").first.press("Enter")
    example = page.locator("#identify pre").first
    example.focus()
    expect(example).to_be_focused()
    assert page.evaluate("document.documentElement.scrollWidth") == 390


def luminance(colour: str) -> float:
    shares = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("scheme", [0, 1])
def test_the_colours_have_the_contrast_that_wcag_asks_for(scheme: int) -> None:
    text = (WEB / "style.css").read_text(encoding="utf-8")
    pairs = re.findall(r"--([\w-]+): light-dark\((#\w{6}), (#\w{6})\)", text)
    colours = {name: (light, dark)[scheme] for name, light, dark in pairs}
    for ground in ("paper", "card", "raised"):
        for ink in ("ink", "quiet", "accent", "warn", "danger"):
            assert contrast(colours[ink], colours[ground]) >= 4.5
        # 1.4.11: what shows that something may be typed or dropped there.
        assert contrast(colours["edge"], colours[ground]) >= 3
    assert contrast(colours["on-accent"], colours["accent"]) >= 4.5
