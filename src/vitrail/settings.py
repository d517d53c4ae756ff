"""The complete configuration of a run, strict and torch-free, and how what a user states becomes one.

A user states a few fields; the recipe chooses the others from the data; the result is one `Config` with no field left
open, written to args.yaml. What is stated travels as `Stated`: dotted path -> value.
"""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainSerializer, ValidationError, model_validator

from vitrail.errors import UsageError, unknown

Stated = dict[str, Any]
"""Dotted path of a config field -> the value a user gave it."""

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(ge=1)]
Amount = Annotated[
    float,
    AfterValidator(lambda value: int(value) if value.is_integer() else value),
    PlainSerializer(lambda value: value),
]
"""A number that is written without a point where it is whole."""


class Strict(BaseModel):
    """Frozen, and refuses a field it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ShapesConfig(Strict):
    """The drawn set `shapes`."""

    length: Positive = 2000
    size: Annotated[int, Field(ge=16, le=1024)] = 64
    seed: Annotated[int, Field(ge=0)] = 0
    """Another seed draws other images of the same kind."""
    larger: Annotated[float, Field(ge=1, le=4)] = 1.0
    """Area of every object, in multiples of the usual: the main one covers 3 to 6.25 % of the image."""


class DataConfig(Strict):
    """Which samples, how they are split, and what is refused."""

    source: str
    """A folder, a table (.csv, .parquet, .jsonl) or a built-in name."""
    target: str | None = None
    """What is learned, guessed and said when left out: a table's column, or several separated by commas; files, as in
    masks/{name}.png; a folder of masks; classes of annotations; of `shapes`, a truth (class, count, ...)."""
    images: str | None = None
    """Where a table's images lie, as in images/{name}.png, its columns in braces; the folder of annotated images."""
    weight: str | None = None
    """A table's column of how much each image counts in the training loss."""
    stratify: str | None = None
    """A table's column whose values are spread evenly over the splits, besides classes, labels or numbers."""
    group: str | None = None
    """A table's column whose equal values stay in one split, such as a patient; by default the one called group."""
    split_file: str | None = None
    """A table with path and split columns, or a train.txt beside a test.txt; it is obeyed exactly."""
    val_fraction: Fraction = 0.15
    test_fraction: Fraction = 0.15
    """Shares cut per class where the data does not say; the test share is cut only when nothing says what test is."""
    max_bad_fraction: Fraction = 0.01
    """More unreadable files than this stops the run before epoch 1 (exit 3), and so during the run."""
    max_pixels: Positive = 50_000_000
    """An image that declares more is refused before anything is allocated."""
    channels: Literal[1, 3, 4] = 3
    workers: Annotated[int, Field(ge=0, le=256)] = 0
    """Processes that read and augment; the number changes speed, never a bit of the result."""
    cache_mb: Annotated[int, Field(ge=0)] = 1024
    """Decoded images are kept in memory where all of them fit in this."""
    batched: bool = False
    """Images are kept on the device as uint8 and augmented there, a batch at a time; all of them must fit."""
    shapes: ShapesConfig = ShapesConfig()


class ModelConfig(Strict):
    """Which model, and how it departs from its row in the family's table."""

    name: str = "vit_tiny"
    image_size: Positive = 224
    patch_size: Positive = 16
    pooling: Literal["cls", "mean", "map", "seq"] = "cls"
    weights: str | None = None
    """What training starts from (`--from`): a run, a model folder, or a published checkpoint."""
    new_head: bool = False
    """Begin with a fresh head even where the one that comes with the weights would fit."""
    options: dict[str, bool | int | float | str | tuple[int, ...]] = {}
    """Fields of the family's own config, e.g. model.options.depth=6 or model.options.sr_ratios=[2,1,1,1]."""


class PreprocessConfig(Strict):
    """How an image becomes the model's input when nothing is random."""

    resize: Literal["crop", "squash", "letterbox", "tile"] = "crop"
    """tile keeps every pixel as it is and goes over the image in overlapping windows; for a value per pixel only."""
    crop_fraction: Annotated[float, Field(gt=0, le=1)] = 1.0
    interpolation: Literal["bilinear", "bicubic"] = "bicubic"
    mean: tuple[float, ...] = (0.5,)
    std: tuple[Annotated[float, Field(gt=0)], ...] = (0.5,)
    """One value per channel, or one for all, on pixels scaled to [0, 1]."""


class TaskConfig(Strict):
    """The target and its loss."""

    name: str = "classify"
    """What a run is not told it infers from its targets, and says so."""
    loss: str = "auto"
    """One of the task's own losses; auto is its first choice."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    class_weights: Literal["none", "balanced"] = "none"
    labels: tuple[str, ...] | None = None
    """Names of what masks' values or maps mean, in order, where the data does not say."""
    decoder: Literal["auto", "linear", "pyramid"] = "auto"
    """Of tasks with a value per pixel."""
    foreground: bool = False
    """Masks number single objects: everything above 0 is one class."""
    ignore: Annotated[int, Field(ge=-1, le=65_535)] = 255
    """The value of a mask's pixels whose truth is not known; -1 is usual in .npy files."""
    scale: Annotated[float, Field(gt=0)] = 1.0
    """Units per stored value of a map, such as 0.001 for millimetres read as metres."""
    missing: float | None = None
    """The stored value of a map's pixels whose truth is not known, besides NaN; often 0 in 16-bit PNG."""


class AugmentConfig(Strict):
    """What is random about a training image."""

    crop_scale: tuple[Fraction, Fraction] = (0.35, 1.0)
    """Smallest and largest share of the image's area that a random crop takes; (1, 1) is no crop."""
    crop_ratio: tuple[float, float] = (0.75, 4 / 3)
    flip: bool = True
    jitter: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Largest relative change of brightness, contrast and saturation."""
    repeats: Annotated[int, Field(ge=1, le=64)] = 1
    """Copies of each image in a row, each with an augmentation of its own; an epoch is as long as without."""
    three: bool = False
    """ThreeAugment: one of grey, solarised and blurred (DeiT III)."""
    randaugment_ops: Annotated[int, Field(ge=0, le=10)] = 0
    randaugment_magnitude: Annotated[int, Field(ge=0, le=30)] = 9
    """Of 30, in torchvision's scale; timm's m9 of 10 is 27."""
    randaugment_spread: Annotated[float, Field(ge=0, le=30)] = 0.0
    """Standard deviation of the magnitude from one operation to the next; timm's mstd0.5 of 10 is 1.5."""
    erase: Fraction = 0.0
    mixup: Annotated[float, Field(ge=0)] = 0.0
    cutmix: Annotated[float, Field(ge=0)] = 0.0
    """Beta parameters; 0 is off. Where both are on, each group of images draws one of the two."""
    mix_probability: Fraction = 1.0
    mix_off_epochs: Annotated[float, Field(ge=0)] = 0.0
    """So many epochs at the end see images that are not mixed."""

    @model_validator(mode="after")
    def _ranges_are_ranges(self) -> AugmentConfig:
        for name, (low, high) in (("crop_scale", self.crop_scale), ("crop_ratio", self.crop_ratio)):
            if not 0 < low <= high:
                raise ValueError(f"{name} is the least and the most, both above 0, not {low:g} and {high:g}")
        return self


class TrainConfig(Strict):
    """The optimisation."""

    epochs: Annotated[Amount, Field(gt=0, le=100_000)] = 20
    """Of 2.5, the last is cut after half its images."""
    batch_size: Positive = 64
    """Images per update, over all micro-steps."""
    accumulate: Positive = 1
    """Micro-steps per update; batch_size must be a multiple of it."""
    lr: Annotated[float, Field(gt=0)] = 1e-3
    min_lr: Annotated[float, Field(ge=0)] = 1e-5
    warmup_epochs: Annotated[float, Field(ge=0)] = 2.0
    weight_decay: Annotated[float, Field(ge=0)] = 0.05
    optimizer: Literal["adamw", "lamb", "sgd"] = "adamw"
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Each block learns at this share of the rate of the one above it; 1 is one rate for all."""
    freeze: Literal["none", "backbone"] = "none"
    """backbone: only the head learns (a linear probe)."""
    lora_rank: Annotated[int, Field(ge=0, le=1024)] = 0
    """Rank of the low-rank updates of the blocks' linear layers (LoRA), which alone learn beside the head; 0 is off."""
    lora_alpha: Annotated[float, Field(gt=0)] = 16.0
    """LoRA's updates are multiplied by this over the rank."""
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Also the momentum of sgd."""
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    clip: Annotated[float, Field(ge=0)] = 1.0
    """Largest gradient norm; 0 is no clipping."""
    drop_path: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Stochastic depth at the last block, growing linearly with depth from 0."""
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Decay of the weights' moving average, which is what is evaluated and kept; 0 is off."""
    early_stop: Annotated[int, Field(ge=0)] = 0
    """Epochs without a better validation score before stopping; 0 is never."""
    precision: Literal["fp32", "bf16"] = "fp32"
    recompute: bool = False
    """Compute each block's activations again in the backward pass: less memory, about a third more time, same bits."""
    checkpoint_seconds: Annotated[float, Field(gt=0)] = 300.0
    """Longest time between two resumable checkpoints; one is written at the end of every epoch as well."""
    keep_checkpoints: Annotated[int, Field(ge=2)] = 2
    tensorboard: bool = False


Kind = Literal["hard", "soft", "feature"]
"""Of distillation."""


class DistillConfig(Strict):
    """A teacher, and how the model learns from it beside its targets."""

    teacher: str | None = None
    """A run, a model folder, torchvision:NAME, timm:NAME; or auto: a CNN trained on the same images first."""
    teacher_epochs: Annotated[Amount, Field(gt=0, le=100_000)] | None = None
    """Of a CNN that is trained first; None is a part of the run's own."""
    kind: Kind = "hard"
    """Learn the teacher's decision, its softened output, or its feature map."""
    weight: Fraction = 0.5
    """Share of the loss that the teacher's part has."""
    temperature: Annotated[float, Field(gt=0)] = 3.0
    """Of soft distillation."""
    cache_mb: Annotated[int, Field(ge=0)] = 2048
    """The teacher's outputs are kept on disk for later runs where all of them fit in this; 0 keeps none."""


class PretrainConfig(Strict):
    """What `vitrail pretrain` hides of an image and what fills it in; no other verb has a use for it."""

    mask_ratio: Annotated[float, Field(gt=0, lt=1)] = 0.75
    """Share of an image that is hidden."""
    mask_unit: Positive | None = None
    """Side of a hidden square, in pixels; None is a patch, which is what a ViT's encoder leaves out."""
    decoder_width: Annotated[int, Field(ge=4, le=65_536)] | None = None
    decoder_depth: Annotated[int, Field(ge=0, le=512)] | None = None
    """Of the transformer that fills in a ViT's hidden patches; None where one linear layer does it."""


class ReportConfig(Strict):
    """What a run's report takes time for besides its scores."""

    explanations: bool = True
    """Explain some held-out images and score the explanations: explain.html, and two parts of the report."""


class Config(Strict):
    """Everything a run depends on. args.yaml is this; `vitrail train --config args.yaml` repeats the run."""

    data: DataConfig
    model: ModelConfig = ModelConfig()
    preprocess: PreprocessConfig = PreprocessConfig()
    task: TaskConfig = TaskConfig()
    augment: AugmentConfig = AugmentConfig()
    train: TrainConfig = TrainConfig()
    distill: DistillConfig = DistillConfig()
    pretrain: PretrainConfig = PretrainConfig()
    report: ReportConfig = ReportConfig()
    recipe: str = "auto"
    seed: Annotated[int, Field(ge=0)] = 0
    data_seed: Annotated[int, Field(ge=0)] = 0
    """Seeds order, augmentation and mixing; apart from `seed`, which seeds weights and the model's own draws."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    threads: Annotated[int, Field(ge=0)] = 0
    """CPU threads; 0 is torch's own choice. Kept on resume: bits depend on it."""


CUSTOM = "custom"
"""The model name of a run whose backbone came from Python and is in no catalogue."""

NO_TASK = "none"
"""The task's name where there is none: a model that was pretrained on images alone."""

SHORT: Mapping[str, str] = {
    "model": "model.name",
    "task": "task.name",
    "target": "data.target",
    "group": "data.group",
    "split_file": "data.split_file",
    "workers": "data.workers",
    "image_size": "model.image_size",
    "patch_size": "model.patch_size",
    "epochs": "train.epochs",
    "batch_size": "train.batch_size",
    "lr": "train.lr",
    "precision": "train.precision",
    "from": "model.weights",
    "new_head": "model.new_head",
    "teacher": "distill.teacher",
}
"""The short options of `train` -> the field each one sets; `recipe`, `device`, `seed` are fields of the same name."""


def fields(model: type[BaseModel] = Config, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every leaf field of the config as (dotted path, its annotation)."""
    for name, info in model.model_fields.items():
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            yield from fields(info.annotation, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", info.annotation


def known_path(key: str) -> str:
    """The dotted path that a key names: itself, its short form, or an entry of model.options; else UsageError."""
    path = SHORT.get(key.replace("-", "_"), key.replace("-", "_"))
    paths = dict(fields())
    if path in paths or (path.startswith("model.options.") and path.count(".") == 2):
        return path
    raise unknown("option", key, [*paths, *SHORT])


def state(key: str, text: str) -> Stated:
    """One `key=value` of a command line -> {dotted path: value}; the text is read by the field's type.

    Raises UsageError for an unknown key or a value that its field refuses.
    """
    path = known_path(key)
    if path.startswith("model.options."):
        return {path: _yaml(text, f"--{key}")}
    annotation = dict(fields())[path]
    if text.lower() in {"none", "null"} and type(None) in typing.get_args(annotation):
        return {path: None}
    return {path: _yaml(text, f"--{key}") if _needs_yaml(annotation) else text}


def _needs_yaml(annotation: Any) -> bool:
    """Whether pydantic would not read such a value from a text: lists, and numbers of which only some are allowed."""
    origin = typing.get_origin(annotation)
    if origin is Literal:
        return not any(isinstance(choice, str) for choice in typing.get_args(annotation))
    if origin in (typing.Union, types.UnionType):
        return any(_needs_yaml(a) for a in typing.get_args(annotation))
    return origin in (tuple, list, dict)


def flatten(tree: Mapping[str, Any], prefix: str = "") -> Stated:
    """A nested mapping (args.yaml) -> dotted paths; keys that are no field raise UsageError with the nearest name."""
    flat: Stated = {}
    for key, value in tree.items():
        path = f"{prefix}{key}"
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{path}.")
        else:
            flat[known_path(path)] = value
    return flat


def build(stated: Stated) -> Config:
    """Stated fields over the defaults -> Config; raises UsageError naming the field and the value."""
    tree: dict[str, Any] = {}
    for path, value in stated.items():
        node = tree
        *parents, leaf = path.split(".")
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = value
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        if first["type"] == "value_error":  # words of our own, which say what was given
            raise UsageError(f"{where}: {first['ctx']['error']}") from None
        said = "a list in brackets is needed, [0.5,1]" if first["type"] == "tuple_type" else first["msg"].lower()
        given = "" if first["type"] == "missing" else f" (got {first['input']!r})"
        raise UsageError(f"{where}: {said}{given}") from None


def to_yaml(config: BaseModel) -> str:
    """The config as YAML in declaration order; `load` reads it back equal."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def load(path: Path) -> Stated:
    """Read a YAML config file into stated fields; raises UsageError on anything that is no config."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise UsageError(f"cannot read config {path}: {str(reason).lower()}") from None
    tree = _yaml(text, str(path))
    if not isinstance(tree, dict):
        raise UsageError(f"config {path} holds no fields: expected a mapping such as 'train: {{epochs: 20}}'")
    return flatten(tree)


TIME = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m(?:in)?)?(?:(\d+(?:\.\d+)?)s?)?")


def seconds_of(time: str | float) -> float:
    """A time as users write it, "1h30m", "10m", "90s" or seconds; UsageError for anything else, and for none at all."""
    found = TIME.fullmatch(str(time).strip().lower().replace(" ", ""))
    seconds = (
        sum(float(number or 0) * unit for number, unit in zip(found.groups(), (3600, 60, 1), strict=True))
        if found
        else 0
    )
    if not 0 < seconds < 1e9:
        raise UsageError(f"time '{time}' is none: write 1h30m, 10m, 90s, or a number of seconds")
    return seconds


def _yaml(text: str, where: str) -> Any:
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UsageError(f"{where}: not valid YAML: {str(error).splitlines()[0]}") from None
