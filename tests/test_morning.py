import base64
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2_contingency

from garments.dataset import LABELS
from garments.morning import homogeneity, page
from garments.morning.drift import THRESHOLD, Shift, shift
from garments.morning.homogeneity import _missed
from garments.morning.moved import Moved
from garments.morning.page import Photo, Summary, Tally, render
from tests.hostile import BOOT as PNG

JPEG = b"\xff\xd8\xff\xe0 and so on"
MIX = np.array([0.14, 0.12, 0.11, 0.1, 0.09, 0.09, 0.12, 0.1, 0.08, 0.05])
SURE = np.linspace(0.1, 1, 20) ** 6 / (np.linspace(0.1, 1, 20) ** 6).sum()
VOID = {"meta", "img", "link", "br", "rect", "path", "circle", "polyline"}
ODD = "\x00\r\n\t\x7f\x9b\u061c\u200e\u2028\u202e\u2066\udcff\ud800"


class Page(HTMLParser):
    """What a browser makes of a page: its elements and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag
        if tag in {"td", "th", "dt", "dd", "span"}:  # what is apart on the page, without a space
            self.text += " "

    def handle_data(self, data: str) -> None:
        if "style" not in self._open:
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def shape(self) -> list[tuple[str, list[str]]]:
        return [(tag, list(attributes)) for tag, attributes in self.elements]

    @property
    def words(self) -> str:
        return " ".join(self.text.split())


def counts(shares: Sequence[float], photos: int) -> tuple[int, ...]:
    return tuple(round(share * photos) for share in shares)


def tally(number: int = 1, mix: Sequence[float] = tuple(MIX)) -> Tally:
    return Tally(f"2025-03-{number:02}", counts(mix, 2_000), counts(tuple(SURE), 2_000))


NIGHT = Summary(
    started=datetime(2025, 3, 20, 2, 30, tzinfo=timezone.utc),
    seconds=100,
    directory="/srv/photos",
    table="tonight.csv",
    model="fashion-mnist@2c967a5e671a",
    labels=LABELS,
    found=2_010,
    accepted=1_700,
    review=300,
    unreadable=7,
    left=3,
    posted=1_500,
    mismatched=2,
    slips_without_photo=4,
    classes=counts(tuple(MIX), 2_000),
    confidences=counts(tuple(SURE), 2_000),
    tally=tally(20),
    earlier=tuple(tally(number) for number in range(1, 20)),
)
NOTHING = replace(
    NIGHT,
    **dict.fromkeys(("found", "accepted", "review", "unreadable", "left", "posted"), 0),
    mismatched=0,
    classes=(0,) * 10,
    confidences=(0,) * 20,
    tally=Tally("2025-03-20", (0,) * 10, (0,) * 20),
    earlier=(),
)
PHOTO = Photo("a.png", "Shirt", 0.5, "Coat", "it is cut off", (("Shirt", 0.5), ("Coat", 0.4)), PNG)


def page_of(night: Summary = NIGHT, photos: Sequence[Photo] = (PHOTO,), most: int = 200) -> Page:
    html = "".join(render(night, photos, photos, photos, most))
    assert html.encode().decode() == html
    return Page(html)


@pytest.fixture(autouse=True)
def _somewhere_else(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The template is found from wherever the client was started."""
    monkeypatch.chdir(tmp_path)


def photo_of(text: str) -> Photo:
    return Photo(text, text, 0.5, text, text, ((text, 0.5), (text, 0.4)), PNG)


SHAPE = page_of(photos=[photo_of("x")]).shape


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=("Cc", "Cf", "Cs", "Zl", "Zp")), min_size=1))
def test_any_text_is_found_as_it_was_and_adds_no_tag(text: str) -> None:
    page = page_of(photos=[photo_of(text)])
    assert page.shape == SHAPE
    # As filename of all lists, slip of two, label of two, second label, and reason.
    assert page.text.count(text) >= 9
    assert [img["alt"] for img in page.all("img")] == [f"photo, answered {text}"] * 2


@settings(deadline=None)
@given(st.text(st.characters() | st.sampled_from("<>&\"'" + ODD), min_size=1))
def test_any_text_at_all_can_be_encoded_and_adds_no_tag(text: str) -> None:
    night = replace(NIGHT, directory=text, model=text, labels=(text, *LABELS[1:]))
    page = page_of(night, [photo_of(text)])
    assert page.shape == SHAPE
    assert not set(ODD.replace("\n", "")) & set(page.text)


def test_what_cannot_be_shown_is_escaped_as_in_the_table() -> None:
    assert r"a\nb\udcff\u202egnp.png" in page_of(photos=[photo_of("a\nb\udcff\u202egnp.png")]).text


def test_the_page_loads_nothing_and_runs_nothing() -> None:
    html = "".join(render(NIGHT, [PHOTO], [PHOTO], [PHOTO]))
    page = Page(html)
    assert not re.search(r"https?://|@import|url\(|javascript:", html)
    assert not {"script", "link", "iframe", "object", "base", "form"} & {t for t, _ in page.shape}
    assert not [name for _, names in page.shape for name in names if name.startswith("on")]
    assert all(str(img["src"]).startswith("data:image/png;base64,") for img in page.all("img"))
    assert all(str(link["href"]).startswith("#") for link in page.all("a"))
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    assert policy in [meta.get("content") for meta in page.all("meta")]


def test_the_page_can_be_read_by_ear_and_by_keyboard() -> None:
    page = page_of()
    tags = [tag for tag, _ in page.elements]
    assert tags.count("h1") == 1
    assert tags.count("table") == tags.count("caption") == 5
    assert all(cell.get("scope") in ("row", "col") for cell in page.all("th"))
    assert all(img["alt"] for img in page.all("img"))
    assert all(svg.get("aria-label") or svg.get("aria-hidden") for svg in page.all("svg"))
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {str(link["href"])[1:] for link in page.all("a")} <= set(ids)
    assert page.all("html") == [{"lang": "en"}]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_colours_are_told_apart_by_weak_eyes(theme: str) -> None:
    text = Path(page.__file__).with_suffix(".html").read_text(encoding="utf-8")
    themes = re.findall(r":root \{(.*?)\}", text, flags=re.DOTALL)
    colours = dict(re.findall(r"--([a-z-]+): (#\w+);", themes[theme == "dark"]))
    # 4.5 for text and 3 for graphics: WCAG 2.2, success criteria 1.4.3 and 1.4.11, level AA.
    for name, ground, least in (
        *((name, ground, 4.5) for name in ("ink", "soft", "link") for ground in ("paper", "card")),
        *(("ink", "warn", 4.5), ("link", "warn", 4.5), ("soft", "track", 4.5)),
        *(("bar", "paper", 3), ("bar", "track", 3), ("before", "paper", 3), ("before", "bar", 3)),
    ):
        lower, higher = sorted(luminance(colours[key]) for key in (name, ground))
        assert (higher + 0.05) / (lower + 0.05) >= least, (name, ground)


def luminance(colour: str) -> float:
    """As WCAG 2.2 defines it, of `#rgb` or `#rrggbb`."""
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    values = [int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)]
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in values]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize(("data", "kind"), [(PNG, "png"), (JPEG, "jpeg")])
def test_a_thumbnail_is_told_by_its_content(data: bytes, kind: str) -> None:
    (image, _) = page_of(photos=[replace(PHOTO, thumbnail=data)]).all("img")
    how, _, told = str(image["src"]).partition(",")
    assert (how, base64.b64decode(told)) == (f"data:image/{kind};base64", data)
    assert ("coarse" in str(image["class"])) == (kind == "png")


@pytest.mark.parametrize(("width", "coarse"), [(63, True), (64, False), (256, False)])
def test_a_thumbnail_of_few_pixels_is_shown_with_each_of_them(width: int, coarse: bool) -> None:
    data = PNG[:16] + width.to_bytes(4, "big") + PNG[20:]
    (image, _) = page_of(photos=[replace(PHOTO, thumbnail=data)]).all("img")
    assert ("coarse" in str(image["class"])) == coarse


@pytest.mark.parametrize("data", [None, b"", b"GIF89a", b"<svg onload='alert(1)'/>", PNG[:7]])
def test_what_is_no_png_or_jpeg_is_not_shown(data: bytes | None) -> None:
    page = page_of(photos=[replace(PHOTO, thumbnail=data)])
    assert not page.all("img")
    assert page.text.count("no preview") == 2


def test_the_first_lines_say_what_became_of_every_photo() -> None:
    words = page_of().words
    assert "Returned clothes, Thursday 20 March 2025" in words
    assert (
        "2,010 found = 1,700 accepted + 300 for review + 7 unreadable + 3 still being written "
        "No shift beyond chance and the habit of the nights was found. Started"
    ) in words
    assert "02:30 UTC, took 1 min 40 s until the table was written" in words
    assert "1,500 photos, 15.0 a second" in words
    assert "507 photos, known already" in words
    assert "fashion-mnist@2c967a5e671a" in words


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(31.24, "31.2 s"), (59.96, "1 min 0 s"), (754.9, "12 min 35 s"), (11_105, "3 h 5 min")],
)
def test_a_time_is_told_as_people_tell_it(seconds: float, told: str) -> None:
    assert f"took {told} until " in page_of(replace(NIGHT, seconds=seconds)).words


def test_a_sum_that_does_not_come_out_is_told_first() -> None:
    words = page_of(replace(NIGHT, found=2_011)).words
    assert "2,011 found ≠ 1,700 accepted" in words
    assert "Look at this first The sum does not come out. 2,011 photos were found" in words


def of_new(readable: int) -> Tally:
    return Tally("2025-03-20", (readable, *[0] * 9), (*[0] * 19, readable))


@pytest.mark.parametrize(
    ("night", "told"),
    [
        (replace(NOTHING, found=3, unreadable=3), "No photo could be read. 3 of 3 photos found"),
        (
            replace(NOTHING, found=13, unreadable=10, left=3),
            "No photo could be read. 10 of 10 photos found",
        ),
        (
            replace(NIGHT, found=2_120, unreadable=120, left=0),
            "Many photos could not be read. 120 of 2,120 photos found could not: a camera",
        ),
        (
            replace(NIGHT, found=2_013, unreadable=10, unreadable_new=10, tally=of_new(150)),
            "Many photos could not be read. 10 of 160 photos that had no answer yet could not: a",
        ),
        (
            replace(NIGHT, found=2_013, unreadable=10, unreadable_new=10, tally=of_new(0)),
            "No photo could be read. 10 of 10 photos that had no answer yet could not",
        ),
    ],
)
def test_many_unreadable_photos_are_told_first(night: Summary, told: str) -> None:
    page = page_of(night)
    first = page.words.partition("Look at this first")[2].partition("Started")[0]
    assert told in first
    assert "See which, and why" in first
    assert {"href": "#unreadable"} in page.all("a")[:2]


@pytest.mark.parametrize(
    "few",
    [
        {"found": 21, "accepted": 9, "review": 0, "unreadable": 9},  # though it is half of them
        {"found": 2_108, "unreadable": 105},
        {"unreadable_new": 9, "tally": of_new(10)},
        {"unreadable_new": 50, "tally": of_new(950)},
    ],
)
def test_a_few_unreadable_photos_are_no_warning(few: dict[str, Any]) -> None:
    assert "could not be read" not in page_of(replace(NIGHT, **few)).words


def test_classes_and_confidences_are_counted_in_words() -> None:
    words = page_of().words
    assert "T-shirt/top 280 14.0 %" in words
    assert f"95–100 % {NIGHT.confidences[-1]} " in words
    assert words.index("95–100 %") < words.index("90–95 %")  # the surest first


def test_the_longest_bar_has_all_the_room() -> None:
    rows = (replace(NIGHT, classes=(40, 20, *[0] * 8), confidences=(0,) * 20), [], [], [])
    lengths = [bar["style"] for bar in Page("".join(render(*rows))).all("span") if "style" in bar]
    assert lengths == ["--of: 1.0000", "--of: 0.5000"]


def test_of_a_long_list_as_much_is_shown_as_was_asked_for() -> None:
    taken = []

    def photos() -> Iterator[Photo]:
        for number in range(500):
            taken.append(number)
            yield replace(PHOTO, filename=f"photo-{number}.png")

    night = replace(NIGHT, found=2_210, review=500)
    page = Page("".join(render(night, photos(), [], [])))
    assert page.text.count("photo-") == len(taken) == 200
    assert "300 more are in tonight.csv: review in the column decision." in page.words


def test_a_list_that_is_shown_whole_leaves_nothing_out() -> None:
    night = replace(NIGHT, review=1, unreadable=1, mismatched=1, found=1_705)
    assert "more" not in re.sub(r"90 % or more|more than", "", page_of(night).words)


def test_a_wrong_item_stands_with_its_slip_and_its_answer() -> None:
    words = Page("".join(render(NIGHT, [], [], [PHOTO]))).words
    assert "a.png Slip Coat Photo Shirt Sure 50.0 %" in words


def test_a_doubtful_photo_stands_with_its_likeliest_classes() -> None:
    words = Page("".join(render(NIGHT, [PHOTO], [], []))).words
    assert "a.png Shirt 50.0 % Coat 40.0 % Slip: Coat" in words


def test_an_unreadable_file_stands_with_its_reason() -> None:
    words = Page("".join(render(NIGHT, [], [Photo("b.png", problem="it is empty")], []))).words
    assert "File Why b.png it is empty" in words


def test_a_night_of_nothing_says_so() -> None:
    words = page_of(NOTHING, []).words
    for phrase in (
        "0 found = 0 accepted",
        "There is too little to tell yet whether anything has shifted.",
        "No photo was given a class.",
        "No photo was given a confidence.",
        "No answer differs from its return slip.",
        "No photo waits for a review.",
        "No file is unreadable.",
        "Too little to compare: there is no such night yet.",
    ):
        assert phrase in words


@pytest.mark.parametrize(
    ("nights", "told"),
    [
        (1, "So few nights do not tell how much they usually differ. Compare the nights"),
        (4, "So few nights do not tell how much they usually differ. Compare the nights"),
        (5, "So few nights show only what is glaring. Compare the nights"),
        (9, "So few nights show only what is glaring. Compare the nights"),
        (10, ""),
    ],
)
def test_of_few_nights_it_is_said_how_little_they_show(nights: int, told: str) -> None:
    words = page_of(replace(NIGHT, earlier=NIGHT.earlier[:nights])).words
    assert "No shift beyond chance and the habit of the nights was found." in words
    assert told in words
    assert bool(told) == ("So few nights" in words)


NO_NEW = replace(NIGHT, tally=of_new(0), found=NIGHT.found - NIGHT.left, left=0)


def test_a_night_without_new_photos_shows_no_collapse() -> None:
    page = page_of(NO_NEW)
    assert "No photo is new since the last report, which the service's page /runs" in page.words
    assert "too little to tell" not in page.words
    assert "T-shirt/top – 14.0 % –" in page.words
    assert "95–100 % – 28.3 % –" in page.words
    assert "of the new answers" not in page.words
    assert not page.all("circle")
    assert {len((line["points"] or "").split()) for line in page.all("polyline")} == {19}
    assert "Each line starts at the first night and ends with the last before tonight" in page.words


ONLY_UNREADABLE = replace(NO_NEW, unreadable_new=1)
ONLY_LEFT = replace(NO_NEW, found=NIGHT.found, left=NIGHT.left)


@pytest.mark.parametrize("night", [NOTHING, ONLY_UNREADABLE, ONLY_LEFT])
def test_a_night_that_no_other_has_told_of_is_not_called_the_same(night: Summary) -> None:
    assert "No photo is new" not in page_of(night).words


def test_a_single_photo_is_one() -> None:
    night = replace(NIGHT, found=5, posted=1, left=3)
    words = page_of(replace(night, tally=of_new(1))).words
    assert "New: 1 photo." in words
    assert "1 photo, 0.0 a second" in words
    assert "1 photo, known already" in words


def test_what_is_surely_none_of_the_classes_is_shown_as_that_first() -> None:
    top = (("Bag", 0.004), ("Coat", 0.003), ("Shirt", 0.001))
    words = Page("".join(render(NIGHT, [replace(PHOTO, top=top)], [], []))).words
    assert "a.png None of the ten, at least 98.5 % Bag 0.4 % Coat 0.3 % Shirt 0.1 % Slip" in words


@pytest.mark.parametrize(
    ("count", "told"),
    [
        (0, "else by the model Class"),
        (1, "else by the model, also where it finds none of the ten likelier (1 photo) Class"),
        (34, "else by the model, also where it finds none of the ten likelier (34 photos) Class"),
    ],
)
def test_what_counts_as_a_class_though_none_is_likelier_is_told(count: int, told: str) -> None:
    assert told in page_of(replace(NIGHT, none_likelier=count)).words


def test_the_page_says_where_photos_are_looked_at() -> None:
    told = "300 photos for a person to look at, at the service's page /review; the most doubtful"
    assert told in page_of().words


def test_a_shift_is_told_first_with_what_moved_most() -> None:
    more_bags = MIX * 0.9 + 0.1 * (np.arange(10) == 8)
    words = page_of(replace(NIGHT, tally=tally(20, tuple(more_bags)))).words
    assert "The mix of classes has shifted, by more than chance explains. Bag: 17.2 %" in words
    assert "of the new photos, 8.0 % before" in words
    assert "Shifted: p < 0.0001, against 19 nights before. Pearson’s chi-squared test" in words
    assert f"p < {THRESHOLD}: were nights all alike, at most about one comparison in 1,000" in words
    assert "The confidence has shifted" not in words
    assert "T-shirt/top 12.6 % 14.0 % −1.4" in words
    assert "Bag 17.2 % 8.0 % +9.2" in words
    assert "95–100 % 28.3 % 28.3 % 0.0" in words


def test_of_all_that_moved_the_three_that_did_most_are_named() -> None:
    moved = Moved("abcd", [300, 100, 250, 350], [[250, 250, 250, 250]])
    assert [change.name for change in moved.farthest] == ["b", "d", "a"]
    moved = Moved("abcde", [100, 200, 300, 400, 500], [[500, 400, 300, 200, 100]])
    assert [change.name for change in moved.farthest] == ["a", "e", "b"]


def test_of_many_nights_of_one_class_no_excuse_is_made_for_a_shift() -> None:
    def only(sneakers: int, bags: int) -> Tally:
        return replace(tally(), classes=(*[0] * 7, sneakers, bags, 0))

    night = replace(NIGHT, tally=only(1_500, 500), earlier=(only(2_000, 0),) * 28)
    words = page_of(night).words
    assert (
        "Sneaker: 75.0 % of the new photos, 100.0 % before; Bag: 25.0 % of the new photos" in words
    )
    assert "Bag: 25.0 % of the new photos, 0.0 % before. Compare the nights" in words
    assert "known from the fourth night on" not in words
    assert "since all their photos are of one kind" in words
    words = page_of(replace(night, earlier=night.earlier[:2])).words
    assert "0.0 % before. With so few nights before, it may be nothing" in words
    assert "known from the fourth night on" in words


def test_a_night_before_that_was_odd_is_named() -> None:
    earlier = list(NIGHT.earlier)
    earlier[4] = tally(5, tuple(moved(0.6, 8)))
    words = page_of(replace(NIGHT, earlier=tuple(earlier))).words
    told = "Of the nights before, that of 2025-03-05 differed from the others too."
    assert words.count(told) == 1
    words = page_of(replace(NIGHT, earlier=tuple(earlier), tally=tally(20, moved(0.1, 9)))).words
    assert words.count(told) == 2
    assert "differ in the same way, without the night farthest from the others (F test)" in words
    assert "differed" not in page_of().words


@pytest.mark.parametrize(
    ("models", "told"),
    [
        (["older@1"] * 3, "3 of the nights before were answered by another model"),
        (["older@1", NIGHT.model], "1 of the nights before was answered by another model"),
        ([NIGHT.model, None], ""),
    ],
)
def test_a_shift_after_a_change_of_model_is_not_laid_to_the_photos_alone(
    models: list[str | None], told: str
) -> None:
    earlier = [replace(tally(day), model=model) for day, model in enumerate(models, start=1)]
    unsure = replace(tally(20), confidences=(100,) * 20)
    words = page_of(replace(NIGHT, tally=unsure, earlier=(*earlier, *NIGHT.earlier[3:]))).words
    assert "The confidence has shifted" in words
    # In the warning, and in the verdict on classes and that on confidence.
    assert words.count(f"{told}, which alone can shift this.") == (3 if told else 0)
    assert ("another model" in words) == bool(told)


def test_a_shift_of_confidence_is_told_in_sure_answers() -> None:
    unsure = replace(tally(20), confidences=(100,) * 20)
    words = page_of(replace(NIGHT, tally=unsure, earlier=NIGHT.earlier[:2])).words
    assert "The confidence has shifted" in words
    assert "10.0 % of the new answers are at 90 % or more" in words
    assert "With so few nights before, it may be nothing out of the ordinary." in words


@pytest.mark.parametrize(
    "counted", [{"classes": (2_000, *[0] * 9)}, {"confidences": (2_000, *[0] * 19)}]
)
def test_where_one_of_both_cannot_be_compared_no_shift_is_ruled_out(
    counted: dict[str, Any],
) -> None:
    earlier = tuple(replace(each, **counted) for each in NIGHT.earlier)
    words = page_of(replace(NIGHT, tally=replace(NIGHT.tally, **counted), earlier=earlier)).words
    assert "There is too little to tell yet whether anything has shifted." in words
    assert "No shift beyond chance" not in words


@pytest.mark.parametrize(
    "other",
    [
        Tally("2025-02-01", (2_000,) * 3, (100,) * 20),
        Tally("2025-02-01", counts(tuple(MIX), 2_000), (200,) * 10),
        Tally("2025-02-01", (49, *[0] * 9), (*[0] * 19, 49)),
    ],
    ids=["classes", "bins", "few photos"],
)
def test_nights_of_other_classes_and_of_few_photos_are_passed_over(other: Tally) -> None:
    page = page_of(replace(NIGHT, earlier=(other, *NIGHT.earlier)))
    assert "Before: 19 nights, from 2025-03-01 to 2025-03-19" in page.words


@pytest.mark.parametrize(
    "wrong",
    [
        {"classes": (1,) * 9},
        {"confidences": (1,) * 10},
        {"tally": Tally("2025-03-20", (1,) * 11, (1,) * 20)},
        {"tally": Tally("2025-03-20", (1,) * 10, (1,) * 19)},
    ],
)
def test_counts_that_do_not_fit_are_refused_at_once(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="label|bins"):
        render(replace(NIGHT, **wrong), [], [], [])


Draw = Callable[[np.random.Generator, Any, int], Any]


def alike(random: np.random.Generator, shares: Any, photos: int) -> Any:
    return random.multinomial(photos, shares)


def varied(random: np.random.Generator, shares: Any, photos: int) -> Any:
    """Every share has its ups and downs."""
    return random.multinomial(photos, random.dirichlet(500 * shares))


def tilted(random: np.random.Generator, shares: Any, photos: int) -> Any:
    """All shares have them together, as when a night's light is poor."""
    tilt = shares * np.exp(0.3 * random.standard_normal() * np.linspace(-1, 1, len(shares)))
    return random.multinomial(photos, tilt / tilt.sum())


def clumped(random: np.random.Generator, shares: Any, photos: int) -> Any:
    """Every item comes five times."""
    return 5 * random.multinomial(max(photos // 5, 1), shares)


def flagged(draw: Draw, shares: Any, tonight: Any, nights: int, sizes: float, runs: int) -> float:
    """How often a night of `tonight`'s shares is called shifted, after nights of `shares`."""
    random = np.random.default_rng(0)
    hits = 0
    for _ in range(runs):
        photos = (2_000 * np.exp(sizes * random.standard_normal(nights + 1))).astype(int)
        earlier = [draw(random, shares, count).tolist() for count in photos[1:]]
        found = shift(draw(random, tonight, photos[0]).tolist(), earlier)
        hits += found is not None and found.shifted
    return hits / runs


@pytest.mark.parametrize("nights", [3, 14, 30])
@pytest.mark.parametrize("shares", [MIX, SURE], ids=["classes", "confidence"])
@pytest.mark.parametrize("draw", [alike, varied, tilted, clumped])
def test_nights_that_differ_as_always_are_not_flagged(draw: Draw, shares: Any, nights: int) -> None:
    assert flagged(draw, shares, shares, nights, 0.5, runs=1_000) < 0.01


@pytest.mark.parametrize("times", [3, 10])
def test_a_night_of_many_times_the_photos_is_not_flagged_for_that(times: int) -> None:
    random = np.random.default_rng(0)
    hits = 0
    for _ in range(1_000):
        sizes = [times * 300, *random.integers(150, 450, 30)]
        rows = [random.multinomial(size, random.dirichlet(300 * MIX)) for size in sizes]
        found = shift(rows[0], rows[1:])
        hits += found is not None and found.shifted
    assert hits <= 3  # of which one is expected


@pytest.mark.parametrize("nights", [1, 2])
def test_the_first_nights_are_not_flagged_if_they_are_alike(nights: int) -> None:
    assert flagged(alike, MIX, MIX, nights, 0.5, runs=500) < 0.01


@pytest.mark.parametrize(
    ("draw", "nights"), [(alike, 1), (alike, 2), (alike, 7), (alike, 30), (varied, 30)]
)
def test_ten_points_more_of_one_class_are_flagged(draw: Draw, nights: int) -> None:
    more_boots = MIX * (1 - 0.1 / 0.95)
    more_boots[9] += 0.1 / 0.95
    assert more_boots[9] == pytest.approx(0.15)
    more_boots /= more_boots.sum()
    assert flagged(draw, MIX, more_boots, nights, 0.0, runs=100) > 0.95


def moved(by: float, place: int) -> Any:
    """The usual mix with a larger share of one class."""
    shares = MIX * (1 - by / (1 - MIX[place]))
    shares[place] = MIX[place] + by
    return shares / shares.sum()


@pytest.mark.parametrize(("nights", "odd"), [(14, 1), (30, 1), (30, 2)])
def test_odd_nights_do_not_hide_the_next(nights: int, odd: int) -> None:
    random = np.random.default_rng(0)
    hits = 0
    for _ in range(50):
        earlier = [alike(random, MIX, 2_000) for _ in range(nights)]
        for place in range(3, 3 + odd):
            earlier[place] = alike(random, moved(0.6, 8), 2_000)
        found = shift(alike(random, moved(0.1, 9), 2_000), earlier)
        assert found is not None
        assert found.odd == tuple(range(3, 3 + odd))
        hits += found.shifted
    assert hits >= 48


def test_nights_that_differ_as_always_are_not_odd() -> None:
    random = np.random.default_rng(0)
    odd = 0
    for _ in range(500):
        found = shift(MIX * 2_000, [clumped(random, MIX, 2_000) for _ in range(30)])
        assert found is not None
        odd += bool(found.odd)
    assert odd <= 2  # the farthest of thirty is far more often than one of a thousand


def test_a_lasting_fault_is_told_for_three_nights() -> None:
    random = np.random.default_rng(0)
    for _ in range(50):
        for bad in range(3):
            earlier = [alike(random, MIX, 2_000) for _ in range(30 - bad)]
            earlier += [alike(random, moved(0.3, 8), 2_000) for _ in range(bad)]
            found = shift(alike(random, moved(0.3, 8), 2_000), earlier)
            assert found is not None
            assert found.shifted


@pytest.mark.parametrize("tilt", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("days", [1, 2])
def test_what_comes_every_week_is_not_flagged(days: int, tilt: float) -> None:
    random = np.random.default_rng(0)
    other = MIX * np.exp(tilt * np.linspace(-1, 1, len(MIX)))
    mixes = [MIX] * (7 - days) + [other / other.sum()] * days
    nights = [
        alike(random, mixes[night % 7], int(2_000 * np.exp(0.3 * random.standard_normal())))
        for night in range(350)
    ]
    found = [shift(nights[night], nights[max(0, night - 30) : night]) for night in range(14, 350)]
    assert sum(one is not None and one.shifted for one in found) <= 1


@pytest.mark.parametrize("freedom", [1, 9, 19])
def test_what_is_left_out_is_made_up_for(freedom: int) -> None:
    far = np.sort(np.random.default_rng(0).chisquare(freedom, (20_000, 28)))
    whole = far[:, :-2].mean() * _missed(2 / 28, freedom)
    assert whole == pytest.approx(freedom, rel=0.05)


def test_two_nights_before_are_few_and_three_are_not() -> None:
    assert [Shift(0.5, nights, None).few for nights in (2, 3)] == [True, False]


def test_two_nights_are_compared_by_pearsons_test() -> None:
    tonight, before = [30, 40, 50], [60, 50, 45]
    found = shift(tonight, [before])
    assert found is not None
    assert found.p == pytest.approx(chi2_contingency([tonight, before], correction=False).pvalue)
    assert (found.nights, found.dispersion) == (1, None)


@pytest.mark.parametrize("odd", [False, True])
def test_of_two_tests_the_smaller_p_counts_twice(
    odd: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(0)
    earlier = [alike(random, MIX, 2_000) for _ in range(14)]
    if odd:
        earlier[4] = alike(random, moved(0.6, 8), 2_000)
    tonight = alike(random, moved(0.01, 9), 2_000)
    found, past = shift(tonight, earlier), np.array(earlier, float)
    left_out = homogeneity._farthest(past)
    kept = np.delete(past, left_out, axis=0)
    without, _ = homogeneity._without_odd(tonight.astype(float), kept, left_out)
    monkeypatch.setattr(homogeneity, "_farthest", lambda _: [])
    with_all = shift(tonight, earlier)
    assert found is not None
    assert with_all is not None
    assert (without < with_all.p) == odd
    assert found.p == pytest.approx(2 * min(without, with_all.p))


def test_the_dispersion_is_that_of_a_night_of_as_many_photos() -> None:
    random = np.random.default_rng(0)
    earlier = [varied(random, MIX, 2_000).tolist() for _ in range(200)]
    for photos, expected in ((2_000, 1 + 1_999 / 501), (10_000, 1 + 9_999 / 501)):
        found = shift(counts(tuple(MIX), photos), earlier)
        assert found is not None
        assert found.dispersion == pytest.approx(expected, rel=0.15)


def test_a_class_that_was_never_there_is_flagged() -> None:
    for nights in (1, 5):
        found = shift([1_800, 100, 100], [[1_900, 100, 0]] * nights)
        assert found is not None
        assert found.shifted
    found = shift([1_000, 1_000], [[2_000, 0]] * 5)
    assert found is not None
    assert found.shifted


def test_rare_classes_are_counted_together() -> None:
    apart = shift([1_000, 996, 1, 1, 1, 1], [[2_000, 1_990, 3, 3, 3, 1]])
    together = shift([1_000, 1_000], [[2_000, 2_000]])
    assert apart is not None
    assert together is not None
    # The four rare classes are not yet five photos tonight: they join the rarer of the others.
    assert apart.p == pytest.approx(together.p)


@pytest.mark.parametrize(
    ("tonight", "earlier"),
    [
        ([1_000, 1_000], []),
        ([1_000, 1_000], [[0, 0]]),
        ([1_000, 1_000], [[24, 25]]),
        ([24, 25], [[1_000, 1_000]]),
        ([1_000, 0], [[1_000, 0]]),
        ([1_000, 2], [[1_000, 1]]),
    ],
)
def test_too_little_is_not_compared(tonight: list[int], earlier: list[list[int]]) -> None:
    assert shift(tonight, earlier) is None


def test_fifty_photos_are_enough_to_be_compared() -> None:
    assert shift([25, 25], [[24, 26]]) is not None


def test_five_photos_that_are_expected_of_a_class_are_enough() -> None:
    assert shift([5, 45], [[5, 45]]) is not None
    assert shift([4, 46], [[5, 45]]) is None


NUMBERS = st.sampled_from([0, 0, 1, 5, 50, 1_000, 10**6]) | st.integers(0, 10**9)
ROWS = st.integers(1, 6).flatmap(
    lambda width: st.lists(st.lists(NUMBERS, min_size=width, max_size=width), min_size=1)
)


@settings(deadline=None)
@given(ROWS)
def test_any_counts_give_a_probability_or_nothing(rows: list[list[int]]) -> None:
    found = shift(rows[0], rows[1:])
    assert found is None or (isinstance(found, Shift) and 0 <= found.p <= 1)
