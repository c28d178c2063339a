"""What whoever reviews sees and hears: the photo, the buttons, the help, in every window."""

import io
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Page, Route, expect

from garments.morning.page import render
from tests.browser.conftest import NewPerson, assert_fits, faults_of, shown_in_turn
from tests.browser.reviewing import Shop, click, here, photo, press, saved
from tests.test_morning import NIGHT, PHOTO


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


def test_after_the_help_was_opened_and_closed_by_mouse_enter_confirms(reviewer) -> None:
    page = reviewer().page
    page.get_by_role("button", name="Help").click()
    expect(page.get_by_role("heading", name="Keys")).to_be_focused()
    page.get_by_role("button", name="Close").click()
    expect(page.locator("#close")).not_to_be_focused()  # from the next frame on
    press(page, "Enter")
    saved(page)


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


def test_only_of_a_photo_without_a_preview_it_is_said_that_none_was_kept(
    shop: Shop, reviewer
) -> None:
    ann = reviewer()
    ann.provoked.add(" status of 404 ")
    to_one_that_is_not_here(ann.page, lambda route: route.fulfill(status=404))
    told, name = ann.page.locator("#no-photo"), photo(ann.page)
    file = f"{shop.photos}/{name}"
    expect(told).to_have_text(f"No preview of this photo was kept. Look at the file itself: {file}")
    expect(ann.page.locator("#name")).to_have_attribute("title", file)
    ann.page.keyboard.press("5")  # by somebody who has looked at the file
    expect(ann.page.locator("#name")).not_to_have_text(name)
    saved(ann.page)


def test_a_name_that_runs_from_right_to_left_turns_nothing_else_round(reviewer) -> None:
    ann = reviewer()
    ann.provoked.add(" status of 409 ")
    page, name = ann.page, "\u202egpj.toohs"

    def renamed(route: Route) -> None:
        response = route.fetch()
        told = response.json()
        for item in told["items"]:
            item["name"] = name
        route.fulfill(response=response, json=told)

    page.route("**/review/next", renamed)
    page.reload()
    here(page)
    page.keyboard.press("s")
    expect(page.locator("#last bdi")).to_have_text(name)
    refusal = {"code": "decided", "detail": "Ben was first"}
    page.route("**/review/decide", lambda route: route.fulfill(status=409, json=refusal))
    here(page)
    page.keyboard.press("4")
    told = page.get_by_role("alert")
    expect(told).to_have_text(f"{name}: Ben was first.")
    expect(told.locator("bdi")).to_have_text(name)


ALL_AT_ONCE = [(390, 780), (683, 384), (844, 390), (834, 1194), (1366, 768), (1920, 1080)]


@pytest.mark.parametrize(("wide", "high"), ALL_AT_ONCE)
def test_photo_and_buttons_are_seen_together(wide: int, high: int, reviewer) -> None:
    page = reviewer().page
    page.set_viewport_size({"width": wide, "height": high})
    place = page.locator("#photo").bounding_box()
    assert place
    assert min(place["width"], place["height"]) >= 170  # CSS pixels: enough to judge it by
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


def test_no_label_of_a_button_is_cut(reviewer) -> None:
    page = reviewer().page
    cut = """all => all.filter((one) => one.scrollWidth > one.clientWidth)
        .map((one) => one.textContent.trim())"""
    for wide, high in [*SMALL, (1366, 768)]:
        page.set_viewport_size({"width": wide, "height": high})
        assert page.locator("#desk button").evaluate_all(cut) == [], f"{wide} x {high}"
        assert_fits(page)


def test_no_range_of_a_class_is_cut(shop: Shop, reviewer) -> None:
    page = reviewer().page
    page.goto(f"{shop.url}/runs")
    cut = """all => all.filter((one) => {
        one.textContent = "10.0\u00a0% to 12.5\u00a0%";
        return one.scrollWidth > one.clientWidth || !one.clientWidth;
    }).length"""
    for wide in (360, 1366, 1920):
        page.set_viewport_size({"width": wide, "height": 900})
        assert page.locator(".plots.dense .soft").evaluate_all(cut) == 0, f"{wide} pixels wide"


def test_all_columns_of_the_nights_are_seen_and_printed(shop: Shop, reviewer) -> None:
    page = reviewer().page
    page.goto(f"{shop.url}/runs")
    cell = page.locator("tbody .model-name").first
    expect(cell).to_contain_text("+photo@")
    table = page.locator(".wide")
    is_cut = "one => one.scrollWidth > one.clientWidth"
    assert not table.evaluate(is_cut)
    line = "one => parseFloat(getComputedStyle(one).lineHeight)"
    assert cell.evaluate("one => one.clientHeight") < 4 * cell.evaluate(line)  # two, and some space
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 718, "height": 1047})  # A4, as Chromium prints it
    assert not table.evaluate(is_cut)


@pytest.mark.parametrize("bar", [".bar", ".track span"])
def test_the_report_has_its_bars_where_a_system_takes_the_colours_away(
    bar: str, shop: Shop, person: NewPerson
) -> None:
    page = person().page
    page.emulate_media(forced_colors="active")
    page.goto(f"file://{shop.output.parent}/report.html")
    background = "one => getComputedStyle(one).backgroundColor"
    drawn = page.locator(bar).first.evaluate(background)
    assert drawn != page.locator("body").evaluate(background)


@pytest.mark.parametrize(
    ("path", "marked", "other"),
    [
        ("review", ".bar nav a[aria-current]", ".bar nav a:not([aria-current])"),
        ("review", ".kinds a[aria-current]", ".kinds a:not([aria-current])"),
        ("review", ".classes .likely", ".classes button:not(.likely)"),
        ("runs", ".places a[aria-current]", ".places a:not([aria-current])"),
    ],
)
def test_what_is_marked_is_so_where_a_system_takes_the_colours_away(
    path: str, marked: str, other: str, shop: Shop, reviewer
) -> None:
    page = reviewer().page
    page.goto(f"{shop.url}/{path}")
    if path == "runs":  # whose list of folders is there from the second on
        links = "<ul class=places><li><a href=/ aria-current=page>a</a> <a href=/>b</a></ul>"
        page.locator("main").evaluate(f"one => one.insertAdjacentHTML('beforeend', '{links}')")
    else:
        here(page)
    page.emulate_media(forced_colors="active")
    edge = "one => getComputedStyle(one).borderBottom + getComputedStyle(one).outline"
    drawn = [page.locator(one).first.evaluate(edge) for one in (marked, other)]
    assert drawn[0] != drawn[1]


def test_the_report_is_printed_whole_with_its_bars_and_without_its_links(
    tmp_path: Path, person: NewPerson
) -> None:
    report = tmp_path / "report.html"
    report.write_text("".join(render(NIGHT, [PHOTO] * 9, [PHOTO], [PHOTO])), encoding="utf-8")
    page = person().page
    page.goto(f"file://{report}")
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 688, "height": 1017})  # A4 within margins of 14 mm
    expect(page.get_by_role("navigation", include_hidden=True)).to_be_hidden()
    assert_fits(page)
    cut = "all => all.filter((one) => one.scrollWidth > one.clientWidth).length"
    assert page.locator(".wide, .card").evaluate_all(cut) == 0
    style = "one => [getComputedStyle(one).backgroundColor, getComputedStyle(one).printColorAdjust]"
    paper = page.locator("body").evaluate(style)[0]
    assert paper == "rgb(255, 255, 255)"
    for bar in page.locator(".bar, .track span").all():
        assert (bar.bounding_box() or {"width": 0})["width"] >= 1
        colour, adjust = bar.evaluate(style)
        assert colour != paper
        assert adjust == "exact"  # else a browser saves ink


def test_the_pages_are_open_to_all(shop: Shop, reviewer) -> None:
    page = reviewer().page
    press(page, "4")
    for shown in shown_in_turn(page):
        assert not faults_of(page), shown
        assert_fits(page)
    saved(page)
    page.goto(f"{shop.url}/runs")
    page.get_by_text("Right by true class").click()
    for shown in shown_in_turn(page):
        assert not faults_of(page), shown
        assert_fits(page)
