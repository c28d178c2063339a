"""The endpoints: `/predict`, `/process_batch`, `/health` and `/ready`."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Flask, Response, jsonify, request

from garments.engine import Answer, Engine
from garments.settings import Settings
from garments.web.access import Gate, require_token
from garments.web.classify import Result
from garments.web.models import Models
from garments.web.problems import Refusal
from garments.web.routing import Router, classify_each
from garments.web.uploads import read_uploads


def register(app: Flask, settings: Settings, models: Models) -> None:
    """Add the endpoints to `app`."""
    api = Blueprint("api", __name__)
    gate = Gate(settings.max_at_once)
    router = Router(settings, models)

    @api.before_request
    def authorise() -> None:
        if settings.api_token and request.endpoint != "api.health":
            require_token(request, settings.api_token)

    @api.get("/health")
    def health() -> Response:
        return jsonify(status="alive")

    @api.get("/ready")
    def ready() -> Response:
        router.default()
        return jsonify(status="ready", models=[_identity(engine) for engine in models.all()])

    @api.post("/predict")
    def predict() -> Response:
        name = request.args.get("model")
        top = _top(models.named(name) if name is not None else router.default())
        with gate:
            uploads = read_uploads(request, max_images=settings.max_images)
            engines = router.engines(name, uploads)
            results = classify_each(engines, uploads, max_pixels=settings.max_pixels, top=top)
        answered = [e for e, r in zip(engines, results, strict=True) if isinstance(r, Answer)]
        first = (answered or engines)[0]
        # An answer of another model than that of the first answer names it itself.
        return jsonify(
            model=_identity(first),
            predictions=[
                {"filename": upload.filename, **_row(result), **_other(engine, first, result)}
                for upload, result, engine in zip(uploads, results, engines, strict=True)
            ],
        )

    @api.post("/process_batch")
    def process_batch() -> Response:
        router.default()
        with gate:
            if request.mimetype != "application/json":
                raise Refusal(
                    "unsupported_media_type", "send JSON with Content-Type: application/json"
                )
            uploads = read_uploads(request, max_images=settings.max_images)
            engines = router.engines(None, uploads)
            results = classify_each(engines, uploads, max_pixels=settings.max_pixels)
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


def _other(engine: Engine, first: Engine, result: Result) -> dict[str, Any]:
    """What an answer says of its model where that is not the one of the first answer."""
    if engine is first or not isinstance(result, Answer):
        return {}
    return {"model": _identity(engine)}


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
