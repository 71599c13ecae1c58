"""What a person does on the page, step by step, and what is seen then.

Screenshots go to the folder that `METAGAIT_TEST_SCREENSHOTS` names, for people to look at.
"""

import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page, Route, expect

from model.silhouettes import align
from service.routes.page import WEB
from tests.fakes import mean_picture

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
PATIENCE_MS = 60_000

needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="NO CHROMIUM: the web page goes untested; install Debian's `chromium`"
)


def embedding(sample: str) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    with np.load(WEB / "samples" / sample, allow_pickle=False) as held:
        return mean_picture(align(held["silhouettes"]).silhouettes)


def own_distance() -> float:
    return float(np.linalg.norm(embedding("ada-nm-05.npz") - embedding("ada-nm-01.npz")))


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


def all_done(page: Page) -> None:
    """Wait until the page has dealt with every answer, also with one that nobody waits for."""
    expect(page.locator("body")).not_to_have_class(re.compile("working"), timeout=PATIENCE_MS)


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


def hold_first(page: Page, path: str) -> list[Route]:
    """Hold the first request of a path; whatever comes after it goes through."""
    held: list[Route] = []

    def hold_the_first(route: Route) -> None:
        if held:
            route.continue_()
        else:
            held.append(route)

    page.route(path, hold_the_first)
    return held
