"""Every field of a run's configuration: its type, its range, what it means."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainSerializer, model_validator

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
