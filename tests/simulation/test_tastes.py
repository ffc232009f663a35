"""Tastes are plain functions, and annotators see what a person sees."""

import random
from collections import Counter

import pytest

from app.simulation.character import Character
from app.simulation.page import LabelPage
from app.simulation.tastes import concise, warm
from app.simulation.truth import agreement, gains, true_score


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ("It is Paris.", "It is Paris, which lies on the river Seine in the north of France, a large country."),
        ("It is Paris, the capital.", "It is Paris, the capi"),
        ("- flour\n- eggs\n- milk", "flour, eggs and then some mi"),
        ("A short answer is here.", "Yes."),
        ("A short answer is here.", ""),
    ],
)
def test_concise_likes_short_answers_that_are_answers(better: str, worse: str) -> None:
    assert concise(better) > concise(worse)


def test_warm_counts_kind_words_and_not_length() -> None:
    assert warm("I'm sorry to hear that. Take care.") > warm("That happens. Wait.")
    assert warm("Great.") >= warm("Great. Great. Great. Great.")
    assert warm("") == 0


def test_noise_is_the_share_of_opposite_answers_and_ties_are_said() -> None:
    draw = random.Random(1)  # noqa: S311  must be repeatable
    character = Character(len, 0.15)
    answers = [character.choice("long", "short", draw) for _ in range(4000)]
    assert 0.13 < answers.count("a") / len(answers) < 0.17
    assert character.choice("same", "size", draw) == "same"


def test_the_best_of_several_and_an_order_follow_the_taste() -> None:
    draw = random.Random(1)  # noqa: S311  must be repeatable
    sure = Character(len)
    assert sure.best(["a", "ccc", "bb"], draw) == "2"
    assert sure.order(["a", "ccc", "bb", "dd"], draw) == "2>3=4>1"
    noisy = Character(len, 0.15)
    answers = [noisy.best(["a", "ccc", "bb"], draw) for _ in range(4000)]
    assert 0.13 < 1 - answers.count("2") / len(answers) < 0.17
    coins = Character(len, random_answers=True)
    firsts = Counter(coins.order(["a", "ccc", "bb"], draw)[0] for _ in range(3000))
    assert all(900 < count < 1100 for count in firsts.values())


def test_the_control_answers_at_random() -> None:
    draw = random.Random(1)  # noqa: S311  must be repeatable
    character = Character(len, 0.0, random_answers=True)
    answers = [character.choice("x", "much longer", draw) for _ in range(4000)]
    assert 0.47 < answers.count("a") / len(answers) < 0.53


def test_a_page_is_read_as_it_is_shown() -> None:
    html = """
    <meta name="csrf-token" content="secret">
    <article class="task" data-key="k1">
      <div class="body"><div class="material rendered"><p>shown <b>nicely</b></p></div>
      <div class="material source" dir="auto" hidden>a &lt;b&gt; &amp;
 c</div></div>
      <div class="material source" hidden>second</div>
    </article>
    <form class="answer" action="x"><input type="hidden" name="csrf_token" value="secret">
      <input type="hidden" name="key" value="k1"><input type="hidden" name="token" value="t1">
      <button name="choice" value="a">A</button></form>
    <template><article class="task" data-key="k2"><div class="material source">third</div></article></template>
    """
    page = LabelPage(html)
    assert page.csrf == "secret"
    assert [task.key for task in page.tasks] == ["k1", "k2"]
    assert page.tasks[0].answers == ["a <b> &\n c", "second"]
    assert page.tasks[0].form == {"key": "k1", "token": "t1"}


def test_agreement_counts_only_pairs_that_the_taste_tells_apart() -> None:
    texts = {1: "a", 2: "bb", 3: "cc"}
    rows = [
        {"first_trajectory_id": 1, "second_trajectory_id": 2, "score_first": 0.0, "score_second": 1.0},
        {"first_trajectory_id": 2, "second_trajectory_id": 1, "score_first": 0.0, "score_second": 1.0},
        {"first_trajectory_id": 2, "second_trajectory_id": 3, "score_first": 0.0, "score_second": 1.0},
    ]
    found = agreement(rows, texts, len)
    assert (found["share"], found["pairs"]) == (0.5, 2)


def test_gains_are_in_deviations_of_the_base() -> None:
    def row(base: list[str], live: str, candidate: str) -> dict[str, list[dict[str, str]]]:
        return {"base": [{"text": t} for t in base], "live": [{"text": live}], "candidate": [{"text": candidate}]}

    found = true_score([row(["a", "aaa"], "aa", "aaa"), row(["a", "aaa"], "aa", "aaaaa")], len)
    assert found["base_deviation"] == 1
    assert found["gain_over_base"]["sd"] == 2
    assert found["gain_over_live"]["low"] <= 2 <= found["gain_over_live"]["high"]
    still = true_score([row(["a"], "a", "a")], len)
    assert still["gain_over_base"] is None


def test_gains_of_a_resampling_are_in_deviations_of_the_base() -> None:
    def row(**answers: list[str]) -> dict[str, object]:
        return {"answers": answers}

    found = gains([row(base=["a", "aaa"], v1=["aaa", "aaaaa"]), row(base=["aaa", "a"], v1=["aaaa", "aaaa"])], len)
    assert found["base"] == {"mean": 2.0, "gain": {"sd": 0.0, "low": 0.0, "high": 0.0}}
    assert found["v1"] == {"mean": 4.0, "gain": {"sd": 2.0, "low": 2.0, "high": 2.0}}
    assert gains([row(base=["a"], v1=["aa"])], len)["v1"]["gain"] is None
