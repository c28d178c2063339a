"""A step of training as one graph of an accelerator's kernels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from garments.training.learner import Floats

_WARM_UPS = 3


class Recorded:
    """A step, recorded once and replayed for every batch of the same size.

    To launch the kernels of a small network one by one takes several times as long as to carry
    them out: CUDA graphs, as in PyTorch's "CUDA semantics".
    """

    def __init__(
        self,
        learn: Callable[[Mapping[str, Tensor], Tensor], Tensor],
        changing: Sequence[Tensor],
        given: Mapping[str, Tensor],
        device: torch.device,
    ) -> None:
        """Record what `learn` does, with a batch and a factor of the rate, without doing it.

        `changing` is all that it changes, `given` a batch of the size that will come.
        """
        self._given = {name: part.to(device) for name, part in given.items()}
        self._factor = torch.zeros((), device=device)
        before = [tensor.detach().clone() for tensor in changing]
        apart = torch.cuda.Stream()
        apart.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(apart):
            for _ in range(_WARM_UPS):  # kernels are chosen, outside of the graph
                learn(self._given, self._factor)
            with torch.no_grad():
                for tensor, was in zip(changing, before, strict=True):
                    tensor.copy_(was)
        torch.cuda.current_stream().wait_stream(apart)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph, stream=apart, capture_error_mode="thread_local"):
            self._losses = learn(self._given, self._factor)

    def fits(self, given: Mapping[str, Tensor]) -> bool:
        """Whether a batch is of the size that was recorded."""
        return {name: part.shape for name, part in given.items()} == {
            name: part.shape for name, part in self._given.items()
        }

    def replay(self, given: Mapping[str, Tensor], factor: float) -> Floats:
        """Take a step at the share `factor` of the rates, and return each picture's loss (n,)."""
        for name, part in given.items():
            self._given[name].copy_(part)
        self._factor.fill_(factor)
        self._graph.replay()
        return np.asarray(self._losses.cpu().numpy())
