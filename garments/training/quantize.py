"""Make a graph of eight-bit integers from one of floats: half the time for the same answers."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from garments.training import first_layers
from garments.training.learner import AT_ONCE

# What the picture passes through; the few sums that make probabilities of it stay in float32,
# since in steps of 1/255 they would be too coarse to be calibrated.
_IN_INTEGERS = ["Conv", "Add", "Relu", "Clip", "MaxPool", "GlobalMaxPool"]

# What ONNX Runtime has of the graph in the temporary folder at once, and as many to spare.
_COPIES = 4


class _Batches:
    """Pictures (n, h, w, channels), some at a time, as ONNX Runtime asks for them."""

    def __init__(self, pictures: npt.NDArray[np.uint8], name: str) -> None:
        # All that a batch gives rise to is in memory at once: of a photo, 30 MB.
        count = max(1, AT_ONCE * 28 * 28 // (pictures.shape[1] * pictures.shape[2]))
        starts = range(0, len(pictures), count)
        self._batches = iter([{name: pictures[start : start + count]} for start in starts])

    def get_next(self) -> dict[str, npt.NDArray[np.uint8]] | None:
        return next(self._batches, None)


def quantize(path: Path, pictures: npt.NDArray[np.uint8], name: str) -> None:
    """Replace the graph at `path`, whose input is called `name`, by one of integers.

    Weights have a scale for each output channel, activations one that covers all that
    `pictures` (n, height, width, channels) give rise to (Jacob et al., arXiv 1712.05877).
    Raises OSError where the temporary folder has no room for it.
    """
    _check_room(path)
    with tempfile.TemporaryDirectory() as scratch, _quiet():
        prepared = Path(scratch) / "prepared.onnx"
        quant_pre_process(str(path), str(prepared), skip_symbolic_shape=True)
        in_floats, steps = _rewritten(prepared)
        quantize_static(
            str(prepared),
            str(path),
            _Batches(pictures, name),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=_IN_INTEGERS,
            nodes_to_exclude=in_floats,
            per_channel=True,
            # Weights of seven bits: processors without VNNI add two products in sixteen bits,
            # which those of eight would overflow, and so answer differently.
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            extra_options={"TensorQuantOverrides": steps},
        )


def _check_room(path: Path) -> None:
    """ONNX Runtime tells nobody of a full disk, and goes on with what it could not write."""
    place = tempfile.gettempdir()
    if shutil.disk_usage(place).free < _COPIES * path.stat().st_size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), place)


def _rewritten(path: Path) -> tuple[list[str], dict[str, list[dict[str, Any]]]]:
    """Have the graph at `path` begin otherwise; what is to stay in floats, and steps by tensor."""
    model = onnx.load(path)
    if pixels := first_layers.take_pixels(model.graph):
        first_layers.take_several(model.graph)
        step = {"scale": pixels.scale, "zero_point": pixels.zero_point}
        in_floats, steps = [], {pixels.tensor: [{"quant_type": QuantType.QUInt8, **step}]}
    else:
        first_layers.fold_factor(model.graph)
        # The one channel of Fashion-MNIST has so little to add up that integers take twice as
        # long.
        in_floats, steps = [first_layers.first_convolution(model.graph).name], {}
    onnx.save(model, path)
    return in_floats, steps


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep back the advice to do what is done here already."""
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
