"""How far each method of explanation can be trusted on one model: scored on images, beside maps that know nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from vitrail.contracts import Backbone, Task
from vitrail.errors import UsageError
from vitrail.explain.defaults import misfit
from vitrail.explain.explainable import Explainable
from vitrail.explain.methods import Method, get_method, list_methods
from vitrail.explain.target import Target
from vitrail.explain.trust.answers import Asked, ask, words
from vitrail.explain.trust.baselines import BASELINES
from vitrail.explain.trust.cells import Grid, on_pixels, pooled, ranks, scoring_grid
from vitrail.explain.trust.controls import centre_prior, random_map
from vitrail.explain.trust.curves import CHUNK, area, at_once, curves, passes, steps
from vitrail.explain.trust.pointing import energy, hit
from vitrail.explain.trust.samples import Sample
from vitrail.explain.trust.sanity import correlations, randomised
from vitrail.explain.trust.table import ALONE, CASCADE, CENTRE, RANDOM, Measured, Trust

BATCH = 8
"""Images that are explained at once; those that are hidden in part go through by the chunk of `curves`."""
COST: Mapping[str, int] = {"attention": 2, "gradient": 5, "passes": 260}
"""Forward passes that a map takes at most, by a method's `cost`."""


@dataclass(frozen=True)
class Plan:
    """What is measured. methods: names.  baselines: of BASELINES.  levels: of randomised weights, from the answer down
    and one part at a time, () for none.

    sanity, alone: on how many of the images, the first ones, weights are randomised down from the answer, and one part
    at a time.
    """

    methods: Sequence[str]
    baselines: Sequence[str] = tuple(BASELINES)
    levels: Sequence[str] = (*CASCADE, *ALONE)
    sanity: int = 16
    alone: int = 8

    def shuffled(self, level: str) -> int:
        """On how many images, at most, a level is measured."""
        return self.alone if level in ALONE else self.sanity

    def passes(self, model: Explainable, images: int = 1) -> int:
        """Forward passes for so many images, at most: gradients and randomised models counted as what they cost."""
        at = steps(_cells(scoring_grid(first_grid(model))))
        maps = sum(COST[get_method(name).cost] for name in self.methods)
        hidden = (len(self.methods) + 2) * passes(at, len(self.baselines)) + 1 + len(self.baselines)
        again = sum(min(images, self.shuffled(level)) for level in self.levels)
        return images * (maps + hidden) + again * maps


def fitting(model: Explainable, names: Sequence[str] | None = None) -> tuple[list[str], dict[str, str]]:
    """The methods that fit a model, of those named or of all, and the others with their reasons."""
    reasons = {name: get_method(name).fits(model) for name in names or list_methods()}
    return [name for name, why in reasons.items() if not why], {name: why for name, why in reasons.items() if why}


def first_grid(model: Explainable) -> Grid:
    """The grid of a model's first tokens."""
    return cast(Backbone, model.backbone).stages()[0].grid


def score(
    model: Explainable, task: Task, samples: Iterable[Sample], plan: Plan,
    progress: Callable[[int], None] = lambda done: None,
) -> Trust:  # fmt: skip
    """Score the plan's methods, a random map and the centre prior on images, all of one size.

    The explained answer is the model's own (see `trust.answers`). Only signed, unnormalised maps are read. The model
    stays as it is. progress: told how many images are done.

    Raises UsageError where no method fits the model, with the reasons, and where there is no image.
    """
    able, refused = fitting(model, plan.methods)
    if not able:
        raise misfit(model, refused)
    methods = [get_method(name) for name in able]
    scorer = _Scorer(model, task, plan.baselines, methods)
    whole = cast(nn.Module, model)
    was_training = whole.training
    whole.eval()
    try:
        done = 0
        for batch in _batches(samples):
            scorer.add(batch, done < max(map(plan.shuffled, plan.levels), default=0))
            done += len(batch)
            progress(done)
        for level in plan.levels:  # one copy of the model at a time
            scorer.shuffle(level, plan.shuffled(level))
    finally:
        whole.train(was_training)
    if not done:
        raise UsageError("there is no image to score explanations on")
    drop = float(np.mean(scorer.drops))
    return Trust(done, words(task.name), tuple(plan.baselines), scorer.rows(), refused, drop=drop)


def _batches(samples: Iterable[Sample]) -> Iterator[list[Sample]]:
    rest = iter(samples)
    for first in rest:
        count = at_once(torch.from_numpy(first.image), CHUNK // 8, BATCH)
        yield [first, *islice(rest, count - 1)]


def _cells(grid: Grid) -> int:
    return grid[0] * grid[1]


@dataclass
class _Row:
    """What has been measured of a method so far, image by image."""

    deletion: list[list[float]] = field(default_factory=list)
    insertion: list[list[float]] = field(default_factory=list)
    pointing: list[float] = field(default_factory=list)
    energy: list[float] = field(default_factory=list)
    sanity: dict[str, list[float]] = field(default_factory=dict)


class _Scorer:
    def __init__(self, model: Explainable, task: Task, baselines: Sequence[str], methods: Sequence[Method]) -> None:
        self.model, self.task, self.baselines, self.methods = model, task, baselines, methods
        self.device = next(cast(nn.Module, model).parameters()).device
        self.grid = scoring_grid(first_grid(model))
        self.at = steps(_cells(self.grid))
        self.drops: list[float] = []
        self.trained: list[tuple[Tensor, Target, dict[str, Tensor]]] = []
        self.kept = {name: _Row() for name in (*(method.name for method in methods), CENTRE, RANDOM)}

    def add(self, batch: Sequence[Sample], again: bool) -> None:
        """Measure all that is to be known of a few images; `again`: they will be explained with shuffled weights."""
        images = torch.from_numpy(np.stack([sample.image for sample in batch])).to(self.device)
        size = (images.shape[2], images.shape[3])
        keys = [sample.key for sample in batch]
        asked = ask(self.task, self._outputs(images))
        hidden = {name: BASELINES[name](images) for name in self.baselines}
        every = torch.arange(len(images), device=self.device)
        whole = asked.left(asked.whole, every)
        ends = {
            name: torch.stack([whole, asked.left(self._outputs(blank), every)]).double()
            for name, blank in hidden.items()
        }
        self.drops += torch.stack([end[0] - end[1] for end in ends.values()]).mean(dim=0).tolist()
        regions = [sample.where(int(output)) for sample, output in zip(batch, asked.target.output, strict=True)]
        trained: dict[str, Tensor] = {}
        for name, maps in self._maps(images, asked, keys, size):
            cells = trained[name] = pooled(maps, self.grid)  # (B, N)
            order = ranks(cells, keys)
            row, areas = self.kept[name], []
            for baseline, blank in hidden.items():
                pair = curves(self._answer(asked), images, blank, order, self.grid, self.at, ends[baseline])
                areas.append([area(scores, self.at) for scores in pair])  # (B,), (B,)
            for place, sample_cells in enumerate(cells.cpu().numpy().reshape(-1, *self.grid)):
                row.deletion.append([float(deletion[place]) for deletion, _ in areas])
                row.insertion.append([float(insertion[place]) for _, insertion in areas])
                region = regions[place]
                inside = np.nan if region is None else energy(maps[place].double().cpu().numpy(), region)
                row.energy.append(inside)
                row.pointing.append(np.nan if region is None else float(hit(sample_cells, region)))
        if again:
            self.trained.append((images, asked.target, trained))

    def shuffle(self, level: str, count: int) -> None:
        """Compare the maps of so many of the images put aside, or a few more, with those of shuffled weights."""
        other, left = randomised(self.model, level), count
        for shown, target, trained in self.trained:
            if left <= 0:
                break
            left -= len(shown)
            for method in self.methods:
                changed = pooled(self._explain(method, other, shown, target), self.grid)
                found = correlations(trained[method.name], changed)
                self.kept[method.name].sanity.setdefault(level, []).extend(found)

    def rows(self) -> list[Measured]:
        """What was measured, as arrays."""
        return [
            Measured(
                name,
                np.asarray(row.deletion, np.float64),
                np.asarray(row.insertion, np.float64),
                np.asarray(row.pointing, np.float64),
                np.asarray(row.energy, np.float64),
                {level: np.asarray(values, np.float64) for level, values in row.sanity.items()},
            )
            for name, row in self.kept.items()
        ]

    def _maps(
        self, images: Tensor, asked: Asked, keys: Sequence[str], size: tuple[int, int]
    ) -> Iterator[tuple[str, Tensor]]:
        """Name and map (B, H, W) of every method and control."""
        for method in self.methods:
            yield method.name, self._explain(method, self.model, images, asked.target)
        yield CENTRE, centre_prior(size).expand(len(images), *size).to(self.device)
        noise = torch.stack([random_map(key, self.grid) for key in keys]).to(self.device)
        yield RANDOM, on_pixels(noise, self.grid, size)

    def _explain(self, method: Method, model: Explainable, images: Tensor, target: Target) -> Tensor:
        return method.compute(model, images, target, layer=None, head=None).detach()

    def _outputs(self, images: Tensor) -> Tensor:
        with torch.inference_mode():
            outputs = cast(nn.Module, self.model)(images)
        return cast(Tensor, outputs).clone()  # out of inference mode, so that gradients may meet it

    def _answer(self, asked: Asked) -> Callable[[Tensor, Tensor], Tensor]:
        return lambda images, rows: asked.left(self._outputs(images), rows)
