"""Whoever reviews with Tab and Enter keeps the button that they are on."""

from playwright.sync_api import Page, Route, expect

from tests.browser.reviewing import Shop, here, photo, press, saved

NOTHING = {"items": [], "mine": [], "left": {"doubtful": 1, "wrong": 0, "sample": 0}}


def run_out(page: Page) -> list[Route]:
    """Press Enter until no photo is left in the tab; the first answer is held, and is to go on."""
    held: list[Route] = []
    page.route("**/review/decide", lambda route: held.append(route), times=1)
    while page.locator("#desk").is_visible():
        here(page)
        page.keyboard.press("Enter")
    return held


def test_the_button_with_the_focus_has_it_again_when_photos_come(shop: Shop, reviewer) -> None:
    page = reviewer().page
    coat = page.locator("[data-answer='4']")
    coat.focus()
    held = run_out(page)
    expect(page.get_by_role("heading", name="Your answers are being saved")).to_be_focused()
    held[0].continue_()
    expect(page.locator("#desk")).to_be_visible()
    expect(coat).to_be_focused()
    press(page, "Enter")
    saved(page)
    assert {answer for _, answer, _ in shop.standing()} == {4}


def test_the_focus_stays_where_a_person_has_moved_it_meanwhile(reviewer) -> None:
    page = reviewer().page
    page.locator("[data-answer='4']").focus()
    held = run_out(page)
    expect(page.locator("#done-title")).to_be_focused()
    sign_out = page.get_by_role("button", name="Sign out")
    sign_out.focus()
    held[0].continue_()
    expect(page.locator("#desk")).to_be_visible()
    expect(sign_out).to_be_focused()


def test_after_the_last_answer_the_focus_is_where_that_is_said(shop: Shop, reviewer) -> None:
    page = reviewer().page
    page.locator("[data-answer='4']").focus()
    while page.locator("#desk").is_visible():
        here(page)
        page.keyboard.press("Enter")
        saved(page)
    expect(page.get_by_role("heading", name="Nothing is left")).to_be_focused()
    page.locator("#undo-last").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#undo")).to_be_focused()
    press(page, "Enter")
    saved(page)
    assert {answer for _, answer, _ in shop.standing()} == {4}


def test_whoever_looked_again_is_on_the_button_that_enter_means(reviewer) -> None:
    page = reviewer().page
    page.route("**/review/next", lambda route: route.fulfill(json=NOTHING | {"hour": 0, "own": 0}))
    page.reload()
    page.get_by_role("button", name="Look again").focus()
    page.unroute("**/review/next")
    page.keyboard.press("Enter")
    expect(page.locator("#confirm")).to_be_focused()


def test_undo_keeps_the_focus_when_nothing_is_left_to_take_back(shop: Shop, reviewer) -> None:
    page = reviewer().page
    name = press(page, "4")
    saved(page)
    undo = page.get_by_role("button", name="Undo")
    undo.focus()
    press(page, "Enter")
    expect(undo).to_have_attribute("aria-disabled", "true")
    expect(undo).to_be_focused()
    here(page)
    page.keyboard.press("Enter")
    page.wait_for_timeout(200)
    saved(page)
    assert photo(page) == name
    assert shop.standing() == []


def test_after_a_click_on_the_last_undo_enter_confirms(reviewer) -> None:
    page = reviewer().page
    run_out(page)
    page.get_by_role("button", name="Undo the last answer").click()
    here(page)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Your answers are being saved")).to_be_visible()
