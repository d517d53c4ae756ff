"""Images of every accepted kind, made on the spot, and what breaks them; and a source of such files."""

from __future__ import annotations

import functools
import io
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vitrail.contracts import Failure, Hints, Item, Pixels
from vitrail.data import image


def photo(height: int = 23, width: int = 37) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """(H, W, 3) smooth and colourful, different in every corner."""
    y, x = np.mgrid[0:height, 0:width].astype(float)
    planes = [255 * x / width, 255 * y / height, 127 + 120 * np.sin(x / 5) * np.cos(y / 7)]
    return np.stack(planes, axis=-1).astype(np.uint8)


def save(array: Any, kind: str, mode: str | None = None, **options: Any) -> bytes:
    """An array or Pillow image as the bytes of a `kind` file."""
    picture = array if isinstance(array, Image.Image) else Image.fromarray(array)
    out = io.BytesIO()
    (picture.convert(mode) if mode else picture).save(out, kind, **options)
    return out.getvalue()


def good() -> dict[str, bytes]:
    """A valid file of every accepted kind that Pillow can write, by name."""
    rgb = photo()
    alpha = np.concatenate([rgb, rgb[..., :1]], axis=-1)
    deep = rgb[..., 0].astype(np.uint16) * 257
    palette = Image.fromarray(rgb).quantize(16)
    return {
        "baseline.jpg": save(rgb, "JPEG"),
        "progressive.jpg": save(rgb, "JPEG", progressive=True, quality=95),
        "grey.jpg": save(rgb, "JPEG", "L"),
        "cmyk.jpg": save(rgb, "JPEG", "CMYK"),
        "rgb_inside.jpg": save(rgb, "JPEG", keep_rgb=True),
        "rgb.png": save(rgb, "PNG"),
        "rgba.png": save(alpha, "PNG"),
        "la.png": save(alpha, "PNG", "LA"),
        "palette.png": save(palette, "PNG"),
        "clear_palette.png": save(palette, "PNG", transparency=3),
        "grey16.png": save(deep, "PNG"),
        "bilevel.png": save(rgb, "PNG", "1"),
        "still.gif": save(palette, "GIF"),
        "clear.gif": save(palette, "GIF", transparency=2),
        "rgb.bmp": save(rgb, "BMP"),
        "palette.bmp": save(palette, "BMP"),
        "lossy.webp": save(rgb, "WEBP", quality=80),
        "lossless.webp": save(alpha, "WEBP", lossless=True, exact=True),
        "rgb.tif": save(rgb, "TIFF"),
        "lzw.tif": save(rgb, "TIFF", compression="tiff_lzw"),
        "jpeg.tif": save(rgb, "TIFF", compression="jpeg"),
        "grey16.tif": save(deep, "TIFF"),
        "cmyk.tif": save(rgb, "TIFF", "CMYK"),
        "fax.tif": save(rgb, "TIFF", "1", compression="group4"),
        "big.tif": save(rgb, "TIFF", big_tiff=True),
        "rgb.ppm": save(rgb, "PPM"),
        "grey.pgm": save(rgb, "PPM", "L"),
        "plain.ppm": b"P3\n# by hand\n2 1 255\n255 0 0  0 255 0\n",
    }


def mixed_photos(folder: Path) -> Path:
    """A new folder of every accepted kind, with two copies of one and the files of BAD."""
    folder.mkdir()
    for name, raw in good().items():
        (folder / name).write_bytes(raw)
    (folder / "copy of rgb.png").write_bytes(good()["rgb.png"])
    (folder / "empty.png").touch()
    (folder / "cut.jpg").write_bytes(good()["baseline.jpg"][:-20])
    (folder / "words.gif").write_text("not a picture")
    return folder


BAD = {
    "cut.jpg": "truncated: the file ends before the image does",
    "empty.png": "empty file",
    "words.gif": "not an image: a text file",
}
"""What cannot be used of `mixed_photos`, and why."""


def png_chunk(name: bytes, body: bytes) -> bytes:
    """A PNG chunk with its length and checksum."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(width: int, height: int, depth: int, colour: int, rows: bytes, before: bytes = b"") -> bytes:
    """A PNG written out by hand; rows: filter byte and samples of each row.  before: chunks ahead of the pixels."""
    head = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    body = png_chunk(b"IDAT", zlib.compress(rows, 9))
    return b"\x89PNG\r\n\x1a\n" + head + before + body + png_chunk(b"IEND", b"")


@functools.cache
def bombs() -> dict[str, bytes]:
    """Small files that ask for much: name -> bytes."""
    row = zlib.compressobj(9)
    stream = b"".join([*(row.compress(bytes(2049)) for _ in range(16384)), row.flush()])  # bilevel rows of 16384
    head = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 16384, 16384, 1, 0, 0, 0, 0))
    huge_png = b"\x89PNG\r\n\x1a\n" + head + png_chunk(b"IDAT", stream) + png_chunk(b"IEND", b"")
    frame = b"\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\x00"
    gif = b"GIF89a" + struct.pack("<HHBBB", 64, 64, 0x80, 0, 0) + bytes(6) + frame * 10_000 + b";"
    webp = bytearray(save(photo(), "WEBP", exif=b"Exif\x00\x00II*\x00\x08\x00\x00\x00\x00\x00"))
    webp[24:30] = b"\xff\x3f\x00\xff\x3f\x00"
    tiff = bytearray(save(photo(), "TIFF"))
    for tag in (256, 257):
        at = tiff.index(struct.pack("<HHI", tag, 4, 1))
        tiff[at : at + 12] = struct.pack("<HHII", tag, 4, 1, 100_000)
    return {
        "256 megapixels in a small PNG": huge_png,
        "16k JPEG": jpeg_declaring(16384, 16384),
        "declared 65535x65535": jpeg_declaring(65535, 65535),
        "10,000-frame GIF": gif,
        "16k WebP": bytes(webp),
        "10-gigapixel TIFF": bytes(tiff),
        "2-gigapixel BMP": b"BM" + bytes(12) + struct.pack("<IiiHHI", 40, 46_000, -46_000, 1, 24, 0) + bytes(24),
        "PPM": b"P6 100000 100000 255\n",
        "JPEG of many scans": jpeg_of_many_scans(),
    }


def jpeg_declaring(width: int, height: int) -> bytes:
    """A small JPEG whose header speaks of other sizes than its data."""
    raw = save(photo(), "JPEG")
    at = raw.index(b"\xff\xc0") + 5
    return raw[:at] + struct.pack(">HH", height, width) + raw[at + 4 :]


def jpeg_of_many_scans() -> bytes:
    """A progressive JPEG of 25 megapixels in which one empty scan stands 500 times."""
    raw = save(Image.new("RGB", (5000, 5000), "teal"), "JPEG", progressive=True)
    last = raw.rindex(b"\xff\xda")
    return raw[:last] + raw[last:-2] * 500 + raw[-2:]


class Files:
    """A source whose samples are the files of a folder, in the order of their names."""

    hints = Hints()
    target_names: tuple[str, ...] = ()

    def __init__(self, root: Path, names: Sequence[str] | None = None, ignored: tuple[Failure, ...] = ()) -> None:
        self.name, self.location, self.ignored = root.name, str(root), ignored
        found = (path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())
        self._root, self._names = root, sorted(found) if names is None else list(names)

    @property
    def items(self) -> list[Item]:
        return [Item(name, "cat" if index % 2 else "dog") for index, name in enumerate(self._names)]

    def path(self, index: int) -> Path:
        return self._root / self._names[index]

    def read(self, index: int, channels: int) -> Pixels:
        return image.read(self.path(index), channels)

    def content(self, index: int) -> bytes:
        return image.read_bytes(self.path(index))
