"""What tests of the review do: people's nights, and their hands on keys and buttons."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from playwright.sync_api import Dialog, Page, expect

from garments import batch
from garments.predictions import Row, read_predictions
from garments.settings import Settings


class Shop:
    """A directory of photos, whose nights the service of these tests answers."""

    def __init__(self, root: Path, url: str, database: str) -> None:
        self.url, self.photos, self.output = url, root / "photos", root / "predictions.csv"
        self.settings = Settings(service_url=url, database_url=database, settle_seconds=0)
        self.file = database.removeprefix("sqlite:///")

    def night(self, **changes: object) -> batch.Counts:
        return batch.run(self.photos, self.output, replace(self.settings, **changes))

    def rows(self) -> dict[str, Row]:
        return {row.filename: row for row in read_predictions(self.output, 10)}

    def standing(self) -> list[tuple[str, int | None, str]]:
        """Photo, answer and person of every decision that stands."""
        query = "SELECT CAST(name AS TEXT), answer, who FROM reviews WHERE undone IS NULL"
        with closing(sqlite3.connect(self.file)) as base:
            return sorted(base.execute(query).fetchall(), key=lambda row: row[0])

    def empty(self) -> None:
        """Forget every decision, and who has what."""
        with closing(sqlite3.connect(self.file)) as base, base:
            for table in ("reviews", "leases", "skips"):
                base.execute(f"DELETE FROM {table}")  # noqa: S608 (a name from above)


def photo(page: Page) -> str:
    """The name of the photo that is shown."""
    return page.locator("#name").inner_text()


def here(page: Page) -> None:
    """Wait until the photo is there, or it is told why not."""
    expect(page.locator("#name")).not_to_be_empty()  # without a source, an image is complete
    expect(page.locator("#photo")).to_have_js_property("complete", True)


def seen(page: Page) -> None:
    """Wait until a person has seen the photo, and may answer by a click."""
    here(page)
    page.wait_for_timeout(300)


def another(page: Page, act: Callable[[], object]) -> str:
    """Act, and wait until another photo is shown; the name of the one before."""
    before = photo(page)
    act()
    expect(page.locator("#name")).not_to_have_text(before)
    return before


def press(page: Page, key: str) -> str:
    """Press a key that brings another photo; the name of the one before."""
    if key not in "us":  # which need no photo
        here(page)
    return another(page, lambda: page.keyboard.press(key))


def click(page: Page, act: Callable[[], object]) -> str:
    """Have seen the photo, and click for another; the name of the one before."""
    seen(page)
    return another(page, act)


def saved(page: Page) -> None:
    """Wait until the service has all that was decided."""
    expect(page.locator("#desk")).to_have_attribute("data-unsent", "0")


def leaves_anyway(page: Page) -> list[str]:
    """Leave the page whatever it asks; the kinds of its questions, as they come."""
    asked: list[str] = []

    def leave(dialog: Dialog) -> None:
        asked.append(dialog.type)
        dialog.accept()

    page.on("dialog", leave)
    return asked


def answer_all(page: Page) -> None:
    """Answer until no photo comes any more, and look again."""
    while page.locator("#desk").is_visible():
        here(page)
        page.keyboard.press("5")
        saved(page)
    page.get_by_role("button", name="Look again").click()
    expect(page.locator("#done-title")).to_have_text("Nothing is left")
