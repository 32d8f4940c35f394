"""Drop paths: timm's rates and scaling, and masks that belong to the samples."""

from __future__ import annotations

import numpy as np
import pytest
import timm
import torch

from replicate.engine.models import DropPaths

pytestmark = pytest.mark.torch


def network(rate: float, depth: int = 3) -> torch.nn.Module:
    size = {"img_size": 16, "patch_size": 8, "embed_dim": 8, "num_heads": 2}
    made: torch.nn.Module = timm.create_model("deit_tiny_patch16_224", depth=depth, drop_path_rate=rate, **size)
    return made


def test_rates_and_scaling_are_timms() -> None:
    factors = DropPaths(network(0.4), 0).draw(0, 0, 20_000)
    # Linear over three blocks: 0 (none), .2 and .4, two paths each. 4 standard errors: .014.
    assert factors.shape == (4, 20_000)
    for row, rate in zip(factors, [0.2, 0.2, 0.4, 0.4], strict=True):
        assert row.unique().tolist() == pytest.approx([0, 1 / (1 - rate)])
        assert (row == 0).float().mean().item() == pytest.approx(rate, abs=0.014)
    dropped = (factors == 0).numpy()
    assert np.abs(np.corrcoef(dropped) - np.eye(4)).max() < 0.03


def test_a_sample_keeps_its_masks_however_the_epoch_is_cut() -> None:
    paths = DropPaths(network(0.4), 0)
    whole = paths.draw(2, 0, 64)
    assert torch.equal(torch.cat([paths.draw(2, begin, begin + 16) for begin in range(0, 64, 16)], dim=1), whole)
    for other in (paths.draw(3, 0, 64), DropPaths(network(0.4), 1).draw(2, 0, 64)):
        assert not torch.equal(other, whole)


def test_the_network_computes_what_timms_would_with_these_masks(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs, ours = network(0.5), network(0.5)
    ours.load_state_dict(theirs.state_dict())
    paths = DropPaths(ours, 0)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    images = torch.randn(6, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    factors = paths.draw(0, 0, 6)
    paths.use(factors)
    kept = iter((factors != 0).float())
    monkeypatch.setattr(torch.Tensor, "bernoulli_", lambda self, p: self.copy_(next(kept).view(self.shape)))
    assert torch.allclose(ours(images), theirs(images), atol=1e-6)
    assert next(kept, None) is None
    assert torch.equal(ours.eval()(images), theirs.eval()(images))


def test_feature_maps_too() -> None:
    convnet = timm.create_model("regnety_002", num_classes=3, drop_path_rate=0.5)
    paths = DropPaths(convnet, 0)
    paths.use(paths.draw(0, 0, 4))
    assert convnet(torch.randn(4, 3, 32, 32)).isfinite().all()


def test_a_network_without_any() -> None:
    paths = DropPaths(network(0.0), 0)
    assert paths.draw(0, 0, 8).shape == (0, 8)
    paths.use(paths.draw(0, 0, 8))
