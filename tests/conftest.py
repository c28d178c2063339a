"""What several tests need: the model, test pictures, a service in this process and a real one."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import requests
import sqlalchemy as sa
from flask.testing import FlaskClient
from PIL import Image

from benchmarks.service import free_port
from garments import dataset
from garments.batch.pauses import growing_pauses
from garments.engine import Engine
from garments.settings import Settings
from garments.web import create_app

if TYPE_CHECKING:
    from tests.places import Place

PROJECT = Path(__file__).parent.parent
MODEL = PROJECT / "model" / "fashion-mnist"
IMAGES = PROJECT / "images"
SHARED = PROJECT.parent / "shared"
# Read here, since no test sees the settings of whoever runs it.
DATASET = Path(os.environ["GARMENTS_DATASET_DIR"]) if "GARMENTS_DATASET_DIR" in os.environ else None


@pytest.fixture(scope="session", autouse=True)
def _no_settings_from_outside() -> Iterator[None]:
    """Of the session, since what is begun once for several tests is begun before theirs."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("GARMENTS_", "RAY_"))]:
            patch.delenv(name)
        yield


def hundred() -> list[Path]:
    """The pictures that the repository keeps, whatever `make images` has added to them."""
    paths = sorted(
        IMAGES.glob("image_*_label_?.png"), key=lambda path: int(path.stem.split("_")[1])
    )
    return [path for n in range(10) for path in [p for p in paths if p.stem.endswith(f"_{n}")][:10]]


@pytest.fixture(scope="session")
def sample() -> dataset.Dataset:
    """The hundred pictures of the repository, shuffled."""
    paths = hundred()
    return dataset.Dataset(
        np.stack([np.asarray(Image.open(path)) for path in paths]),
        np.array([int(path.stem[-1]) for path in paths], dtype=np.uint8),
    ).take(np.random.default_rng(0).permutation(len(paths)))


@pytest.fixture(scope="session")
def engine() -> Engine:
    return Engine(MODEL)


@pytest.fixture(scope="session")
def test_set() -> dataset.Dataset:
    """The 10,000 test pictures."""
    for folder in (DATASET, dataset.SYSTEM_DIRECTORY, PROJECT / "Data" / "idx"):
        if folder is not None and all((folder / name).exists() for name in dataset.SHA256):
            return dataset.read_idx("test", folder)
    pytest.skip("Fashion-MNIST is not here: install Debian's package dataset-fashion-mnist")


@pytest.fixture(scope="session")
def boot() -> bytes:
    """The file of a picture that is surely an ankle boot."""
    return (IMAGES / "image_0_label_9.png").read_bytes()


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate of 127.0.0.1 that nobody else has signed, and its key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not here: install Debian's package openssl")
    folder = tmp_path_factory.mktemp("certificate")
    made, key = folder / "certificate.pem", folder / "key.pem"
    command = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=test"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", made]
    subprocess.run(command, check=True, capture_output=True)
    return made, key


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the committed model alone, whatever else has been trained into model/."""
    folder = tmp_path_factory.mktemp("model")
    (folder / MODEL.name).symlink_to(MODEL)
    return folder


@pytest.fixture(scope="session")
def both_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both committed models, whatever else has been trained into model/."""
    folder = tmp_path_factory.mktemp("model")
    for name in ("fashion-mnist", "photo"):
        (folder / name).symlink_to(PROJECT / "model" / name)
    return folder


@pytest.fixture(scope="session")
def accepting_nothing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the committed model, to whose answers nobody could make a promise."""
    folder = tmp_path_factory.mktemp("unsure")
    shutil.copytree(MODEL, folder / MODEL.name)
    card = folder / MODEL.name / "card.json"
    card.write_text(json.dumps({**json.loads(card.read_text()), "accept_threshold": 2.0}))
    return folder


@pytest.fixture
def make_client(models: Path) -> Callable[..., FlaskClient]:
    """Build the service in this process, with the given settings changed."""

    def make(**changes: object) -> FlaskClient:
        return create_app(replace(Settings(model_dir=models), **changes)).test_client()

    return make


@pytest.fixture
def client(make_client: Callable[..., FlaskClient]) -> FlaskClient:
    return make_client()


@pytest.fixture
def time_zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Sets the time zone of this machine."""

    def at(zone: str) -> None:
        monkeypatch.setenv("TZ", zone)
        time.tzset()

    yield at
    monkeypatch.undo()
    time.tzset()


def script(
    name: str, *arguments: object, cwd: Path = PROJECT, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run one of the scripts as a person does, to its end."""
    dataset_dir = {"GARMENTS_DATASET_DIR": str(DATASET)} if DATASET else {}
    return subprocess.run(
        [sys.executable, PROJECT / name, *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, **dataset_dir, **environment},
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )


def telling_nobody(module: str, *arguments: object, **environment: str) -> tuple[int, str]:
    """Run a module whose output finds no room: its exit code, and what it says of that."""
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", module, *map(str, arguments)],
            cwd=PROJECT,
            env={**os.environ, **environment},
            check=False,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=120,
        )
    return done.returncode, done.stderr


def until(condition: Callable[[], object], within: float = 20, every: float = 0.01) -> None:
    """Return as soon as the condition holds; fail where it does not for so many seconds."""
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, "it has not come to that"
        time.sleep(every)


@contextmanager
def serving(
    *arguments: str, port: int | None = None, log: Path | None = None, **environment: str
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Run `python app.py` until it is ready, on a free port if none is given; stop it at the end.

    Its log goes to the end of `log`, or without the lines of requests to where the test's own goes.
    """
    port = port or free_port()
    url = f"http://127.0.0.1:{port}"
    quick = {"GARMENTS_DRAIN_SECONDS": "0", "GARMENTS_REQUEST_LOG": str(int(log is not None))}
    with nullcontext() if log is None else log.open("ab") as stderr:
        process = subprocess.Popen(
            [sys.executable, "app.py", "--port", str(port), *arguments],
            cwd=PROJECT,
            env={**os.environ, **quick, **environment},
            stderr=stderr,
        )
    try:
        wait_until_ready(url, process, environment.get("GARMENTS_API_TOKEN", ""))
        yield url, process
    finally:
        process.terminate()
        try:
            assert process.wait(timeout=40) == 0
        finally:
            process.kill()


def wait_until_ready(url: str, process: subprocess.Popen[bytes], token: str = "") -> None:
    """Return as soon as the service that `process` starts answers that it is ready."""
    headers = {"Authorization": f"Bearer {token}"}
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        assert process.poll() is None, "the service ended instead of starting"
        with suppress(requests.ConnectionError, requests.Timeout):  # nobody may answer yet
            if requests.get(f"{url}/ready", headers=headers, timeout=5).ok:
                return
        time.sleep(0.02)
    raise AssertionError("the service is not ready")


def sign_in(browser: requests.Session, url: str, name: str = "Ann") -> requests.Response:
    """Send a service without a token the form that says who is there."""
    page = browser.get(f"{url}/sign-in", timeout=10)
    (token,) = re.findall('name="csrf_token" value="([^"]+)"', page.text)
    return browser.post(
        f"{url}/sign-in",
        {"name": name, "csrf_token": token},
        headers={"Origin": url},  # all that a browser tells a host without TLS
        allow_redirects=False,
        timeout=10,
    )


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    from tests.databases import postgresql  # which has its port from here

    # Not where pytest keeps its folders: another run of it would shut its user out.
    with tempfile.TemporaryDirectory() as folder, postgresql(Path(folder)) as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/predictions.db"
        return
    server = request.getfixturevalue("postgresql_server")
    yield server
    engine = sa.create_engine(server.replace("postgresql:", "postgresql+psycopg:"))
    with engine.begin() as connection:
        connection.execute(sa.text("DROP SCHEMA public CASCADE"))
        connection.execute(sa.text("CREATE SCHEMA public"))
    engine.dispose()


@pytest.fixture(scope="session")
def service(models: Path) -> Iterator[str]:
    """The address of a real service that runs in processes of its own."""
    with serving(GARMENTS_MODEL_DIR=str(models)) as (url, _):
        yield url


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that waits a tenth as long as it would before it tries again."""
    monkeypatch.setattr(
        "garments.batch.client.growing_pauses",
        lambda first, longest: growing_pauses(first / 10, longest / 10),
    )


@pytest.fixture
def place(tmp_path: Path) -> "Place":
    from tests.places import Place  # whose service has its model from here

    return Place(tmp_path)


@pytest.fixture(params=["linked", "copied"])
def archive(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Path:
    """A folder on the same file system, or as on another."""
    if request.param == "copied":
        from tests.places import stay_apart

        monkeypatch.setattr("garments.batch.archive.os.link", stay_apart)
    return tmp_path / "archive"
