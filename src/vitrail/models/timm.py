"""Any model of timm, as `timm:NAME` (https://github.com/huggingface/pytorch-image-models), where timm is installed.

timm's `forward_features` is the backbone; pooling and classifier are ours. A LayerNorm that timm applies after pooling
is kept (see `normalise_pooled`), what else its classifier had is taken out. Attention inside is timm's own and cannot
be recorded.

The one exception to the rule that a parameter's first value depends on (seed, its full name) alone: here timm draws
them, in its own order, from a generator forked for it and seeded by (seed, "init", model name).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Annotated, Any, ClassVar, Literal, cast

import torch
from pydantic import Field, create_model, model_validator
from torch import Tensor, nn

from vitrail.contracts import Features, Fit, Stage, Variant
from vitrail.errors import UsageError, unknown
from vitrail.layers.cells import pooled_cells
from vitrail.layers.foreign import Grid, Look, arguments_of, grid_at, listed_blocks, look, prune, run_before, stride_of
from vitrail.layers.pooled_norm import normalise_pooled
from vitrail.layers.pyramid import resampled, strides_of
from vitrail.seeding import derive_seed
from vitrail.settings import Positive, Strict

PREFIX = "timm:"

Option = bool | Annotated[int, Field(le=65_536)] | float | str | tuple[Annotated[int, Field(le=65_536)], ...] | None
"""An argument of a timm model that a config can hold; None is timm's own."""


class TimmConfig(Strict):
    """What every model of timm has; each model's own class adds the arguments that it takes."""

    name: str
    """As timm has it, without the prefix."""
    patch_size: Positive
    """Stride of the stem in pixels; only plain vision transformers have another than their own."""
    image_size: Positive | tuple[Positive, Positive] = 224
    """Pixels, one number for a square."""
    in_channels: Positive = 3
    pooling: Literal["cls", "mean", "map", "seq"] = "mean"
    drop_path: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """timm's drop_path_rate."""

    stride: ClassVar[int] = 0
    """The stem's own stride."""
    coarsest: ClassVar[int] = 0
    """The stride of its last map."""
    arguments: ClassVar[frozenset[str]] = frozenset()
    """All that the model's class takes."""
    plain: ClassVar[bool] = False
    """Whether it is a transformer on one grid, whose patch can be chosen."""

    @model_validator(mode="after")
    def _possible(self) -> TimmConfig:
        if self.patch_size != self.stride and not self.plain:
            raise ValueError(f"its stem has a stride of {self.stride} px, which is fixed: leave patch_size out")
        if self.drop_path and "drop_path_rate" not in self.arguments:
            raise ValueError("it has no stochastic depth: set train.drop_path=0")
        return self

    @property
    def size(self) -> Grid:
        """(H, W), pixels."""
        return (self.image_size, self.image_size) if isinstance(self.image_size, int) else self.image_size

    def given(self) -> dict[str, Any]:
        """Arguments for timm beyond its own."""
        own = {"in_chans": self.in_channels}
        if "img_size" in self.arguments:
            own["img_size"] = self.size  # type: ignore[assignment]
        if self.plain:
            own["patch_size"] = self.patch_size
        if self.drop_path:
            own["drop_path_rate"] = self.drop_path  # type: ignore[assignment]
        others = set(type(self).model_fields) - set(TimmConfig.model_fields)
        stated = {name: getattr(self, name) for name in others}
        return own | {name: value for name, value in stated.items() if value is not None}


class TimmBackbone(nn.Module):
    """Images (B, C, H, W) -> `Features` of a timm model's last map or tokens."""

    attends_unseen = True
    """Where there is attention it is timm's, not `layers.attention`'s, and cannot be recorded."""

    def __init__(self, config: TimmConfig) -> None:
        super().__init__()
        self.config = config
        self.in_channels, self.image_size = config.in_channels, config.size
        self.body = _create(config)
        self.prefix_names = _prefix_names(self.body)
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

        with _refusals(self.config.name):
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
        with _refusals(self.config.name):
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
            body = _create(self.config)
            if self.image_size != self.config.size:
                self._resize(body, self.image_size)
        prune(body, self._idle)
        return body


def _on_meta(module: nn.Module) -> bool:
    """Whether a buffer, or a tensor that is neither buffer nor parameter, has no memory."""
    held = (value for part in module.modules() for value in vars(part).values())
    return any(t.is_meta for t in module.buffers()) or any(isinstance(v, Tensor) and v.is_meta for v in held)


@contextmanager
def _refusals(name: str) -> Iterator[None]:
    """What timm raises at a wrong argument is the user's to mend, whatever its class; what it warns of is not."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except UsageError:
        raise
    except Exception as error:
        why = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UsageError(f"{PREFIX}{name} cannot be used with this size and these options: {why}") from None


def _create(config: TimmConfig) -> nn.Module:
    with _refusals(config.name):
        body: nn.Module = _library().create_model(config.name, pretrained=False, num_classes=0, **config.given())
    return body


def _prefix_names(body: nn.Module) -> tuple[str, ...]:
    count = int(getattr(body, "num_prefix_tokens", 0) or 0)
    named = [name for name in ("cls", "dist") if getattr(body, f"{name}_token", None) is not None]
    return (*named, *["register"] * count)[:count]


@cache
def _library() -> Any:
    try:
        import timm
    except ImportError:
        raise UsageError(f"{PREFIX}NAME needs timm, which is not installed here: pip install timm") from None
    return timm


# --------------------------------------------------------------------------------------------------------------- rows


@cache
def find(name: str) -> Variant | None:
    """The row of `timm:NAME`, made when it is asked for; None for a name without the prefix.

    Raises UsageError where timm is not installed, or offers its nearest names where it has no such model.
    """
    if not name.startswith(PREFIX):
        return None
    timm, bare = _library(), name.removeprefix(PREFIX)
    if bare.split(".")[0] not in timm.list_models() or not timm.is_model(bare):
        raise unknown("model", name, [PREFIX + known for known in timm.list_models()])
    with torch.device("meta"), _refusals(bare):
        body = timm.create_model(bare, pretrained=False, num_classes=0)
    said = timm.get_pretrained_cfg(bare)
    config = _config(bare, body, said)
    return Variant(
        name,
        "timm",
        config,
        f"timm {timm.__version__}",
        fit,
        normalisation="half" if tuple(said.mean) == (0.5, 0.5, 0.5) else "imagenet",
        crop_fraction=float(said.crop_pct),
        interpolation="bilinear" if said.interpolation == "bilinear" else "bicubic",
        stochastic_depth="drop_path_rate" in config.arguments,
    )


def _config(name: str, body: nn.Module, said: Any) -> TimmConfig:
    """A class with the arguments that this model takes, and its values as timm has them."""
    arguments = arguments_of(type(body))
    free = [key for key in sorted(arguments) if not key.startswith(CLOSED) and not hasattr(TimmConfig, key)]
    fields: dict[str, Any] = {key: (Option, None) for key in free if key not in TimmConfig.model_fields}
    made = cast(type[TimmConfig], create_model("TimmConfig", __base__=TimmConfig, **fields))
    reductions = [entry["reduction"] for entry in getattr(body, "feature_info", None) or () if "reduction" in entry]
    patch = getattr(getattr(body, "patch_embed", None), "patch_size", None)
    made.stride = 4 if 4 in reductions else reductions[0] if reductions else patch[0] if patch else 1
    made.coarsest = max(reductions, default=made.stride)
    made.arguments = frozenset(arguments)
    one_grid = patch is not None and set(reductions) <= {made.stride} == {patch[0]}
    made.plain = one_grid and "patch_size" in arguments
    prefix, pool = _prefix_names(body), str(getattr(body, "global_pool", "avg"))
    pooling = "cls" if pool == "token" and "cls" in prefix else "map" if pool == "map" else "mean"
    height, width = said.input_size[1:]
    size = height if height == width else (height, width)
    return made(name=name, patch_size=made.stride, image_size=size, pooling=cast(Any, pooling))


CLOSED = (
    "_", "args", "kwargs", "self", "num_classes", "in_chans", "img_size", "patch_size", "drop_path_rate", "global_pool",
    "drop_rate", "head_init", "head_hidden", "head_norm", "head_bias", "head_drop", "head_conv", "pool_include",
    "pretrained", "checkpoint", "cache", "device", "dtype", "cfg",
)  # fmt: skip
"""How arguments begin that are ours to set, that are about the classifier, or that would fetch or read files."""


LEAST = 64


def fit(config: TimmConfig, image_size: int) -> Fit:
    """A plain transformer: the largest patch that leaves 64 tokens, or 16 of an image under 32 px; else timm's own."""
    if not config.plain:
        left = -(-image_size // config.coarsest)
        more = "; a larger --image-size gives it more" if left < 4 else ""
        why = f"its stem has stride {config.stride}, which is fixed: {image_size} px end in {left} x {left} cells{more}"
        return Fit({"patch_size": config.stride}, why)
    wanted = LEAST if image_size >= 32 else 16
    fitting = [p for p in (16, 14, 12, 8, 7, 6, 4, 2) if image_size % p == 0 and (image_size // p) ** 2 >= wanted]
    patch = fitting[0] if fitting else 1
    side = image_size // patch
    return Fit(
        {"patch_size": patch}, f"{image_size}/{patch} = {side} patches a side: the largest that leaves {wanted} tokens"
    )


VARIANTS: tuple[Variant, ...] = ()
SHORT: Mapping[str, str] = {}
build = TimmBackbone
