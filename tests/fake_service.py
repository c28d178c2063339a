"""A service that behaves as a test tells it to, request by request."""

import http.server
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from email.parser import BytesParser
from pathlib import Path
from typing import Any

import numpy as np

from garments.card import Card, read_card
from tests.conftest import MODEL as MODEL_FOLDER

CARD = read_card(MODEL_FOLDER)
MODEL = {"name": CARD.name, "version": CARD.version}

Handler = http.server.BaseHTTPRequestHandler
Behaviour = Callable[[Handler, list[bytes]], None]


def send(handler: Handler, status: int, body: bytes, **headers: str) -> None:
    handler.send_response(status)
    for name, value in {"Content-Length": str(len(body)), **headers}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)


def send_json(handler: Handler, body: object, **headers: str) -> None:
    send(handler, 200, json.dumps(body).encode(), **headers)


def answer(handler: Handler, pictures: list[bytes]) -> None:
    """Answer as the real service does: the class is the picture's length modulo ten."""
    rows = [
        {
            "filename": str(place),
            "prediction": len(picture) % 10,
            "label": f"class {len(picture) % 10}",
            "confidence": 0.9,
            "decision": "accept" if len(picture) % 2 else "review",
            "top": [{"prediction": n, "label": f"class {n}", "confidence": 0.3} for n in range(3)],
        }
        for place, picture in enumerate(pictures)
    ]
    send_json(handler, {"model": MODEL, "predictions": rows})


def answer_golden(
    handler: Handler,
    _: list[bytes],
    card: Card = CARD,
    model: object = MODEL,
    **changes: object,
) -> None:
    """Answer the picture that tests the service as the model's card does, but for the changes."""
    number = int(np.argmax(card.golden_probabilities))
    entry = {"filename": "0", "prediction": number, "label": card.labels[number]}
    entry |= {"confidence": max(card.golden_probabilities), "decision": "accept", "top": []}
    entry |= changes
    send_json(handler, {"model": model, "predictions": [entry]})


def status(code: int, detail: str = "told so", named: str = "", **headers: str) -> Behaviour:
    """Answer with a problem of this status, of the code `named`."""
    body = json.dumps({"detail": detail, "code": named}).encode()
    return lambda handler, _: send(handler, code, body, **headers)


# As the real service answers where the work takes longer than a request may.
out_of_time = status(503, "there is more to do", "out_of_time")


def cut(handler: Handler, _: list[bytes]) -> None:
    """Close the connection instead of answering."""
    handler.close_connection = True


def cut_in_the_headers(handler: Handler, _: list[bytes]) -> None:
    """Close the connection in the middle of a header."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Le")
    handler.close_connection = True


def cut_in_the_body(handler: Handler, _: list[bytes]) -> None:
    """Promise more bytes than are sent, then close the connection."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"model"')
    handler.close_connection = True


def silent_in_the_body(handler: Handler, pictures: list[bytes]) -> None:
    """Begin to answer, and then say nothing for longer than the client waits."""
    cut_in_the_body(handler, pictures)
    handler.wfile.flush()
    time.sleep(0.6)


def junk(handler: Handler, _: list[bytes]) -> None:
    """Answer 200 with something that is no answer."""
    send(handler, 200, b"<html>a proxy's page</html>")


def swapped(handler: Handler, pictures: list[bytes]) -> None:
    """Answer for other pictures than were sent."""
    rows = [{"filename": str(place), "error": {"detail": "x"}} for place in range(len(pictures))]
    send_json(handler, {"model": MODEL, "predictions": rows[::-1]})


GOOD = {"prediction": 1, "label": "x", "confidence": 0.9, "decision": "accept", "top": []}
ODDITIES: list[dict[str, object]] = [
    {**GOOD, "prediction": None},
    {**GOOD, "prediction": True},
    {**GOOD, "label": None},
    {**GOOD, "confidence": "0.9"},
    {**GOOD, "confidence": float("nan")},
    {**GOOD, "confidence": 1.1},
    {**GOOD, "decision": "maybe"},
    {**GOOD, "top": [{"label": 1, "confidence": 0.9}]},
    {**GOOD, "top": [{"label": "x", "confidence": 1.1}]},
    {"error": "boom"},
    {"error": {"detail": None}},
    {},
]


def odd(entry: dict[str, object]) -> Behaviour:
    """Answer for each picture with an entry that is not of the contract."""

    def behave(handler: Handler, pictures: list[bytes]) -> None:
        rows = [{"filename": str(place), **entry} for place in range(len(pictures))]
        send_json(handler, {"model": MODEL, "predictions": rows})

    return behave


def slow(handler: Handler, pictures: list[bytes]) -> None:
    """Answer later than the client waits."""
    time.sleep(0.6)
    cut(handler, pictures)


class Dead:
    """Behaves as one that cuts every connection once it has been sent a first photo.

    `golden` answers the picture that tests it, until then.
    """

    def __init__(self) -> None:
        self.dead = threading.Event()

    def __call__(self, handler: Handler, pictures: list[bytes]) -> None:
        self.dead.set()
        cut(handler, pictures)

    def golden(self, handler: Handler, pictures: list[bytes]) -> None:
        (cut if self.dead.is_set() else answer_golden)(handler, pictures)


class FakeService:
    """Its address, what it was asked, and how many connections that took."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.requests: list[int] = []
        self.connections = 0
        self.open_connections = 0
        self.at_once = 0
        self.most_at_once = 0
        self.tokens: set[str | None] = set()


@contextmanager
def fake_service(
    behaviours: Sequence[Behaviour] = (),
    ready: Sequence[int | Behaviour] = (),
    golden: Behaviour = answer_golden,
    otherwise: Behaviour = answer,
    port: int = 0,
    models: Sequence[object] = (),
    certificate: tuple[Path, Path] | None = None,
) -> Iterator[FakeService]:
    """Serve on loopback: each POST takes the next behaviour, then all take `otherwise`.

    `ready` gives the statuses of the first GETs of /ready, which names `models`, or how these are
    answered. A real picture is the one that tests the service: it gets `golden` and does not count.
    With a `certificate` and its key it speaks HTTPS.
    """
    waiting, readiness = list(behaviours), list(ready)
    lock = threading.Lock()

    class Scripted(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Head and body are sent one after the other: Nagle's algorithm would hold back the body
        # until the client acknowledges the head, which it delays by 40 ms.
        disable_nagle_algorithm = True

        def setup(self) -> None:
            super().setup()
            with lock:
                fake.connections += 1
                fake.open_connections += 1

        def finish(self) -> None:
            super().finish()
            with lock:
                fake.open_connections -= 1

        def do_GET(self) -> None:
            code = readiness.pop(0) if readiness else 200
            if not isinstance(code, int):
                code(self, [])
                return
            send(self, code, json.dumps({"detail": "still starting", "models": [*models]}).encode())

        def do_POST(self) -> None:
            pictures = self._pictures()
            if pictures[0].startswith(b"\x89PNG"):
                golden(self, pictures)
                return
            with lock:
                fake.requests.append(len(pictures))
                fake.tokens.add(self.headers.get("Authorization"))
                fake.at_once += 1
                fake.most_at_once = max(fake.most_at_once, fake.at_once)
                behave = waiting.pop(0) if waiting else otherwise
            try:
                behave(self, pictures)
            finally:
                with lock:
                    fake.at_once -= 1

        def _pictures(self) -> list[bytes]:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            kind = self.headers["Content-Type"].encode()
            form: Any = BytesParser().parsebytes(b"Content-Type: " + kind + b"\r\n\r\n" + body)
            return [part.get_payload(decode=True) for part in form.get_payload()]

        def log_message(self, *_: object) -> None:
            pass

    class Quiet(http.server.ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            """Clients that are killed cut their connections."""

    with Quiet(("127.0.0.1", port), Scripted) as server:
        fake = FakeService(f"http://127.0.0.1:{server.server_port}")
        if certificate is not None:
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            tls.load_cert_chain(*certificate)
            server.socket = tls.wrap_socket(server.socket, server_side=True)
            fake.url = f"https://127.0.0.1:{server.server_port}"
        server.daemon_threads = True
        # To be shut down it waits for the next poll.
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        try:
            yield fake
        finally:
            server.shutdown()
