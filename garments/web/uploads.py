"""The three forms in which a request carries pictures, read into one."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from flask import Request
from multipart import MultipartError, MultipartSegment, PushMultipartParser
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.http import parse_options_header

from garments.web.headers import was_dropped
from garments.web.problems import Refusal

BODY = "garments.body"
"""Where the environ of a request has its body, if whoever called the app has read it."""

_FORMS = (
    "send a picture as the body with its Content-Type (image/png, image/jpeg, …, or "
    "application/octet-stream), or any number as multipart/form-data files, or JSON "
    '{"images": ["<base64>", …]}'
)
_WHITE_SPACE = b" \t\n\r\v\f"


@dataclass(frozen=True)
class Upload:
    """One picture as it was sent: its bytes, or why there are none."""

    filename: str | None
    content: bytes | Refusal


def read_uploads(
    request: Request, *, max_images: int, max_fields: int = 100, misplaced: Collection[str] = ()
) -> list[Upload]:
    """The pictures of a request, at least one, in the order sent.

    Raises Refusal, also for fields that are `misplaced` in a body and would have no effect there.
    """
    kind = request.mimetype
    if kind.startswith("image/") or kind == "application/octet-stream":
        uploads = [Upload(None, _body(request))]
    elif kind == "multipart/form-data":
        uploads = _read_form(request, max_images, max_fields, misplaced)
    elif kind == "application/json":
        uploads = _read_json(request, max_images, misplaced)
    else:
        given = f"{kind} is not served" if kind else "the request has no Content-Type"
        if was_dropped(request, "content-type"):
            given = "the Content-Type is not all ASCII"
        raise Refusal("unsupported_media_type", f"{given}: {_FORMS}")
    return uploads


def too_many(images: int, most: int) -> Refusal:
    """What a request of so many pictures is refused with."""
    detail = f"{images} pictures in one request: send at most {most} at a time"
    return Refusal("too_many_images", detail)


def _body(request: Request) -> bytes:
    """The whole body. Raises Refusal and RequestEntityTooLarge where it is not whole."""
    coding = request.environ.get("HTTP_CONTENT_ENCODING", "")
    if coding.lower() not in ("", "identity"):
        detail = f"Content-Encoding: {coding} is not served: send the body as it is"
        raise Refusal("unsupported_media_type", detail)
    length, most = request.content_length, request.max_content_length
    whole: bytes | None = request.environ.get(BODY)
    if whole is not None and length == len(whole) and (most is None or length <= most):
        return whole
    content = request.get_data(cache=False)
    # A body that comes without its length is silently cut at the limit.
    if length is None and most is not None and len(content) >= most:
        raise RequestEntityTooLarge
    if length is not None and len(content) != length:
        raise Refusal("malformed_request", "the body broke off before its end: send it again")
    return content


def _read_form(
    request: Request, max_images: int, max_fields: int, misplaced: Collection[str]
) -> list[Upload]:
    content = _body(request)
    uploads = []
    fields = 0
    try:
        boundary = request.mimetype_params.get("boundary", "")
        with PushMultipartParser(boundary, header_charset="latin-1") as parser:
            for part, picture in _parts(parser.parse(content)):
                # A browser sends a nameless, empty part for a file field that was left empty.
                name = _filename(part)
                if name is not None and (picture or name):
                    uploads.append(Upload(name, picture))
                else:
                    _require_none_of(misplaced, [part.name])
                    fields += 1  # passed over
                if len(uploads) > max_images:
                    detail = f"too many in one form: send at most {max_images} pictures at a time"
                    raise Refusal("too_many_images", detail)
                if fields > max_fields:
                    detail = f"a form has at most {max_fields} fields beside its pictures"
                    raise Refusal("request_too_large", detail)
    except MultipartError as error:
        raise Refusal("malformed_request", f"the form is malformed ({error})") from error
    if not uploads:
        raise Refusal("malformed_request", f"the form has no file: {_FORMS}")
    return uploads


def _filename(part: MultipartSegment) -> str | None:
    """The name of a file as far as it is UTF-8; None for a part that is no file."""
    if part.filename is not None:
        # Read as Latin-1, which loses no byte.
        return str(part.filename).encode("latin-1").decode("utf-8", errors="replace")
    # Some clients still send a name with its own encoding, `filename*`, which RFC 7578 took away.
    return parse_options_header(part.header("Content-Disposition"))[1].get("filename")


def _parts(
    events: Iterable[MultipartSegment | bytes | bytearray | None],
) -> Iterator[tuple[MultipartSegment, bytes]]:
    """Each part of a form with its content, from a parser's events."""
    for event in events:
        if isinstance(event, MultipartSegment):
            part, content = event, b""
        elif event is None:
            yield part, content
        else:
            content += event  # without a copy where the part came whole


def _read_json(request: Request, max_images: int, misplaced: Collection[str]) -> list[Upload]:
    most = dict.fromkeys((b",", b"[", b"{"), 2 * max_images + 1000)
    body = read_json(request, max_images=max_images, most=lambda _: most)
    images = body.get("images") if isinstance(body, dict) else None
    if isinstance(body, dict):
        _require_none_of(misplaced, body)
    if not isinstance(images, list) or not images:
        raise Refusal(
            "malformed_request",
            'the JSON must be {"images": ["<base64>", …]} with at least one picture',
        )
    if len(images) > max_images:  # before any of them is decoded
        raise too_many(len(images), max_images)
    return [Upload(None, from_base64(image)) for image in images]


def _require_none_of(misplaced: Collection[str], names: Collection[str | None]) -> None:
    for name in misplaced:
        if name in names:
            raise Refusal("malformed_request", f"{name} goes into the address, as ?{name}=…")


def read_json(
    request: Request, *, max_images: int, most: Callable[[int], Mapping[bytes, int]]
) -> Any:
    """The body as JSON. Raises Refusal, also where it has more of a sign than `most` says.

    A list takes two bytes as text and forty times as many in memory, so what begins values and
    what stands between them is counted first. `most` is asked for a body of so many bytes.
    """
    body = _body(request)
    if any(body.count(sign) > count for sign, count in most(len(body)).items()):
        detail = f"too many values for {max_images} pictures, the most that a request may have"
        raise Refusal("too_many_images", detail)
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Refusal("malformed_request", f"the body is not JSON ({error})") from error


def from_base64(text: object) -> bytes | Refusal:
    """The bytes that a string of base64 or a `data:` URL stands for, or what is wrong with it."""
    if not isinstance(text, str):
        return Refusal("malformed_base64", "an image in JSON must be a string of base64")
    if text[:5].lower() == "data:":
        _, comma, text = text.partition(",")
        if not comma:
            return Refusal("malformed_base64", "an image in JSON is a data: URL without a comma")
    try:
        # Tools that write base64 break its lines; nothing else is forgiven. Never in pieces, of
        # which there may be as many as signs.
        signs = text.encode("ascii", errors="replace").translate(None, _WHITE_SPACE)
        return base64.b64decode(signs, validate=True)
    except (binascii.Error, ValueError) as error:
        return Refusal("malformed_base64", f"an image in JSON is not base64 ({error})")
