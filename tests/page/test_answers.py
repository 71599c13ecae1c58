"""The page answers: who it is, who was enrolled, who was erased, and never of another walk."""

import re

import pytest
from playwright.sync_api import Page, expect

from service.routes.page import WEB
from tests.fakes import FakeEncoder
from tests.page.hands import (
    PATIENCE_MS,
    all_done,
    ask,
    enrol,
    erase,
    hold_first,
    needs_chromium,
    own_distance,
    picture,
    take_sample,
)

pytestmark = needs_chromium


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
    ask(page, "Nobody is near enough.")
    expect(page.locator(".card.near")).to_have_count(0)
    picture(page, "stranger-dark")
    erase(page, "Ada")
    expect(page.locator("#count")).to_have_text("1 person, 1 walk", timeout=PATIENCE_MS)
    expect(page.locator("#answer")).to_contain_text("Nothing of it was found afterwards.")
    picture(page, "erased-dark")
    take_sample(page, "Ada", "Tuesday")
    ask(page, "Nobody is near enough.")
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
    all_done(page)
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
    hold_first(page, "**/preview")
    with page.expect_request("**/preview"):
        page.get_by_role("group", name="Ada", exact=True).get_by_text("Monday").click()
    # A walk that nobody wants any more is not sent to its end.
    with page.expect_event("requestfailed"):
        take_sample(page, "Ben", "Monday")
    all_done(page)
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
    expect(page.locator(".verdict .because")).to_contain_text("near, but beyond")
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


def test_nothing_of_who_was_erased_is_left_but_the_receipt(page: Page) -> None:
    enrol(page, "Ada", "Monday")
    take_sample(page, "Ada", "Tuesday")
    ask(page, "This is Ada.")
    enrolled = page.locator(".tile.enrolled")
    expect(enrolled).to_have_count(1, timeout=PATIENCE_MS)
    with page.expect_response(lambda answer: answer.request.method == "DELETE") as answered:
        erase(page, "Ada")
    expect(page.locator(".verdict .words")).to_have_text("Erased 1 walk of Ada.")
    expect(page.locator(".card")).to_have_count(0)
    expect(enrolled).to_have_count(0)
    expect(page.locator(".tile.probe")).to_have_count(1)
    erased = answered.value.json()
    told = [erased["subject"], erased["receipt"]["receipt_id"], erased["salt"]]
    expect(page.locator(".receipt dd")).to_have_text(told)


def test_a_walk_of_the_gallery_that_played_alone_is_gone_when_it_is_erased(page: Page) -> None:
    enrol(page, "Ada", "Monday")
    page.reload()
    page.locator("#people summary").click()
    page.get_by_role("button", name="Play", exact=True).click()
    expect(page.locator("#player")).to_be_visible(timeout=PATIENCE_MS)
    page.locator("#people summary").click()
    erase(page, "Ada")
    expect(page.locator("#player")).to_be_hidden()
    expect(page.locator("#answer")).to_contain_text("Erased 1 walk of Ada.")
