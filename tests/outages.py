"""What becomes of the service while a night asks it, at any of its requests."""

import threading
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass

from tests import fake_service as fake
from tests.fake_service import Behaviour, FakeService, fake_service

DEATHS = ("dies", "restarts")
_SECONDS_DEAD = 0.3
_BEHAVIOURS: dict[str, Behaviour] = {
    "dies": fake.cut,
    "restarts": fake.cut,
    "hangs": fake.slow,
    "hangs in the body": fake.silent_in_the_body,
    "cuts": fake.cut,
    "cuts in the headers": fake.cut_in_the_headers,
    "cuts in the body": fake.cut_in_the_body,
    "answers junk": fake.junk,
}
KINDS = (*_BEHAVIOURS, "answers slowly")


@dataclass(frozen=True)
class Outage:
    """What the service does at its request with the number `at`, counted from 1.

    `do` is one of KINDS. Of every later request it does the same, if it lasts. One that dies has
    nobody listen from then on, and one that restarts does for a moment; neither need be said to
    last.
    """

    at: int
    do: str
    lasts: bool = False


class Failing:
    """A service with an outage; whatever a client may ask counts, `/ready` too."""

    def __init__(self, outage: Outage, otherwise: Behaviour) -> None:
        """Answer for photos as `otherwise` does where there is no outage."""
        self.requests = 0
        self.hit = threading.Event()
        self._outage, self._otherwise = outage, otherwise
        self._lock = threading.Lock()

    def serve(self) -> AbstractContextManager[FakeService]:
        """Serve on loopback until the end of the context."""
        return fake_service(
            ready=[self._instead(_ready)] * 1_000,
            golden=self._instead(fake.answer_golden),
            otherwise=self._instead(self._otherwise),
        )

    def serve_again(self, service: FakeService) -> AbstractContextManager[FakeService]:
        """Serve without an outage where `service` did, a moment after it has died."""
        time.sleep(_SECONDS_DEAD)
        port = int(service.url.rpartition(":")[2])
        return fake_service(otherwise=self._otherwise, port=port)

    def _instead(self, good: Behaviour) -> Behaviour:
        do = self._outage.do
        bad = _late(good) if do == "answers slowly" else _BEHAVIOURS[do]
        lasts = self._outage.lasts or do in DEATHS

        def behave(handler: fake.Handler, pictures: list[bytes]) -> None:
            with self._lock:
                self.requests += 1
                at = self.requests
            if at == self._outage.at or (lasts and at > self._outage.at):
                self.hit.set()
                bad(handler, pictures)
            else:
                good(handler, pictures)

        return behave


def _ready(handler: fake.Handler, _: list[bytes]) -> None:
    fake.send_json(handler, {"models": []})


def _late(good: Behaviour) -> Behaviour:
    """Answer, but later than most do, and sooner than the client gives up."""

    def behave(handler: fake.Handler, pictures: list[bytes]) -> None:
        time.sleep(0.2)
        good(handler, pictures)

    return behave
