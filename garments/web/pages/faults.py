"""Errors as a person reads them in a browser."""

from __future__ import annotations

from flask import Blueprint, Response, make_response, render_template, request

from garments.web.problems import PROBLEMS, Refusal, problem
from garments.web.watch import refused


def answer_errors_as_pages(pages: Blueprint) -> None:
    """Make each Refusal that leaves a view a page; a script that asks for JSON gets a problem."""

    @pages.errorhandler(Refusal)
    def unwilling(refusal: Refusal) -> Response:
        refused(refusal.code)
        if not request.accept_mimetypes.accept_html or request.accept_mimetypes.best == "*/*":
            return problem(request.path, refusal.code, str(refusal))
        status, title = PROBLEMS[refusal.code]
        page = render_template("fault.html", title=title, detail=str(refusal))
        return make_response(page, status)
