"""The door in Python: `import vitrail` is cheap, and the names of the guide lead where it says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import vitrail

SOURCE = Path(vitrail.__file__).parent


def test_importing_loads_nothing_heavy() -> None:
    code = (
        "import sys, vitrail; vitrail.__version__; dir(vitrail);"
        "sys.exit(bool({'torch', 'numpy', 'pydantic', 'PIL', 'rich'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_predictions_and_predictors_are_named_without_torch() -> None:
    code = "import sys, vitrail; vitrail.Prediction; vitrail.Predictor; vitrail.load; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", vitrail.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(vitrail, name) is not None
    assert name in dir(vitrail)


def test_what_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'vitrail' has no attribute 'trian'"):
        vitrail.trian  # type: ignore[attr-defined]  # noqa: B018


def test_no_public_name_is_hidden_by_a_room() -> None:
    """`vitrail.x` would become the module as soon as anything imports it."""
    rooms = {path.stem for path in SOURCE.iterdir()}
    assert not rooms & set(vitrail.__all__)


def test_the_same_names_stand_for_type_checkers() -> None:
    text = (SOURCE / "__init__.py").read_text()
    for name in set(vitrail.__all__) - {"__version__"}:
        assert f"import {name} as {name}\n" in text
        module = vitrail._WHERE[name]
        assert f"from {module} import {name} as {name}\n" in text


def test_recording_is_reached_without_an_import_of_its_own() -> None:
    code = (
        "import vitrail; model = vitrail.create_model('vit_tiny', image_size=32, patch_size=8, depth=2)\n"
        "import torch\n"
        "with vitrail.explain.record(model.eval()) as recording: model(torch.zeros(1, 3, 32, 32))\n"
        "import vitrail.explain.recorder\n"
        "assert callable(vitrail.explain.record) and len(recording.calls) == 2"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_models_are_listed_and_made() -> None:
    import torch

    assert "vit_tiny_patch16_224" in vitrail.list_models("vit_tiny*")
    model = vitrail.create_model("vit_tiny", outputs=3, image_size=32, depth=1, width=24, heads=2)
    assert isinstance(model, torch.nn.Module)
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 3)


def test_train_load_predict_explain(tmp_path: Path) -> None:
    """The guide, in small: any map-style dataset to a run, to answers, to a picture."""
    draw = np.random.default_rng(0)
    pixels = draw.integers(0, 128, (32, 8, 8, 3), dtype=np.uint8)
    pixels[::2, ..., 0] += 127
    data = [(image, ("red", "grey")[i % 2]) for i, image in enumerate(pixels)]
    run = vitrail.train(
        data, model="vit_tiny", epochs=1, batch_size=8, patch_size=4, out=tmp_path / "run", quiet=True,
        model__options__depth=1, model__options__width=16, model__options__heads=2, train__weight_decay=0.1,
    )  # fmt: skip
    assert isinstance(run, vitrail.Run)
    assert run.folder == tmp_path / "run"
    assert set(run.metrics) == {"val", "test"}
    assert run.config.train.weight_decay == 0.1
    predictor = vitrail.load(run.folder)
    assert isinstance(predictor, vitrail.Predictor)
    (said,) = predictor.predict([pixels[0]])
    assert isinstance(said, vitrail.Prediction)
    assert said.label in ("red", "grey")
    assert 0.5 <= said.confidence <= 1
    again = run.predictor().predict([pixels[0]])[0]
    assert (again.label, again.confidence) == (said.label, said.confidence)
    made = predictor.explain(pixels[0], method="rollout")
    assert made.heatmap.shape == (8, 8)
    assert made.save(tmp_path / "a.png").is_file()
