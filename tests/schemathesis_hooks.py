"""What openapi.json cannot tell schemathesis: what a picture is, and that data fill a shape."""

from typing import Any

import schemathesis
from hypothesis import strategies as st
from schemathesis.transport.serialization import Binary

from garments.preprocess import FORMATS
from tests.hostile import BOOT, ITEM, text

schemathesis.openapi.format("picture", st.just(text(BOOT)))
schemathesis.openapi.format("binary", st.just(Binary(BOOT)))
for kind in [*(f"image/{name.lower()}" for name in FORMATS), "application/octet-stream"]:
    schemathesis.openapi.media_type(kind, st.just(BOOT))


@schemathesis.hook
def before_call(_: object, case: schemathesis.Case, **__: Any) -> None:
    """Make the shape of a valid tensor that of its data."""
    valid = case.meta is not None and case.meta.generation.mode.is_positive
    if not valid or not case.path.endswith("/infer"):
        return
    for tensor in case.body["inputs"]:
        if tensor["name"] == "images":
            tensor["shape"] = [len(tensor["data"])]
        else:
            tensor.update(shape=[1, 28, 28, 1], data=ITEM.ravel().tolist())
