"""Feed the decoder and the request parser with what nobody would write; `make fuzz` runs it.

    python -m tests.fuzz picture|request FOLDER [flags of libFuzzer]

Atheris begins with files of its own kind in FOLDER and keeps there what reached new code. A finding
is whatever the checks below do not allow, a crash, a second of processor time, or a gigabyte.
"""

import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from flask.testing import FlaskClient

from garments.preprocess import BadImage, Limits, to_array
from garments.settings import Settings
from garments.web import create_app
from garments.web.problems import PROBLEMS
from tests import hostile
from tests.conftest import MODEL

PATHS = (
    "/predict",
    "/predict?top=2",
    "/process_batch",
    "/v2/models/fashion-mnist/infer",
    "/predict?top=x&model=%ff",
)
KINDS = (
    "image/png",
    "application/json",
    "multipart/form-data; boundary=b",
    'multipart/form-data; boundary="',
    "text/plain",
    "",
)
# A picture of these bounds costs so little that the fuzzer is not slowed by sheer size.
LIMITS = Limits(pixels=1_000_000, frames=20, scans=20)


def check_picture(data: bytes) -> None:
    """A file is either made an array or refused for a reason that has a name."""
    try:
        array = to_array(data, 28, 28, "fashion-mnist", limits=LIMITS)
    except BadImage as refusal:
        status = PROBLEMS[refusal.code][0]
    else:
        status = 200
        assert (array.shape, array.dtype.name) == ((28, 28, 1), "uint8")
    assert status in (200, 413, 415, 422)


def make_client() -> FlaskClient:
    """The service in this process, with limits that a short request can reach."""
    settings = Settings(
        model_dir=MODEL.parent,
        max_images=4,
        max_form_fields=4,
        max_request_bytes=20_000,
        max_pixels=LIMITS.pixels,
    )
    return create_app(settings).test_client()


def check_request(client: FlaskClient, data: bytes) -> None:
    """Whatever a request holds, its answer is JSON: of one form where it is 200, else an error.

    The first two bytes choose path and type, the rest is the body.
    """
    path, kind = PATHS[data[0] % len(PATHS)], KINDS[data[1] % len(KINDS)]
    response = client.post(path, data=data[2:], content_type=kind)
    body = json.loads(response.data)
    if response.status_code == 200:
        assert response.mimetype == "application/json"
        assert body.keys() & {"predictions", "outputs"}
    elif path.startswith("/v2"):
        assert 400 <= response.status_code < 500
        assert body.keys() == {"error"}
    else:
        assert response.mimetype == "application/problem+json"
        assert 400 <= response.status_code < 500
        assert PROBLEMS[body["code"]] == (body["status"], body["title"])


def picture_seeds() -> list[bytes]:
    """Files to start from: the tests' own, and the corpus where it is."""
    small = [path for path in hostile.corpus() if path.stat().st_size < 100_000]
    return [*hostile.own().values(), *(path.read_bytes() for path in small)]


def request_seeds() -> list[bytes]:
    """A request of each form, for each path."""
    form = (
        b'--b\r\nContent-Disposition: form-data; name="f"; filename="x.png"\r\n'
        b"Content-Type: image/png\r\n\r\n" + hostile.BOOT + b"\r\n--b--\r\n"
    )
    text = hostile.text(hostile.BOOT)
    images: Mapping[str, object] = {"images": [text, "data:image/png;base64," + text]}
    inputs = [{"name": "images", "datatype": "BYTES", "shape": [1], "data": [text]}]
    pixels = hostile.ITEM.ravel().tolist()
    tensor = [{"name": "pixels", "datatype": "UINT8", "shape": [1, 28, 28, 1], "data": pixels}]
    bodies = {
        0: [hostile.BOOT],
        1: [
            json.dumps(one).encode()
            for one in (images, {"inputs": inputs, "id": "7"}, {"inputs": tensor})
        ],
        2: [form],
        3: [form],
        4: [b"x"],
        5: [b""],
    }
    return [
        bytes([path, kind]) + body
        for path in range(len(PATHS))
        for kind, some in bodies.items()
        for body in some
    ]


def main() -> None:
    import atheris

    target, folder = sys.argv[1], Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    check: Callable[[bytes], None]
    if target == "picture":
        seeds, check = picture_seeds(), check_picture
    else:
        client = make_client()
        seeds = request_seeds()

        def check(data: bytes) -> None:
            if len(data) > 2:
                check_request(client, data)

    def timed(data: bytes) -> None:
        started = time.process_time()  # which a pause does not lengthen
        check(data)
        assert time.process_time() - started < 1

    for number, seed in enumerate(seeds):
        (folder / f"seed-{number}").write_bytes(seed)
    flags = ["-timeout=86400", "-rss_limit_mb=1000", "-print_final_stats=1", *sys.argv[3:]]
    atheris.instrument_all()
    atheris.Setup([sys.argv[0], str(folder), *flags], timed)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
