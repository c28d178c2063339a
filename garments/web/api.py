"""The endpoints: `/predict`, `/process_batch`, `/health`, `/ready` and `/metrics`."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from flask import Blueprint, Flask, Request, Response, jsonify, request
from flask.globals import request_ctx

from garments.engine import Answer, Engine
from garments.preprocess import Limits
from garments.routing import MODELS_HEADER
from garments.settings import Settings
from garments.web import inference_protocol, openapi
from garments.web.access import OPEN, is_mistyped, require_token
from garments.web.access_log import AccessLog, answered, brought
from garments.web.classify import Result
from garments.web.deadline import time_limit
from garments.web.lifecycle import Lifecycle
from garments.web.metrics import CONTENT_TYPE
from garments.web.models import Models
from garments.web.problems import Refusal, draining
from garments.web.routing import chosen_from, classify_each, engines_for
from garments.web.uploads import Upload, read_uploads

_PARAMETERS = ("model", "top")  # of /predict


def register(
    app: Flask, settings: Settings, models: Models, lifecycle: Lifecycle, access_log: AccessLog
) -> None:
    """Add the endpoints to `app`."""
    api = Blueprint("api", __name__)
    limits = Limits(settings.max_pixels, settings.max_frames, settings.max_scans)

    @app.before_request
    def authorise() -> None:
        if not settings.api_token or request.endpoint in OPEN:
            return
        if request.blueprint != "pages" and not is_mistyped(request):  # pages have a sign-in
            require_token(request, settings.api_token)

    @api.get("/health")
    def health() -> Response:
        return jsonify(status="alive")

    @api.get("/ready")
    def ready() -> Response:
        if lifecycle.draining:
            raise draining()
        models.candidates()  # which refuses while nothing could be answered
        return jsonify(status="ready", models=[_identity(engine) for engine in models.all()])

    @api.get("/metrics")
    def numbers() -> Response:
        access_log.flush()
        return Response(access_log.metrics.page(), content_type=CONTENT_TYPE)

    @api.get("/openapi.json")
    def description() -> Response:
        return jsonify(openapi.describe(settings, [engine.card for engine in models.all()]))

    @api.post("/predict")
    def predict() -> Response:
        # The request itself: its proxy would look for it at every use.
        asked = request_ctx.request
        query = _query(asked)
        candidates = models.candidates(query.get("model"))
        top = _top(query.get("top", "3"), candidates.photo)
        uploads = _uploads(asked, _PARAMETERS)
        until = time_limit(asked)
        engines = engines_for(candidates, uploads, until=until)
        results = classify_each(engines, uploads, limits=limits, top=top, until=until)
        answered([engine.card for engine in engines], results)
        able = [e for e, r in zip(engines, results, strict=True) if isinstance(r, Answer)]
        first = (able or engines)[0]
        # An answer of another model than that of the first answer names it itself.
        answer = jsonify(
            model=_identity(first),
            predictions=[
                {"filename": upload.filename, **_row(result), **_other(engine, first, result)}
                for upload, result, engine in zip(uploads, results, engines, strict=True)
            ],
        )
        answer.headers[MODELS_HEADER] = chosen_from(candidates)
        return answer

    @api.post("/process_batch")
    def process_batch() -> Response:
        candidates = models.candidates()
        if request.mimetype != "application/json":
            raise Refusal("unsupported_media_type", "send JSON with Content-Type: application/json")
        uploads = _uploads(request)
        until = time_limit(request)
        engines = engines_for(candidates, uploads, until=until)
        results = classify_each(engines, uploads, limits=limits, until=until)
        answered([engine.card for engine in engines], results)
        errors = [
            {"index": place, **_row(result)["error"]}
            for place, result in enumerate(results)
            if not isinstance(result, Answer)
        ]
        return jsonify(
            predictions=[
                result.top[0].prediction if isinstance(result, Answer) else None
                for result in results
            ],
            **({"errors": errors} if errors else {}),
        )

    def _uploads(asked: Request, misplaced: Collection[str] = ()) -> list[Upload]:
        found = read_uploads(
            asked,
            max_images=settings.max_images,
            max_fields=settings.max_form_fields,
            misplaced=misplaced,
        )
        brought(len(found))
        return found

    app.register_blueprint(api)
    app.register_blueprint(inference_protocol.build(settings, models, lifecycle, limits))


def _identity(engine: Engine) -> dict[str, str]:
    return {"name": engine.card.name, "version": engine.card.version}


def _other(engine: Engine, first: Engine, result: Result) -> dict[str, Any]:
    """What an answer says of its model where that is not the one of the first answer."""
    if engine is first or not isinstance(result, Answer):
        return {}
    return {"model": _identity(engine)}


def _query(asked: Request) -> Mapping[str, str]:
    if not asked.query_string:
        return {}
    # A misspelt one would be passed over, and nobody would notice that another model answers.
    for name, given in asked.args.lists():
        if name not in _PARAMETERS:
            detail = f"{name[:40]!r} is no parameter of /predict, which has model and top"
            raise Refusal("malformed_request", detail)
        if len(given) > 1:
            raise Refusal("malformed_request", f"{name} is given more than once")
    return asked.args


def _top(given: str, engine: Engine) -> int:
    classes = len(engine.card.labels)
    # Python would take 1_0 and figures of every script for a number too.
    top = int(given) if re.fullmatch("[0-9]{1,4}", given) else 0
    if not 1 <= top <= classes:
        raise Refusal("malformed_request", f"top must be a whole number from 1 to {classes}")
    return top


def _row(result: Result) -> dict[str, Any]:
    if not isinstance(result, Answer):
        return {"error": {"code": result.code, "detail": str(result)}}
    top = [
        {
            "prediction": choice.prediction,
            "label": choice.label,
            "confidence": choice.told,
        }
        for choice in result.top
    ]
    return {**top[0], "decision": result.decision, "top": top}
