"""What an image file declares of itself, read from its header alone: nothing is decoded and nothing large allocated.

Each reader takes the whole file and looks at a few bytes of it. What it finds decides whether a decoder sees the file
at all, so it trusts no offset or count in it. Sources: ITU-T T.81 (JPEG), W3C PNG, GIF89a, Microsoft BMP, RFC 9649
(WebP), TIFF 6.0 and BigTIFF, Netpbm, EXIF 2.32 (orientation).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from vitrail.data.signatures import recognise
from vitrail.errors import BadImage


@dataclass(frozen=True)
class Header:
    """Declared by the file: size as stored, EXIF orientation 1 to 8, and the kind of its pixels.

    mode: Pillow's word where it has one (1, L, LA, P, RGB, RGBA, CMYK), with ";16" for more than 8 bits a sample.
    adobe: a JPEG with an Adobe marker, whose CMYK is stored inverted.
    """

    format: str
    width: int
    height: int
    mode: str
    orientation: int = 1
    adobe: bool = False


def read_header(raw: bytes) -> Header:
    """The header of an accepted image; raises BadImage for anything else, animations and pages among it."""
    kind = recognise(raw)
    try:
        header = _READERS[kind](raw)
    except (struct.error, OverflowError):  # a fixed part of the header reaches beyond the end
        raise _cut(kind) from None
    if min(header.width, header.height) < 1:
        raise BadImage(f"damaged: declares {header.width} x {header.height} pixels")
    return header


def _cut(kind: str) -> BadImage:
    return BadImage(f"truncated: the file ends inside its {kind} header")


def _several(count: str) -> BadImage:
    return BadImage(f"{count}: a sample must be one image")


# ------------------------------------------------------------------------------------------------------------- JPEG

_NO_LENGTH = frozenset({0x00, 0x01, *range(0xD0, 0xD9)})
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def _jpeg(raw: bytes) -> Header:
    frame: tuple[int, int, int, int] | None = None
    exif, xmp, adobe = 0, 0, False
    for marker, body in _segments(raw):
        if marker in _FRAMES and frame is None:
            frame = struct.unpack_from(">BHHB", body)
        elif marker == 0xE1 and body.startswith(b"Exif\x00\x00"):
            exif = exif or _exif_orientation(body[6:])
        elif marker == 0xE1 and body.startswith(b"http://ns.adobe.com/xap/1.0/\x00"):
            xmp = xmp or _xmp_orientation(body)
        elif marker == 0xEE and body.startswith(b"Adobe"):
            adobe = True
    if frame is None:
        raise BadImage("damaged: a JPEG that never declares its size")
    bits, height, width, components = frame
    if bits != 8:
        raise BadImage(f"JPEG of {bits} bits a sample is not accepted; convert it to an 8-bit JPEG or a PNG")
    mode = {1: "L", 3: "RGB", 4: "CMYK"}.get(components)
    if mode is None:
        raise BadImage(f"damaged: a JPEG of {components} components")
    return Header("JPEG", width, height, mode, exif or xmp or 1, adobe)


def _segments(raw: bytes) -> Iterator[tuple[int, bytes]]:
    """(marker, body) of every segment up to the first scan; stray bytes between segments are passed over."""
    at = 2
    while (at := raw.find(b"\xff", at)) >= 0:
        while raw[at : at + 1] == b"\xff":
            at += 1
        (marker,) = struct.unpack_from("B", raw, at)
        at += 1
        if marker in _NO_LENGTH:
            continue
        if marker in (0xD9, 0xDA):
            return
        (length,) = struct.unpack_from(">H", raw, at)
        yield marker, raw[at + 2 : at + length]
        at += max(length, 2)
    raise _cut("JPEG")


# -------------------------------------------------------------------------------------------------------------- PNG

_MOST_CHUNKS = 100_000  # an honest PNG at the byte limit has a third of them, in blocks of 8 kB
_PNG_MODES = {0: "L", 2: "RGB", 3: "P", 4: "LA", 6: "RGBA"}


def png_chunks(raw: bytes) -> Iterator[tuple[bytes, int, int]]:
    """(name, start, end) of every chunk of a PNG, length and checksum included; BadImage where the file ends early."""
    at = 8
    for _ in range(_MOST_CHUNKS):
        try:
            length, name = struct.unpack_from(">I4s", raw, at)
        except struct.error:
            raise BadImage("truncated: the PNG has no end") from None
        end = at + 12 + length
        if not name.isalpha():
            raise BadImage("damaged: a PNG with a broken chunk")
        if end > len(raw):
            raise BadImage("truncated: the file ends before the image does")
        yield name, at, end
        if name == b"IEND":
            return
        at = end
    raise BadImage(f"damaged: a PNG of more than {_MOST_CHUNKS:,} chunks")


def _png(raw: bytes) -> Header:
    length, name, width, height, depth, colour = struct.unpack_from(">I4sIIBB", raw, 8)
    if name != b"IHDR" or length != 13:
        raise BadImage("damaged: a PNG without its header")
    if colour not in _PNG_MODES or depth not in (1, 2, 4, 8, 16):
        raise BadImage(f"damaged: a PNG of colour type {colour} with {depth} bits, which does not exist")
    exif, xmp, painted = 0, 0, False
    for chunk, start, end in png_chunks(raw):
        if chunk == b"acTL" and struct.unpack_from(">I", raw, start + 8)[0] > 1:
            raise _several("animated")
        if chunk == b"eXIf":
            exif = _exif_orientation(raw[start + 8 : end - 4])
        elif chunk == b"iTXt" and raw.startswith(b"XML:com.adobe.xmp\x00", start + 8):
            xmp = _xmp_orientation(raw[start + 8 : end - 4])
        painted = painted or chunk == b"IDAT"
    if not painted:
        raise BadImage("damaged: a PNG without pixels")
    return Header("PNG", width, height, _PNG_MODES[colour] + ";16" * (depth == 16), exif or xmp or 1)


# ------------------------------------------------------------------------------------------------- GIF, BMP and PPM


_MOST_BLOCKS = 1_000_000  # of up to 255 bytes: more than the byte limit holds, unless someone means harm


def _gif(raw: bytes) -> Header:
    width, height, flags = struct.unpack_from("<HHB", raw, 6)
    pictures, at = 0, 13 + _palette_bytes(flags)
    while raw[at : at + 1] in (b"!", b","):
        if raw[at] == 0x2C:
            left, top, w, h, flags = struct.unpack_from("<HHHHB", raw, at + 1)
            width, height = max(width, left + w), max(height, top + h)  # a picture may widen the canvas
            pictures += 1
            if pictures > 1:
                raise _several("animated")
            at += 11 + _palette_bytes(flags)
        else:
            at += 2
        at = _after_blocks(raw, at)
    if not pictures:
        raise BadImage("damaged: a GIF without pixels")
    return Header("GIF", width, height, "P")


def _after_blocks(raw: bytes, at: int) -> int:
    for _ in range(_MOST_BLOCKS):
        if at >= len(raw) or not raw[at]:
            return at + 1
        at += 1 + raw[at]
    raise BadImage(f"damaged: a GIF picture of more than {_MOST_BLOCKS:,} blocks")


def _palette_bytes(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _bmp(raw: bytes) -> Header:
    (size,) = struct.unpack_from("<I", raw, 14)
    if size == 12:
        width, height, _, bits = struct.unpack_from("<HHHH", raw, 18)
    elif 16 <= size <= 1024:
        width, height, _, bits = struct.unpack_from("<iiHH", raw, 18)
    else:
        raise BadImage("damaged: a BMP whose header has an impossible length")
    mode = {1: "P", 2: "P", 4: "P", 8: "P", 16: "RGB", 24: "RGB", 32: "RGBA"}.get(bits)
    if mode is None:
        raise BadImage(f"damaged: a BMP of {bits} bits a pixel, which does not exist")
    return Header("BMP", width, abs(height), mode)


_PPM = re.compile(rb"P([1-6])(?:\s|#[^\r\n]*+[\r\n])++(\d{1,9}+)(?:\s|#[^\r\n]*+[\r\n])++(\d{1,9}+)\s")
_DEPTH = re.compile(rb"(?:\s|#[^\r\n]*+[\r\n])*+(\d{1,9}+)\s")


def _ppm(raw: bytes) -> Header:
    head = raw[: 1 << 16]  # a comment could be as long as the file
    found = _PPM.match(head)
    if found is None:
        raise BadImage("damaged: a PPM whose size cannot be read")
    kind, width, height = (int(part) for part in found.groups())
    mode = {1: "1", 4: "1", 2: "L", 5: "L", 3: "RGB", 6: "RGB"}[kind]
    if mode != "1":
        depth = _DEPTH.match(head, found.end())
        if depth is None or not 0 < int(depth[1]) < 65536:
            raise BadImage("damaged: a PPM whose largest value cannot be read")
        mode += ";16" * (int(depth[1]) > 255)
    return Header("PPM", width, height, mode)


# ------------------------------------------------------------------------------------------------------------- WebP


def _webp(raw: bytes) -> Header:
    (declared,) = struct.unpack_from("<I", raw, 4)
    name, _, flags = struct.unpack_from("<4sIB", raw, 12)
    orientation = 1
    if name == b"VP8X":
        width, height = (1 + int.from_bytes(raw[i : i + 3], "little") for i in (24, 27))
        if len(raw) < 30:
            raise _cut("WEBP")
        if flags & 0x02:
            raise _several("animated")
        orientation, mode = _webp_orientation(raw), "RGBA" if flags & 0x10 else "RGB"
    elif name == b"VP8 ":
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", raw, 26))
        mode = "RGB"
    elif name == b"VP8L":
        (packed,) = struct.unpack_from("<I", raw, 21)
        width, height = (packed & 0x3FFF) + 1, (packed >> 14 & 0x3FFF) + 1
        mode = "RGBA" if packed >> 28 & 1 else "RGB"
    else:
        raise BadImage("damaged: a WebP without pixels")
    if declared + 8 > len(raw):
        raise BadImage("truncated: the file ends before the image does")
    return Header("WEBP", width, height, mode, orientation)


def _webp_orientation(raw: bytes) -> int:
    at = 12
    exif = xmp = 0
    while at + 8 <= len(raw):
        name, length = struct.unpack_from("<4sI", raw, at)
        body = raw[at + 8 : at + 8 + length] if name in (b"EXIF", b"XMP ") else b""
        if name == b"EXIF":
            exif = _exif_orientation(body.removeprefix(b"Exif\x00\x00"))
        elif name == b"XMP ":
            xmp = _xmp_orientation(body)
        at += 8 + length + (length & 1)
    return exif or xmp or 1


# ------------------------------------------------------------------------------------------------------------- TIFF

_SUBFILE, _WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC, _ORIENTATION, _SAMPLES = 254, 256, 257, 258, 262, 274, 277
_MOST_PAGES, _MOST_TAGS = 64, 4096


def _tiff(raw: bytes) -> Header:
    order = "<" if raw[:2] == b"II" else ">"
    big = raw[2:4] in (b"+\x00", b"\x00+")
    (offset,) = struct.unpack_from(order + ("Q" if big else "I"), raw, 8 if big else 4)
    first, following = _directory(raw, order, offset, big)
    if _WIDTH not in first or _HEIGHT not in first:
        raise BadImage("damaged: a TIFF that never declares its size")
    if first.get(_SUBFILE, 0) & 1:
        raise BadImage("its first picture is only a thumbnail, as in camera raw files; convert it to PNG or JPEG")
    for _ in range(_MOST_PAGES):
        if not 0 < following < len(raw):
            break
        try:
            page, following = _directory(raw, order, following, big)
        except (struct.error, OverflowError):
            break  # no such page: what follows the first picture is not our concern
        if _WIDTH in page and not page.get(_SUBFILE, 0) & 1:  # bit 0: a smaller copy of another page
            raise _several("several pages")
    samples, photometric = first.get(_SAMPLES, 1), first.get(_PHOTOMETRIC, 1)
    mode = {3: "P", 5: "CMYK", 8: "LAB"}.get(photometric, {1: "L", 2: "LA", 3: "RGB"}.get(samples, "RGBA"))
    mode += ";16" * (first.get(_BITS, 1) > 8)
    return Header("TIFF", first[_WIDTH], first[_HEIGHT], mode, _valid(first.get(_ORIENTATION, 1)) or 1)


def _directory(raw: bytes, order: str, offset: int, big: bool) -> tuple[dict[int, int], int]:
    """The integer tags of a TIFF directory (of a list, its first number), and where the next directory stands."""
    head, entry, pointer = ("Q", "HHQ", "Q") if big else ("H", "HHI", "I")
    (count,) = struct.unpack_from(order + head, raw, offset)
    at = offset + struct.calcsize(head)
    tags: dict[int, int] = {}
    inline = struct.calcsize(pointer)
    for _ in range(min(count, _MOST_TAGS)):
        if at + struct.calcsize("=" + entry) + inline > len(raw):
            return tags, 0  # cut off: what was read still holds
        tag, kind, length = struct.unpack_from(order + entry, raw, at)
        at += struct.calcsize("=" + entry)
        letter = {1: "B", 3: "H", 4: "I", 16: "Q"}.get(kind)
        if letter is not None and length:
            listed = length * struct.calcsize("=" + letter) > inline
            where = struct.unpack_from(order + pointer, raw, at)[0] if listed else at
            if where + struct.calcsize("=" + letter) <= len(raw):
                (tags[tag],) = struct.unpack_from(order + letter, raw, where)
        at += inline
    following = struct.unpack_from(order + pointer, raw, at)[0] if at + inline <= len(raw) else 0
    return tags, following


# ------------------------------------------------------------------------------------------------------ orientation

_XMP = re.compile(rb'tiff:Orientation(?:="|>)([1-8])')


def _exif_orientation(block: bytes) -> int:
    """Orientation 1 to 8 of an EXIF block, 0 where it says none; damaged metadata says none."""
    order = {b"II": "<", b"MM": ">"}.get(block[:2])
    if order is None:
        return 0
    try:
        (offset,) = struct.unpack_from(order + "I", block, 4)
        tags, _ = _directory(block, order, offset, big=False)
    except (struct.error, OverflowError):
        return 0
    return _valid(tags.get(_ORIENTATION, 0))


def _xmp_orientation(packet: bytes) -> int:
    found = _XMP.search(packet)
    return int(found[1]) if found else 0


def _valid(orientation: int) -> int:
    return orientation if 1 <= orientation <= 8 else 0


_READERS: dict[str, Callable[[bytes], Header]] = {
    "JPEG": _jpeg,
    "PNG": _png,
    "GIF": _gif,
    "BMP": _bmp,
    "WEBP": _webp,
    "TIFF": _tiff,
    "PPM": _ppm,
}
