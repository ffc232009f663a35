"""What held-out pairs say about a reward model: how often it is right, about what and whom, and how honest it is.

Probabilities are measured out of sample: the temperature for one half of the prompts is fitted on the other half.
Intervals of shares are Wilson's and take pairs for independent; pairs of one ranking are not quite.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from app.core.records.base import Json
from app.core.statistics import wilson
from trainer import losses
from trainer.agreement import agreement_of_people
from trainer.data import Group

DRAWS = 200
SURE = ((0.5, "50–60 %"), (0.6, "60–70 %"), (0.7, "70–80 %"), (0.8, "80–90 %"), (0.9, "90–100 %"))
LENGTHS = (
    (0.0, "far_shorter"),
    (0.5, "shorter"),
    (0.9, "alike"),
    (1.1, "longer"),
    (2.0, "far_longer"),
)
"""Lower ends of buckets and their names: certainty, and tokens of the chosen answer over tokens of the other."""


@dataclass(frozen=True)
class HeldOut:
    """Every judgement of the held-out prompts, and what the model says (P,)."""

    difference: Tensor
    """Normalised reward of first minus second."""
    target: Tensor
    prompt: list[int]
    annotator: list[int]
    ratio: list[float]
    """Tokens of first over tokens of second."""


def held_out(groups: Sequence[Group], scores: Sequence[float]) -> HeldOut:
    """`scores`: normalised, of all groups' answers laid end to end."""
    difference, target, prompt, annotator, ratio, offset = [], [], [], [], [], 0
    for group in groups:
        for judged in group.judged:
            difference.append(scores[offset + judged.first] - scores[offset + judged.second])
            target.append(judged.target)
            prompt.append(group.prompt_id)
            annotator.append(judged.annotator)
            ratio.append(len(group.answers[judged.first]) / len(group.answers[judged.second]))
        offset += len(group.answers)
    double = torch.float64
    return HeldOut(torch.tensor(difference, dtype=double), torch.tensor(target, dtype=double), prompt, annotator, ratio)


def out_of_sample(made: HeldOut) -> Tensor:
    """(P,) P(first better): each half of the prompts with the temperature of the other half."""
    place = {prompt: number for number, prompt in enumerate(sorted(set(made.prompt)))}
    half = torch.tensor([place[prompt] % 2 == 0 for prompt in made.prompt])
    probability = torch.sigmoid(made.difference / losses.fit_temperature(made.difference, made.target))
    if len(place) > 1:
        for mine in (half, ~half):
            temperature = losses.fit_temperature(made.difference[~mine], made.target[~mine])
            probability[mine] = torch.sigmoid(made.difference[mine] / temperature)
    return probability


def figures(made: HeldOut, groups: Sequence[Group]) -> dict[str, float]:
    """The metrics of the held-out pairs."""
    temperature = losses.fit_temperature(made.difference, made.target)
    probability = out_of_sample(made)
    decided = made.target != 0.5
    margin = torch.where(made.target > 0.5, made.difference, -made.difference)[decided]
    longer = [
        (r > 1) == (t > 0.5) for r, t in zip(made.ratio, made.target.tolist(), strict=True) if t != 0.5 and r != 1
    ]
    found = {
        "reward/held_out_accuracy": float((margin > 0).sum()) / max(len(margin), 1),
        "reward/held_out_loss": float(losses.log_loss(probability, made.target)),
        "reward/held_out_margin": float(margin.sum()) / max(len(margin), 1),
        "reward/calibration_error": losses.calibration_error(probability, made.target),
        "reward/calibration_error_before": losses.calibration_error(torch.sigmoid(made.difference), made.target),
        "reward/calibration_error_chance": chance(probability),
        "reward/brier": float((probability - made.target).square().mean()),
        "reward/temperature": temperature,
        "reward/longer_is_better": sum(longer) / max(len(longer), 1),
    }
    people = agreement_of_people(groups)
    if people is not None:
        found |= {"reward/agreement": people.share, "reward/ceiling": people.ceiling}
    return found


def chance(probability: Tensor) -> float:
    """The calibration error that luck alone gives so few pairs: labels drawn from these very probabilities."""
    generator = torch.Generator().manual_seed(0)
    drawn = (torch.bernoulli(probability, generator=generator) for _ in range(DRAWS))
    return sum(losses.calibration_error(probability, labels) for labels in drawn) / DRAWS


def tables(made: HeldOut, groups: Sequence[Group]) -> Json:
    """Accuracy by how sure the model is, by annotator, and by length; and how far people agree."""
    sure = torch.maximum(out_of_sample(made), 1 - out_of_sample(made)).tolist()
    rows = []
    for number, target in enumerate(made.target.tolist()):
        if target != 0.5:
            ahead = float(made.difference[number]) * (1 if target > 0.5 else -1)
            ratio = made.ratio[number] if target > 0.5 else 1 / made.ratio[number]
            rows.append((ahead > 0, bucket(sure[number], SURE), made.annotator[number], bucket(ratio, LENGTHS)))
    people = agreement_of_people(groups)
    return {
        "all": share(right for right, *_ in rows),
        "sure": [{"name": name, **share(r for r, one, _, _ in rows if one == name)} for _, name in SURE],
        "annotators": [
            {"annotator": person, **share(r for r, _, one, _ in rows if one == person)}
            for person in sorted({one for _, _, one, _ in rows})
        ],
        "lengths": [{"name": name, **share(r for r, _, _, one in rows if one == name)} for _, name in LENGTHS],
        "people": None
        if people is None
        else {
            "pairs": people.pairs,
            "share": people.share,
            "low": people.low,
            "high": people.high,
            "ceiling": people.ceiling,
        },
    }


def bucket(value: float, ends: Sequence[tuple[float, str]]) -> str:
    """The name of the last bucket that begins at or below the value."""
    return next(name for low, name in reversed(ends) if value >= low)


def share(right: Iterable[bool]) -> Json:
    """How many are right of how many, and the 95 % interval."""
    every = list(right)
    low, high = wilson(sum(every), len(every))
    return {"right": sum(every), "of": len(every), "low": low, "high": high}
