"""The split is a pure function of where a prompt comes from."""

from hypothesis import given
from hypothesis import strategies as st

from app.core.splits import content_hash, origin_of, split_of


def test_the_split_of_known_origins_never_moves() -> None:
    assert [origin for origin in "abcdefgh" if split_of(origin) == "validation"] == ["c", "d", "f", "g"]


def test_about_a_fifth_is_held_out() -> None:
    held_out = sum(split_of(f"prompt {n}") == "validation" for n in range(5000))
    assert 900 < held_out < 1100


@given(st.text(min_size=1), st.text())
def test_case_spacing_and_later_turns_do_not_move_a_prompt(opening: str, later: str) -> None:
    short = [{"role": "user", "content": opening}]
    long = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": f"  {opening}\n"},
        {"role": "assistant", "content": later},
        {"role": "user", "content": later},
    ]
    assert split_of(origin_of(short)) == split_of(origin_of(long))


def test_the_content_hash_knows_roles_and_borders() -> None:
    hashes = {
        content_hash([{"role": "user", "content": "ab"}]),
        content_hash([{"role": "system", "content": "ab"}]),
        content_hash([{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]),
    }
    assert len(hashes) == 3
