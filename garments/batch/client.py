"""Speak HTTP to the service: wait for it, send pictures, try again where that can help."""

from __future__ import annotations

import hashlib
import logging
import math
import threading
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import requests

from garments.batch import replies
from garments.batch.errors import ServiceError, UsageError
from garments.batch.pauses import LONGEST_PAUSE, growing_pauses
from garments.batch.read_write_lock import ReadWriteLock
from garments.batch.replies import Entry
from garments.batch.trust import MachinesTrust
from garments.settings import Settings, without_secret

# What an overloaded or restarting service, or a proxy before it, answers: that passes.
_PASSING = frozenset({408, 429, 502, 503, 504})
# Too much for the service at once, or one picture of several that makes it fail.
_TO_BE_HALVED = frozenset({413, 500})
_IMAGE_FAULTS = frozenset({413, 415, 422, 500})
# A proxy's words for a service that died, or was silent, while it had the request.
_OF_A_PROXY = frozenset({502, 504})
# Lost tries after which pictures are sent in halves, if the service answers for another.
_HALVED_AFTER = 2
# Tries of a picture with no other under way, all lost, that make it fatal. A worker that hangs of
# another one is silent to it as well, for about four times as long as the service tries.
_LAST_TRIES = 4
# Of so many pictures a night believes it; if there are more, the service is at fault.
_FATAL_AT_MOST = 5
_LONGEST_PROOF = 2**20  # bytes
_SECONDS_BETWEEN_LOG_LINES = 10.0

logger = logging.getLogger(__name__)


class _Failed(NamedTuple):
    """A try that another one may better."""

    state: str
    pause: float = 0.0
    """Seconds that the service wishes for."""
    lost: bool = False
    """Whether it may be for the pictures: the service had them, and died or was silent."""
    late: bool = False
    """Whether it was for want of time, of which fewer pictures need less."""


_Tried = list[Entry] | requests.Response | _Failed | None


class Client:
    """Requests over kept-alive connections, one for each thread that uses it."""

    def __init__(self, settings: Settings, model: str | None = None) -> None:
        """Speak to the service of `settings`; `model` answers for all pictures, if it is given."""
        self._settings = settings
        self._asked = {} if model is None else {"model": model}
        self._url = settings.service_url.rstrip("/")
        self._shown = without_secret(self._url)
        self._local = threading.local()
        self._sessions: list[requests.Session] = []
        self._stopped = threading.Event()
        self._lock = ReadWriteLock()
        self._heard = -math.inf  # when the service last answered for a picture
        self._told = -math.inf  # when the log last told of a try that failed
        self._proof: bytes | None = None
        self._fatal: set[bytes] = set()

    def stop(self) -> None:
        """Send nothing more: end every pause that a thread is in, and the try after it."""
        self._stopped.set()

    def close(self) -> None:
        """Close the connections, once no thread uses them any more."""
        for session in self._sessions:
            session.close()

    def wait_until_ready(self) -> set[str]:
        """Return the names of the models once `/ready` says so.

        Raises ServiceError at the deadline, and UsageError.
        """
        settings, told = self._settings, False
        deadline = time.monotonic() + settings.wait_seconds
        pauses = growing_pauses(first=0.1, longest=1.0)
        while True:
            pause = next(pauses)
            left = max(1.0, deadline - time.monotonic())
            try:
                response = self._session().get(
                    f"{self._url}/ready",
                    timeout=min(settings.timeout_seconds, left),
                    allow_redirects=False,
                )
            except requests.RequestException as error:
                state = replies.reason(error)
            else:
                if response.status_code == requests.codes.ok:
                    return replies.names(response)
                state = replies.explain(response)
                if response.status_code not in _PASSING:
                    raise self._refused("/ready", response)
            if time.monotonic() + pause > deadline:
                raise ServiceError(
                    f"{self._shown} was not ready within {settings.wait_seconds:g} s: {state}; "
                    "start the service, or say where it is with --url"
                )
            if not told:
                logger.info("waiting for %s: %s", self._shown, state)
                told = True
            self._stopped.wait(pause)

    def classify(self, pictures: Sequence[bytes]) -> Iterator[Entry]:
        """An answer for each picture, in their order, as they come.

        It has either `error`, or `prediction` with what belongs to it. `model`, the name@version
        of what answered, is in all but those of a picture that makes the service fail or that it
        refuses to take; so is `models`, of all that it chose from, if the service tells. Raises
        ServiceError and UsageError.
        """
        return self._classify_since(pictures, time.monotonic())

    def _classify_since(self, pictures: Sequence[bytes], began: float) -> Iterator[Entry]:
        found = self._post(pictures, began)
        alone = len(pictures) == 1
        if isinstance(found, list):
            yield from found
        elif not alone and (found is None or found.status_code in _TO_BE_HALVED):
            middle = len(pictures) // 2
            yield from self._classify_since(pictures[:middle], began)
            yield from self._classify_since(pictures[middle:], began)
        elif found is None:
            yield self._fatal_picture(pictures[0])
        elif found.status_code in _IMAGE_FAULTS and alone:
            failed = found.status_code in _TO_BE_HALVED
            yield {"error": {"detail": replies.explain(found)}, "failed": failed}
        else:
            raise self._refused("/predict", found)

    def _fatal_picture(self, picture: bytes) -> Entry:
        """The answer for a picture that the service does not survive. Raises ServiceError."""
        self._fatal.add(_digest(picture))
        if len(self._fatal) > _FATAL_AT_MOST:
            raise ServiceError(
                f"{self._shown} dies or is silent whenever it is sent one of more than "
                f"{_FATAL_AT_MOST} pictures: see its log"
            )
        problem = "the service died or was silent each time that it was sent: see its log"
        return {"error": {"detail": problem}, "failed": True}

    def _refused(self, path: str, response: requests.Response) -> UsageError:
        advice = "check GARMENTS_SERVICE_URL and GARMENTS_API_TOKEN"
        if replies.problem(response).get("code") == "unknown_model":
            advice = "name one of these, or have the service read its models anew (SIGHUP)"
        elif path == "/ready" and response.status_code in (301, 302, 307, 308, 404):
            advice = "name the service alone, as http://127.0.0.1:5001: see --url"
        return UsageError(f"{self._shown}{path} refuses: {replies.explain(response)}; {advice}")

    def _post(
        self, pictures: Sequence[bytes], began: float
    ) -> list[Entry] | requests.Response | None:
        """Send until there are answers, or a refusal that time will not better.

        None where there is no answer, but may be one for fewer pictures, or for others. Raises
        ServiceError once there has been no answer for any picture for long enough, not counting
        the time before `began`.
        """
        alone = len(pictures) == 1
        if alone and self._fatal and _digest(pictures[0]) in self._fatal:
            return None
        lost = 0
        pauses = growing_pauses(first=0.2, longest=LONGEST_PAUSE)
        while True:
            pause = next(pauses)
            with self._lock.shared():
                tried: _Tried = self._try(pictures)
            if isinstance(tried, _Failed) and tried.lost:
                lost += 1
                if alone:
                    tried = self._try_alone(pictures, began)
                elif tried.late or (lost >= _HALVED_AFTER and self._answers_another(began)):
                    return None
            if not isinstance(tried, _Failed):
                return tried
            left = self._seconds_left(began)
            if left <= 0:
                most = self._settings.retry_seconds
                raise ServiceError(
                    f"{self._shown} gave no usable answer within {most:g} s: {tried.state}; what "
                    "it had answered is kept: see that it runs, then run the same command again"
                )
            pause = min(left, max(pause, tried.pause))
            self._tell(pause, tried.state)
            self._stopped.wait(pause)

    def _seconds_left(self, began: float) -> float:
        """How much longer the service may be without an answer."""
        silent_since = max(began, self._heard)
        return silent_since + self._settings.retry_seconds - time.monotonic()

    def _tell(self, pause: float, state: str) -> None:
        # Every thread tries again; one line now and then tells it all.
        now = time.monotonic()
        if now - self._told >= _SECONDS_BETWEEN_LOG_LINES:
            self._told = now
            logger.info("trying again in %.1f s: %s", pause, state)

    def _try_alone(self, pictures: Sequence[bytes], began: float) -> _Tried:
        """Send while no other photo of this night is under way; None if it is the pictures.

        A service that dies takes all with it that it is asked at that moment.
        """
        with self._lock.exclusive():
            for _ in range(_LAST_TRIES):
                tried = self._try(pictures)
                lost = isinstance(tried, _Failed) and tried.lost
                if not lost or not self._answers_another(began):
                    return tried
        return None

    def _answers_another(self, began: float) -> bool:
        """Whether the service answers, before it is over, for a picture that it answered before."""
        if self._proof is None:
            return False
        for pause in growing_pauses(first=0.1, longest=1.0):
            tried = self._try([self._proof])
            if not isinstance(tried, _Failed):
                return isinstance(tried, list)
            if self._seconds_left(began) < pause:
                break
            self._stopped.wait(pause)
        return False

    def _try(self, pictures: Sequence[bytes]) -> list[Entry] | requests.Response | _Failed:
        """Send once: answers, a refusal, or what went wrong.

        Raises ServiceError once stopped, and where the first answer ever is not of this service.
        """
        if self._stopped.is_set():
            raise ServiceError("the night was ended")
        # The service never sees a photo's own name: a header cannot carry every name there is.
        files = [("image", (str(index), picture)) for index, picture in enumerate(pictures)]
        try:
            response = self._session().post(
                f"{self._url}/predict",
                params=self._asked,
                files=files,
                timeout=self._settings.timeout_seconds,
                allow_redirects=False,
            )
            if response.status_code == requests.codes.ok:
                answers = replies.answers(response, len(pictures))
                self._heard = time.monotonic()
                self._keep_proof(pictures, answers)
                return answers
        except replies.NotOurs as error:
            if self._heard == -math.inf:  # else a proxy may have answered in its place just now
                raise ServiceError(f"{self._shown} is no Garments service: see --url") from error
            return _Failed(replies.reason(error))
        except requests.ReadTimeout as error:
            return _Failed(replies.reason(error), lost=True, late=True)
        except requests.RequestException as error:
            return _Failed(replies.reason(error), lost=replies.was_cut(error))
        if response.status_code not in _PASSING:
            return response
        late = replies.problem(response).get("code") == "out_of_time"
        lost = late or response.status_code in _OF_A_PROXY
        return _Failed(replies.explain(response), replies.retry_after(response), lost, late)

    def _keep_proof(self, pictures: Sequence[bytes], answers: Sequence[Entry]) -> None:
        """Keep the longest picture that was read: a service may be silent to long ones alone."""
        for picture, answer in zip(pictures, answers, strict=True):
            longer = len(self._proof or b"") < len(picture) <= _LONGEST_PROOF
            if longer and "error" not in answer:
                self._proof = picture

    def _session(self) -> requests.Session:
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            session = requests.Session()
            session.trust_env = False  # the settings are the only reader of the environment
            if self._url.lower().startswith("https:"):  # plain HTTP need not read the store
                session.mount("https://", MachinesTrust())
            if self._settings.api_token:
                session.headers["Authorization"] = f"Bearer {self._settings.api_token}"
            self._local.session = session
            self._sessions.append(session)
        return session


def _digest(picture: bytes) -> bytes:
    return hashlib.sha256(picture).digest()
