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


def test_an_answer_that_is_none_of_the_service_is_told_in_words(page: Page) -> None:
    take_sample(page, "Ada", "Monday")
    page.route("**/identify", lambda route: route.fulfill(body="<html>a proxy's page</html>"))
    page.get_by_role("button", name="Who is it?").click()
    message = page.get_by_role("alert")
    expect(message).to_have_text("The service's answer cannot be read.", timeout=PATIENCE_MS)


def test_a_file_that_changed_since_it_was_chosen_is_named(page: Page, tmp_path: Path) -> None:
    own = tmp_path / "mine.npz"
    shutil.copy(ADA, own)
    page.locator("#files").set_input_files(own)
    expect(page.locator(".tile.probe")).to_have_count(1, timeout=PATIENCE_MS)
    own.unlink()
    page.get_by_role("button", name="Who is it?").click()
    expect(page.get_by_role("alert")).to_contain_text("mine.npz", timeout=PATIENCE_MS)


def test_who_asks_again_while_it_is_asked_asks_once(page: Page, encoder: FakeEncoder) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url.rpartition("/")[2]))
    take_sample(page, "Ada", "Monday")
    encoder.free.clear()
    with page.expect_request("**/identify"):
        page.locator("body").press("i")
    page.locator("body").press("i")
    with page.expect_response("**/identify"):
        encoder.free.set()
    all_done(page)
    assert asked.count("identify") == 1


def test_what_was_wrong_with_a_walk_is_not_told_of_the_next(page: Page, tmp_path: Path) -> None:
    broken = tmp_path / "broken.npz"
    broken.write_bytes(ADA.read_bytes()[:-100])
    hold_first(page, "**/preview")
    with page.expect_request("**/preview"):
        page.locator("#files").set_input_files(broken)
    with page.expect_event("requestfailed"):
        take_sample(page, "Ben", "Monday")
    all_done(page)
    expect(page.get_by_role("alert")).to_be_hidden()


def test_a_made_up_walk_that_comes_late_does_not_take_the_place_of_the_next(page: Page) -> None:
    held = hold_first(page, "**/ada-nm-01.npz")
    with page.expect_request("**/ada-nm-01.npz"):
        page.get_by_role("group", name="Ada", exact=True).get_by_text("Monday").click()
    take_sample(page, "Ben", "Monday")
    with page.expect_response("**/ada-nm-01.npz"):
        held[0].continue_()
    all_done(page)
    expect(page.locator(".tile.probe .caption")).to_contain_text("Ben, Monday")
    expect(page.locator("#subject")).to_have_value("Ben")


def test_a_walk_that_cannot_be_read_leaves_no_other_on_the_screen(page: Page) -> None:
    take_sample(page, "Ada", "Monday")
    page.locator("#files").set_input_files({"name": "x.npz", "mimeType": "", "buffer": b"none"})
    expect(page.get_by_role("alert")).to_be_visible(timeout=PATIENCE_MS)
    expect(page.locator("#player")).to_be_hidden()


def test_a_long_upload_is_seen_and_can_be_stopped(page: Page) -> None:
    held = hold_first(page, "**/preview")
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
    assert len(held) == 1
    take_sample(page, "Ben", "Monday")


def test_a_busy_service_is_waited_for_and_a_full_one_is_not(page: Page) -> None:
    enrol(page, "Ada", "Monday")
    answers = [problem(503, "no room", **{"Retry-After": "1"}), None]

    def answer(route: Route) -> None:
        made = answers.pop(0)
        route.continue_() if made is None else route.fulfill(**made)  # type: ignore[arg-type]

    page.route("**/identify", answer)
    page.get_by_role("button", name="Who is it?").click()
    expect(page.get_by_text("busy")).to_be_visible(timeout=PATIENCE_MS)
    expect(page.locator(".verdict .words")).to_have_text("This is Ada.", timeout=PATIENCE_MS)
    assert answers == []
    answers += [problem(429, "too often", **{"Retry-After": "60"}), problem(507, "no space left")]
    for sentence in ("too often", "no space left"):
        page.get_by_role("button", name="Who is it?").click()
        message = page.get_by_role("alert")
        expect(message).to_contain_text(sentence, timeout=PATIENCE_MS)
        page.get_by_role("button", name="Dismiss").click()
        expect(message).to_be_hidden()


def test_what_is_wrong_is_seen_wherever_one_is_on_the_page(page: Page) -> None:
    enrol(page, "Ada", "Monday")
    page.set_viewport_size({"width": 390, "height": 420})
    page.locator("#people summary").click()
    page.route("**/subjects/Ada", lambda route: route.abort())
    page.get_by_role("button", name="Erase person").click()
    page.get_by_role("button", name="Erase for good").click()
    message = page.get_by_role("alert")
    expect(message).to_have_text("The service does not answer.", timeout=PATIENCE_MS)
    expect(message).to_be_in_viewport(ratio=1)
    picture(page, "trouble-phone")


def test_a_service_that_is_not_there_yet_is_looked_for_again(page: Page) -> None:
    refused = 2

    def refuse_at_first(route: Route) -> None:
        nonlocal refused
        refused -= 1
        route.abort() if refused >= 0 else route.continue_()

    page.route("**/info", refuse_at_first)
    page.clock.install()
    page.reload()
    expect(page.locator("#status")).to_contain_text("not connected", timeout=PATIENCE_MS)
    page.clock.fast_forward(10_000)
    expect(page.locator("#status")).to_contain_text("not connected", timeout=PATIENCE_MS)
    page.clock.fast_forward(10_000)
    expect(page.locator("#status")).to_have_class(re.compile("ready"), timeout=PATIENCE_MS)
    expect(page.locator("#count")).to_have_text("0 people, 0 walks", timeout=PATIENCE_MS)


def test_more_than_the_service_takes_is_refused_in_its_words(page: Page, tmp_path: Path) -> None:
    large = tmp_path / "large.npy"
    large.write_bytes(bytes(16 * 1024 * 1024))
    page.locator("#files").set_input_files(large)
    expect(page.get_by_role("alert")).to_contain_text("expected a body of", timeout=PATIENCE_MS)
