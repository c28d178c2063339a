"""What stands in `deploy/`, run for real."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import ClassVar
from zoneinfo import ZoneInfo, available_timezones

import numpy as np
import pytest
import requests
from PIL import Image

from benchmarks.service import family
from garments.predictions import read_predictions
from garments.settings import Settings
from garments.web.worker import HEAD_MILLISECONDS
from tests.conftest import PROJECT, free_port, hundred, script, serving, sign_in, wait_until_ready
from tests.databases import postgresql

DEPLOY = PROJECT / "deploy"
NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
needs_nginx = pytest.mark.skipif(
    NGINX is None, reason="nginx is not here: install Debian's package nginx"
)


class Instance:
    """A service at an address of its own, that can be ended in any way and started again."""

    def __init__(self, host: str, port: int) -> None:
        self.url = f"http://{host}:{port}"
        self._command = [sys.executable, "app.py", "--host", host, "--port", str(port)]
        self.start()

    def start(self) -> None:
        """Start it; it is ready when this returns."""
        self.process = subprocess.Popen(
            [*self._command, "--workers", "1"],
            cwd=PROJECT,
            env={**os.environ, "GARMENTS_REQUEST_LOG": "0"},
            stderr=subprocess.DEVNULL,
        )
        wait_until_ready(self.url, self.process)

    def end(self, number: signal.Signals) -> None:
        """Send a signal: SIGKILL to all of its processes at once, as a power cut ends them."""
        everyone = family(self.process.pid)
        for pid in everyone if number == signal.SIGKILL else everyone[:1]:
            os.kill(pid, number)
        self.process.wait(timeout=40)


def configuration() -> str:
    return (DEPLOY / "nginx.conf").read_text(encoding="utf-8")


@contextmanager
def nginx(folder: Path, port: int, behind: int, listens: str = "") -> Iterator[str]:
    """Run nginx with `deploy/nginx.conf`, but for its ports and where else it `listens`."""
    assert NGINX is not None
    text = configuration().replace(":5001", f":{behind}").replace(":8080", f":{port}")
    text = text.replace("server {\n", f"server {{\n{listens}\n")
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    places = " ".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
    (folder / "nginx.conf").write_text(
        f"daemon off; pid {folder}/pid; error_log {folder}/error.log warn; worker_processes 1;\n"
        f"events {{}}\nhttp {{ access_log {folder}/access.log; {places}\n{text}\n}}\n"
    )
    command = [NGINX, "-p", folder, "-c", folder / "nginx.conf", "-e", folder / "error.log"]
    # Its workers must get into a folder that belongs to whoever runs the tests.
    command += ["-g", "user root;"] if os.geteuid() == 0 else []
    process = subprocess.Popen(command)
    try:
        wait_until_ready(f"http://127.0.0.1:{port}", process)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=20)


@pytest.fixture
def instances() -> Iterator[list[Instance]]:
    """Two services with the same port and other addresses."""
    port = free_port()
    made: list[Instance] = []
    try:
        for host in ("127.0.0.2", "127.0.0.3"):
            made.append(Instance(host, port))
        yield made
    finally:
        for instance in made:
            if instance.process.poll() is None:
                instance.end(signal.SIGTERM)


def port_of(instance: Instance) -> int:
    return int(instance.url.rpartition(":")[2])


def many(folder: Path, count: int) -> Path:
    """Pictures that all differ, so that every one of them has to be sent."""
    folder.mkdir()
    originals = [np.asarray(Image.open(path)) for path in hundred()]
    for number in range(count):
        pixels = originals[number % 100].copy()
        pixels[0, :3] = [number >> 8 & 255, number & 255, number % 7]
        Image.fromarray(pixels).save(folder / f"{number:05}.png")
    return folder


@pytest.mark.long
@needs_nginx
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_night_loses_nothing_while_one_of_two_services_is_ended_again_and_again(
    number: signal.Signals, instances: list[Instance], tmp_path: Path
) -> None:
    photos = many(tmp_path / "photos", 4000)
    with (
        tempfile.TemporaryDirectory() as data,
        postgresql(Path(data)) as database,
        nginx(tmp_path, free_port(), port_of(instances[0])) as url,
    ):
        through = tmp_path / "through.csv"
        command = [sys.executable, PROJECT / "batch_request.py", photos, "--url", url]
        small = {"GARMENTS_BATCH_SIZE": "4", "GARMENTS_CONNECTIONS": "4"}
        night = subprocess.Popen(
            [*command, "--output", through],
            env={**os.environ, "GARMENTS_DATABASE_URL": database, **small},
            stderr=subprocess.PIPE,
            text=True,
        )
        ended = 0
        while night.poll() is None:
            instance = instances[ended % 2]
            instance.end(number)
            ended += night.poll() is None
            instance.start()
            time.sleep(1.2)  # until nginx asks it again
        _, told = night.communicate()
        assert night.returncode == 0, told
    print(f"{ended} times ended by {number.name}, {told.count('trying again')} requests sent again")
    assert ended >= 3
    assert "4,000 of them sent" in told
    with serving() as (url, _):
        done = script(
            "batch_request.py",
            photos,
            "--output",
            tmp_path / "alone.csv",
            "--url",
            url,
            GARMENTS_DATABASE_URL=f"sqlite:///{tmp_path}/alone.db",
        )
    assert done.returncode == 0, done.stderr
    assert len(read_predictions(through, 10)) == 4000
    assert through.read_bytes() == (tmp_path / "alone.csv").read_bytes()


@needs_nginx
def test_the_proxy_keeps_an_id_takes_what_the_service_takes_and_hides_numbers(
    instances: list[Instance], boot: bytes, tmp_path: Path
) -> None:
    with nginx(tmp_path, free_port(), port_of(instances[0])) as url:
        picture = {"Content-Type": "image/png"}
        named = {**picture, "X-Request-ID": "mine-17"}
        answer = requests.post(f"{url}/predict", boot, headers=named, timeout=10)
        assert (answer.status_code, answer.headers["X-Request-ID"]) == (200, "mine-17")
        answer = requests.post(f"{url}/predict", boot, headers=picture, timeout=10)
        assert re.fullmatch("[0-9a-f]{32}", answer.headers["X-Request-ID"])
        assert requests.get(f"{url}/metrics", timeout=10).status_code == 404
        most = Settings.max_request_bytes
        answer = requests.post(f"{url}/predict", bytes(most), headers=picture, timeout=30)
        assert answer.json()["code"] == "unsupported_type"
        answer = requests.post(f"{url}/predict", bytes(most + 1), headers=picture, timeout=30)
        assert answer.status_code == 413


@needs_nginx
def test_the_proxy_writes_no_picture_to_its_disk(instances: list[Instance], tmp_path: Path) -> None:
    with nginx(tmp_path, free_port(), port_of(instances[0])) as url:
        picture = {"Content-Type": "image/png"}
        largest = bytes(Settings.max_request_bytes)
        answer = requests.post(f"{url}/predict", largest, headers=picture, timeout=30)
        assert answer.json()["code"] == "unsupported_type"
    # It warns where it makes a file of a request.
    assert "temporary file" not in (tmp_path / "error.log").read_text()


@needs_nginx
def test_a_page_behind_the_proxy_knows_its_own_forms(
    instances: list[Instance], tmp_path: Path
) -> None:
    instances[1].end(signal.SIGTERM)  # without a token each has a key of its own for its cookies
    with nginx(tmp_path, free_port(), port_of(instances[0])) as url, requests.Session() as browser:
        answer = sign_in(browser, url)
        assert answer.status_code == 303


@pytest.fixture
def database_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has services look for a database where none is, and know each other's cookies."""
    monkeypatch.setenv("GARMENTS_DATABASE_URL", "postgresql://garments@127.0.0.1:1/garments")
    monkeypatch.setenv("GARMENTS_SECRET_KEY", "k" * 32)


@needs_nginx
@pytest.mark.usefixtures("database_away")
@pytest.mark.parametrize("page", ["review", "runs", "runs/1/report"])
def test_pictures_have_their_answers_while_the_database_of_the_pages_is_away(
    page: str, instances: list[Instance], boot: bytes, tmp_path: Path
) -> None:
    picture = {"Content-Type": "image/png"}
    with nginx(tmp_path, free_port(), port_of(instances[0])) as url, requests.Session() as browser:
        sign_in(browser, url)
        for _ in range(4):
            assert browser.get(f"{url}/{page}", timeout=20).status_code == 503
            answer = requests.post(f"{url}/predict", boot, headers=picture, timeout=10)
            assert answer.status_code == 200


class BreaksOff(BaseHTTPRequestHandler):
    """Is ready, and ends without a word whenever something is posted to it."""

    posted: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def do_POST(self) -> None:
        self.posted.append(self.path)

    def log_message(self, *_: object) -> None:
        pass


@needs_nginx
@pytest.mark.parametrize(("path", "times"), [("/review/decide", 1), ("/predict", 2)])
def test_only_what_is_not_kept_is_sent_to_the_other_service_too(
    path: str, times: int, tmp_path: Path
) -> None:
    BreaksOff.posted.clear()
    port = free_port()
    with ExitStack() as both:
        for host in ("127.0.0.2", "127.0.0.3"):
            server = both.enter_context(ThreadingHTTPServer((host, port), BreaksOff))
            Thread(target=server.serve_forever).start()
            both.callback(server.shutdown)
        url = both.enter_context(nginx(tmp_path, free_port(), port))
        assert requests.post(url + path, b"x", timeout=10).status_code == 502
    assert BreaksOff.posted == [path] * times


@needs_nginx
def test_a_cookie_that_is_given_over_https_is_for_https_alone(
    instances: list[Instance], certificate: tuple[Path, Path], tmp_path: Path
) -> None:
    instances[1].end(signal.SIGTERM)  # without a token each has a key of its own for its cookies
    (own, key), port = certificate, free_port()
    tls = f"listen 127.0.0.1:{port} ssl; ssl_certificate {own}; ssl_certificate_key {key};"
    with nginx(tmp_path, free_port(), port_of(instances[0]), tls) as plain:
        for url, secure in ((plain, False), (f"https://127.0.0.1:{port}", True)):
            page = requests.get(f"{url}/sign-in", verify=str(own), timeout=10)
            assert ("Secure" in page.headers["Set-Cookie"]) is secure


def test_the_proxy_waits_longer_than_a_service_may_work_and_shorter_than_the_client() -> None:
    (seconds,) = re.findall(r"proxy_read_timeout (\d+)s;", configuration())
    (again,) = re.findall(r"proxy_next_upstream_timeout (\d+)s;", configuration())
    assert Settings.deadline_seconds < int(seconds)
    assert int(seconds) + int(again) < Settings.timeout_seconds


def test_the_proxy_gives_an_idle_connection_up_before_a_service_does() -> None:
    (seconds,) = re.findall(r"keepalive_timeout (\d+)s;", configuration())
    assert int(seconds) * 1000 < HEAD_MILLISECONDS


@pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd is not here: install it"
)
def test_systemd_finds_nothing_wrong_with_the_units(tmp_path: Path) -> None:
    paths = []
    for unit in [*DEPLOY.glob("*.service"), *DEPLOY.glob("*.timer")]:
        paths.append(tmp_path / unit.name)
        # It looks for the program, which is where the tests run.
        text = unit.read_text(encoding="utf-8").replace(
            "/opt/garments/.venv/bin", sys.prefix + "/bin"
        )
        paths[-1].write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--recursive-errors=no", *paths],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert len(paths) == 3


def test_systemd_starts_the_service_again_however_often_it_fails() -> None:
    before, _, service = (
        (DEPLOY / "garments.service").read_text(encoding="utf-8").partition("[Service]\n")
    )
    assert "\nRestart=always\n" in service
    assert "\nStartLimitIntervalSec=0\n" in before  # in a section below it counts for nothing


def test_the_night_waits_for_the_mounts_that_it_reads_and_writes() -> None:
    text = (DEPLOY / "garments-night.service").read_text(encoding="utf-8")
    (folders,) = re.findall("^ExecStart=.* (/.*) --output (/.*)/", text, re.MULTILINE)
    (mounts,) = re.findall("^RequiresMountsFor=(.*)$", text, re.MULTILINE)
    assert mounts.split() == list(folders)


def test_the_night_starts_after_what_it_asks_on_the_same_machine() -> None:
    text = (DEPLOY / "garments-night.service").read_text(encoding="utf-8")
    (before,) = re.findall("^After=(.*)$", text, re.MULTILINE)
    assert {"postgresql.service", "garments.service"} <= set(before.split())


def test_service_and_night_keep_their_database_where_both_may_write() -> None:
    for name in ("garments.service", "garments-night.service"):
        text = (DEPLOY / name).read_text(encoding="utf-8")
        (url,) = re.findall("^Environment=GARMENTS_DATABASE_URL=(.*)$", text, re.MULTILINE)
        (writable,) = re.findall("^ReadWritePaths=-?(.*)$", text, re.MULTILINE)
        assert url == f"sqlite:///{writable}/predictions.db"
        # What stands in the file counts more than what comes before it.
        assert text.index("Environment=") < text.index("EnvironmentFile=")


def test_the_timer_has_a_time_that_every_day_has_everywhere() -> None:
    text = (DEPLOY / "garments-night.timer").read_text(encoding="utf-8")
    (time_of_day,) = re.findall(r"^OnCalendar=\*-\*-\* (\S+)$", text, re.MULTILINE)
    first = datetime.fromisoformat(f"2026-01-01 {time_of_day}")
    nights = [first + timedelta(days=number) for number in range(365)]
    for zone in map(ZoneInfo, available_timezones()):
        for night in nights:
            # A time that clocks leave out comes back from UTC as another one.
            back = night.replace(tzinfo=zone).astimezone(timezone.utc).astimezone(zone)
            assert back.replace(tzinfo=None) == night, zone
    assert f"the nightly run at {time_of_day[:5]}," in (DEPLOY / "README.md").read_text("utf-8")
