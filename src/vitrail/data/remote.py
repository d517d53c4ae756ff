"""Images at URLs, by fsspec: read only where a user's table names them, with the limits that files have."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import unquote, urlsplit

from vitrail.data import image
from vitrail.errors import BadImage, DataError

_URL = re.compile(r"(?P<protocol>[A-Za-z][A-Za-z0-9+.-]*)://\S")


def protocol(text: str) -> str:
    """The protocol of a URL, in lower case; "" for what is none."""
    found = _URL.match(text)
    return found["protocol"].lower() if found else ""


def local_path(url: str) -> str:
    """The path that a file:// URL means."""
    return unquote(urlsplit(url).path)


def check_protocols(protocols: Iterable[str], where: str) -> None:
    """Raise DataError where this machine cannot read one of them, with what to install."""
    import fsspec

    for name in sorted(set(protocols)):
        try:
            fsspec.get_filesystem_class(name)
        except ImportError as error:  # fsspec says which package: "Install s3fs to access S3"
            raise DataError(f"{where} has images at {name}://, which needs another package: {error}") from None
        except ValueError:
            raise DataError(f"{where} has images at {name}://, a protocol that fsspec does not know") from None


def read_bytes(url: str) -> bytes:
    """What is at a URL, at most image.MAX_BYTES of it; BadImage with the reason where it cannot be had."""
    import fsspec

    try:
        with fsspec.open(url, "rb") as file:
            raw: bytes = file.read(image.MAX_BYTES + 1)
    except FileNotFoundError:
        raise BadImage("no such file") from None
    except Exception as error:  # every protocol has errors of its own
        words = " ".join(str(error).split())[:80] or type(error).__name__
        raise BadImage(f"cannot be read: {words}") from None
    if len(raw) > image.MAX_BYTES:
        raise BadImage(f"longer than the limit of {image.MAX_BYTES:,} bytes")
    return raw
