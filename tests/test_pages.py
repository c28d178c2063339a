"""Who is let into the pages, by which requests, and what they answer with."""

import base64
import hmac
import io
import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from flask.sessions import SecureCookieSessionInterface
from flask.testing import FlaskClient
from PIL import Image
from werkzeug.test import TestResponse

from garments.engine import Engine
from garments.preprocess import Limits, to_array
from garments.settings import Settings
from garments.web import pages
from garments.web.pages.session import AGE, signing_key
from garments.web.problems import REFUSED, out_of_time
from tests.pictures import as_jpeg, encoded

MakeClient = Callable[..., FlaskClient]
WORD = "open-sesame"


def form_token(client: FlaskClient) -> str:
    """What the forms of a session carry."""
    found = re.search(r'name="csrf-token" content="([^"]+)"', client.get("/sign-in").text)
    assert found
    return found[1]


def sign_in(client: FlaskClient, onward: str = "/", **changes: str) -> TestResponse:
    fields = {"name": "Ann", "token": WORD, "next": onward, "csrf_token": form_token(client)}
    return client.post("/sign-in", data=fields | changes)


def look(client: FlaskClient, data: bytes, **headers: str) -> TestResponse:
    given = {"X-CSRF-Token": form_token(client), "Accept": "application/json", **headers}
    return client.post("/look", data=data, content_type="application/octet-stream", headers=given)


@pytest.fixture
def closed(make_client: MakeClient) -> FlaskClient:
    return make_client(api_token=WORD)


# Who is let in


def test_the_token_and_a_name_let_a_person_in(closed: FlaskClient) -> None:
    assert closed.get("/").headers["Location"] == "/sign-in?next=/"
    assert sign_in(closed).headers["Location"] == "/"
    assert "Ann" in closed.get("/").text


@pytest.mark.parametrize(
    "wrong",
    [
        {"token": "open-sesam"},
        {"token": ""},
        {"name": " "},
        {"name": "x" * 61},
        {"name": "a\u202eb"},
        {"name": "\u200c"},
    ],
)
def test_nothing_else_does(wrong: dict[str, str], closed: FlaskClient) -> None:
    assert sign_in(closed, **wrong).status_code == 422
    assert closed.get("/").status_code == 303


@pytest.mark.parametrize(
    "name", ["\u0645\u06cc\u200c\u0631\u0632\u0627", "\u0d95\u0dca\u200d\u0dc2"]
)
def test_a_name_may_have_the_joiners_that_its_letters_need(name: str, client: FlaskClient) -> None:
    assert sign_in(client, name=name).status_code == 303
    assert f"<bdi>{name}</bdi>" in client.get("/").text


def test_signing_in_compares_the_token_in_constant_time(
    closed: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared = []
    compare = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", lambda a, b: compared.append(b) or compare(a, b))
    answer = sign_in(closed, token="open-sesam")
    assert compared[-1] == WORD.encode()
    assert "sesam" not in answer.text


def test_a_sign_in_lets_nobody_into_the_api(closed: FlaskClient) -> None:
    sign_in(closed)
    assert closed.post("/predict", data=b"").status_code == 401
    assert closed.get("/metrics").status_code == 401


def test_without_a_token_only_the_name_is_asked_for(client: FlaskClient) -> None:
    assert client.get("/").status_code == 200
    assert 'name="token"' not in client.get("/sign-in").text


@pytest.mark.parametrize("token", [WORD, ""])
def test_after_signing_out_the_way_is_closed(token: str, make_client: MakeClient) -> None:
    client = make_client(api_token=token)
    sign_in(client)
    answer = client.post("/sign-out", data={"csrf_token": form_token(client)})
    assert answer.headers["Location"] == "/sign-in"
    assert client.get("/review").status_code == 303


def test_whose_sign_in_has_ended_signs_out_like_anybody(closed: FlaskClient) -> None:
    answer = closed.post("/sign-out", data={"csrf_token": "of a session that has ended"})
    assert (answer.status_code, answer.headers["Location"]) == (303, "/sign-in?next=/")


@pytest.mark.parametrize("begun", [False, True], ids=["no session", "another session"])
def test_a_sign_in_that_was_open_for_too_long_is_shown_again_as_it_was(
    begun: bool, closed: FlaskClient
) -> None:
    if begun:
        form_token(closed)
    late = {"name": "Ann <b>", "token": WORD, "next": "/runs/7", "csrf_token": "of last night"}
    answer = closed.post("/sign-in", data=late)
    assert answer.status_code == 403
    assert "open for too long: send it again" in answer.text
    assert "allow cookies" in answer.text
    assert 'value="Ann &lt;b&gt;"' in answer.text
    assert 'value="/runs/7"' in answer.text
    assert WORD not in answer.text
    assert closed.get("/").status_code == 303
    again = re.search(r'name="csrf_token" value="([^"]+)"', answer.text)
    assert again
    assert closed.post("/sign-in", data=late | {"csrf_token": again[1]}).status_code == 303
    assert closed.get("/").status_code == 200


def test_the_second_of_two_clicks_on_sign_in_goes_on_like_the_first(closed: FlaskClient) -> None:
    before = {"csrf_token": form_token(closed)}
    for _ in range(2):
        answer = sign_in(closed, "/runs/7", **before)
        assert (answer.status_code, answer.headers.get("Location")) == (303, "/runs/7")
    assert sign_in(closed, name="Ben", **before).status_code == 403
    assert "Ann" in closed.get("/").text


@pytest.mark.parametrize("told", [{"Sec-Fetch-Site": "cross-site"}, {"Origin": "null"}])
def test_another_site_cannot_have_a_sign_in_shown_as_it_likes(
    told: dict[str, str], client: FlaskClient
) -> None:
    answer = client.post("/sign-in", data={"name": "Eve", "next": "/runs"}, headers=told)
    assert (answer.status_code, answer.json["code"]) == (403, "foreign_form")


def test_what_another_site_sends_ends_no_session(client: FlaskClient) -> None:
    # Its form comes without the session's cookie, in whose place a new one would come.
    told = {"Sec-Fetch-Site": "cross-site", "Accept": "text/html"}
    for path in ("/sign-in", "/sign-out", "/look"):
        answer = client.post(path, data={"name": "Eve"}, headers=told)
        assert "Set-Cookie" not in answer.headers
    assert "another site sent you here" in answer.text


@pytest.mark.parametrize(
    "elsewhere",
    [
        *("//evil.example", "https://evil.example", "/\\evil.example", "javascript:x", ""),
        *("/review?//evil.example", "/review?kind=a\nb", "/review?kind=wrong#x", "?kind=wrong"),
    ],
)
def test_a_sign_in_leads_to_no_other_site(elsewhere: str, closed: FlaskClient) -> None:
    assert sign_in(closed, elsewhere).headers["Location"] == "/"


@pytest.mark.parametrize("page", ["/runs/7/report", "/review?kind=wrong", "/runs?of=1&x=2"])
def test_a_sign_in_leads_back_to_the_page(page: str, closed: FlaskClient) -> None:
    asked = urlsplit(closed.get(page).headers["Location"])
    assert (asked.path, parse_qs(asked.query)) == ("/sign-in", {"next": [page]})
    assert sign_in(closed, page).headers["Location"] == page


def test_an_odd_query_is_left_behind_at_the_sign_in(closed: FlaskClient) -> None:
    assert closed.get("/review?kind=//x").headers["Location"] == "/sign-in?next=/review"


# The cookie


def test_no_script_and_no_other_site_gets_at_the_cookie(closed: FlaskClient) -> None:
    cookie = sign_in(closed).headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie  # a link from elsewhere signs nobody out
    assert "Secure" not in cookie


@pytest.mark.parametrize(
    "secure", [{"base_url": "https://localhost"}, {"headers": {"X-Forwarded-Proto": "https"}}]
)
def test_over_https_the_cookie_is_sent_over_nothing_else(
    secure: dict[str, object], closed: FlaskClient
) -> None:
    assert "Secure" in closed.get("/sign-in", **secure).headers["Set-Cookie"]


def test_a_sign_in_ends_after_a_shift(closed: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    sign_in(closed)
    monkeypatch.setattr(closed.application, "permanent_session_lifetime", -AGE)
    assert closed.get("/").status_code == 303


def test_a_cookie_that_was_altered_is_none(closed: FlaskClient) -> None:
    sign_in(closed)
    cookie = closed.get_cookie(closed.application.config["SESSION_COOKIE_NAME"])
    assert cookie
    closed.set_cookie(cookie.key, "x" + cookie.value)
    assert closed.get("/").status_code == 303


def test_another_service_at_the_same_host_signs_nobody_out(
    closed: FlaskClient, make_client: MakeClient
) -> None:
    sign_in(closed)
    given = make_client(api_token="another").get("/sign-in").headers["Set-Cookie"]
    closed.set_cookie(*given.partition(";")[0].split("=", 1))
    assert "Ann" in closed.get("/").text


def test_whoever_knows_token_and_key_signs_alike_and_nobody_else() -> None:
    """Workers and restarts agree; a new token or key signs everybody out."""
    keys = [
        signing_key(Settings(api_token=token, secret_key=key))
        for token in ("a", "b")
        for key in ("", "k", "l")
    ]
    assert len(set(keys)) == 6
    assert signing_key(Settings(api_token="a")) == keys[0]
    assert signing_key(Settings()) != signing_key(Settings())


def test_the_api_never_opens_the_cookie(
    client: FlaskClient, boot: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    sign_in(client)
    monkeypatch.setattr(SecureCookieSessionInterface, "get_signing_serializer", None)
    answer = client.post("/predict", data=boot, content_type="image/png")
    assert answer.status_code == 200
    assert "Set-Cookie" not in answer.headers


# Whose request it is


@pytest.mark.parametrize("given", ["", "wrong"])
def test_a_form_without_the_token_of_the_session_is_refused(
    given: str, client: FlaskClient
) -> None:
    sign_in(client)
    form_token(client)
    answer = client.post("/look", data={"csrf_token": given, "name": "Ann"})
    assert (answer.status_code, answer.json["code"]) == (403, "foreign_form")


def test_whoever_signs_out_on_a_page_from_before_a_new_sign_in_is_signed_out(
    closed: FlaskClient,
) -> None:
    sign_in(closed)
    old = {"csrf_token": form_token(closed)}
    sign_in(closed)
    foreign = closed.post("/sign-out", data=old, headers={"Sec-Fetch-Site": "cross-site"})
    assert foreign.status_code == 403
    assert closed.get("/").status_code == 200
    own = closed.post("/sign-out", data=old, headers={"Sec-Fetch-Site": "same-origin"})
    assert own.headers["Location"] == "/sign-in"
    assert closed.get("/").status_code == 303


@pytest.mark.parametrize(
    "told",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "http://localhost:8000"},
        {"Origin": "null"},
    ],
)
def test_a_form_that_another_site_sends_is_refused_even_with_the_token(
    told: dict[str, str], client: FlaskClient, boot: bytes
) -> None:
    assert look(client, boot, **told).status_code == 403


@pytest.mark.parametrize(
    "told", [{"Sec-Fetch-Site": "same-origin"}, {"Origin": "http://localhost"}]
)
def test_a_form_of_our_own_is_taken(told: dict[str, str], client: FlaskClient, boot: bytes) -> None:
    assert look(client, boot, **told).status_code == 200


def test_a_token_of_another_session_is_worth_nothing(closed: FlaskClient, client) -> None:
    other = form_token(client)
    form_token(closed)
    assert sign_in(closed, csrf_token=other).status_code == 403
    assert closed.get("/").status_code == 303


def test_a_sign_in_begins_a_session_of_its_own(closed: FlaskClient) -> None:
    before = form_token(closed)
    sign_in(closed)
    assert form_token(closed) != before


@pytest.mark.parametrize(
    ("host", "own"),
    [
        ("127.0.0.1:5001", True),
        ("localhost", True),
        ("[::1]:5001", True),
        ("desk.localhost:5001", True),
        ("evil.example:5001", False),
        ("127.0.0.1.evil.example", False),
        ("localhost.evil.example", False),
        ("192.0.2.7", False),
    ],
)
def test_without_a_token_the_pages_answer_to_names_of_this_machine_alone(
    host: str, own: bool, client: FlaskClient
) -> None:
    answer = client.get("/", headers={"Host": host})
    assert answer.status_code == (200 if own else 403)
    assert own or answer.json["code"] == "foreign_host"


def test_with_a_token_they_answer_to_any_name(closed: FlaskClient) -> None:
    assert closed.get("/", headers={"Host": "sorting.example"}).status_code == 303


# What they answer with


@pytest.mark.parametrize("path", ["/", "/sign-in", "/static/site.js"])
def test_a_page_may_load_and_run_only_what_the_service_has(path: str, client: FlaskClient) -> None:
    with client.get(path) as answer:
        (policy,) = answer.headers.getlist("Content-Security-Policy")
    directives = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    assert directives.pop("img-src") == "'self' blob: data:"
    assert directives.pop("default-src") == "'none'"
    assert directives.pop("frame-ancestors") == directives.pop("base-uri") == "'none'"
    assert set(directives.values()) == {"'self'"}
    assert {"script-src", "style-src", "connect-src", "form-action"} == directives.keys()


PAGES = Path(pages.__file__).parent


@pytest.mark.parametrize("template", sorted(PAGES.glob("templates/*.html")), ids=lambda p: p.name)
def test_no_template_has_a_script_or_a_style_in_it_or_turns_escaping_off(template: Path) -> None:
    text = template.read_text(encoding="utf-8")
    assert not re.search(r"\sstyle=|\son\w+=|<style|<script(?! type=\"module\" src=)", text)
    assert not re.search(r"\|\s*safe|autoescape|https?://", text)


@pytest.mark.parametrize("script", sorted(PAGES.glob("static/*.js")), ids=lambda p: p.name)
def test_no_script_makes_markup_of_text(script: Path) -> None:
    text = script.read_text(encoding="utf-8")
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b", text)


def test_a_browser_gets_a_fault_as_a_page_and_a_script_as_a_problem(client: FlaskClient) -> None:
    page = client.post("/look", headers={"Accept": "text/html,*/*;q=0.8"})
    assert (page.status_code, page.mimetype) == (403, "text/html")
    assert "<h1>The request did not come from this page</h1>" in page.text
    answer = client.post("/look", headers={"Accept": "application/json"})
    assert answer.mimetype == "application/problem+json"


BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"


@pytest.mark.parametrize("path", ["/runs", "/review"])
def test_who_opens_a_page_that_gets_no_turn_is_led_back_to_it(
    path: str, make_client: MakeClient
) -> None:
    late = {REFUSED: out_of_time()}
    client = make_client(api_token=WORD)
    page = client.get(path, headers={"Accept": BROWSER}, environ_overrides=late)
    assert (page.status_code, page.mimetype) == (503, "text/html")
    assert "<h1>The request took too long</h1>" in page.text
    assert f'<a href="{path}">Load the page again</a>' in page.text
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]


@pytest.mark.parametrize("path", ["/nothing", "/Runs", "/runs/", "/predict/", "/static/no.css"])
@pytest.mark.parametrize("token", ["", WORD])
def test_who_mistypes_an_address_gets_a_page_that_leads_back(
    path: str, token: str, make_client: MakeClient
) -> None:
    client = make_client(api_token=token)
    page = client.get(path, headers={"Accept": BROWSER})
    assert (page.status_code, page.mimetype) == (404, "text/html")
    assert "<h1>There is nothing here</h1>" in page.text
    assert '<a href="/">' in page.text
    policy = client.get("/sign-in").headers["Content-Security-Policy"]
    assert page.headers["Content-Security-Policy"] == policy


@pytest.mark.parametrize("path", ["/sign-out", "/look", "/review/next", "/predict"])
@pytest.mark.parametrize("token", ["", WORD])
def test_who_opens_what_only_takes_forms_gets_a_page_and_a_program_a_problem(
    path: str, token: str, make_client: MakeClient
) -> None:
    client = make_client(api_token=token)
    page = client.get(path, headers={"Accept": BROWSER})
    assert (page.status_code, page.mimetype) == (405, "text/html")
    assert "This address is no page to open" in page.text
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    bearer = {"Authorization": f"Bearer {token}"}
    told = client.get(path, headers={"Accept": "*/*"} | bearer)
    assert (told.status_code, told.json["detail"]) == (405, "allowed are: OPTIONS, POST")
    assert page.headers["Allow"] == told.headers["Allow"] == "OPTIONS, POST"


@pytest.mark.parametrize(
    ("method", "path", "accept"),
    [
        ("GET", "/nothing", "*/*"),
        ("GET", "/nothing", None),
        ("GET", "/nothing", "application/json"),
        ("GET", "/nothing", "application/problem+json, text/html;q=0.5"),
        ("GET", "/nothing.png", "image/avif,image/*,*/*;q=0.8"),
        ("POST", "/nothing", BROWSER),
        ("GET", "/v2/nothing", BROWSER),
    ],
)
def test_whatever_else_asks_for_what_is_not_there_gets_a_problem(
    method: str, path: str, accept: str | None, client: FlaskClient
) -> None:
    headers = {} if accept is None else {"Accept": accept}
    answer = client.open(path, method=method, headers=headers)
    assert answer.status_code == 404
    assert answer.mimetype.endswith("json")
    assert "/predict" in answer.text


def test_a_name_is_escaped(client: FlaskClient) -> None:
    sign_in(client, name="<script>alert(1)</script>")
    assert "&lt;script&gt;alert" in client.get("/").text
    assert "<script>alert" not in client.get("/").text


# Looking at a photo


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_look_says_what_predict_says_and_shows_what_the_model_saw(
    kind: str, client: FlaskClient, engine: Engine, boot: bytes
) -> None:
    data = boot if kind == "PNG" else as_jpeg(np.asarray(Image.open(io.BytesIO(boot))))
    found = look(client, data).json
    told = client.post("/predict?top=5", data=data, content_type="image/png").json
    (row,) = told["predictions"]
    assert found["model"] == f"{told['model']['name']}@{told['model']['version']}"
    assert found["decision"] == row["decision"]
    assert found["top"] == [
        [choice["label"], pytest.approx(choice["confidence"], abs=1e-6)] for choice in row["top"]
    ]
    card = engine.card
    seen = to_array(data, card.height, card.width, card.preprocessing, limits=Limits())
    file = base64.b64decode(found["seen"].removeprefix("data:image/png;base64,"))
    assert (np.asarray(Image.open(io.BytesIO(file))) == seen[..., 0]).all()


def test_a_picture_that_cannot_be_read_is_an_answer_too(client: FlaskClient) -> None:
    answer = look(client, b"#!/bin/sh")
    assert answer.status_code == 200
    assert answer.json["error"]["code"] == "unsupported_type"


def test_a_look_at_a_heic_whose_thumbnail_alone_is_whole_is_an_answer_without_a_preview(
    client: FlaskClient,
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)
    photo = encoded(Image.fromarray(noise).resize((1200, 1600)), "HEIF", thumbnails=[320])
    pixels = photo.index(b"mdat") + 8
    damaged = photo[:pixels] + bytes(2_000) + photo[pixels + 2_000 :]
    whole, other = look(client, photo).json, look(client, damaged).json
    assert whole["shown"].startswith("data:image/jpeg;base64,")
    assert other == {**whole, "shown": None}


def test_a_look_is_counted_like_any_answer(client: FlaskClient, boot: bytes) -> None:
    look(client, boot).close()
    look(client, b"#!/bin/sh").close()
    numbers = client.get("/metrics").text
    assert 'garments_requests_total{code="200",endpoint="/look"} 2.0' in numbers
    assert 'garments_rejections_total{reason="unsupported_type"} 1.0' in numbers
    assert re.search(r"^garments_predictions_total\{.*Ankle boot.*\} 1\.0$", numbers, re.MULTILINE)


@pytest.mark.parametrize("asked", ["bytes=999999-", "bytes=5-2"])
def test_a_part_that_a_file_has_not_is_told_as_such(asked: str, client: FlaskClient) -> None:
    with client.get("/static/site.css", headers={"Range": asked}) as answer:
        assert (answer.status_code, answer.json["code"]) == (416, "no_such_range")
        assert re.fullmatch(r"bytes \*/[0-9]+", answer.headers["Content-Range"])


def test_a_form_with_files_is_refused_since_it_would_reach_the_disk(client: FlaskClient) -> None:
    answer = client.post(
        "/look",
        data={"f": (io.BytesIO(bytes(1000)), "x.png")},
        headers={"X-CSRF-Token": form_token(client)},
    )
    assert (answer.status_code, answer.json["code"]) == (415, "unsupported_media_type")
