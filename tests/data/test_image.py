"""Decoding: what comes out of good files, what is said of bad ones, and what is never allowed to happen."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import threading
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from image_zoo import bombs, good, jpeg_declaring, photo, png, png_chunk, save
from PIL import Image, ImageFile, ImageOps

from vitrail.data import image
from vitrail.data.signatures import ACCEPTED
from vitrail.errors import BadImage

GOOD = good()


def reason(raw: bytes, **options: int) -> str:
    with pytest.raises(BadImage) as caught:
        image.decode(raw, **options)
    return caught.value.reason


def pillow(raw: bytes, mode: str = "RGB") -> np.ndarray:
    """The oracle: Pillow's own conversion, upright, over white."""
    with Image.open(io.BytesIO(raw)) as opened:
        picture = ImageOps.exif_transpose(opened)
        if picture.has_transparency_data and mode != "RGBA":
            picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture.convert("RGBA"))
        array = np.asarray(picture.convert(mode))
    return array if array.ndim == 3 else array[..., None]


def distance(a: np.ndarray, b: np.ndarray) -> int:
    assert a.shape == b.shape
    return int(np.abs(a.astype(int) - b.astype(int)).max())


# -------------------------------------------------------------------------------------------------------- good files


@pytest.mark.parametrize("name", [name for name in GOOD if "16" not in name])
@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB"), (4, "RGBA")])
def test_every_kind_decodes_as_pillow_has_it(name: str, channels: int, mode: str) -> None:
    pixels = image.decode(GOOD[name], channels)
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous
    assert distance(pixels, pillow(GOOD[name], mode)) <= 1


@pytest.mark.parametrize("name", GOOD)
def test_the_header_says_what_decoding_gives(name: str) -> None:
    info = image.inspect(GOOD[name])
    assert image.decode(GOOD[name], 1).shape == (info.height, info.width, 1)
    assert "." + name.rpartition(".")[2] in ACCEPTED[info.format]


@pytest.mark.parametrize("name", ["grey16.png", "grey16.tif"])
def test_sixteen_bits_are_scaled_to_eight(name: str) -> None:
    assert np.array_equal(image.decode(GOOD[name], 1)[..., 0], photo()[..., 0])


def test_sixteen_bits_round_to_the_nearest_level() -> None:
    deep = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    for kind in ("PNG", "TIFF", "PPM"):
        expected = np.rint(deep / 257).astype(np.uint8)
        assert np.array_equal(image.decode(save(deep, kind), 1)[..., 0], expected)


def test_grey_is_replicated() -> None:
    pixels = image.decode(GOOD["grey.jpg"], 3)
    assert np.array_equal(pixels, np.repeat(image.decode(GOOD["grey.jpg"], 1), 3, axis=2))


def test_alpha_is_kept_for_four_channels_and_laid_over_white_for_others() -> None:
    raw = save(np.array([[[200, 100, 0, 0], [200, 100, 0, 51], [200, 100, 0, 255]]], np.uint8), "PNG")
    assert image.decode(raw, 4)[0].tolist() == [[200, 100, 0, 0], [200, 100, 0, 51], [200, 100, 0, 255]]
    assert image.decode(raw, 3)[0].tolist() == [[255, 255, 255], [244, 224, 204], [200, 100, 0]]


def test_a_colour_declared_transparent_becomes_white() -> None:
    rgb = png(2, 1, 8, 2, b"\x00" + bytes([9, 8, 7, 1, 2, 3]), png_chunk(b"tRNS", struct.pack(">HHH", 9, 8, 7)))
    assert image.decode(rgb)[0].tolist() == [[255, 255, 255], [1, 2, 3]]
    deep = png(2, 1, 16, 0, b"\x00" + struct.pack(">HH", 1000, 514), png_chunk(b"tRNS", struct.pack(">H", 1000)))
    assert image.decode(deep, 4)[0].tolist() == [[4, 4, 4, 0], [2, 2, 2, 255]]
    assert image.decode(deep, 1)[0].tolist() == [[255], [2]]


def test_cmyk_without_adobe_marker_is_not_inverted() -> None:
    raw = save(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG")  # red ink on paper; Pillow writes Adobe's way
    assert distance(image.decode(raw)[:1, :1], np.array([[[255, 0, 0]]])) <= 2
    at = raw.index(b"\xff\xee")
    plain = raw[:at] + raw[at + 2 + struct.unpack_from(">H", raw, at + 2)[0] :]
    assert distance(image.decode(plain)[:1, :1], np.array([[[0, 0, 0]]])) <= 2  # the same numbers, read as ink


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_undone(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if kind == "WEBP" else {"quality": 95, "subsampling": 0} if kind == "JPEG" else {}
    raw = save(photo(), kind, exif=exif, **options)
    info, pixels = image.inspect(raw), image.decode(raw)
    assert (info.height, info.width) == pixels.shape[:2] == ((37, 23) if orientation >= 5 else (23, 37))
    assert distance(pixels, pillow(raw)) == 0


def test_orientation_is_read_from_xmp_where_exif_says_none() -> None:
    packet = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    for kind in ("JPEG", "WEBP"):
        assert image.decode(save(photo(), kind, xmp=packet)).shape == (37, 23, 3)
    text = png_chunk(b"iTXt", b"XML:com.adobe.xmp\x00\x00\x00\x00\x00" + packet)
    assert image.decode(png(2, 1, 8, 0, b"\x00\x01\x02", text), 1).ravel().tolist() == [1, 2]
    assert image.inspect(png(2, 1, 8, 0, b"\x00\x01\x02", text)).width == 1


def test_exif_after_the_pixels_of_a_png_counts() -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    raw = save(photo(), "PNG")
    turned = raw[:-12] + png_chunk(b"eXIf", exif.tobytes()[6:]) + raw[-12:]
    assert np.array_equal(image.decode(turned), photo()[::-1, ::-1])


def test_stray_bytes_between_jpeg_segments_are_overlooked_and_noted() -> None:
    raw = GOOD["baseline.jpg"]
    stray = raw[:20] + b"\x00\x00" + raw[20:]  # after the JFIF segment
    decoded = image.examine(stray)
    assert "extraneous bytes" in decoded.notes[0]
    assert np.array_equal(decoded.pixels, image.decode(raw))
    assert image.examine(raw + b"a trailer that some cameras write").notes == ()


def test_chroma_layouts_that_simplejpeg_does_not_know_are_left_to_pillow() -> None:
    raw = bytearray(save(np.full((8, 24, 3), 128, np.uint8), "JPEG", subsampling=0))
    raw[raw.index(b"\xff\xc0") + 11] = 0x31  # luma three times as wide as chroma: one unit is Y Y Y Cb Cr,
    scan = raw.index(b"\xff\xda") + 14
    mid_grey = 0b001010_001010_001010_0000_0000_111111  # and a flat block is six bits of luma, four of chroma
    odd = bytes(raw[:scan]) + mid_grey.to_bytes(4, "big") + b"\xff\xd9"
    with pytest.raises(ValueError, match="subsampling"):
        simplejpeg.decode_jpeg(odd)
    assert (image.decode(odd) == 128).all()


def test_metadata_of_a_png_cannot_spoil_its_pixels() -> None:
    excess = png_chunk(b"zTXt", b"k\x00\x00" + zlib.compress(bytes(4 * 2**20)))
    wrong = png_chunk(b"tEXt", b"k\x00v")[:-1] + b"!"
    for before in (excess, wrong):
        assert image.decode(png(2, 1, 8, 0, b"\x00\x07\x09", before), 1).ravel().tolist() == [7, 9]


def test_first_picture_of_a_multi_picture_jpeg_is_taken() -> None:
    first = Image.fromarray(photo())
    raw = save(first, "MPO", save_all=True, append_images=[Image.new("RGB", (8, 8))])
    assert image.decode(raw).shape == (23, 37, 3)


# --------------------------------------------------------------------------------------------------------- bad files


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"", "empty file"),
        (bytes(100), "not an image: it begins with zero bytes only"),
        (b"just words", "not an image: a text file"),
        (b"<!DOCTYPE html><html>404</html>", "not an image: a web page (HTML), perhaps a download that failed"),
        (b"version https://git-lfs.github.com/spec/v1\n", "not an image: a Git LFS pointer; fetch the real file"),
        (b"%PDF-1.7", "not an image: a PDF document"),
        (b"PK\x03\x04", "not an image: a ZIP archive"),
        (b"\x00\x00\x00\x18ftypheic", "format HEIC is not accepted; convert it to PNG or JPEG"),
        (b"\x00\x00\x01\x00\x01\x00", "format ICO is not accepted; convert it to PNG or JPEG"),
        (b"<?xml version='1.0'?><svg/>", "format SVG is not accepted; convert it to PNG or JPEG"),
        (b"\x89PNG\n\x1a\n", "damaged: it begins almost like a PNG"),
        (b"\x9f\x01\x88\xfe", "not an image: it begins like no format known here"),
    ],
)
def test_what_is_no_accepted_image_is_called_by_its_name(raw: bytes, expected: str) -> None:
    assert reason(raw).startswith(expected)


def test_more_than_one_picture_is_refused() -> None:
    two = {"save_all": True, "append_images": [Image.fromarray(photo()[::-1])]}
    for kind in ("GIF", "PNG", "WEBP"):
        assert reason(save(photo(), kind, **two)) == "animated: a sample must be one image"
    assert reason(save(photo(), "TIFF", **two)) == "several pages: a sample must be one image"


def test_a_smaller_copy_in_a_tiff_is_no_page() -> None:
    small = Image.fromarray(photo()[::2, ::2].copy())
    small.encoderinfo = {"tiffinfo": {254: 1}}
    raw = save(photo(), "TIFF", save_all=True, append_images=[small])
    assert np.array_equal(image.decode(raw), photo())


@pytest.mark.parametrize("name", ["baseline.jpg", "progressive.jpg", "grey.jpg", "cmyk.jpg", "rgb.png", "palette.png"])
def test_a_cut_file_is_refused_wherever_it_is_cut(name: str) -> None:
    for end in range(1, len(GOOD[name])):
        reason(GOOD[name][:end])


@pytest.mark.parametrize(
    "name", ["rgb.bmp", "lossy.webp", "lossless.webp", "rgb.ppm", "still.gif", "rgb.tif", "lzw.tif"]
)
def test_a_file_that_lost_its_second_half_is_refused(name: str) -> None:
    assert reason(GOOD[name][: len(GOOD[name]) // 2]).startswith(("truncated", "damaged"))


def test_a_flipped_bit_in_the_pixels_of_a_png_is_noticed() -> None:
    raw = bytearray(GOOD["rgb.png"])
    raw[raw.index(b"IDAT") + 20] ^= 1
    assert reason(bytes(raw)) == "damaged: a checksum of the PNG does not match (chunk IDAT)"


def test_pixels_without_an_agreed_range_are_refused() -> None:
    for array in (np.ones((4, 4), np.float32), np.ones((4, 4), np.int32)):
        assert "no agreed range" in reason(save(array, "TIFF"))


def test_the_pixel_limit_is_the_callers() -> None:
    assert reason(GOOD["rgb.png"], max_pixels=800) == "declares 37 x 23 pixels, more than the limit of 800"
    assert image.decode(GOOD["rgb.png"], max_pixels=851).shape == (23, 37, 3)
    with pytest.raises(BadImage):
        image.inspect(GOOD["rgb.png"], 850)


def test_channels_are_one_three_or_four() -> None:
    with pytest.raises(ValueError, match="channels"):
        image.decode(GOOD["rgb.png"], 2)


# ------------------------------------------------------------------------------------------------------------- bombs

MEASURE = """
import resource, sys, time
from vitrail.data import image
from vitrail.errors import BadImage
raw = open(sys.argv[1], "rb").read()
before, begun = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
try:
    image.decode(raw)
except BadImage as error:
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(time.process_time() - begun, grown / 1024, error.reason, sep="|")
"""


@pytest.mark.parametrize("name", bombs())
def test_a_bomb_is_refused_before_it_goes_off(name: str, tmp_path: Path) -> None:
    (tmp_path / "bomb").write_bytes(bombs()[name])
    ran = subprocess.run(
        [sys.executable, "-c", MEASURE, str(tmp_path / "bomb")], capture_output=True, text=True, check=True, timeout=60
    )
    seconds, megabytes, said = ran.stdout.strip().split("|")
    assert float(seconds) < 1
    assert float(megabytes) < 100
    assert "limit" in said or "animated" in said or "too long" in said


def test_a_small_png_bomb_is_as_promised() -> None:
    assert len(bombs()["256 megapixels in a small PNG"]) < 40_000
    assert reason(jpeg_declaring(65535, 65535)) == "declares 65535 x 65535 pixels, more than the limit of 50,000,000"


# ------------------------------------------------------------------------------------------------------- never, ever


@hypothesis_settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_mutated_file_gives_pixels_or_badimage_and_nothing_else(data: st.DataObject) -> None:
    raw = bytearray(GOOD[data.draw(st.sampled_from(sorted(GOOD)))])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(raw) - 1) | st.integers(0, min(len(raw) - 1, 100)))
        change = data.draw(st.sampled_from(["set", "cut", "insert", "end"]))
        if change == "set":
            raw[at] = data.draw(st.sampled_from([0, 1, 127, 128, 255]) | st.integers(0, 255))
        elif change == "cut":
            del raw[at : at + data.draw(st.integers(1, 64))]
        elif change == "insert":
            raw[at:at] = data.draw(st.binary(min_size=1, max_size=8))
        else:
            del raw[at + 1 :]
        if not raw:
            break
    channels = data.draw(st.sampled_from([1, 3, 4]))
    try:
        pixels = image.decode(bytes(raw), channels, max_pixels=1_000_000)
    except BadImage as refused:
        said = refused.reason
    else:
        info = image.inspect(bytes(raw))
        assert pixels.shape == (info.height, info.width, channels)
        assert pixels.dtype == np.uint8
        return
    assert 0 < len(said) <= 160
    assert "\n" not in said


MAGIC = (
    *(b"\xff\xd8\xff\xe1", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"RIFF\x00\x00\x00\x00WEBPVP8X", b"P6 ", b""),
    *(b"II*\x00", b"MM\x00*", b"II+\x00\x08\x00\x00\x00", b"II*\x00\x08\x00\x00\x00\x02\x00"),
)


@hypothesis_settings(max_examples=200, deadline=None)
@given(st.sampled_from(MAGIC), st.binary(max_size=200))
def test_any_bytes_at_all_are_pixels_or_badimage(magic: bytes, rest: bytes) -> None:
    try:
        image.decode(magic + rest)
    except BadImage:
        return


def test_no_warning_and_no_global_switch_leaks(monkeypatch: pytest.MonkeyPatch) -> None:
    filters = list(warnings.filters)
    limit = Image.MAX_IMAGE_PIXELS
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 430)  # Pillow would warn of 23 x 37 pixels
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        inside = list(warnings.filters)
        for raw in GOOD.values():
            image.decode(raw)
        assert list(warnings.filters) == inside
    assert not caught
    assert list(warnings.filters) == filters
    monkeypatch.undo()
    assert limit == Image.MAX_IMAGE_PIXELS
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False


def test_a_limit_of_pillows_own_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert reason(GOOD["lossy.webp"]) == "declares 37 x 23 pixels, more than Pillow decodes"


def test_threads_leave_the_warning_filters_as_they_were() -> None:
    filters = list(warnings.filters)
    names = [name for name in GOOD if not name.endswith(".jpg")]
    threads = [threading.Thread(target=lambda: [image.decode(GOOD[n]) for n in names]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(warnings.filters) == filters


def test_importing_changes_no_switch_of_pillow_and_loads_no_torch() -> None:
    script = (
        "from PIL import Image, ImageFile; import numpy, sys, warnings; before = (Image.MAX_IMAGE_PIXELS,"
        " ImageFile.LOAD_TRUNCATED_IMAGES, list(warnings.filters)); import vitrail.data.image, vitrail.data.audit;"
        " assert before == (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, list(warnings.filters));"
        " assert not {'torch', 'torchvision'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


# -------------------------------------------------------------------------------------------------------------- files


def test_reading_a_file_is_decoding_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(GOOD["rgb.png"])
    assert np.array_equal(image.read(tmp_path / "a.png"), photo())


def test_what_cannot_be_read_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dangling.png").symlink_to(tmp_path / "gone.png")
    (tmp_path / "long.png").write_bytes(GOOD["rgb.png"])
    (tmp_path / "empty.png").touch()
    os.mkfifo(tmp_path / "pipe.png")
    monkeypatch.setattr(image, "MAX_BYTES", 100)
    expected = {
        "missing.png": "no such file",
        "dangling.png": "a link to nothing",
        ".": "a folder, not a file",
        "pipe.png": "not a regular file",
        "empty.png": "empty file",
        "long.png": f"a file of {len(GOOD['rgb.png']):,} bytes, more than the limit of 100",
        "nul\0.png": "no such file: its name cannot stand on a disk",
    }
    for name, said in expected.items():
        with pytest.raises(BadImage) as caught:
            image.read(tmp_path / name)
        assert caught.value.reason == said


@pytest.mark.data
def test_photos_decode_as_pillow_has_them(shared_data: Path) -> None:
    for path in sorted((shared_data / "caltech24" / "images").rglob("*.jpg"))[::100]:
        assert distance(image.read(path), pillow(path.read_bytes())) <= 1


@pytest.mark.data
@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow, the oracle, warns of damaged metadata
def test_odd_but_valid_files_decode_as_pillow_has_them(shared_data: Path) -> None:
    compared = 0
    for path in sorted((shared_data / "malformed_mini").rglob("*")):
        if not path.is_file():
            continue
        raw = path.read_bytes()
        try:
            info, pixels = image.inspect(raw), image.decode(raw)
        except BadImage:
            continue
        if info.mode != "L;16":  # Pillow clips those
            assert distance(pixels, pillow(raw)) <= 1, path.name
            compared += 1
    assert compared > 200


@pytest.mark.data
def test_the_suite_of_valid_pngs_is_accepted_whole(shared_data: Path) -> None:
    """PngSuite names its damaged files with an x; all others are valid PNG."""
    for path in sorted((shared_data / "malformed_mini" / "pngsuite").glob("*.png")):
        if path.name.startswith("x"):
            reason(path.read_bytes())
        else:
            image.read(path)
