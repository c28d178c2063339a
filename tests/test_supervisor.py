"""What a supervisor does about one worker, whatever the hour; test_lifecycle.py has it at work."""

import multiprocessing
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from garments.settings import Settings
from garments.web.crew import Generation, Worker
from garments.web.supervisor import Supervisor
from garments.web.worker import DRAIN, SERVE


class Clock:
    """The supervisor's: it moves when a test says so."""

    now = 1_000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("garments.web.supervisor.time", clock)
    return clock


@pytest.fixture
def supervisor(clock: Clock, tmp_path: Path) -> Iterator[Supervisor]:
    supervisor = Supervisor(Settings(), [])
    supervisor._folder = tmp_path
    with supervisor._wake, supervisor._waker:
        yield supervisor


@pytest.fixture
def worker(clock: Clock) -> Iterator[Worker]:
    """A process that does nothing for ten minutes."""
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=time.sleep, args=(600,))
    control, theirs = context.Pipe()
    with control, theirs:
        process.start()
        yield Worker(process, control, listener_index=0, slot=0, born=clock.now)
        process.kill()
        process.join()


def killed(worker: Worker) -> bool:
    worker.process.join(10)
    return worker.process.exitcode == -signal.SIGKILL


def test_a_worker_that_does_not_finish_in_time_is_killed(
    supervisor: Supervisor, worker: Worker, clock: Clock
) -> None:
    worker.kill_at = clock.now
    supervisor._leaving.append(worker)
    supervisor._step()
    assert killed(worker)


def test_a_worker_that_still_finishes_is_hurried_once_more_leave(
    supervisor: Supervisor, worker: Worker
) -> None:
    worker.dismiss(more=3_600)
    supervisor._leaving.append(worker)
    supervisor._switch(Generation({}, []))
    assert worker.kill_at < time.monotonic() + 60


def test_nor_is_it_given_more_time_the_more_often_models_are_read(
    supervisor: Supervisor, worker: Worker
) -> None:
    worker.kill_at = soon = time.monotonic() + 5
    supervisor._leaving.append(worker)
    supervisor._switch(Generation({}, []))
    assert worker.kill_at == soon


def test_models_that_are_not_loaded_in_time_are_refused(
    supervisor: Supervisor, worker: Worker, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    supervisor._next = Generation({}, [worker], load_by=clock.now)
    supervisor._step()
    assert supervisor._next is None
    assert killed(worker)
    assert "the old ones stay: they were not loaded in time" in caplog.text


def test_models_that_end_a_worker_are_refused(
    supervisor: Supervisor, worker: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    supervisor._next = Generation({}, [worker])
    worker.process.kill()
    supervisor._ended(worker)
    assert supervisor._next is None
    assert "the old ones stay: a worker ended while it loaded them" in caplog.text


@pytest.mark.parametrize(("lived", "at_once"), [(0.9, False), (1.1, True)])
def test_a_worker_is_replaced_at_once_unless_it_ended_at_once(
    lived: float, at_once: bool, supervisor: Supervisor, worker: Worker, clock: Clock
) -> None:
    supervisor._served = True
    supervisor._now.workers.append(worker)
    clock.now += lived
    worker.process.kill()
    supervisor._ended(worker)
    assert (supervisor._start_at <= clock.now) == at_once


def test_a_machine_that_was_asleep_finds_its_workers_alive(
    supervisor: Supervisor,
    worker: Worker,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def sleep(*_: Any) -> list[Any]:
        clock.now += 3600
        return []

    monkeypatch.setattr("garments.web.supervisor.wait", sleep)
    worker.heard_at = clock.now
    supervisor._now.workers.append(worker)
    supervisor._step()
    assert "gives no sign" not in caplog.text


def test_a_worker_that_loads_while_the_service_drains_is_told_so(
    supervisor: Supervisor, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(worker, "tell", told.append)
    supervisor._now.workers.append(worker)
    supervisor._draining = True
    supervisor._loaded(worker, [])
    assert told == [SERVE, DRAIN]


def test_the_log_says_once_what_workers_find_wrong_also_if_the_first_found_nothing(
    supervisor: Supervisor, worker: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    supervisor._now.workers.append(worker)
    for faults in [], ["out of memory"], ["out of memory"]:
        supervisor._loaded(worker, faults)
    assert caplog.messages == ["out of memory"]


def test_a_service_that_drains_takes_no_new_models(supervisor: Supervisor) -> None:
    supervisor._draining = supervisor._reload_wanted = True
    supervisor._waker.send(b"\1")
    supervisor._step()
    assert supervisor._next is None


def test_nor_does_one_that_closes_while_they_are_loaded(
    supervisor: Supervisor, worker: Worker
) -> None:
    supervisor._next = Generation({}, [worker])
    supervisor._close()
    assert supervisor._next is None
    assert killed(worker)


@pytest.fixture
def stopping(supervisor: Supervisor, worker: Worker) -> Supervisor:
    """One that has closed, and whose only worker still finishes."""
    worker.loaded = supervisor._served = True
    supervisor._now.workers.append(worker)
    supervisor._listeners.append(socket.create_server(("127.0.0.1", 0)))
    supervisor._close()
    return supervisor


def test_a_service_that_stops_sleeps_until_something_is_due(
    stopping: Supervisor, worker: Worker, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    monkeypatch.setattr("garments.web.supervisor.wait", lambda _, left: slept.append(left) or [])
    worker.kill_at = clock.now + 30
    stopping._step()
    assert slept == [30]


def test_a_worker_that_hangs_while_the_service_stops_is_killed(
    stopping: Supervisor, worker: Worker, clock: Clock
) -> None:
    worker.heard_at = clock.now - stopping._patience - 1
    stopping._step()
    assert killed(worker)
