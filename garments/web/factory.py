"""The app factory."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import orjson
from flask import Flask, Request
from flask.json.provider import JSONProvider
from werkzeug.routing import MapAdapter

from garments.preprocess import hush_decoders
from garments.settings import Settings
from garments.web import api, pages
from garments.web.access_log import AccessLog
from garments.web.lifecycle import Lifecycle
from garments.web.metrics import Metrics
from garments.web.models import Models, read_folders
from garments.web.problems import answer_errors_as_problems
from garments.web.security_headers import with_security_headers

logger = logging.getLogger(__name__)


class _Service(Flask):
    """Flask without what takes time in every request and nothing here needs."""

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """No view is a coroutine, so none need be looked at."""
        return func

    def create_url_adapter(self, request: Request | None) -> MapAdapter | None:
        """Route by path and method alone: to this service all hosts are alike."""
        if request is None:
            return super().create_url_adapter(request)
        return MapAdapter(
            self.url_map,
            server_name=request.environ.get("HTTP_HOST", "localhost"),
            script_name=request.environ.get("SCRIPT_NAME", ""),
            subdomain="",
            url_scheme=request.scheme,
            path_info=request.path,
            default_method=request.method,
            query_args=request.environ.get("QUERY_STRING", ""),
        )


class _Json(JSONProvider):
    """JSON ten times as fast as Flask's own, which shows where a request has many pictures."""

    def dumps(self, obj: Any, **_: Any) -> str:
        return orjson.dumps(obj, option=orjson.OPT_APPEND_NEWLINE).decode()

    def loads(self, s: str | bytes, **_: Any) -> Any:
        return orjson.loads(s)


def create_app(
    settings: Settings | None = None,
    models: Models | None = None,
    lifecycle: Lifecycle | None = None,
    access_log: AccessLog | None = None,
) -> Flask:
    """Build the service with its models loaded; settings come from the environment if not given.

    A model that cannot be served does not stop the service from starting. Without the default, or
    the one for photos where it is installed, all that needs a model is answered with 503. Raises
    SettingsError.
    """
    settings = settings or Settings.from_environment()
    hush_decoders()
    if models is None:
        found = read_folders(settings)
        models = Models(found, settings.model, settings.photo_model)
        for fault in models.faults:
            logger.error(fault)
    access_log = access_log or AccessLog(Metrics(), log=bool(settings.request_log))
    for engine in models.engines:
        access_log.metrics.loaded(engine.card, models.seconds[engine.card.name])
    app = _Service("garments", static_folder=None)
    app.url_map.merge_slashes = False  # /v2//models is nothing here, rather than a redirect
    app.config["MAX_CONTENT_LENGTH"] = settings.max_request_bytes
    app.json = _Json(app)
    answer_errors_as_problems(app)
    # Before all that may refuse a request, so that it is known what was refused.
    access_log.watch(app)
    api.register(app, settings, models, lifecycle or Lifecycle(), access_log)
    pages.register(app, settings, models)
    app.wsgi_app = with_security_headers(app.wsgi_app)  # type: ignore[assignment]
    return app
