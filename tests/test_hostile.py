"""What the live service does with files and requests that nobody means well with."""

import json
import os
import re
import socket
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pytest
import requests
from PIL import Image

from garments.preprocess import BadImage
from garments.web.problems import PROBLEMS
from garments.web.security_headers import HEADERS
from tests import hostile
from tests.conftest import serving
from tests.pictures import encoded, shaped
from tests.test_server import children

File = tuple[str, bytes]


class Service(NamedTuple):
    url: str
    pid: int


@pytest.fixture(scope="module")
def live(models: Path) -> Iterator[Service]:
    """A service of its own, so that its memory is that of these tests."""
    with serving(GARMENTS_MODEL_DIR=str(models), GARMENTS_WORKERS="1") as (url, process):
        yield Service(url, process.pid)


def own() -> list[File]:
    return [*hostile.own().items()]


def corpus() -> list[File]:
    return [(path.name, path.read_bytes()) for path in hostile.corpus()]


def memory(service: Service) -> float:
    """MiB that the workers hold."""
    return sum(held(int(pid)) for pid in children(service.pid))


def held(pid: int) -> float:
    """MiB of a process that are in memory."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def peak(pid: int) -> float:
    """MiB of a process that were in memory at most."""
    status = Path(f"/proc/{pid}/status").read_text()
    (size,) = re.findall(r"VmHWM:\s+(\d+) kB", status)
    return int(size) / 1024


def assert_fault(fault: dict[str, object]) -> None:
    """A reason with a name, that is the client's."""
    assert 400 <= PROBLEMS[str(fault["code"])][0] < 500
    assert fault["detail"]


def send_alone(url: str, files: Sequence[File], session: requests.Session) -> None:
    for name, data in files:
        started = time.monotonic()
        response = session.post(
            f"{url}/predict",
            data=data,
            headers={"Content-Type": "application/octet-stream"},
            timeout=10,
        )
        assert time.monotonic() - started < 1, name
        if response.status_code == 200:
            assert response.json()["predictions"][0]["label"], name
        else:
            assert response.headers["Content-Type"] == "application/problem+json", name
            assert response.status_code == response.json()["status"], name
            assert_fault(response.json())


def send_mixed(url: str, files: Sequence[File], session: requests.Session) -> None:
    """Fifty at a time, each between two good ones."""
    for start in range(0, len(files), 50):
        part = [*files[start : start + 50]]
        mixed = [one for name, data in part for one in (("good", hostile.BOOT), (name, data))]
        sent = [("f", one) for one in mixed]
        response = session.post(f"{url}/predict", files=sent, timeout=30)
        assert response.status_code == 200
        rows = response.json()["predictions"]
        assert len(rows) == len(mixed)
        assert {row["label"] for row in rows[::2]} == {"Ankle boot"}
        for row in rows[1::2]:
            if "error" in row:
                assert_fault(row["error"])
            else:
                assert row["label"]


# Threats


@pytest.mark.parametrize("files", [own, pytest.param(corpus, marks=hostile.needs_corpus)])
@pytest.mark.parametrize("send", [send_alone, send_mixed])
def test_no_file_fails_the_service_or_harms_another(send, files, live: Service) -> None:
    before = children(live.pid)
    with requests.Session() as session:
        send(live.url, files(), session)
    assert children(live.pid) == before


@hostile.needs_corpus
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc")
@pytest.mark.filterwarnings("ignore")
def test_decoding_hostile_files_leaves_nothing_in_memory() -> None:
    def decode_all() -> float:
        for _, data in files:
            with suppress(BadImage):
                shaped(data)
        return held(os.getpid())

    files = corpus()
    used = [decode_all() for _ in range(4)]
    print(f"\nafter each round the process held {', '.join(f'{one:.1f}' for one in used)} MiB")
    assert used[-1] < used[0] + 2


@pytest.mark.long
@pytest.mark.slow
@hostile.needs_corpus
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc")
def test_memory_stays_flat_while_hostile_files_are_served(live: Service) -> None:
    """It still grows in the first rounds: each of two dozen threads keeps what it once needed."""
    files = corpus()
    used = []
    with requests.Session() as session:
        for _ in range(3):
            send_alone(live.url, files, session)
            send_mixed(live.url, files, session)
            used.append(memory(live))
    print(f"\nafter each round the worker held {', '.join(f'{one:.0f}' for one in used)} MiB")
    assert used[-1] < used[1] + 30


@pytest.fixture(scope="module")
def roomy(both_models: Path) -> Iterator[Service]:
    """A service that has not had any memory yet, which it could put what swells into."""
    with serving(GARMENTS_MODEL_DIR=str(both_models), GARMENTS_WORKERS="1") as (url, process):
        yield Service(url, process.pid)


# Megabytes of values that take many times as much in memory, so many that no model is sent as many.
SWELLING = {
    "empty lists": b"[]," * 7_000_000,
    "lists in lists": (b"[" * 1000 + b"]" * 1000 + b",") * 7000,
    "empty objects": b"{}," * 2_000_000,
    "strings": b'"ab",' * 2_000_000,
    "numbers": b"999," * 2_000_000,
}
TO_SWELL = [
    *(("/predict", name) for name in SWELLING),
    *(("/v2/models/fashion-mnist/infer", name) for name in SWELLING),
    # Of photos, as many numbers are pixels.
    *(("/v2/models/photo/infer", name) for name in SWELLING if name != "numbers"),
]


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize(("path", "name"), TO_SWELL)
def test_json_that_swells_in_memory_is_refused(path: str, name: str, roomy: Service) -> None:
    body = b'{"inputs": [' + SWELLING[name] + b'0], "images": []}'
    (worker,) = map(int, children(roomy.pid))
    Path(f"/proc/{worker}/clear_refs").write_text("5")  # the peak is counted anew
    before = peak(worker)
    response = requests.post(
        f"{roomy.url}{path}", data=body, headers={"Content-Type": "application/json"}, timeout=20
    )
    assert response.status_code == 413
    assert "too many values" in response.text
    assert peak(worker) < before + 4 * len(body) / 2**20 + 20


@pytest.mark.parametrize("path", ["/predict", "/v2/models/fashion-mnist/infer"])
def test_few_bytes_of_very_many_pixels_keep_nobody_else_waiting(path: str, live: Service) -> None:
    image = encoded(Image.new("RGB", (5000, 5000)), "WEBP", lossless=True)
    files = [hostile.text(image)] * 3
    tensor = {"name": "images", "datatype": "BYTES", "shape": [3], "data": files}
    body = {"images": files} if path == "/predict" else {"inputs": [tensor]}
    assert len(json.dumps(body)) < 5000
    seconds, begun = [], time.monotonic()
    with ThreadPoolExecutor(1) as executor:
        answer = executor.submit(requests.post, live.url + path, json=body, timeout=30)
        while not answer.done():
            started = time.monotonic()
            assert requests.get(f"{live.url}/health", timeout=5).ok
            seconds.append(time.monotonic() - started)
    assert answer.result().ok
    assert len(seconds) > 5
    assert max(seconds) < (time.monotonic() - begun) / 2


@pytest.mark.parametrize(
    "filling", [b"x", b"\r\n", b"\r\n--", b"\r\n--b", b"\r\n--b\r", b"-", b"--b--"]
)
def test_a_form_takes_time_in_step_with_its_size(filling: bytes, live: Service) -> None:
    head = b'--b\r\nContent-Disposition: form-data; name="f"; filename="x"\r\n\r\n'
    body = head + filling * (8_000_000 // len(filling)) + b"\r\n--b--\r\n"
    started = time.monotonic()
    response = requests.post(
        f"{live.url}/predict",
        data=body,
        headers={"Content-Type": "multipart/form-data; boundary=b"},
        timeout=20,
    )
    assert response.status_code in (400, 413, 415)
    assert time.monotonic() - started < 2


@pytest.mark.parametrize("top", ["９", "1_0", " 3", "+3", "3.0", "0x3", "3\0"])
def test_a_number_is_of_plain_figures(top: str, live: Service) -> None:
    response = requests.post(
        f"{live.url}/predict",
        params={"top": top},
        data=hostile.BOOT,
        headers={"Content-Type": "image/png"},
        timeout=5,
    )
    assert response.json()["code"] == "malformed_request"


RAW = {
    "a broken line": b"GET /\x01 HTTP/1.1\r\n\r\n",
    "endless headers": b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"x" * 1_000_000 + b"\r\n\r\n",
    "two lengths": b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n"
    b"Content-Length: 6\r\n\r\n123456",
    "a negative length": b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    "a method of no kind": b"FOO /predict HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "a path out of the folder": b"GET /../../etc/passwd HTTP/1.1\r\nHost: x\r\n"
    b"Connection: close\r\n\r\n",
    "a type of no letters": b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: \xff\xfe\r\n"
    b"Content-Length: 1\r\nConnection: close\r\n\r\nx",
}


def exchange(url: str, sent: bytes) -> bytes:
    """All that the service sends back until it closes the connection or a second has passed."""
    host, port = url.removeprefix("http://").split(":")
    received = b""
    with socket.create_connection((host, int(port)), timeout=1) as connection:
        try:
            connection.sendall(sent)
            while part := connection.recv(65536):
                received += part
        except (TimeoutError, ConnectionError):
            pass
    return received


@pytest.mark.parametrize("name", RAW)
def test_a_request_that_is_no_http_is_refused(name: str, live: Service) -> None:
    assert re.match(rb"HTTP/1\.1 4\d\d ", exchange(live.url, RAW[name]))


@pytest.mark.parametrize("picture", [hostile.BOOT, b""], ids=["a picture", "nothing"])
def test_what_came_of_a_body_in_chunks_that_breaks_off_is_not_classified(
    picture: bytes, live: Service
) -> None:
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\n"
    chunks = b"%x\r\n%s\r\n" % (len(picture), picture) if picture else b""
    sent = head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks
    assert b"the body broke off" in exchange(live.url, sent + b"no chunk\r\n")
    if picture:
        assert b'"accept"' in exchange(live.url, sent + b"0\r\n\r\n")


def test_a_body_in_chunks_may_have_the_trailers_that_its_head_announces(live: Service) -> None:
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\n"
    head += b"Transfer-Encoding: chunked\r\n"
    chunks = b"\r\n%x\r\n%s\r\n0\r\n" % (len(hostile.BOOT), hostile.BOOT)
    trailers = b"X-Sum: 1\r\n\r\n"
    announced = head + b"Trailer: X-Sum\r\n" + chunks
    assert b'"accept"' in exchange(live.url, announced + trailers)
    assert b'"accept"' in exchange(live.url, announced + b"\r\n")
    told = b"or has trailers that no Trailer header announces"
    assert told in exchange(live.url, head + chunks + trailers)


def test_a_picture_that_breaks_off_before_its_trailers_is_not_classified(live: Service) -> None:
    sent = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\n"
    sent += b"Transfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
    sent += b"%x\r\n%s\r\n" % (200, hostile.BOOT[:200])
    assert b'"code":"unreadable_image"' in exchange(live.url, sent + b"no chunk\r\n")


COOKIE = "garments_session=x; city=Malmö"


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_cookie_of_another_service_that_hides_all_others_is_told(
    method: str, live: Service
) -> None:
    """The server drops the whole header when it is not all ASCII."""
    url = f"{live.url}/sign-in"
    cookie = {"Cookie": COOKIE.encode()}
    page = requests.request(method, url, headers=cookie, data={"name": "Ann"}, timeout=5)
    assert page.status_code == {"GET": 200, "POST": 403}[method]
    assert "Delete this site&#39;s cookies" in page.text
    assert "open for too long" not in page.text
    cookie = {"Cookie": COOKIE.replace("ö", "o")}
    page = requests.request(method, url, headers=cookie, data={"name": "Ann"}, timeout=5)
    assert "Delete" not in page.text


def test_a_type_that_is_not_ascii_is_told_as_such(live: Service) -> None:
    received = exchange(live.url, RAW["a type of no letters"])
    assert b'"code":"unsupported_media_type"' in received
    assert b"the Content-Type is not all ASCII" in received


@pytest.mark.parametrize(
    ("path", "status"), [("/health", 200), ("/", 200), ("/predict", 405), ("/nothing", 404)]
)
@pytest.mark.parametrize("query", ["ü=日本", "top=３"])
def test_an_address_that_is_not_ascii_is_answered_as_any_other(
    query: str, path: str, status: int, live: Service
) -> None:
    head = f"GET {path}?{query} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    assert exchange(live.url, head.encode()).startswith(f"HTTP/1.1 {status} ".encode())


def test_a_request_cannot_smuggle_another(live: Service) -> None:
    inner = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
    sent = (
        b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 5\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + inner
    )
    received = exchange(live.url, sent)
    assert received.count(b"HTTP/1.1 ") == 1
    assert b"alive" not in received


def test_no_answer_tells_of_the_inside(live: Service) -> None:
    answers = [exchange(live.url, sent) for sent in RAW.values()]
    for path in ("/health", "/nothing", "/predict", "/v2", "/v2/nothing", "/ready"):
        for method in ("GET", "POST", "OPTIONS", "TRACE"):
            request = f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
            answers.append(exchange(live.url, request.encode()))
    assert len([answer for answer in answers if answer]) > 25
    for answer in answers:
        told = answer.decode("latin-1").lower()
        for word in ("traceback", "granian", "werkzeug", "flask", "python", ".py", "/home", "/usr"):
            assert word not in told


@pytest.mark.parametrize("path", ["/health", "/ready", "/predict", "/nothing", "/v2", "/v2/no"])
def test_every_answer_has_the_security_headers(path: str, live: Service) -> None:
    response = requests.get(live.url + path, timeout=5)
    for name, value in HEADERS.items():
        assert response.headers[name] == value
