"""The whole circle of a review: from a night, through people's hands, into the next table."""

import io
import re
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from playwright.sync_api import Dialog, Page, Route, expect

from garments import batch, export_reviews
from garments.predictions import Row, read_predictions
from garments.settings import Settings
from garments.training.photos import read_photos
from tests.browser.conftest import NewPerson, Person, assert_fits, faults_of
from tests.conftest import IMAGES, free_port, hundred, serving
from tests.pictures import encoded


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


@pytest.fixture(scope="module")
def shop(open_service: str, database: str, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A night of the repository's hundred pictures has been; about twenty are for review."""
    shop = Shop(tmp_path_factory.mktemp("shop"), open_service, database)
    shop.photos.mkdir()
    for path in hundred():
        shutil.copy(path, shop.photos)
    assert shop.night().review >= 12
    return shop


@pytest.fixture(autouse=True)
def _nothing_decided(request: pytest.FixtureRequest) -> None:
    if "shop" in request.fixturenames:
        request.getfixturevalue("shop").empty()


@pytest.fixture
def reviewer(shop: Shop, person: NewPerson) -> Callable[..., Person]:
    """Make a Person who has opened the review."""

    def make(name: str = "Ann", wide: int = 1280, **how: object) -> Person:
        made = person(wide, **how)
        made.sign_in(shop.url, name)
        made.page.goto(f"{shop.url}/review")
        expect(made.page.locator("#name")).not_to_be_empty()
        here(made.page)
        return made

    return make


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


def test_keys_answer_confirm_skip_and_take_back(shop: Shop, reviewer) -> None:
    page = reviewer().page
    first = press(page, "4")
    likeliest = page.locator("#first").inner_text()
    second = press(page, "Enter")
    third = press(page, "n")
    skipped = press(page, "s")
    saved(page)
    said = {name: answer for name, answer, _ in shop.standing()}
    assert said.keys() == {first, second, third}
    assert (said[first], said[third]) == (4, None)
    assert page.locator(f"[data-answer='{said[second]}']").inner_text().endswith(likeliest)
    press(page, "u")
    assert photo(page) == third
    press(page, "u")
    assert photo(page) == second
    press(page, "0")
    saved(page)
    assert {name: answer for name, answer, _ in shop.standing()} == {first: 4, second: 0}
    assert skipped not in said


def test_buttons_do_all_that_keys_do(shop: Shop, reviewer) -> None:
    page = reviewer().page
    click(page, page.get_by_role("button", name="Coat", exact=True).last.click)
    # The focus is not left on that button, where Enter would press it again.
    press(page, "Enter")
    click(page, page.get_by_role("button", name="Skip").click)
    seen(page)
    page.get_by_role("button", name="None of these").click()
    seen(page)
    page.get_by_role("button", name="Undo").click()
    saved(page)
    seen(page)
    page.get_by_role("button", name=re.compile("^Confirm")).click()
    saved(page)
    assert len(shop.standing()) == 3
    assert shop.standing() == [(name, answer, "Ann") for name, answer, _ in shop.standing()]


def test_the_second_click_of_two_does_not_answer_a_photo_that_nobody_saw(
    shop: Shop, reviewer
) -> None:
    page = reviewer().page
    first = click(page, page.locator("[data-answer='4']").dblclick)
    second = click(page, page.locator("[data-answer='5']").click)
    third = click(page, page.locator("#skip").dblclick)
    seen(page)
    fourth = photo(page)
    page.locator("#undo").dblclick()
    expect(page.locator("#name")).to_have_text(second)
    saved(page)
    assert len({first, second, third, fourth}) == 4
    assert shop.standing() == [(first, 4, "Ann")]


def test_two_taps_answer_once_and_a_key_at_once_after_them(shop: Shop, reviewer) -> None:
    page = reviewer(wide=360, touch=True).page
    seen(page)
    name = photo(page)
    coat = page.locator("[data-answer='4']")
    coat.scroll_into_view_if_needed()
    box = coat.bounding_box()
    for _ in range(2):
        page.touchscreen.tap(box["x"] + 20, box["y"] + 20)
    expect(page.locator("#name")).not_to_have_text(name)
    saved(page)
    assert shop.standing() == [(name, 4, "Ann")]
    press(page, "5")
    press(page, "6")
    saved(page)
    assert [answer for _, answer, _ in sorted(shop.standing(), key=lambda row: row[1])] == [4, 5, 6]


@pytest.mark.parametrize("key", ["Enter", "Space"])
def test_a_key_that_is_held_on_a_button_answers_once(key: str, shop: Shop, reviewer) -> None:
    page = reviewer().page
    name = photo(page)
    page.get_by_role("button", name="Coat", exact=True).last.focus()
    for _ in range(5):
        page.keyboard.down(key)
        here(page)
    page.keyboard.up(key)
    expect(page.locator("#name")).not_to_have_text(name)
    saved(page)
    assert shop.standing() == [(name, 4, "Ann")]


def test_two_people_at_once_never_have_the_same_photo(shop: Shop, reviewer) -> None:
    waiting = shop.rows()
    doubtful = {name for name, row in waiting.items() if row.decision == "review"}
    ann, ben = reviewer("Ann").page, reviewer("Ben").page
    seen: list[str] = []
    while any(page.locator("#desk").is_visible() for page in (ann, ben)):
        for page in (ann, ben):
            if page.locator("#desk").is_visible():
                here(page)
                seen.append(photo(page))
                page.keyboard.press("1")
        for page in (ann, ben):
            saved(page)
    ann.get_by_role("button", name="Look again").click()
    expect(ann.get_by_role("heading", name="Nothing is left")).to_be_visible()
    assert sorted(seen) == sorted(doubtful)
    standing = shop.standing()
    assert [name for name, _, _ in standing] == sorted(doubtful)
    assert {who for _, _, who in standing} == {"Ann", "Ben"}


def test_two_tabs_of_one_person_have_different_photos(shop: Shop, reviewer) -> None:
    ann = reviewer()
    other = ann.context.new_page()
    other.goto(f"{shop.url}/review")
    expect(other.locator("#name")).not_to_be_empty()
    assert photo(other) != photo(ann.page)


def test_a_decision_on_what_somebody_else_has_decided_is_refused_kindly(
    shop: Shop, reviewer
) -> None:
    ann = reviewer("Ann")
    ann.provoked.add(" status of 409 ")
    name = photo(ann.page)
    with closing(sqlite3.connect(shop.file)) as base, base:
        base.execute("DELETE FROM leases")  # as if Ann had been away for long
    ben = reviewer("Ben").page
    assert photo(ben) == name
    press(ben, "2")
    saved(ben)
    press(ann.page, "3")
    told = ann.page.get_by_role("alert")
    expect(told).to_contain_text(f"{name}: Ben has answered Pullover for this photo already")
    expect(ann.page.locator("#last")).to_be_empty()
    saved(ann.page)
    assert shop.standing() == [(name, 2, "Ben")]


def test_a_reload_in_the_middle_loses_nothing(shop: Shop, reviewer) -> None:
    page = reviewer().page
    first, second = press(page, "4"), press(page, "5")
    third = photo(page)
    page.reload()
    expect(page.locator("#name")).to_have_text(third)
    saved(page)
    assert [name for name, _, _ in shop.standing()] == sorted([first, second])
    page.keyboard.press("u")
    expect(page.locator("#name")).to_have_text(second)
    saved(page)
    assert [name for name, _, _ in shop.standing()] == [first]


def answer_all(page: Page) -> None:
    """Answer until no photo comes any more, and look again."""
    while page.locator("#desk").is_visible():
        here(page)
        page.keyboard.press("5")
        saved(page)
    page.get_by_role("button", name="Look again").click()
    expect(page.locator("#done-title")).to_have_text("Nothing is left")


def test_what_was_taken_back_before_it_was_saved_is_shown_after_a_reload(
    shop: Shop, reviewer
) -> None:
    ann = reviewer()
    ann.provoked.add("net::ERR_FAILED")
    page = ann.page
    page.on("dialog", lambda dialog: dialog.accept())  # "leave this page?"
    page.route("**/review/decide", lambda route: route.abort())
    name = press(page, "4")
    expect(page.get_by_role("alert")).to_be_visible()
    page.keyboard.press("u")
    expect(page.locator("#name")).to_have_text(name)
    page.reload()
    here(page)
    page.unroute("**/review/decide")
    saved(page)
    expect(page.locator("#name")).to_have_text(name)
    answer_all(page)
    assert (name, 5, "Ann") in shop.standing()


def test_what_the_other_tab_took_back_comes_to_this_one_again(shop: Shop, reviewer) -> None:
    ann = reviewer()
    name = press(ann.page, "4")
    saved(ann.page)
    other = ann.context.new_page()
    other.goto(f"{shop.url}/review")
    here(other)
    other.keyboard.press("u")
    expect(other.locator("#name")).to_have_text(name)
    saved(other)
    other.close()
    answer_all(ann.page)
    assert (name, 5, "Ann") in shop.standing()


def test_what_was_refused_comes_again_when_the_other_answer_is_taken_back(
    shop: Shop, reviewer
) -> None:
    ann = reviewer("Ann")
    ann.provoked.add(" status of 409 ")
    name = photo(ann.page)
    with closing(sqlite3.connect(shop.file)) as base, base:
        base.execute("DELETE FROM leases")  # as if Ann had been away for long
    ben = reviewer("Ben").page
    press(ben, "2")
    saved(ben)
    press(ann.page, "3")
    expect(ann.page.get_by_role("alert")).to_contain_text("Ben has answered")
    press(ben, "u")
    press(ben, "s")
    saved(ben)
    ben.close()
    answer_all(ann.page)
    assert (name, 5, "Ann") in shop.standing()


def test_an_answer_of_the_service_from_before_a_decision_brings_its_photo_back_neither(
    shop: Shop, reviewer
) -> None:
    page = reviewer().page
    late: list[Route] = []
    page.route("**/review/next", lambda route: late.append(route))
    page.evaluate("document.getElementById('again').click()")
    while not late:
        page.wait_for_timeout(20)
    before = late[0].fetch()
    name = press(page, "4")
    saved(page)
    late[0].fulfill(response=before)
    for _ in range(3):
        assert press(page, "5") != name
    saved(page)
    assert (name, 4, "Ann") in shop.standing()


def test_of_one_photo_that_another_has_is_spoken_as_of_one(shop: Shop, reviewer) -> None:
    page = reviewer().page
    left = {"doubtful": 1, "wrong": 0, "sample": 0}
    nothing = {"items": [], "mine": [], "left": left, "hour": 0, "own": 0}
    page.route("**/review/next", lambda route: route.fulfill(json=nothing))
    page.reload()
    expect(page.locator("#done-text")).to_have_text(
        "1 photo is before somebody else, and comes here if it is left there."
    )


def test_what_was_decided_before_the_window_was_closed_can_be_taken_back(
    shop: Shop, reviewer
) -> None:
    ann = reviewer()
    name = press(ann.page, "4")
    saved(ann.page)
    ann.page.close()
    page = ann.context.new_page()
    page.goto(f"{shop.url}/review")
    expect(page.locator("#name")).not_to_be_empty()
    page.keyboard.press("u")
    expect(page.locator("#name")).to_have_text(name)
    saved(page)
    assert shop.standing() == []


@pytest.mark.parametrize(("status", "code"), [(503, "no_database"), (404, "not_found")])
def test_decisions_are_kept_while_the_service_fails_and_through_a_reload(
    status: int, code: str, shop: Shop, reviewer
) -> None:
    ann = reviewer()
    ann.provoked.add(f" status of {status} ")
    page = ann.page
    failing = {"is": True}

    def fail(route: Route) -> None:
        if failing["is"]:
            route.fulfill(status=status, json={"code": code, "detail": "it is away"})
        else:
            route.continue_()

    page.route("**/review/decide", fail)
    names = [press(page, key) for key in "123"]
    told = page.get_by_role("alert")
    expect(told).to_contain_text("Saving does not work: it is away. 3 answers are not saved yet")
    assert shop.standing() == []
    page.on("dialog", lambda dialog: dialog.accept())  # "leave this page?"
    page.reload()
    expect(told).to_contain_text("3 answers are not saved yet")
    failing["is"] = False
    saved(page)
    expect(told).to_be_hidden()
    assert {name: answer for name, answer, _ in shop.standing()} == dict(
        zip(names, (1, 2, 3), strict=True)
    )


def test_decisions_are_kept_while_the_service_looks_for_its_database_elsewhere(
    shop: Shop, person: NewPerson, models: Path, tmp_path: Path
) -> None:
    def opened(url: str) -> AbstractContextManager[object]:
        settings = {"GARMENTS_DATABASE_URL": url, "GARMENTS_MODEL_DIR": str(models)}
        return serving(port=port, GARMENTS_SECRET_KEY="k" * 40, **settings)

    port = free_port()
    ann = person()
    ann.provoked |= {" status of 503 ", "net::ERR_CONNECTION_REFUSED"}
    page = ann.page
    with opened(shop.settings.database_url):
        ann.sign_in(f"http://127.0.0.1:{port}")
        page.goto(f"http://127.0.0.1:{port}/review")
        here(page)
        first = press(page, "1")
        saved(page)
        here(page)
    with opened(f"sqlite:///{tmp_path}/elsewhere.db"):
        second = press(page, "2")
        expect(page.get_by_role("alert")).to_contain_text(
            "1 answer is not saved yet, and kept here. Trying again."
        )
        expect(page.get_by_role("alert")).to_contain_text("there is no database")
    with opened(shop.settings.database_url):
        page.evaluate("dispatchEvent(new Event('online'))")  # so that it does not wait any longer
        saved(page)
        assert shop.standing() == sorted([(first, 1, "Ann"), (second, 2, "Ann")])
        expect(page.get_by_role("alert")).to_be_hidden()


def test_whoever_is_signed_out_meanwhile_loses_nothing(shop: Shop, reviewer) -> None:
    ann = reviewer()
    ann.provoked |= {" status of 401 ", " status of 403 "}
    warned: list[Dialog] = []

    def hear(dialog: Dialog) -> None:
        warned.append(dialog)
        dialog.accept()

    ann.page.on("dialog", hear)
    ann.context.clear_cookies()
    name = press(ann.page, "4")
    expect(ann.page.get_by_role("alert")).to_contain_text("You are signed out.")
    ann.page.get_by_role("link", name="Sign in again").click()
    ann.page.get_by_label("Your name").fill("Ann")
    ann.page.locator("main button").click()
    expect(ann.page).to_have_url(f"{shop.url}/review")
    saved(ann.page)
    assert shop.standing() == [(name, 4, "Ann")]
    assert not warned


def test_whoever_signs_in_again_goes_on_with_the_same_kind(shop: Shop, reviewer) -> None:
    ann = reviewer()
    ann.provoked |= {" status of 401 ", " status of 403 "}
    ann.page.goto(f"{shop.url}/review?kind=doubtful")
    expect(ann.page.locator("#name")).not_to_be_empty()
    ann.context.clear_cookies()
    press(ann.page, "4")
    ann.page.get_by_role("link", name="Sign in again").click()
    ann.page.get_by_label("Your name").fill("Ann")
    ann.page.locator("main button").click()
    expect(ann.page).to_have_url(f"{shop.url}/review?kind=doubtful")
    saved(ann.page)


def test_what_one_person_has_not_saved_is_never_sent_as_anothers(shop: Shop, reviewer) -> None:
    ann = reviewer()
    ann.provoked.add("net::ERR_FAILED")
    page = ann.page
    page.on("dialog", lambda dialog: dialog.accept())  # "leave this page?"
    page.route("**/review/decide", lambda route: route.abort())
    name = press(page, "4")
    expect(page.get_by_role("alert")).to_contain_text("1 answer is not saved yet")
    page.unroute("**/review/decide")
    page.route("**/review/release", lambda route: route.abort())  # the tab has them still
    ann.sign_in(shop.url, "Ben")
    page.goto(f"{shop.url}/review")
    expect(page.locator("#theirs")).to_have_text(
        "1 answer of Ann is not saved yet: it is kept in this tab until Ann signs in here again."
    )
    expect(page.locator("#name")).to_have_text(name)
    press(page, "5")
    saved(page)
    assert shop.standing() == [(name, 5, "Ben")]
    page.keyboard.press("u")
    saved(page)
    ann.sign_in(shop.url, "Ann")
    page.goto(f"{shop.url}/review")
    saved(page)
    expect(page.locator("#theirs")).to_be_hidden()
    assert shop.standing() == [(name, 4, "Ann")]


def test_what_waits_is_counted_in_answers_and_the_rest_is_called_what_it_is(
    shop: Shop, reviewer
) -> None:
    ann = reviewer()
    ann.provoked.add("net::ERR_FAILED")
    page = ann.page
    page.on("dialog", lambda dialog: dialog.accept())  # "leave this page?"
    page.route(re.compile("/review/(decide|skip|undo)$"), lambda route: route.abort())
    told = page.get_by_role("alert")
    press(page, "s")
    only_others = "What you skipped or took back is not saved yet, and kept here."
    expect(told).to_contain_text(only_others)
    press(page, "4")
    expect(told).to_contain_text(" 1 answer is not saved yet, and kept here.")
    press(page, "u")
    expect(told).to_contain_text(only_others)
    ann.sign_in(shop.url, "Ben")
    page.goto(f"{shop.url}/review")
    expect(page.locator("#theirs")).to_have_text(
        "What Ann skipped or took back is not saved yet: "
        "it is kept in this tab until Ann signs in here again."
    )


def test_what_an_earlier_page_kept_without_a_name_is_sent_too(shop: Shop, reviewer) -> None:
    page = reviewer().page
    page.route("**/review/decide", lambda _: None)  # which is never answered
    name = press(page, "4")
    page.evaluate("""() => {
        const [step] = JSON.parse(sessionStorage.getItem("review-unsent"));
        delete step.who;
        sessionStorage.setItem("review-unsent", JSON.stringify([step]));
    }""")
    page.on("dialog", lambda dialog: dialog.accept())  # "leave this page?"
    page.unroute("**/review/decide")
    page.reload()
    saved(page)
    expect(page.locator("#theirs")).to_be_hidden()
    assert shop.standing() == [(name, 4, "Ann")]


def test_nobody_leaves_without_a_warning_while_an_answer_is_not_saved(shop: Shop, reviewer) -> None:
    ann = reviewer()
    # A browser warns only of a page that has been used since it was loaded.
    ann.provoked |= {" status of 401 ", " status of 403 ", "never had a user gesture"}
    page = ann.page
    warned: list[str] = []

    def hear(dialog: Dialog) -> None:
        warned.append(dialog.type)
        dialog.accept()

    page.on("dialog", hear)
    page.reload()
    here(page)
    assert warned == []
    page.route("**/review/decide", lambda _: None)  # which is never answered
    name = press(page, "4")
    page.reload()
    assert warned == ["beforeunload"]
    page.unroute("**/review/decide")
    page.reload()
    saved(page)
    here(page)
    warned.clear()
    ann.context.clear_cookies()
    other = press(page, "5")
    again = page.get_by_role("link", name="Sign in again")
    expect(again).to_be_visible()
    page.reload()
    assert warned == ["beforeunload"]
    ann.sign_in(shop.url, "Ann")
    page.goto(f"{shop.url}/review")
    saved(page)
    assert shop.standing() == sorted([(name, 4, "Ann"), (other, 5, "Ann")])


def test_whoever_has_anothers_answers_in_the_tab_is_warned_before_it_closes(
    shop: Shop, reviewer
) -> None:
    ann = reviewer()
    ann.provoked.add("net::ERR_FAILED")
    page = ann.page
    warned: list[str] = []

    def hear(dialog: Dialog) -> None:
        warned.append(dialog.type)
        dialog.accept()

    page.on("dialog", hear)
    page.route("**/review/decide", lambda route: route.abort())
    press(page, "4")
    ann.sign_in(shop.url, "Ben")
    page.unroute("**/review/decide")
    page.goto(f"{shop.url}/review")
    expect(page.locator("#theirs")).to_be_visible()
    warned.clear()
    here(page)
    press(page, "5")
    saved(page)
    page.reload()
    assert warned == ["beforeunload"]


def test_a_request_that_hangs_is_told_and_sent_again(shop: Shop, reviewer) -> None:
    ann = reviewer()
    page = ann.page
    page.add_init_script("""
        const timeout = AbortSignal.timeout;
        AbortSignal.timeout = (after) => timeout.call(AbortSignal, after / 30);
    """)
    page.reload()
    here(page)
    page.route("**/review/decide", lambda _: None)  # which is never answered
    for _ in range(8):
        if page.locator("#desk").is_visible():
            here(page)
            page.keyboard.press("2")
    title = page.locator("#done-title")
    expect(page.get_by_role("alert")).to_contain_text("the service did not answer in time")
    expect(title).to_have_text("No more photos until the service answers")
    page.unroute("**/review/decide")
    saved(page)
    expect(page.get_by_role("alert")).to_be_hidden()


@pytest.mark.parametrize("body", ["<h1>Accept the terms</h1>", '{"items": [{"photo": "0', "{}"])
def test_what_does_not_come_from_the_service_is_told_in_plain_words(
    body: str, shop: Shop, reviewer
) -> None:
    page = reviewer().page
    page.route("**/review/decide", lambda route: route.fulfill(body=body))
    name = press(page, "4")
    expect(page.get_by_role("alert")).to_have_text(
        "Saving does not work: what came is not the service's answer, or only a part of it. "
        "1 answer is not saved yet, and kept here. Trying again."
    )
    page.unroute("**/review/decide")
    saved(page)
    assert shop.standing() == [(name, 4, "Ann")]


def test_while_answers_are_under_way_it_is_not_said_that_all_are_done(shop: Shop, reviewer) -> None:
    page = reviewer().page
    hung: list[Route] = []

    def hang_once(route: Route) -> None:
        if hung:
            route.continue_()
        else:
            hung.append(route)

    page.route("**/review/decide", hang_once)
    while page.locator("#desk").is_visible():
        here(page)
        page.keyboard.press("2")
    expect(page.locator("#done-title")).to_have_text("Your answers are being saved")
    expect(page.locator("#done-text")).to_have_text(
        "The next photos come when your answers are saved."
    )
    hung[0].continue_()
    saved(page)
    expect(page.locator("#desk")).to_be_visible()


def test_while_the_service_is_away_it_is_said_why_no_photo_comes(shop: Shop, reviewer) -> None:
    ann = reviewer()
    ann.provoked.add("net::ERR_FAILED")
    page = ann.page
    page.route(re.compile("/review/(next|decide)$"), lambda route: route.abort())
    told = page.get_by_role("alert")
    press(page, "1")
    expect(told).to_contain_text("is it running? 1 answer is not saved yet")
    for _ in range(3):
        here(page)
        page.keyboard.press("2")
    expect(told).to_contain_text("is it running? 4 answers are not saved yet")
    title = page.locator("#done-title")
    expect(title).to_have_text("No more photos until the service answers")
    page.unroute(re.compile("/review/(next|decide)$"))
    page.get_by_role("button", name="Look again").click()
    expect(page.locator("#desk")).to_be_visible()
    saved(page)
    assert len(shop.standing()) == 4


def test_a_tab_that_nobody_uses_lets_its_photos_go(
    shop: Shop, open_service: str, person: NewPerson
) -> None:
    ann = person()
    page = ann.page
    page.clock.install()
    ann.sign_in(shop.url)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url.rpartition("/")[2]))
    page.goto(f"{shop.url}/review")
    expect(page.locator("#name")).not_to_be_empty()
    page.mouse.click(5, 5)

    def a_minute_passes() -> None:
        page.clock.run_for(60_000)
        page.wait_for_timeout(100)

    for _ in range(4):
        with page.expect_response("**/review/next"):
            a_minute_passes()
    asked.clear()
    for _ in range(20):
        a_minute_passes()
    assert asked.count("next") <= 1
    page.mouse.wheel(0, 10)
    page.wait_for_timeout(100)
    with page.expect_response("**/review/next"):
        a_minute_passes()


def test_a_tab_without_photos_looks_for_more_as_long_as_it_is_seen(
    shop: Shop, person: NewPerson
) -> None:
    ann = person()
    page = ann.page
    page.clock.install()
    ann.sign_in(shop.url)

    others = {"have all": True}

    def without_photos(route: Route) -> None:
        if others["have all"]:
            nothing = {"items": [], "mine": [], "left": {"doubtful": 1, "wrong": 0, "sample": 0}}
            route.fulfill(json=nothing | {"hour": 0, "own": 0})
        else:
            route.continue_()

    page.route("**/review/next", without_photos)
    page.goto(f"{shop.url}/review")
    expect(page.locator("#done")).to_be_visible()
    page.clock.run_for(600_000)
    page.wait_for_timeout(100)
    others["have all"] = False
    page.clock.run_for(20_000)
    expect(page.locator("#desk")).to_be_visible()


def test_that_one_is_signed_out_stays_said(shop: Shop, reviewer) -> None:
    ann = reviewer()
    ann.provoked |= {" status of 409 ", " status of 401 ", " status of 403 "}
    page = ann.page
    page.clock.install()
    page.reload()
    here(page)
    page.route(
        "**/review/decide",
        lambda route: route.fulfill(status=409, json={"code": "decided", "detail": "it is"}),
        times=1,
    )
    press(page, "4")
    told = page.get_by_role("alert")
    expect(told).to_contain_text("it is")
    page.clock.run_for(1_000)
    ann.context.clear_cookies()
    press(page, "5")
    expect(told).to_contain_text("You are signed out.")
    page.clock.run_for(20_000)
    expect(told).to_contain_text("You are signed out.")


def test_each_of_several_answers_that_are_refused_is_told(reviewer) -> None:
    ann = reviewer()
    ann.provoked.add(" status of 409 ")
    page = ann.page
    page.clock.install()
    page.reload()
    here(page)
    held: list[Route] = []
    page.route("**/review/decide", lambda route: held.append(route))
    names = [press(page, key) for key in "123"]
    for number in range(3):
        while len(held) <= number:
            page.wait_for_timeout(20)
        held[number].fulfill(status=409, json={"code": "decided", "detail": "Ben was first"})
    saved(page)
    told = page.get_by_role("alert")
    for name in names:
        expect(told).to_contain_text(f"{name}: Ben was first.")
    page.clock.run_for(14_000)
    expect(told).to_be_visible()
    page.clock.run_for(20_000)
    expect(told).to_be_hidden()


def test_keys_can_be_turned_off_and_are_explained(shop: Shop, reviewer) -> None:
    page = reviewer().page
    page.keyboard.press("?")
    dialog = page.get_by_role("dialog", name="Keys")
    expect(dialog).to_be_visible()
    assert not faults_of(page)
    dialog.get_by_label("Use these keys").uncheck()
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    name = photo(page)
    page.keyboard.press("4")
    page.wait_for_timeout(200)
    assert photo(page) == name
    assert shop.standing() == []


def test_the_help_opens_at_its_title_and_its_keys_change_nothing(reviewer) -> None:
    page = reviewer().page
    page.set_viewport_size({"width": 683, "height": 384})
    page.keyboard.press("?")
    expect(page.get_by_role("heading", name="Keys")).to_be_focused()
    expect(page.get_by_role("heading", name="Keys")).to_be_in_viewport(ratio=1)
    page.keyboard.press("Space")
    expect(page.get_by_label("Use these keys")).to_be_checked()
    page.keyboard.press("Tab")
    expect(page.get_by_label("Use these keys")).to_be_focused()


def test_a_screen_reader_hears_what_comes_next(shop: Shop, reviewer) -> None:
    page = reviewer().page
    expect(page.get_by_role("status")).to_have_text(re.compile(r"^Next: "))
    press(page, "4")
    expect(page.get_by_role("status")).to_have_text(
        re.compile(r"^Coat\. Next: .+ \d+\.\d.%, .+\. Return slip: none\.$")
    )
    likeliest = page.locator("#first").inner_text()
    alt = page.locator("#photo").get_attribute("alt") or ""
    assert alt.startswith(f"The photo to sort; the model says {likeliest} ")


def test_the_next_photo_is_loaded_already(shop: Shop, reviewer) -> None:
    page = reviewer().page
    page.wait_for_timeout(500)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    press(page, "4")
    shown = page.locator("#photo").get_attribute("src") or ""
    page.wait_for_timeout(200)
    assert page.evaluate("document.getElementById('photo').complete")
    assert not [url for url in asked if url.endswith(shown)]


def to_one_that_is_not_here(page: Page, answer: Callable[[Route], None]) -> str:
    """Go on to a photo whose request `answer` treats; the name of the one before.

    While Playwright has a route the browser keeps nothing, not even what it loaded ahead.
    """
    page.route("**/review/photo/*", answer)
    return press(page, "4")


def test_until_a_photo_is_here_none_is_shown_and_no_answer_is_taken(shop: Shop, reviewer) -> None:
    page = reviewer().page
    first = to_one_that_is_not_here(page, lambda _: None)  # which is never answered
    name = photo(page)
    shown = Image.open(io.BytesIO(page.locator("#photo").screenshot())).convert("RGB")
    assert len(shown.getcolors()) == 1
    page.keyboard.press("4")
    page.get_by_role("button", name="Bag").last.click()
    page.keyboard.press("Enter")
    expect(page.locator("#last")).to_have_text("The photo is not here yet.")
    assert photo(page) == name
    press(page, "u")
    assert photo(page) == first
    assert press(page, "s") == first
    page.unroute("**/review/photo/*")
    assert press(page, "5") == name
    saved(page)
    assert shop.standing() == [(name, 5, "Ann")]


def test_a_photo_that_could_not_be_loaded_comes_when_the_connection_does(
    shop: Shop, reviewer
) -> None:
    ann = reviewer()
    ann.provoked.add("net::ERR_FAILED")
    to_one_that_is_not_here(ann.page, lambda route: route.abort())
    told = ann.page.locator("#no-photo")
    expect(told).to_have_text("The photo could not be loaded. It is tried again.")
    saved(ann.page)
    name = photo(ann.page)
    ann.page.keyboard.press("5")
    expect(ann.page.locator("#last")).to_have_text("The photo is not here yet.")
    # What comes at once is said together: the answer before may be in the same breath.
    expect(ann.page.get_by_role("status")).to_contain_text("The photo is not here yet.")
    assert photo(ann.page) == name
    ann.page.unroute("**/review/photo/*")
    ann.page.evaluate("dispatchEvent(new Event('online'))")
    expect(ann.page.locator("#photo")).to_be_visible()
    expect(told).to_be_hidden()
    expect(ann.page.locator("#last")).to_be_empty()
    assert press(ann.page, "5") == name
    saved(ann.page)
    assert (name, 5, "Ann") in shop.standing()


def test_a_photo_that_was_missed_once_is_asked_for_again_at_once(reviewer) -> None:
    ann = reviewer()
    ann.provoked.add(" status of 503 ")
    asked = []

    def fail_once(route: Route) -> None:
        asked.append(route.request.url)
        if asked.count(asked[-1]) > 1:
            route.continue_()
        else:
            route.fulfill(status=503)

    ann.page.route("**/review/photo/*", fail_once)
    ann.page.reload()
    expect(ann.page.locator("#name")).not_to_be_empty()
    expect(ann.page.locator("#photo")).not_to_have_js_property("naturalWidth", 0)
    expect(ann.page.locator("#no-photo")).to_be_hidden()


def test_a_photo_that_is_broken_is_not_asked_for_without_end(reviewer) -> None:
    page = reviewer().page
    asked = []

    def break_it(route: Route) -> None:
        asked.append(route.request.url)
        route.fulfill(status=200, content_type="image/webp", body="no picture")

    to_one_that_is_not_here(page, break_it)
    expect(page.locator("#no-photo")).to_be_visible()
    saved(page)
    page.wait_for_timeout(500)
    assert asked.count(page.locator("#photo").evaluate("image => image.src")) <= 6


def test_only_of_a_photo_without_a_preview_it_is_said_that_none_was_kept(reviewer) -> None:
    ann = reviewer()
    ann.provoked.add(" status of 404 ")
    to_one_that_is_not_here(ann.page, lambda route: route.fulfill(status=404))
    told = "No preview of this photo was kept. Look at the file itself."
    expect(ann.page.locator("#no-photo")).to_have_text(told)
    name = photo(ann.page)
    ann.page.keyboard.press("5")  # by somebody who has looked at the file
    expect(ann.page.locator("#name")).not_to_have_text(name)
    saved(ann.page)


def test_what_is_surely_none_of_the_classes_is_confirmed_as_that(shop: Shop, reviewer) -> None:
    page = reviewer().page

    def of_a_cap(route: Route) -> None:
        response = route.fetch()
        told = response.json()
        for item in told["items"]:
            item |= {"none": 0.98, "top": [["T-shirt/top", 0.01], ["Sandal", 0.002]]}
        route.fulfill(response=response, json=told)

    page.route("**/review/next", of_a_cap)
    page.reload()
    expect(page.locator("#first")).to_have_text("None of these")
    first = page.locator("#top li").first
    expect(first).to_have_text("None of the ten, at least98.0\u00a0%")
    expect(page.locator("#photo")).to_have_attribute("alt", re.compile("None of the ten, at least"))
    expect(page.locator("[data-answer=none]")).to_have_class("likely")
    name = press(page, "Enter")
    saved(page)
    assert shop.standing() == [(name, None, "Ann")]


@pytest.mark.parametrize(("wide", "high"), [(390, 780), (683, 384), (1366, 768), (1920, 1080)])
def test_photo_and_buttons_are_seen_together(wide: int, high: int, reviewer) -> None:
    page = reviewer().page
    page.set_viewport_size({"width": wide, "height": high})
    page.locator("[data-answer='7']").scroll_into_view_if_needed()
    for number in ("0", "7", "none"):
        button = page.locator(f"[data-answer='{number}']")
        button.scroll_into_view_if_needed()
        expect(page.locator("#photo")).to_be_in_viewport(ratio=0.99)
        click(page, button.click)
        expect(page.locator("#photo")).to_be_in_viewport(ratio=0.99)
    if high >= 768:
        for button in page.locator("[data-answer]").all():
            expect(button).to_be_in_viewport(ratio=0.99)
    saved(page)


PLACES = """() => [...document.querySelectorAll("#desk button")].map((one) => {
    const { x, y, width, height } = one.getBoundingClientRect();
    return [x + scrollX, y + scrollY, width, height].map(Math.round);
})"""
WINDOWS = [(1280, 900), (1366, 768), (683, 384), (360, 640)]
"""A desktop's, a notebook's, the same zoomed to 200 %, and a phone's."""


@pytest.mark.parametrize(("wide", "high"), WINDOWS)
def test_a_notice_is_seen_wherever_one_is_and_moves_no_button(
    wide: int, high: int, reviewer
) -> None:
    ann = reviewer()
    ann.provoked.add("net::ERR_FAILED")
    page = ann.page
    page.set_viewport_size({"width": wide, "height": high})
    page.route("**/review/decide", lambda route: route.abort())
    page.locator("[data-answer='4']").scroll_into_view_if_needed()
    before = page.evaluate(PLACES)
    press(page, "4")
    told = page.get_by_role("alert")
    expect(told).to_contain_text("1 answer is not saved yet")
    expect(told).to_be_in_viewport(ratio=1)
    assert page.evaluate(PLACES) == before
    # Nor does it lie on one for good: all can be scrolled out from below it.
    page.locator("#help").evaluate("one => one.scrollIntoView({ block: 'end' })")
    uncovered = """one => {
        const { x, y, width, height } = one.getBoundingClientRect();
        return one.contains(document.elementFromPoint(x + width / 2, y + height - 2));
    }"""
    assert page.locator("#help").evaluate(uncovered)
    if wide >= 1280:
        page.evaluate("scrollTo(0, 0)")
        assert page.locator("#help").evaluate(uncovered)
    low = page.evaluate("[scrollTo(0, document.body.scrollHeight), scrollY]")[1]
    page.unroute("**/review/decide")
    page.evaluate("dispatchEvent(new Event('online'))")
    saved(page)
    expect(told).to_be_hidden()
    assert page.evaluate("scrollY") == low


def told_of_all_kinds(route: Route) -> None:
    """Make each photo take another room: by its name, its slip, and what is said of it."""
    response = route.fetch()
    told = response.json()
    changes = [
        {"name": "a.png", "kind": "doubtful", "expected": None},
        {"kind": "wrong", "expected": "T-shirt/top", "name": f"hall b/{'long name ' * 12}.png"},
        {"none": 0.98, "top": [["T-shirt/top", 0.01], ["Ankle boot", 0.004], ["Bag", 0.002]]},
        {"kind": "sample", "expected": "Ankle boot", "top": [["Ankle boot", 0.9], ["Bag", 0.1]]},
        {"name": f"{'x' * 250}.png", "top": [["T-shirt/top", 1.0]]},
    ]
    for item in told["items"]:
        item |= changes[int(item["photo"], 16) % len(changes)]
    told["left"]["doubtful"] = 1000 + sum(len(item["name"]) for item in told["items"])
    route.fulfill(response=response, json=told)


@pytest.mark.parametrize(("wide", "high"), WINDOWS)
def test_no_photo_moves_a_button(wide: int, high: int, shop: Shop, reviewer) -> None:
    page = reviewer().page
    page.set_viewport_size({"width": wide, "height": high})
    page.route(re.compile("/review/(next|decide)$"), told_of_all_kinds)
    page.reload()
    here(page)
    saved(page)
    places, shown = [], set()
    while len(places) < 9:
        places.append([page.evaluate(PLACES), page.evaluate("document.body.scrollHeight")])
        shown.add((page.locator("#why").inner_text(), page.locator("#first").inner_text()))
        page.keyboard.press("4")
        here(page)
        saved(page)
    assert len(shown) >= 4
    assert [place for place in places if place != places[0]] == []


SMALL = [(320, 256), (427, 320), (455, 256), (512, 300), (320, 640), (390, 780), (683, 384)]
"""Narrow windows, and those that remain of wide ones that are zoomed to 300 and 400 %."""


@pytest.mark.parametrize(("wide", "high"), [*SMALL, (1366, 768)])
def test_no_label_of_a_button_is_cut(wide: int, high: int, reviewer) -> None:
    page = reviewer().page
    page.set_viewport_size({"width": wide, "height": high})
    cut = """all => all.filter((one) => one.scrollWidth > one.clientWidth)
        .map((one) => one.textContent.trim())"""
    assert page.locator("#desk button").evaluate_all(cut) == []
    assert_fits(page)


@pytest.mark.parametrize("wide", [360, 1366, 1920])
def test_no_range_of_a_class_is_cut(wide: int, shop: Shop, reviewer) -> None:
    page = reviewer(wide=wide).page
    page.goto(f"{shop.url}/runs")
    cut = """all => all.filter((one) => {
        one.textContent = "10.0\u00a0% to 12.5\u00a0%";
        return one.scrollWidth > one.clientWidth || !one.clientWidth;
    }).length"""
    assert page.locator(".plots.dense .soft").evaluate_all(cut) == 0


def test_capital_letters_are_the_same_keys(shop: Shop, reviewer) -> None:
    page = reviewer().page
    name = press(page, "N")
    press(page, "S")
    saved(page)
    assert shop.standing() == [(name, None, "Ann")]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("wide", [360, 2560])
def test_the_pages_are_open_to_all(wide: int, dark: bool, shop: Shop, reviewer) -> None:
    page = reviewer(wide=wide, dark=dark).page
    press(page, "4")
    assert not faults_of(page)
    assert_fits(page)
    saved(page)
    page.goto(f"{shop.url}/runs")
    page.get_by_text("Right by true class").click()
    assert not faults_of(page)
    assert_fits(page)


def test_the_answers_stand_in_the_next_table_and_can_be_trained_on(
    shop: Shop, reviewer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    page = reviewer().page
    coat, none = press(page, "4"), press(page, "n")
    saved(page)
    counts = shop.night()
    assert (counts.reviewed, counts.posted) == (2, 0)
    rows = shop.rows()
    assert rows[coat][1:5] == ("4", "Coat", "", "reviewed")
    assert rows[none][1:5] == ("", "none of these", "", "reviewed")
    page.goto(f"{shop.url}/runs")
    newest = page.locator(".nights tbody tr").first
    assert newest.locator("td").nth(4).inner_text() == "2"
    expect(page.locator(".model").first).to_contain_text("fashion-mnist@")
    newest.get_by_role("link", name="Report").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Returned clothes")
    expect(page.locator(".sum")).to_contain_text("2 reviewed")
    monkeypatch.setenv("GARMENTS_DATABASE_URL", shop.settings.database_url)
    assert export_reviews.main([str(tmp_path / "export")]) == 0
    found = {(p.path.read_bytes(), p.accepted) for p in read_photos([tmp_path / "export"])}
    assert found == {
        ((IMAGES / coat).read_bytes(), frozenset({4})),
        ((IMAGES / none).read_bytes(), frozenset({10})),
    }


@pytest.fixture
def hundred_to_review(shop: Shop) -> Iterator[None]:
    """A second night in which all of another hundred pictures are in the queue."""
    before = shop.photos
    shop.photos = before.with_name("many")
    shop.photos.mkdir()
    for number, path in enumerate(hundred()):
        content = encoded_again(path.read_bytes(), number)
        (shop.photos / f"{number:03}.png").write_bytes(content)
    shop.night(review_sample=1.0)
    yield
    shop.photos = before


def encoded_again(content: bytes, number: int) -> bytes:
    """The same picture in a file of its own."""
    note = PngInfo()
    note.add_text("number", str(number))
    return encoded(Image.open(io.BytesIO(content)), pnginfo=note)


@pytest.mark.figures
def test_a_hundred_reviews_by_keyboard(
    shop: Shop, hundred_to_review: None, reviewer, capsys: pytest.CaptureFixture[str]
) -> None:
    page = reviewer().page
    started = time.monotonic()
    for number in range(100):
        press(page, "Enter" if number % 2 else str(number % 10))
    shown = time.monotonic() - started
    saved(page)
    took = time.monotonic() - started
    with capsys.disabled():
        print(f"\n100 reviews by keyboard: {shown:.1f} s, all saved after {took:.1f} s")
    assert len(shop.standing()) == 100
    assert took < 30
