"""The first layers of a graph are rewritten, and its answers stay the same."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
from keras import layers
from onnxruntime.quantization.shape_inference import quant_pre_process

from garments.training.export import write_model, write_onnx
from garments.training.first_layers import first_convolution, take_pixels, take_several

Answers = npt.NDArray[np.float32]

ROUGH = np.random.default_rng(0).integers(0, 256, (3, 8, 12, 3), dtype=np.uint8)


def network(width: int = 12, offset: float = -127 / 128, strides: int = 2) -> keras.Model:
    """What begins as EfficientNet-Lite0 does, with weights that tell every pixel apart."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, width, 3), dtype="uint8")
    x = layers.Rescaling(1 / 128, offset=offset)(inputs)
    x = layers.Conv2D(5, 3, strides=strides, padding="same", bias_initializer="normal")(x)
    x = layers.DepthwiseConv2D(3, padding="same")(layers.ReLU(max_value=6)(x))
    return keras.Model(inputs, layers.Dense(4)(layers.Flatten()(x)))


def graph_of(model: keras.Model, folder: Path) -> onnx.ModelProto:
    """As it is when its integers are about to be chosen."""
    write_onnx(model, folder / "float.onnx")
    quant_pre_process(folder / "float.onnx", folder / "prepared.onnx", skip_symbolic_shape=True)
    return onnx.load(folder / "prepared.onnx")


def answers(model: onnx.ModelProto, pictures: npt.NDArray[np.uint8]) -> Answers:
    """What ONNX Runtime makes of it."""
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return np.asarray(session.run(None, {"pictures": pictures})[0])


def operations(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


def test_pixels_that_are_multiplied_and_shifted_are_taken_as_integers(tmp_path: Path) -> None:
    model = graph_of(network(), tmp_path)
    before = answers(model, ROUGH)
    steps = take_pixels(model.graph)
    assert steps is not None
    assert [steps.scale, steps.zero_point] == [1 / 128, 127]
    assert steps.tensor == first_convolution(model.graph).input[0]
    assert not {"Cast", "Mul", "Add"} & {*operations(model)[:4]}
    np.testing.assert_array_equal(answers(model, ROUGH), before)


@pytest.mark.parametrize("offset", [0.0, -0.3, 0.5, -2.5])
def test_without_a_shift_by_whole_pixels_from_0_to_255_all_stays_as_it_is(
    offset: float, tmp_path: Path
) -> None:
    model = graph_of(network(offset=offset), tmp_path)
    before = model.SerializeToString()
    assert take_pixels(model.graph) is None
    assert model.SerializeToString() == before


def test_four_pixels_at_once_give_the_same_answers(tmp_path: Path) -> None:
    model = graph_of(network(), tmp_path)
    before = answers(model, ROUGH)
    take_several(model.graph)
    kernel = next(
        tensor
        for tensor in model.graph.initializer
        if tensor.name == first_convolution(model.graph).input[1]
    )
    assert [*kernel.dims] == [10, 12, 3, 2]
    np.testing.assert_allclose(answers(model, ROUGH), before, atol=1e-5)


@pytest.mark.parametrize(("width", "strides"), [(10, 2), (12, 1), (13, 2)])
def test_a_convolution_of_another_layout_stays_as_it_is(
    width: int, strides: int, tmp_path: Path
) -> None:
    model = graph_of(network(width=width, strides=strides), tmp_path)
    before = model.SerializeToString()
    take_several(model.graph)
    assert model.SerializeToString() == before


def test_in_integers_it_begins_with_the_pixels_and_answers_as_in_floats(tmp_path: Path) -> None:
    found = network()
    write_model(found, np.concatenate([ROUGH, ROUGH * 0, ROUGH * 0 + 255]), tmp_path / "model")
    served = onnx.load(tmp_path / "model" / "model.onnx")
    assert operations(served)[0] == "Reshape"
    assert "Mul" not in operations(served)
    in_floats = np.asarray(found.predict(ROUGH, verbose=0))
    assert np.abs(answers(served, ROUGH) - in_floats).max() < 0.05 * np.abs(in_floats).max()
