"""What every part of the description is made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from garments.web.problems import PROBLEMS, headers_of

Schema = dict[str, Any]

# The errors that a request with pictures can meet.
OF_PICTURES = (
    "malformed_request",
    "malformed_base64",
    "unknown_model",
    "request_too_large",
    "too_many_images",
    "too_many_pixels",
    "too_many_frames",
    "too_many_scans",
    "unsupported_media_type",
    "unsupported_type",
    "empty_image",
    "unreadable_image",
    "slow_request",
    "busy",
    "not_ready",
    "out_of_time",
)


def reference(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def object_of(properties: Mapping[str, Schema], optional: Iterable[str] = ()) -> Schema:
    """An object with these properties and no other."""
    return {
        "type": "object",
        "properties": dict(properties),
        "required": [name for name in properties if name not in optional],
        "additionalProperties": False,
    }


def as_json(schema: Schema) -> Schema:
    return {"application/json": {"schema": schema}}


def operation(
    summary: str,
    answer: Schema,
    codes: Iterable[str] = (),
    *,
    kind: str = "application/json",
    plain: bool = False,
    headers: Mapping[str, Schema] | None = None,
    **others: Any,
) -> Schema:
    """An operation: its 200, with `headers`, and its errors by status; `plain` ones as in `/v2`."""
    by_status: dict[int, list[str]] = {}
    protected = () if others.get("security") == [] else ("unauthorized",)
    for code in (*codes, *protected, "internal_error"):
        by_status.setdefault(PROBLEMS[code][0], []).append(code)
    responses: Schema = {
        "200": {
            "description": summary,
            "content": {kind: {"schema": answer}},
            **({"headers": headers} if headers else {}),
        }
    }
    for status, those in sorted(by_status.items()):
        own = {name: {"schema": {"type": "string"}} for name in headers_of(those[0])}
        responses[str(status)] = {
            "description": "; ".join(PROBLEMS[code][1] for code in those),
            "content": as_json(reference("Error"))
            if plain
            else {"application/problem+json": {"schema": problem_of(those)}},
            **({"headers": own} if own else {}),
        }
    return {"summary": summary, "responses": responses, **others}


def problem_of(codes: Iterable[str]) -> Schema:
    """RFC 9457, with a code that a program can act on."""
    codes = list(codes)
    return object_of(
        {
            "title": {"enum": list(dict.fromkeys(PROBLEMS[code][1] for code in codes))},
            "status": {"enum": sorted({PROBLEMS[code][0] for code in codes})},
            "detail": {"type": "string"},
            "code": {"enum": codes},
        }
    )
