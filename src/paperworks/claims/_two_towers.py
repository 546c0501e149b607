"""A two-tower model trained from nothing on a corpus whose concept frequencies are set.

Images are drawings of glyphs (three strokes each, drawn anew every time: moved, turned, stretched,
beside a stray stroke and noise) or of Omniglot's characters; captions are a concept's name among
filler words. Frequencies follow rank^-exponent, and which concept has which rank is drawn.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

FloatArray = NDArray[np.float32]
_FILLER_TEXT = (
    "a the of with near on under old new big small photo picture drawing sketch image view close "
    "bright dark white black simple plain good first my our this that in at by and some any"
)
_FILLERS = tuple(_FILLER_TEXT.split())
_ONSETS, _ENDS = "bdfgklmnprstvz", "aeiou"


def concept_names(count: int) -> list[str]:
    """Made-up words that are no filler word."""
    syllables = [onset + end for onset in _ONSETS for end in _ENDS]
    names = [f"{one}{two}n" for one in syllables for two in syllables]
    return names[:: max(1, len(names) // count)][:count]


def frequencies(count: int, most: int, exponent: float, rng: np.random.Generator) -> Any:
    """How many samples each concept gets, the ranks drawn: (count,) int."""
    sizes = np.maximum(np.round(most * np.arange(1, count + 1) ** -exponent), 1).astype(int)
    return rng.permutation(sizes)


def captions(labels: Any, names: list[str], rng: np.random.Generator) -> list[str]:
    """A caption per label: the name among three filler words."""
    words = rng.integers(0, len(_FILLERS), (len(labels), 3))
    place = rng.integers(0, 4, len(labels))
    lines = []
    for label, fill, at in zip(labels, words, place, strict=True):
        line = [_FILLERS[i] for i in fill]
        line.insert(at, names[label])
        lines.append(" ".join(line))
    return lines


class Glyphs:
    """Concepts as three random strokes, drawn anew for every sample on ``size`` x ``size``."""

    def __init__(self, count: int, size: int, rng: np.random.Generator) -> None:
        self.size = size
        self._ends = rng.uniform(-0.75, 0.75, (count, 3, 2, 2))

    def draw(self, labels: Any, rng: np.random.Generator) -> FloatArray:
        """(n, size * size) float32 images of the concepts ``labels``."""
        blocks = [self._draw(labels[i : i + 2048], rng) for i in range(0, len(labels), 2048)]
        return np.concatenate(blocks)

    def _draw(self, labels: Any, rng: np.random.Generator) -> FloatArray:
        n = len(labels)
        ends = self._ends[labels] + rng.normal(0, 0.06, (n, 3, 2, 2))
        turn, stretch = rng.normal(0, 0.15, n), rng.uniform(0.8, 1.15, (n, 2))
        c, s = np.cos(turn), np.sin(turn)
        frame = np.stack([np.stack([c, -s], -1), np.stack([s, c], -1)], -2) * stretch[:, None]
        ends = np.einsum("nsed,nfd->nsef", ends, frame) + rng.normal(0, 0.08, (n, 1, 1, 2))
        stray = rng.uniform(-1, 1, (n, 1, 1, 2)) + rng.normal(0, 0.25, (n, 1, 2, 2))
        ends = np.concatenate([ends, stray], 1).astype(np.float32)
        axis = np.linspace(-1, 1, self.size, dtype=np.float32)
        rows, columns = (part.ravel() for part in np.meshgrid(axis, axis, indexing="ij"))
        down, right = ends[:, :, 1].transpose(2, 0, 1) - ends[:, :, 0].transpose(2, 0, 1)
        down, right = down[..., None], right[..., None]
        # From each pixel to the nearest point of each stroke.
        y, x = rows - ends[:, :, 0, :1], columns - ends[:, :, 0, 1:]
        share = np.clip((y * down + x * right) / (down**2 + right**2 + 1e-6), 0, 1)
        far = (y - share * down) ** 2 + (x - share * right) ** 2
        ink = np.exp(far.min(1) * (-0.5 * (self.size / 0.9) ** 2))
        return (ink + rng.normal(0, 0.1, ink.shape)).astype(np.float32)


class Drawings:
    """Concepts as drawings by people, moved, turned and stretched anew for every sample."""

    def __init__(self, drawings: FloatArray) -> None:
        """``drawings`` is (concepts, drawings of each, size, size) float32 in [0, 1]."""
        self.size = drawings.shape[-1]
        self._drawings = torch.from_numpy(drawings)

    def draw(self, labels: Any, rng: np.random.Generator) -> FloatArray:
        """(n, size * size) float32 images of the concepts ``labels``."""
        n = len(labels)
        which = rng.integers(0, self._drawings.shape[1], n)
        turn = rng.normal(0, 0.12, n)
        stretch, move = rng.uniform(0.85, 1.15, (n, 2)), rng.normal(0, 0.06, (n, 2))
        c, s = np.cos(turn), np.sin(turn)
        frame = np.stack([np.stack([c, -s], -1), np.stack([s, c], -1)], -2) * stretch[:, None]
        theta = torch.from_numpy(np.concatenate([frame, move[..., None]], -1)).float()
        blocks = []
        for i in range(0, n, 2048):
            source = self._drawings[labels[i : i + 2048], which[i : i + 2048]][:, None]
            grid = functional.affine_grid(
                theta[i : i + 2048], list(source.shape), align_corners=False
            )
            blocks.append(
                functional.grid_sample(source, grid, align_corners=False).flatten(1).numpy()
            )
        images = np.concatenate(blocks)
        return (images + rng.normal(0, 0.1, images.shape)).astype(np.float32)


@dataclass(frozen=True)
class Training:
    """How the towers are built and trained; the same for every contender and seed."""

    size: int
    hidden: int
    epochs: int
    convolutional: bool
    width: int = 64
    batch: int = 128
    rate: float = 2e-3


class TwoTowers(nn.Module):
    """An image tower and a bag-of-words text tower into one sphere, as CLIP."""

    def __init__(self, words: int, how: Training) -> None:
        super().__init__()
        if how.convolutional:
            left = math.ceil(how.size / 4)
            self.image: nn.Module = nn.Sequential(
                nn.Unflatten(1, (1, how.size, how.size)),
                nn.Conv2d(1, how.hidden, 3, 2, 1),
                nn.ReLU(),
                nn.Conv2d(how.hidden, 2 * how.hidden, 3, 2, 1),
                nn.ReLU(),
                nn.Flatten(),
                nn.Linear(2 * how.hidden * left * left, how.width),
            )
        else:
            self.image = nn.Sequential(
                nn.Linear(how.size**2, how.hidden),
                nn.ReLU(),
                nn.Linear(how.hidden, how.hidden),
                nn.ReLU(),
                nn.Linear(how.hidden, how.width),
            )
        self.words = nn.EmbeddingBag(words, how.width, mode="mean")
        self.text = nn.Linear(how.width, how.width)
        self.scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def images(self, x: Tensor) -> Tensor:
        """Unit embeddings of images."""
        return functional.normalize(self.image(x), dim=-1)

    def texts(self, tokens: Tensor) -> Tensor:
        """Unit embeddings of captions of one length."""
        return functional.normalize(self.text(self.words(tokens)), dim=-1)


def train(
    images: FloatArray, lines: list[str], vocabulary: dict[str, int], how: Training, seed: int
) -> TwoTowers:
    """Train both towers with CLIP's symmetric contrastive loss."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = TwoTowers(len(vocabulary), how)
        x, tokens = torch.from_numpy(images), tokenise(lines, vocabulary)
        steps = how.epochs * (len(x) // min(how.batch, len(x)))
        optimizer = torch.optim.Adam(model.parameters(), how.rate)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, how.rate, steps)
        for _ in range(how.epochs):
            order = torch.randperm(len(x))
            for batch in order[: len(x) // how.batch * how.batch].split(how.batch):
                logits = model.images(x[batch]) @ model.texts(tokens[batch]).T * model.scale.exp()
                same = torch.arange(len(batch))
                loss = (
                    functional.cross_entropy(logits, same)
                    + functional.cross_entropy(logits.T, same)
                ) / 2
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                model.scale.data.clamp_(max=math.log(100))
    return model


def tokenise(lines: list[str], vocabulary: dict[str, int]) -> Tensor:
    """Word numbers of captions that all have the same number of words."""
    return torch.tensor([[vocabulary[word] for word in line.split()] for line in lines])


def vocabulary_of(names: list[str]) -> dict[str, int]:
    """All words that a caption may hold."""
    return {word: number for number, word in enumerate([*_FILLERS, *names])}


@torch.no_grad()
def accuracy(
    model: TwoTowers, images: FloatArray, labels: Any, names: list[str], vocabulary: dict[str, int]
) -> Any:
    """Zero-shot accuracy of each concept, with an ensemble of four prompts: (concepts,) float.

    The guess is among all concepts; nan for those of which no image is shown.
    """
    prompts = ("a photo of {}", "the small {} near", "my drawing of {}", "this {} on black")
    texts = torch.stack(
        [
            model.texts(tokenise([prompt.format(name) for name in names], vocabulary))
            for prompt in prompts
        ]
    ).mean(0)
    guess = (model.images(torch.from_numpy(images)) @ functional.normalize(texts, dim=-1).T).argmax(
        1
    )
    right = guess.numpy() == labels
    shown = np.bincount(labels, minlength=len(names))
    with np.errstate(invalid="ignore"):
        return np.bincount(labels, weights=right, minlength=len(names)) / shown
