"""Published accuracies, copied row by row from the reference tables 1.1 to 1.5: a mistyped one fails here."""

from __future__ import annotations

import pytest

from vitrail.models import variant

READ: dict[str, tuple[float, ...]] = {
    "vit_tiny_patch16_224": (75.452,),
    "vit_small_patch16_224": (76.5, 80.0, 78.842, 81.402),
    "vit_small_patch32_224": (76.010,),
    "vit_base_patch16_224": (81.072, 79.154, 84.534, 85.108, 81.782),
    "vit_base_patch32_224": (75.912, 74.908, 80.732),
    "vit_large_patch16_224": (79.662, 85.856),
    "vit_large_patch32_224": (76.972,),
    "vit_tiny_patch16_384": (78.438, 78.22),
    "vit_small_patch32_384": (79.58,),
    "vit_small_patch16_384": (81.13, 83.814, 83.73),
    "vit_base_patch32_384": (83.59,),
    "vit_base_patch16_384": (77.91, 81.10, 86.010, 85.49, 84.212),
    "vit_large_patch16_384": (87.096, 85.59),
    "vit_huge_patch14_224": (88.55,),
    "vit_giant_patch14_map_224": (90.2,),
    "vit_gigantic_patch14_map_224": (90.45,),
    "vit_so400m_patch14_siglip_224": (88.9, 90.0, 90.3),
    "vit_e_patch14_map_224": (90.9,),
    "vit_22b_patch14_224": (89.5,),
    "deit_tiny_patch16_224": (72.2, 72.190),
    "deit_small_patch16_224": (79.9, 79.856),
    "deit_base_patch16_224": (81.8, 81.980),
    "deit_base_patch16_384": (82.9, 83.1, 83.108),
    "deit_tiny_distilled_patch16_224": (74.5, 74.538),
    "deit_small_distilled_patch16_224": (81.2, 81.204),
    "deit_base_distilled_patch16_224": (83.4, 83.384),
    "deit_base_distilled_patch16_384": (85.2,),
    "deit3_small_patch16_224": (81.4, 83.1),
    "deit3_small_patch16_384": (83.4, 84.8),
    "deit3_medium_patch16_224": (83.0, 84.5),
    "deit3_base_patch16_224": (83.8, 85.7),
    "deit3_base_patch16_384": (85.0, 86.7),
    "deit3_large_patch16_224": (84.9, 84.772, 87.0),
    "deit3_large_patch16_384": (85.8, 87.7),
    "deit3_huge_patch14_224": (85.2, 87.2),
    "swin_tiny_patch4_window7_224": (81.2, 81.388, 81.474, 80.9),
    "swin_small_patch4_window7_224": (83.2, 83.228, 83.196, 83.2, 83.330),
    "swin_base_patch4_window7_224": (83.5, 83.604, 83.582, 85.2, 85.276),
    "swin_large_patch4_window7_224": (86.3, 86.320),
    "swin_base_patch4_window12_384": (84.5, 84.478, 86.4, 86.442),
    "swin_large_patch4_window12_384": (87.3, 87.142),
    "swinv2_tiny_window8_256": (81.8, 82.072),
    "swinv2_tiny_window16_256": (82.8,),
    "swinv2_small_window8_256": (83.7, 83.844, 83.712),
    "swinv2_small_window16_256": (84.1, 84.216),
    "swinv2_base_window8_256": (84.2, 84.246, 84.112),
    "swinv2_base_window16_256": (84.6, 84.608),
    "swinv2_base_window12to24_192to384": (87.1,),
    "swinv2_large_window12to16_192to256": (86.9,),
    "swinv2_large_window12to24_192to384": (87.6,),
    "pvt_tiny": (75.1,),
    "pvt_small": (79.8,),
    "pvt_medium": (81.2,),
    "pvt_large": (81.7,),
    "pvt_v2_b0": (70.5, 70.654),
    "pvt_v2_b1": (78.7, 78.698),
    "pvt_v2_b2": (82.0, 82.062),
    "pvt_v2_b2_li": (82.1, 82.200),
    "pvt_v2_b3": (83.1, 83.120),
    "pvt_v2_b4": (83.6, 83.710),
    "pvt_v2_b5": (83.8, 83.760),
    "resnet18": (69.758,),
    "resnet50": (76.13, 80.858),
}
"""Name -> ImageNet-1k top-1 in percent."""


@pytest.mark.parametrize("name", READ)
def test_accuracies_are_those_of_the_reference_tables(name: str) -> None:
    own = [100 * figure.accuracy for figure in variant(name).published]
    assert sorted(own) == pytest.approx(sorted(READ[name]), abs=1e-6)
