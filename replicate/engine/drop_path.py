"""Stochastic depth (arXiv:1603.09382) whose masks belong to the samples, not to the process that computes them."""

from __future__ import annotations

import numpy as np
import torch
from timm.layers.drop import DropPath
from torch import Tensor, nn

from replicate.engine.draws import uniforms


class DropPaths:
    """The drop paths of ``network``, which take the place of timm's: the same rates and scaling, keyed draws.

    A mask is a function of (seed, epoch, position in the epoch, layer), so any number of processes, and a batch
    that is computed in parts, drop the same paths.
    """

    def __init__(self, network: nn.Module, seed: int) -> None:
        self._seed = seed
        found = [(name, module) for name, module in network.named_modules() if isinstance(module, DropPath)]
        self._layers = [_Keyed() for _ in found]
        for (name, _), layer in zip(found, self._layers, strict=True):
            network.set_submodule(name, layer)
        self._rates = np.array([module.drop_prob for _, module in found])

    def draw(self, epoch: int, start: int, stop: int) -> Tensor:
        """What each layer multiplies the samples ``start`` to ``stop`` of an epoch by, float32 [layers, samples].

        0 where the path is dropped, else 1 over the share that is kept.
        """
        drawn = uniforms(self._seed, "drop path", epoch, start, stop, len(self._layers))
        factors = np.where(drawn < self._rates, 0.0, 1.0 / (1.0 - self._rates))
        return torch.from_numpy(np.ascontiguousarray(factors.T, np.float32))

    def use(self, factors: Tensor) -> None:
        """``factors`` [layers, b] for the next forward pass of b samples, on its device."""
        for layer, own in zip(self._layers, factors, strict=True):
            layer.factors = own


class _Keyed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.factors = torch.ones(0)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        return x * self.factors.to(x.dtype).view(-1, *[1] * (x.ndim - 1))
