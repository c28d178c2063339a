"""The page `/`: any photo, and what the service makes of it."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import numpy.typing as npt
from flask import Blueprint, Response, jsonify, render_template, request
from PIL import Image

from garments.engine import Answer, Engine
from garments.preprocess import BadImage, Limits, read_picture, to_array
from garments.preprocess.item import on_white
from garments.preprocess.picture import open_picture
from garments.settings import Settings
from garments.web.access_log import answered, brought
from garments.web.batching import ask
from garments.web.classify import require_little
from garments.web.models import Models
from garments.web.problems import Refusal
from garments.web.routing import engines_for
from garments.web.uploads import read_uploads

_MOST_PHOTOS = 24  # that the page takes at a time
_CLASSES = 5
# What most browsers cannot show, as Pillow calls it, and the pixels of what is shown instead.
_UNSHOWN = ("HEIF", "TIFF")
_SIDE = 1024


def add_to(pages: Blueprint, settings: Settings, models: Models) -> None:
    """Add the page to `pages`, and what it asks."""
    limits = Limits(settings.max_pixels, settings.max_frames, settings.max_scans)

    @pages.get("/")
    def try_it() -> str:
        return render_template(
            "trial.html", most_bytes=settings.max_request_bytes, most_photos=_MOST_PHOTOS
        )

    @pages.post("/look")
    def look() -> Response:
        """Answer for the picture in the body, and show it as its model sees it.

        One that cannot be read is an answer too: `error` says why.
        """
        (upload,) = uploads = read_uploads(request, max_images=1)
        brought(1)
        (engine,) = engines_for(models.candidates(), uploads)
        if isinstance(upload.content, Refusal):
            raise upload.content
        require_little(engine, uploads)
        try:
            seen = to_array(
                upload.content,
                engine.card.height,
                engine.card.width,
                engine.card.preprocessing,
                limits=limits,
            )
        except BadImage as fault:
            answered([engine.card], [fault])
            return jsonify(error={"code": fault.code, "detail": str(fault)})
        (answer,) = ask(engine, seen[None], len(engine.card.labels))
        answered([engine.card], [answer])
        return jsonify(
            **_told(engine, answer),
            seen=_png(seen),
            shown=_shown(upload.content, limits),
        )


def _told(engine: Engine, answer: Answer) -> dict[str, Any]:
    card = engine.card
    return {
        "model": card.identity,
        "decision": answer.decision,
        "threshold": card.accept_threshold,
        "size": [card.width, card.height],
        "top": [[choice.label, choice.confidence] for choice in answer.top[:_CLASSES]],
        "none": max(0.0, 1 - sum(choice.confidence for choice in answer.top)),
    }


def _png(seen: npt.NDArray[np.uint8]) -> str:
    """The input of a network (height, width, 1 or 3) as a data: URL."""
    picture = Image.fromarray(seen[..., 0] if seen.shape[-1] == 1 else seen)
    return _data_url(picture, "PNG")


def _shown(data: bytes, limits: Limits) -> str | None:
    """A picture as a data: URL, where a browser could not show the file itself.

    None of one whose answer was had from its thumbnail, and which is damaged beside that.
    """
    with open_picture(data) as picture:
        if picture.format not in _UNSHOWN:
            return None
    try:
        picture = on_white(read_picture(data, limits, _SIDE)).convert("RGB")
    except BadImage:
        return None
    picture.thumbnail((_SIDE, _SIDE))
    return _data_url(picture, "JPEG")


def _data_url(picture: Image.Image, kind: str) -> str:
    file = io.BytesIO()
    picture.save(file, kind)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(file.getvalue()).decode()}"
