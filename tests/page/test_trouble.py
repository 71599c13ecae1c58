"""What goes wrong while the page is used: a slow or broken link, a busy service, a lost file."""

import re
import shutil
from pathlib import Path

from playwright.sync_api import Page, Route, expect

from service.routes.page import WEB
from tests.fakes import FakeEncoder
from tests.page.hands import (
    PATIENCE_MS,
    all_done,
    enrol,
    hold_first,
    needs_chromium,
    picture,
    take_sample,
)

ADA = WEB / "samples" / "ada-nm-01.npz"

pytestmark = needs_chromium


def problem(status: int, detail: str, **headers: str) -> dict[str, object]:
    """What `route.fulfill` needs to answer with a problem of the service."""
    return {"status": status, "json": {"detail": detail, "code": "made_up"}, "headers": headers}


def who_is_it(page: Page) -> None:
    page.get_by_role("button", name="Who is it?").click()


def test_what_comes_to_nothing_is_told_in_words(page: Page, tmp_path: Path) -> None:
    message = page.get_by_role("alert")
    own = tmp_path / "mine.npz"
    shutil.copy(ADA, own)
    page.locator("#files").set_input_files(own)
    expect(page.locator(".tile.probe")).to_have_count(1, timeout=PATIENCE_MS)
    page.route("**/identify", lambda route: route.fulfill(body="<html>a proxy's page</html>"))
    who_is_it(page)
    expect(message).to_have_text("The service's answer cannot be read.", timeout=PATIENCE_MS)
    page.unroute("**/identify")
    own.unlink()
    who_is_it(page)
    expect(message).to_contain_text("mine.npz", timeout=PATIENCE_MS)
    large = tmp_path / "large.npy"
    large.write_bytes(bytes(16 * 1024 * 1024))
    page.locator("#files").set_input_files(large)
    expect(message).to_contain_text("expected a body of", timeout=PATIENCE_MS)
    # Nor does the walk before stand there as if it were this one.
    expect(page.locator("#player")).to_be_hidden()


def test_what_nobody_waits_for_any_more_disturbs_nothing(page: Page, tmp_path: Path) -> None:
    broken = tmp_path / "broken.npz"
    broken.write_bytes(ADA.read_bytes()[:-100])
    hold_first(page, "**/preview")
    with page.expect_request("**/preview"):
        page.locator("#files").set_input_files(broken)
    held = hold_first(page, "**/ada-nm-01.npz")
    with page.expect_request("**/ada-nm-01.npz"), page.expect_event("requestfailed"):
        page.get_by_role("group", name="Ada", exact=True).get_by_text("Monday").click()
    take_sample(page, "Ben", "Monday")
    with page.expect_response("**/ada-nm-01.npz"):
        held[0].continue_()
    all_done(page)
    expect(page.locator(".tile.probe .caption")).to_contain_text("Ben, Monday")
    expect(page.locator("#subject")).to_have_value("Ben")
    expect(page.get_by_role("alert")).to_be_hidden()


def test_a_walk_is_asked_about_once_at_a_time(page: Page, encoder: FakeEncoder) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url.rpartition("/")[2]))
    take_sample(page, "Ada", "Monday")
    button = page.get_by_role("button", name="Who is it?")
    button.focus()
    encoder.free.clear()
    with page.expect_request("**/identify"):
        button.press("Enter")
    button.press("Enter")
    button.press("i")
    expect(button).to_be_focused()
    with page.expect_response("**/identify"):
        encoder.free.set()
    all_done(page)
    expect(button).to_be_focused()
    assert asked.count("identify") == 1


def test_a_long_upload_is_seen_and_can_be_stopped(page: Page) -> None:
    hold_first(page, "**/preview")
    with page.expect_request("**/preview"):
        page.locator("#files").set_input_files(ADA)
    busy = page.locator("#busy")
    expect(busy).to_contain_text("Sending the walk", timeout=PATIENCE_MS)
    expect(busy.get_by_role("progressbar")).to_be_visible()
    picture(page, "sending")
    busy.get_by_role("button", name="Stop").click()
    expect(busy.get_by_role("progressbar")).to_be_hidden()
    all_done(page)
    expect(page.get_by_role("alert")).to_be_hidden()
    take_sample(page, "Ben", "Monday")


def test_a_busy_service_is_waited_for_and_a_full_one_is_not(page: Page) -> None:
    take_sample(page, "Ada", "Monday")
    answers = [problem(503, "no room", **{"Retry-After": "1"}), None]

    def answer(route: Route) -> None:
        made = answers.pop(0)
        route.continue_() if made is None else route.fulfill(**made)  # type: ignore[arg-type]

    page.route("**/identify", answer)
    who_is_it(page)
    expect(page.get_by_text("busy")).to_be_visible(timeout=PATIENCE_MS)
    words = page.locator(".verdict .words")
    expect(words).to_have_text("Nobody is enrolled yet.", timeout=PATIENCE_MS)
    assert answers == []
    answers += [problem(429, "too often", **{"Retry-After": "60"}), problem(507, "no space left")]
    message = page.get_by_role("alert")
    for sentence in ("too often", "no space left"):
        who_is_it(page)
        expect(message).to_contain_text(sentence, timeout=PATIENCE_MS)
        page.get_by_role("button", name="Dismiss").click()
        expect(message).to_be_hidden()


def test_a_service_that_goes_away_is_missed_and_found_again(page: Page) -> None:
    enrol(page, "Ada", "Monday")
    page.clock.install()
    page.reload()
    status, people = page.locator("#status"), page.locator("#people")
    people.locator("summary").click()
    page.set_viewport_size({"width": 390, "height": 420})
    page.route(re.compile("/(info|subjects.*)$"), lambda route: route.abort())
    page.get_by_role("button", name="Erase person").click()
    page.get_by_role("button", name="Erase for good").click()
    message = page.get_by_role("alert")
    expect(message).to_have_text("The service does not answer.", timeout=PATIENCE_MS)
    # Wherever one is on the page.
    expect(message).to_be_in_viewport(ratio=1)
    expect(status).to_contain_text("not connected")
    picture(page, "trouble-phone")
    # Nor does a page that is opened meanwhile wait for ever.
    page.reload()
    expect(status).to_contain_text("not connected", timeout=PATIENCE_MS)
    page.unroute_all()
    page.clock.fast_forward(10_000)
    expect(status).to_have_class("ready", timeout=PATIENCE_MS)
    expect(people.locator(".who")).to_have_text(["Ada"], timeout=PATIENCE_MS)
