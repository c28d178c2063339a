"""The page `/review`: photos that a person should look at, one after the other."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from flask import Blueprint, Response, jsonify, render_template, request
from werkzeug.wrappers import Response as AnyResponse

from garments.bounds import none_at_least
from garments.cells import cell_of, readable
from garments.web.models import Models
from garments.web.pages.records import Records
from garments.web.pages.sign_in import needs_name, who
from garments.web.problems import Refusal

if TYPE_CHECKING:
    from garments.store.desk import Desk
    from garments.store.queue import Item
    from garments.store.reviews import Review

_AT_ONCE = 4  # photos that a tab has: the one that is looked at, and the next ones
_UNDOABLE = 20  # decisions that can be taken back after the page was closed
_MOST_BYTES = 2**16  # the page sends a few kilobytes; JSON can take forty times its size in memory
_MOST_SECONDS = 2.0**53  # since 1970: beyond, whole seconds cannot be told apart
_NAME = re.compile(r"[0-9A-Za-z-]{8,64}")  # names a tab or a decision; made up by the page
_DIGEST = re.compile(r"[0-9a-f]{64}")
_KINDS = {
    "doubtful": "Doubtful",
    "wrong": "Wrong item?",
    "sample": "Sample",
}


def add_to(pages: Blueprint, records: Records, models: Models) -> None:
    """Add the page to `pages`, and what its script asks for."""

    @pages.get("/review")
    @needs_name
    def review() -> str:
        kind = request.args.get("kind")
        with records.opened() as desk:
            progress = desk and desk.queue.progress(who() or "")
        return render_template(
            "review.html",
            labels=models.labels(),
            kinds=_KINDS,
            kind=kind if kind in _KINDS else None,
            progress=progress,
        )

    @pages.post("/review/next")
    @needs_name
    def hand_out() -> Response:
        asked = _Asked()
        with records.required() as desk:
            mine = desk.reviews.latest(asked.who, _UNDOABLE)
            return jsonify(**_handed(desk, asked), mine=mine)

    @pages.post("/review/decide")
    @needs_name
    def decide() -> Response:
        from garments.store.reviews import Decided, Decision, Unknown

        asked = _Asked()
        decision = Decision(
            asked.name("request"), asked.digest(), asked.answer(len(models.labels())), asked.who
        )
        with records.required() as desk:
            try:
                kept = desk.reviews.decide(decision)
            except Decided as error:
                raise Refusal("decided", _told(error.review)) from error
            except Unknown as error:
                raise Refusal("unknown_photo", str(error)) from error
            return jsonify(**_handed(desk, asked), review=kept.id)

    @pages.post("/review/undo")
    @needs_name
    def undo() -> Response:
        from garments.store.reviews import Unknown

        asked = _Asked()
        with records.required() as desk:
            try:
                digest = desk.reviews.undo(asked.number("review"), asked.who)
            except Unknown as error:
                raise Refusal("unknown_photo", str(error)) from error
            item = desk.queue.claim(asked.tab, digest)
            return jsonify(**_handed(desk, asked), item=item and _shown(item))

    @pages.post("/review/skip")
    @needs_name
    def skip() -> Response:
        asked = _Asked()
        with records.required() as desk:
            desk.queue.skip(asked.tab, asked.who, asked.digest())
            return jsonify(_handed(desk, asked))

    @pages.post("/review/release")
    @needs_name
    def release() -> Response:
        asked = _Asked()
        with records.required() as desk:
            desk.queue.release(asked.tab, asked.digests(), asked.seconds("until"))
        return jsonify({})

    @pages.get("/review/photo/<digest>")
    def photo(digest: str) -> AnyResponse:
        if not _DIGEST.fullmatch(digest):
            raise Refusal("not_found", "there is no such photo")
        with records.required() as desk:
            content = desk.queue.thumbnail(bytes.fromhex(digest))
        if content is None:
            raise Refusal("not_found", "no preview of this photo was kept")
        kind = "image/png" if content.startswith(b"\x89PNG") else "image/jpeg"
        response = Response(content, content_type=kind)
        # A content never changes; others than this person are not to see it.
        response.headers["Cache-Control"] = "private, max-age=86400, immutable"
        return response

    def _told(review: Review) -> str:
        answer = "none of these" if review.answer is None else models.labels()[review.answer]
        return (
            f"{review.who} has answered {answer} for this photo already; that stands, and "
            "yours was not kept"
        )

    def _handed(desk: Desk, asked: _Asked) -> dict[str, Any]:
        """What the tab has before it from now on, and how far people have come."""
        items = desk.queue.take(asked.tab, asked.who, _AT_ONCE, asked.kind)
        progress = desk.queue.progress(asked.who)
        return {
            "items": [_shown(item) for item in items],
            "left": progress.left,
            "hour": progress.hour,
            "own": progress.own,
        }

    def _shown(item: Item) -> dict[str, Any]:
        labels = models.labels()
        top = item.top[:3] or [[item.label, item.confidence]]
        return {
            "photo": item.digest.hex(),
            "directory": readable(item.directory.decode(errors="surrogateescape")),
            "name": readable(cell_of(os.fsdecode(item.name))),  # as the report and the table do
            "kind": item.kind,
            "expected": None if item.expected is None else labels[item.expected],
            "prediction": item.prediction,
            "until": item.until,
            "top": top,
            "none": none_at_least([share for _, share in top], len(labels)),
        }


class _Asked:
    """What the page's script sends, field by field; each raises Refusal for what it never sends."""

    def __init__(self) -> None:
        if len(request.get_data()) > _MOST_BYTES:
            detail = f"what the page sends has at most {_MOST_BYTES:,} bytes"
            raise Refusal("request_too_large", detail)
        fields = request.get_json()
        self._fields: dict[str, Any] = fields if isinstance(fields, dict) else {}
        self.who = who() or ""
        self.tab = self.name("tab")
        kind = self._fields.get("kind")
        self.kind = kind if isinstance(kind, str) and kind in _KINDS else None

    def name(self, field: str) -> str:
        found = self._fields.get(field)
        if not isinstance(found, str) or not _NAME.fullmatch(found):
            raise self._malformed(field)
        return found

    def number(self, field: str) -> int:
        found = self._fields.get(field)
        if type(found) is not int or not 0 < found < 2**31:
            raise self._malformed(field)
        return found

    def seconds(self, field: str) -> float:
        found = self._fields.get(field)
        if isinstance(found, bool) or not isinstance(found, int | float):
            raise self._malformed(field)
        if not abs(found) < _MOST_SECONDS:
            raise self._malformed(field)
        return float(found)

    def answer(self, classes: int) -> int | None:
        """None for none of the classes."""
        found = self._fields.get("answer", "")
        if found is not None and not (type(found) is int and 0 <= found < classes):
            raise self._malformed("answer")
        return found

    def digest(self) -> bytes:
        return self._digest(self._fields.get("photo"))

    def digests(self) -> list[bytes]:
        found = self._fields.get("photos")
        if not isinstance(found, list) or len(found) > 100:
            raise self._malformed("photos")
        return [self._digest(one) for one in found]

    def _digest(self, found: object) -> bytes:
        if not isinstance(found, str) or not _DIGEST.fullmatch(found):
            raise self._malformed("photo")
        return bytes.fromhex(found)

    @staticmethod
    def _malformed(field: str) -> Refusal:
        return Refusal("malformed_request", f"the field {field!r} is missing or not as it must be")
