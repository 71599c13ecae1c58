"""The gallery on the page: long lists, strange names, what is damaged, and others who erase too."""

import re
from contextlib import closing
from functools import partial

import numpy as np
from numpy.typing import NDArray
from playwright.sync_api import Page, Route, expect
from sqlalchemy import update

from gallery import Gallery
from gallery.database import Database
from gallery.schema import samples
from service.settings import Settings
from tests.fakes import mean_picture
from tests.page.hands import (
    PATIENCE_MS,
    all_done,
    ask,
    enrol,
    hold_first,
    needs_chromium,
    picture,
    take_sample,
)

pytestmark = needs_chromium

PHONE = {"width": 390, "height": 844}
STRANGE = (
    "a/b?c#d%25&e=f+g",
    "<img src=x onerror=alert(1)>",
    "محمد الأمين",
    "👣🚶 of 王",
    "x" * 128,
    "..",
)


def walk(number: int) -> NDArray[np.uint8]:
    """One of many walks, each another, as the model sees it."""
    frames = np.zeros((12, 64, 44), np.uint8)
    frames[:, 8 : 40 + number, 12:30] = 255
    return frames


def enrol_many(gallery: Gallery, subject: str, count: int) -> list[str]:
    made = (walk(number) for number in range(count))
    return [
        gallery.enroll(subject, mean_picture(one), silhouettes=one).sample.sample_id for one in made
    ]


def erase_in(page: Page, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()
    page.get_by_role("button", name="Erase for good").click()


def test_what_the_store_cannot_read_any_more_is_said_and_the_rest_shown(
    page: Page, gallery: Gallery, settings: Settings
) -> None:
    gallery.enroll(
        "Ada",
        mean_picture(walk(0)),
        silhouettes=walk(0),
        metadata={"view": 90, "camera": {"room": "hall", "lenses": [1, 2]}},
    )
    second = gallery.enroll("Ada", mean_picture(walk(1)), silhouettes=walk(1)).sample.sample_id
    with closing(Database(settings.data)) as database, database.writing() as connection:
        lost = {"created_at": "yesterday", "metadata": "{", "captured_at": "noon"}
        connection.execute(update(samples).where(samples.c.sample_id == second).values(lost))
    page.reload()
    page.locator("#people summary").click()
    expect(page.locator(".row .words")).to_have_count(2, timeout=PATIENCE_MS)
    first, last = page.locator(".row .words").nth(0), page.locator(".row .words").nth(1)
    expect(first).to_contain_text('view 90 · camera {"room":"hall","lenses":[1,2]}')
    expect(last).to_have_text(re.compile("^12 frames ?cannot be read .*: .*date.*, metadata$"))
    picture(page, "damaged")


def test_an_operator_keeps_the_place_when_one_of_many_walks_is_erased(
    page: Page, gallery: Gallery
) -> None:
    enrol_many(gallery, "Ada", 14)
    page.reload()
    page.locator("#people summary").click()
    rows = page.locator(".thumb")
    expect(rows).to_have_count(12, timeout=PATIENCE_MS)
    # The last that is shown is where the next page would begin.
    page.get_by_role("button", name="Erase", exact=True).nth(11).click()
    page.get_by_role("button", name="Erase for good").click()
    expect(rows).to_have_count(11, timeout=PATIENCE_MS)
    expect(page.locator("#count")).to_have_text("1 person, 13 walks")
    expect(page.locator("#people summary")).to_have_text("Ada13 walks")
    expect(page.get_by_role("button", name="Erase", exact=True).nth(10)).to_be_focused()
    page.get_by_role("button", name="More walks").click()
    expect(rows).to_have_count(13, timeout=PATIENCE_MS)
    expect(page.locator(".row").nth(11).get_by_role("button", name="Play")).to_be_focused()
    page.get_by_role("button", name="Erase", exact=True).first.click()
    page.get_by_role("button", name="Erase for good").click()
    expect(rows).to_have_count(12, timeout=PATIENCE_MS)
    expect(page.get_by_role("button", name="Erase", exact=True).first).to_be_focused()


def test_whom_somebody_else_erased_meanwhile_is_not_shown_any_longer(
    page: Page, gallery: Gallery
) -> None:
    first, *_ = enrol_many(gallery, "Ada", 2)
    enrol_many(gallery, "Ben", 1)
    page.reload()
    people = page.locator("#people .person")
    people.filter(has_text="Ada").locator("summary").click()
    expect(page.locator(".thumb canvas")).to_have_count(2, timeout=PATIENCE_MS)
    gallery.erase_sample(first)
    page.get_by_role("button", name="Erase", exact=True).first.click()
    page.get_by_role("button", name="Erase for good").click()
    message = page.get_by_role("alert")
    expect(message).to_contain_text("expected", timeout=PATIENCE_MS)
    expect(page.locator(".thumb canvas")).to_have_count(1)
    gallery.erase_subject("Ada")
    erase_in(page, "Erase person")
    expect(people).to_have_count(1, timeout=PATIENCE_MS)
    expect(message).to_contain_text("Ada")
    gallery.erase_subject("Ben")
    page.locator("#people summary").click()
    expect(people).to_have_count(0, timeout=PATIENCE_MS)
    expect(page.locator("#people")).to_contain_text("Nobody yet.")


def test_an_operator_keeps_the_place_when_one_of_many_people_is_erased(
    page: Page, gallery: Gallery
) -> None:
    for number in range(60):
        gallery.enroll(f"p-{number:02}", np.full(88, number, np.float32), silhouettes=None)
    page.reload()
    people = page.locator("#people .person")
    expect(people).to_have_count(50, timeout=PATIENCE_MS)
    held = hold_first(page, "**/subjects?*after=*")
    more = page.get_by_role("button", name="Show more")
    with page.expect_request("**/subjects?*after=*"):
        more.click()
    # Who is new comes in between, and the page that comes late doubles nobody.
    take_sample(page, "Ada", "Monday")
    page.locator("#subject").fill("p-17b")
    page.get_by_role("button", name="Enrol", exact=True).click()
    expect(people.locator(".who").nth(18)).to_have_text("p-17b", timeout=PATIENCE_MS)
    more.focus()
    held[0].continue_()
    expect(people).to_have_count(61, timeout=PATIENCE_MS)
    expect(more).to_be_hidden()
    expect(people.filter(has_text="p-50").locator("summary")).to_be_focused()
    names = people.locator(".who").all_text_contents()
    assert names == sorted(set(names))
    people.filter(has_text="p-55").locator("summary").click()
    erase_in(page, "Erase person")
    expect(people).to_have_count(60, timeout=PATIENCE_MS)
    expect(people.filter(has_text="p-56").locator("summary")).to_be_focused()
    expect(page.locator("#count")).to_have_text("60 people, 60 walks")


def test_strange_names_are_shown_and_erased_as_they_are(page: Page, gallery: Gallery) -> None:
    for number, name in enumerate(STRANGE):
        gallery.enroll(name, mean_picture(walk(number)), silhouettes=walk(number))
    page.set_viewport_size(PHONE)  # type: ignore[arg-type]
    page.reload()
    people = page.locator("#people .person")
    expect(people.locator(".who")).to_have_text(sorted(STRANGE), timeout=PATIENCE_MS)
    for summary in people.locator("summary").all():
        summary.click()
    # To a browser `..` is a step in a path, and no name in one.
    step = people.first.locator(".row")
    expect(step).to_contain_text("A browser cannot ask for", timeout=PATIENCE_MS)
    expect(page.locator(".thumb canvas")).to_have_count(len(STRANGE) - 1, timeout=PATIENCE_MS)
    take_sample(page, "Ada", "Monday")
    page.get_by_role("button", name="Who is it?").click()
    expect(page.locator(".card.beside")).to_have_count(1, timeout=PATIENCE_MS)
    picture(page, "strange-names")
    for name in STRANGE[:2]:
        card = people.filter(has=page.get_by_text(name, exact=True))
        card.get_by_role("button", name="Erase person").click()
        expect(page.locator("#question bdi")).to_have_text(name)
        page.get_by_role("button", name="Erase for good").click()
        words = page.locator(".verdict .words")
        expect(words).to_have_text(f"Erased 1 walk of {name}.", timeout=PATIENCE_MS)
    assert gallery.size().samples == len(STRANGE) - 2
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]


def test_a_walk_of_the_gallery_takes_the_place_of_the_one_that_plays_beside(
    page: Page, gallery: Gallery
) -> None:
    gallery.enroll("Zoe", mean_picture(walk(0)), silhouettes=None)
    page.reload()
    take_sample(page, "Ada", "Monday")
    page.get_by_role("button", name="Who is it?").click()
    expect(page.locator(".card .who")).to_have_text(["Zoe"], timeout=PATIENCE_MS)
    all_done(page)
    # Whose silhouettes are not kept cannot play; that is no news before one asks for it.
    message = page.get_by_role("alert")
    expect(message).to_be_hidden()
    page.get_by_role("button", name="Play beside").click()
    expect(message).to_be_visible(timeout=PATIENCE_MS)
    page.get_by_role("button", name="Enrol", exact=True).click()
    people = page.locator("#people")
    expect(people.locator(".who")).to_have_text(["Ada", "Zoe"], timeout=PATIENCE_MS)
    ask(page, "This is Ada.")
    expect(page.locator(".card.beside .who")).to_have_text(["Ada"], timeout=PATIENCE_MS)
    people.locator("summary").first.click()
    people.get_by_role("button", name="Play", exact=True).click()
    expect(page.locator(".card.beside")).to_have_count(0)
    expect(page.get_by_role("button", name="Plays beside")).to_have_count(0)


def test_a_gallery_that_cannot_be_listed_says_so_in_its_place(page: Page) -> None:
    for status, tries in ((500, 1), (403, 0)):
        made = {"status": status, "json": {"detail": f"not so, {status}"}}
        page.route("**/subjects?*", partial(Route.fulfill, **made))  # type: ignore[arg-type]
        page.reload()
        expect(page.locator("#people")).to_contain_text(f"not so, {status}", timeout=PATIENCE_MS)
        expect(page.get_by_role("button", name="Try again")).to_have_count(tries)
        if tries:
            page.unroute("**/subjects?*")
            page.get_by_role("button", name="Try again").click()
            expect(page.locator("#people")).to_contain_text("Nobody yet", timeout=PATIENCE_MS)
    # What such a key may do it does without a complaint about the list.
    enrol(page, "Ada", "Monday")
    expect(page.get_by_role("alert")).to_be_hidden()
