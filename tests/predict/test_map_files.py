"""What a prediction has per pixel, as files that say what they mean."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from PIL import Image

from vitrail.contracts import MapFile, Prediction
from vitrail.data.maps import read_map
from vitrail.errors import TrainingError
from vitrail.predict.map_files import MapWriter, quantise
from vitrail.predict.naming import FileNames, file_safe
from vitrail.tasks.depth import Depth
from vitrail.tasks.segment import Segment

NUMBERS = st.one_of(st.just(np.nan), st.floats(-1e4, 1e4, width=32))


@given(npst.arrays(np.float32, (3, 4), elements=NUMBERS))
def test_numbers_come_back_from_16_bits_to_a_small_part_of_their_range(units: np.ndarray) -> None:
    stored, scale, offset = quantise(units)
    known = np.isfinite(units)
    assert np.array_equal(stored == 0, ~known)
    if known.any():
        back = offset + scale * stored[known].astype(np.float64)
        spread = float(np.ptp(units[known].astype(np.float64)))
        assert np.abs(back - units[known]).max() <= spread / 131_000 + 1e-6


def test_a_mask_is_written_with_the_values_of_mask_files(tmp_path: Path) -> None:
    write = MapWriter(tmp_path, Segment(("a", "b"), (0, 255), ignore=254))
    mask = np.array([[0, 255], [254, 0]], np.uint8)
    rows = [write(Prediction(f"{folder}/photo.jpg", values={"classes": "a"}, arrays={"mask": mask})) for folder in "xy"]
    assert [row.values["mask"] for row in rows] == ["photo-mask.png", "photo-mask-2.png"]
    assert not rows[0].arrays
    assert np.array_equal(read_map(MapFile(tmp_path / "photo-mask.png")), mask)
    assert write.columns == ("mask",)


def test_a_deep_mask_is_written_in_16_bits(tmp_path: Path) -> None:
    mask = np.array([[0, 700]], np.uint16)
    MapWriter(tmp_path, Segment(("a", "b"), (0, 700)))(Prediction("p.png", arrays={"mask": mask}))
    assert np.array_equal(read_map(MapFile(tmp_path / "p-mask.png")), mask)


def test_each_map_is_a_16_bit_png_that_says_its_scale(tmp_path: Path) -> None:
    task = Depth(["depth", "slope"], ["m", ""], [0.0, 0.0], [1.0, 1.0])
    write = MapWriter(tmp_path, task)
    maps = np.stack([np.linspace(1, 9, 12).reshape(3, 4), np.full((3, 4), 2.5)]).astype(np.float32)
    maps[0, 0, 0] = np.nan
    row = write(Prediction("p.png", arrays={"maps": maps}))
    assert tuple(row.values) == write.columns
    for name, units in zip(task.names, maps, strict=True):
        path = tmp_path / row.values[f"{name}_file"]
        with Image.open(path) as image:
            assert image.mode == "I;16"
            assert image.text["vitrail:scale"] == row.values[f"{name}_scale"]
        stored = read_map(MapFile(path)).astype(np.float64)
        back = float(row.values[f"{name}_offset"]) + float(row.values[f"{name}_scale"]) * stored
        known = np.isfinite(units)
        np.testing.assert_allclose(back[known], units[known], atol=1e-3)
        assert (stored[~known] == 0).all()


def test_a_failed_input_has_no_file(tmp_path: Path) -> None:
    failed = Prediction("p.png", "failed", "no such file")
    assert MapWriter(tmp_path, Segment(("a", "b"), (0, 1)))(failed) == failed
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_is_said_in_words(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    write = MapWriter(tmp_path / "file" / "maps", Segment(("a", "b"), (0, 1)))
    with pytest.raises(TrainingError, match="cannot write"):
        write(Prediction("p.png", arrays={"mask": np.zeros((2, 2), np.uint8)}))


@given(st.lists(st.sampled_from(["a.jpg", "b/a.png", "a-2.jpg", "c.jpg"]), max_size=12))
def test_no_two_names_are_the_same(sources: list[str]) -> None:
    names = FileNames()
    given_out = [names.of(source) for source in sources]
    assert len(set(given_out)) == len(given_out)


@pytest.mark.parametrize(
    "name", ["near/far", "../../up", "..", "", "nul\0and\nline", "50%", "\ud800", "深" * 90, "x" * 300]
)
def test_a_map_of_any_name_is_written_into_the_folder(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "maps"
    write = MapWriter(folder, Depth([name, "other"], ["", ""], [0.0, 0.0], [1.0, 1.0]))
    maps = np.ones((2, 3, 4), np.float32)
    for source in ("x/photo.jpg", f"{'照片' * 60}.jpg"):
        row = write(Prediction(source, arrays={"maps": maps}))
        assert (folder / row.values[f"{name}_file"]).is_file()
    assert len(list(folder.iterdir())) == 4
    assert [path.name for path in tmp_path.iterdir()] == ["maps"]


def test_names_that_are_safe_stay_and_others_are_escaped() -> None:
    assert file_safe("distance to border") == "distance to border"
    assert file_safe("Entfernung_ß") == "Entfernung_ß"
    assert file_safe("near/far") == "near%2Ffar"


PARTS = st.lists(st.sampled_from([*"a/%2F.\0é", "x" * 60]), max_size=6).map("".join)


@given(st.sets(PARTS, min_size=2, max_size=2))
def test_different_names_of_maps_stay_different_in_safe_files(names: set[str]) -> None:
    safe = {file_safe(name) for name in names}
    assert len(safe) == 2
    for name in safe:
        assert len(name.encode()) <= 100
        assert not set(name) & set("/\0")
