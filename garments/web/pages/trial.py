"""The page `/`: any photo, and what the service makes of it."""

from __future__ import annotations

from flask import Blueprint, render_template

from garments.settings import Settings
from garments.web.models import Models


def add_to(pages: Blueprint, settings: Settings, models: Models) -> None:
    """Add the page to `pages`."""

    @pages.get("/")
    def try_it() -> str:
        return render_template("trial.html", settings=settings)
