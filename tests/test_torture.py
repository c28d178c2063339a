"""A few of the cases of `make torture`, which lets nights fail in every way and at every step."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import torture
from tests.fake_service import fake_service
from tests.faults import Fault, Jump
from tests.outages import Outage


@pytest.fixture(scope="module")
def tortured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[torture.Torture]:
    with fake_service(otherwise=torture.answer) as service:
        yield torture.Torture(tmp_path_factory.mktemp("torture"), service.url)


@pytest.fixture(scope="module")
def calls(tortured: torture.Torture) -> int:
    return tortured.calls(archive=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "share"), [("kill-torn", 0.3), ("enospc", 0.5), ("eio", 0.7), ("kill", 0.9)]
)
def test_a_night_that_fails_at_a_call_is_mended_by_the_next(
    kind: str, share: float, tortured: torture.Torture, calls: int
) -> None:
    fault = Fault(round(share * calls), kind, lasts=kind == "enospc")
    assert tortured.run(torture.Case((fault,), archive=True)) == 1


@pytest.mark.slow
def test_a_night_that_fails_while_it_mends_another_is_mended_by_the_next(
    tortured: torture.Torture,
) -> None:
    first = Fault(1, "kill", of="link archive/d.png")
    case = torture.Case((first, Fault(60, "enospc", lasts=True)), archive=True)
    assert tortured.run(case) == 2


@pytest.mark.slow
def test_a_night_that_is_killed_at_any_moment_is_mended_by_the_next(
    tortured: torture.Torture,
) -> None:
    for case in torture.at_random_moments(random.Random(2), 3, longest=0.15):
        assert tortured.run(case) == 1


@pytest.mark.slow
def test_a_night_whose_service_fails_is_mended_by_the_next(tortured: torture.Torture) -> None:
    assert tortured.run(torture.Case((Outage(4, "restarts"),), archive=True)) == 1


@pytest.mark.slow
def test_a_night_whose_disk_is_full_is_mended_by_the_next(tortured: torture.Torture) -> None:
    try:
        assert tortured.run(torture.Case((torture.Full(30),), archive=True)) == 1
    except torture.NoSmallDisk as error:
        pytest.skip(f"this machine lets nobody mount a small file system: {error}")


@pytest.mark.slow
def test_a_night_whose_clock_jumps_is_right_and_so_is_the_next(tortured: torture.Torture) -> None:
    jump = Jump(30, -torture.DAY)
    assert tortured.run(torture.Case((jump,), archive=True)) == 1


def test_what_broke_on_a_small_disk_is_kept_to_be_seen(tmp_path: Path) -> None:
    root = tmp_path / "place"
    root.mkdir()

    def breaks() -> None:
        with torture.small_disk(root):
            (root / "predictions.csv").write_text("half a t")
            raise torture.Broken("half a table")

    try:
        with pytest.raises(torture.Broken):
            breaks()
    except torture.NoSmallDisk as error:
        pytest.skip(f"this machine lets nobody mount a small file system: {error}")
    assert not list(root.iterdir())
    assert (tmp_path / "place-kept" / "predictions.csv").read_text() == "half a t"


def test_a_table_that_is_cut_would_be_seen(tmp_path: Path) -> None:
    place = torture.Place(tmp_path / "place", "http://127.0.0.1:1", archive=False)
    place.output.write_text("filename,prediction,label,confidence,decision,model,expected,error\n")
    with pytest.raises(Exception, match="has no rows"):
        place.check_interrupted(place.present())


def test_a_photo_that_is_lost_would_be_seen(tmp_path: Path) -> None:
    place = torture.Place(tmp_path / "place", "http://127.0.0.1:1", archive=False)
    (place.photos / "a.png").unlink()
    with pytest.raises(torture.Broken, match="a photo is gone"):
        place.check_interrupted(place.present())
