"""The pages for people: HTML from templates, a little JavaScript, and the sign-in before them."""

from __future__ import annotations

from flask import Blueprint, Flask

from garments.settings import Settings
from garments.web.models import Models
from garments.web.pages import review, runs, session, sign_in, trial
from garments.web.pages.faults import answer_errors_as_pages
from garments.web.pages.records import Records

NAME = "pages"
"""The blueprint, and so the first part of the name of each endpoint."""

OF_DATABASE = ("/review", "/runs")
"""How the paths of those pages begin that may have to wait for the database."""


def register(app: Flask, settings: Settings, models: Models) -> None:
    """Add the pages to `app`."""
    app.jinja_options = {"trim_blocks": True, "lstrip_blocks": True}
    pages = Blueprint(
        NAME,
        __name__,
        template_folder="templates",
        static_folder="static",
        static_url_path="/static",
    )
    sign_in.add_to(pages, settings)
    answer_errors_as_pages(pages)
    trial.add_to(pages, settings, models)
    records = Records(settings.database_url, settings.deadline_seconds)
    review.add_to(pages, records, models)
    runs.add_to(pages, records, models)
    app.register_blueprint(pages)
    session.keep(app, settings, NAME)
