import csv
import errno
import fcntl
import logging
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from importlib.util import find_spec
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from benchmarks.service import family
from garments import batch, cluster
from garments.batch.walk import Found
from garments.card import read_model
from garments.cells import name_of
from garments.cluster import driver_process, sorter, table
from garments.cluster.parts import Part, Parts, as_text, cut, packed
from garments.cluster.places import Place
from garments.cluster.sorter import Sorter, Work
from garments.predictions import Row, read_predictions
from garments.preprocess import Limits
from garments.settings import Settings
from garments.store import Busy, Stamp
from tests import hostile
from tests.conftest import IMAGES, MODEL, PROJECT, free_port, hundred, script, serving, until
from tests.namespaces import loopback, machines
from tests.pictures import encoded
from tests.ray_nodes import SECRET, Cluster
from tests.ray_nodes import cluster as ray_cluster
from tests.s3 import CREDENTIALS, Bucket, Interrupted, bucket

needs_ray = pytest.mark.skipif(
    find_spec("ray") is None or find_spec("pyarrow") is None,
    reason="Ray is not here: make cluster",
)
ODD_NAMES = (
    b"=1+1.png", b"a,b.png", b'quo"te.PNG', b"new\nline.png", b"caf\xe9.png", b"file:x.png",
    "männer/ü.png".encode(), b"per%20cent.png",
    b"back\\slash.png", b" space .png", b"deep/er/still.png",
)  # fmt: skip


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The hundred pictures, odd files and odd names."""
    folder = tmp_path_factory.mktemp("cluster") / "photos"
    folder.mkdir()
    contents = {path.name.encode(): path.read_bytes() for path in hundred()}
    contents |= {name.encode(): data for name, data in hostile.own().items()}
    for name, data in (contents | dict.fromkeys(ODD_NAMES, hostile.BOOT)).items():
        path = os.path.join(os.fsencode(folder), name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(data)
    return folder


@pytest.fixture(scope="module")
def nightly(photos: Path) -> bytes:
    """The table that the nightly client writes of `photos`."""
    output = photos.parent / "nightly.csv"
    with serving() as (url, _):
        done = script(
            "batch_request.py",
            photos,
            "--output",
            output,
            "--url",
            url,
            GARMENTS_DATABASE_URL=f"sqlite:///{output}.db",
        )
    assert done.returncode == 1, done.stderr
    return output.read_bytes()


@pytest.fixture(scope="module")
def alone() -> Iterator[list[str]]:
    """The words that run a command where nodes, jobs and store are, and nobody else is."""
    with loopback() as words:
        yield words


@pytest.fixture(scope="module")
def nodes(alone: list[str]) -> Iterator[Cluster]:
    """A head and two workers."""
    with ray_cluster(2, alone, **CREDENTIALS) as made:
        yield made


def command(photos: object, output: object) -> list[str]:
    program = [sys.executable, str(PROJECT / "batch_request.py"), str(photos)]
    return [*program, "--engine", "ray", "--output", str(output)]


def job(nodes: Cluster, photos: object, output: object) -> subprocess.CompletedProcess[str]:
    """Run a job to its end."""
    return subprocess.run(
        [*nodes.here, *command(photos, output)],
        env=nodes.environment,
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.long
@needs_ray
def test_a_job_writes_what_the_nightly_client_writes_byte_for_byte(
    nodes: Cluster, photos: Path, nightly: bytes, tmp_path: Path
) -> None:
    done = job(nodes, photos, tmp_path / "p.csv")
    assert done.returncode == 1, done.stderr
    assert (tmp_path / "p.csv").read_bytes() == nightly


@pytest.mark.long
@needs_ray
def test_nothing_of_a_tests_cluster_is_where_others_reach_it(nodes: Cluster) -> None:
    links = subprocess.check_output([*nodes.here, "ip", "-brief", "link"], text=True).splitlines()
    assert [line.split()[0] for line in links] == ["lo"]
    outside = os.readlink("/proc/self/ns/net")
    found = [pid for node in nodes.nodes for pid in family(node.process.pid)]
    assert len(found) > len(nodes.nodes)
    for pid in found:
        with suppress(FileNotFoundError):  # a worker that has ended meanwhile
            assert os.readlink(f"/proc/{pid}/ns/net") != outside


@pytest.mark.long
@needs_ray
def test_parquet_has_the_same_rows(
    nodes: Cluster, photos: Path, nightly: bytes, tmp_path: Path
) -> None:
    done = job(nodes, photos, tmp_path / "p.parquet")
    assert done.returncode == 1, done.stderr
    from pyarrow import parquet

    rows = parquet.read_table(tmp_path / "p.parquet").to_pylist()
    told = list(csv.DictReader(nightly.decode().splitlines(keepends=True)))
    for row in rows:
        if row["confidence"] is not None:
            row["confidence"] = f"{row['confidence']:.4f}"
    assert [{k: "" if v is None else str(v) for k, v in row.items()} for row in rows] == told


@pytest.mark.long
@needs_ray
def test_another_job_looks_only_at_the_part_that_changed(nodes: Cluster, tmp_path: Path) -> None:
    photos = many(tmp_path / "photos", 2000)
    first = job(nodes, photos, tmp_path / "p.csv")
    assert "2,000 of them looked at" in first.stderr
    again = job(nodes, photos, tmp_path / "p.csv")
    assert "0 of them looked at" in again.stderr
    (photos / "00017_new.png").write_bytes(hundred()[0].read_bytes())
    third = job(nodes, photos, tmp_path / "p.csv")
    looked_at = int(third.stderr.split(" of them looked at")[0].rsplit(" ", 1)[1].replace(",", ""))
    assert 1 <= looked_at <= 2001 * 0.9, third.stderr
    check(tmp_path / "p.csv", photos)


def many(folder: Path, count: int) -> Path:
    """As many names for the hundred pictures."""
    folder.mkdir()
    originals = hundred()
    copies = [folder.parent / f"{folder.name}-{path.name}" for path in originals]
    for path, copy in zip(originals, copies, strict=True):
        copy.write_bytes(path.read_bytes())
    for number in range(count):
        (folder / f"{number:05}_{originals[number % 100].name}").hardlink_to(copies[number % 100])
    return folder


def check(output: Path, photos: Path) -> None:
    """Every photo has one row, and copies of a picture have the same answer."""
    rows = read_predictions(output, 10)
    assert [row.filename for row in rows] == sorted(path.name for path in photos.iterdir())
    answers: dict[str, set[tuple[str, ...]]] = {}
    for row in rows:
        answers.setdefault(row.filename.partition("_")[2], set()).add(row[1:])
    assert all(len(found) == 1 for found in answers.values())
    assert all(row.decision != "unreadable" for row in rows)


def begun(
    within: Sequence[str], environment: dict[str, str], photos: object, output: object
) -> subprocess.Popen[str]:
    """A job that has just begun."""
    job = [*within, *command(photos, output)]
    return subprocess.Popen(job, env=environment, stderr=subprocess.PIPE, text=True)


def running(nodes: Cluster, photos: Path, output: Path, parts: int) -> subprocess.Popen[str]:
    """A job that has written some parts, but not all."""
    process = begun(nodes.here, nodes.environment, photos, output)
    folder = output.with_name(f"{output.name}.parts")
    deadline = time.monotonic() + 60
    while len([*folder.glob("*.csv")]) < parts:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.005)
    assert not output.exists()
    return process


@pytest.mark.long
@needs_ray
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_job_whose_driver_dies_is_finished_by_the_next(
    number: signal.Signals, nodes: Cluster, tmp_path: Path
) -> None:
    photos, output = many(tmp_path / "photos", 12_000), tmp_path / "p.csv"
    process = running(nodes, photos, output, parts=3)
    process.send_signal(number)
    _, told = process.communicate(timeout=60)
    assert process.returncode == (130 if number == signal.SIGTERM else -9), told
    assert not output.exists()
    kept = sum(
        len(path.read_bytes().splitlines()) for path in tmp_path.glob("p.csv.parts/*[!.].csv")
    )
    done = job(nodes, photos, output)
    assert done.returncode == 0, done.stderr
    assert 0 < kept < 12_000
    assert f"{12_000 - kept:,} of them looked at" in done.stderr
    check(output, photos)


@pytest.mark.long
@needs_ray
@pytest.mark.slow
def test_a_job_whose_cluster_dies_says_so_and_writes_no_table(tmp_path: Path) -> None:
    photos, output = many(tmp_path / "photos", 12_000), tmp_path / "p.csv"
    with machines(1) as ((head, here),):
        # Ray waits a minute for a head that is gone.
        doomed = Cluster({"RAY_gcs_rpc_server_reconnect_timeout_s": "5"}, here, head)
        try:
            doomed.wait_for(0)
            doomed.add(head)
            doomed.wait_for(1)
            process = running(doomed, photos, output, parts=1)
        finally:
            doomed.close()
        _, told = process.communicate(timeout=150)
    assert process.returncode == 3, told
    assert "ERROR the cluster failed: " in told
    assert told.endswith(f"that are missing; {output} was not written\n"), told
    assert not output.exists()


def names_in(namespace: str) -> Iterator[str]:
    """Of the programs that run there."""
    for pid in subprocess.check_output(["ip", "netns", "pids", namespace], text=True).split():
        with suppress(OSError):
            yield Path(f"/proc/{pid}/comm").read_text().strip()


@pytest.mark.long
@needs_ray
@pytest.mark.slow
@pytest.mark.usefixtures("heeded")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_ray_starts_ends_the_job_and_its_node(
    number: signal.Signals, tmp_path: Path
) -> None:
    photos, output = many(tmp_path / "photos", 10), tmp_path / "p.csv"
    with (
        tempfile.TemporaryDirectory(prefix="r", dir="/tmp") as folder,
        machines(1) as ((_, here),),
    ):
        process = begun(here, {**os.environ, **SECRET, "RAY_TMPDIR": folder}, photos, output)
        deadline = time.monotonic() + 60
        while not [*Path(folder).glob("ray/session_*")]:
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < deadline
            time.sleep(0.005)
        process.send_signal(number)
        _, told = process.communicate(timeout=60)
        assert process.returncode == 130, told
        assert told.endswith(f"ERROR interrupted; {output} was not written\n"), told
        # Agents of a node that has ended find that out by themselves, half a minute later.
        until(lambda: {"raylet", "gcs_server"}.isdisjoint(names_in(here[-1])), within=10)


@pytest.mark.long
@needs_ray
@pytest.mark.slow
def test_a_cluster_of_the_jobs_own_asks_for_a_token_of_its_own(tmp_path: Path) -> None:
    photos, output = many(tmp_path / "photos", 10), tmp_path / "p.csv"
    with (
        tempfile.TemporaryDirectory(prefix="r", dir="/tmp") as folder,
        machines(1) as ((_, here),),
    ):
        its_own = {**os.environ, "RAY_TMPDIR": folder, "HOME": "/proc/nothing"}
        process = begun(here, its_own, photos, output)
        asked: set[bytes] = set()
        while process.poll() is None and not asked:
            for pid in family(process.pid):
                with suppress(OSError):
                    if b"gcs_server" in Path(f"/proc/{pid}/cmdline").read_bytes():
                        asked = {*Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")}
            time.sleep(0.05)
        _, told = process.communicate(timeout=120)
    assert process.returncode == 0, told
    assert b"RAY_AUTH_MODE=token" in asked
    assert any(re.fullmatch(rb"RAY_AUTH_TOKEN=[0-9a-f]{64}", variable) for variable in asked)
    assert "authentication" not in told


@pytest.mark.long
@needs_ray
@pytest.mark.slow
def test_a_job_on_machines_with_their_own_addresses_outlives_one_of_them(tmp_path: Path) -> None:
    photos, output = many(tmp_path / "photos", 12_000), tmp_path / "p.csv"
    with machines(3) as ((head, here), (first, there), (second, elsewhere)):
        apart = Cluster({}, here, head)
        try:
            apart.wait_for(0)
            apart.add(first, within=there)
            apart.wait_for(1)
            doomed = apart.add(second, within=elsewhere)
            apart.wait_for(2)
            process = running(apart, photos, output, parts=3)
            doomed.kill()
            _, told = process.communicate(timeout=150)
        finally:
            apart.close()
    assert process.returncode == 0, told
    check(output, photos)


@pytest.fixture(scope="module")
def store(alone: list[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bucket]:
    with bucket(tmp_path_factory.mktemp("s3"), alone) as made:
        yield made


@pytest.mark.long
@needs_ray
def test_photos_of_a_bucket_get_the_same_rows_in_a_bucket(
    nodes: Cluster, store: Bucket, photos: Path, nightly: bytes
) -> None:
    objects = {}
    for path in photos.rglob("*"):
        name = os.fsencode(path.relative_to(photos))
        if path.is_file() and name.decode("latin-1").isprintable() and name.isascii():
            objects[f"returns/{name.decode()}"] = path.read_bytes()
    store.put(objects)
    done = job(nodes, store.url("returns"), store.url("tables/p.csv"))
    assert done.returncode == 1, done.stderr
    header, *rows = csv.reader(nightly.decode().splitlines(keepends=True))
    wanted = [row for row in rows if row[0].isascii() and row[0].isprintable()]
    wanted = [row for row in wanted if not row[0].startswith("file:")]
    found = csv.reader(store.get("tables/p.csv").decode().splitlines(keepends=True))
    assert [*found] == [header, *wanted]


@pytest.mark.long
@needs_ray
def test_an_object_that_is_overwritten_is_looked_at_again(
    nodes: Cluster, store: Bucket, tmp_path: Path
) -> None:
    first, other = hundred()[0], hundred()[95]
    store.put({"again/a.png": first.read_bytes()})
    job(nodes, store.url("again/*.png"), tmp_path / "p.csv")
    (before,) = read_predictions(tmp_path / "p.csv", 10)
    store.put({"again/a.png": other.read_bytes()})
    job(nodes, store.url("again/*.png"), tmp_path / "p.csv")
    (after,) = read_predictions(tmp_path / "p.csv", 10)
    assert (before.prediction, after.prediction) == (first.stem[-1], other.stem[-1])


@needs_ray
@pytest.mark.long
def test_a_store_that_goes_away_leaves_the_table_as_it_was(tmp_path: Path) -> None:
    output, words = tmp_path / "p.csv", hundred()[0].read_bytes()
    output.write_text("the table of yesterday")
    with (
        tempfile.TemporaryDirectory(prefix="r", dir="/tmp") as folder,
        machines(1) as ((_, here),),
    ):
        with bucket(tmp_path, here) as made:
            made.put({f"away/{number}.png": words for number in range(60)})
            environment = {**os.environ, **CREDENTIALS, **SECRET, "RAY_TMPDIR": folder}
            process = begun(here, environment, made.url("away"), output)
            assert process.stderr
            assert any("60 images in" in line for line in process.stderr)
        _, told = process.communicate(timeout=120)
    assert process.returncode == 3, told
    assert "s3://photos/away/" in told
    assert f"run the job again, it goes on with the parts that are missing; {output}" in told
    assert output.read_text() == "the table of yesterday"


@needs_ray
@pytest.mark.long
@pytest.mark.parametrize(
    ("key", "told"),
    [
        ("first//a.png", "first// cannot be listed"),
        ("second/2026//a.png", "second/2026// cannot be listed"),
        ("third/x/../a.png", "third/x/../ cannot be read"),
        ("fourth/./a.png", "fourth/./ cannot be read"),
    ],
)
def test_a_key_with_an_empty_name_or_dots_in_it_ends_the_job_which_says_where(
    key: str, told: str, nodes: Cluster, store: Bucket, tmp_path: Path
) -> None:
    store.put_plainly(key)
    done = job(nodes, store.url(key.partition("/")[0]), tmp_path / "p.csv")
    assert done.returncode == 2, done.stderr
    assert f"s3://photos/{told}: rename the objects" in done.stderr


@pytest.fixture
def heeded() -> Iterator[None]:
    """Ctrl-C is heeded, which it is not where a shell started the tests in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@needs_ray
@pytest.mark.usefixtures("heeded")
def test_a_table_whose_upload_is_interrupted_is_there_as_a_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [Row("a.png", error="x"), Row("b.png", error="y")]
    table.write(rows, str(tmp_path / "p.csv"))
    interrupted = Interrupted()
    monkeypatch.setattr(table, "file_system", interrupted.file_system)
    told = pytest.raises(KeyboardInterrupt, match="interrupted while s3://photos/p.csv was written")
    with told:
        table.write(rows, "s3://photos/p.csv")
    assert interrupted.objects == {"photos/p.csv": (tmp_path / "p.csv").read_bytes()}


@needs_ray
@pytest.mark.usefixtures("heeded")
def test_a_part_whose_upload_is_interrupted_is_there_as_a_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    interrupted = Interrupted()
    monkeypatch.setattr("garments.cluster.parts.file_system", interrupted.file_system)
    parts, text = Parts("s3://photos/p.csv.parts"), as_text([Row("a.png", error="x")])
    with pytest.raises(KeyboardInterrupt):
        parts.write("part", text, again=False)
    assert interrupted.objects == {"photos/p.csv.parts/part.csv": text}


@needs_ray
def test_a_part_without_rows_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Interrupted()
    store.objects = {"photos/p.csv.parts/a.csv": b"", "photos/p.csv.parts/b.csv": b"b.png"}
    monkeypatch.setattr("garments.cluster.parts.file_system", store.file_system)
    parts = Parts("s3://photos/p.csv.parts")
    assert ["a" in parts, "b" in parts] == [False, True]
    parts.forget_unfinished()
    assert list(store.objects) == ["photos/p.csv.parts/b.csv"]


@needs_ray
def test_a_link_to_a_file_of_another_form_is_no_output(tmp_path: Path) -> None:
    (tmp_path / "p.csv").symlink_to("a.png")
    (tmp_path / "a.png").write_bytes(b"a photo")
    with pytest.raises(batch.UsageError, match="p.csv is a link to .*a.png, which is no such file"):
        cluster.run(str(IMAGES), str(tmp_path / "p.csv"), Settings())
    assert (tmp_path / "a.png").read_bytes() == b"a photo"


@needs_ray
@pytest.mark.usefixtures("without_ray")
def test_what_fails_after_the_table_is_told_so(tmp_path: Path) -> None:
    photos, output = many(tmp_path / "photos", 1), tmp_path / "p.csv"
    (tmp_path / "p.csv.parts" / "old.csv").mkdir(parents=True)  # what is no file is not removed
    told = rf"p.csv is written; then: Is a directory \({output}.parts/old.csv\)"
    with pytest.raises(batch.AfterwardsError, match=told):
        cluster.run(str(photos), str(output), Settings(settle_seconds=0))
    assert output.exists()


@needs_ray
@pytest.mark.parametrize("stale", [False, True])
def test_a_cluster_that_does_not_answer_is_told_at_once(
    stale: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from garments.cluster.connect import cluster as connected

    address, told = f"127.0.0.1:{free_port()}", "see RAY_ADDRESS"
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.setenv("RAY_ADDRESS", "" if stale else address)
    if stale:
        (tmp_path / "ray").mkdir()
        (tmp_path / "ray" / "ray_current_cluster").write_text(address)
        told = f"run `ray stop` or remove {tmp_path}/ray/ray_current_cluster, which names it"
    match = re.escape(f"no cluster answers at {address} (Connection refused): ") + ".*" + told
    with pytest.raises(batch.ServiceError, match=match), connected():
        pass


@needs_ray
def test_a_node_that_does_not_start_is_told_with_what_helps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    from garments.cluster.connect import cluster as connected

    def fails(**_: object) -> None:
        raise Exception("The current node timed out during startup.")  # noqa: TRY002 (as Ray)

    for name in ("RAY_ADDRESS", "RAY_AUTH_TOKEN", "RAY_USAGE_STATS_ENABLED"):
        monkeypatch.setenv(name, "")  # what is set meanwhile goes again
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.setattr(ray, "init", fails)
    match = "no cluster can be used: The current node timed out .*logs.* RAY_TMPDIR .* 107 bytes"
    with pytest.raises(batch.ServiceError, match=match), connected():
        pass


def _dies(*_: object) -> None:
    os._exit(1)


def _dies_in_a_message(connection: Connection, _: object) -> None:
    os.write(connection.fileno(), struct.pack("!i", 40_000) + bytes(1_000))
    os._exit(1)


@needs_ray
@pytest.mark.parametrize("dying", [_dies, _dies_in_a_message])
def test_a_process_that_ends_without_a_word_is_told_so(
    dying: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("garments.cluster.driver_process._run", dying)
    photos, output = many(tmp_path / "photos", 1), tmp_path / "p.csv"
    output.write_text("the table of yesterday")
    told = r"the cluster failed: Ray ended its process \(code 1\); run the job again"
    with pytest.raises(batch.ServiceError, match=told):
        cluster.run(str(photos), str(output), Settings())
    assert output.read_text() == "the table of yesterday"


def _ends_by_itself(connection: Connection, place: Path) -> None:
    for some in iter(connection.recv, None):
        for part in some:
            connection.send((part["part"], b"", False, ""))
        connection.send(None)
    place.touch()


def test_a_process_that_has_done_its_work_is_not_ended_by_a_signal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("garments.cluster.driver_process._run", _ends_by_itself)
    (tmp_path / "parts").mkdir()
    parts = Parts(str(tmp_path / "parts"))
    assert driver_process.sort(tmp_path / "ended", [Part("a", [])], parts) == 0
    assert (tmp_path / "ended").exists()


def _gives_a_part_twice(connection: Connection, _: object) -> None:
    for some in iter(connection.recv, None):
        for part in some:
            for error in ("first", "again"):
                rows = as_text([Row("a.png", error=error)])
                connection.send((part["part"], rows, False, ""))
        connection.send(None)


def test_a_part_that_a_lost_worker_has_given_already_counts_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("garments.cluster.driver_process._run", _gives_a_part_twice)
    parts = Parts(str(tmp_path / "parts"))
    part = Part("a", [Found(b"a.png", Stamp(1, 2, 3))])
    assert driver_process.sort(tmp_path, [part], parts) == 1
    assert [row.error for row in parts.rows("a")] == ["first"]


@needs_ray
@pytest.mark.parametrize(
    "step", ["garments.cluster.parts.Parts.keep", "garments.batch.findings.Findings.close"]
)
@pytest.mark.parametrize(
    ("failure", "told"),
    [
        (PermissionError("AWS Error ACCESS_DENIED"), "csv is written; then: AWS Error ACCESS_DENI"),
        (ZeroDivisionError("by nothing"), "csv is written; then: ZeroDivisionError"),
        (KeyboardInterrupt(), "interrupted when .*csv was written"),
    ],
)
def test_whatever_happens_after_the_table_is_told_so(
    step: str,
    failure: BaseException,
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def failing(*_: object) -> None:
        raise failure

    (tmp_path / "photos").mkdir()
    monkeypatch.setattr(step, failing)
    kind = KeyboardInterrupt if isinstance(failure, KeyboardInterrupt) else batch.AfterwardsError
    with pytest.raises(kind, match=told):
        cluster.run(str(tmp_path / "photos"), str(tmp_path / "p.csv"), Settings())
    assert (tmp_path / "p.csv").exists()


@pytest.mark.parametrize(
    ("chosen", "told"),
    [
        ({"archive": Path("x")}, "--archive cannot be had with --engine ray"),
        ({"fresh": True, "url": "http://x"}, "--fresh, --url cannot be had"),
        ({"output": "p.txt"}, "must end in .csv or .parquet"),
        ({"output": "none/p.csv"}, "none is no folder: make it"),
        ({"directory": "gs://bucket"}, "gs:// is not served"),
        ({"directory": "s3:///x"}, "names no bucket"),
        ({"directory": "s3://pho*/x"}, r"s3://pho\*/x has a wildcard for its bucket: write s3://"),
        ({"directory": "s3://[a]/x"}, "has a wildcard for its bucket"),
        ({"directory": "x[2026-11]/*"}, r"\[2026-11\] in .* 6-1 has none: write \[\[\] for a"),
        ({"directory": f"{IMAGES}/*.jpg"}, "matches no image: look whether the pattern is right"),
        ({"directory": "s3://bucket/x//y"}, "an empty name between two slashes"),
        ({"directory": "s3://bucket/x//*.png"}, "an empty name between two slashes"),
        ({"directory": "s3://bucket/x/../y"}, r"the name \.\. between two slashes"),
        ({"directory": "none"}, "none' cannot be listed"),
        ({"model": "none"}, "none is no model folder"),
    ],
)
@needs_ray
def test_a_job_refuses_what_it_cannot_do(
    chosen: dict[str, object], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    given = {"directory": str(IMAGES), "output": "p.csv", "settings": Settings(), **chosen}
    with pytest.raises(batch.UsageError, match=told):
        cluster.run(**given)  # type: ignore[arg-type]
    assert not (tmp_path / "p.csv").exists()


def test_a_job_without_ray_says_what_to_install(tmp_path: Path) -> None:
    hidden = "import sys; sys.modules['ray'] = sys.modules['pyarrow'] = None"
    (tmp_path / "sitecustomize.py").write_text(hidden)
    done = script("batch_request.py", "--engine", "ray", cwd=tmp_path, PYTHONPATH=str(tmp_path))
    assert done.returncode == 2
    assert "make cluster" in done.stderr


@needs_ray
def test_one_job_at_a_time_writes_an_output(tmp_path: Path) -> None:
    (tmp_path / "p.csv.parts").mkdir()
    with (tmp_path / "p.csv.parts" / "lock").open("w") as held:
        held.write("17")
        held.flush()
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(Busy, match="process 17"):
            cluster.run(str(IMAGES), str(tmp_path / "p.csv"), Settings())


@needs_ray
@pytest.mark.usefixtures("without_ray")
def test_a_job_by_another_name_of_its_output_is_no_other_job(tmp_path: Path) -> None:
    photos, settings = many(tmp_path / "photos", 3), Settings(settle_seconds=0)
    real, link = tmp_path / "real.csv", tmp_path / "link.csv"
    link.symlink_to(real)
    assert cluster.run(str(photos), str(link), settings).sorted == 3
    assert link.is_symlink()
    assert cluster.run(str(photos), str(real), settings).sorted == 0
    with (tmp_path / "real.csv.parts" / "lock").open("r+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(Busy, match="another job writes"):
            cluster.run(str(photos), str(link), settings)


@needs_ray
def test_where_no_photo_is_any_more_what_was_sorted_is_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    part = tmp_path / "p.csv.parts" / f"{'0' * 40}.csv"
    part.parent.mkdir()
    part.write_text("rows")
    (tmp_path / "photos").mkdir()
    assert cluster.run(str(tmp_path / "photos"), str(tmp_path / "p.csv"), Settings()).found == 0
    assert part.exists()
    assert "see that it is mounted; what was sorted before is kept" in caplog.text


@pytest.mark.parametrize("name", ["", "/lock"])
@needs_ray
def test_a_parts_folder_that_cannot_be_used_is_told(name: str, tmp_path: Path) -> None:
    output = tmp_path / "p.csv"
    if name:
        (tmp_path / "p.csv.parts" / "lock").mkdir(parents=True)
    else:
        (tmp_path / "p.csv.parts").write_text("no folder")
    with pytest.raises(batch.UsageError, match=f"{output}.parts{name} cannot be used: .*hand it"):
        cluster.run(str(IMAGES), str(output), Settings())


@pytest.mark.parametrize(
    ("pattern", "matched"),
    [
        ("*.png", ["[z].png", "a.png"]),
        ("**/*.png", ["[z].png", "a.png", "x/b.png", "x/y/c.png"]),
        ("x/*", ["x/b.png"]),
        ("?.png", ["a.png"]),
        ("[!b-z].png", ["a.png"]),
        ("x/**", ["x/b.png", "x/y/c.png"]),
        ("x/*/*", ["x/y/c.png"]),
        ("*/**/c*", ["x/y/c.png"]),
        ("x[!y]b.png", []),
        ("x[+-9]b.png", []),
        ("[[]z].png", ["[z].png"]),
        ("[]a[].png", ["a.png"]),
        ("[a&&a].png", ["a.png"]),
        ("[!].png", []),
        ("[a/]*", []),
    ],
)
def test_a_glob_names_photos(pattern: str, matched: list[str], tmp_path: Path) -> None:
    for name in ("a.png", "[z].png", "x/b.png", "x/y/c.png", "note.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    place = Place.of(f"{tmp_path}/{pattern}")
    names = {os.path.join(place.root, os.fsdecode(found.name)) for found in place.listed()}
    assert names == {str(tmp_path / name) for name in matched}


@pytest.mark.parametrize("pattern", ["*.png", "photos/*.png", "./photos//*.png", "pho*//*.png"])
def test_a_glob_may_be_relative_to_a_folder_that_looks_like_one(
    pattern: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "a [b] *" / "photos"
    folder.mkdir(parents=True)
    (folder / "a.png").touch()
    monkeypatch.chdir(folder if pattern == "*.png" else folder.parent)
    place = Place.of(pattern)
    (found,) = place.listed()
    assert os.path.join(place.root, os.fsdecode(found.name)) == str(folder / "a.png")


@pytest.mark.parametrize("pattern", ["2026-11-*/**", "2026-11-*/*", "2026*/a.png"])
def test_a_folder_that_a_glob_does_not_mean_is_not_listed(
    pattern: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "2026-11-01").mkdir()
    (tmp_path / "2026-11-01" / "a.png").touch()
    (tmp_path / "lost+found").mkdir()
    real = os.scandir

    def scandir(path: bytes) -> object:
        if path.endswith(b"lost+found"):
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    found = Place.of(f"{tmp_path}/{pattern}").listed()
    assert [one.name for one in found] == [b"2026-11-01/a.png"]


class _Listing:
    """A store of keys, as PyArrow lists one."""

    def __init__(self, *keys: str) -> None:
        self._keys = keys

    def get_file_info(self, selector: object) -> list[object]:
        from pyarrow.fs import FileInfo, FileType

        prefix = f"{selector.base_dir}/"  # type: ignore[attr-defined]
        below = {key[len(prefix) :].partition("/") for key in self._keys if key.startswith(prefix)}
        return [
            FileInfo(f"{prefix}{name}", FileType.Directory if slash else FileType.File, size=1)
            for name, slash in sorted({(name, slash) for name, slash, _ in below})
        ]


@needs_ray
@pytest.mark.parametrize(
    ("place", "told"),
    [
        ("s3://photos/sel", "s3://photos/sel/old// cannot be listed: rename"),
        ("s3://photos/sel/*/**", "s3://photos/sel/old// cannot be listed: rename"),
        ("s3://photos/sel/2026-11-*/**", ""),
        ("s3://photos/sel/2026-11-01", ""),
        ("s3://photos/up", r"s3://photos/up/x/\.\./ cannot be read: rename"),
        ("s3://photos/dot/*/*", r"s3://photos/dot/\./ cannot be read: rename"),
        ("s3://photos/dot/2026*/*", ""),
    ],
)
def test_keys_that_cannot_be_had_matter_where_a_glob_means_them(
    place: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = _Listing(
        *("photos/sel/2026-11-01/a.png", "photos/sel/old//x.png", "photos/up/x/../a.png"),
        *("photos/dot/2026/a.png", "photos/dot/./a.png"),
    )
    monkeypatch.setattr(Place, "_store", (store, Place.of(place).root.removeprefix("s3://")))
    if told:
        with pytest.raises(batch.UsageError, match=told):
            [*Place.of(place).listed()]
    else:
        assert [one.name[-5:] for one in Place.of(place).listed()] == [b"a.png"]


def test_a_photo_that_comes_changes_one_part() -> None:
    listing = [Found(f"{number:06}.png".encode(), Stamp(1, 2, 3)) for number in range(20_000)]
    before = [part.name for part in cut(listing, "")]
    listing.insert(5_000, Found(b"004999b.png", Stamp(1, 2, 3)))
    after = [part.name for part in cut(listing, "")]
    assert len(before) > 20
    assert len(set(after) - set(before)) <= 2
    assert [found.name for part in cut(listing, "") for found in part.photos] == [
        found.name for found in listing
    ]


def test_another_model_changes_all_parts() -> None:
    listing = [Found(f"{number:06}.png".encode(), Stamp(1, 2, 3)) for number in range(5_000)]
    assert not {part.name for part in cut(listing, "m@1")} & {
        part.name for part in cut(listing, "m@2")
    }


def test_a_file_that_is_being_written_waits_for_the_next_job(tmp_path: Path) -> None:
    (tmp_path / "whole.png").write_bytes(b"x")
    (tmp_path / "growing.png").write_bytes(b"x")
    place = Place.of(str(tmp_path))
    listed = [*place.listed()]
    (tmp_path / "growing.png").write_bytes(b"xx")
    left: list[bytes] = []
    found = place.without_unsettled(listed, 0.2, left)
    assert [name_of(os.fsdecode(one.name)) for one in found] == ["whole.png"]
    assert left == [b"growing.png"]


@pytest.fixture
def work(tmp_path: Path) -> Work:
    """What a worker is told for photos in `tmp_path`."""
    models = {MODEL.name: read_model(MODEL)}
    return Work(
        Place(str(tmp_path)), models, MODEL.name, MODEL.name, Limits(), 50_000, batch_bytes=2000
    )


def listed(work: Work) -> list[tuple[str, Stamp]]:
    return sorted((os.fsdecode(found.name), found.stamp) for found in work.place.listed())


def test_what_cannot_be_read_is_a_row_and_is_tried_again(work: Work, tmp_path: Path) -> None:
    for name, size in (("changed", 1), ("gone", 1), ("huge", 50_001)):
        (tmp_path / f"{name}.png").write_bytes(b"x" * size)
    photos = listed(work)
    (tmp_path / "changed.png").write_bytes(b"xx")
    (tmp_path / "gone.png").unlink()
    rows, again = Sorter(work).rows(photos)
    assert again
    assert [row.error for row in rows] == [
        "the file changed while the job ran: run it again",
        "the file cannot be read: No such file or directory",
        "the file cannot be read: it has more than 50,000 bytes",
    ]


@pytest.mark.parametrize(
    ("makes", "why"),
    [
        (lambda folder: None, "No such file or directory"),
        (lambda folder: folder.mkdir(), "it is empty"),
        (lambda folder: folder.touch(), "Not a directory"),
    ],
)
def test_a_folder_that_a_machine_lacks_is_no_row_and_the_machine_is_named(
    makes: Callable[[Path], None], why: str, work: Work, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.png").write_bytes(b"x")
    photos = listed(work)
    tmp_path.rename(f"{tmp_path}-elsewhere")
    makes(tmp_path)
    told = f"{str(tmp_path)!r} cannot be read on {socket.gethostname()} ({why}): mount it there"
    with pytest.raises(batch.ServiceError, match=f"^{re.escape(told)}$"):
        Sorter(work).rows(photos)


@pytest.mark.parametrize(
    ("failure", "row"),
    [
        (OSError("AWS Error NETWORK_CONNECTION"), None),
        (PermissionError(errno.EACCES, "AWS Error ACCESS_DENIED"), None),
        (FileNotFoundError(errno.ENOENT, "No such file"), "the file cannot be read: No such file"),
    ],
)
def test_a_store_that_fails_is_no_row(
    failure: OSError, row: str | None, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object) -> bytes:
        raise failure

    monkeypatch.setattr(Place, "_read_object", failing)
    stored = Sorter(replace(work, place=Place("s3://photos/returns")))
    photos = [("a.png", Stamp(1, 2, 0))]
    if row:
        assert stored.rows(photos) == ([Row("a.png", error=row)], True)
    else:
        told = "s3://photos/returns/a.png cannot be read: AWS Error"
        with pytest.raises(batch.ServiceError, match=told):
            stored.rows(photos)


def test_an_object_that_is_no_longer_as_it_was_listed_is_a_row_and_is_tried_again(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Place, "_read_object", lambda *_: hostile.BOOT)
    stored = Sorter(replace(work, place=Place("s3://photos/returns")))
    listed = ("a.png", Stamp(len(hostile.BOOT) - 1, 2, 0))
    row = Row("a.png", error="the file changed while the job ran: run it again")
    assert stored.rows([listed]) == ([row], True)


def test_a_picture_that_makes_the_model_fail_harms_no_other(
    work: Work, boot: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(10):
        (tmp_path / f"{number}.png").write_bytes(boot + bytes(number))
    real = sorter.answer_each

    def fails(engine: object, contents: list[bytes], **how: object) -> object:
        if boot + bytes(7) in contents:
            raise ValueError("a fault")
        return real(engine, contents, **how)

    monkeypatch.setattr(sorter, "answer_each", fails)
    rows, again = Sorter(work).rows(listed(work))
    assert again
    assert [row.filename for row in rows if row.error] == ["7.png"]
    assert [row.label for row in rows if not row.error] == ["Ankle boot"] * 9


def test_a_part_is_kept_for_the_next_job_unless_it_may_go_better(tmp_path: Path) -> None:
    parts = Parts(str(tmp_path / "parts"))
    parts.write("good", as_text([Row("a\nb.png", error="x")]), again=False)
    parts.write("bad", as_text([Row("b.png", error="y")]), again=True)
    (tmp_path / "parts" / "half.csv.part").write_text("c.p")
    assert [row.error for row in parts.rows("bad")] == ["y"]
    following = Parts(str(tmp_path / "parts"))
    following.forget_unfinished()
    assert ["good" in following, "bad" in following, "half" in following] == [True, False, False]
    assert [row.filename for row in following.rows("good")] == ["a\nb.png"]
    following.keep(set())  # as where the disk of the photos is away
    assert "good" in following
    following.keep({"another"})
    assert not [*(tmp_path / "parts").iterdir()]


@pytest.mark.parametrize(
    "text",
    [
        *("", "a.png,,,,unreadable,,,x\n" * 2, "b.png,,,,unreadable,,,x\n"),
        *("a.png,,,,unreadable,,,x", "a.png,9,Bag,0.9,accept\n", "a.png,9,Bag,0.9,,m@1,,\n"),
    ],
)
def test_a_part_that_does_not_fit_its_photos_is_found_and_named(text: str, tmp_path: Path) -> None:
    (part,) = cut([Found(b"a.png", Stamp(1, 2, 3))], "")
    parts = Parts(str(tmp_path / "parts"))
    parts.write(part.name, text.encode(), again=False)
    with pytest.raises(table.Damaged, match=f"{tmp_path}/parts/{part.name}.csv "):
        table.write(table.Table(parts).rows([part]), str(tmp_path / "p.csv"))
    assert not (tmp_path / "p.csv").exists()


@pytest.fixture
def without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """No Ray: a job is its own worker."""

    def sort(work: Work, listing: Iterable[Part], parts: Parts) -> int:
        made, does = 0, Sorter(work)
        for part in listing:
            if part.name not in parts:
                made += len(part.photos)
                (rows,) = zip(*does(as_batch(part)).values(), strict=True)
                parts.write(rows[0], rows[1], again=rows[2])
        return made

    monkeypatch.setattr(driver_process, "sort", sort)


def as_batch(part: Part) -> dict[str, list[object]]:
    return {column: [cell] for column, cell in packed(part).items()}


def test_an_interrupt_when_a_part_is_in_its_place_is_an_interrupt_like_any_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(path: Path) -> None:
        if path.is_dir():
            raise KeyboardInterrupt

    monkeypatch.setattr("garments.in_place.sync", interrupted)
    with pytest.raises(KeyboardInterrupt) as raised:
        Parts(str(tmp_path)).write("a", b"a.png\r\n", again=False)
    assert type(raised.value) in batch.CODES


@needs_ray
@pytest.mark.usefixtures("without_ray")
def test_a_damaged_part_is_made_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    photos, output = many(tmp_path / "photos", 20), tmp_path / "p.csv"
    settings = Settings(settle_seconds=0)
    cluster.run(str(photos), str(output), settings)
    whole = output.read_bytes()
    (file,) = tmp_path.glob("p.csv.parts/*.csv")
    for damage in (b"\x80\n", file.read_bytes()[:500], b"", b"a.png,,,,unreadable,,,x\r\n"):
        file.write_bytes(damage)
        caplog.clear()
        counts = cluster.run(str(photos), str(output), settings)
        assert (counts.found, counts.sorted) == (20, 20)
        assert output.read_bytes() == whole
        assert not damage or f"{file} " in caplog.text


@needs_ray
@pytest.mark.usefixtures("without_ray")
@pytest.mark.parametrize(
    ("entry", "value"),
    [("accept_threshold", 0.99), ("labels", [*"abcdefghij"]), ("preprocessing", "photo")],
)
def test_a_model_whose_card_says_otherwise_makes_all_parts_anew(
    entry: str, value: object, tmp_path: Path
) -> None:
    photos, output = many(tmp_path / "photos", 3), tmp_path / "p.csv"
    model = tmp_path / "models" / MODEL.name
    shutil.copytree(MODEL, model)
    settings = Settings(settle_seconds=0, model_dir=model.parent)
    assert [cluster.run(str(photos), str(output), settings).sorted for _ in "12"] == [3, 0]
    replace(read_model(model)[0], **{entry: value}).write(model)  # type: ignore[arg-type]
    assert cluster.run(str(photos), str(output), settings).sorted == 3


@needs_ray
@pytest.mark.usefixtures("without_ray")
@pytest.mark.parametrize(
    ("bound", "told"),
    [
        ({"max_pixels": 783}, "more than 783 pixels"),
        ({"max_request_bytes": 100}, "more than 100 bytes"),
    ],
)
def test_another_bound_of_the_settings_holds_and_makes_all_parts_anew(
    bound: dict[str, int], told: str, tmp_path: Path
) -> None:
    photos, output = many(tmp_path / "photos", 3), tmp_path / "p.csv"
    settings = Settings(settle_seconds=0)
    assert cluster.run(str(photos), str(output), settings).unreadable == 0
    counts = cluster.run(str(photos), str(output), replace(settings, **bound))
    assert (counts.sorted, counts.unreadable) == (3, 3)
    assert output.read_text().count(told) == 3


@needs_ray
@pytest.mark.usefixtures("without_ray")
@pytest.mark.parametrize("name", ["fashion-mnist", "photo"])
def test_a_model_that_is_named_answers_for_all_photos_of_a_job(
    name: str, both_models: Path, tmp_path: Path
) -> None:
    photos, output = many(tmp_path / "photos", 1), tmp_path / "p.csv"
    (photos / "large.png").write_bytes(encoded(hostile.SHOT))
    settings = Settings(settle_seconds=0, model_dir=both_models)
    cluster.run(str(photos), str(output), settings, model=name)
    rows = read_predictions(output, 10)
    assert [row.model.partition("@")[0] for row in rows] == [name, name]


@needs_ray
def test_no_job_begins_while_the_model_for_photos_is_away(tmp_path: Path) -> None:
    photos, folder = many(tmp_path / "photos", 1), tmp_path / "models"
    folder.mkdir()
    (folder / MODEL.name).symlink_to(MODEL)
    (folder / "photo").symlink_to("gone")
    with pytest.raises(batch.UsageError, match=r"photo/card\.json does not exist"):
        cluster.run(str(photos), str(tmp_path / "p.csv"), Settings(model_dir=folder))


@needs_ray
@pytest.mark.usefixtures("without_ray")
def test_what_a_job_leaves_out_is_counted_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    photos = many(tmp_path / "photos", 3)
    for name in ("a.avif", "b.avif", "note.md"):
        (photos / name).touch()
    growing = photos / "growing.png"
    growing.touch()
    monkeypatch.setattr("time.sleep", lambda _: growing.write_bytes(b"more"))
    caplog.set_level(logging.INFO)
    counts = cluster.run(str(photos), str(tmp_path / "p.csv"), Settings())
    assert (counts.found, counts.left) == (4, 1)
    assert "4 images in" in caplog.text
    assert "other files there, which are left out: 2 .avif, 1 .md" in caplog.text
    assert "0 unreadable, 1 still being written, 3 of them looked at" in caplog.text


@needs_ray
def test_objects_of_another_kind_are_counted_where_a_glob_means_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = _Listing("photos/a.png", "photos/a.avif", "photos/b.avif", "photos/c/note.md")
    monkeypatch.setattr(Place, "_store", (store, "photos"))
    others: Counter[str] = Counter()
    assert [one.name for one in Place.of("s3://photos/a*").listed(others)] == [b"a.png"]
    assert others == {".avif": 1}
