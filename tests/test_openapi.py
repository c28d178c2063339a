"""What openapi.json says and what the live service does are the same."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import requests
from flask.testing import FlaskClient

from garments.web.problems import PROBLEMS
from tests.conftest import PROJECT, serving

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
    for name in ("fashion-mnist", "photo"):
        (tmp_path / name).symlink_to(PROJECT / "model" / name)
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
    of_pages |= {"decided", "unknown_photo"}
    for code in PROBLEMS.keys() - {"not_found", "method_not_allowed"} - of_pages:
        assert f"'{code}'" in told, code


def test_the_description_tells_the_settings(client: FlaskClient, make_client) -> None:
    told = make_client(max_images=7, api_token=WORD).get(
        "/openapi.json", headers={"Authorization": f"Bearer {WORD}"}
    )
    pictures = told.json["components"]["schemas"]["Pictures"]["properties"]["images"]["anyOf"]
    assert pictures[1]["maxItems"] == 7
    assert told.json["security"] == [{"token": []}]
    assert client.get("/openapi.json").json["security"] == []


def test_openapi_json_is_served(service: str) -> None:
    assert requests.get(f"{service}/openapi.json", timeout=5).json()["openapi"] == "3.1.0"
