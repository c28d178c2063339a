"""Make a graph of eight-bit integers from one of floats: half the time for the same answers."""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper
from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from garments.training.learner import AT_ONCE

# What the picture passes through; the few sums that make probabilities of it stay in float32,
# since in steps of 1/255 they would be too coarse to be calibrated.
_IN_INTEGERS = ["Conv", "Add", "Relu", "Clip", "MaxPool", "GlobalMaxPool"]


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
    """
    with tempfile.TemporaryDirectory() as scratch, _quiet():
        prepared = Path(scratch) / "prepared.onnx"
        quant_pre_process(str(path), str(prepared), skip_symbolic_shape=True)
        first = _fold_rescaling(prepared)
        quantize_static(
            str(prepared),
            str(path),
            _Batches(pictures, name),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=_IN_INTEGERS,
            # It has so few channels to add up that integers take twice as long.
            nodes_to_exclude=[first],
            per_channel=True,
            # Weights of seven bits: processors without VNNI add two products in sixteen bits,
            # which those of eight would overflow, and so answer differently.
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )


def _fold_rescaling(path: Path) -> str:
    """Put the factor for the pixels into the first convolution, and return that one's name.

    To multiply every pixel takes longer than the convolution.
    """
    model = onnx.load(path)
    graph = model.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    first = next(node for node in graph.node if node.op_type == "Conv")
    makers = {node.output[0]: node for node in graph.node}
    node = makers.get(first.input[0])
    while node is not None and node.op_type in ("Reshape", "Transpose"):
        node = makers.get(node.input[0])
    if node is not None and node.op_type == "Mul" and node.input[1] in weights:
        factor = numpy_helper.to_array(weights[node.input[1]])
        if factor.size == 1:
            kernel = weights[first.input[1]]
            scaled = numpy_helper.to_array(kernel) * factor.reshape(())
            kernel.CopyFrom(numpy_helper.from_array(scaled, kernel.name))
            for reader in graph.node:
                reader.input[:] = [
                    node.input[0] if name == node.output[0] else name for name in reader.input
                ]
            graph.node.remove(node)
            graph.initializer.remove(weights[node.input[1]])
            onnx.save(model, path)
    return str(first.name)


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
