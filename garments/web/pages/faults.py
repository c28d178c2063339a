"""Errors as a person reads them in a browser."""

from __future__ import annotations

from flask import Blueprint, Response, make_response, render_template, request
from werkzeug.exceptions import MethodNotAllowed, NotFound

from garments.web.access import is_by_a_person, is_page_wanted
from garments.web.access_log import refused
from garments.web.pages.sign_in import confined, own_address
from garments.web.problems import PROBLEMS, Refusal, problem, rejected


def answer_errors_as_pages(pages: Blueprint) -> None:
    """Make each Refusal that leaves a view a page, and what is said of an address that is none.

    Whoever does not want HTML more than JSON gets a problem.
    """

    @pages.errorhandler(Refusal)
    def unwilling(refusal: Refusal) -> Response:
        refused(refusal.code)
        if not is_page_wanted(request):
            return problem(request.path, refusal.code, str(refusal))
        may_do_better = request.method == "GET" and refusal.code != "not_found"
        return _page(refusal.code, str(refusal), own_address() if may_do_better else None)

    @pages.app_errorhandler(NotFound)
    def nowhere(error: NotFound) -> Response:
        return as_page(rejected(error), "not_found", "no page of the service has this address")

    @pages.app_errorhandler(MethodNotAllowed)
    def no_page(error: MethodNotAllowed) -> Response:
        detail = "this address is no page to open: only forms and programs send something to it"
        return as_page(rejected(error), "method_not_allowed", detail)

    def as_page(told: Response, code: str, detail: str) -> Response:
        """What a program is told, or to a person the page instead."""
        if not is_by_a_person(request):
            return told
        page = confined(_page(code, detail))
        if "Allow" in told.headers:
            page.headers["Allow"] = told.headers["Allow"]
        return page


def _page(code: str, detail: str, again: str | None = None) -> Response:
    """The page of an error; `again` is the address of a page that may do better next time."""
    status, title = PROBLEMS[code]
    page = render_template("fault.html", title=title, detail=detail, again=again)
    return make_response(page, status)
