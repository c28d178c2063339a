"""The endpoints: `/predict`, `/process_batch`, `/health`, `/ready` and `/metrics`."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Flask, Response, jsonify, request

from garments.engine import Answer, Engine
from garments.settings import Settings
from garments.web.access import require_token
from garments.web.classify import Result, classify
from garments.web.lifecycle import Lifecycle, time_limit
from garments.web.metrics import CONTENT_TYPE
from garments.web.models import Models
from garments.web.problems import Refusal
from garments.web.uploads import read_uploads
from garments.web.watch import Watch, answered


def register(
    app: Flask, settings: Settings, models: Models, lifecycle: Lifecycle, watch: Watch
) -> None:
    """Add the endpoints to `app`."""
    api = Blueprint("api", __name__)

    @api.before_request
    def authorise() -> None:
        if settings.api_token and request.endpoint != "api.health":
            require_token(request, settings.api_token)

    @api.get("/health")
    def health() -> Response:
        return jsonify(status="alive")

    @api.get("/ready")
    def ready() -> Response:
        if lifecycle.draining:
            raise Refusal("draining", "the service finishes what it has; ask another one")
        return jsonify(status="ready", models=[_identity(engine) for engine in models.all()])

    @api.get("/metrics")
    def numbers() -> Response:
        watch.tell()
        return Response(watch.metrics.page(), content_type=CONTENT_TYPE)

    @api.post("/predict")
    def predict() -> Response:
        engine = models.named(request.args.get("model", settings.model))
        top = _top(engine)
        uploads = read_uploads(request, max_images=settings.max_images)
        results = classify(
            engine, uploads, max_pixels=settings.max_pixels, top=top, until=time_limit(request)
        )
        answered(engine.card, results)
        return jsonify(
            model=_identity(engine),
            predictions=[
                {"filename": upload.filename, **_row(result)}
                for upload, result in zip(uploads, results, strict=True)
            ],
        )

    @api.post("/process_batch")
    def process_batch() -> Response:
        engine = models.named(settings.model)
        if request.mimetype != "application/json":
            raise Refusal("unsupported_media_type", "send JSON with Content-Type: application/json")
        uploads = read_uploads(request, max_images=settings.max_images)
        results = classify(
            engine, uploads, max_pixels=settings.max_pixels, until=time_limit(request)
        )
        answered(engine.card, results)
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

    app.register_blueprint(api)


def _identity(engine: Engine) -> dict[str, str]:
    return {"name": engine.card.name, "version": engine.card.version}


def _top(engine: Engine) -> int:
    classes = len(engine.card.labels)
    try:
        top = int(request.args.get("top", "3"))
    except ValueError:
        top = 0
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
            "confidence": round(choice.confidence, 6),
        }
        for choice in result.top
    ]
    return {**top[0], "decision": result.decision, "top": top}
