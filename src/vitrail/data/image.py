"""From the bytes of an image file to upright pixels: safely, and the same everywhere.

The header is read first, by our own code, and decides whether a decoder sees the file at all: only the formats of the
allow-list, only one picture, only so many pixels. Then simplejpeg decodes JPEG, and Pillow's decoder of exactly the
declared format the rest. Whatever goes wrong ends in `BadImage` with a short clause that says what to do or what is
broken; no warning leaves this module and no global switch of Pillow is touched or relied on.

Pixel values are taken as they are: colour profiles and gamma are not applied, as is usual in this field.
"""

from __future__ import annotations

import io
import re
import stat
import threading
import warnings
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import simplejpeg
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)
from PIL.ImageFile import ImageFile

from vitrail.contracts import Pixels
from vitrail.data.headers import Header, png_chunks, read_header
from vitrail.data.pixels import with_channels
from vitrail.data.signatures import ACCEPTED, IMAGE_EXTENSIONS
from vitrail.errors import BadImage

__all__ = [
    "ACCEPTED",
    "IMAGE_EXTENSIONS",
    "MAX_PIXELS",
    "Decoded",
    "ImageInfo",
    "decode",
    "decode_values",
    "examine",
    "inspect",
    "read",
]

MAX_PIXELS = 50_000_000
"""Images that declare more are refused; `data.max_pixels` overrides it."""

MAX_BYTES = 256 * 2**20
"""Longer files are refused unread."""

_BAND = 2**20
"""Pixels converted at a time: beside the decoded image and the result, a conversion needs only a few MB."""


@dataclass(frozen=True)
class ImageInfo:
    """What an image file declares: format, upright size in pixels, and mode (L, RGB, CMYK, ...; ";16" if deep)."""

    format: str
    width: int
    height: int
    mode: str


@dataclass(frozen=True)
class Decoded:
    """Pixels with what was learnt on the way. notes: clauses on what a decoder had to overlook."""

    pixels: Pixels
    info: ImageInfo
    notes: tuple[str, ...] = ()


Array = TypeVar("Array", bound=np.ndarray[Any, Any])


def inspect(raw: bytes, max_pixels: int = MAX_PIXELS) -> ImageInfo:
    """What the header declares, before anything is decoded or allocated; raises BadImage with the reason."""
    return _info(_checked(raw, max_pixels))


def decode(raw: bytes, channels: int = 3, max_pixels: int = MAX_PIXELS) -> Pixels:
    """Decode one image to (H, W, channels) uint8, upright by its EXIF orientation; raises BadImage with the reason.

    channels 1: luma (ITU-R 601).  3: RGB.  4: RGB and alpha, 255 where there is none.  For 1 and 3, what is
    transparent is laid over white.  16-bit grey is scaled from 0..65535 to 0..255; grey is replicated.
    """
    return examine(raw, channels, max_pixels).pixels


def read(path: Path, channels: int = 3, max_pixels: int = MAX_PIXELS) -> Pixels:
    """`decode` of a file; BadImage also where it cannot be read or is longer than MAX_BYTES."""
    return decode(read_bytes(path), channels, max_pixels)


def read_bytes(path: Path) -> bytes:
    """The content of a regular file of at most MAX_BYTES; BadImage otherwise, before anything is read."""
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise BadImage("a folder, not a file")
        if not stat.S_ISREG(status.st_mode):  # opening a pipe could wait for ever
            raise BadImage("not a regular file")
        if status.st_size > MAX_BYTES:
            raise BadImage(f"a file of {status.st_size:,} bytes, more than the limit of {MAX_BYTES:,}")
        with path.open("rb") as file:
            return file.read(status.st_size)
    except FileNotFoundError:
        raise BadImage("a link to nothing" if path.is_symlink() else "no such file") from None
    except PermissionError:
        raise BadImage("permission denied") from None
    except OSError as error:
        raise BadImage(f"cannot be read: {(error.strerror or str(error)).lower()}") from None
    except ValueError:  # a NUL in the name
        raise BadImage("no such file: its name cannot stand on a disk") from None


def examine(raw: bytes, channels: int = 3, max_pixels: int = MAX_PIXELS) -> Decoded:
    """`decode`, together with what the header declares and what the decoder overlooked."""
    if channels not in (1, 3, 4):
        raise ValueError(f"channels must be 1, 3 or 4, got {channels}")
    header = _checked(raw, max_pixels)
    try:
        if header.format == "JPEG":
            stored, notes = _decode_jpeg(raw, header, channels)
        else:
            stored, notes = _pillow(raw, header, lambda image: _convert(image, channels)), ()
    except MemoryError:
        raise BadImage("needs more memory to decode than there is") from None
    info = _info(header)
    pixels = stored if header.format == "TIFF" else _upright(stored, header.orientation)  # Pillow turns TIFF itself
    assert pixels.shape == (info.height, info.width, channels)
    return Decoded(np.ascontiguousarray(pixels), info, notes)


def decode_values(raw: bytes, max_pixels: int = MAX_PIXELS) -> np.ndarray[Any, Any]:
    """One value per pixel as the file stores it, (H, W), upright: palette indices, 8 to 32 bits, or fractions.

    For masks and maps of numbers, whose values mean something. JPEG, which changes values, is refused, and so are
    colours, unless the three of every pixel are equal. Raises BadImage with the reason.
    """
    header = _checked(raw, max_pixels)
    if header.format == "JPEG":
        raise BadImage("a JPEG, which changes values to save space; save it as PNG")
    try:
        stored = _pillow(raw, header, _values)
    except MemoryError:
        raise BadImage("needs more memory to decode than there is") from None
    upright = stored if header.format == "TIFF" else _upright(stored, header.orientation)
    return np.ascontiguousarray(upright)


def _values(image: Image.Image) -> np.ndarray[Any, Any]:
    if image.mode in ("L", "P", "F", "I") or image.mode.startswith("I;16"):
        return np.array(image)
    if image.mode == "1":
        return np.array(image, dtype=np.uint8)
    bands = np.asarray(image.convert("RGBA" if image.mode in ("LA", "PA", "RGBA", "La", "RGBa") else "RGB"))
    if not (bands[..., 0] == bands[..., 1]).all() or not (bands[..., 0] == bands[..., 2]).all():
        raise BadImage("has colours where one value per pixel is expected; save it as grey or with a palette")
    return bands[..., 0].copy()


def _checked(raw: bytes, max_pixels: int) -> Header:
    header = read_header(raw)
    if header.width * header.height > max_pixels:
        raise BadImage(f"declares {header.width} x {header.height} pixels, more than the limit of {max_pixels:,}")
    return header


def _info(header: Header) -> ImageInfo:
    width, height = header.width, header.height
    if header.orientation >= 5:
        width, height = height, width
    return ImageInfo(header.format, width, height, header.mode)


def _upright(pixels: Pixels, orientation: int) -> Pixels:
    """Undo an EXIF orientation: where row 0 and column 0 of what is stored belong (EXIF 2.32, tag 0x0112)."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


# ------------------------------------------------------------------------------------------------------------- JPEG

_DAMAGE = re.compile(r"premature end|bad huffman|bad arithmetic|instead of rst|unsupported marker", re.IGNORECASE)
_MOST_SCAN_WORK = 20
"""Scans of a progressive JPEG, in multiples of the pixel limit: each costs a pass over the whole image."""


def _decode_jpeg(raw: bytes, header: Header, channels: int) -> tuple[Pixels, tuple[str, ...]]:
    """Pixels as stored, (H, W, channels).

    simplejpeg is asked to stop at any complaint of libjpeg. Damage to the picture itself is then refused; for the
    rest, such as stray bytes between segments or a rare chroma layout, Pillow decides, which refuses what is cut off.
    """
    scans = raw.count(b"\xff\xda")
    if scans * header.width * header.height > _MOST_SCAN_WORK * MAX_PIXELS:
        raise BadImage(f"a JPEG of {scans} scans: decoding it would take too long")
    try:
        height, width, *_ = simplejpeg.decode_jpeg_header(raw)
        if (height, width) != (header.height, header.width):
            raise BadImage("damaged: its size is declared twice and differs")
        if header.mode == "CMYK":
            return _from_cmyk(simplejpeg.decode_jpeg(raw, "CMYK"), header.adobe, channels), ()
        return cast(Pixels, simplejpeg.decode_jpeg(raw, {1: "GRAY", 3: "RGB", 4: "RGBA"}[channels])), ()
    except ValueError as error:
        complaint = _short(error)
        if "premature end of jpeg" in complaint.lower():
            raise BadImage("truncated: the file ends before the image does") from None
        if _DAMAGE.search(complaint):
            raise BadImage(f"damaged: {complaint}") from None
    return _pillow(raw, header, lambda image: _convert(image, channels)), (f"the JPEG decoder remarked: {complaint}",)


def _from_cmyk(cmyk: Pixels, inverted: bool, channels: int) -> Pixels:
    """Stored CMYK -> pixels. Adobe stores 255 for no ink; without its marker 255 is full ink."""
    height, width, _ = cmyk.shape
    out = np.empty((height, width, channels), np.uint8)
    for rows in _bands(height, width):
        light = cmyk[rows].astype(np.uint16)
        if not inverted:
            light = 255 - light
        rgb = ((light[..., :3] * light[..., 3:] + 127) // 255).astype(np.uint8)
        out[rows] = with_channels(rgb, channels)
    return out


# ----------------------------------------------------------------------------------------------------------- Pillow

_DECODERS: dict[str, type[ImageFile]] = {
    "JPEG": JpegImagePlugin.JpegImageFile,
    "PNG": PngImagePlugin.PngImageFile,
    "GIF": GifImagePlugin.GifImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "WEBP": WebPImagePlugin.WebPImageFile,
    "TIFF": TiffImagePlugin.TiffImageFile,
    "PPM": PpmImagePlugin.PpmImageFile,
}

_QUIET = threading.Lock()
"""Pillow warns, and filters of warnings are global: one thread at a time silences them and puts them back."""


def _pillow(raw: bytes, header: Header, read: Callable[[Image.Image], Array]) -> Array:
    """What `read` makes of the picture as Pillow loads it: TIFF upright, the rest as stored."""
    if header.format == "PNG":
        raw = _paint_only(raw)
    size = (header.width, header.height)
    if header.format == "TIFF" and header.orientation >= 5:
        size = size[::-1]
    with _QUIET, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with _DECODERS[header.format](io.BytesIO(raw)) as image:
                if image.size != size:
                    raise BadImage("damaged: its size is declared twice and differs")
                image.load()
                return read(image)
        except (BadImage, MemoryError):
            raise
        except Image.DecompressionBombError:  # a limit of Pillow's own, met only when max_pixels is set far higher
            raise BadImage(f"declares {size[0]} x {size[1]} pixels, more than Pillow decodes") from None
        except Exception as error:  # decoders of damaged files raise nearly everything
            raise BadImage(_clause(error, header.format)) from None


def _paint_only(raw: bytes) -> bytes:
    """A PNG reduced to the chunks that make its pixels, so that no damage or excess of its metadata matters.

    Their checksums are compared, which Pillow leaves out for the pixels themselves.
    """
    keep = [raw[:8]]
    for name, start, end in png_chunks(raw):
        if name in (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"):
            chunk = raw[start:end]
            if zlib.crc32(chunk[4:-4]) != int.from_bytes(chunk[-4:], "big"):
                raise BadImage(f"damaged: a checksum of the PNG does not match (chunk {name.decode()})")
            keep.append(chunk)
    return b"".join(keep)


def _convert(image: Image.Image, channels: int) -> Pixels:
    if image.mode == "F" or (image.mode == "I" and image.format != "PPM"):
        raise BadImage("pixels are 32-bit, signed or fractional, with no agreed range; convert it to 8 or 16 bits")
    if image.mode == "LAB":
        raise BadImage("LAB colours are not accepted; convert it to RGB")
    out = np.empty((image.height, image.width, channels), np.uint8)
    for rows in _bands(image.height, image.width):
        out[rows] = _convert_band(image.crop((0, rows.start, image.width, rows.stop)), channels)
    return out


def _convert_band(band: Image.Image, channels: int) -> Pixels:
    if band.mode.startswith("I"):  # I;16 and its byte orders, or a 16-bit PGM
        deep = np.asarray(band).astype(np.uint32)
        grey = ((deep * 255 + 32767) // 65535).astype(np.uint8)
        key = band.info.get("transparency")
        alpha = np.where(deep == key, 0, 255).astype(np.uint8) if isinstance(key, int) else np.full_like(grey, 255)
        return with_channels(np.stack([grey, grey, grey, alpha], axis=-1), channels)
    if band.has_transparency_data:
        return with_channels(np.asarray(band.convert("RGBA")), channels)
    pixels = np.asarray(band.convert({1: "L", 3: "RGB", 4: "RGBA"}[channels]))
    return pixels.reshape(band.height, band.width, channels)


def _bands(height: int, width: int) -> list[slice]:
    rows = max(1, _BAND // width)
    return [slice(top, min(top + rows, height)) for top in range(0, height, rows)]


def _clause(error: Exception, kind: str) -> str:
    """What a decoder raised, as a short clause for the user."""
    text = _short(error)
    if re.search(r"truncated|not enough image data|unexpected end|buffer is not large enough", text, re.IGNORECASE):
        return "truncated: the file ends before the image does"
    if isinstance(error, zlib.error) or "data stream" in text:
        return f"damaged: its compressed {kind} data is broken"
    if text.startswith("decoder error"):
        return f"damaged: its {kind} data cannot be decoded"
    if text in ("unknown pixel mode", "not identified by this driver"):
        return f"damaged, or a {kind} of an unknown kind"
    if isinstance(error, (OSError, SyntaxError, ValueError)) and not error.__cause__ and "literal" not in text:
        return f"damaged: the {kind} decoder says '{text}'"
    return f"damaged: its {kind} data makes no sense"  # the words are about the decoder's own code


def _short(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 80 else text[:77] + "..."
