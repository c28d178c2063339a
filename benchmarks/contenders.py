"""What is measured: our service, its peers and other servers for it; how each is asked."""

import base64
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from urllib3.filepost import encode_multipart_formdata

from benchmarks.service import CORES
from garments.settings import PROJECT

_ENVIRONMENTS = PROJECT / ".venv-peers"
_BOUNDARY = "garments-boundary"


@dataclass(frozen=True)
class Contender:
    """A service: how it is started, asked about pictures, and understood.

    In `command`, `ready` and `variables` PORT stands for the port that it gets.
    """

    name: str
    command: Sequence[object]
    ready: str
    path: str
    content_type: str
    body: Callable[[Sequence[bytes]], bytes]
    classes: Callable[[Any], list[int]]
    variables: Mapping[str, str] = field(default_factory=dict)
    pictures: int = 1  # in a request


_QUIET = {"GARMENTS_REQUEST_LOG": "0"}  # nobody else writes a line for each request

# What peers import is ours, and none of their libraries may take more threads than ours.
_VARIABLES = {
    "PYTHONPATH": str(PROJECT),
    "OMP_NUM_THREADS": "1",
    "BENTOML_DO_NOT_TRACK": "True",
    "MLSERVER_HTTP_PORT": "PORT",
    "MLSERVER_GRPC_PORT": "0",
}


def _predictions(answer: Any) -> list[int]:
    return [row["prediction"] for row in answer["predictions"]]


def _only(pictures: Sequence[bytes]) -> bytes:
    (picture,) = pictures
    return picture


def _form(pictures: Sequence[bytes]) -> bytes:
    parts = [("image", (f"{n}.png", data, "image/png")) for n, data in enumerate(pictures)]
    return encode_multipart_formdata(parts, _BOUNDARY)[0]


def _json(pictures: Sequence[bytes]) -> bytes:
    return json.dumps({"images": [base64.b64encode(data).decode() for data in pictures]}).encode()


def _base64(pictures: Sequence[bytes]) -> str:
    return base64.b64encode(_only(pictures)).decode()


def _protocol(pictures: Sequence[bytes]) -> bytes:
    """A picture by the Open Inference Protocol, whose HTTP form is JSON."""
    tensor = {"name": "image", "shape": [1], "datatype": "BYTES", "data": [_base64(pictures)]}
    return json.dumps({"inputs": [tensor]}).encode()


def ours(
    name: str = "Garments", *command: object, form: str = "body", pictures: int = 1
) -> Contender:
    """Our service, started by `command` or as `make serve` does it; `form` is how it is asked."""
    content_type, body = {
        "body": ("image/png", _only),
        "form": (f"multipart/form-data; boundary={_BOUNDARY}", _form),
        "JSON": ("application/json", _json),
    }[form]
    return Contender(
        name,
        command or (sys.executable, "app.py", "--port", "PORT"),
        "/ready",
        "/predict",
        content_type,
        body,
        _predictions,
        _QUIET,
        pictures,
    )


def peers() -> list[Contender]:
    """Each in the settings that were its fastest: workers, threads, plain or async methods."""
    mlserver = Contender(
        "MLServer",
        (_ENVIRONMENTS / "mlserver/bin/mlserver", "start", "benchmarks/peers/mlserver"),
        "/v2/models/fashion-mnist/ready",
        "/v2/models/fashion-mnist/infer",
        "application/json",
        _protocol,
        lambda answer: [json.loads(answer["outputs"][0]["data"][0])["prediction"]],
        {**_VARIABLES, "MLSERVER_PARALLEL_WORKERS": "1"},
    )
    return [
        mlserver,
        replace(
            mlserver,
            name="MLServer, a route of its own",
            path="/predict",
            content_type="image/png",
            body=_only,
            classes=_own,
            variables={**_VARIABLES, "MLSERVER_PARALLEL_WORKERS": "0"},
        ),
        Contender(
            "LitServe",
            (python_of("litserve"), "-m", "benchmarks.peers.litserve_app", "PORT"),
            "/health",
            "/predict",
            "image/png",
            _only,
            _own,
            _VARIABLES,
        ),
        Contender(
            "BentoML",
            (
                *(python_of("bentoml"), "-m", "bentoml"),
                *("serve", "benchmarks.peers.bentoml_service:Garments"),
                *("--host", "127.0.0.1", "--port", "PORT"),
            ),
            "/readyz",
            "/predict",
            "application/json",
            lambda pictures: json.dumps({"image": _base64(pictures)}).encode(),
            _own,
            _VARIABLES,
        ),
    ]


def servers() -> list[Contender]:
    """Our app on other WSGI servers, and on Granian with other settings."""
    python, here = python_of("servers"), "127.0.0.1:PORT"
    gunicorn = (
        *(python, "-m", "gunicorn", "--bind", here, "--log-level", "error", "app:app"),
        *("--workers", CORES),
    )
    uwsgi = (
        *(_ENVIRONMENTS / "servers/bin/uwsgi", "--http11-socket", here, "--master", "--need-app"),
        *("--disable-logging", "--lazy-apps", "--module", "app:app"),
        *("--processes", CORES),
    )
    many = f"{CORES} workers"
    single = "one process, of threads"
    return [
        ours("Garments as it starts itself"),
        *(
            ours(
                f"Granian, {workers} workers of {threads} threads, {mode}",
                *granian("app:app", workers, threads, mode),
            )
            for workers, threads, mode in dict.fromkeys(  # on one core some are the same
                (
                    *((CORES, threads, "st") for threads in (1, 2, 4, 24)),
                    *((CORES, 1, "mt"), (1, 24, "st")),
                    *((CORES + 1, 1, "st"), (2 * CORES, 1, "st")),
                )
            )
        ),
        ours(f"gunicorn, {many} of 8 threads", *gunicorn, "-k", "gthread", "--threads", 8),
        ours(f"gunicorn, {many}, sync", *gunicorn),
        ours(f"uWSGI, {many} of 8 threads", *uwsgi, "--threads", 8),
        ours(f"waitress, {single}", python, "-m", "waitress", "--listen", here, "app:app"),
        ours(f"cheroot, {single}", python, "-m", "cheroot", "--bind", here, "app:app"),
    ]


def granian(app: str, workers: int = CORES, threads: int = 1, mode: str = "st") -> list[object]:
    """The command that serves a WSGI app on Granian."""
    return [
        *(sys.executable, "-m", "granian", app, "--interface", "wsgi", "--no-ws"),
        *("--host", "127.0.0.1", "--port", "PORT", "--log-level", "error"),
        *("--workers", workers, "--blocking-threads", threads, "--runtime-mode", mode),
    ]


def python_of(environment: str) -> Path:
    """The interpreter of an environment; the targets of the Makefile that need it make it."""
    return _ENVIRONMENTS / environment / "bin" / "python"


def _own(answer: Any) -> list[int]:
    return [answer["prediction"]]
