"""Every setting, its default and its meaning; the only reader of the environment."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

PREFIX = "GARMENTS_"
PROJECT = Path(__file__).resolve().parent.parent
# Between two dots of a host's name. What is not ASCII there is left to those who look it up.
_LABEL = re.compile(r"(?:[a-z0-9_-]|[^\x00-\x7f\s]){1,63}")


class SettingsError(Exception):
    """A setting has an unusable name or value; the text says which and what is allowed."""


def _about(meaning: str, least: float | None = None, most: float | None = None) -> dict[str, Any]:
    return {"meaning": meaning, "least": least, "most": most}


@dataclass(frozen=True)
class Settings:
    """The table of settings; `host` is read from `GARMENTS_HOST`, and so on."""

    host: str = field(default="127.0.0.1", metadata=_about("address the service listens on"))
    port: int = field(default=5001, metadata=_about("port the service listens on", 1, 65535))
    workers: int = field(
        default=0, metadata=_about("worker processes of the service; 0 means one per core", 0, 1024)
    )
    api_token: str = field(
        default="",
        metadata=_about(
            "secret that requests must carry as `Authorization: Bearer …`; "
            "needed to listen on anything but loopback"
        ),
    )
    secret_key: str = field(
        default="",
        metadata=_about(
            "secret that signs the cookies of those who are signed in, beside the token; needed "
            "where there is no token and several services, or the processes of another server than "
            "app.py, answer at one address"
        ),
    )
    model_dir: Path = field(
        default=PROJECT / "model", metadata=_about("folder that holds the model folders")
    )
    model: str = field(
        default="fashion-mnist",
        metadata=_about(
            "model that answers for pictures of at most 28×28 pixels when a request names none"
        ),
    )
    photo_model: str = field(
        default="photo",
        metadata=_about(
            "model that answers for all others; where this is not set, and no model called photo "
            "is installed, GARMENTS_MODEL does"
        ),
    )
    max_request_bytes: int = field(
        default=64 * 2**20, metadata=_about("most bytes in one request", 1, 2**40)
    )
    max_images: int = field(default=256, metadata=_about("most pictures in one request", 1, 10**6))
    max_form_fields: int = field(
        default=100, metadata=_about("most fields of a form beside its pictures", 0, 10**6)
    )
    max_pixels: int = field(
        default=25_000_000, metadata=_about("most pixels in one picture", 1, 89_000_000)
    )
    max_frames: int = field(
        default=1000,
        metadata=_about(
            "most frames in one picture, of which only the first is looked at", 1, 10**6
        ),
    )
    max_scans: int = field(default=100, metadata=_about("most scans in one JPEG", 1, 10**6))
    max_queue: int = field(
        default=64,
        metadata=_about(
            "requests that wait in a worker for their turn; the next gets a 429", 1, 10**6
        ),
    )
    max_queue_bytes: int = field(
        default=256 * 2**20,
        metadata=_about(
            "most bytes of large requests that a worker holds; the next gets a 429", 1, 2**40
        ),
    )
    deadline_seconds: float = field(
        default=30.0,
        metadata=_about("seconds that a request may wait and be worked on", 0.001, 86400),
    )
    body_seconds: float = field(
        default=10.0,
        metadata=_about(
            "seconds that the body of a request may take, or may stand still; as many more as it "
            "needs at 16 KiB a second",
            0.001,
            86400,
        ),
    )
    drain_seconds: float = field(
        default=0.5,
        metadata=_about(
            "seconds from a signal to stop, at which `/ready` says so, to the last new request; "
            "give a load balancer time to notice",
            0,
            3600,
        ),
    )
    request_log: int = field(
        default=1,
        metadata=_about("1: a line of JSON on stderr for each request; 0: none", 0, 1),
    )
    service_url: str = field(
        default="http://127.0.0.1:5001",
        metadata=_about("where the nightly client finds the service"),
    )
    batch_size: int = field(
        default=128, metadata=_about("pictures that the client sends in one request", 1, 10**6)
    )
    batch_bytes: int = field(
        default=16 * 2**20,
        metadata=_about("bytes of pictures that the client aims at in one request", 1, 2**40),
    )
    connections: int = field(
        default=8, metadata=_about("requests that the client has under way at once", 1, 1024)
    )
    wait_seconds: float = field(
        default=60.0,
        metadata=_about("seconds that the client waits for the service to be ready", 0),
    )
    retry_seconds: float = field(
        default=300.0,
        metadata=_about(
            "seconds without any answer after which the client gives the service up",
            0,
        ),
    )
    timeout_seconds: float = field(
        default=60.0, metadata=_about("seconds that the client waits for one answer", 0.001, 86400)
    )
    settle_seconds: float = field(
        default=2.0,
        metadata=_about(
            "seconds that a file must have been left alone before the client reads it", 0, 3600
        ),
    )
    review_sample: float = field(
        default=0.0,
        metadata=_about(
            "share of the accepted photos, chosen by chance, that people are to look at as well; "
            "it shows how right those are; of photos that are sent from then on",
            0,
            1,
        ),
    )
    database_url: str = field(
        default="sqlite:///predictions.db",
        metadata=_about(
            "where nights and answers are kept: PostgreSQL, or SQLite, whose path begins at the "
            "folder that a command is started in"
        ),
    )
    dataset_dir: Path | None = field(
        default=None,
        metadata=_about(
            "folder of the four Fashion-MNIST IDX files, as .gz; unset: the usual places"
        ),
    )

    @classmethod
    def from_environment(
        cls, environment: Mapping[str, str] = os.environ, **chosen: Any
    ) -> Settings:
        """Read `GARMENTS_*`; an empty value means the default. Raises SettingsError.

        What is `chosen`, on a command line for instance, wins unless it is None.
        """
        kinds = {entry.name: str(entry.type) for entry in fields(cls)}
        given: dict[str, Any] = {}
        for variable, text in environment.items():
            if not variable.startswith(PREFIX) or text == "":
                continue
            name = variable.removeprefix(PREFIX).lower()
            if name not in kinds:
                close = get_close_matches(name, kinds, n=1)
                hint = f"did you mean {PREFIX}{close[0].upper()}?" if close else "see README.md"
                raise SettingsError(f"there is no setting {variable}: {hint}")
            given[name] = _parse(kinds[name], variable, text)
        return cls(**given | {name: value for name, value in chosen.items() if value is not None})

    def __post_init__(self) -> None:
        for entry in fields(self):
            name, value = f"{PREFIX}{entry.name.upper()}", getattr(self, entry.name)
            least, most = entry.metadata["least"], entry.metadata["most"]
            if least is not None and not value >= least:
                raise SettingsError(f"{name} is {value}: it must be at least {least}")
            if most is not None and value > most:
                raise SettingsError(f"{name} is {value}: it must be at most {most}")
            # SQLite's address is a path, which may be of any bytes.
            is_path = entry.name == "database_url" and value.startswith("sqlite")
            if isinstance(value, str) and not is_path and not _is_text(value):
                # Not told: it may be a secret.
                raise SettingsError(
                    f"{name} has bytes that are not UTF-8: it must be text in UTF-8"
                )
        for name, value in (("MODEL", self.model), ("PHOTO_MODEL", self.photo_model)):
            if "/" in value or value in (".", ".."):
                raise SettingsError(
                    f"{PREFIX}{name} is {value!r}: it must be the name of a folder in "
                    f"{PREFIX}MODEL_DIR, without a slash"
                )
        if not _is_address(self.service_url):
            raise SettingsError(
                f"{PREFIX}SERVICE_URL, or --url, is {without_secret(self.service_url)!r}: "
                f"it must be like {Settings.service_url}"
            )
        if self.api_token and not re.fullmatch("[!-~]+", self.api_token):
            # Not told: a token that is nearly right is a secret too.
            raise SettingsError(f"{PREFIX}API_TOKEN must be of ASCII letters, digits and signs")


def without_secret(url: str) -> str:
    """A URL, or what should be one, as it may be told: without a user's name and password."""
    return re.sub(r"^(\w*:?//)?.*@", r"\1", url)


def tell_library(variable: str, value: str, *, unless: Collection[str] = ()) -> None:
    """Set a variable of the environment that a library reads, unless one of some is set."""
    if not any(os.environ.get(name) for name in unless):
        os.environ[variable] = value


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_address(url: str) -> bool:
    try:
        address = urlsplit(url)
        sound = address.scheme in ("http", "https") and address.port != 0
    except ValueError:
        return False
    # What asks the service would find these in a host; `urlsplit` leaves them out.
    return sound and not re.search(r"[\t\r\n]", url) and _is_host(address.hostname or "")


def _is_host(host: str) -> bool:
    labels = host.removesuffix(".").split(".")
    # Only an address in brackets has a colon.
    return ":" in host or all(map(_LABEL.fullmatch, labels))


def _parse(kind: str, variable: str, text: str) -> Any:
    parse = {"int": int, "float": float, "Path": Path, "Path | None": Path}.get(kind, str)
    wanted = "a whole number" if parse is int else "a number"
    try:
        # Python would take 1_0 and figures of every script for a number too.
        if parse in (int, float) and ("_" in text or not text.isascii()):
            raise ValueError(text)
        return parse(text)
    except ValueError as error:
        raise SettingsError(f"{variable} is {text!r}: it must be {wanted}") from error
