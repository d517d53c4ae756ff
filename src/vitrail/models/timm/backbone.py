"""A model of timm as a backbone: what it does is learned by running a copy of it without memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from vitrail.contracts import Features, Stage
from vitrail.errors import UsageError
from vitrail.layers.cells import pooled_cells
from vitrail.layers.foreign import Grid, Look, grid_at, listed_blocks, look, prune, run_before, stride_of
from vitrail.layers.pooled_norm import normalise_pooled
from vitrail.layers.pyramid import resampled, strides_of
from vitrail.models.timm.config import TimmConfig, create
from vitrail.models.timm.library import PREFIX, prefix_names_of, refusals
from vitrail.seeding import derive_seed


class TimmBackbone(nn.Module):
    """Images (B, C, H, W) -> `Features` of a timm model's last map or tokens."""

    attends_unseen = True
    """Where there is attention it is timm's, not `layers.attention`'s, and cannot be recorded."""

    def __init__(self, config: TimmConfig) -> None:
        super().__init__()
        self.config = config
        self.in_channels, self.image_size = config.in_channels, config.size
        self.body = create(config)
        self.prefix_names = prefix_names_of(self.body)
        seen = self._look()
        self._norm = next((path for path in ("fc_norm", "head.norm") if self._pools_before(path, seen)), "")
        self._idle = tuple(name for name in seen.idle if not self._norm or not name.startswith(f"{self._norm}."))
        prune(self.body, self._idle)
        self._learn(seen)

    def forward(self, images: Tensor, pyramid: bool = False) -> Features:
        got, want = tuple(images.shape[1:]), (self.in_channels, *self.image_size)
        if got != want:
            raise UsageError(
                f"images are {got} (C, H, W) and the model is set to {want}: set_image_size, or resize them"
            )
        body, maps = cast(Any, self.body), []
        if pyramid and self._levels:
            out, maps = body.forward_intermediates(images, indices=self._levels, norm=False, output_fmt="NCHW")
        else:
            out = body.forward_features(images)
        x = self._tokens(out)  # (B, K + N, D)
        prefix, tokens = x[:, : len(self.prefix_names)], x[:, len(self.prefix_names) :]  # (B, K, D), (B, N, D)
        if self._norm:
            norm = cast(nn.LayerNorm, self.body.get_submodule(self._norm))
            tokens = normalise_pooled(tokens, norm)
            prefix = nn.functional.layer_norm(prefix, norm.normalized_shape, norm.weight, norm.bias, norm.eps)
        if not pyramid:
            return Features(tokens, self.grid, prefix)
        if not self._levels:
            return Features(tokens, self.grid, prefix, resampled(tokens, self.grid, self.strides[-1] // 2))
        last = tokens.transpose(1, 2).reshape(len(tokens), self.width, *self.grid)  # (B, D, h, w)
        return Features(tokens, self.grid, prefix, (*maps[:-1], last))

    def _tokens(self, out: Tensor) -> Tensor:
        """What timm returned -> (B, K + N, D)."""
        if out.ndim == 3:
            return out
        return out.flatten(1, 2) if self._channels_last(out) else out.flatten(2).transpose(1, 2)

    def _channels_last(self, out: Tensor) -> bool:
        width = getattr(self.body, "num_features", 0)
        if (out.shape[1] == width) != (out.shape[-1] == width):
            return bool(out.shape[-1] == width)
        return getattr(self.body, "output_fmt", "NCHW") == "NHWC"

    # ------------------------------------------------------------------------------------------- what timm does here

    def _look(self, pyramid: bool = False) -> Look:
        """The body's run on one image of the size that is set, without memory; UsageError where timm refuses it."""

        patch, (height, width) = self.config.patch_size, self.image_size
        if self.config.plain and (height % patch or width % patch):
            size = f"image size {height} x {width}"
            raise UsageError(f"{PREFIX}{self.config.name}: {size} is not divisible by the patch size {patch}")

        def run(body: Any) -> Any:
            images = torch.zeros(1, self.in_channels, *self.image_size)
            if not pyramid:
                return body.forward_features(images)
            return body.forward_intermediates(images, norm=False, output_fmt="NCHW")

        with refusals(self.config.name):
            seen = look(self.body, run)
        first = seen.outputs[0] if pyramid else seen.outputs
        if not isinstance(first, Tensor) or first.ndim not in (3, 4):
            raise UsageError(f"{PREFIX}{self.config.name} ends in no map and no tokens, which every head here reads")
        return seen

    def _pools_before(self, path: str, seen: Look) -> bool:
        """Whether `path` is a LayerNorm that timm applies to the pooled vector."""
        try:
            norm = self.body.get_submodule(path)
        except AttributeError:
            return False
        width = self._tokens(seen.outputs).shape[-1]
        return isinstance(norm, nn.LayerNorm) and norm.normalized_shape == (width,) and f"{path}.weight" in seen.idle

    def _learn(self, seen: Look) -> None:
        """Grid, width, pyramid and stages at the size that is set."""
        x, size, prefix = self._tokens(seen.outputs), self.image_size, len(self.prefix_names)
        self.width = x.shape[-1]
        last = getattr(self.body, "output_fmt", "") == "NHWC"
        grid = grid_at(tuple(seen.outputs.shape), size, prefix, last)
        if grid is None or grid[0] * grid[1] != x.shape[1] - prefix:
            where = f"{PREFIX}{self.config.name}: its {x.shape[1]} tokens"
            raise UsageError(f"{where} stand on no grid of {size[0]} x {size[1]} px")
        self.grid = grid
        blocks = [(name, seen.shapes.get(name, ())) for name, _ in listed_blocks(self.body)]
        self._blocks = [(name, grid_at(shape, size, prefix, last)) for name, shape in blocks]
        self._before = run_before(self.body, [name for name, _ in blocks], seen)
        self._levels: list[int] = []
        self.strides: tuple[int, ...] = strides_of(stride_of(self.grid, size))
        self.channels: tuple[int, ...] = (self.width,) * len(self.strides)
        if hasattr(self.body, "forward_intermediates") and not self.config.plain:
            self._learn_levels(self._look(pyramid=True).outputs[1])

    def _learn_levels(self, maps: Sequence[Tensor]) -> None:
        """The last map of each grid from the stem's on, fine to coarse; none where they are no pyramid of strides."""
        last = {tuple(each.shape[2:]): index for index, each in enumerate(maps)}
        size = self.image_size
        last = {grid: index for grid, index in last.items() if stride_of(cast(Grid, grid), size) >= self.config.stride}
        strides = [stride_of(cast(Grid, grid), size) for grid in last]
        if len(last) > 1 and list(last)[-1] == self.grid and strides == sorted(set(strides)) and 0 not in strides:
            self._levels = list(last.values())
            self.strides = tuple(strides)
            self.channels = (*(maps[index].shape[1] for index in self._levels[:-1]), self.width)

    # ------------------------------------------------------------------------------------------------- the contract

    def stem(self) -> nn.Module:
        """What timm calls its stem or patch embedding, or its first part."""
        named = ("patch_embed", "stem", "conv_stem", "conv1")
        return next((part for name in named if (part := getattr(self.body, name, None))), next(self.body.children()))

    def blocks(self) -> Sequence[nn.Module]:
        """What timm's lists of blocks, stages and layers hold, in order."""
        return [self.body.get_submodule(name) for name, _ in self._blocks]

    def stages(self) -> Sequence[Stage]:
        """Blocks by the grid of what they return; a stage's cells are laid over those before as pooling would.

        What runs between two blocks of one grid is counted among what leads to that stage.
        """
        runs: list[tuple[Grid, list[str]]] = []
        for name, grid in self._blocks:
            here = grid or (runs[-1][0] if runs else self.grid)
            if not runs or runs[-1][0] != here:
                runs.append((here, []))
            runs[-1][1].append(name)
        before = (None, *(grid for grid, _ in runs[:-1]))
        return [
            Stage(
                tuple(self.body.get_submodule(name) for name in names),
                grid,
                len(self.prefix_names),
                pooled_cells(last, grid) if last else None,
                self._merging([part for name in names for part in self._before[name]]),
            )
            for (grid, names), last in zip(runs, before, strict=True)
        ]

    def _merging(self, names: Sequence[str]) -> nn.Module | None:
        stem = {id(parameter) for parameter in self.stem().parameters()}
        parts = [self.body.get_submodule(name) for name in names]
        parts = [part for part in parts if not any(id(parameter) in stem for parameter in part.parameters())]
        return nn.ModuleList(parts) if parts else None

    def undecayed(self) -> Iterator[nn.Parameter]:
        """What timm itself spares of weight decay, and all that is no weight of a layer: tokens, positions, scales."""
        said: set[str] = cast(Any, getattr(self.body, "no_weight_decay", set))()
        for path, module in self.body.named_modules():
            layer = isinstance(module, (nn.Linear, nn.modules.conv._ConvNd))
            for name, parameter in module.named_parameters(recurse=False):
                full = f"{path}.{name}" if path else name
                if parameter.ndim > 1 and (full in said or not layer):
                    yield parameter

    def set_image_size(self, size: Grid) -> None:
        """Accept (H, W) from now on; UsageError where the model is bound to its own size."""
        if min(size) < 1:
            raise UsageError(f"image size {size[0]} x {size[1]} has no pixels")
        before = self.image_size
        try:
            if size != self.image_size:
                self._resize(self.body, (size[0], size[1]))
            self.image_size = (size[0], size[1])
            self._learn(self._look())
        except UsageError:
            self.image_size = before
            self._resize(self.body, before)
            raise

    def _resize(self, body: nn.Module, size: Grid) -> None:
        if "img_size" not in self.config.arguments:
            return
        if not hasattr(body, "set_input_size"):
            raise UsageError(f"{PREFIX}{self.config.name} cannot change its image size of {self.image_size} px")
        with refusals(self.config.name):
            cast(Any, body).set_input_size(img_size=size)

    # ------------------------------------------------------------------------------------------------- first values

    def begin(self, seed: int) -> None:
        """timm's own first values, a function of the seed and the model's name."""
        device = next(self.body.parameters()).device
        if device.type != "meta":
            self.body = self._fresh(derive_seed(seed, "init", self.config.name)).to(device).train(self.training)

    def fill_buffers(self) -> None:
        """Give memory to what a file does not hold, once the file has given it to the rest."""
        learned = self.body.state_dict()
        if any(tensor.is_meta for tensor in learned.values()) or not _on_meta(self.body):
            return
        fresh = self._fresh(0).train(self.training)
        fresh.load_state_dict(learned, assign=True)
        self.body = fresh.to(torch.get_default_device())

    def _fresh(self, seed: int) -> nn.Module:
        """The body again, on the CPU, drawn from a seed; the global generator stays as it was."""
        with torch.random.fork_rng(devices=[]), torch.device("cpu"):
            torch.default_generator.manual_seed(seed)
            body = create(self.config)
            if self.image_size != self.config.size:
                self._resize(body, self.image_size)
        prune(body, self._idle)
        return body


def _on_meta(module: nn.Module) -> bool:
    """Whether a buffer, or a tensor that is neither buffer nor parameter, has no memory."""
    held = (value for part in module.modules() for value in vars(part).values())
    return any(t.is_meta for t in module.buffers()) or any(isinstance(v, Tensor) and v.is_meta for v in held)
