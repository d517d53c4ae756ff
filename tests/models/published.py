"""Sizes and costs as published or computed from the authors' code: reference tables 1.1 to 1.5, and a closed form.

Parameters are exact; GMACs were counted with both products of attention and hold to 0.1 %. Heads have 1000 classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Row:
    """One model of a table.

    parameters, gmacs: None where the table has none.  image_size: pixels a side.  options: what the table's model has
    unlike ours of that name (reference table 1.1 counts all its ViTs with [CLS] and without MAP).
    classes: of the head; 0 is counted without one.
    """

    name: str
    parameters: int | None
    gmacs: float | None
    image_size: int = 224
    options: Mapping[str, Any] = field(default_factory=dict)
    classes: int = 1000

    def __str__(self) -> str:
        changed = "".join(f" {key}={value}" for key, value in self.options.items())
        return f"{self.name}@{self.image_size}{changed}" + (f" {self.classes} classes" if self.classes != 1000 else "")


MEAN = {"cls": False, "pooling": "mean"}

VIT = (  # table 1.1
    Row("vit_tiny_patch16_224", 5_717_416, 1.2537),
    Row("vit_tiny_patch16_384", 5_790_376, 4.6822, 384),
    Row("vit_small_patch16_224", 22_050_664, 4.5989),
    Row("vit_small_patch16_384", 22_196_584, 15.4904, 384),
    Row("vit_small_patch32_224", 22_878_952, 1.1429),
    Row("vit_base_patch16_224", 86_567_656, 17.5638),
    Row("vit_base_patch16_384", 86_859_496, 55.4844, 384),
    Row("vit_base_patch32_224", 88_224_232, 4.4092),
    Row("vit_base_patch32_384", 88_297_192, 13.0436, 384),
    Row("vit_large_patch16_224", 304_326_632, 61.5547),
    Row("vit_large_patch16_384", 304_715_752, 191.0663, 384),
    Row("vit_large_patch32_224", 306_535_400, 15.3775),
    Row("vit_large_patch32_384", 306_632_680, 45.2760, 384),
    Row("vit_so400m_patch14_siglip_gap_224", 413_595_352, 109.49),
    Row("vit_so400m_patch14_siglip_224", 427_680_704, None, classes=0),
    Row("vit_huge_patch14_224", 632_045_800, 167.2951),
    Row("vit_giant_patch14_224", 1_012_611_432, 267.0315),
    Row("vit_giant_patch14_224", 1_011_199_616, None, options=MEAN, classes=0),
    Row("vit_gigantic_patch14_224", 1_844_440_680, 483.7476),
    Row("vit_gigantic_patch14_224", 1_842_772_352, None, options=MEAN, classes=0),
    Row("vit_e_patch14_224", 3_807_214_312, 990.68),
    Row("vit_e_patch14_map_224", 3_926_402_969, None, classes=29_593),
    Row("vit_22b_patch14_224", 21_750_546_432, None, options=MEAN, classes=0),
    Row("vit_22b_patch14_224", None, 5627.9),
)

DEIT = (  # table 1.2
    Row("deit_tiny_patch16_224", 5_717_416, 1.2537),
    Row("deit_small_patch16_224", 22_050_664, 4.5989),
    Row("deit_base_patch16_224", 86_567_656, 17.5638),
    Row("deit_base_patch16_384", 86_859_496, 55.4844, 384),
    Row("deit_tiny_distilled_patch16_224", 5_910_800, 1.2610),
    Row("deit_small_distilled_patch16_224", 22_436_432, 4.6241),
    Row("deit_base_distilled_patch16_224", 87_338_192, 17.6568),
    Row("deit_base_distilled_patch16_384", 87_630_032, 55.5913, 384),
    Row("deit3_tiny_patch16_224", 5_721_832, 1.2537),
    Row("deit3_small_patch16_224", 22_059_496, 4.5989),
    Row("deit3_small_patch16_384", 22_205_416, 15.4904, 384),
    Row("deit3_medium_patch16_224", 38_849_512, 7.9910),
    Row("deit3_base_patch16_224", 86_585_320, 17.5638),
    Row("deit3_base_patch16_384", 86_877_160, 55.48, 384),
    Row("deit3_large_patch16_224", 304_374_760, 61.5547),
    Row("deit3_large_patch16_384", 304_763_880, 191.07, 384),
    Row("deit3_huge_patch14_224", 632_126_440, 167.2951),
    Row("deit3_huge_52_patch14_224", 1_025_726_440, None),
    Row("deit3_giant_40_patch14_224", 955_030_504, None),
    Row("deit3_gigantic_48_patch14_224", 1_599_158_248, None),
)

SWIN = (  # table 1.3
    Row("swin_tiny_patch4_window7_224", 28_288_354, 4.4906),
    Row("swin_small_patch4_window7_224", 49_606_258, 8.7409),
    Row("swin_base_patch4_window7_224", 87_768_224, 15.4309),
    Row("swin_large_patch4_window7_224", 196_532_476, 34.4758),
    Row("swin_tiny_patch4_window12_384", 28_338_034, 13.99, 384),
    Row("swin_small_patch4_window12_384", 49_707_778, 26.99, 384),
    Row("swin_base_patch4_window12_384", 87_903_584, 47.0831, 384),
    Row("swin_large_patch4_window12_384", 196_735_516, 103.9191, 384),
    Row("swinv2_tiny_window8_256", 28_347_154, 5.9397, 256),
    Row("swinv2_tiny_window16_256", 28_347_154, 6.6606, 256),
    Row("swinv2_small_window8_256", 49_728_418, 11.5459, 256),
    Row("swinv2_small_window16_256", 49_728_418, 12.7831, 256),
    Row("swinv2_base_window8_256", 87_918_816, 20.3251, 256),
    Row("swinv2_base_window16_256", 87_918_816, 21.9692, 256),
    Row("swinv2_base_window12to24_192to384", None, 55.1483, 384),
    Row("swinv2_large_window12to16_192to256", 196_739_932, 47.7403, 256),
    Row("swinv2_large_window12to24_192to384", None, 115.99, 384),
)

PVT = (  # table 1.4
    Row("pvt_tiny", 13_229_288, 1.9329),
    Row("pvt_small", 24_485_864, 3.8157),
    Row("pvt_medium", 44_208_104, 6.6592),
    Row("pvt_large", 61_369_320, 9.8138),
    Row("pvt_v2_b0", 3_666_760, 0.5661),
    Row("pvt_v2_b1", 14_009_000, 2.1084),
    Row("pvt_v2_b2", 25_362_856, 4.0267),
    Row("pvt_v2_b2_li", 22_553_512, 3.8889),
    Row("pvt_v2_b3", 45_238_696, 6.8973),
    Row("pvt_v2_b4", 62_556_072, 10.1011),
    Row("pvt_v2_b5", 81_956_008, 11.7173),
)

CNN = (  # table 1.5
    Row("resnet18", 11_689_512, 1.8141),
    Row("resnet34", 21_797_672, 3.6638),
    Row("resnet50", 25_557_032, 4.0892),
    Row("resnet101", 44_549_160, 7.8014),
    Row("convnext_tiny", 28_589_128, 4.4555),
    Row("convnext_small", 50_223_688, 8.6837),
    Row("convnext_base", 88_591_464, 15.3547),
)

TABLES = (*VIT, *DEIT, *SWIN, *PVT, *CNN)

THROUGH_TIMM = (  # table 1.5: rows that are no file of ours
    Row("timm:convnext_large", 197_767_336, 34.3614),
    Row("timm:regnety_160", 83_590_140, 15.91),
    Row("timm:efficientnet_b0", 5_288_548, 0.3858),
)

SMALL_RESNET = (11_173_962, 0.5554)
"""Table 1.5: ResNet-18 with a 3 x 3 stem and no pooling, 10 classes, 32 px."""


@dataclass(frozen=True)
class Zhai:
    """A row of "Scaling Vision Transformers" (arXiv 2106.04560), Table 2: no [CLS], a MAP head.

    millions: parameters without head and pooling, as printed.  gflops: 2 x GMACs at 224 and at 384 px, as printed,
    a MAP head included: to 1 %.
    """

    name: str
    width: int
    depth: int
    hidden: int
    heads: int
    patch: int
    millions: float
    gflops: tuple[float, float]


SCALING = (
    Zhai("s/28", 256, 6, 1024, 8, 28, 5.4, (0.7, 2.0)),
    Zhai("s/16", 256, 6, 1024, 8, 16, 5.0, (2.2, 7.8)),
    Zhai("S/32", 384, 12, 1536, 6, 32, 22, (2.3, 6.9)),
    Zhai("Ti/16", 192, 12, 768, 3, 16, 5.5, (2.5, 9.5)),
    Zhai("B/32", 768, 12, 3072, 12, 32, 87, (8.7, 26.0)),
    Zhai("S/16", 384, 12, 1536, 6, 16, 22, (9.2, 31.2)),
    Zhai("B/28", 768, 12, 3072, 12, 28, 87, (11.3, 30.5)),
    Zhai("B/16", 768, 12, 3072, 12, 16, 86, (35.1, 111.3)),
    Zhai("L/16", 1024, 24, 4096, 16, 16, 303, (122.9, 382.8)),
    Zhai("g/14", 1408, 40, 6144, 16, 14, 1011, (533.1, 1596.4)),
    Zhai("G/14", 1664, 48, 8192, 16, 14, 1843, (965.3, 2859.9)),
)


def closed_form(config: Any, classes: int = 1000) -> tuple[int, float]:
    """Parameters and GMACs of a plain ViT with a linear head, from shapes alone: the formula under table 1.1.

    With [CLS] or without, with the MAP head that pools or without; nothing else may depart from the paper's encoder.
    """
    d, m, p, depth, cls = config.width, config.hidden, config.patch_size, config.depth, int(config.cls)
    n = (config.size[0] // p) * (config.size[1] // p)
    pixels = config.in_channels * p * p
    t = n + cls
    count = depth * (4 * d * d + 4 * d + 2 * d * m + m + d + 4 * d) + (pixels * d + d) + t * d + cls * d + 2 * d
    macs = n * pixels * d + depth * (4 * t * d * d + 2 * t * t * d + 2 * t * d * m)
    if config.pooling == "map":
        count += d + 4 * d * d + 4 * d + 2 * d + 2 * d * m + m + d
        macs += 2 * d * d + 2 * n * d * d + 2 * n * d + 2 * d * m  # q and proj; k and v; both products; MLP
    return count + d * classes + classes, (macs + d * classes) / 1e9
