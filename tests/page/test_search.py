"""Finding somebody among many on the page: typed, read out, opened, erased, enrolled meanwhile."""

import re

import numpy as np
from playwright.sync_api import Page, Request, expect

from gallery import Gallery
from tests.fakes import mean_picture
from tests.page.hands import PATIENCE_MS, enrol, hold_first, needs_chromium, picture, take_sample
from tests.page.test_people import enrol_many, erase_in, walk

pytestmark = needs_chromium


def enrol_people(gallery: Gallery) -> None:
    for number in range(60):
        gallery.enroll(f"p-{number:02}", np.full(88, number, np.float32), silhouettes=None)
    for number, name in enumerate(("Anna Müller", "annika", "100%")):
        gallery.enroll(name, mean_picture(walk(number)), silhouettes=walk(number))


def searches(page: Page) -> list[str]:
    seen: list[str] = []

    def see(request: Request) -> None:
        if "search=" in request.url:
            seen.append(request.url.partition("search=")[2])

    page.on("request", see)
    return seen


def test_somebody_among_many_is_found_while_one_types(page: Page, gallery: Gallery) -> None:
    enrol_people(gallery)
    page.reload()
    people, found = page.locator("#people .who"), page.locator("#found")
    expect(people).to_have_count(50, timeout=PATIENCE_MS)
    expect(found).to_have_text("")
    seen = searches(page)
    page.locator("body").press("/")
    field = page.get_by_role("searchbox", name="Find people by a part of the id")
    expect(field).to_be_focused()
    page.keyboard.type("ANN")
    expect(people).to_have_text(["Anna Müller", "annika"], timeout=PATIENCE_MS)
    expect(page.get_by_role("status").filter(has_text="2 people found.")).to_have_count(1)
    expect(field).to_be_focused()
    assert seen == ["ANN"], "one question for what is typed at once"
    expect(page.locator("#count")).to_have_text("63 people, 63 walks")
    picture(page, "search")
    field.fill("mül")
    expect(people).to_have_text(["Anna Müller"], timeout=PATIENCE_MS)
    expect(found).to_have_text("1 person found.")
    field.fill("%")
    expect(people).to_have_text(["100%"], timeout=PATIENCE_MS)
    field.fill("zoe")
    expect(found).to_have_text("Nobody found.", timeout=PATIENCE_MS)
    expect(people).to_have_count(0)
    expect(page.get_by_role("button", name="Show more")).to_be_hidden()
    field.fill("")
    expect(people).to_have_count(50, timeout=PATIENCE_MS)
    expect(found).to_have_text("")


def test_enter_searches_at_once_and_pages_go_on(page: Page, gallery: Gallery) -> None:
    enrol_people(gallery)
    page.reload()
    people, found = page.locator("#people .who"), page.locator("#found")
    expect(people).to_have_count(50, timeout=PATIENCE_MS)
    field = page.locator("#search")
    field.fill("p-")
    field.press("Enter")
    expect(found).to_have_text("50 people found so far.", timeout=PATIENCE_MS)
    page.get_by_role("button", name="Show more").click()
    expect(found).to_have_text("60 people found.", timeout=PATIENCE_MS)
    expect(people).to_have_count(60)


def test_who_is_found_again_stays_open_and_is_erased_where_the_search_is(
    page: Page, gallery: Gallery
) -> None:
    enrol_many(gallery, "Ada", 2)
    enrol_many(gallery, "Adam", 1)
    enrol_many(gallery, "Ben", 1)
    page.reload()
    people, found = page.locator("#people .person"), page.locator("#found")
    people.filter(has_text="Adam").locator("summary").click()
    expect(page.locator(".thumb canvas")).to_have_count(1, timeout=PATIENCE_MS)
    page.locator("#search").fill("ad")
    expect(found).to_have_text("2 people found.", timeout=PATIENCE_MS)
    expect(page.locator(".thumb canvas")).to_have_count(1)
    # Who has walked on into the list when the answer comes keeps the focus.
    held = hold_first(page, "**/subjects?*search=ada")
    with page.expect_request("**/subjects?*search=ada"):
        page.locator("#search").fill("ada")
    people.filter(has_text="Adam").locator("summary").focus()
    held[0].continue_()
    page.locator("#search").evaluate("field => (field.value = 'adam', field.form.requestSubmit())")
    expect(people).to_have_count(1, timeout=PATIENCE_MS)
    expect(people.locator("summary")).to_be_focused()
    erase_in(page, "Erase person")
    expect(found).to_have_text("Nobody found.", timeout=PATIENCE_MS)
    expect(page.locator("#people")).to_have_text("")
    expect(page.locator("#count")).to_have_text("2 people, 3 walks")
    assert page.locator("#search").input_value() == "adam"


def test_a_late_answer_is_not_shown_for_what_is_searched_now(page: Page, gallery: Gallery) -> None:
    enrol_people(gallery)
    page.reload()
    people = page.locator("#people .who")
    expect(people).to_have_count(50, timeout=PATIENCE_MS)
    held = hold_first(page, "**/subjects?*search=*")
    with page.expect_request("**/subjects?*search=annika"):
        page.locator("#search").fill("annika")
    page.locator("#search").fill("100")
    expect(people).to_have_text(["100%"], timeout=PATIENCE_MS)
    with page.expect_response("**/subjects?*search=annika"):
        held[0].continue_()
    expect(page.locator("body")).not_to_have_class(re.compile("working"), timeout=PATIENCE_MS)
    expect(people).to_have_text(["100%"])
    expect(page.locator("#found")).to_have_text("1 person found.")


def test_who_is_enrolled_meanwhile_comes_up_if_searched_for(page: Page, gallery: Gallery) -> None:
    enrol_many(gallery, "Dora", 1)
    page.reload()
    people, found = page.locator("#people .who"), page.locator("#found")
    expect(people).to_have_text(["Dora"], timeout=PATIENCE_MS)
    page.locator("#search").fill("ädá")
    expect(found).to_have_text("Nobody found.", timeout=PATIENCE_MS)
    enrol(page, "Ada", "Monday")
    expect(people).to_have_text(["Ada"], timeout=PATIENCE_MS)
    expect(found).to_have_text("1 person found.")
    take_sample(page, "Ben", "Monday")
    page.get_by_role("button", name="Enrol", exact=True).click()
    expect(page.locator("#count")).to_have_text("3 people, 3 walks", timeout=PATIENCE_MS)
    expect(people).to_have_text(["Ada"])


def test_pages_without_anybody_are_passed(page: Page, gallery: Gallery) -> None:
    enrol_people(gallery)
    page.route(
        "**/subjects?limit=50&search=annika",
        lambda route: route.fulfill(json={"subjects": [], "next": "Anna Müller"}),
    )
    page.reload()
    page.locator("#search").fill("annika")
    people = page.locator("#people .who")
    expect(people).to_have_text(["annika"], timeout=PATIENCE_MS)
    expect(page.locator("#found")).to_have_text("1 person found.")


def test_a_search_that_fails_says_so_and_is_tried_again(page: Page, gallery: Gallery) -> None:
    enrol_people(gallery)
    page.reload()
    expect(page.locator("#people .who")).to_have_count(50, timeout=PATIENCE_MS)
    page.route(
        "**/subjects?*search=*", lambda route: route.fulfill(status=500, json={"detail": "not so"})
    )
    page.locator("#search").fill("annika")
    expect(page.locator("#people")).to_contain_text("not so", timeout=PATIENCE_MS)
    page.unroute("**/subjects?*search=*")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator("#people .who")).to_have_text(["annika"], timeout=PATIENCE_MS)
