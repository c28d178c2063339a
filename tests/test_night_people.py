"""What people answered, in the tables of later nights."""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

import pytest
from PIL import Image

from garments.batch import Counts
from garments.batch.findings import Findings
from garments.batch.review_order import rank_of_wrong
from garments.batch.table import Table
from garments.predictions import Row, read_predictions
from garments.store import Database, Store
from garments.store.archived import Archived
from garments.store.nights import Nights
from garments.store.reviews import Reviews
from tests import fake_service as fake
from tests.fake_service import fake_service
from tests.pictures import encoded
from tests.places import Place, files, report, review, slips, waiting, waiting_in
from tests.test_reviews import settle


@pytest.fixture
def base(place: Place) -> Iterator[Database]:
    with closing(Database(place.settings.database_url)) as base:
        yield base


@pytest.fixture
def store(place: Place) -> Iterator[Store]:
    with closing(Store(place.settings.database_url)) as store:
        yield store


@pytest.fixture
def counts(place: Place) -> Counts:
    """Of a night after people have answered for two of three photos, all taken for pullovers."""
    place.add("a.png", "b.png", "c.png", length=22)  # all for review
    with fake_service() as service:
        place.night(service)
        review(place, "a.png", 9)
        review(place, "b.png", None)
        return place.night(service)


def test_what_a_person_said_stands_in_the_next_table(place: Place, counts: Counts) -> None:
    assert (counts.review, counts.reviewed, counts.posted) == (1, 2, 0)
    assert "1 for review, 2 reviewed, 0 unreadable" in str(counts)
    boot, none, _ = read_predictions(place.output, 10)
    model = f"{fake.MODEL['name']}@{fake.MODEL['version']}"
    assert boot[:6] == ("a.png", "9", "Ankle boot", "", "reviewed", model)
    assert none[:5] == ("b.png", "", "none of these", "", "reviewed")
    page = report(place)
    assert "<b>2</b> reviewed" in page
    assert "The sum does not come out" not in page


@pytest.mark.usefixtures("counts")
def test_the_report_counts_photos_by_what_people_said(place: Place) -> None:
    classes = report(place).partition("by what people said")[2].partition("</table>")[0]
    counted = re.findall(r'"row">([^<]*)</th><td class="n">(\d+)<', classes)
    assert {label: count for label, count in counted if count != "0"} == {
        "Pullover": "1",
        "Ankle boot": "1",
        "none of these": "1",
    }


def test_what_the_model_alone_accepted_is_counted_whatever_people_say(
    place: Place, base: Database
) -> None:
    place.add("a.png", "b.png", "c.png")  # accepted
    place.add("d.png", length=22)
    with fake_service([fake.status(422, "damaged")]) as service:
        place.add("0.png")
        place.night(service, batch_size=1, connections=1)
        review(place, "a.png", 9)
        review(place, "d.png", 9)
        assert place.night(service).reviewed == 2
    nights = Nights(base).last(2)
    assert [(night["model_accepts"], night["model_answers"]) for night in nights] == [(3, 4)] * 2


def test_a_new_model_does_not_undo_what_a_person_said(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.add("a.png", length=22)
    with fake_service() as service:
        place.night(service)
        review(place, "a.png", 9)
        monkeypatch.setitem(fake.MODEL, "version", "ba9876543210")
        assert place.night(service).reviewed == 1


def test_what_a_person_said_stands_though_the_service_cannot_read_it(place: Place) -> None:
    place.add("a.png", length=22)
    with fake_service() as service:
        place.night(service)
        review(place, "a.png", 9)
    with fake_service([fake.status(422, "damaged")]) as service:
        counts = place.night(service, fresh=True)
    assert (counts.reviewed, counts.unreadable) == (1, 0)


def test_doubtful_photos_wait_for_people_until_they_are_decided_on(place: Place) -> None:
    place.add("a.png", "b.png", length=22)
    place.add("c.png")
    with fake_service() as service:
        place.night(service)
        assert sorted(waiting(place)) == [("a.png", "doubtful"), ("b.png", "doubtful")]
        review(place, "a.png", 9)
        (place.photos / "b.png").unlink()
        place.night(service)
    assert waiting(place) == []


def test_a_photo_that_was_answered_for_keeps_its_place_until_that_is_settled(
    place: Place, base: Database, store: Store
) -> None:
    def held() -> float | None:
        (outcome,) = store.outcomes(os.fsencode(place.photos.resolve()), "")
        return outcome.waiting

    place.add("a.png", length=22)
    with fake_service() as service:
        place.night(service)
        review(place, "a.png", 9)
        place.night(service)
        assert held() is not None
        settle(base)
        place.night(service)
        assert held() is None


def test_photos_wait_for_people_however_many_they_are(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("garments.batch.table._MOVED_AT_ONCE", 2)
    names = [f"{number}.png" for number in range(5)]
    place.add(*names, length=22)
    with fake_service() as service:
        place.night(service)
    assert sorted(name for name, _ in waiting(place)) == names


def test_photos_wait_for_people_in_the_archive_too(place: Place, archive: Path) -> None:
    (archive / "b").mkdir(parents=True)
    (archive / "b" / "c.png").write_text("another")
    with fake_service() as service:
        place.add("a.png", "b/c.png", length=22)
        place.add("d.png")
        assert place.night(service, archive=archive).archived == 3
        assert not files(place.photos)
        place.add("a.png", length=24)  # another photo of a name that waits already
        assert place.night(service, archive=archive).archived == 1
        place.night(service, archive=archive)
    there = files(archive).keys() - {"d.png", "b/c.png"}
    assert len(there) == 3
    assert set(waiting(place)) == {(name, "doubtful") for name in there}
    review(place, str(archive / "a.png"), 9)
    assert {name for name, _ in waiting(place)} == there - {"a.png"}


def test_an_answer_that_is_taken_back_puts_the_photo_back_where_it_waited(
    place: Place, base: Database, archive: Path
) -> None:
    place.add("a.png", "b.png", length=22)
    with fake_service() as service:
        place.night(service)
        number = review(place, "a.png", 9)
        place.night(service, archive=archive)
    assert waiting(place) == [("b.png", "doubtful")]
    Reviews(base).undo(number, "Ana")
    assert sorted(waiting(place)) == [("a.png", "doubtful"), ("b.png", "doubtful")]


def test_what_was_answered_for_long_ago_is_archived_like_the_others(
    place: Place, base: Database, archive: Path
) -> None:
    place.add("a.png", "b.png", length=22)
    with fake_service() as service:
        place.night(service)
        review(place, "a.png", 9)
        settle(base)
        assert place.night(service, archive=archive).archived == 2
    assert not files(place.photos)


def test_a_night_lets_go_of_what_was_answered_for_in_the_archive_long_ago(
    place: Place, base: Database, store: Store, archive: Path
) -> None:
    place.add("a.png", length=22)
    with fake_service() as service:
        place.night(service, archive=archive)
        review(place, str(archive / "a.png"), 9)
        place.night(service, archive=archive)
        assert [known.name for known in store.known(os.fsencode(archive), "")] == [b"a.png"]
        settle(base)
        place.night(service, archive=archive)
    assert list(store.known(os.fsencode(archive), "")) == []


def test_a_photo_waits_once_though_its_move_is_cut_short(place: Place, archive: Path) -> None:
    place.add("a.png", length=22)
    with fake_service() as service:
        place.killed_at("a.png", service, archive)
        assert waiting_in(place) == [archive]  # before it is gone from where it was
        assert place.night(service, archive=archive).archived == 1
        place.night(service, archive=archive)
    assert waiting(place) == [("a.png", "doubtful")]


def test_the_move_to_the_archive_is_noted_on_the_disk(
    place: Place, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = []

    class Seen(Archived):
        def follow(self, directory: bytes, names: Mapping[bytes, bytes]) -> None:
            super().follow(directory, names)
            with self._database.reading() as connection:
                settings.append(connection.exec_driver_sql("PRAGMA synchronous").scalar())

    monkeypatch.setattr("garments.batch.night.Archived", Seen)
    place.add("a.png", length=22)
    with fake_service() as service:
        place.night(service, archive=archive)
    assert settings == [2]  # FULL


def test_possible_wrong_items_wait_for_people_too(place: Place) -> None:
    place.add("a.png", "b.png")  # class 1, accepted
    told = slips(place, "a.png,Coat", "b.png,1")
    with fake_service() as service:
        place.night(service, expected=told)
        assert waiting(place) == []  # there is no preview of what is no picture
        picture = encoded(Image.effect_noise((80, 81), 50), "BMP") + b"x"  # of odd length
        (place.photos / "a.png").write_bytes(picture)
        assert place.night(service, expected=told).mismatched == 1
        for _ in range(2):
            assert waiting(place) == [("a.png", "wrong")]
            place.night(service, expected=told)
        review(place, "a.png", 4)
        assert place.night(service, expected=told).mismatched == 0
        assert waiting(place) == []


def draw(place: Place, *names: str) -> None:
    """Write pictures of which no two are alike, and which are taken for class 1."""
    for name in names:
        content = encoded(Image.effect_noise((50, 60), 50), "BMP")
        (place.photos / name).write_bytes(content + b"x" * (len(content) % 2 == 0))


def test_possible_wrong_items_wait_for_people_however_many_were_before(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("garments.batch.table.MOST_SHOWN", 2)
    names = [f"{letter}.png" for letter in "abcdef"]
    with fake_service() as service:
        draw(place, *names[:3])
        told = slips(place, *(f"{name},Coat" for name in names[:3]))
        place.night(service, expected=told)
        assert len(waiting(place)) == 2
        for name, _ in waiting(place):
            review(place, name, None)
        place.night(service)
        assert waiting(place) == [("c.png", "wrong")]
        draw(place, *names[3:])
        place.night(service, expected=slips(place, *(f"{name},Coat" for name in names[3:])))
        place.night(service)
    assert {name for name, _ in waiting(place)} == {*names[2:]}


def test_what_a_person_answered_for_takes_no_preview_from_what_nobody_saw(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("garments.batch.table.MOST_SHOWN", 1)
    draw(place, "a.png", "b.png")
    told = slips(place, "a.png,Coat", "b.png,Coat")
    with fake_service() as service:
        place.night(service, expected=told)
        assert waiting(place) == [("a.png", "wrong")]
        review(place, "a.png", None)
        monkeypatch.setitem(fake.MODEL, "version", "ba9876543210")
        place.night(service, expected=told)
    assert waiting(place) == [("b.png", "wrong")]


def test_what_is_surely_another_item_comes_before_what_may_be_one() -> None:
    assert rank_of_wrong(0.99) < rank_of_wrong(0.6)


def test_a_photo_that_has_changed_since_its_answer_is_not_shown_for_it(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw(place, "a.png")
    before = Table.rows

    def rows(table: Table, findings: Findings) -> Iterator[Row]:
        draw(place, "a.png")
        return before(table, findings)

    monkeypatch.setattr(Table, "rows", rows)
    with fake_service() as service:
        assert place.night(service, expected=slips(place, "a.png,Coat")).mismatched == 1
    assert "a.png" in report(place)
    assert "data:image/jpeg;base64," not in report(place)
    assert waiting(place) == []


def test_a_photo_of_the_sample_is_of_it_again_whatever_the_share_was_meanwhile(
    place: Place,
) -> None:
    names = [f"{number:02}.png" for number in range(8)]
    draw(place, *names)
    told = slips(place, *(f"{name},Coat" for name in names[:4]))
    with fake_service() as service:
        for share, kinds in (1.0, {"sample"}), (0.0, {"wrong"}), (1.0, {"sample"}):
            place.night(service, review_sample=share, expected=told)
            assert {kind for _, kind in waiting(place)} == kinds


def test_a_photo_that_waits_for_its_slip_is_never_of_a_random_sample(place: Place) -> None:
    names = [f"{number:02}.png" for number in range(20)]
    draw(place, *names)
    with fake_service() as service:
        place.night(service, expected=slips(place, *(f"{name},Coat" for name in names[:8])))
        assert len(waiting(place)) == 8
        place.night(service, review_sample=1.0)
        assert {kind for _, kind in waiting(place)} == {"wrong"}
        rows = read_predictions(place.output, 10)
        mended = slips(place, *(f"{row.filename},{row.prediction}" for row in rows[:8]))
        for share in (0.0, 1.0):
            place.night(service, review_sample=share, expected=mended)
            assert waiting(place) == []
        draw(place, "new.png")
        place.night(service, review_sample=1.0)
    assert dict(waiting(place)).pop("new.png") == "sample"


def test_a_photo_that_is_answered_anew_may_be_of_the_sample_whatever_it_waited_for(
    place: Place,
) -> None:
    draw(place, "a.png")
    with fake_service() as service:
        place.night(service, expected=slips(place, "a.png,Coat"))
        assert waiting(place) == [("a.png", "wrong")]
        place.night(service, fresh=True, review_sample=1.0)
    assert waiting(place) == [("a.png", "sample")]


def test_a_fresh_night_leaves_the_preview_of_what_a_person_answered_for(place: Place) -> None:
    draw(place, "a.png")
    told = slips(place, "a.png,Coat")
    with fake_service() as service:
        place.night(service, expected=told)
        review(place, "a.png", 9)
        place.night(service, expected=told, fresh=True)
    assert "data:image/jpeg;base64," in report(place)


def test_what_a_person_found_to_be_another_item_is_listed(place: Place) -> None:
    place.add("a.png", length=22)
    told = slips(place, "a.png,Coat")
    with fake_service() as service:
        place.night(service, expected=told)
        review(place, "a.png", None)
        counts = place.night(service, expected=told)
    assert (counts.reviewed, counts.mismatched) == (1, 1)
    page = report(place)
    assert '<dd>Coat</dd><dt>Photo</dt><dd class="first">none of these</dd>' in page


def test_a_share_of_the_accepted_waits_for_people_if_so_wished(place: Place) -> None:
    names = [f"{number:02}.png" for number in range(40)]
    draw(place, *names)
    with fake_service() as service:
        assert place.night(service).accept == 40
        assert waiting(place) == []
        place.night(service, review_sample=0.3, fresh=True)
        sample = waiting(place)
        assert 2 <= len(sample) <= 24
        assert {kind for _, kind in sample} == {"sample"}
        place.night(service, review_sample=0.3)
        assert sorted(waiting(place)) == sorted(sample)
        place.night(service)
        assert waiting(place) == []
        # Whatever their slips say: a sample without those would tell of no others.
        told = slips(place, *(f"{name},Coat" for name in names))
        assert place.night(service, review_sample=0.3, expected=told).mismatched > 20
        kinds = dict(waiting(place))
        assert {name for name, kind in kinds.items() if kind == "sample"} == {*dict(sample)}
        assert set(kinds.values()) == {"sample", "wrong"}


def test_the_report_of_a_night_is_kept_with_its_numbers(place: Place, base: Database) -> None:
    place.add("a.png", "b.png")
    with fake_service() as service:
        place.night(service)
    (run,) = Nights(base).last(9)
    assert Nights(base).report(run["id"]) == (place.output.parent / "report.html").read_bytes()
    assert (run["reviewed"], run["mismatched"], run["confidence"]) == (0, 0, pytest.approx(0.9))
