"""Speak HTTP to the service: wait for it, send pictures, try again where that can help."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any

import orjson
import requests
from urllib3.exceptions import ProtocolError

from garments.batch.errors import ServiceError, UsageError
from garments.settings import Settings

# What an overloaded or restarting service, or a proxy before it, answers: that passes.
_PASSING = frozenset({408, 429, 502, 503, 504})
# Too much for the service at once, or one picture of several that makes it fail.
_TO_BE_HALVED = frozenset({413, 500})
_IMAGE_FAULTS = frozenset({413, 415, 422, 500})
_LONGEST_PAUSE = 30.0
# Tries without an answer after which it may be the pictures that end the service, and of how many
# pictures a night believes it: if it is of more, the service is at fault.
_SUSPECTED_AFTER = 3
_FATAL_AT_MOST = 5

logger = logging.getLogger(__name__)

Answer = dict[str, Any]
"""One picture's entry in the service's `predictions`."""


class Client:
    """Requests over kept-alive connections, one for each thread that uses it."""

    def __init__(self, settings: Settings, model: str | None = None) -> None:
        """Speak to the service of `settings`; `model` answers for all pictures, if it is given."""
        self._settings = settings
        self._asked = {} if model is None else {"model": model}
        self._url = settings.service_url.rstrip("/")
        self._local = threading.local()
        self._sessions: list[requests.Session] = []
        self._stopped = threading.Event()
        self._answered: bytes | None = None
        self._fatal = count(1)

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
        deadline = time.monotonic() + self._settings.wait_seconds
        told = False
        pauses = _growing_pauses(first=0.1, longest=1.0)
        while True:
            pause = next(pauses)
            try:
                response = self._session().get(
                    f"{self._url}/ready",
                    timeout=self._settings.timeout_seconds,
                    allow_redirects=False,
                )
            except requests.RequestException as error:
                state = _reason(error)
            else:
                if response.status_code == requests.codes.ok:
                    return _names(response)
                state = _explain(response)
                if response.status_code not in _PASSING:
                    raise self._refused("/ready", state)
            if time.monotonic() + pause > deadline:
                waited = self._settings.wait_seconds
                raise ServiceError(f"{self._url} was not ready within {waited:g} s: {state}")
            if not told:
                logger.info("waiting for %s: %s", self._url, state)
                told = True
            self._stopped.wait(pause)

    def classify(self, pictures: Sequence[bytes]) -> list[Answer]:
        """An answer for each picture, in their order.

        It has either `error`, or `prediction` with what belongs to it. `model`, the name@version
        of what answered, is in all but those of a picture that makes the service fail or that it
        refuses to take. Raises ServiceError and UsageError.
        """
        found = self._post(pictures)
        if isinstance(found, list):
            return found
        alone = len(pictures) == 1
        if not alone and (found is None or found.status_code in _TO_BE_HALVED):
            middle = len(pictures) // 2
            return self.classify(pictures[:middle]) + self.classify(pictures[middle:])
        if found is None:
            return [self._fatal_picture()]
        if found.status_code in _IMAGE_FAULTS and alone:
            failed = found.status_code == requests.codes.server_error
            return [{"error": {"detail": _explain(found)}, "failed": failed}]
        raise self._refused("/predict", _explain(found))

    def _fatal_picture(self) -> Answer:
        """The answer for a picture that the service does not survive. Raises ServiceError."""
        if next(self._fatal) > _FATAL_AT_MOST:
            raise ServiceError(
                f"{self._url} dies or is silent whenever it is sent one of more than "
                f"{_FATAL_AT_MOST} pictures: see its log"
            )
        problem = "the service died or was silent each time that it was sent: see its log"
        return {"error": {"detail": problem}, "failed": True}

    def _refused(self, path: str, reason: str) -> UsageError:
        return UsageError(
            f"{self._url}{path} refuses: {reason}; "
            "check GARMENTS_SERVICE_URL and GARMENTS_API_TOKEN"
        )

    def _post(self, pictures: Sequence[bytes]) -> list[Answer] | requests.Response | None:
        """Send until there are answers, or a refusal that time will not better.

        None where there is no answer, but may be one for fewer pictures, or for others. Raises
        ServiceError.
        """
        lost = 0
        deadline = time.monotonic() + self._settings.retry_seconds
        pauses = _growing_pauses(first=0.2, longest=_LONGEST_PAUSE)
        while True:
            pause = next(pauses)
            if self._stopped.is_set():
                raise ServiceError("the night was ended")
            try:
                response = self._send(pictures)
                if response.status_code == requests.codes.ok:
                    answers = _answers(response, len(pictures))
                    self._answered = pictures[0]
                    return answers
                if response.status_code not in _PASSING:
                    return response
                state = _explain(response)
                pause = max(pause, _retry_after(response))
            except requests.ReadTimeout as error:
                lost += 1
                state = _reason(error)
                if len(pictures) > 1:
                    return None
            except requests.RequestException as error:
                lost += _was_cut(error)
                state = _reason(error)
            if lost >= _SUSPECTED_AFTER and self._answers_another():
                return None
            if time.monotonic() + pause > deadline:
                raise ServiceError(f"{self._url} gave no answer in time: {state}")
            logger.info("trying again in %.1f s: %s", pause, state)
            self._stopped.wait(pause)

    def _send(self, pictures: Sequence[bytes]) -> requests.Response:
        # The service never sees a photo's own name: a header cannot carry every name there is.
        files = [("image", (str(place), picture)) for place, picture in enumerate(pictures)]
        return self._session().post(
            f"{self._url}/predict",
            params=self._asked,
            files=files,
            timeout=self._settings.timeout_seconds,
            allow_redirects=False,
        )

    def _answers_another(self) -> bool:
        """Whether the service answers at present, for the last picture that it answered for."""
        if self._answered is None:
            return False
        try:
            return bool(self._send([self._answered]).ok)
        except requests.RequestException:
            return False

    def _session(self) -> requests.Session:
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            session = requests.Session()
            session.trust_env = False  # the settings are the only reader of the environment
            if self._settings.api_token:
                session.headers["Authorization"] = f"Bearer {self._settings.api_token}"
            self._local.session = session
            self._sessions.append(session)
        return session


def _was_cut(error: requests.RequestException) -> bool:
    """Whether the service had taken the connection, which tells it from one that is not there."""
    cause = next(iter(error.args), None)
    return isinstance(cause, ProtocolError)


def _growing_pauses(first: float, longest: float) -> Iterator[float]:
    """Seconds to wait before each next try: up to a bound that doubles, by chance.

    After the "full jitter" of Marc Brooker, "Exponential Backoff And Jitter", AWS Architecture
    Blog 2015, but never next to nothing.
    """
    bound = first
    while True:
        yield random.uniform(first / 2, bound)  # noqa: S311 (spreads load, guards nothing)
        bound = min(longest, bound * 2)


def _retry_after(response: requests.Response) -> float:
    text = response.headers.get("Retry-After", "")
    return min(float(text), _LONGEST_PAUSE) if text.isascii() and text.isdigit() else 0.0


def _answers(response: requests.Response, count: int) -> list[Answer]:
    """What the body says of `count` pictures in the order sent, each with its `model`.

    Raises InvalidJSONError for any other body.
    """
    try:
        body = orjson.loads(response.content)
        answers: list[Answer] = body["predictions"]
        names = [entry["filename"] for entry in answers]
        whole = all(map(_is_answer, answers))
        # An answer names its model where that is not the one of the first answer.
        models = [_identity(entry.get("model", body["model"])) for entry in answers]
    except (ValueError, KeyError, TypeError) as error:
        raise requests.exceptions.InvalidJSONError("the answer is not of this service") from error
    if names != [str(place) for place in range(count)] or not whole:
        raise requests.exceptions.InvalidJSONError("the answer does not fit the pictures sent")
    for answer, model in zip(answers, models, strict=True):
        answer["model"] = model
    return answers


def _identity(model: dict[str, str]) -> str:
    """name@version. Raises KeyError and TypeError for what is no model."""
    return str(model["name"] + "@" + model["version"])


def _names(response: requests.Response) -> set[str]:
    """The models of a `/ready`; none where a service, or a proxy before it, names none."""
    try:
        return {str(model["name"]) for model in orjson.loads(response.content)["models"]}
    except (ValueError, KeyError, TypeError):
        return set()


def _is_answer(entry: Answer) -> bool:
    """Whether an entry has what a row needs. Raises KeyError and TypeError where it has not."""
    if "error" in entry:
        return isinstance(entry["error"]["detail"], str)
    for choice in entry["top"]:
        if not (isinstance(choice["label"], str) and 0 <= choice["confidence"] <= 1):
            return False
    return (
        type(entry["prediction"]) is int
        and isinstance(entry["label"], str)
        and 0 <= entry["confidence"] <= 1
        and entry["decision"] in ("accept", "review")
    )


def _explain(response: requests.Response) -> str:
    """What a problem answer says, or its status where it is none."""
    try:
        return str(orjson.loads(response.content)["detail"])
    except (ValueError, KeyError, TypeError):
        return f"status {response.status_code} {response.reason}"


def _reason(error: requests.RequestException) -> str:
    if isinstance(error, requests.Timeout):
        return "it did not answer in time"
    if isinstance(error, requests.exceptions.InvalidJSONError):
        return str(error)
    return "the connection was refused or cut"
