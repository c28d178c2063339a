"""The process that holds the port, and starts, replaces and stops the workers that serve it."""

from __future__ import annotations

import logging
import math
import multiprocessing
import shutil
import signal
import socket
import sys
import time
from contextlib import suppress
from multiprocessing.connection import wait
from typing import Any

from garments.card import CardError
from garments.settings import Settings
from garments.web import metrics
from garments.web.body import longest_body
from garments.web.crew import Generation, Worker, require_process
from garments.web.listener import admit_nobody
from garments.web.models import read_folders
from garments.web.worker import DRAIN, SERVE, work

# New models must be loaded and proven in this time, or the old ones stay.
_SECONDS_TO_LOAD = 60
# A worker that ends sooner than this is replaced only after as long again.
_SHORT_LIFE = 1.0
# If it wakes up so many seconds late, all was stopped meanwhile.
_PAUSE = 5.0
# Forking shares what is imported; where it is not safe, a worker imports everything anew.
_METHOD = "fork" if sys.platform == "linux" else "spawn"

logger = logging.getLogger(__name__)


class Supervisor:
    """Keeps workers serving, all with the same models."""

    def __init__(self, settings: Settings, listeners: list[socket.socket]) -> None:
        """Have a worker for each of `listeners`."""
        self._settings = settings
        self._listeners = listeners
        self._context: Any = multiprocessing.get_context(_METHOD)
        # A worker that gives no sign for so long hangs: its work should have ended long before.
        self._patience = 2 * settings.deadline_seconds + 2
        self._longest = longest_body(settings) + settings.deadline_seconds
        self._wake, self._waker = socket.socketpair()
        self._signals: list[int] = []
        # What serves, what shall replace it, and what finishes; a worker is in one of the three.
        self._now = Generation({})
        self._next: Generation | None = None
        self._leaving: list[Worker] = []
        self._reload_wanted = False
        self._served = False
        self._start_at = 0.0
        self._close_at = math.inf
        self._draining = self._closed = False
        self._code = 0

    def run(self) -> int:
        """Serve until SIGTERM or SIGINT; return the exit code. SIGHUP takes new models."""
        for end in (self._wake, self._waker):
            end.setblocking(False)
        # Ignored, as a parent may have left it, no child that ended could be waited for.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda number, _: self._signals.append(number))
        # Read once SIGHUP is heard: none that comes later than the models is lost.
        self._now.found = read_folders(self._settings)
        self._folder = metrics.own_folder()
        try:
            while not self._closed or self._workers():
                self._step()
        finally:
            for worker in self._workers():
                worker.process.kill()
                worker.process.join()
            shutil.rmtree(self._folder, ignore_errors=True)
        return self._code

    def _workers(self) -> list[Worker]:
        coming = self._next.workers if self._next else []
        return [*self._now.workers, *coming, *self._leaving]

    def _step(self) -> None:
        """Wait for what happens next, and act on it."""
        self._start_missing()
        workers = self._workers()
        ready = self._wait(workers)
        while self._signals:
            self._heed(self._signals.pop(0))
        for worker in workers:
            if worker.control in ready:
                with suppress(EOFError, OSError):
                    self._heard(worker, worker.control.recv())
            if not worker.process.is_alive():
                self._ended(worker)
        self._meet_deadlines(time.monotonic())
        if self._reload_wanted and self._next is None and not self._draining:
            self._reload()

    def _start_missing(self) -> None:
        while not self._closed and len(self._now.workers) < len(self._listeners):
            if time.monotonic() < self._start_at:
                break
            try:
                self._start(self._now)
            except OSError as error:
                logger.error("a worker cannot be started, and is tried again: %s", error)
                self._start_at = time.monotonic() + _SHORT_LIFE

    def _wait(self, workers: list[Worker]) -> list[Any]:
        """Wait for a signal, for `workers`, or until something is due; return what is ready."""
        times = [worker.kill_at for worker in workers] + [self._close_at]
        times += [worker.heard_at + self._patience for worker in workers]
        if self._next:
            times.append(self._next.load_by)
        if not self._closed and len(self._now.workers) < len(self._listeners):
            times.append(self._start_at)
        wake_at = min(times)
        left = max(0.0, wake_at - time.monotonic())
        ends = [end for worker in workers for end in (worker.control, worker.process.sentinel)]
        ready = wait([self._wake, *ends], None if left == math.inf else left)
        if time.monotonic() > wake_at + _PAUSE:  # the machine was asleep, and so were they
            for worker in workers:
                worker.heard_at = max(worker.heard_at, time.monotonic())
        if self._wake in ready:
            self._wake.recv(4096)
        return ready

    def _meet_deadlines(self, now: float) -> None:
        """End what has taken too long by `now`, and the service if its time has come."""
        for worker in self._workers():
            if worker.heard_at + self._patience < now:
                logger.error("worker %d gives no sign and is killed", worker.process.pid)
                worker.kill()
        for worker in self._leaving:
            if worker.kill_at <= now:
                logger.error("worker %d did not finish in time and is killed", worker.process.pid)
                worker.kill()
        if self._next and self._next.load_by <= now:
            self._refuse("they were not loaded in time")
        if self._close_at <= now:
            self._close()

    def _heed(self, number: int) -> None:
        if number == signal.SIGHUP:
            self._reload_wanted = True
        elif not self._draining:
            self._drain()
        elif number == signal.SIGINT:  # somebody at a keyboard is in a hurry
            for worker in self._workers():
                worker.kill()
            self._close()

    def _start(self, generation: Generation) -> None:
        """Start a worker. Raises OSError where the system has no room for one."""
        if _METHOD == "fork":
            require_process()
        taken = {worker.listener_index for worker in generation.workers}
        index = min(set(range(len(self._listeners))) - taken)
        listener = self._listeners[index]
        control, theirs = self._context.Pipe()
        slot = min(set(range(len(self._workers()) + 1)) - {w.slot for w in self._workers()})
        # A forked worker inherits the ends of others' pipes: closed, or they would never end.
        inherited = [control, self._wake, self._waker, *(w.control for w in self._workers())]
        inherited += [other for other in self._listeners if other is not listener]
        process = self._context.Process(
            target=work,
            args=(
                self._settings,
                generation.found,
                listener,
                theirs,
                slot,
                self._folder,
                inherited if _METHOD == "fork" else [],
            ),
        )
        process.start()
        theirs.close()
        generation.workers.append(Worker(process, control, index, slot, time.monotonic()))

    def _heard(self, worker: Worker, message: str | list[str]) -> None:
        if isinstance(message, str):  # ALIVE
            worker.heard_at = time.monotonic()
        else:
            self._loaded(worker, message)

    def _loaded(self, worker: Worker, faults: list[str]) -> None:
        """A worker has loaded its models, and found these faults in them."""
        worker.loaded = True
        if worker in self._now.workers:
            if faults != self._now.told:
                for fault in faults:
                    logger.error(fault)
            self._now.told, self._served = faults, True
            worker.tell(SERVE)
            if self._draining:
                worker.tell(DRAIN)
        elif worker in self._leaving:  # it was late; in the queue of its socket some may wait
            worker.tell(SERVE)
            worker.dismiss()
        elif self._next and worker in self._next.workers:
            if faults:
                self._refuse("; ".join(faults))
            elif all(other.loaded for other in self._next.workers):
                self._switch(self._next)

    def _ended(self, worker: Worker) -> None:
        worker.process.join()
        worker.control.close()
        metrics.forget(self._folder, worker.slot)
        if worker in self._leaving:
            self._leaving.remove(worker)
        elif self._next and worker in self._next.workers:
            self._next.workers.remove(worker)
            self._refuse("a worker ended while it loaded them")
        else:
            self._now.workers.remove(worker)
            logger.error("a worker ended unexpectedly (%s)", worker.process.exitcode)
            lived = time.monotonic() - worker.born
            self._start_at = 0.0 if lived > _SHORT_LIFE else time.monotonic() + _SHORT_LIFE
            if not self._served:
                self._code = 1
                self._close()

    def _reload(self) -> None:
        self._reload_wanted = False
        found = read_folders(self._settings, served=self._now.found)
        faults = [str(model) for model in found.values() if isinstance(model, CardError)]
        self._next = Generation(found, load_by=time.monotonic() + _SECONDS_TO_LOAD)
        if faults:
            self._refuse("; ".join(faults))
            return
        try:
            for _ in range(len(self._listeners)):
                self._start(self._next)
        except OSError as error:
            self._refuse(f"a worker cannot be started: {error}")

    def _refuse(self, reason: str) -> None:
        """Give the next generation up, and say why."""
        logger.error("the new models are refused, and the old ones stay: %s", reason)
        self._abandon()

    def _switch(self, generation: Generation) -> None:
        """Let the next generation serve, and this one finish."""
        for worker in generation.workers:
            worker.tell(SERVE)
        for worker in self._leaving:  # there shall not be ever more of them
            worker.hurry()
        for worker in self._now.workers:  # nothing waits for them
            worker.dismiss(self._longest)
        self._leaving += self._now.workers
        self._now, self._next = generation, None
        self._served = True
        names = [model[0].name for model in generation.found.values() if isinstance(model, tuple)]
        logger.info("new models are served: %s", ", ".join(names))

    def _abandon(self) -> None:
        """Give the next generation up, if there is one."""
        coming = self._next.workers if self._next else []
        for worker in coming:
            worker.kill()
        self._leaving += coming
        self._next = None

    def _drain(self) -> None:
        """Tell that the service is about to stop, and go on for a while."""
        self._draining = True
        self._abandon()
        for worker in self._now.workers:
            if worker.loaded:
                worker.tell(DRAIN)
        wait_for = self._settings.drain_seconds if self._served else 0
        self._close_at = time.monotonic() + wait_for

    def _close(self) -> None:
        """Accept nothing more, and let the workers finish what they have."""
        self._closed = self._draining = True
        self._close_at = math.inf
        for listener in self._listeners:
            admit_nobody(listener)
        for listener in self._listeners:
            listener.close()
        for worker in [*self._leaving, *self._now.workers]:
            if worker.loaded:
                worker.dismiss()
            elif self._served:
                worker.kill_at = time.monotonic() + _SECONDS_TO_LOAD
            else:
                worker.kill()
        self._leaving += self._now.workers
        self._now.workers = []
        self._abandon()
