import pytest
from playwright.sync_api import expect

from tests.browser.conftest import WORD, NewPerson, assert_fits, faults_of, shown_in_turn


def test_a_page_first_asks_for_the_token_and_a_name(closed_service: str, person: NewPerson) -> None:
    ann = person()
    ann.page.goto(closed_service)
    expect(ann.page).to_have_url(f"{closed_service}/sign-in?next=/")
    ann.page.keyboard.type("Ann <b>")
    ann.page.keyboard.press("Tab")
    ann.page.keyboard.type(WORD)
    ann.page.keyboard.press("Enter")
    expect(ann.page).to_have_url(f"{closed_service}/")
    expect(ann.page.locator(".person bdi")).to_have_text("Ann <b>")


def test_after_signing_out_no_page_is_shown(closed_service: str, person: NewPerson) -> None:
    ann = person()
    ann.sign_in(closed_service, token=WORD)
    ann.page.get_by_role("button", name="Sign out").click()
    expect(ann.page.get_by_label("Token")).to_be_visible()
    ann.page.go_back()
    expect(ann.page).to_have_url(f"{closed_service}/sign-in?next=/")


def test_a_link_from_another_site_signs_nobody_out(closed_service: str, person: NewPerson) -> None:
    ann = person()
    ann.sign_in(closed_service, token=WORD)
    page = ann.page
    link = f"<a href='{closed_service}/runs'>last night</a>"
    page.route(
        "http://chat.example/",
        lambda route: route.fulfill(body=link, content_type="text/html"),
    )
    page.goto("http://chat.example/")
    page.get_by_role("link").click()
    expect(page).to_have_url(f"{closed_service}/runs")
    page.goto(closed_service)
    expect(page.locator(".person bdi")).to_have_text("Ann")


def test_a_sign_in_left_open_overnight_is_sent_once_more(
    closed_service: str, person: NewPerson
) -> None:
    ann = person()
    ann.provoked.add("status of 403")
    page = ann.page
    page.goto(f"{closed_service}/runs")
    page.get_by_label("Your name").fill("Ann")
    page.get_by_label("Token").fill(WORD)
    ann.context.clear_cookies()
    page.get_by_label("Token").press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("open for too long: send it again")
    expect(page.get_by_role("alert")).to_contain_text("allow cookies")
    expect(page.get_by_label("Your name")).to_have_value("Ann")
    expect(page.get_by_label("Token")).to_be_focused()
    assert not faults_of(page)
    page.keyboard.type(WORD)
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{closed_service}/runs")


@pytest.mark.parametrize("wide", [360, 2560])
def test_who_mistypes_an_address_is_led_back(
    wide: int, open_service: str, person: NewPerson
) -> None:
    ann = person(wide)
    ann.provoked.add("status of 404")
    page = ann.page
    page.goto(f"{open_service}/nothing")
    expect(page.get_by_role("heading")).to_have_text("There is nothing here")
    assert not faults_of(page)
    assert_fits(page)
    page.get_by_role("main").get_by_role("link").click()
    expect(page).to_have_url(f"{open_service}/")


def test_a_wrong_token_is_told_at_its_field(closed_service: str, person: NewPerson) -> None:
    ann = person()
    ann.provoked.add("status of 422")
    page = ann.page
    page.goto(f"{closed_service}/sign-in")
    for shown in shown_in_turn(page):
        assert not faults_of(page), shown
    page.get_by_label("Your name").fill("Ann")
    page.get_by_label("Token").fill("wrong")
    page.get_by_label("Token").press("Enter")
    field = page.get_by_label("Token")
    expect(field).to_have_accessible_description("This is not the service's token.")
    expect(field).to_be_focused()
    for shown in shown_in_turn(page):
        assert not faults_of(page), shown
        assert_fits(page)
