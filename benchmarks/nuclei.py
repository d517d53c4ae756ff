"""The Data Science Bowl's nuclei as a table for three tasks: a mask, a count, and the distance to the nearest border.

    python benchmarks/nuclei.py ../shared/data/dsb2018_nuclei OUT

Writes OUT/nuclei.csv (image, mask, nuclei, distance, split, kind) and OUT/distance/*.npy: for each pixel of a nucleus
its distance to the border of that nucleus, in pixels; 0 on the ground. Then, on two cores (some minutes each):

    vitrail train OUT/nuclei.csv --task segment --target mask task.foreground=true
    vitrail train OUT/nuclei.csv --task regress --target nuclei
    vitrail train OUT/nuclei.csv --task depth --target distance

Held to: foreground IoU >= 0.80, a count with R2 > 0.39 (a linear model on pixels and gradients), on the test split.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage


def main() -> None:
    """Write the table and the maps."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the folder with images/, instances/ and index.csv")
    parser.add_argument("out", type=Path, help="where the table and the maps go")
    options = parser.parse_args()
    root, maps = options.data.resolve(), options.out / "distance"
    maps.mkdir(parents=True, exist_ok=True)
    with (root / "index.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    with (options.out / "nuclei.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "mask", "nuclei", "distance", "split", "kind"])
        for row in rows:
            mask = root / "instances" / f"{row['name']}.png"
            place = maps / f"{row['name']}.npy"
            np.save(place, distances(np.asarray(Image.open(mask))))
            image = root / "images" / f"{row['name']}.png"
            writer.writerow([image, mask, row["n_nuclei"], f"distance/{place.name}", row["split"], row["kind"]])
    print(f"{len(rows)} rows in {options.out / 'nuclei.csv'}")


def distances(instances: np.ndarray) -> np.ndarray:
    """Instance numbers (h, w), 0 the ground -> distance of each pixel to its instance's border, pixels, float32."""
    padded = np.pad(instances, 1)  # an object that the image's edge cuts has a border there
    far = np.zeros(padded.shape, np.float32)
    for number, box in enumerate(ndimage.find_objects(padded), start=1):
        if box is not None:
            around = tuple(slice(side.start - 1, side.stop + 1) for side in box)
            inside = padded[around] == number
            far[around][inside] = ndimage.distance_transform_edt(inside)[inside]
    return far[1:-1, 1:-1]


if __name__ == "__main__":
    main()
