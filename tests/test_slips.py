"""What the return slips say, beside what a night finds."""

from pathlib import Path

import pytest

from garments import batch
from tests.conftest import script
from tests.fake_service import fake_service
from tests.places import Place, expected, slips


@pytest.mark.parametrize("written", ["T-shirt/top", "t-SHIRT / top", " 0 ", "T-shirt/Top"])
def test_a_category_is_understood_however_it_is_written(written: str, place: Place) -> None:
    place.add("a.png", "b.png")
    with fake_service() as service:
        place.night(service, expected=slips(place, f"a.png,{written}"))
    assert expected(place) == {"a.png": "T-shirt/top", "b.png": ""}


def test_what_a_slip_says_is_remembered(place: Place) -> None:
    place.add("a.png")
    with fake_service() as service:
        place.night(service, expected=slips(place, "a.png,Dress"))
        place.night(service)
        assert expected(place) == {"a.png": "Dress"}
        place.night(service, expected=slips(place, "a.png,Coat"))
    assert expected(place) == {"a.png": "Coat"}


@pytest.mark.parametrize("name", [" a\u0301.png", "\u00e1.png  ", "\u00e1.png"])
def test_a_slip_is_of_the_only_photo_whose_name_is_alike(name: str, place: Place) -> None:
    place.add("a\u0301.png", "b.png")
    with fake_service() as service:
        place.night(service, expected=slips(place, f"{name},Dress", "b.png,Coat"))
    assert expected(place) == {"a\u0301.png": "Dress", "b.png": "Coat"}


@pytest.mark.parametrize(
    ("photos", "lines"),
    [
        (["a\u0301.png", "\u00e1.png"], ["\u00e1.png ,Dress"]),
        (["\u00e1.png"], ["\u00e1.png ,Dress", "a\u0301.png,Coat"]),
    ],
)
def test_but_of_none_where_several_are(photos: list[str], lines: list[str], place: Place) -> None:
    place.add(*photos)
    with fake_service() as service:
        place.night(service, expected=slips(place, *lines))
    assert set(expected(place).values()) == {""}


def test_the_slip_of_the_very_name_stays_the_photos(place: Place) -> None:
    place.add("a.png")
    with fake_service() as service:
        place.night(service, expected=slips(place, "a.png,Dress", " a.png,Coat"))
    assert expected(place) == {"a.png": "Dress"}


def test_cells_of_nothing_at_the_end_of_a_line_are_passed_over(place: Place) -> None:
    place.add("a.png")
    with fake_service() as service:
        place.night(service, expected=slips(place, "a.png,Dress,, "))
    assert expected(place) == {"a.png": "Dress"}


@pytest.mark.parametrize("column", ["filename", "expected"])
def test_a_column_that_stands_twice_is_refused(column: str, place: Place) -> None:
    place.add("a.png")
    table = slips(place)
    table.write_text(f"filename,expected,{column}\na.png,Dress,Bag\n")
    with fake_service() as service, pytest.raises(batch.UsageError, match=f"column {column} sta"):
        place.night(service, expected=table)


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (
            ["a.png,Hat"],
            "line 2: 'Hat' is no category: a category is one of T-shirt/top, .*, or 0 to 9; leave",
        ),
        (["a.png,Dress", "b.png,10"], "line 3: '10' is no category"),
        (["a.png,Dress", "./a.png,Coat"], "line 3: './a.png' stands twice$"),
        (["a.png"], "line 2: there must be a filename and what is expected"),
        ([",Dress"], "line 2: there must be a filename"),
        (["a.png, 3, blue.png,Coat"], "line 2: it has more cells than the header: put names with"),
        (['"a.png,Dress'], "is no CSV in UTF-8"),
        (["a.png,Dress", 'b.png,"Coat" x', "c.png,Bag"], "is no CSV in UTF-8 after line 2 "),
        (["a.png,Hat", "b.png,Dress", "c.png,Cap"], "line 2: 'Hat' is no.*; line 4: 'Cap' is no"),
        ([f"{n}.png,Hat" for n in range(5)], "line 6: 'Hat' is no category: a category is"),
        ([f"{n}.png,Hat" for n in range(1_006)], "line 6: 'Hat' .*; and 1,001 lines more: a cat"),
    ],
)
def test_a_slip_that_is_not_understood_is_refused_by_line(
    lines: list[str], told: str, place: Place
) -> None:
    place.add("a.png")
    with fake_service() as service:
        with pytest.raises(batch.UsageError, match=told):
            place.night(service, expected=slips(place, *lines))
        assert service.requests == []


def test_slips_that_name_no_photo_are_told(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    place.add("a.png")
    with fake_service() as service:
        place.night(service, expected=slips(place, "b.png,Dress", "a.png,Dress", "B.png,Coat"))
    told = "2 return slips name no photo that is there, the first 'B.png'"
    assert told in caplog.messages


def test_slips_are_remembered_however_many_they_are(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("garments.batch.night._SLIPS_AT_ONCE", 2)
    names = [f"{number}.png" for number in range(5)]
    place.add(*names)
    with fake_service() as service:
        place.night(service, expected=slips(place, *(f"{name},Coat" for name in names)))
    assert expected(place) == dict.fromkeys(names, "Coat")


def test_slips_as_a_spreadsheet_saves_them_are_understood(place: Place) -> None:
    place.add("a.png", "b\r\nc.png")
    path = place.output.parent / "returns.csv"
    lines = ("filename,expected", "a.png,Dress", '"b\r\nc.png",Coat', "")
    path.write_bytes("\r\n".join(lines).encode("utf-8-sig"))
    with fake_service() as service:
        place.night(service, expected=path)
    assert sorted(expected(place).values()) == ["Coat", "Dress"]


def test_slips_without_the_columns_are_refused(place: Place) -> None:
    path = place.output.parent / "returns.csv"
    path.write_text("filename;expected\n")
    told = "line 1: the header must name filename,expected, with a comma.*is 'filename;expected'"
    with fake_service() as service, pytest.raises(batch.UsageError, match=told):
        place.night(service, expected=path)


def test_slips_in_another_encoding_are_refused(place: Place) -> None:
    path = place.output.parent / "returns.csv"
    path.write_text("filename,expected\na.png,Dress\n", encoding="utf-16")
    told = "is no CSV in UTF-8 .*: save it as one"
    with fake_service() as service, pytest.raises(batch.UsageError, match=told):
        place.night(service, expected=path)


def test_a_slip_names_its_photo_whatever_encoding_the_machine_has(place: Place) -> None:
    place.add("café.png")
    with fake_service() as service:
        done = script(
            *("batch_request.py", place.photos, "--output", place.output, "--url", service.url),
            *("--expected", slips(place, "café.png,Dress")),
            GARMENTS_DATABASE_URL=place.settings.database_url,
            GARMENTS_SETTLE_SECONDS="0",
            LC_ALL="C",
            PYTHONUTF8="0",
        )
    assert done.returncode == 0, done.stderr
    assert expected(place) == {"café.png": "Dress"}


def test_missing_slips_are_told_before_a_million_photos_are_looked_for(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("garments.batch.night.walk", lambda *_: pytest.fail("it was walked"))
    with fake_service() as service, pytest.raises(batch.UsageError, match="cannot be read: No"):
        place.night(service, expected=Path("none.csv"))


def test_an_interrupt_is_one_also_while_names_are_compared(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: bytes) -> bytes:
        raise KeyboardInterrupt

    monkeypatch.setattr("garments.batch.findings._alike", interrupted)
    with fake_service() as service, pytest.raises(KeyboardInterrupt):
        place.night(service, expected=slips(place, "gone.png,Dress"))
    assert not place.output.exists()
