"""What people decide is not lost while it cannot be saved, and they are told."""

import re
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from playwright.sync_api import Route, expect

from tests.browser.conftest import WORD, NewPerson, Person
from tests.browser.reviewing import Shop, answer_all, here, leaves_anyway, photo, press, saved
from tests.conftest import free_port, serving


def cut_off(ann: Person, paths: str | re.Pattern[str]) -> Person:
    """Ann, who leaves the page whatever it asks, and from whom nothing gets to these paths."""
    ann.provoked.add("net::ERR_FAILED")
    leaves_anyway(ann.page)
    ann.page.route(paths, lambda route: route.abort())
    return ann


def test_what_was_taken_back_before_it_was_saved_is_shown_after_a_reload(
    shop: Shop, reviewer
) -> None:
    page = cut_off(reviewer(), "**/review/decide").page
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
    leaves_anyway(page)
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


@pytest.fixture
def ann_with_token(shop: Shop, closed_service: str, person: NewPerson) -> Person:
    """Ann, who reviews the same photos where a sign-in needs the token."""
    ann = person()
    ann.provoked.add(" status of 401 ")
    ann.sign_in(closed_service, token=WORD)
    ann.page.goto(f"{closed_service}/review?kind=doubtful")
    here(ann.page)
    return ann


def sign_in_again(ann: Person) -> None:
    """Follow the link that the notice has."""
    ann.page.get_by_role("link", name="Sign in again").click()
    ann.page.get_by_label("Your name").fill("Ann")
    ann.page.get_by_label("Token").fill(WORD)
    ann.page.locator("main button").click()


def test_whoever_is_signed_out_meanwhile_loses_nothing(shop: Shop, ann_with_token: Person) -> None:
    ann = ann_with_token
    warned = leaves_anyway(ann.page)
    ann.context.clear_cookies()
    name = press(ann.page, "4")
    expect(ann.page.get_by_role("alert")).to_contain_text("You are signed out.")
    sign_in_again(ann)
    saved(ann.page)
    assert shop.standing() == [(name, 4, "Ann")]
    assert not warned


def test_whoever_signs_in_again_goes_on_with_the_same_kind(ann_with_token: Person) -> None:
    ann = ann_with_token
    reviewed = ann.page.url
    ann.context.clear_cookies()
    press(ann.page, "4")
    sign_in_again(ann)
    expect(ann.page).to_have_url(reviewed)
    saved(ann.page)


def test_of_two_tabs_the_one_from_before_a_new_sign_in_is_loaded_again_and_both_go_on(
    shop: Shop, reviewer
) -> None:
    ann = reviewer()
    ann.provoked.add(" status of 403 ")
    old, new = ann.page, ann.context.new_page()
    warned = leaves_anyway(old)
    new.goto(f"{shop.url}/sign-in?next=/review")
    new.get_by_role("main").get_by_role("button").click()
    here(new)
    names = [press(old, "4")]
    expect(old.get_by_role("alert")).to_contain_text("This page is out of date. 1 answer is not")
    with old.expect_navigation():
        old.get_by_role("button", name="Load the page again").click()
    here(old)
    saved(old)
    for page in (new, old):
        names.append(press(page, "4"))
        saved(page)
        expect(page.get_by_role("alert")).to_be_hidden()
    assert shop.standing() == sorted((name, 4, "Ann") for name in names)
    assert not warned


def test_what_one_person_has_not_saved_is_never_sent_as_anothers(shop: Shop, reviewer) -> None:
    ann = cut_off(reviewer(), "**/review/decide")
    page = ann.page
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
    ann = cut_off(reviewer(), re.compile("/review/(decide|skip|undo)$"))
    page = ann.page
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
    leaves_anyway(page)
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
    warned = leaves_anyway(page)
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
    expect(page.get_by_role("button", name="Load the page again")).to_be_visible()
    page.reload()
    assert warned == ["beforeunload"]
    ann.sign_in(shop.url, "Ann")
    page.goto(f"{shop.url}/review")
    saved(page)
    assert shop.standing() == sorted([(name, 4, "Ann"), (other, 5, "Ann")])


def test_whoever_stays_when_asked_at_a_sign_out_keeps_the_photos(shop: Shop, reviewer) -> None:
    ann = reviewer()
    ann.provoked.add("net::ERR_FAILED")
    page = ann.page
    page.route("**/review/decide", lambda route: route.abort())
    press(page, "4")
    with page.expect_event("dialog") as asked:
        page.once("dialog", lambda dialog: dialog.dismiss())
        page.get_by_role("button", name="Sign out").click()
    assert asked.value.type == "beforeunload"
    assert photo(reviewer("Ben").page) != photo(page)
    page.unroute("**/review/decide")
    saved(page)


def test_whoever_has_anothers_answers_in_the_tab_is_warned_before_it_closes(
    shop: Shop, reviewer
) -> None:
    ann = reviewer()
    ann.provoked.add("net::ERR_FAILED")
    page = ann.page
    warned = leaves_anyway(page)
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


def test_that_one_is_signed_out_stays_said(ann_with_token: Person) -> None:
    ann = ann_with_token
    ann.provoked.add(" status of 409 ")
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
