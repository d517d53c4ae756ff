"""Self-contained pages: one HTML file with its style and pictures inside, that asks nothing of any network."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import jinja2
from markupsafe import Markup
from PIL import Image

from vitrail import durable
from vitrail.explain import overlay


def environment(*packages: str) -> jinja2.Environment:
    """Jinja2 with autoescape always on and undefined names an error; finds the page skeleton of this room last.

    packages: rooms whose `templates` folder is looked into first, e.g. "vitrail.report".
    """
    loaders = [jinja2.PackageLoader(package) for package in (*packages, "vitrail.explain")]
    made = jinja2.Environment(
        loader=jinja2.ChoiceLoader(loaders),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["data_uri"] = data_uri
    made.globals["heat_ends"] = overlay.ENDS
    made.globals["heat_colours"] = ", ".join(f"rgb({r:.0f} {g:.0f} {b:.0f})" for r, g, b in overlay.ramp(9))
    return made


def data_uri(image: Image.Image, side: int = 160) -> Markup:
    """An image as a `data:` address, its longest side at most `side` pixels.

    Photographs as JPEG; small or few-coloured ones, where JPEG would smear, as PNG.
    """
    scale = side / max(image.size)
    if scale < 1:
        width, height = (max(1, round(length * scale)) for length in image.size)
        image = image.resize((width, height), Image.Resampling.LANCZOS)
    exact = max(image.size) <= 64
    if not exact and image.mode not in ("RGB", "L"):
        image = image.convert("RGB")
    raw = io.BytesIO()
    if exact:
        image.save(raw, "PNG", optimize=True)
    else:
        image.save(raw, "JPEG", quality=88, subsampling=0, optimize=True)
    kind = "png" if exact else "jpeg"
    return Markup(f"data:image/{kind};base64,{base64.b64encode(raw.getvalue()).decode()}")


def write(path: Path, html: str) -> Path:
    """Write a page in one step; raises TrainingError in words where the disk refuses."""
    try:
        durable.write_file(path, html.encode("utf-8", errors="replace"))
    except OSError as error:
        raise durable.storage_error(error, f"cannot write {path}") from None
    return path
