"""What kind of file some bytes are, by their first bytes alone: an accepted image format, or a word for what it is."""

from __future__ import annotations

import codecs
import re

from vitrail.errors import BadImage

ACCEPTED = {
    "JPEG": frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"}),
    "PNG": frozenset({".png", ".apng"}),
    "GIF": frozenset({".gif"}),
    "BMP": frozenset({".bmp", ".dib"}),
    "WEBP": frozenset({".webp"}),
    "TIFF": frozenset({".tif", ".tiff"}),
    "PPM": frozenset({".ppm", ".pgm", ".pbm", ".pnm"}),
}
"""The formats that are decoded, each with the extensions its files usually carry."""

# fmt: off
_REFUSED_EXTENSIONS = frozenset({
    ".heic", ".heif", ".hif", ".avif", ".jxl", ".jp2", ".j2k", ".jpx", ".tga", ".ico", ".psd", ".qoi", ".dds", ".pcx",
    ".exr", ".hdr", ".svg", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf",
})
# fmt: on

IMAGE_EXTENSIONS: frozenset[str] = frozenset().union(*ACCEPTED.values()) | _REFUSED_EXTENSIONS
"""Lower-case extensions of files that count as images by name.

Formats that cannot be decoded are among them, so that a folder's HEIC photos are named as unusable, not passed over.
"""

_MAGIC: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\xff\xd8", "JPEG"),
    (0, b"\x89PNG\r\n\x1a\n", "PNG"),
    (0, b"GIF87a", "GIF"),
    (0, b"GIF89a", "GIF"),
    (0, b"BM", "BMP"),
    (8, b"WEBP", "WEBP"),
    (8, b"CR\x02\x00", "Canon raw"),  # before TIFF, whose header it borrows
    (0, b"II*\x00", "TIFF"),
    (0, b"MM\x00*", "TIFF"),
    (0, b"II+\x00", "TIFF"),
    (0, b"MM\x00+", "TIFF"),
    (0, b"FUJIFILMCCD-RAW", "Fujifilm raw"),
    (0, b"IIRO", "Olympus raw"),
    (0, b"IIU\x00", "Panasonic raw"),
    (4, b"ftypavi", "AVIF"),
    (4, b"ftyphei", "HEIC"),
    (4, b"ftyphev", "HEIC"),
    (4, b"ftypmif1", "HEIF"),
    (4, b"ftypmsf1", "HEIF"),
    (4, b"ftypcrx ", "Canon raw"),
    (0, b"\x00\x00\x00\x0cjP  ", "JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000"),
    (0, b"\x00\x00\x00\x0cJXL ", "JPEG XL"),
    (0, b"\xff\x0a", "JPEG XL"),
    (0, b"\x00\x00\x01\x00", "ICO"),
    (0, b"\x00\x00\x02\x00\x00\x00\x00\x00", "TGA"),
    (0, b"\x00\x00\x0a\x00\x00\x00\x00\x00", "TGA"),
    (0, b"8BPS", "PSD"),
    (0, b"qoif", "QOI"),
    (0, b"DDS ", "DDS"),
    (0, b"BLP1", "BLP"),
    (0, b"BLP2", "BLP"),
    (0, b"\x01\xda", "SGI"),
    (4, b"\x11\xaf", "FLI"),
    (4, b"\x12\xaf", "FLC"),
    (0, b"v/1\x01", "OpenEXR"),
    (0, b"#?RADIANCE", "Radiance HDR"),
    (0, b"SIMPLE  =", "FITS"),
    (128, b"DICM", "DICOM"),
    (0, b"DanM", "MSP"),
    (0, b"LinS", "MSP"),
    (0, b"P7\n", "PAM"),
    (0, b"P7 332", "XV thumbnail"),
    (0, b"PF\n", "PFM"),
    (0, b"Pf\n", "PFM"),
    (0, b"gimp xcf", "XCF"),
)

_NO_IMAGE: tuple[tuple[int, bytes, str], ...] = (
    (4, b"ftyp", "a video"),
    (0, b"\x1aE\xdf\xa3", "a video"),
    (0, b"RIFF", "audio or video"),
    (0, b"GIMP Palette", "a palette"),
    (0, b"%PDF", "a PDF document"),
    (0, b"%!PS", "a PostScript document"),
    (0, b"PK\x03\x04", "a ZIP archive"),
    (0, b"\x1f\x8b", "a gzip archive"),
    (0, b"Rar!", "a RAR archive"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (0, b"\x93NUMPY", "a NumPy array"),
    (0, b"\x89HDF", "an HDF5 file"),
    (0, b"\x7fELF", "a program"),
    (0, b"version https://git-lfs", "a Git LFS pointer; fetch the real file with 'git lfs pull'"),
)

_PPM = re.compile(rb"P[1-6][\s#]")
_TEXT = re.compile(r"[^\x00-\x08\x0b\x0e-\x1f\x7f]+")


def recognise(raw: bytes) -> str:
    """The accepted format (a key of ACCEPTED) that `raw` begins like; raises BadImage saying what it is instead."""
    if not raw:
        raise BadImage("empty file")
    for offset, magic, name in _MAGIC:
        if raw.startswith(magic, offset):
            if name in ACCEPTED:
                return name
            raise BadImage(f"format {name} is not accepted; convert it to PNG or JPEG")
    if _PPM.match(raw):
        return "PPM"
    if raw.endswith(b"TRUEVISION-XFILE.\x00"):
        raise BadImage("format TGA is not accepted; convert it to PNG or JPEG")
    raise BadImage(_what(raw[:512]))


def _what(head: bytes) -> str:
    """A clause for bytes that begin like none of the formats above."""
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if head[1:4].lower() == b"png" or b"PNG" in head[:8] or head[12:16] == b"IHDR":
        return "damaged: it begins almost like a PNG, but not quite (a transfer in text mode does this)"
    for offset, magic, words in _NO_IMAGE:
        if head.startswith(magic, offset):
            return f"not an image: {words}"
    if text.startswith((b"<!doctype html", b"<html")):
        return "not an image: a web page (HTML), perhaps a download that failed"
    if b"<svg" in text:
        return "format SVG is not accepted; convert it to PNG or JPEG"
    if not head.strip(b"\x00"):
        return "not an image: it begins with zero bytes only"
    if _is_text(head):
        return "not an image: a text file"
    return "not an image: it begins like no format known here"


def _is_text(head: bytes) -> bool:
    try:
        decoded = codecs.getincrementaldecoder("utf-8")().decode(head)  # incremental: the cut may split a character
    except UnicodeDecodeError:
        return False
    return bool(_TEXT.fullmatch(decoded))
