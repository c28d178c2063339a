"""The Open Inference Protocol, spoken by the client that Triton's users have."""

import base64
import json
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import requests
from flask.testing import FlaskClient
from tritonclient import http as triton
from tritonclient.utils import InferenceServerException
from werkzeug.test import TestResponse

from garments.engine import Engine
from garments.settings import Settings
from garments.web import create_app
from garments.web.inference_protocol import OUTPUTS
from garments.web.lifecycle import Lifecycle
from tests.hostile import BOOT, ITEM, text

MODEL = "fashion-mnist"
INFER = f"/v2/models/{MODEL}/infer"
TENSOR = ITEM.reshape(1, 28, 28, 1)


@pytest.fixture
def asking(service: str) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(service.removeprefix("http://")) as client:
        yield client


def files(*contents: bytes) -> triton.InferInput:
    given = triton.InferInput("images", [len(contents)], "BYTES")
    texts = [base64.b64encode(content) for content in contents]
    return given.set_data_from_numpy(np.array(texts, dtype=np.object_), binary_data=False)


def pixels(tensor: np.ndarray) -> triton.InferInput:
    given = triton.InferInput("pixels", list(tensor.shape), "UINT8")
    return given.set_data_from_numpy(tensor, binary_data=False)


# What Triton's client makes of the service


def test_the_client_finds_the_service_and_its_model(
    asking: triton.InferenceServerClient, engine: Engine
) -> None:
    assert asking.is_server_live()
    assert asking.is_server_ready()
    assert asking.get_server_metadata()["name"] == "garments"
    assert asking.is_model_ready(MODEL)
    assert asking.is_model_ready(MODEL, engine.card.version)
    assert not asking.is_model_ready(MODEL, "1")
    assert not asking.is_model_ready("other")
    assert asking.get_model_metadata(MODEL)["versions"] == [engine.card.version]


@pytest.mark.parametrize("given", [files(BOOT, BOOT), pixels(np.concatenate([TENSOR] * 2))])
def test_the_client_gets_the_same_answers_for_files_and_pixels(
    given: triton.InferInput, asking: triton.InferenceServerClient, engine: Engine
) -> None:
    result = asking.infer(MODEL, [given], request_id="abc")
    assert result.get_response()["id"] == "abc"
    assert result.as_numpy("label").tolist() == ["Ankle boot"] * 2
    assert result.as_numpy("prediction").tolist() == [9, 9]
    assert set(result.as_numpy("decision")) <= {"accept", "review"}
    expected = engine.probabilities(np.concatenate([TENSOR] * 2))
    assert np.allclose(result.as_numpy("probabilities"), expected, atol=1e-6)
    assert np.allclose(result.as_numpy("confidence"), expected.max(axis=1), atol=1e-6)


def test_the_client_gets_the_outputs_that_it_asks_for(
    asking: triton.InferenceServerClient, engine: Engine
) -> None:
    wanted = [triton.InferRequestedOutput(name) for name in ("decision", "label")]
    result = asking.infer(MODEL, [files(BOOT)], engine.card.version, outputs=wanted)
    names = [output["name"] for output in result.get_response()["outputs"]]
    assert names == ["decision", "label"]


def test_the_client_is_told_what_is_wrong(asking: triton.InferenceServerClient) -> None:
    with pytest.raises(
        InferenceServerException, match="picture 1, counted from 0: .* not a picture"
    ):
        asking.infer(MODEL, [files(BOOT, b"#!/bin/sh")])
    with pytest.raises(InferenceServerException, match="the models are: fashion-mnist"):
        asking.infer("other", [files(BOOT)])
    binary = triton.InferInput("pixels", [1, 28, 28, 1], "UINT8").set_data_from_numpy(TENSOR)
    with pytest.raises(InferenceServerException, match="binary_data=False"):
        asking.infer(MODEL, [binary])


# What the protocol says


def tensor(**changes: object) -> dict[str, object]:
    data = TENSOR.ravel().tolist()
    return {"name": "pixels", "datatype": "UINT8", "shape": [1, 28, 28, 1], "data": data, **changes}


def post(client: FlaskClient, *inputs: object, **others: object) -> TestResponse:
    body = json.dumps({"inputs": list(inputs), **others})
    return client.post(INFER, data=body, content_type="application/json")


def assert_error(response: TestResponse, status: int) -> str:
    """The one error body of the protocol; returns what it says."""
    assert response.mimetype == "application/json"
    body = json.loads(response.data)
    assert body.keys() == {"error"}
    assert response.status_code == status
    return str(body["error"])


@pytest.mark.parametrize("name", OUTPUTS)
def test_each_output_has_the_datatype_and_the_shape_of_the_metadata(
    name: str, client: FlaskClient
) -> None:
    told = {one["name"]: one for one in client.get(f"/v2/models/{MODEL}").json["outputs"]}
    (found,) = post(client, tensor(), outputs=[{"name": name}]).json["outputs"]
    assert found["datatype"] == told[name]["datatype"]
    assert found["shape"] == [1, *told[name]["shape"][1:]]
    assert len(found["data"]) == np.prod(found["shape"])


def test_data_may_be_nested(client: FlaskClient) -> None:
    flat, nested = (
        post(client, tensor(data=data)).json for data in (TENSOR.ravel().tolist(), TENSOR.tolist())
    )
    assert flat == nested
    assert flat["outputs"][1]["data"] == ["Ankle boot"]


def test_files_may_stand_in_a_column(client: FlaskClient) -> None:
    column = [[text(BOOT)]] * 2
    given = {"name": "images", "datatype": "BYTES", "shape": [2, 1], "data": column}
    found = {one["name"]: one["data"] for one in post(client, given).json["outputs"]}
    assert found["label"] == ["Ankle boot"] * 2


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"name": "x"}, "must be images with BYTES or pixels with UINT8"),
        ({"datatype": "FP32"}, "must be images with BYTES or pixels with UINT8"),
        ({"datatype": ["UINT8"]}, "must be images with BYTES or pixels with UINT8"),
        ({"shape": None}, "shape must be a list"),
        ({"shape": []}, "shape must be a list"),
        ({"shape": [1, 28, 28, 1, 1]}, "shape must be a list"),
        ({"shape": [True, 28, 28, 1]}, "shape must be a list"),
        ({"shape": [-1, 28, 28, 1]}, "shape must be a list"),
        ({"shape": [1, 28, 28]}, "not [n, 28, 28, 1]"),
        ({"shape": [1, 32, 32, 1]}, "not [n, 28, 28, 1]"),
        ({"shape": [2, 28, 28, 1]}, "as many whole numbers"),
        ({"data": None}, "data must be a list"),
        ({"data": []}, "as many whole numbers"),
        ({"data": [0] * 783}, "as many whole numbers"),
        ({"data": [0.5] * 784}, "as many whole numbers"),
        ({"data": [True] * 784}, "as many whole numbers"),
        ({"data": ["0"] * 700 + [0] * 84}, "as many whole numbers"),
        ({"data": [None] * 784}, "as many whole numbers"),
        ({"data": [10**30] * 784}, "as many whole numbers"),
        ({"data": [256] * 784}, "from 0 to 255"),
        ({"data": [-1] * 784}, "from 0 to 255"),
        ({"data": [2**63] * 784}, "from 0 to 255"),
        ({"data": [0] * 783 + [[]]}, "not evenly nested"),
        ({"data": [[0] * 783, 0]}, "not evenly nested"),
        ({"data": [[[0]] * 28] * 27 + [[[0]] * 27]}, "not evenly nested"),
        ({"data": [[]]}, "not nested as its shape says"),
        ({"data": [[[[[0]]] * 28] * 28]}, "not nested as its shape says"),
        ({"data": [[[["0"], *[[0]] * 27]] * 28]}, "as many whole numbers"),
        ({"data": [[[[256]] * 28] * 28]}, "from 0 to 255"),
        ({"data": np.zeros((28, 28), int).tolist()}, "not nested as its shape says"),
    ],
)
def test_a_tensor_of_another_form_is_refused(
    changes: dict[str, object], told: str, client: FlaskClient
) -> None:
    assert told in assert_error(post(client, tensor(**changes)), 400)


def test_as_many_nested_pictures_as_a_request_may_have_are_taken(
    make_client: Callable[..., FlaskClient],
) -> None:
    many = tensor(shape=[8, 28, 28, 1], data=np.concatenate([TENSOR] * 8).tolist())
    answer = post(make_client(max_images=8), many).json
    assert answer["outputs"][1]["data"] == ["Ankle boot"] * 8


def test_nested_pictures_in_the_fewest_bytes_are_taken(client: FlaskClient) -> None:
    shape = [128, 28, 28, 1]
    many = tensor(shape=shape, data=np.zeros(shape, int).tolist())
    body = json.dumps({"inputs": [many]}, separators=(",", ":"))
    response = client.post(INFER, data=body, content_type="application/json")
    assert response.status_code == 200


@pytest.mark.parametrize(
    "data",
    [
        ["a" * 60_000, *[""] * 700, *[0] * 83],
        [["a" * 60_000], *[[""]] * 700, *[[0]] * 83],
        [0] * 783 + ["a" * 60_000],
    ],
    ids=["flat", "nested", "among numbers"],
)
def test_a_string_among_pixels_takes_no_memory_for_each_of_them(
    data: list[object], client: FlaskClient
) -> None:
    body = json.dumps({"inputs": [tensor(data=data)]}).encode()
    client.get("/v2")
    tracemalloc.start()
    try:
        response = client.post(INFER, data=body, content_type="application/json")
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert_error(response, 400)
    assert most < 50 * len(body)


def test_as_many_files_as_a_request_may_have_are_no_swelling(
    make_client: Callable[..., FlaskClient],
) -> None:
    given = {"name": "images", "datatype": "BYTES", "shape": [1500], "data": [""] * 1500}
    told = assert_error(post(make_client(max_images=1500), given), 422)
    assert told.startswith("picture 0, counted from 0: the picture has no bytes")


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"data": ["*"]}, 400),
        ({"data": [7]}, 400),
        ({"data": [text(b"x")]}, 415),
        ({"data": [text(BOOT[:100])]}, 422),
        ({"data": [""]}, 422),
        ({"data": []}, 400),
        ({"shape": [2]}, 400),
        ({"shape": [1, 2]}, 400),
        ({"shape": [1000]}, 413),
    ],
)
def test_files_that_are_no_pictures_are_refused(
    changes: dict[str, object], status: int, client: FlaskClient
) -> None:
    given = {"name": "images", "datatype": "BYTES", "shape": [1], "data": ["*"], **changes}
    assert_error(post(client, given), status)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"inputs": []}',
        b'{"inputs": [1]}',
        b'{"inputs": {}}',
        b'{"inputs": [{}, {}]}',
        b'{"id": 7, "inputs": [{}]}',
        b'{"outputs": 7, "inputs": [{}]}',
        b'{"outputs": [7], "inputs": [{}]}',
        b'{"outputs": [{"name": "x"}], "inputs": [{}]}',
        b'{"outputs": [{"name": []}], "inputs": [{}]}',
    ],
)
def test_a_request_of_another_form_is_refused(body: bytes, client: FlaskClient) -> None:
    assert_error(client.post(INFER, data=body, content_type="application/json"), 400)


@pytest.mark.parametrize(
    ("shape", "data"),
    [([2], [["a", "b"]]), ([2, 1], [["a", "b"], []]), ([2, 1], [["a"], "b"]), ([1], [["a"]])],
)
def test_files_that_are_nested_otherwise_than_their_shape_says_are_refused(
    shape: list[int], data: list[object], client: FlaskClient
) -> None:
    given = {"name": "images", "datatype": "BYTES", "shape": shape, "data": data}
    assert_error(post(client, given), 400)


def test_everything_below_v2_has_the_error_body_of_the_protocol(
    make_client: Callable[..., FlaskClient], tmp_path: Path
) -> None:
    client = make_client(max_request_bytes=1000)
    assert_error(client.get("/v2/nothing"), 404)
    assert_error(client.get(INFER), 405)
    assert_error(client.post(INFER, data=b"x", content_type="image/png"), 415)
    assert_error(post(client, tensor()), 413)
    assert_error(make_client(model_dir=tmp_path).get("/v2/health/ready"), 503)
    assert make_client(model_dir=tmp_path).get("/v2/health/live").status_code == 200


def test_a_service_that_is_about_to_stop_lives_but_is_not_ready(models: Path) -> None:
    leaving = Lifecycle(draining=True)
    client = create_app(Settings(model_dir=models), lifecycle=leaving).test_client()
    assert "ask another one" in assert_error(client.get("/v2/health/ready"), 503)
    assert client.get("/v2/health/live").status_code == 200


def test_more_pictures_than_the_limit_are_refused(make_client: Callable[..., FlaskClient]) -> None:
    client = make_client(max_images=2)
    assert "at most 2" in assert_error(post(client, tensor(shape=[3, 28, 28, 1])), 413)


def test_the_protocol_needs_the_token_too(make_client: Callable[..., FlaskClient]) -> None:
    client = make_client(api_token="secret")
    assert client.get("/v2/health/live").status_code == 200
    for path in ("/v2", "/v2/health/ready", f"/v2/models/{MODEL}", "/v2/nothing"):
        assert_error(client.get(path), 401)


def test_a_request_without_a_type_is_taken_for_json(service: str) -> None:
    body = json.dumps({"inputs": [tensor()]}).encode()
    request = requests.Request("POST", service + INFER, data=body).prepare()
    assert "Content-Type" not in request.headers
    with requests.Session() as session:
        assert session.send(request, timeout=5).status_code == 200
