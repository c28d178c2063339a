import base64
import gzip
import io
import json
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import requests
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from werkzeug.test import TestResponse

from garments.engine import Engine
from garments.settings import Settings
from garments.web.deadline import UNTIL
from garments.web.models import Models, read_folders
from garments.web.problems import PROBLEMS
from garments.web.uploads import BODY
from tests.conftest import IMAGES, MODEL
from tests.hostile import BOOT, animated, text, with_scans
from tests.pictures import encoded
from tests.test_pages import look

MakeClient = Callable[..., FlaskClient]
TENSOR = (
    b'{"inputs":[{"name":"pixels","datatype":"UINT8","shape":[1,28,28,1],"data":[' + b"0," * 783
)
INFER = "/v2/models/fashion-mnist/infer"
SHIRT = (IMAGES / "image_4_label_6.png").read_bytes()


def form(*files: tuple[str, bytes, str]) -> dict[str, object]:
    """A form of (field, content, filename); Flask's own test client would sort them by field."""
    parts = [(field, (name, data)) for field, data, name in files]
    request = requests.Request("POST", "http://localhost", files=parts).prepare()
    return {"data": request.body, "content_type": request.headers["Content-Type"]}


def as_json(*images: object) -> dict[str, object]:
    return {"json": {"images": list(images)}}


def assert_problem(response: TestResponse, status: int, code: str) -> str:
    """The one error body of the service (RFC 9457); returns its detail."""
    assert response.mimetype == "application/problem+json"
    body = json.loads(response.data)
    assert body.keys() == {"title", "status", "detail", "code"}
    assert (response.status_code, body["status"], body["code"]) == (status, status, code)
    assert body["title"] == PROBLEMS[code][1]
    return str(body["detail"])


def test_a_browser_is_told_to_run_to_keep_and_to_pass_on_nothing(client: FlaskClient) -> None:
    told = client.get("/ready").headers
    assert told["X-Content-Type-Options"] == "nosniff"
    assert told["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert told["Cross-Origin-Resource-Policy"] == "same-origin"
    assert told["Referrer-Policy"] == "no-referrer"
    assert told["Cache-Control"] == "no-store"
    assert told["Server"] == "garments"  # whatever serves it, and in which version


# What comes in


@pytest.mark.parametrize("kind", ["image/png", "image/x-anything", "application/octet-stream"])
def test_one_picture_is_the_body(kind: str, client: FlaskClient, boot: bytes) -> None:
    response = client.post("/predict", data=boot, content_type=kind)
    assert response.status_code == 200
    assert response.json["predictions"][0]["label"] == "Ankle boot"


def test_any_number_of_files_comes_as_a_form_in_the_order_sent(
    client: FlaskClient, boot: bytes
) -> None:
    sent = form(("b", boot, "one.png"), ("a", SHIRT, "two.png"), ("b", boot, "three.png"))
    found = client.post("/predict", **sent).json["predictions"]
    assert [row["filename"] for row in found] == ["one.png", "two.png", "three.png"]
    assert found[0]["prediction"] == found[2]["prediction"] == 9
    assert found[1]["prediction"] != 9


def test_base64_comes_as_json(client: FlaskClient, boot: bytes) -> None:
    lines = base64.encodebytes(boot).decode()
    urls = [f"{scheme}:image/png;base64,{text(boot)}" for scheme in ("data", "DATA")]
    sent = as_json(text(boot), *urls, lines)
    found = client.post("/predict", **sent).json["predictions"]
    assert [row["prediction"] for row in found] == [9, 9, 9, 9]


def test_as_many_data_urls_are_taken_as_a_request_may_have_pictures(
    make_client: MakeClient,
) -> None:
    response = make_client(max_images=1500).post("/predict", **as_json(*["data:,"] * 1500))
    assert len(response.json["predictions"]) == 1500


def test_a_file_field_that_was_left_empty_is_passed_over(client: FlaskClient, boot: bytes) -> None:
    sent = form(("a", b"", ""), ("a", boot, "boot.png"), ("b", boot, ""), ("b", b"", ""))
    found = client.post("/predict", **sent).json["predictions"]
    assert [(row["filename"], row["prediction"]) for row in found] == [("boot.png", 9), ("", 9)]


@pytest.mark.parametrize("coding", ["identity", "Identity"])
def test_a_body_that_says_it_is_as_it_is_is_taken(
    coding: str, client: FlaskClient, boot: bytes
) -> None:
    headers = {"Content-Encoding": coding}
    response = client.post("/predict", data=boot, content_type="image/png", headers=headers)
    assert response.status_code == 200


def test_every_form_gives_the_same_answer(client: FlaskClient, boot: bytes) -> None:
    answers = [
        client.post("/predict", data=boot, content_type="image/png"),
        client.post("/predict", **form(("image", boot, "x.png"))),
        client.post("/predict", **as_json(text(boot))),
    ]
    first, *others = [{**a.json["predictions"][0], "filename": ""} for a in answers]
    assert others == [first, first]


# What goes out


def test_the_answer_has_the_form_of_the_contract(
    client: FlaskClient, engine: Engine, boot: bytes
) -> None:
    body = client.post("/predict", **form(("image", boot, "boot.png"))).json
    assert body.keys() == {"model", "predictions"}
    assert body["model"] == {"name": "fashion-mnist", "version": engine.card.version}
    (row,) = body["predictions"]
    assert list(row) == ["filename", "prediction", "label", "confidence", "decision", "top"]
    assert (row["filename"], row["prediction"], row["label"]) == ("boot.png", 9, "Ankle boot")
    assert row["decision"] in ("accept", "review")
    assert len(row["top"]) == 3
    assert row["top"][0] == {k: row[k] for k in ("prediction", "label", "confidence")}
    confidences = [choice["confidence"] for choice in row["top"]]
    assert confidences == sorted(confidences, reverse=True)


@pytest.mark.parametrize("top", [1, 10])
def test_top_says_how_many_classes_are_told(top: int, client: FlaskClient, boot: bytes) -> None:
    response = client.post(f"/predict?top={top}", data=boot, content_type="image/png")
    assert len(response.json["predictions"][0]["top"]) == top


def test_a_model_is_chosen_by_name(make_client: MakeClient, tmp_path: Path, boot: bytes) -> None:
    shutil.copytree(MODEL, tmp_path / "fashion-mnist")
    other = Path(shutil.copytree(MODEL, tmp_path / "other"))
    card = json.loads((other / "card.json").read_text())
    (other / "card.json").write_text(json.dumps({**card, "name": "other"}))
    # None of these may be served, or keep the others from being served.
    shutil.copytree(MODEL, tmp_path / ".fashion-mnist.part")
    shutil.copytree(MODEL, tmp_path / "misnamed")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "card.json").write_text("{")
    client = make_client(model_dir=tmp_path)
    response = client.post("/predict?model=other", data=boot, content_type="image/png")
    assert response.json["model"]["name"] == "other"
    by_default = make_client(model_dir=tmp_path, model="other")
    response = by_default.post("/predict", data=boot, content_type="image/png")
    assert response.json["model"]["name"] == "other"
    assert [model["name"] for model in client.get("/ready").json["models"]] == [
        "fashion-mnist",
        "other",
    ]


def test_a_bad_picture_stands_in_its_place_and_harms_no_other(
    client: FlaskClient, boot: bytes
) -> None:
    sent = form(
        ("f", boot, "good.png"),
        ("f", b"#!/bin/sh", "script.png"),
        ("f", boot[:100], "half.png"),
        ("f", b"", "empty.png"),
        ("f", boot, "last.png"),
    )
    response = client.post("/predict", **sent)
    assert response.status_code == 200
    rows = response.json["predictions"]
    assert [row.get("prediction") for row in rows] == [9, None, None, None, 9]
    assert [row["error"]["code"] for row in rows[1:4]] == [
        "unsupported_type",
        "unreadable_image",
        "empty_image",
    ]
    assert all(row.keys() == {"filename", "error"} for row in rows[1:4])


def test_process_batch_answers_numbers_for_older_clients(client: FlaskClient, boot: bytes) -> None:
    response = client.post("/process_batch", **as_json(text(boot), text(SHIRT)))
    assert response.json.keys() == {"predictions"}
    assert response.json["predictions"][0] == 9


def test_process_batch_heeds_no_parameter(client: FlaskClient, boot: bytes) -> None:
    response = client.post("/process_batch?model=none&top=x", **as_json(text(boot)))
    assert response.json == {"predictions": [9]}


def test_process_batch_leaves_the_place_of_a_bad_picture_empty(
    client: FlaskClient, boot: bytes
) -> None:
    body = client.post("/process_batch", **as_json(text(boot), "*", text(b"x"))).json
    assert body["predictions"] == [9, None, None]
    assert [(error["index"], error["code"]) for error in body["errors"]] == [
        (1, "malformed_base64"),
        (2, "unsupported_type"),
    ]


def test_health_and_ready_answer(client: FlaskClient, engine: Engine) -> None:
    assert client.get("/health").json == {"status": "alive"}
    assert client.get("/ready").json == {
        "status": "ready",
        "models": [{"name": "fashion-mnist", "version": engine.card.version}],
    }


# What is refused


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [
        (b"", 422, "empty_image"),
        (b"no picture", 415, "unsupported_type"),
        (b"\x89PNG\r\n\x1a\n", 422, "unreadable_image"),
        (encoded(Image.new("1", (5001, 5000))), 413, "too_many_pixels"),
    ],
)
def test_one_bad_picture_is_the_status_of_the_answer(
    data: bytes, status: int, code: str, client: FlaskClient
) -> None:
    assert_problem(client.post("/predict", data=data, content_type="image/png"), status, code)
    assert_problem(client.post("/predict", **form(("f", data, "x.png"))), status, code)
    assert_problem(client.post("/predict", **as_json(text(data))), status, code)
    assert_problem(client.post("/process_batch", **as_json(text(data))), status, code)


@pytest.mark.parametrize(
    ("setting", "most", "data"),
    [
        ("max_pixels", 28 * 28 - 1, BOOT),
        ("max_frames", 1, animated("GIF", 2)),
        ("max_scans", 1, with_scans(12)),
    ],
)
def test_the_settings_bound_a_picture_wherever_it_is_sent(
    setting: str, most: int, data: bytes, make_client: MakeClient
) -> None:
    client, code = make_client(**{setting: most}), setting.replace("max", "too_many")
    assert_problem(client.post("/predict", data=data, content_type="image/png"), 413, code)
    assert_problem(client.post("/process_batch", **as_json(text(data))), 413, code)
    assert look(client, data).json["error"]["code"] == code
    tensor = {"name": "images", "datatype": "BYTES", "shape": [1], "data": [text(data)]}
    assert client.post(INFER, json={"inputs": [tensor]}).status_code == 413


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"images": []}',
        b'{"images": "abc"}',
        b'{"pictures": ["abc"]}',
        b"\xff\xfe",
        b"[" * 1500,
        b"9" * 5_000,
    ],
)
@pytest.mark.parametrize("path", ["/predict", "/process_batch"])
def test_json_of_another_form_is_malformed(path: str, body: bytes, client: FlaskClient) -> None:
    response = client.post(path, data=body, content_type="application/json")
    assert_problem(response, 400, "malformed_request")


@pytest.mark.parametrize("image", ["*", "abc", 7, None, ["x"], "é", "data:image/png;base64"])
def test_what_is_not_base64_is_told_as_such(image: object, client: FlaskClient) -> None:
    assert_problem(client.post("/predict", **as_json(image)), 400, "malformed_base64")


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        (b'filename="caf\xc3\xa9.png"', "caf\xe9.png"),
        (b'filename="caf\xe9.png"', "caf\ufffd.png"),
        (b"filename*=UTF-8''caf%C3%A9.png", "caf\xe9.png"),
    ],
)
def test_a_filename_of_any_encoding_is_served(
    sent: bytes, told: str, client: FlaskClient, boot: bytes
) -> None:
    head = b'--b\r\nContent-Disposition: form-data; name="f"; ' + sent + b"\r\n\r\n"
    response = client.post(
        "/predict",
        data=head + boot + b"\r\n--b--\r\n",
        content_type="multipart/form-data; boundary=b",
    )
    assert response.json["predictions"][0]["filename"] == told


def test_a_form_without_files_is_malformed(client: FlaskClient) -> None:
    detail = assert_problem(
        client.post("/predict", data={"a": "b"}, content_type="multipart/form-data"),
        400,
        "malformed_request",
    )
    assert "the form has no file: send a picture as the body" in detail


@pytest.mark.parametrize("kind", ["multipart/form-data", "multipart/form-data; boundary=x"])
def test_a_broken_form_is_malformed(kind: str, client: FlaskClient) -> None:
    response = client.post("/predict", data=b"--x\r\nnothing", content_type=kind)
    assert_problem(response, 400, "malformed_request")


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", None])
def test_another_type_of_request_is_not_served(kind: str | None, client: FlaskClient) -> None:
    detail = assert_problem(
        client.post("/predict", data=b"x", content_type=kind), 415, "unsupported_media_type"
    )
    assert "send a picture as the body with its Content-Type" in detail


def test_process_batch_takes_json_only(client: FlaskClient, boot: bytes) -> None:
    response = client.post("/process_batch", data=boot, content_type="image/png")
    assert_problem(response, 415, "unsupported_media_type")


@pytest.mark.parametrize("top", ["0", "11", "-1", "x", "", "1.5", "9" * 5_000])
def test_top_out_of_range_is_malformed(top: str, client: FlaskClient, boot: bytes) -> None:
    response = client.post(f"/predict?top={top}", data=boot, content_type="image/png")
    assert "from 1 to 10" in assert_problem(response, 400, "malformed_request")


@pytest.mark.parametrize("name", ["model", "top"])
def test_a_parameter_in_the_body_is_refused_and_told_where_it_goes(
    name: str, client: FlaskClient, boot: bytes
) -> None:
    given = {"images": [text(boot)], name: "1"}
    told = f"{name} goes into the address, as ?{name}=…"
    assert assert_problem(client.post("/predict", json=given), 400, "malformed_request") == told
    form = {"a": (io.BytesIO(boot), "a.png"), name: "1"}
    assert assert_problem(client.post("/predict", data=form), 400, "malformed_request") == told


def test_a_parameter_that_is_given_twice_is_malformed(client: FlaskClient, boot: bytes) -> None:
    response = client.post("/predict?top=1&top=2", data=boot, content_type="image/png")
    told = assert_problem(response, 400, "malformed_request")
    assert told == "top is given more than once"


@pytest.mark.parametrize("query", ["mdoel=photo", "model=fashion-mnist&Top=1", "x"])
def test_a_misspelt_parameter_is_malformed(query: str, client: FlaskClient, boot: bytes) -> None:
    response = client.post(f"/predict?{query}", data=boot, content_type="image/png")
    told = assert_problem(response, 400, "malformed_request")
    assert told.endswith("is no parameter of /predict, which has model and top")


@pytest.mark.parametrize("name", ["../x", ""])
def test_an_unknown_model_is_not_found(name: str, client: FlaskClient, boot: bytes) -> None:
    response = client.post(f"/predict?model={name}", data=boot, content_type="image/png")
    assert assert_problem(response, 404, "unknown_model") == "the models are: fashion-mnist"


@pytest.mark.parametrize("path", ["/nothing", "/nothing/", "/nothing//here", "/predict/"])
def test_an_unknown_address_is_not_found(path: str, client: FlaskClient) -> None:
    assert "/predict" in assert_problem(client.post(path), 404, "not_found")


def test_another_method_is_not_allowed(client: FlaskClient) -> None:
    response = client.get("/predict")
    assert "POST" in assert_problem(response, 405, "method_not_allowed")
    assert "POST" in response.headers["Allow"]


def test_too_many_bytes_are_too_large(make_client: MakeClient, boot: bytes) -> None:
    client = make_client(max_request_bytes=len(boot) - 1)
    one = {"data": boot, "content_type": "image/png"}
    for sent in (one, {**one, "environ_overrides": {BODY: boot}}, form(("f", boot, "x.png"))):
        detail = assert_problem(client.post("/predict", **sent), 413, "request_too_large")
        assert f"at most {len(boot) - 1} bytes" in detail


@pytest.mark.parametrize("path", ["/predict", "/process_batch", INFER])
def test_a_request_whose_time_is_up_is_refused(path: str, client: FlaskClient, boot: bytes) -> None:
    picture = text(boot)
    tensor = {"name": "images", "datatype": "BYTES", "shape": [1], "data": [picture]}
    too_late = {UNTIL: time.monotonic() - 1}
    sent = {"images": [picture], "inputs": [tensor]}
    response = client.post(path, json=sent, environ_overrides=too_late)
    assert response.status_code == 503
    assert "this took longer than a request may" in response.text


def test_too_many_pictures_are_too_many(make_client: MakeClient, boot: bytes) -> None:
    client = make_client(max_images=2)
    assert client.post("/predict", **as_json(*[text(boot)] * 2)).status_code == 200
    response = client.post("/predict", **as_json(*[text(boot)] * 3))
    assert "at most 2" in assert_problem(response, 413, "too_many_images")


def test_a_form_of_too_many_parts_is_told_as_such(make_client: MakeClient) -> None:
    client = make_client(max_images=2)
    sent = form(*[("f", b"", f"{number}.png") for number in range(200)])
    detail = assert_problem(client.post("/predict", **sent), 413, "too_many_images")
    assert "at most 2 pictures" in detail


def test_fields_beside_the_pictures_are_counted_by_themselves(
    make_client: MakeClient, boot: bytes
) -> None:
    client = make_client(max_images=2, max_form_fields=3)

    def post(pictures: int, fields: int) -> TestResponse:
        parts = [("note", (None, "x"))] * fields + [("f", ("x.png", boot))] * pictures
        sent = requests.Request("POST", "http://localhost", files=parts).prepare()
        head = sent.headers["Content-Type"]
        return client.post("/predict", data=sent.body, content_type=head)

    assert post(2, 3).status_code == 200
    assert "at most 3 fields" in assert_problem(post(1, 4), 413, "request_too_large")
    assert "at most 2 pictures" in assert_problem(post(3, 0), 413, "too_many_images")


@pytest.mark.parametrize("kind", ["image/png", "application/json"])
def test_a_body_that_was_packed_is_told_as_such(
    kind: str, client: FlaskClient, boot: bytes
) -> None:
    packed = gzip.compress(boot)
    headers = {"Content-Encoding": "gzip"}
    response = client.post("/predict", data=packed, content_type=kind, headers=headers)
    detail = assert_problem(response, 415, "unsupported_media_type")
    assert detail.startswith("Content-Encoding: gzip is not served")


def test_a_long_text_field_beside_a_picture_does_not_matter(
    client: FlaskClient, boot: bytes
) -> None:
    parts = [("note", (None, "x" * 600_000)), ("image", ("boot.png", boot))]
    sent = requests.Request("POST", "http://localhost", files=parts).prepare()
    response = client.post("/predict", data=sent.body, content_type=sent.headers["Content-Type"])
    assert [row["prediction"] for row in response.json["predictions"]] == [9]


def test_a_body_that_broke_off_is_malformed(client: FlaskClient, boot: bytes) -> None:
    response = client.post(
        "/predict",
        input_stream=io.BytesIO(boot[:100]),
        content_type="image/png",
        environ_overrides={"CONTENT_LENGTH": str(len(boot)), "wsgi.input_terminated": True},
    )
    assert "broke off" in assert_problem(response, 400, "malformed_request")


@pytest.mark.parametrize(
    "kind", ["image/png", "application/json", "multipart/form-data; boundary=b"]
)
def test_too_many_bytes_without_a_length_are_too_large(kind: str, make_client: MakeClient) -> None:
    response = make_client(max_request_bytes=1000).post(
        "/predict",
        input_stream=io.BytesIO(
            b'--b\r\nContent-Disposition: form-data; name="f"\r\n\r\n' + b"x" * 5000
        ),
        content_type=kind,
        # Else the length that the test's client tells would count.
        headers={"Transfer-Encoding": "chunked"},
        environ_overrides={"wsgi.input_terminated": True},
    )
    assert_problem(response, 413, "request_too_large")


def test_without_the_token_only_health_answers(make_client: MakeClient, boot: bytes) -> None:
    client = make_client(api_token="secret")
    assert client.get("/health").status_code == 200
    for wrong in (None, "Bearer wrong", "Basic secret", "Bearer sécret"):
        sent = {} if wrong is None else {"Authorization": wrong}
        response = client.get("/ready", headers=sent)
        assert_problem(response, 401, "unauthorized")
        assert response.headers["WWW-Authenticate"] == "Bearer"
    assert_problem(
        client.post("/predict", data=boot, content_type="image/png"), 401, "unauthorized"
    )


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER "])
def test_with_the_token_all_answers(scheme: str, make_client: MakeClient, boot: bytes) -> None:
    client = make_client(api_token="secret")
    token = {"Authorization": f"{scheme} secret"}
    assert client.get("/ready", headers=token).status_code == 200
    response = client.post("/predict", data=boot, content_type="image/png", headers=token)
    assert response.status_code == 200


def test_without_a_model_the_service_lives_but_is_not_ready(
    make_client: MakeClient, tmp_path: Path, boot: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    client = make_client(model_dir=tmp_path, model="other")
    assert client.get("/health").status_code == 200
    assert_problem(client.get("/ready"), 503, "not_ready")
    response = client.post("/predict", data=boot, content_type="image/png")
    detail = assert_problem(response, 503, "not_ready")
    assert int(response.headers["Retry-After"]) >= 1
    assert str(tmp_path) not in detail
    assert "the model other is not served" in caplog.text
    assert "make one with train_model.py" in caplog.text


def test_a_folder_that_training_has_not_finished_is_no_fault(tmp_path: Path) -> None:
    (tmp_path / MODEL.name).symlink_to(MODEL)
    (tmp_path / ".next.part").mkdir()
    (tmp_path / ".next.part" / "card.json").write_text("{")
    models = Models(read_folders(Settings(model_dir=tmp_path)), MODEL.name, "photo")
    assert ([engine.card.name for engine in models.all()], models.faults) == ([MODEL.name], [])


def test_a_folder_that_cannot_be_entered_is_left_out_and_told(tmp_path: Path) -> None:
    (tmp_path / MODEL.name).symlink_to(MODEL)
    (tmp_path / "other").symlink_to("x" * 300)
    models = Models(read_folders(Settings(model_dir=tmp_path)), MODEL.name, "photo")
    assert [engine.card.name for engine in models.all()] == [MODEL.name]
    assert re.match("the model other is not served: .* cannot be read", models.faults[0])


def test_a_folder_that_the_file_system_has_for_itself_is_no_model(tmp_path: Path) -> None:
    (tmp_path / MODEL.name).symlink_to(MODEL)
    (tmp_path / "lost+found").symlink_to("x" * 300)
    assert [folder.name for folder in read_folders(Settings(model_dir=tmp_path))] == [MODEL.name]


def test_a_model_with_an_unknown_preprocessing_is_not_served(
    make_client: MakeClient, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    card = Path(shutil.copytree(MODEL, tmp_path / "fashion-mnist")) / "card.json"
    card.write_text(json.dumps({**json.loads(card.read_text()), "preprocessing": "none"}))
    assert_problem(make_client(model_dir=tmp_path).get("/ready"), 503, "not_ready")
    assert "this version knows fashion-mnist" in caplog.text


def test_a_fault_of_our_own_tells_nothing_of_the_inside(
    client: FlaskClient, boot: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("secret path /etc")

    monkeypatch.setattr(Engine, "predict", broken)
    response = client.post("/predict", data=boot, content_type="image/png")
    assert "secret" not in assert_problem(response, 500, "internal_error")


def test_a_fault_of_our_own_outside_of_a_view_is_told_as_one(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("garments.web.pages.faults.render_template", None)
    response = client.get("/nothing", headers={"Accept": "text/html"}, buffered=True)
    assert_problem(response, 500, "internal_error")
    assert caplog.text.count("TypeError: 'NoneType' object is not callable") == 1
    assert 'reason="internal_error"} 1.0' in client.get("/metrics").text


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.sampled_from(["/predict", "/process_batch", "/predict?top=2", INFER]),
    st.binary(max_size=300),
    st.sampled_from(
        ["image/png", "application/json", "multipart/form-data; boundary=b", "text/plain", ""]
    ),
    st.sampled_from(
        [b"", b"--b\r\n", b'{"images": [', TENSOR, b'--b\r\nContent-Disposition: form-data; name="']
    ),
)
@pytest.mark.filterwarnings("ignore")
def test_no_request_makes_the_service_fail(
    client: FlaskClient, path: str, body: bytes, kind: str, start: bytes
) -> None:
    response = client.post(path, data=start + body, content_type=kind or None)
    assert response.status_code in (200, 400, 413, 415, 422)


_LEAVES = st.one_of(
    st.integers(-1, 256),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(allow_nan=False),
    st.booleans(),
    st.none(),
    st.text(max_size=3),
)
_VALUES = st.recursive(_LEAVES, lambda some: st.lists(some) | st.dictionaries(st.text(), some))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.sampled_from(["images", "pixels"]),
    st.sampled_from([[1], [1, 28, 28, 1], [2, 28, 28, 1]]) | _VALUES,
    _VALUES | st.builds(lambda odd: [*[0] * 783, odd], _VALUES),
    st.none() | st.binary(max_size=20),
)
@pytest.mark.filterwarnings("ignore")
def test_no_tensor_makes_the_service_fail(
    client: FlaskClient, name: str, shape: object, data: object, end: bytes | None
) -> None:
    datatype = {"images": "BYTES", "pixels": "UINT8"}[name]
    tensor = {"name": name, "datatype": datatype, "shape": shape, "data": data}
    body = json.dumps({"inputs": [tensor]}).encode()
    if end is not None:  # rather than what ends data, tensor, list and request
        body = body[:-4] + end
    response = client.post(INFER, data=body, content_type="application/json")
    assert response.status_code in (200, 400, 413, 415, 422)
