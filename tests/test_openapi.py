"""What openapi.json says and what the live service does are the same."""

import base64
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import jsonschema_rs
import pytest
import requests
from flask.testing import FlaskClient

from garments.web.problems import PROBLEMS
from tests import hostile
from tests.conftest import MODEL, PROJECT, serving

WORD = "sesame"


def schemathesis(url: str, folder: Path, *arguments: str) -> None:
    """Run all checks of schemathesis on a live service; fails where it finds a disagreement."""
    done = subprocess.run(
        [
            Path(sys.executable).with_name("schemathesis"),
            "--config-file",
            PROJECT / "tests" / "schemathesis.toml",
            "run",
            f"{url}/openapi.json",
            "--checks=all",
            *arguments,
        ],
        cwd=folder,  # where it leaves its cache
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "No issues found" in done.stdout, done.stdout


@pytest.mark.long
@pytest.mark.slow
def test_schemathesis_finds_no_disagreement(service: str, tmp_path: Path) -> None:
    schemathesis(service, tmp_path)


@pytest.mark.long
@pytest.mark.slow
def test_schemathesis_finds_no_disagreement_where_a_token_is_needed_and_two_models_answer(
    tmp_path: Path,
) -> None:
    # Of one shape, since the hooks fill the input of the inference protocol for that alone.
    (tmp_path / MODEL.name).symlink_to(MODEL)
    card = Path(shutil.copytree(MODEL, tmp_path / "photo")) / "card.json"
    card.write_text(json.dumps({**json.loads(card.read_text()), "name": "photo"}))
    with serving(GARMENTS_MODEL_DIR=str(tmp_path), GARMENTS_API_TOKEN=WORD) as (url, _):
        schemathesis(url, tmp_path, f"--header=Authorization: Bearer {WORD}", "--max-examples=5")


def test_every_endpoint_is_described_and_nothing_else(client: FlaskClient) -> None:
    told = client.get("/openapi.json").json["paths"]
    offered = {
        rule.rule.replace("<", "{").replace(">", "}"): {m.lower() for m in rule.methods or ()}
        for rule in client.application.url_map.iter_rules()
        if not rule.endpoint.startswith("pages.")
    }
    assert told.keys() == offered.keys()
    for path, item in told.items():
        assert set(item) - {"parameters"} == offered[path] - {"head", "options"}, path


def test_every_error_is_described(client: FlaskClient) -> None:
    """But for those of the pages, and those that no request with a path and method can meet."""
    told = str(client.get("/openapi.json").json)
    of_pages = {"signed_out", "foreign_form", "foreign_host", "no_database"}
    of_pages |= {"decided", "unknown_photo", "no_such_range"}
    for code in PROBLEMS.keys() - {"not_found", "method_not_allowed"} - of_pages:
        assert f"'{code}'" in told, code


def test_what_an_endpoint_cannot_answer_is_not_described(client: FlaskClient) -> None:
    paths = client.get("/openapi.json").json["paths"]
    for path in ("/health", "/v2/health/live"):  # open without a token
        assert "401" not in paths[path]["get"]["responses"]
    assert "401" in paths["/ready"]["get"]["responses"]
    assert "404" in paths["/predict"]["post"]["responses"]
    assert "404" not in paths["/process_batch"]["post"]["responses"]


@pytest.mark.parametrize("others", [{}, {"top": 1}, {"model": "fashion-mnist"}], ids=str)
def test_what_predict_takes_in_its_address_alone_is_not_described_in_its_body(
    others: dict[str, object], client: FlaskClient
) -> None:
    told = client.get("/openapi.json").json
    content = told["paths"]["/predict"]["post"]["requestBody"]["content"]
    schema = content["application/json"]["schema"] | {"components": told["components"]}
    body = {"images": [base64.b64encode(hostile.BOOT).decode()], **others}
    taken = client.post("/predict", json=body).status_code == 200
    assert jsonschema_rs.is_valid(schema, body) == taken == (not others)


def test_the_description_tells_the_settings(client: FlaskClient, make_client) -> None:
    told = make_client(max_images=7, api_token=WORD).get(
        "/openapi.json", headers={"Authorization": f"Bearer {WORD}"}
    )
    pictures = told.json["components"]["schemas"]["Pictures"]["properties"]["images"]["anyOf"]
    assert pictures[1]["maxItems"] == 7
    assert told.json["security"] == [{"token": []}]
    assert client.get("/openapi.json").json["security"] == []


def test_the_description_tells_every_limit_of_a_request_and_a_picture(make_client) -> None:
    changes = {"max_request_bytes": 1_234_567, "max_images": 7, "max_form_fields": 8}
    changes |= {"max_pixels": 2_345_678, "max_frames": 9, "max_scans": 10}
    told = make_client(**changes).get("/openapi.json").json
    for path in ("/predict", "/process_batch"):
        body = told["paths"][path]["post"]["requestBody"]["description"]
        assert body == "At most 1,234,567 bytes and 7 pictures"
    form = told["paths"]["/predict"]["post"]["requestBody"]["content"]["multipart/form-data"]
    assert "at most 8 fields beside the files" in form["schema"]["description"]
    picture = told["components"]["schemas"]["Picture"]["description"]
    assert "at most 2,345,678 pixels, 9 frames, and in a JPEG 10 scans" in picture


def test_a_form_is_described_as_any_number_of_files_of_any_name(client: FlaskClient) -> None:
    bodies = client.get("/openapi.json").json["paths"]["/predict"]["post"]["requestBody"]["content"]
    form = bodies["multipart/form-data"]["schema"]
    file = {"type": "string", "format": "binary"}
    assert form["properties"]["image"] == {"type": "array", "minItems": 1, "items": file}
    assert "required" not in form


def test_every_operation_has_an_id_of_its_own(client: FlaskClient) -> None:
    items = client.get("/openapi.json").json["paths"].values()
    operations = [each for item in items for method, each in item.items() if method != "parameters"]
    ids = [operation["operationId"] for operation in operations]
    assert len(set(ids)) == len(ids)
    assert {"predict", "process_batch", "v2_models_name_infer"} <= set(ids)
    assert all(name.isidentifier() for name in ids)


def test_every_model_is_told_of(make_client, tmp_path: Path) -> None:
    for name in ("fashion-mnist", "photo"):
        (tmp_path / name).symlink_to(PROJECT / "model" / name)
    client = make_client(model_dir=tmp_path)
    names = ["fashion-mnist", "photo"]
    versions = [model["version"] for model in client.get("/ready").json["models"]]
    told = client.get("/openapi.json").json
    item = told["paths"]["/v2/models/{name}/versions/{version}/infer"]
    assert [one["schema"]["enum"] for one in item["parameters"]] == [names, versions]
    answer = item["post"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert answer["properties"]["model_name"] == {"enum": names}
    assert answer["properties"]["model_version"] == {"enum": versions}
    assert "model" not in told["components"]["schemas"]["Refused"]["properties"]


def test_openapi_json_is_served(service: str) -> None:
    assert requests.get(f"{service}/openapi.json", timeout=5).json()["openapi"] == "3.1.0"
