"""How often an edited copy of a photo is found as its near duplicate, and how many pairs of a set are called near.

    python benchmarks/near_duplicates.py ../shared/data/caltech24/images [--photos 300] [--sheet pairs.png]

Takes every n-th photo below the folder, edits it, and asks whether the copy would be found; then searches the whole
folder. --sheet draws the pairs that were found there, for a person to judge.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter

from vitrail.data import image
from vitrail.data.appearance import Looks, look
from vitrail.data.near_duplicates import LIMIT, agree, near_groups

Photo = Image.Image
NOISE = np.random.default_rng(0)


def jpeg(photo: Photo, quality: int) -> Photo:
    out = io.BytesIO()
    photo.save(out, "JPEG", quality=quality)
    return Image.open(io.BytesIO(out.getvalue())).convert("RGB")


def cut(photo: Photo, share: float) -> Photo:
    x, y = round(photo.width * share), round(photo.height * share)
    return photo.crop((x, y, photo.width - x, photo.height - y))


def marked(photo: Photo) -> Photo:
    photo = photo.copy()
    width, height = photo.size
    box = (0.6 * width, 0.88 * height, 0.97 * width, 0.96 * height)
    ImageDraw.Draw(photo).rectangle(box, fill="white")
    return photo


def noisy(photo: Photo) -> Photo:
    pixels = np.asarray(photo, np.float64)
    return Image.fromarray(np.clip(pixels + NOISE.normal(0, 6, pixels.shape), 0, 255).astype(np.uint8))


EDITS: dict[str, Callable[[Photo], Photo]] = {
    "JPEG quality 50": lambda photo: jpeg(photo, 50),
    "JPEG quality 20": lambda photo: jpeg(photo, 20),
    "half the size": lambda photo: photo.resize((photo.width // 2, photo.height // 2), Image.Resampling.LANCZOS),
    "double the size": lambda photo: photo.resize((photo.width * 2, photo.height * 2), Image.Resampling.BICUBIC),
    "squashed to 80 %": lambda photo: photo.resize((photo.width, photo.height * 4 // 5)),
    "20 % brighter": lambda photo: ImageEnhance.Brightness(photo).enhance(1.2),
    "30 % darker": lambda photo: ImageEnhance.Brightness(photo).enhance(0.7),
    "30 % less contrast": lambda photo: ImageEnhance.Contrast(photo).enhance(0.7),
    "blurred by 1 pixel": lambda photo: photo.filter(ImageFilter.GaussianBlur(1)),
    "noise of 6 levels": noisy,
    "1 % cut off each side": lambda photo: cut(photo, 0.01),
    "2 % cut off each side": lambda photo: cut(photo, 0.02),
    "4 % cut off each side": lambda photo: cut(photo, 0.04),
    "a white label": marked,
    "mirrored": lambda photo: photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
}


def looks_of(photos: list[Photo]) -> Looks:
    looks = Looks.room(len(photos), 3)
    for row, photo in enumerate(photos):
        looks.put(row, look(np.asarray(photo)))
    return looks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--photos", type=int, default=300)
    parser.add_argument("--sheet", type=Path)
    options = parser.parse_args()
    paths = sorted(path for path in options.folder.rglob("*") if path.suffix.lower() in image.IMAGE_EXTENSIONS)
    some = [Image.fromarray(image.read(path)) for path in paths[:: max(1, len(paths) // options.photos)]]
    for name, edit in EDITS.items():
        both = looks_of([*some, *map(edit, some)])
        left, right = np.arange(len(some)), np.arange(len(some)) + len(some)
        distance = np.bitwise_count(both.fingerprints[left] ^ both.fingerprints[right])
        found = (distance <= LIMIT) & agree(both, left, right)
        bits = np.percentile(distance, 95)
        print(f"{name:>22}: {found.mean():6.1%} found; 95 of 100 differ in at most {bits:.0f} bits")
    looks, sizes = Looks.room(len(paths), 3), []
    for row, path in enumerate(paths):
        pixels = image.read(path)
        looks.put(row, look(pixels))
        sizes.append((pixels.shape[1], pixels.shape[0]))
    groups = near_groups(looks, sizes, [str(path) for path in paths])
    print(f"{len(groups)} sets of near duplicates among {len(paths):,} images")
    if options.sheet:
        sheet = Image.new("RGB", (600, 100 * max(1, len(groups))), "white")
        for row, group in enumerate(groups):
            for column, member in enumerate(group[:6]):
                sheet.paste(Image.fromarray(image.read(paths[member])).resize((96, 96)), (100 * column, 100 * row))
        sheet.save(options.sheet)


if __name__ == "__main__":
    main()
