"""The app factory."""

from __future__ import annotations

from flask import Flask
from flask.json.provider import DefaultJSONProvider

from garments.settings import Settings
from garments.web import api
from garments.web.models import Models
from garments.web.problems import answer_errors_as_problems


def create_app(settings: Settings | None = None) -> Flask:
    """Build the service with its models loaded; settings come from the environment if not given.

    A model that cannot be served does not stop the service from starting: it then answers
    `/health`, and 503 to all else. Raises SettingsError.
    """
    settings = settings or Settings.from_environment()
    app = Flask("garments", static_folder=None)
    app.url_map.merge_slashes = False  # //predict is nothing here, rather than a redirect
    app.config["MAX_CONTENT_LENGTH"] = settings.max_request_bytes
    assert isinstance(app.json, DefaultJSONProvider)  # noqa: S101 (tells mypy what Flask made)
    app.json.sort_keys = False
    answer_errors_as_problems(app)
    api.register(app, settings, Models(settings.model_dir, settings.model))
    return app
