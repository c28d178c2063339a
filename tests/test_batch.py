import fcntl
import io
import itertools
import json
import os
import pty
import re
import shutil
import signal
import socket
import sqlite3
import struct
import subprocess
import sys
import termios
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest
import requests
from requests.structures import CaseInsensitiveDict

from garments import batch
from garments.batch.client import Client
from garments.batch.findings import Findings, paired
from garments.batch.pauses import growing_pauses
from garments.batch.replies import answers, retry_after
from garments.batch.walk import EXTENSIONS, Found, tell_left_out, walk
from garments.predictions import read_predictions
from garments.settings import Settings
from garments.store import Known, Stamp, Store
from tests import fake_service as fake
from tests.conftest import PROJECT, free_port, script, until
from tests.fake_service import fake_service


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Ten files that the fake service takes for pictures, of different lengths."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(10):
        (folder / f"{number}.png").write_bytes(b"x" * (number + 20))
    return folder


def night(photos: Path, url: str, **changes: object) -> tuple[batch.Counts, dict[str, str]]:
    """Run the client; the counts, and the decision on each file."""
    quick = Settings(
        service_url=url,
        wait_seconds=2,
        retry_seconds=5,
        timeout_seconds=0.4,
        settle_seconds=0,
        database_url=f"sqlite:///{photos.parent}/predictions.db",
    )
    output = photos.parent / "predictions.csv"
    counts = batch.run(photos, output, replace(quick, **changes))
    rows = read_predictions(output, 10) if counts.found else []
    return counts, {row.filename: row.decision for row in rows}


def test_every_image_becomes_a_row(photos: Path) -> None:
    with fake_service() as service:
        counts, decisions = night(photos, service.url)
    assert (counts.found, counts.accept, counts.review, counts.unreadable) == (10, 5, 5, 0)
    assert decisions == {f"{n}.png": "accept" if n % 2 else "review" for n in range(10)}


def test_a_row_says_what_the_service_said(photos: Path) -> None:
    with fake_service() as service:
        night(photos, service.url)
    row = read_predictions(photos.parent / "predictions.csv", 10)[7]
    assert (row.filename, row.prediction, row.label, row.confidence) == (
        "7.png",
        "7",
        "class 7",
        "0.9000",
    )
    assert (row.expected, row.error) == ("", "")
    assert row.model == f"{fake.MODEL['name']}@{fake.MODEL['version']}"


def found(directory: Path) -> list[str]:
    return sorted(os.fsdecode(name) for name, _ in walk(os.fsencode(directory)))


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_every_extension_counts_in_any_case(extension: str, tmp_path: Path) -> None:
    for name in (f"a{extension}", f"b{extension.upper()}", f"c{extension}x", extension[1:]):
        (tmp_path / name).touch()
    assert found(tmp_path) == [f"a{extension}", f"b{extension.upper()}"]


def test_subfolders_are_searched_and_links_are_not_followed(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    (photos / "b" / "deep").mkdir(parents=True)
    (photos / "folder.png").mkdir()
    for name in ("z.png", "b/deep/y.JPG", "b/notes.txt"):
        (photos / name).touch()
    (tmp_path / "outside.png").touch()
    (photos / "link.png").symlink_to(tmp_path / "outside.png")
    (photos / "loop").symlink_to(photos)
    os.mkfifo(photos / "pipe.png")
    assert found(photos) == ["b/deep/y.JPG", "z.png"]


def test_only_images_have_their_size_and_times_looked_up(tmp_path: Path) -> None:
    if shutil.which("strace") is None:
        pytest.skip("strace is not here: install Debian's package strace")
    (photos := tmp_path / "photos").mkdir()
    (photos / "deep").mkdir()
    for name in ("a.png", "deep/b.jpg", "deep/notes.txt", "c.pdf"):
        (photos / name).touch()
    program = "import sys; from garments.batch.walk import walk; [*walk(sys.argv[1].encode())]"
    done = subprocess.run(
        ["strace", "-f", "-e", "trace=%%stat", sys.executable, "-c", program, photos],
        cwd=PROJECT,
        check=False,
        capture_output=True,
        text=True,
    )
    if "ptrace" in done.stderr:
        pytest.skip(f"strace may not trace here: {done.stderr}")
    assert done.returncode == 0, done.stderr
    looked_up = re.findall(rf'"{photos}/([^"]+)"', done.stderr)
    assert sorted(looked_up) == ["a.png", "deep/b.jpg"]


def test_what_is_no_image_is_told(photos: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    (photos / "deep").mkdir()
    for name in ("a.AVIF", "deep/b.avif", "deep/c.pdf", "notes", "d.\nINFO", ".e.jpg.Xa3bQ9"):
        (photos / name).touch()
    (photos / "link.png").symlink_to(photos / "0.png")
    with fake_service() as service:
        night(photos, service.url)
    told = "other files there, which are left out: "
    (line,) = [message for message in caplog.messages if message.startswith(told)]
    assert {*line.removeprefix(told).split(", ")} == {
        *("2 .avif", "1 .pdf", "1 link", "3 of other names"),
    }


def test_of_very_many_kinds_the_most_frequent_are_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    for kinds in ("abcde", "abcdef"):
        tell_left_out(Counter({f".{kind}": 1000 - ord(kind) for kind in kinds}))
    few, many = (message.partition(": ")[2] for message in caplog.messages)
    assert few == "903 .a, 902 .b, 901 .c, 900 .d, 899 .e"
    assert many == f"{few}, …"


def test_slips_are_given_back_of_what_was_found_alone() -> None:
    with closing(Findings()) as findings:
        findings.add([Found(b"b.png", Stamp(1, 2, 3)), Found(b"a.png", Stamp(1, 2, 3))])
        for name in (b"c.png", b"b.png", b"a.png"):
            findings.expect(name, 7)
        assert list(findings.slips()) == [(b"a.png", 7), (b"b.png", 7)]
        assert findings.slips_without_photo() == (1, b"c.png")


def test_what_was_found_and_what_is_known_are_paired_by_name() -> None:
    names = [bytes([letter]) for letter in b"abc"]
    some = [pick for count in range(4) for pick in itertools.combinations(names, count)]
    for there, before in itertools.product(some, some):
        found = {name: Found(name, Stamp(1, 2, 3)) for name in there}
        known = {name: Known(name, Stamp(1, 2, 3), 1) for name in before}
        told = [(name, found.get(name), known.get(name)) for name in sorted({*there, *before})]
        assert [*paired(found.values(), known.values())] == told


@pytest.mark.parametrize("name", ["=1+1.png", "a\nb.png", 'q"uote.png', "ü 🥾.png", "a,b.png"])
def test_any_name_is_sent_and_written(name: str, photos: Path) -> None:
    (photos / name).write_bytes(b"x" * 25)
    with fake_service() as service:
        counts, decisions = night(photos, service.url)
    assert counts.found == 11
    assert decisions[name] == "accept"


def test_an_empty_directory_gives_an_empty_table_and_a_warning_at_first(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "photos").mkdir()
    with fake_service() as service:
        counts, _ = night(tmp_path / "photos", service.url)
        (warned,) = [record.message for record in caplog.records if record.levelname == "WARNING"]
        assert warned.startswith(f"there is no image in {tmp_path / 'photos'}, and there never was")
        caplog.clear()
        night(tmp_path / "photos", service.url)
    assert not caplog.records
    assert counts.found == 0
    assert (tmp_path / "predictions.csv").read_text().splitlines() == [
        "filename,prediction,label,confidence,decision,model,expected,error"
    ]


def test_many_pictures_go_in_a_request_and_connections_are_kept(photos: Path) -> None:
    with fake_service() as service:
        night(photos, service.url, batch_size=2, connections=3)
        assert service.requests == [2] * 5
        assert service.connections <= 4  # one asks whether it is ready, three post


def test_as_many_requests_are_under_way_as_there_are_connections(photos: Path) -> None:
    def lingering(handler: fake.Handler, pictures: list[bytes]) -> None:
        time.sleep(0.05)
        fake.answer(handler, pictures)

    with fake_service([lingering] * 10) as service:
        night(photos, service.url, batch_size=1, connections=3)
        assert service.most_at_once == 3


def test_a_request_holds_only_so_many_bytes(photos: Path) -> None:
    with fake_service() as service:
        night(photos, service.url, batch_bytes=49)  # the files have 20, 21, …, 29 bytes
        assert service.requests == [2, 2, 2, 1, 1, 1, 1]


def test_the_token_is_sent(photos: Path) -> None:
    with fake_service() as service:
        night(photos, service.url, api_token="secret")
        assert service.tokens == {"Bearer secret"}


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize(
    "behaviour",
    [
        fake.status(429),
        fake.status(429, Retry_After="0"),
        *map(fake.status, (408, 502, 503, 504)),
        fake.cut,
        fake.cut_in_the_body,
        fake.junk,
        fake.swapped,
        fake.slow,
        fake.odd(fake.ODDITIES[0]),  # the others are taken for no answer alike, as is proved below
    ],
)
def test_what_passes_is_tried_again(behaviour: fake.Behaviour, photos: Path) -> None:
    with fake_service([behaviour, fake.answer, behaviour]) as service:
        counts, decisions = night(photos, service.url, batch_size=5)
    assert counts.unreadable == 0
    assert len(decisions) == 10


def test_retry_after_is_obeyed(photos: Path) -> None:
    with fake_service([fake.status(429, Retry_After="1")]) as service:
        counts, _ = night(photos, service.url)
    assert counts.seconds >= 1


def test_who_tries_again_waits_longer_each_time_up_to_a_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("garments.batch.pauses.random.uniform", lambda *between: between)
    pauses = itertools.islice(growing_pauses(first=0.2, longest=1.0), 5)
    assert [*pauses] == [(0.1, most) for most in (0.2, 0.4, 0.8, 1.0, 1.0)]


@pytest.mark.parametrize("entry", [*fake.ODDITIES, {**fake.GOOD, "model": {"name": "x"}}])
def test_an_answer_of_another_form_is_taken_for_none(entry: dict[str, object]) -> None:
    body = {"model": fake.MODEL, "predictions": [{"filename": "0", **entry}]}
    response = requests.Response()
    response.raw = io.BytesIO(json.dumps(body).encode())
    with pytest.raises(requests.exceptions.InvalidJSONError):
        answers(response, 1)


@pytest.mark.parametrize(
    ("wish", "seconds"),
    [
        ("7", 7),
        ("3600", 30),
        ("-1", 0),
        ("1.5", 0),
        ("٣", 0),
        ("Wed, 21 Oct 2026 07:28:00 GMT", 0),
        (None, 0),
    ],
)
def test_half_a_minute_is_the_longest_that_a_service_is_left_alone(
    wish: str | None, seconds: float
) -> None:
    response = requests.Response()
    response.headers = CaseInsensitiveDict({} if wish is None else {"Retry-After": wish})
    assert retry_after(response) == seconds


@pytest.mark.parametrize("code", [400, 401, 404, 405, 415, 422])
def test_a_refusal_is_never_tried_again(code: int, photos: Path) -> None:
    with fake_service([fake.status(code, "go away")] * 9) as service:
        with pytest.raises(batch.UsageError, match="refuses: go away; check GARMENTS_SERVICE_URL"):
            night(photos, service.url)
        assert service.requests == [10]
    assert not (photos.parent / "predictions.csv").exists()


@pytest.mark.parametrize("code", [302, 307])
def test_a_redirect_is_refused_and_no_photo_goes_where_it_leads(code: int, photos: Path) -> None:
    with fake_service() as other:
        away = fake.status(code, "go away", Location=f"{other.url}/predict")
        told = pytest.raises(batch.UsageError, match="refuses: go away")
        with fake_service([away] * 9) as service, told:
            night(photos, service.url)
        assert service.requests == [10]
        assert (other.requests, other.connections) == ([], 0)


def test_a_model_that_the_service_has_not_is_told_with_the_way_out(photos: Path) -> None:
    answer = fake.status(404, "the models are: a, b", named="unknown_model")
    told = r"refuses: the models are: a, b; name one of these, .*SIGHUP"
    with fake_service([answer]) as service, pytest.raises(batch.UsageError, match=told):
        night(photos, service.url)


def test_a_refusal_to_say_ready_is_not_waited_out(photos: Path) -> None:
    told = "/ready refuses: .*; check GARMENTS_SERVICE_URL and GARMENTS_API_TOKEN"
    with fake_service(ready=[401]) as service, pytest.raises(batch.UsageError, match=told):
        night(photos, service.url)


@pytest.mark.parametrize("code", [302, 404])
def test_an_address_that_is_not_the_services_is_told_how_it_should_be(
    code: int, photos: Path
) -> None:
    told = "/ready refuses: .*; name the service alone, as http://127.0.0.1:5001: see --url"
    with fake_service(ready=[code]) as service, pytest.raises(batch.UsageError, match=told):
        night(photos, service.url)


def test_a_redirect_is_no_sign_that_the_service_is_ready(photos: Path) -> None:
    with fake_service() as other:
        away = fake.status(302, "go away", Location=f"{other.url}/ready")
        told = pytest.raises(batch.UsageError, match="/ready refuses: go away")
        with fake_service(ready=[away]) as service, told:
            night(photos, service.url)
        assert other.connections == 0


def test_what_the_service_cannot_read_becomes_a_row_with_the_reason(photos: Path) -> None:
    with fake_service([fake.status(422, "the picture is damaged")]) as service:
        counts, _ = night(photos, service.url, batch_size=1, connections=1)
    assert counts.unreadable == 1
    row = read_predictions(photos.parent / "predictions.csv", 10)[0]
    assert (row.decision, row.prediction, row.model) == ("unreadable", "", "")
    assert row.error == "the picture is damaged"


@pytest.mark.parametrize(
    "behaviour",
    [fake.status(413), fake.status(500), fake.slow, fake.out_of_time],
    ids=["413", "500", "slow", "out of time"],
)
def test_what_is_too_much_at_once_is_sent_in_halves(
    behaviour: fake.Behaviour, photos: Path
) -> None:
    with fake_service([behaviour]) as service:
        counts, _ = night(photos, service.url)
        assert service.requests == [10, 5, 5]
    assert counts.unreadable == 0


def test_what_is_lost_once_is_sent_again_whole(photos: Path) -> None:
    with fake_service([fake.cut]) as service:
        night(photos, service.url)
        assert service.requests == [10, 10]


def on(
    lengths: set[int], behaviour: fake.Behaviour, otherwise: fake.Behaviour = fake.answer
) -> fake.Behaviour:
    """Behave so where a picture has one of these lengths, and `otherwise` where none has."""

    def behave(handler: fake.Handler, pictures: list[bytes]) -> None:
        poisoned = not lengths.isdisjoint(map(len, pictures))
        (behaviour if poisoned else otherwise)(handler, pictures)

    return behave


def test_one_picture_that_makes_the_service_fail_costs_no_other(photos: Path) -> None:
    with fake_service(otherwise=on({27}, fake.status(500, "the service failed"))) as service:
        counts, decisions = night(photos, service.url)
    assert (counts.unreadable, decisions["7.png"]) == (1, "unreadable")


@contextmanager
def asking(service: fake.FakeService) -> Iterator[Client]:
    """A client that the service has answered once."""
    settings = Settings(service_url=service.url, retry_seconds=0.5, timeout_seconds=0.4)
    with closing(Client(settings)) as client:
        list(client.classify([b"x" * 21]))
        yield client


@pytest.mark.parametrize(
    "ending",
    [
        fake.cut,
        fake.cut_in_the_body,
        fake.silent_in_the_body,
        fake.slow,
        fake.out_of_time,
        fake.status(502),
    ],
)
def test_one_picture_that_ends_the_service_costs_no_other(
    ending: fake.Behaviour, photos: Path
) -> None:
    with fake_service(otherwise=on({27}, ending)) as service:
        counts, decisions = night(photos, service.url)
    assert (counts.unreadable, decisions["7.png"]) == (1, "unreadable")
    row = read_predictions(photos.parent / "predictions.csv", 10)[7]
    assert row.error.startswith("the service died or was silent each time")
    with fake_service() as service:  # which has learnt to read it
        counts, decisions = night(photos, service.url)
        assert service.requests == [1]
    assert (counts.unreadable, decisions["7.png"]) == (0, "accept")


class Dying:
    """A worker that some pictures end, by their length, and that takes all with it that it has."""

    def __init__(self, *fatal: int) -> None:
        self.fatal = set(fatal)
        self.deaths = 0

    def __call__(self, handler: fake.Handler, pictures: list[bytes]) -> None:
        before = self.deaths
        time.sleep(0.05)
        self.deaths += not self.fatal.isdisjoint(map(len, pictures))
        (fake.cut if self.deaths > before else fake.answer)(handler, pictures)


@pytest.mark.parametrize("fatal", [{27}, {20, 24, 29}])
def test_pictures_that_are_cut_beside_a_fatal_one_are_not_taken_for_it(
    fatal: set[int], photos: Path
) -> None:
    with fake_service(otherwise=Dying(*fatal)) as service:
        _, decisions = night(photos, service.url, batch_size=1, retry_seconds=20)
    unreadable = {name for name, decision in decisions.items() if decision == "unreadable"}
    assert unreadable == {f"{length - 20}.png" for length in fatal}


def test_a_picture_that_is_tried_alone_has_no_other_beside_it(photos: Path) -> None:
    tries, others, beside = itertools.count(), set[int](), list[set[int]]()

    def behave(handler: fake.Handler, pictures: list[bytes]) -> None:
        (length,) = map(len, pictures)
        if length == 27:
            if next(tries):  # the first is together with the others
                beside.append(set(others))
            fake.cut(handler, pictures)
            return
        others.add(length)
        time.sleep(0.2)
        others.remove(length)
        fake.answer(handler, pictures)

    with fake_service(otherwise=behave) as service:
        night(photos, service.url, batch_size=1, timeout_seconds=9)
    assert beside == [set()] * 4


def test_a_picture_that_is_sent_beside_one_that_hangs_is_not_taken_for_it(photos: Path) -> None:
    """A worker that hangs is silent to whatever it is sent, until it is replaced."""
    silent = 0

    def hang(handler: fake.Handler, pictures: list[bytes]) -> None:
        nonlocal silent
        silent = 5 if len(pictures[0]) == 27 else max(0, silent - 1)
        (fake.out_of_time if silent else fake.answer)(handler, pictures)

    with fake_service(otherwise=hang) as service:
        _, decisions = night(photos, service.url, batch_size=1, connections=1)
    assert [name for name, said in decisions.items() if said == "unreadable"] == ["7.png"]


def test_the_time_in_which_a_picture_is_told_apart_is_not_that_of_the_service(
    photos: Path,
) -> None:
    restarting = threading.Event()

    def end_slowly(handler: fake.Handler, pictures: list[bytes]) -> None:
        restarting.set()
        fake.slow(handler, pictures)

    def golden(handler: fake.Handler, pictures: list[bytes]) -> None:
        (fake.cut if restarting.is_set() else fake.answer_golden)(handler, pictures)
        restarting.clear()

    with fake_service(otherwise=on({27}, end_slowly), golden=golden) as service:
        counts, _ = night(photos, service.url, batch_size=1, connections=1, retry_seconds=1)
    assert counts.unreadable == 1
    assert counts.seconds > 1.5


def refuse_for_a_limit(handler: fake.Handler, pictures: list[bytes]) -> None:
    error = {"code": "too_many_pixels", "detail": "the picture has too many pixels"}
    rows = [{"filename": str(place), "error": error} for place in range(len(pictures))]
    fake.send_json(handler, {"model": fake.MODEL, "predictions": rows})


@pytest.mark.parametrize("refusal", [fake.status(413), refuse_for_a_limit])
def test_what_was_too_much_for_a_limit_is_asked_again_next_night(
    refusal: fake.Behaviour, photos: Path
) -> None:
    with fake_service(otherwise=on({27}, refusal)) as service:
        counts, _ = night(photos, service.url, batch_size=1)
    assert counts.unreadable == 1
    with fake_service() as service:
        counts, _ = night(photos, service.url)
        assert service.requests == [1]
    assert counts.unreadable == 0


def test_what_was_read_and_is_not_too_long_proves_that_the_service_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("garments.batch.client._LONGEST_PROOF", 30)
    sent: Counter[int] = Counter()

    def behave(handler: fake.Handler, pictures: list[bytes]) -> None:
        (length,) = map(len, pictures)
        sent[length] += 1
        behaviours = {27: fake.cut, 29: refuse_for_a_limit}
        behaviours.get(length, fake.answer)(handler, pictures)

    with fake_service(otherwise=behave) as service, asking(service) as client:
        for length in (25, 29, 31, 23, 27):
            list(client.classify([b"x" * length]))
    assert sent[25] > 1
    assert [sent[length] for length in (21, 23, 29, 31)] == [1] * 4


def test_a_service_that_refuses_what_it_answered_before_proves_nothing() -> None:
    refuse = on({27}, fake.cut, otherwise=fake.status(401))
    told = pytest.raises(batch.ServiceError, match="gave no usable answer within")
    with fake_service([fake.answer], otherwise=refuse) as service, asking(service) as client, told:
        list(client.classify([b"x" * 27]))


def test_answers_that_came_before_a_night_was_lost_are_kept(photos: Path) -> None:
    with (
        fake_service(otherwise=on({20}, fake.status(503))) as service,
        pytest.raises(batch.ServiceError, match="gave no usable answer within"),
    ):
        night(photos, service.url, batch_size=1, connections=2, retry_seconds=1)
    with fake_service() as service:
        counts, _ = night(photos, service.url)
        assert service.requests == [1]
    assert counts.found == 10


def test_answers_of_a_request_that_lost_the_night_are_kept(photos: Path) -> None:
    def one_by_one(handler: fake.Handler, pictures: list[bytes]) -> None:
        last = fake.status(503) if len(pictures[0]) == 29 else fake.answer
        (last if len(pictures) == 1 else fake.status(413))(handler, pictures)

    with fake_service(otherwise=one_by_one) as service, pytest.raises(batch.ServiceError):
        night(photos, service.url, retry_seconds=0.5)
    with fake_service() as service:
        night(photos, service.url)
        assert service.requests == [1]


def test_five_pictures_that_end_the_service_cost_no_other(photos: Path) -> None:
    with fake_service(otherwise=on(set(range(20, 25)), fake.cut)) as service:
        counts, _ = night(photos, service.url, batch_size=1)
    assert (counts.unreadable, counts.accept + counts.review) == (5, 5)


def test_a_picture_that_ended_the_service_is_not_sent_to_it_again() -> None:
    with fake_service(otherwise=on({27}, fake.cut)) as service, asking(service) as client:
        (first,) = client.classify([b"x" * 27])
        sent = len(service.requests)
        (second,) = client.classify([b"x" * 27])
        assert len(service.requests) == sent
    assert first == second


def test_the_time_between_two_requests_is_not_that_of_the_service() -> None:
    with fake_service([fake.answer, fake.status(503)]) as service, asking(service) as client:
        time.sleep(0.6)  # as long as a slow disk takes to read a photo
        (answer,) = client.classify([b"x" * 21])
    assert answer["decision"] == "accept"


def test_a_service_that_many_pictures_end_is_given_up(photos: Path) -> None:
    with (
        fake_service(otherwise=on(set(range(20, 26)), fake.cut)) as service,
        pytest.raises(batch.ServiceError, match="dies or is silent whenever it is sent one of"),
    ):
        night(photos, service.url, batch_size=1)


def test_a_lost_night_sends_nothing_more_from_any_thread(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, lost, stop = threading.Event(), threading.Event(), Client.stop

    def stopped(client: Client) -> None:
        stop(client)
        lost.set()

    def late(handler: fake.Handler, pictures: list[bytes]) -> None:
        asked.set()
        lost.wait(2)
        fake.answer(handler, pictures)

    def refuse(handler: fake.Handler, pictures: list[bytes]) -> None:
        asked.wait(2)
        fake.status(404)(handler, pictures)

    monkeypatch.setattr(Client, "stop", stopped)
    two_groups_one_by_one = {"batch_size": 5, "batch_bytes": 1, "connections": 2}
    with fake_service([late, refuse]) as service:
        with pytest.raises(batch.UsageError):
            night(photos, service.url, **two_groups_one_by_one, timeout_seconds=9)
        assert service.requests == [1, 1]
    with fake_service() as service:
        night(photos, service.url)
        assert service.requests == [9]  # what was answered late is kept


def vanish(path: Path) -> None:
    path.unlink()


def become_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def become_a_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("/etc/hostname")


def become_a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize("change", [vanish, become_a_folder, become_a_link, become_a_pipe])
def test_a_file_that_cannot_be_read_any_more_becomes_a_row(
    change: Callable[[Path], None], photos: Path
) -> None:
    def meanwhile(handler: fake.Handler, pictures: list[bytes]) -> None:
        change(photos / "9.png")
        fake.answer(handler, pictures)

    with fake_service([meanwhile]) as service:
        counts, decisions = night(photos, service.url, batch_size=3, connections=1)
    assert (counts.found, counts.unreadable, decisions["9.png"]) == (10, 1, "unreadable")
    row = read_predictions(photos.parent / "predictions.csv", 10)[9]
    assert row.error.startswith("the file cannot be read: ")


def test_a_service_that_is_starting_is_waited_for_and_that_is_told_once(
    photos: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    with fake_service(ready=[503, 503]) as service:
        counts, _ = night(photos, service.url)
    assert counts.found == 10
    assert sum(message.startswith("waiting for ") for message in caplog.messages) == 1


def test_a_service_that_is_not_there_is_given_up(photos: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(batch.ServiceError, match="was not ready within 0.5 s: the .* --url"):
        night(photos, url, wait_seconds=0.5)


def test_the_password_of_an_address_is_sent_and_not_told(
    photos: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    told = "http://127.0.0.1:"
    with fake_service(ready=[503], otherwise=fake.status(401)) as service:
        with pytest.raises(batch.UsageError, match=f"^{told}") as refused:
            night(photos, service.url.replace("//", "//me:s3cret@"))
        assert service.tokens == {"Basic bWU6czNjcmV0"}
    assert f"waiting for {told}" in caplog.text
    assert "s3cret" not in caplog.text + str(refused.value)


def test_a_service_that_says_nothing_is_given_up(photos: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(batch.ServiceError, match="was not ready within 0.5 s"):
            night(photos, url, wait_seconds=0.5)


def test_an_answer_is_not_waited_for_longer_than_a_service_that_starts(photos: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url, began = f"http://127.0.0.1:{silent.getsockname()[1]}", time.monotonic()
        with pytest.raises(batch.ServiceError, match="was not ready within 2 s"):
            night(photos, url, timeout_seconds=60)
        assert time.monotonic() - began < 20


@pytest.mark.parametrize(
    ("scheme", "host", "told"),
    [
        ("https", "127.0.0.1", "there is no TLS, or a certificate"),
        ("http", "garments.invalid", "no address is known for its host"),
        ("http", "☃.invalid", "its host is no valid name or address"),
    ],
)
def test_why_a_service_cannot_be_reached_is_told(
    scheme: str, host: str, told: str, photos: Path
) -> None:
    with fake_service() as service:
        url = f"{scheme}://{host}:{service.url.rpartition(':')[2]}"
        with pytest.raises(batch.ServiceError, match=told):
            night(photos, url, wait_seconds=0.1)


def test_a_certificate_is_trusted_once_the_machine_trusts_it(
    photos: Path, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    with fake_service(certificate=certificate) as service:
        with pytest.raises(batch.ServiceError, match="a certificate that this machine does not tr"):
            night(photos, service.url, wait_seconds=0.1)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
        counts, _ = night(photos, service.url)
    assert (counts.found, counts.accept, counts.review) == (10, 5, 5)


def test_a_service_has_all_of_its_time_whatever_it_wishes_for(
    photos: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    busy = fake.status(429, **{"Retry-After": "30"})
    began = time.monotonic()
    with (
        fake_service(otherwise=busy) as service,
        pytest.raises(batch.ServiceError, match="kept: see that it runs, then run the same"),
    ):
        night(photos, service.url, batch_size=1, retry_seconds=1)
    assert 1 <= time.monotonic() - began < 5
    # Eight threads have tried, and each of them twice.
    assert sum(message.startswith("trying again in ") for message in caplog.messages) == 1


def test_a_service_that_dies_is_given_up_and_the_old_table_stays(photos: Path) -> None:
    (photos.parent / "predictions.csv").write_text("yesterday's")
    dead = fake.Dead()
    with (
        fake_service([fake.answer], golden=dead.golden, otherwise=dead) as service,
        pytest.raises(batch.ServiceError, match="gave no usable answer within"),
    ):
        night(photos, service.url, batch_size=1, retry_seconds=0.5)
    assert (photos.parent / "predictions.csv").read_text() == "yesterday's"
    left = {entry.name for entry in photos.parent.iterdir()}
    assert left == {"photos", "predictions.csv", "predictions.db", "predictions.db.lock"}


def test_a_service_that_answers_for_nothing_is_not_sent_halves(photos: Path) -> None:
    dead = fake.Dead()
    with fake_service(golden=dead.golden, otherwise=dead) as service:
        with pytest.raises(batch.ServiceError, match="gave no usable answer within"):
            night(photos, service.url, retry_seconds=0.5)
        assert set(service.requests) == {10}


def test_a_night_leaves_no_thread_and_no_connection_behind(photos: Path) -> None:
    with fake_service() as service:
        night(photos, service.url, batch_size=1)
        until(lambda: service.open_connections == 0, within=2)
    until(lambda: not posting_threads(), within=2)


def test_a_lost_night_leaves_no_thread_behind(photos: Path) -> None:
    with fake_service([fake.status(404)]) as service, pytest.raises(batch.UsageError):
        night(photos, service.url, batch_size=1)
    until(lambda: not posting_threads(), within=2)


def posting_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("post")]


# The script


def client(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return script("batch_request.py", *arguments, **environment)


@pytest.fixture
def _kept_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the scripts that a test starts a database of their own."""
    monkeypatch.setenv("GARMENTS_DATABASE_URL", f"sqlite:///{tmp_path}/script.db")
    monkeypatch.setenv("GARMENTS_SETTLE_SECONDS", "0")


scripts = pytest.mark.usefixtures("_kept_apart")


@scripts
def test_code_0_and_the_counts_in_the_last_line(photos: Path, tmp_path: Path) -> None:
    with fake_service() as service:
        done = client(photos, "--output", tmp_path / "p.csv", "--url", service.url)
    assert done.returncode == 0
    assert "10 images: 5 accepted, 5 for review, 0 unreadable" in done.stderr.splitlines()[-1]


@scripts
def test_what_a_night_is_asked_for_is_done(photos: Path, tmp_path: Path) -> None:
    asked = []

    def note(handler: fake.Handler, pictures: list[bytes]) -> None:
        asked.append((handler.path, len(pictures)))
        fake.answer(handler, pictures)

    with fake_service(otherwise=note) as service:
        plain = (photos, "--output", tmp_path / "p.csv", "--url", service.url)
        assert client(*plain).returncode == 0
        chosen = ("--fresh", "--model", "fashion-mnist", "--archive", tmp_path / "archive")
        assert client(*plain, *chosen).returncode == 0
    assert asked == [("/predict", 10), ("/predict?model=fashion-mnist", 10)]
    assert len([*tmp_path.glob("archive/**/*.png")]) == 10


@scripts
def test_code_1_where_some_are_unreadable(photos: Path, tmp_path: Path) -> None:
    with fake_service([fake.status(415, "no picture")]) as service:
        done = client(
            *(photos, "--output", tmp_path / "p.csv", "--url", service.url),
            GARMENTS_BATCH_SIZE="1",
        )
    assert done.returncode == 1
    assert "1 unreadable" in done.stderr.splitlines()[-1]


@scripts
@pytest.mark.parametrize(
    ("arguments", "environment", "told"),
    [
        (["/nowhere"], {}, "'/nowhere' cannot be listed: No such file or directory"),
        (["app.py"], {}, "app.py' cannot be listed: Not a directory"),
        (["images", "--output", "/nowhere/p.csv"], {}, "/nowhere is no folder: make it, or"),
        (["images", "--output", "tests"], {}, "tests is a folder: name the table"),
        (["images", "--output", "/"], {}, "/ is a folder: name the table"),
        (["images", "--output", "/dev/null"], {}, "/dev/null cannot be written"),
        (["images", "--output", "images/x.png"], {}, "x.png has the name of an image"),
        (["images"], {"GARMENTS_BATCH_SIZE": "0"}, "GARMENTS_BATCH_SIZE is 0"),
        (["images", "--url", "localhost"], {}, "it must be like http://127.0.0.1:5001"),
        (["s3://bucket/x"], {}, "s3://bucket/x is no folder or file here: add --engine ray"),
        (["images", "--output", "s3://b/p.csv"], {}, "s3://b/p.csv is no folder or file here"),
        (["images", "--output", "p.parquet"], {}, "the table is CSV: have p.parquet end in .csv"),
        (["images", "--output", "P.XLSX"], {}, "the table is CSV: have P.XLSX end in .csv"),
        (["--no-such-option"], {}, "unrecognized arguments"),
        ([""], {}, "argument directory: it is empty: name a place"),
        (["images", "--output", ""], {}, "argument --output: it is empty: name a place"),
        (["images", "--expected", ""], {}, "argument --expected: it is empty: name a place"),
        (["images", "--archive="], {}, "argument --archive: it is empty: name a place"),
    ],
)
def test_code_2_where_the_usage_is_wrong(
    arguments: list[str], environment: dict[str, str], told: str
) -> None:
    done = client(*arguments, **environment)
    assert done.returncode == 2
    assert told in done.stderr


def test_a_table_that_is_mounted_by_itself_is_refused_before_the_night(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output, mounts = tmp_path / "of today" / "p.csv", tmp_path / "mountinfo"
    output.parent.mkdir()
    output.touch()
    shown = str(output).replace(" ", "\\040")  # as Linux writes a blank
    odd = "37 35 0:9 / /mnt/a\rb rw - tmpfs t rw"  # Linux writes others as they are
    mounts.write_text(f"{odd}\n36 35 98:0 /p.csv {shown} rw - ext4 /dev/sda1 rw\n", newline="")
    monkeypatch.setattr("garments.batch.outputs._MOUNTS", mounts)
    with fake_service() as service:
        with pytest.raises(batch.UsageError, match="mounted by itself.*mount the folder that it"):
            batch.run(photos, output, Settings(service_url=service.url))
        assert service.requests == []


def test_a_system_that_tells_of_no_mounts_is_no_hindrance(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mountinfo").touch()
    monkeypatch.setattr("garments.batch.outputs._MOUNTS", tmp_path / "mountinfo")
    database = f"sqlite:///{tmp_path}/p.db"
    with fake_service() as service:
        settings = Settings(service_url=service.url, database_url=database, settle_seconds=0)
        batch.run(photos, tmp_path / "p.csv", settings)
    assert (tmp_path / "p.csv").exists()


def test_an_error_without_words_is_not_told_as_an_interrupt() -> None:
    assert batch.explain(MemoryError(), "p.csv") == "MemoryError(); p.csv was not written"
    assert batch.explain(KeyboardInterrupt(), "p.csv") == "interrupted; p.csv was not written"


def no_database(folder: Path) -> None:
    (folder / "script.db").write_text("no database" * 100)


def no_room_for_the_report(folder: Path) -> None:
    (folder / ".report.html.part").mkdir()


def a_database_that_forgets(folder: Path) -> None:
    with closing(Store(f"sqlite:///{folder}/script.db")) as store:
        store.open()
    with closing(sqlite3.connect(folder / "script.db")) as database:
        forget = "AFTER INSERT ON answers BEGIN DELETE FROM answers; END"
        database.execute(f"CREATE TRIGGER forget {forget}")


@scripts
@pytest.mark.parametrize(
    ("spoil", "code", "told"),
    [
        (no_database, 2, "file is not a database"),
        (no_room_for_the_report, 2, "p.csv is written; then: Is a directory"),
        (a_database_that_forgets, 3, "'0.png' was found, but has no answer"),
    ],
)
def test_a_code_says_whether_it_helps_to_run_it_again(
    spoil: Callable[[Path], None], code: int, told: str, photos: Path, tmp_path: Path
) -> None:
    spoil(tmp_path)
    with fake_service() as service:
        done = client(photos, "--output", tmp_path / "p.csv", "--url", service.url)
    assert done.returncode == code
    assert told in done.stderr
    assert "Traceback" not in done.stderr


@scripts
def test_code_3_where_there_is_no_service(photos: Path, tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    output = tmp_path / "p.csv"
    done = client(photos, "--output", output, "--url", url, GARMENTS_WAIT_SECONDS="0.3")
    assert done.returncode == 3
    assert done.stderr.splitlines()[-1].endswith(f"{output} was not written")


@scripts
def test_code_3_and_a_trace_where_the_program_itself_is_at_fault(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("yesterday's")
    program = f"""if True:
        import sys
        import batch_request
        def broken(*_, **__): raise RuntimeError("boom")
        batch_request.run = broken
        sys.argv[1:] = ["images", "--output", {str(tmp_path / "p.csv")!r}]
        sys.exit(batch_request.main())
    """
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=PROJECT, check=False, capture_output=True, text=True
    )
    assert done.returncode == 3
    assert "boom; " in done.stderr
    assert "Traceback" in done.stderr
    assert (tmp_path / "p.csv").read_text() == "yesterday's"


@scripts
def test_code_3_where_the_program_cannot_even_start(tmp_path: Path) -> None:
    (tmp_path / "sqlalchemy.py").write_text("raise ImportError('half installed')")
    done = client("images", "--output", tmp_path / "p.csv", PYTHONPATH=str(tmp_path))
    assert done.returncode == 3
    assert "this program cannot start" in done.stderr
    assert "half installed" in done.stderr


@scripts
def test_garbage_is_looked_for_again_once_all_is_loaded_but_not_among_that() -> None:
    program = "import batch_request, gc; print(gc.isenabled(), len(gc.get_objects()) < 10_000)"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=PROJECT, check=True, capture_output=True, text=True
    )
    assert done.stdout == "True True\n"


@scripts
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_code_130_where_it_is_interrupted(
    number: signal.Signals, photos: Path, tmp_path: Path
) -> None:
    asked = threading.Event()

    def hang(handler: fake.Handler, pictures: list[bytes]) -> None:
        asked.set()
        fake.status(429, Retry_After="30")(handler, pictures)

    with fake_service([hang] * 9) as service:
        process = subprocess.Popen(
            [sys.executable, "batch_request.py", photos, "--url", service.url]
            + ["--output", str(tmp_path / "p.csv")],
            cwd=PROJECT,
            stderr=subprocess.PIPE,
            text=True,
            # Where the tests run in the background, they and their children ignore an interrupt.
            preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),  # noqa: PLW1509
        )
        assert asked.wait(20)
        started = time.monotonic()
        process.send_signal(number)
        _, log = process.communicate(timeout=20)
    assert process.returncode == 130
    assert time.monotonic() - started < 5
    assert log.splitlines()[-1].endswith("interrupted; " + str(tmp_path / "p.csv was not written"))


@scripts
def test_a_terminal_gets_a_progress_bar(photos: Path, tmp_path: Path) -> None:
    controller, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    with fake_service() as service:
        subprocess.run(
            [sys.executable, "batch_request.py", photos, "--url", service.url]
            + ["--output", str(tmp_path / "p.csv")],
            cwd=PROJECT,
            check=True,
            stderr=terminal,
        )
    os.close(terminal)
    shown = ""
    with os.fdopen(controller, "rb", buffering=0) as screen, suppress(OSError):
        while part := screen.read(4096):  # Linux ends a terminal that nobody holds with an error
            shown += part.decode()
    assert "100%|" in shown
    assert "10/10" in shown


@scripts
def test_cron_gets_plain_lines(photos: Path, tmp_path: Path) -> None:
    with fake_service() as service:
        done = client(photos, "--output", tmp_path / "p.csv", "--url", service.url)
    line = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} [A-Z]+ \S")
    lines = done.stderr.splitlines()
    assert (done.returncode, done.stdout) == (0, "")
    assert lines
    assert all(line.match(text) for text in lines)


@scripts
def test_a_night_whose_log_is_closed_writes_its_table(photos: Path, tmp_path: Path) -> None:
    command = '"$0" batch_request.py "$@" >/dev/null 2>&-'
    with fake_service() as service:
        done = subprocess.run(
            ["sh", "-c", command, sys.executable, photos, "--url", service.url]
            + ["--output", str(tmp_path / "p.csv")],
            cwd=PROJECT,
            check=False,
        )
    assert done.returncode == 0
    assert len(read_predictions(tmp_path / "p.csv", 10)) == 10


def test_a_long_night_tells_now_and_then_how_far_it_is(
    photos: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("garments.batch.posting._SECONDS_BETWEEN_LOG_LINES", 0)
    caplog.set_level("INFO")
    with fake_service() as service:
        night(photos, service.url, batch_size=5)
    assert "5 of 10 images done" in caplog.messages


@pytest.mark.parametrize(
    ("when", "what"), [("0 2 * * * ", "batch_request.py"), ("0 12 1 * * ", "garments.prune")]
)
def test_the_crontab_starts_the_client_at_two_and_prunes_once_a_month(when: str, what: str) -> None:
    lines = (PROJECT / "crontab.example").read_text().splitlines()
    (command,) = [line.removeprefix(when) for line in lines if line.startswith(when)]
    assert what in command
    assert "%" not in command  # cron would end the command there
    settings = dict(line.split("=", 1) for line in lines if re.match("[A-Z_]+=", line))
    assert all(settings[name].startswith("/") for name in ("PROJECT", "PHOTOS", "MORNING", "LOG"))
    assert set(re.findall(r"\$(\w+)", command)) <= settings.keys()
    assert subprocess.run(["sh", "-n", "-c", command], check=False).returncode == 0
