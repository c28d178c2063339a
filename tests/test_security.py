"""The requirements and threats of docs/security.md that no other file tests, and its list."""

import ast
import base64
import gzip
import os
import re
import socket
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from dataclasses import fields
from importlib.metadata import version
from pathlib import Path
from urllib.parse import urlencode

import pytest
import requests
from flask.testing import FlaskClient
from itsdangerous import TimestampSigner

from garments.batch.walk import EXTENSIONS
from garments.preprocess import FORMATS
from garments.settings import PREFIX, Settings
from garments.web import access
from garments.web.uploads import from_base64
from tests import hostile
from tests.conftest import PROJECT, serving
from tests.test_pages import WORD, sign_in

DOCUMENT = (PROJECT / "docs" / "security.md").read_text(encoding="utf-8")
# All of ASVS 5.0, chapter V5.
REQUIREMENTS = [
    f"5.{section}.{number}"
    for section, count in ((1, 1), (2, 6), (3, 3), (4, 3))
    for number in range(1, count + 1)
]


def rows() -> list[list[str]]:
    """The cells of every row of the document's tables."""
    found = [line.strip("|").split(" | ") for line in DOCUMENT.splitlines() if line[:2] == "| "]
    return [[cell.strip() for cell in row] for row in found]


def named_in(text: str) -> set[tuple[str, str]]:
    return set(re.findall(r"`(test_\w+)\.py::(test_\w+)`", text))


def functions_of(module: str) -> set[str]:
    (path,) = (PROJECT / "tests").rglob(f"{module}.py")
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


# The list


def test_every_requirement_of_the_chapter_has_a_test_or_a_reason() -> None:
    told = {row[0]: row for row in rows() if re.fullmatch(r"5\.\d\.\d", row[0])}
    assert list(told) == REQUIREMENTS
    for number, row in told.items():
        assert named_in(row[-1]) or row[-1].startswith("does not apply: "), number


def test_every_test_that_is_named_exists() -> None:
    named = named_in(DOCUMENT)
    assert len(named) > 30
    for module, name in named:
        assert name in functions_of(module), f"{module}.py::{name}"


@pytest.mark.parametrize("module", ["test_hostile", "test_security", "test_fuzz"])
def test_every_threat_that_is_tested_is_named(module: str) -> None:
    tests = {name for name in functions_of(module) if name.startswith("test_")}
    assert {(module, name) for name in tests} <= named_in(DOCUMENT)


def test_the_document_tells_types_extensions_and_bounds() -> None:
    assert f"({', '.join(FORMATS)})" in DOCUMENT
    assert f"({' '.join(EXTENSIONS)})" in DOCUMENT
    for entry in fields(Settings):
        if entry.name.startswith("max_"):
            assert f"`{PREFIX}{entry.name.upper()}`" in DOCUMENT, entry.name


# What is sent


def test_a_packed_body_is_not_unpacked(service: str) -> None:
    response = requests.post(
        f"{service}/predict",
        data=gzip.compress(bytes(50_000_000)),
        headers={"Content-Type": "image/png", "Content-Encoding": "gzip"},
        timeout=5,
    )
    assert response.json()["code"] == "unsupported_media_type"


@pytest.mark.parametrize("name", ["packed_text.png", "packed_profile.png"])
def test_what_a_png_packs_beside_its_pixels_is_not_unpacked_to_its_end(
    name: str, client: FlaskClient
) -> None:
    data = hostile.refused()[name][0]
    tracemalloc.start()
    try:
        response = client.post("/predict", data=data, content_type="image/png")
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert response.json["code"] == "unreadable_image"
    assert most < 10_000_000


def test_base64_of_very_many_pieces_takes_little_more_memory_than_its_signs() -> None:
    text = "aa " * 1_000_000
    tracemalloc.start()
    try:
        assert from_base64(text) == base64.b64decode("aaaa") * 500_000
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < 4 * len(text)


def test_nothing_that_is_sent_reaches_the_disk() -> None:
    """Pictures of every kind, with names that are paths, in a form larger than Flask would hold."""
    program = """if True:
        import os, sys
        import requests
        from garments.web import create_app
        from tests import hostile
        client = create_app().test_client()
        pictures = [*hostile.readable().values(), bytes(5_000_000)]
        files = [("f", (f"../../tmp/{n}.png", data)) for n, data in enumerate(pictures)]
        sent = requests.Request("POST", "http://localhost", files=files).prepare()
        form = {"data": sent.body, "content_type": sent.headers["Content-Type"]}
        assert client.post("/predict", **form).status_code == 200  # loads all there is to load

        def watch(event, details):
            if event == "open" and details[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                sys.exit(f"a file was written: {details[0]}")
            if event in ("os.mkdir", "os.rename", "os.remove", "os.link", "os.symlink"):
                sys.exit(f"{event}: {details}")

        sys.addaudithook(watch)
        assert client.post("/predict", **form).status_code == 200
    """
    subprocess.run([sys.executable, "-c", program], cwd=PROJECT, check=True)


NAMES = [
    "../../etc/passwd",
    'a"; filename="b.png',
    "<script>alert(1)</script>",
    "=1+1",
    "é\u202e.png",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_file_name_is_only_given_back_as_text(name: str, service: str) -> None:
    quoted = name.replace('"', "%22")
    body = (
        f'--b\r\nContent-Disposition: form-data; name="f"; filename="{quoted}"\r\n\r\n'.encode()
        + hostile.BOOT
        + b"\r\n--b--\r\n"
    )
    response = requests.post(
        f"{service}/predict",
        data=body,
        headers={"Content-Type": "multipart/form-data; boundary=b"},
        timeout=5,
    )
    assert response.json()["predictions"][0]["filename"] in (name, quoted)
    assert response.headers["Content-Type"] == "application/json"
    assert "Content-Disposition" not in response.headers
    assert quoted not in str(response.headers)


def test_odd_files_do_not_fill_the_log() -> None:
    program = """if True:
        from garments.web import create_app
        from tests import hostile
        client = create_app().test_client()
        for _ in range(2):
            client.post("/predict", data=hostile.with_odd_tags(3000), content_type="image/tiff")
    """
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=PROJECT, check=True, capture_output=True, text=True
    )
    assert "Warning" not in done.stderr
    assert len(done.stderr.splitlines()) < 10


@pytest.mark.parametrize("room", ["web", pytest.param("training", marks=pytest.mark.slow)])
def test_onnx_runtime_reports_to_nobody(room: str, tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-c", f"import garments.{room}"],
        cwd=PROJECT,
        env={**os.environ, "HOME": str(tmp_path), "ORT_DISABLE_TELEMETRY": "0"},
        check=True,
    )
    assert not [path.name for path in tmp_path.rglob("*") if "onnxruntime" in path.name]


# Who may come in


@pytest.mark.parametrize("given", ["", "Bearer", "Bearer wrong", "Bearer secre", "Basic secret"])
def test_a_token_is_compared_in_constant_time(
    given: str, make_client, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared = []
    compare = access.hmac.compare_digest
    monkeypatch.setattr(
        access.hmac, "compare_digest", lambda a, b: compared.append((a, b)) or compare(a, b)
    )
    client = make_client(api_token="secret")
    response = client.get("/ready", headers={"Authorization": given})
    assert response.status_code == 401
    assert [right for _, right in compared] == [b"secret"]


@pytest.mark.parametrize("first", [["/"], []], ids=["a page at once", "no page for long"])
def test_a_sign_in_holds_for_twelve_hours_and_no_second_longer(
    first: list[str], make_client, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1_800_000_000
    monkeypatch.setattr(TimestampSigner, "get_timestamp", lambda _: now)
    client = make_client(api_token=WORD)
    sign_in(client)
    assert all(client.get(page).status_code == 200 for page in first)
    now += 12 * 3600
    assert client.get("/").status_code == 200
    now += 1
    assert client.get("/").headers.get("Location") == "/sign-in?next=/"


OPEN = {"/health", "/v2/health/live", "/sign-in", "/static/fashion-mnist"}


def test_without_the_token_nothing_answers_but_that_the_service_lives(make_client) -> None:
    """And the way to sign in, to which the pages send."""
    client = make_client(api_token="secret")
    rules = client.application.url_map.iter_rules()
    paths = {re.sub(r"<[\w:]+>", "fashion-mnist", rule.rule) for rule in rules}
    assert OPEN < paths
    for path in [*paths, "/nothing", "/v2/nothing", "//"]:
        for method in ("GET", "POST", "OPTIONS", "DELETE"):
            answer = client.open(path, method=method)
            refused = answer.status_code == 401
            sent_away = answer.headers.get("Location", "").startswith("/sign-in?")
            assert refused or sent_away or path in OPEN, f"{method} {path}: {answer.status}"


@pytest.fixture(scope="module")
def closed(models: Path) -> Iterator[str]:
    """A live service that has a token."""
    with serving(GARMENTS_MODEL_DIR=str(models), GARMENTS_API_TOKEN="secret") as (url, _):
        yield url


@pytest.mark.parametrize(
    ("head", "status"),
    [
        ("POST /predict", 401),
        ("POST /process_batch", 401),
        ("POST /v2/models/fashion-mnist/infer", 401),
        ("POST /look", 401),
        ("POST /review/decide", 401),
        ("POST /nothing", 401),
        ("POST /health", 401),
        ("GET /health", 200),
    ],
)
@pytest.mark.parametrize("length", ["Content-Length: 60000000", "Transfer-Encoding: chunked"])
def test_without_the_token_no_large_body_is_read(
    length: str, head: str, status: int, closed: str
) -> None:
    """So nobody without it can hold the memory that is kept for them."""
    kind = "Content-Type: application/x-www-form-urlencoded"
    with socket.create_connection(("127.0.0.1", int(closed.rpartition(":")[2]))) as client:
        client.settimeout(5)
        client.sendall(f"{head} HTTP/1.1\r\nHost: x\r\n{kind}\r\n{length}\r\n\r\n".encode())
        assert client.recv(12).decode() == f"HTTP/1.1 {status}"


@pytest.mark.parametrize(
    ("length", "body"),
    [
        ("Content-Length: 60000000", b""),
        ("Transfer-Encoding: chunked", b"4e20\r\n" + b"x" * 20_000),
    ],
)
def test_of_a_form_that_lets_in_or_out_a_little_is_read_and_no_more(
    length: str, body: bytes, closed: str
) -> None:
    for path, status in ("/sign-in", 403), ("/sign-out", 303):
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\n{length}\r\n"
        kind = "Content-Type: application/x-www-form-urlencoded"
        with socket.create_connection(("127.0.0.1", int(closed.rpartition(":")[2]))) as client:
            client.settimeout(5)
            client.sendall(f"{head}{kind}\r\n\r\n".encode() + body)
            assert client.recv(12).decode() == f"HTTP/1.1 {status}"


def test_a_form_that_comes_in_chunks_lets_in_and_out(closed: str) -> None:
    with requests.Session() as person:
        for path in ("sign-in", "sign-out"):
            page = person.get(f"{closed}/sign-in", timeout=10).text
            found = re.search(r'name="csrf_token" value="([^"]+)"', page)
            assert found
            form = urlencode({"name": "Ann", "token": "secret", "csrf_token": found[1]})
            answer = person.post(
                f"{closed}/{path}",
                data=iter([form[:9].encode(), form[9:].encode()]),
                headers={"Content-Type": "application/x-www-form-urlencoded"},
                allow_redirects=False,
                timeout=10,
            )
            assert answer.status_code == 303
            is_in = "/sign-in?" not in person.get(closed, timeout=10).url
            assert is_in == (path == "sign-in")


def test_a_large_body_without_the_token_gets_the_answer_of_a_small_one(closed: str) -> None:
    small, large = (
        requests.post(f"{closed}/predict", data=bytes(size), timeout=10)
        for size in (10, 10_000_000)
    )
    assert (small.status_code, small.content) == (large.status_code, large.content)
    given, also = ({name.lower() for name in answer.headers} for answer in (small, large))
    assert given == also - {"connection"}  # which may have to be closed


def test_a_token_that_is_refused_is_not_told(make_client) -> None:
    response = make_client(api_token="secret").get(
        "/ready", headers={"Authorization": "Bearer nearly-secret"}
    )
    assert b"secret" not in response.data.replace(b"service's token", b"")


@pytest.mark.parametrize("path", ["/v2", "/openapi.json", "/ready", "/predict"])
def test_no_answer_tells_the_version_of_the_software(path: str, client: FlaskClient) -> None:
    response = client.get(path)
    text = response.get_data(as_text=True) + str(response.headers)
    libraries = ("flask", "granian", "onnxruntime", "pillow", "werkzeug")
    for told in (sys.version.split()[0], *map(version, libraries)):
        assert told not in text
