"""The model folder: all that is needed to use a model again, and nothing that could run code.

config.json model.safetensors preprocessor.json labels.json   covered by MANIFEST.json, checked on every load
README.md                                                      the model card, yours to edit

What `vitrail pretrain` writes is such a folder without a head: in config.json its task is called "none", labels.json is
empty, and every tensor is named `backbone.*`, as in a whole model. `load_backbone` reads the backbone of either kind.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from vitrail import durable
from vitrail.assemble import VisionModel, build_model, build_trunk, fill
from vitrail.contracts import Backbone, Task
from vitrail.data.preprocess import Preprocessor
from vitrail.errors import IntegrityError, UsageError, first_line
from vitrail.settings import CUSTOM, NO_TASK, Config
from vitrail.tasks import restore

UNMEASURED = "Nothing was measured here: its makers' figures are not proved by this file."

FORMAT = 1
"""Of the folder. A reader refuses a higher one; lower ones stay readable (tests/golden)."""


@dataclass(frozen=True)
class Artifact:
    """A model folder in memory."""

    folder: Path
    model: VisionModel
    config: Config
    task: Task
    preprocessor: Preprocessor


@dataclass(frozen=True)
class Trunk:
    """The backbone of a model folder, with its weights: what another head can stand on.

    config: of the run that made it; its task is NO_TASK where there never was a head.
    """

    folder: Path
    backbone: nn.Module
    config: Config
    preprocessor: Preprocessor


def save(
    folder: Path, model: nn.Module, config: Config, task: Task, preprocessor: Preprocessor, card: Mapping[str, Any]
) -> None:
    """Commit a model folder in one step, replacing what was there. Raises OSError with the old one untouched.

    card: what the model card says besides the config: run, data, split, metrics (name -> value); origin, where the
    model was not trained here.
    """

    def fill(temporary: Path) -> None:
        tensors = {name: t.detach().cpu().contiguous() for name, t in model.state_dict().items()}
        try:
            save_file(tensors, temporary / "model.safetensors", metadata={"format": "pt"})
        except SafetensorError as error:
            raise storage_failure(error) from error
        _write_json(temporary / "config.json", {"format": FORMAT, "config": config.model_dump(mode="json")})
        _write_json(temporary / "preprocessor.json", preprocessor.model_dump(mode="json"))
        _write_json(temporary / "labels.json", task.state())
        (temporary / "README.md").write_text(_card(config, task, preprocessor, card), encoding="utf-8")

    durable.commit(folder, fill, uncovered=("README.md",))


def find(path: str | Path) -> Path:
    """The model folder that a path means: itself, or a run's model/best, or its model/last.

    Raises UsageError, saying what was looked for, when there is none.
    """
    root = Path(path)
    try:
        for candidate in (root, root / "model" / "best", root / "model" / "last", root / "best"):
            standing = durable.standing(candidate)
            if (standing / "config.json").is_file():
                return standing
        if not root.exists():
            raise UsageError(f"{root}: no such folder; expected a run folder or a model folder")
        if root.is_file():
            raise UsageError(f"{root} is a file: expected a run folder (that train made) or a model folder")
    except OSError as error:
        raise UsageError(f"{root} cannot be read: {(error.strerror or str(error)).lower()}") from None
    if (root / "run.json").is_file():
        if not any(root.glob("checkpoints/step-*")):
            raise UsageError(f"{root} has no model yet: its run has reached no checkpoint; wait for it, or train anew")
        again = f"vitrail train --resume {shlex.quote(str(root))}"
        raise UsageError(f"{root} has no model yet: its training did not finish an epoch; go on with {again}")
    raise UsageError(f"{root} is neither a run folder nor a model folder: it has no model/best/config.json")


def load(path: str | Path, device: str = "cpu", backbone: Backbone | None = None) -> Artifact:
    """Read a model folder (or the best of a run) onto a device, in evaluation mode.

    backbone: the module for a model that was trained from Python with one of its own.

    Raises IntegrityError where a file is missing, damaged, from a newer version, or does not fit the others.
    """
    folder = find(path)
    durable.verify(folder)
    config = _config(folder)
    if config.task.name == NO_TASK:
        raise UsageError(
            f"{folder} was pretrained on images alone and has no head to answer with:\n"
            f"give it one with vitrail train DATA --from {shlex.quote(str(path))}"
        )
    if config.model.name == CUSTOM and backbone is None:
        raise UsageError(
            f"{folder} was trained with a backbone from Python: give one like it, load(path, backbone=...)"
        )
    task = restore(_read_json(folder / "labels.json"))
    preprocessor = _preprocessor(folder)
    tensors = _tensors(folder)
    try:
        with torch.device("meta"):  # the file brings the memory: nothing is allocated on a config's word
            model = VisionModel(backbone, task, config.model.pooling) if backbone else build_model(config, task)
    except UsageError as error:
        raise _damaged(folder / "config.json", error) from None
    _check_fits(folder, preprocessor, cast(Backbone, model.backbone))
    fill(model, tensors, folder / "model.safetensors")
    return Artifact(folder, model.to(device).eval(), config, task, preprocessor)


def load_backbone(path: str | Path, device: str = "cpu") -> Trunk:
    """The backbone of a model folder or of the best of a run, whatever stood on it, in evaluation mode.

    Raises IntegrityError as `load` does, UsageError where the backbone came from Python and is in no catalogue.
    """
    folder = find(path)
    durable.verify(folder)
    config = _config(folder)
    if config.model.name == CUSTOM:
        raise UsageError(f"{folder} was trained with a backbone from Python, which is in no catalogue")
    preprocessor = _preprocessor(folder)
    tensors = {name: tensor for name, tensor in _tensors(folder).items() if name.startswith("backbone.")}
    try:
        with torch.device("meta"):
            whole = build_trunk(config)
    except UsageError as error:
        raise _damaged(folder / "config.json", error) from None
    _check_fits(folder, preprocessor, cast(Backbone, whole["backbone"]))
    fill(whole, tensors, folder / "model.safetensors")
    return Trunk(folder, whole["backbone"].to(device).eval(), config, preprocessor)


def _preprocessor(folder: Path) -> Preprocessor:
    try:
        return Preprocessor.model_validate(_read_json(folder / "preprocessor.json"))
    except ValidationError as error:
        raise _damaged(folder / "preprocessor.json", error) from None


def _tensors(folder: Path) -> dict[str, torch.Tensor]:
    try:
        return load_file(folder / "model.safetensors")
    except SafetensorError as error:
        raise _damaged(folder / "model.safetensors", error) from None


def _check_fits(folder: Path, preprocessor: Preprocessor, backbone: Backbone) -> None:
    expected = (*backbone.image_size, backbone.in_channels)
    if (*preprocessor.size, preprocessor.channels) != expected:
        raise IntegrityError(f"{folder / 'preprocessor.json'} does not fit the model, which takes {expected} (H, W, C)")


def _config(folder: Path) -> Config:
    record = _read_json(folder / "config.json")
    try:
        if int(record["format"]) > FORMAT:
            raise IntegrityError(
                f"{folder} was written by a newer Vitrail (format {record['format']}): upgrade to read it"
            )
        return Config.model_validate(record["config"])
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(folder / "config.json", error) from None


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise _damaged(path, error) from None


def _damaged(path: Path, error: Exception) -> IntegrityError:
    if isinstance(error, ValidationError):
        fault = error.errors()[0]
        why = f"{'.'.join(map(str, fault['loc']))}: {fault['msg'].lower()}"
    else:
        why = first_line(error)
    return IntegrityError(f"{path} cannot be used: {why}")


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def storage_failure(error: SafetensorError) -> OSError:
    """safetensors words an OSError as its own: the OSError again, with its number, so that the cause can be said."""
    _, _, tail = str(error).rpartition("os error ")
    digits = "".join(c for c in tail if c.isdigit())
    return OSError(int(digits or 0), str(error))


def _card(config: Config, task: Task, preprocessor: Preprocessor, card: Mapping[str, Any]) -> str:
    if config.task.name == NO_TASK:
        return _card_without_head(config, preprocessor, card)
    metrics = card.get("metrics", {})
    rows = "\n".join(f"| {name} | {value:.4f} |" for name, value in metrics.items())
    height, width = preprocessor.size
    kind, labels = _outputs(task)
    shown = ", ".join(labels[:30]) + (f", ... ({len(labels)} in all)" if len(labels) > 30 else "")
    measured = f"""| {card.get("split", "val")} | |
|---|---|
{rows}

Measured on the {card.get("split", "val")} split, which also chose this epoch; the run's report has the test figures."""
    origin = card.get("origin", f"trained with Vitrail on `{card.get('data', config.data.source)}`")
    return f"""# {card.get("run", config.model.name)}

`{config.model.name}` (patch {config.model.patch_size}, {height} x {width} pixels, {preprocessor.channels} channels)
for the task `{task.name}`, {origin}.

{measured if metrics or "origin" not in card else UNMEASURED}

**{kind}:** {shown}

```
vitrail predict THIS_FOLDER IMAGE...
```

```python
import vitrail
vitrail.load("THIS_FOLDER").predict(["image.jpg"])
```

**Limits.** It answers whatever the image shows, and its figures hold for images like those it was trained and tested
on. `config.json` has every setting, `preprocessor.json` how an image must be prepared.
"""


def _card_without_head(config: Config, preprocessor: Preprocessor, card: Mapping[str, Any]) -> str:
    height, width = preprocessor.size
    metrics = card.get("metrics", {})
    rows = "\n".join(f"| {name} | {value:.4f} |" for name, value in metrics.items())
    return f"""# {card.get("run", config.model.name)}

The backbone of `{config.model.name}` (patch {config.model.patch_size}, {height} x {width} pixels,
{preprocessor.channels} channels), pretrained with Vitrail on the images of `{card.get("data", config.data.source)}`
alone: it learned to fill in hidden parts of them, and saw no label.

| {card.get("split", "val")} | |
|---|---|
{rows}

Loss on hidden parts of the {card.get("split", "val")} split, which also chose this epoch.

```
vitrail train DATA --from THIS_FOLDER
```

**Limits.** It has no head and answers nothing before it is trained on targets.
"""


_KINDS = {
    "classify": ("Classes", "labels"), "multilabel": ("Labels", "labels"), "segment": ("Classes", "labels"),
    "regress": ("Numbers", "targets"), "depth": ("Maps", "maps"),
}  # fmt: skip
"""Task -> what its outputs are, and where its state names them."""


def _outputs(task: Task) -> tuple[str, list[str]]:
    """What a task's outputs are, and their names, with units where they are known."""
    (kind, key), state = _KINDS[task.name], task.state()
    units = state.get("units") or [""] * len(state[key])
    return kind, [f"{name} ({unit})" if unit else str(name) for name, unit in zip(state[key], units, strict=True)]
