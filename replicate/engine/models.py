"""Networks: building them with timm, reading their heads, and moving weights between sizes.

The only module that knows timm's model interface.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, assert_never

import numpy as np
import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from timm.layers.config import set_fused_attn, use_fused_attn
from timm.layers.drop import DropPath
from timm.layers.pos_embed import resample_abs_pos_embed
from timm.models import is_model_in_modules, load_state_dict
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from replicate.engine.keyed_random import torch_seed, uniforms
from replicate.errors import StoreFault, UnknownName, UserError
from replicate.jobs.network import Network
from replicate.specs.recipe import Attention, Precision, Recipe

RESAMPLED = frozenset({"pos_embed", "patch_embed.proj.weight"})
"""Tensors that timm fits to a network of another size as it loads them: the result is one that nobody published."""

VIT_MODULES = ("deit", "vision_transformer")
"""timm's modules of `VisionTransformer`."""


class _LeftOut:
    """Stands for a path or a number that a file holds beside its weights: made of anything, it keeps nothing of it."""

    def __new__(cls, *anything: object) -> _LeftOut:
        return super().__new__(cls)

    def __setstate__(self, state: object) -> None:
        pass


BESIDE_WEIGHTS = (
    "pathlib.PosixPath",
    "pathlib._local.PosixPath",
    "numpy.dtype",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar",
)
"""What main.py's ``args`` can hold (deit#16), as pickle names it: of each `_LeftOut` is made, so nothing is called."""


def build(
    model: Network,
    size: int,
    classes: int,
    recipe: Recipe | None = None,
    seed: int = 0,
    attention: Attention = "fused",
) -> nn.Module:
    """A freshly initialised network on the CPU, in training mode.

    size: edge of the images in pixels; only a ``resizable`` network is built for it (convnets take any).
    recipe: gives drop path and dropout; None builds without either, for a teacher or an evaluation.
    seed: of the initialisation. Torch's default generator is left where the initialisation ended.
    attention: how it is computed, whatever TIMM_FUSED_ATTN says.

    A ViT has dropout where timm 0.3.2, which DeiT used, has it for its ``drop_rate``: after the position embedding,
    the attention's projection and both layers of each MLP, none before the head. Its class token is drawn as there,
    too, with .02 (timm now: 1e-6), unless ``args`` choose another initialisation.
    ``pos_embed_std`` draws the position embedding anew: timm's (and the paper's) .02 barely trains at
    widths below 100. Errors: `UnknownName` when timm has no such network.
    """
    args = _arguments(model, size)
    vit = is_model_in_modules(model.timm, VIT_MODULES)
    if recipe is not None:
        places = ("pos_drop_rate", "proj_drop_rate") if vit else ("drop_rate",)
        args |= {"drop_path_rate": recipe.drop_path} | dict.fromkeys(places, recipe.dropout)
    torch.default_generator.manual_seed(torch_seed(seed, "init", 0, 0))
    with _building(attention):
        network: nn.Module = timm.create_model(model.timm, pretrained=False, num_classes=classes, **args)
    token = getattr(network, "cls_token", None)
    if vit and token is not None and "weight_init" not in args:
        nn.init.trunc_normal_(token, std=0.02)
    if model.pos_embed_std is not None:
        nn.init.trunc_normal_(_parameter(network, "pos_embed"), std=model.pos_embed_std)
    if model.channels_last:
        network = network.to(memory_format=torch.channels_last)
    return network


@contextmanager
def _building(attention: Attention) -> Iterator[None]:
    """Inside, timm builds networks that compute ``attention``. They keep it; its switch is as before afterwards."""
    before, experimental = use_fused_attn(), use_fused_attn(experimental=True)
    match attention:
        case "fused":
            set_fused_attn(True)
        case "explicit":
            set_fused_attn(False)
        case _:
            assert_never(attention)
    try:
        yield
    finally:
        set_fused_attn(before, experimental)


def attention_of(network: nn.Module) -> Attention | None:
    """How ``network`` computes attention; None where it has none, or none that timm can switch."""
    kinds = {module.fused_attn for module in network.modules() if hasattr(module, "fused_attn")}
    if not kinds:
        return None
    return "fused" if kinds == {True} else "explicit"


def published(model: Network, size: int, classes: int, path: Path) -> nn.Module:
    """The network `build` makes, with the weights of the published file ``path``, on the CPU.

    ``.safetensors``, or what torch.load reads with ``weights_only``, paths and numbers of NumPy beside the weights left
    out; timm translates the names of older releases.
    Errors: `UserError` for a file that holds no weights or those of another network, size or number of classes.
    """
    kind = f"{model.timm} at {size} pixels with {classes} classes"
    args = _arguments(model, size)
    try:
        with torch.serialization.safe_globals([(_LeftOut, name) for name in BESIDE_WEIGHTS]):
            stored = load_state_dict(str(path), use_ema=False, device="cpu", weights_only=True)
    except Exception as error:  # of a file that is something else, torch's unpickler raises whatever it trips over
        # Torch's own message says how to read the file all the same, by running what is in it.
        other = re.search(r"(?:GLOBAL|globals:) ((?:[\w.]+, )*[\w.]*\w)", str(error))
        why = f"it brings code or objects of its own ({other[1]})" if other else type(error).__name__
        raise UserError(
            f"{path} cannot be read as weights of {kind}: {why}\n  save the state dict alone in it, or as .safetensors"
        ) from error
    if not stored or not all(isinstance(tensor, Tensor) for tensor in stored.values()):
        # timm takes an empty dictionary for none, and fetches its own file instead.
        raise UserError(f"{path} holds no weights of {kind}")
    with torch.device("meta"):
        own = timm.create_model(model.timm, num_classes=classes, **args).state_dict()
    for name in RESAMPLED & stored.keys() & own.keys():
        if stored[name].shape != own[name].shape:
            shapes = f"{tuple(own[name].shape)}, got {tuple(stored[name].shape)}"
            raise UserError(f"{path} holds weights of another network or size than {kind}: {name}: {shapes}")
    overlay = {"state_dict": stored, "num_classes": classes, "input_size": (3, size, size)}
    try:
        filled: nn.Module = timm.create_model(
            model.timm, pretrained=True, pretrained_cfg_overlay=overlay, num_classes=classes, **args
        )
    except (RuntimeError, KeyError, AttributeError, ValueError) as error:
        raise UserError(f"{path} holds weights of another network than {kind}: {error}") from error
    return filled


def _arguments(model: Network, size: int) -> dict[str, Any]:
    if not timm.is_model(model.timm):
        raise UnknownName("timm model", model.timm, timm.list_models())
    return dict(model.args) | ({"img_size": size} if model.resizable else {})


def best_device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def autocast(precision: Precision, device: torch.device) -> AbstractContextManager[Any]:
    """Inside, networks compute in ``precision``."""
    match precision:
        case "fp32":
            return nullcontext()
        case "fp16":
            return torch.autocast(device.type, torch.float16)
        case "bf16":
            return torch.autocast(device.type, torch.bfloat16)
        case _:
            assert_never(precision)


def memory_format(model: Network) -> torch.memory_format:
    return torch.channels_last if model.channels_last else torch.contiguous_format


def has_distillation_head(network: nn.Module) -> bool:
    return hasattr(network, "head_dist")


def heads(network: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """Logits [b, K] of each head, ``class`` and, with a distillation token, ``distillation``.

    The same in training and evaluation mode. timm's own forward gives the mean of the two heads unless
    ``set_distilled_training`` was called, and in evaluation mode always; the paper reads them apart
    (Table 3).
    """
    if not has_distillation_head(network):
        return {"class": network(images)}
    net: Any = network
    features = net.forward_features(images)
    return {
        "class": net.head(features[:, 0]),
        "distillation": net.head_dist(features[:, 1]),
    }


def joint(network: nn.Module, images: Tensor) -> Tensor:
    """Logits [b, K] of the network as a whole: the mean over its heads, as in the released code (deit#42)."""
    logits = list(heads(network, images).values())
    return logits[0] if len(logits) == 1 else torch.stack(logits).mean(dim=0)


def parameter_count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def architecture(network: nn.Module) -> dict[str, int | None]:
    """``embed_dim``, ``heads``, ``layers``, ``patch`` and ``size`` (pixels) of a ViT; each None for other networks."""
    if not isinstance(network, VisionTransformer):
        return dict.fromkeys(("embed_dim", "heads", "layers", "patch", "size"))
    net: Any = network
    return {
        "embed_dim": net.embed_dim,
        "heads": net.blocks[0].attn.num_heads,
        "layers": len(net.blocks),
        "patch": net.patch_embed.patch_size[0],
        "size": net.patch_embed.img_size[0],
    }


def input_tokens(network: nn.Module) -> tuple[Tensor, Tensor]:
    """The learned class and distillation vectors [2, d], without and with their position embeddings."""
    net: Any = network
    tokens = torch.cat([net.cls_token, net.dist_token], dim=1)[0].detach()
    return tokens, tokens + net.pos_embed[0, :2].detach()


def token_states(network: nn.Module, images: Tensor) -> list[Tensor]:
    """Class and distillation token [b, 2, d] after each block, and after the final norm."""
    net: Any = network
    states: list[Tensor] = []
    hooks = [
        layer.register_forward_hook(lambda module, args, output: states.append(output[:, :2].clone()))
        for layer in [*net.blocks, net.norm]
    ]
    try:
        net.forward_features(images)
    finally:
        for hook in hooks:
            hook.remove()
    return states


def load_weights(network: nn.Module, path: Path, *, resize: bool = False, new_heads: bool = False) -> None:
    """Load a ``.safetensors`` file into ``network``.

    resize: a position embedding of another grid is resampled (`resized`); otherwise it is an error.
    new_heads: the heads keep the network's fresh initialisation, whatever the shape of the stored ones: they
    are for other classes (transfer).
    Errors: `StoreFault` for a file that cannot be read, `UserError` naming every tensor that does not fit.
    """
    try:
        stored = load_file(path)
    except (OSError, SafetensorError) as error:
        raise StoreFault(f"{path} cannot be read as weights: {error}") from error
    own = network.state_dict()
    grid = stored.get("pos_embed")
    if resize and grid is not None and "pos_embed" in own and grid.shape != own["pos_embed"].shape:
        stored["pos_embed"] = resized(grid, network)
    if new_heads:
        prefixes = _head_prefixes(network)
        stored |= {name: own[name] for name in stored.keys() & own.keys() if name.startswith(prefixes)}
    faults = [f"missing: {name}" for name in sorted(own.keys() - stored.keys())]
    faults += [f"not in the network: {name}" for name in sorted(stored.keys() - own.keys())]
    faults += [
        f"{name}: {tuple(own[name].shape)} expected, got {tuple(stored[name].shape)}"
        for name in sorted(own.keys() & stored.keys())
        if own[name].shape != stored[name].shape
    ]
    if faults:
        raise UserError("\n  ".join([f"{path} holds weights of another network", *faults]))
    network.load_state_dict(stored)


def resized(pos_embed: Tensor, network: nn.Module) -> Tensor:
    """``pos_embed`` [1, n, d] of a square grid, bicubic on the patch part to the grid of ``network``.

    Prefix tokens are kept. No antialiasing and no aligned corners, as the official fine-tuning has it
    (paper Section 3, "fixing the positional encoding across resolutions"; deit#43); timm's default would
    antialias.
    """
    net: Any = network
    new: Tensor = resample_abs_pos_embed(
        pos_embed,
        new_size=list(net.patch_embed.grid_size),
        num_prefix_tokens=0 if net.no_embed_class else net.num_prefix_tokens,
        interpolation="bicubic",
        antialias=False,
        align_corners=False,
    )
    return new


def _head_prefixes(network: nn.Module) -> tuple[str, ...]:
    config: Any = network.pretrained_cfg
    names = config["classifier"]
    return tuple(f"{name}." for name in ([names] if isinstance(names, str) else names))


def _parameter(network: nn.Module, name: str) -> nn.Parameter:
    parameter = getattr(network, name, None)
    if not isinstance(parameter, nn.Parameter):
        raise UserError(
            f"pos_embed_std is set without '{name}': {type(network).__name__} has no such parameter\n  leave it out"
        )
    return parameter


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
