"""What a teacher sees and says, and which images it refuses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pupils import SIZE, STUDENTS, TEACHERS, batch, resnet, teacher, vit

from vitrail.data.preprocess import Preprocessor
from vitrail.distill.teacher import Teacher
from vitrail.errors import UsageError
from vitrail.tasks.classify import Classify

LABELS = ("ant", "bee", "cat")


def test_it_sees_the_same_pixels_normalised_its_own_way() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
    theirs = torch.from_numpy(TEACHERS.normalise(pixels))
    given = torch.from_numpy(STUDENTS.normalise(pixels))
    seen = teacher(Classify(LABELS)).normalised(STUDENTS)(given[None])[0]
    torch.testing.assert_close(seen, theirs, atol=2e-6, rtol=0)
    assert not torch.allclose(given, theirs, atol=0.1)


def test_what_is_normalised_alike_is_not_touched() -> None:
    images = batch([0]).images
    assert teacher(Classify(LABELS), preprocessor=STUDENTS).normalised(STUDENTS)(images) is images


def test_it_answers_in_evaluation_mode_without_gradients_and_learns_nothing() -> None:
    made = teacher(Classify(LABELS))
    before = {name: tensor.clone() for name, tensor in made.model.state_dict().items()}
    images = batch([0, 1, 2]).images
    said = made.answers(STUDENTS)(images)
    assert not said.requires_grad
    assert said.dtype == torch.float32
    with torch.no_grad():
        alone = made.model.eval()(made.normalised(STUDENTS)(images[:1]))
    torch.testing.assert_close(said[:1], alone)  # no statistics of the batch
    assert all(torch.equal(before[name], tensor) for name, tensor in made.model.state_dict().items())


def test_a_map_of_the_pyramid_is_brought_to_the_students_grid() -> None:
    made = teacher(Classify(LABELS), preprocessor=STUDENTS)
    images = batch([0, 1]).images
    own = made.model.features(images, pyramid=True).pyramid
    assert own is not None
    assert torch.equal(made.maps(STUDENTS, 2, (4, 4))(images), own[2])
    torch.testing.assert_close(made.maps(STUDENTS, 1, (4, 4))(images).mean(), own[1].mean(), atol=0.05, rtol=0)
    wide = F.interpolate(own[3], (4, 4), mode="bilinear")
    torch.testing.assert_close(made.maps(STUDENTS, 3, (4, 4))(images), wide)


@pytest.mark.parametrize(("stride", "level"), [(1, 0), (4, 2), (2.7, 1), (64, 3)])
def test_the_level_nearest_in_stride_is_taken(stride: float, level: int) -> None:
    assert teacher(Classify(LABELS)).level_at(stride) == level


def test_images_of_another_size_are_refused_with_what_to_do() -> None:
    other = Preprocessor(size=(32, 32), channels=3)
    with pytest.raises(
        UsageError, match=r"takes images of 16 x 16 px, and this run's are 32 x 32 px.*\n.*--image-size 16"
    ):
        teacher(Classify(LABELS)).refuse_other_images(other)


def test_images_of_other_channels_are_refused() -> None:
    grey = Preprocessor(size=(SIZE, SIZE), channels=1)
    with pytest.raises(UsageError, match="takes images of 3 channels, and this run's have 1"):
        teacher(Classify(LABELS)).refuse_other_images(grey)


def test_its_digest_names_what_it_computes() -> None:
    task = Classify(LABELS)
    one = teacher(task).digest()
    assert teacher(task).digest() == one
    assert teacher(task, seed=2).digest() != one
    assert teacher(task, preprocessor=STUDENTS).digest() != one
    assert teacher(Classify(("x", *LABELS[1:]))).digest() != one
    small, large = (Teacher("", vit(task, heads=heads), STUDENTS, "cpu").digest() for heads in (1, 2))
    assert small != large  # the same tensors, another function
    assert Teacher("another name", resnet(task), TEACHERS, "cpu").digest() == one
