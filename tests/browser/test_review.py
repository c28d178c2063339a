"""The whole circle of a review: from a night, through people's hands, into the next table."""

import io
import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from playwright.sync_api import Page, Route, expect

from garments import export_reviews
from garments.training.photos import read_photos
from tests.browser.conftest import NewPerson
from tests.browser.reviewing import Shop, answer_all, click, here, photo, press, saved, seen
from tests.conftest import IMAGES, hundred
from tests.pictures import encoded


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


def overtaken(shop: Shop, reviewer: NewPerson) -> tuple[Page, Page, str]:
    """Ann, back after long, and Ben, who has meanwhile decided on the photo that is before her."""
    ann = reviewer("Ann")
    ann.provoked.add(" status of 409 ")
    name = photo(ann.page)
    ann.page.wait_for_load_state("networkidle")  # what it still asks would take the photo again
    with closing(sqlite3.connect(shop.file)) as base, base:
        base.execute("DELETE FROM leases")
    ben = reviewer("Ben").page
    assert press(ben, "2") == name
    saved(ben)
    return ann.page, ben, name


def test_a_decision_on_what_somebody_else_has_decided_is_refused_kindly(
    shop: Shop, reviewer
) -> None:
    ann, _, name = overtaken(shop, reviewer)
    press(ann, "3")
    told = ann.get_by_role("alert")
    expect(told).to_contain_text(f"{name}: Ben has answered Pullover for this photo already")
    expect(ann.locator("#last")).to_be_empty()
    saved(ann)
    assert shop.standing() == [(name, 2, "Ben")]


def test_a_photo_whose_answer_is_too_old_to_be_taken_back_is_not_asked_about(
    shop: Shop, reviewer
) -> None:
    ann = reviewer()
    ann.provoked.add(" status of 404 ")
    name = press(ann.page, "4")
    saved(ann.page)
    after = photo(ann.page)
    with closing(sqlite3.connect(shop.file)) as base, base:
        base.execute("UPDATE reviews SET at = '2026-01-01 00:00:00.000000'")
    ann.page.keyboard.press("u")
    told = ann.page.get_by_role("alert")
    expect(told).to_contain_text(f"{name}: that was decided too long ago to be taken back")
    expect(ann.page.locator("#name")).to_have_text(after)
    assert shop.standing() == [(name, 4, "Ann")]


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
    ann, ben, name = overtaken(shop, reviewer)
    press(ann, "3")
    expect(ann.get_by_role("alert")).to_contain_text("Ben has answered")
    press(ben, "u")
    press(ben, "s")
    saved(ben)
    ben.close()
    answer_all(ann)
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


def test_two_clicks_take_back_one_answer_of_before_the_window_was_closed(
    shop: Shop, reviewer
) -> None:
    ann = reviewer()
    first, second = press(ann.page, "4"), press(ann.page, "5")
    saved(ann.page)
    ann.page.close()
    page = ann.context.new_page()
    page.goto(f"{shop.url}/review")
    seen(page)
    late: list[Route] = []
    page.route("**/review/undo", lambda route: late.append(route), times=1)
    page.locator("#undo").dblclick()
    while not late:
        page.wait_for_timeout(20)
    late[0].continue_()
    expect(page.locator("#name")).to_have_text(second)
    saved(page)
    assert shop.standing() == [(first, 4, "Ann")]


def test_whoever_signs_out_lets_others_have_the_photos(shop: Shop, reviewer) -> None:
    ann = reviewer().page
    name = photo(ann)
    ann.get_by_role("button", name="Sign out").click()
    expect(ann).to_have_url(f"{shop.url}/sign-in")
    assert photo(reviewer("Ben").page) == name


def test_a_service_that_does_not_take_the_photos_back_holds_up_no_sign_out(
    shop: Shop, reviewer
) -> None:
    ann = reviewer().page
    ann.route("**/review/release", lambda _: None)  # which is never answered
    ann.get_by_role("button", name="Sign out").click()
    expect(ann).to_have_url(f"{shop.url}/sign-in")


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
    expect(page.locator("#why")).to_have_text("none of the ten seems right")
    expect(page.locator(".likely > span")).to_have_text(["T-shirt/top", "None of these"])
    name = press(page, "Enter")
    saved(page)
    assert shop.standing() == [(name, None, "Ann")]


def test_capital_letters_are_the_same_keys(shop: Shop, reviewer) -> None:
    page = reviewer().page
    name = press(page, "N")
    press(page, "S")
    saved(page)
    assert shop.standing() == [(name, None, "Ann")]


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
def test_a_hundred_reviews_by_keyboard_take_less_than_half_a_minute(
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
