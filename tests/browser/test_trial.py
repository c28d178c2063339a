"""The page "Try it", as a person uses it."""

import base64
import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw
from playwright.sync_api import FilePayload, Locator, Page, Route, expect

from tests.browser.conftest import WORD, NewPerson, Person, assert_fits, faults_of, shown_in_turn
from tests.conftest import IMAGES, serving
from tests.pictures import encoded

NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8))
# Puts a picture into what a mouse drags.
DROP = """(base64) => {
    const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt());
    const dragged = new DataTransfer();
    dragged.items.add(new File([bytes], "dropped.png", { type: "image/png" }));
    return dragged;
}"""


def file(name: str, data: bytes, kind: str = "image/png") -> FilePayload:
    return {"name": name, "mimeType": kind, "buffer": data}


BOOT = file("boot.png", (IMAGES / "image_0_label_9.png").read_bytes())
SHIRT = file("shirt.png", (IMAGES / "image_4_label_6.png").read_bytes())


def choose(page: Page, *files: FilePayload) -> None:
    """Press the button, and choose files in the window that opens."""
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Choose photos").click()
    chooser.value.set_files(list(files))


def cards(page: Page) -> Locator:
    return page.get_by_role("main").get_by_role("listitem").filter(has=page.get_by_role("heading"))


@pytest.fixture
def ann(open_service: str, person: NewPerson) -> Person:
    """Somebody who looks at the page."""
    ann = person()
    ann.page.goto(open_service)
    return ann


def test_each_of_several_photos_gets_its_answer_in_the_order_given(ann: Person) -> None:
    choose(ann.page, BOOT, SHIRT, file("noise.png", encoded(NOISE)))
    expect(cards(ann.page).get_by_role("heading")).to_have_text(
        ["boot.png", "shirt.png", "noise.png"]
    )
    first, second, third = cards(ann.page).all()
    expect(first.get_by_role("strong")).to_have_text("Ankle boot")
    expect(first).to_contain_text("Accepted")
    expect(first.get_by_role("listitem").first).to_have_text("Ankle boot100.0 %")
    expect(first.get_by_role("listitem")).to_have_count(5)
    expect(first).to_contain_text("fashion-mnist@")
    expect(second).to_contain_text("Needs a look")
    expect(third).to_contain_text("photo@")
    for card in (first, second, third):
        for name in ("The photo", "The photo as the model sees it"):
            expect(card.get_by_role("img", name=name, exact=True)).to_have_js_property(
                "complete", True
            )
            assert card.get_by_role("img", name=name, exact=True).evaluate("i => i.naturalWidth")


def test_of_a_model_that_accepts_nothing_the_page_says_so(
    accepting_nothing: Path, person: NewPerson
) -> None:
    ann = person()
    with serving(GARMENTS_MODEL_DIR=str(accepting_nothing)) as (url, _):
        ann.page.goto(url)
        choose(ann.page, BOOT)
        expect(cards(ann.page)).to_contain_text("28×28 pixels, and accepts no answer.")
        expect(cards(ann.page)).to_contain_text("Needs a look")


def test_what_is_none_of_the_ten_is_called_so_before_the_likeliest_of_them(ann: Person) -> None:
    sheet = Image.new("RGB", (300, 300), "white")
    ImageDraw.Draw(sheet).ellipse((60, 100, 240, 200), fill="navy")
    choose(ann.page, file("spot.png", encoded(sheet)))
    card = cards(ann.page)
    expect(card.get_by_role("strong")).to_have_text("None of the ten")
    expect(card.get_by_role("listitem").first).to_contain_text("None of the ten")
    expect(card).to_contain_text("Needs a look")


def test_the_length_of_a_bar_is_the_confidence(ann: Person) -> None:
    choose(ann.page, SHIRT)
    rows = cards(ann.page).get_by_role("listitem")
    expect(rows).to_have_count(5)
    for row in rows.all():
        told = float(row.locator(".n").inner_text().removesuffix("%").strip()) / 100
        shares = row.locator(".track").evaluate(
            "t => t.firstElementChild.offsetWidth / t.offsetWidth"
        )
        assert shares == pytest.approx(told, abs=0.01)


def test_a_photo_is_dropped(ann: Person) -> None:
    dragged = ann.page.evaluate_handle(DROP, base64.b64encode(BOOT["buffer"]).decode())
    ann.page.dispatch_event("#zone", "dragover", {"dataTransfer": dragged})
    expect(ann.page.locator("#zone")).to_have_class("zone over")
    ann.page.dispatch_event("#zone", "drop", {"dataTransfer": dragged})
    expect(cards(ann.page)).to_contain_text("dropped.png")
    expect(cards(ann.page)).to_contain_text("Ankle boot")


def test_a_photo_is_pasted(ann: Person, open_service: str) -> None:
    ann.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=open_service)
    ann.page.evaluate("""async () => {
        const icon = document.querySelector(".brand img");
        const canvas = new OffscreenCanvas(28, 28);
        canvas.getContext("2d").drawImage(icon, 0, 0, 28, 28);
        const blob = await canvas.convertToBlob({ type: "image/png" });
        await navigator.clipboard.write([new ClipboardItem({ "image/png": blob })]);
    }""")
    ann.page.keyboard.press("Control+V")
    expect(cards(ann.page)).to_contain_text("fashion-mnist@")


def test_a_photo_is_taken_where_there_is_a_camera_to_hold(
    open_service: str, person: NewPerson
) -> None:
    page = person(360, touch=True).page
    page.goto(open_service)
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Take a photo").tap()
    assert chooser.value.element.get_attribute("capture") == "environment"
    chooser.value.set_files(BOOT)
    expect(cards(page)).to_contain_text("Ankle boot")


def test_an_unreadable_one_says_why_and_harms_no_other(ann: Person) -> None:
    choose(ann.page, file("notes.png", b"#!/bin/sh"), BOOT, file("half.png", encoded(NOISE)[:99]))
    first, second, third = cards(ann.page).all()
    expect(first).to_contain_text("Cannot be read")
    expect(first).to_contain_text("The file is not a picture of a type that is served")
    expect(second).to_contain_text("Ankle boot")
    expect(third).to_contain_text("Cannot be read")


@pytest.mark.parametrize("kind", ["HEIF", "TIFF"])
def test_what_the_browser_cannot_show_the_service_shows(kind: str, ann: Person) -> None:
    choose(ann.page, file("photo.bin", encoded(NOISE, kind), ""))
    expect(cards(ann.page)).to_contain_text("photo@")
    photo = cards(ann.page).get_by_role("img", name="The photo", exact=True)
    expect(photo).to_have_js_property("naturalWidth", NOISE.width)


def test_what_is_cut_out_lies_on_white_as_for_the_model(
    open_service: str, person: NewPerson
) -> None:
    page = person(dark=True).page
    page.goto(open_service)
    clear = Image.new("RGBA", (40, 60))
    choose(page, file("shirt.png", encoded(clear, "PNG")))
    shown = Image.open(io.BytesIO(page.get_by_alt_text("The photo", exact=True).screenshot()))
    assert shown.convert("RGB").getpixel((shown.width // 2, shown.height // 2)) == (255, 255, 255)


def test_a_name_is_text_and_never_markup(ann: Person) -> None:
    name = "<img src=x onerror=alert(1)>.png"
    choose(ann.page, file(name, BOOT["buffer"]))
    expect(cards(ann.page).get_by_role("heading")).to_have_text(name)
    expect(cards(ann.page)).to_contain_text("Ankle boot")


def test_even_markup_that_slipped_in_does_not_run(ann: Person) -> None:
    ann.provoked.add("Content Security Policy")
    ann.page.evaluate("""() => {
        document.body.insertAdjacentHTML("beforeend", "<b style='top: 9px' onclick='ran = 1'>b");
        document.body.append(Object.assign(document.createElement("script"), { text: "ran = 1" }));
        document.querySelector("body > b").click();
    }""")
    assert ann.page.evaluate("[typeof ran, document.querySelector('body > b').style.top]") == [
        "undefined",
        "",
    ]


def test_what_is_too_much_is_told_before_it_is_sent(both_models: Path, person: NewPerson) -> None:
    settings = {"GARMENTS_MODEL_DIR": str(both_models), "GARMENTS_MAX_REQUEST_BYTES": "100000"}
    with serving(**settings) as (url, _):
        page = person().page
        sent = []
        page.on("request", lambda request: sent.append(request.url))
        page.goto(url)
        choose(page, file("large.png", bytes(100_001)))
        expect(cards(page)).to_contain_text("Too large")
        expect(cards(page)).to_contain_text("It has 98 KiB: at most 97 KiB are taken")
        assert f"{url}/look" not in sent
        choose(page, *[file(f"{n}.png", BOOT["buffer"]) for n in range(30)])
        expect(cards(page)).to_have_count(25)
        expect(page.locator("#notices")).to_contain_text("At most 24 photos at a time")
        expect(page.locator("#notices")).to_contain_text("6 are left out")
        expect(page.locator("[aria-busy]")).to_have_count(0)
        assert sent.count(f"{url}/look") == 24


def test_a_photo_can_be_asked_for_again_when_the_service_was_away(ann: Person) -> None:
    ann.provoked.add("net::ERR_FAILED")
    ann.page.route("**/look", lambda route: route.abort())
    choose(ann.page, BOOT)
    expect(cards(ann.page)).to_contain_text("The service cannot be reached")
    ann.page.unroute("**/look")
    cards(ann.page).get_by_role("button", name="Try again").press("Enter")
    expect(cards(ann.page)).to_contain_text("Ankle boot")
    expect(cards(ann.page)).to_be_focused()  # whoever uses keys goes on from there


def test_a_file_that_is_gone_or_changed_since_it_was_chosen_is_told_as_that(
    ann: Person, tmp_path: Path
) -> None:
    ann.provoked.add("net::ERR_FAILED")
    gone, changed = tmp_path / "gone.png", tmp_path / "changed.png"
    for path in (gone, changed):
        path.write_bytes(BOOT["buffer"])
    ann.page.route("**/look", lambda route: route.abort())
    with ann.page.expect_file_chooser() as chooser:
        ann.page.get_by_role("button", name="Choose photos").click()
    chooser.value.set_files([gone, changed])
    expect(cards(ann.page).get_by_role("button", name="Try again")).to_have_count(2)
    ann.page.unroute("**/look")
    gone.unlink()
    changed.write_bytes(SHIRT["buffer"])
    os.utime(changed, (1, 1))
    for _ in range(2):
        cards(ann.page).get_by_role("button", name="Try again").first.click()
    for card in cards(ann.page).all():
        expect(card).to_contain_text("Cannot be read")
        expect(card).to_contain_text("It was moved, deleted or changed since, or is a folder")
        expect(card).to_contain_text("choose it again")


def test_a_folder_is_not_taken_for_a_service_that_is_away(ann: Person, tmp_path: Path) -> None:
    ann.provoked.add("net::ERR_FILE_NOT_FOUND")  # nor is it a picture to be shown
    data = {"items": [], "files": [str(tmp_path)], "dragOperationsMask": 1}
    devtools = ann.context.new_cdp_session(ann.page)
    for step in ("dragEnter", "dragOver", "drop"):
        event = {"type": step, "x": 600, "y": 250, "data": data}
        devtools.send("Input.dispatchDragEvent", event)
    expect(cards(ann.page)).to_contain_text("Cannot be read")
    expect(cards(ann.page)).to_contain_text("or is a folder")


def test_what_does_not_come_from_the_service_is_told_in_plain_words(ann: Person) -> None:
    ann.page.route(
        "**/look", lambda route: route.fulfill(content_type="text/html", body="<h1>Accept</h1>")
    )
    choose(ann.page, BOOT)
    expect(cards(ann.page)).to_contain_text(
        "What came is not the service's answer, or only a part of it."
    )
    ann.page.unroute("**/look")
    cards(ann.page).get_by_role("button", name="Try again").click()
    expect(cards(ann.page)).to_contain_text("Ankle boot")


def test_a_photo_that_hangs_is_told_and_can_be_asked_for_again(ann: Person) -> None:
    page = ann.page
    page.clock.install()
    page.route("**/look", lambda _: None)  # which is never answered
    choose(page, BOOT, SHIRT, BOOT)  # of which two are under way at once
    page.clock.run_for(59_000)
    expect(page.locator("[aria-busy]")).to_have_count(3)
    page.clock.run_for(2_000)
    late = cards(page).filter(has_text="The service did not answer in time.")
    expect(late).to_have_count(2)
    expect(page.get_by_role("status")).to_contain_text("No answer. The service did not answer")
    page.unroute("**/look")
    for _ in range(2):
        late.first.get_by_role("button", name="Try again").click()
    # What is answered is waited for, since the page's clock runs ahead of the service.
    for _ in range(2):
        expect(cards(page).filter(has_text="Accepted")).to_have_count(2)
        expect(cards(page).filter(has_text="Needs a look")).to_have_count(1)
        page.clock.run_for(61_000)


def test_a_photo_may_be_long_under_way_on_a_slow_line(ann: Person) -> None:
    page = ann.page
    page.add_init_script("""
        const { send } = XMLHttpRequest.prototype;
        XMLHttpRequest.prototype.send = function (body) {
            globalThis.sent = this;
            send.call(this, body);
        };
    """)
    page.reload()
    page.clock.install()
    page.route("**/look", lambda _: None)
    choose(page, BOOT)
    for _ in range(5):
        page.clock.run_for(40_000)
        page.evaluate("sent.upload.dispatchEvent(new ProgressEvent('progress'))")
    expect(page.locator("[aria-busy]")).to_have_count(1)
    page.clock.run_for(61_000)
    expect(cards(page)).to_contain_text("The service did not answer in time.")


def test_of_what_was_cleared_while_it_was_under_way_nothing_is_said(ann: Person) -> None:
    page = ann.page
    held: list[Route] = []
    page.route("**/look", lambda route: held.append(route))
    choose(page, BOOT, SHIRT)
    expect(page.locator("[aria-busy]")).to_have_count(2)
    page.wait_for_timeout(200)
    page.get_by_role("button", name="Clear all").click()
    said = page.get_by_role("status")
    expect(said).to_have_text("All answers are cleared.")
    with page.expect_response("**/look"):
        held[0].continue_()
    held[1].abort()
    ann.provoked.add("net::ERR_FAILED")
    page.wait_for_timeout(500)
    expect(said).to_have_text("All answers are cleared.")


def test_whose_sign_in_has_ended_is_told_so(closed_service: str, person: NewPerson) -> None:
    ann = person()
    ann.provoked.add("status of 401")
    ann.sign_in(closed_service, token=WORD)
    ann.context.clear_cookies()
    choose(ann.page, BOOT)
    cards(ann.page).get_by_role("link", name="Sign in").click()
    expect(ann.page.get_by_label("Token")).to_be_visible()


def test_whose_page_is_out_of_date_can_load_it_again(ann: Person) -> None:
    ann.provoked.add("status of 403")
    ann.context.clear_cookies()
    choose(ann.page, BOOT)
    expect(cards(ann.page)).to_contain_text("This page is out of date")
    with ann.page.expect_navigation():
        cards(ann.page).get_by_role("button", name="Load the page again").click()
    choose(ann.page, BOOT)
    expect(cards(ann.page)).to_contain_text("Accepted")


def test_all_is_done_by_keyboard_and_said_aloud(ann: Person) -> None:
    said = ann.page.get_by_role("status")
    ann.page.keyboard.press("Tab")
    expect(ann.page.get_by_role("link", name="Skip to the content")).to_be_focused()
    ann.page.keyboard.press("Enter")
    ann.page.keyboard.press("Tab")
    expect(ann.page.get_by_role("button", name="Choose photos")).to_be_focused()
    with ann.page.expect_file_chooser() as chooser:
        ann.page.keyboard.press("Enter")
    chooser.value.set_files(BOOT)
    expect(said).to_contain_text("boot.png: Ankle boot, 100.0 %. Accepted.")
    ann.page.keyboard.press("Tab")
    expect(ann.page.get_by_role("button", name="Clear all")).to_be_focused()
    ann.page.keyboard.press("Enter")
    expect(cards(ann.page)).to_have_count(0)
    expect(said).to_have_text("All answers are cleared.")
    expect(ann.page.get_by_role("button", name="Choose photos")).to_be_focused()


def test_axe_finds_nothing_and_all_fits(open_service: str, person: NewPerson) -> None:
    page = person().page
    page.goto(open_service)
    choose(page, BOOT, SHIRT, file(f"{'long name ' * 20}.png", b"#!/bin/sh"))
    expect(page.locator("[aria-busy]")).to_have_count(0)
    expect(cards(page)).to_have_count(3)
    for shown in shown_in_turn(page):
        assert not faults_of(page), shown
        assert_fits(page)
