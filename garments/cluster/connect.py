"""Which cluster: the one that RAY_ADDRESS names, else that which runs here, else one of its own."""

from __future__ import annotations

import logging
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import ray

# What is not public there; else nobody tells which address `ray.init` is going to take.
from ray._common.utils import get_ray_address_file
from ray._private import services
from ray._private.utils import read_ray_address

from garments.batch.errors import ServiceError
from garments.settings import tell_library

_SECONDS_TO_ANSWER = 10.0
_OF_TOKENS = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
_TELLS_OF_TOKENS = "ray._private.authentication.authentication_token_setup"
_ADVICE = "see RAY_ADDRESS"
_ADVICE_FOR_OWN = (
    "its logs are below ray/session_latest/logs in /tmp, or where RAY_TMPDIR or TMPDIR says; that "
    "must be a short name of a folder with room, since sockets in it have at most 107 bytes"
)


@contextmanager
def cluster() -> Iterator[None]:
    """Be connected to it. Raises ServiceError where none can be had."""
    # Ray would tell its makers of every cluster.
    tell_library("RAY_USAGE_STATS_ENABLED", "0")
    named = _named()
    if not named:
        # Else Ray makes a token itself, and keeps it in the home, which a service may not have.
        tell_library("RAY_AUTH_TOKEN", secrets.token_hex(32), unless=_OF_TOKENS)
        logging.getLogger(_TELLS_OF_TOKENS).setLevel(logging.ERROR)
    elif "://" not in named:
        _require_listener(named)
    try:
        ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.WARNING)
    except Exception as error:  # Ray raises that very class where a node does not start
        advice = _ADVICE if named else _ADVICE_FOR_OWN
        told = " ".join(str(error).split())
        raise ServiceError(f"no cluster can be used: {told}; {advice}") from error
    try:
        yield
    finally:
        ray.shutdown()


def _named() -> str:
    """The address that Ray is going to take, as it is written; "" where it starts a cluster."""
    try:
        named = str(services.get_ray_address_from_environment(None, None) or "")
    except ConnectionError as error:  # "auto", and none is here
        raise ServiceError(f"no cluster can be used: {error}; {_ADVICE}") from error
    return "" if named == "local" else named


def _require_listener(named: str) -> None:
    """Refuse now an address where nobody listens: Ray tries it for a quarter of an hour."""
    try:
        host, _, port = services.canonicalize_bootstrap_address(named).rpartition(":")
        socket.create_connection((host.strip("[]"), int(port)), _SECONDS_TO_ANSWER).close()
    except ValueError as error:
        raise ServiceError(f"no cluster can be used: {error}; {_ADVICE}") from error
    except OSError as error:
        advice = _ADVICE
        if named == read_ray_address():
            file = get_ray_address_file(None)
            advice = f"if it has ended, run `ray stop` or remove {file}, which names it"
        raise ServiceError(
            f"no cluster answers at {named} ({error.strerror or error}): {advice}"
        ) from error
