"""Pairs become groups: answers to the same question together, and no others."""

from pathlib import Path

from app.core.snapshots import PreferencePair
from trainer.base_model import load_tokenizer
from trainer.data import group_pairs

FIRST = [{"role": "user", "content": "Name a colour."}]
LATER = [*FIRST, {"role": "assistant", "content": "Red."}, {"role": "user", "content": "Another?"}]


def pair(number: int, messages: list[dict[str, str]], first: int, second: int) -> PreferencePair:
    """Judgement `number` of answers `first` and `second`, all to prompt 1."""
    return PreferencePair(
        preference_id=number,
        prompt_id=1,
        split="train",
        messages=messages,
        first=f"answer {first}",
        second=f"answer {second}",
        first_trajectory_id=first,
        second_trajectory_id=second,
        target=1.0,
        outcome="prefer",
        strength=None,
        user_id=1,
    )


def test_turns_of_a_talk_are_judged_after_what_was_said_before(tiny_model: Path) -> None:
    tokenizer = load_tokenizer(tiny_model)
    groups = group_pairs([pair(1, FIRST, 1, 2), pair(2, LATER, 3, 4), pair(3, FIRST, 2, 5)], tokenizer)
    assert [(g.prompt, g.trajectory_ids) for g in groups] == [
        (tokenizer.encode_chat(FIRST), [1, 2, 5]),
        (tokenizer.encode_chat(LATER), [3, 4]),
    ]
