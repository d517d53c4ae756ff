"""What rooms hand each other. Importing it loads no torch.

THE shape legend, for the whole package:

    B  images in a batch            H W  image height and width, pixels
    C  channels (1, 3, 4, ...)      P    patch side, pixels
    h w  token grid: H/P, W/P       N    patch tokens, N = h * w
    K  prefix tokens (CLS, ...)     T    all tokens, T = K + N, prefix first
    D  token width                  M    hidden width of the MLP
    A  attention heads              d    width of one head, D / A
    Y  outputs of a task (classes)  L    encoder blocks

Tokens stand in raster order: token n is the patch at row n // w, column n % w.
"""

from vitrail.contracts.arrays import Floats, Pixels
from vitrail.contracts.backbone import Backbone, CellMap, Features, Measured, Stage
from vitrail.contracts.batch import Batch, DenseTargets, Failure, Mixing, Targets
from vitrail.contracts.engine import Engine
from vitrail.contracts.prediction import ROW, SPLIT_COLUMN, Prediction, Spread
from vitrail.contracts.source import DrawnMap, FileSource, Hints, Item, LocatedSource, MapFile, Source
from vitrail.contracts.task import Meter, Rows, Task
from vitrail.contracts.variant import Fit, Published, Variant

__all__ = [
    "ROW",
    "SPLIT_COLUMN",
    "Backbone",
    "Batch",
    "CellMap",
    "DenseTargets",
    "DrawnMap",
    "Engine",
    "Failure",
    "Features",
    "FileSource",
    "Fit",
    "Floats",
    "Hints",
    "Item",
    "LocatedSource",
    "MapFile",
    "Measured",
    "Meter",
    "Mixing",
    "Pixels",
    "Prediction",
    "Published",
    "Rows",
    "Source",
    "Spread",
    "Stage",
    "Targets",
    "Task",
    "Variant",
]
