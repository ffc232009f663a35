"""Every catalogue says everything that the code says, and with the same values and tags."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from babel.messages import Catalog, Message

from app.catalogues import extracted, wordless
from app.core.settings import ROOT
from app.web.words import CATALOGUES, SCRIPTS, read_catalogue, script_words

PLACES = re.compile(r"%\((\w+)\)s")
TAGS = re.compile(r"<[^>]+>")
PATHS = sorted(CATALOGUES.glob("*/LC_MESSAGES/palate.po"))


@pytest.fixture(scope="module")
def sentences() -> Catalog:
    """What the code says."""
    return extracted()


def pairs(message: Message) -> Iterator[tuple[str, str]]:
    """Each English form with the words that stand for it."""
    english, said = cast(Any, message.id), cast(Any, message.string)
    if not message.pluralizable:
        yield english, said
        return
    for number, words in enumerate(said):
        yield english[min(number, 1)], words


def test_german_is_here() -> None:
    assert CATALOGUES / "de" / "LC_MESSAGES" / "palate.po" in PATHS


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.parts[-3])
def test_a_catalogue_is_complete(path: Path, sentences: Catalog) -> None:
    catalogue = read_catalogue(path, path.parts[-3])
    assert {one.id for one in catalogue} == {one.id for one in sentences}, "run: ./palate words update"
    assert not wordless(catalogue)
    assert not [one.id for one in catalogue if one.id and one.fuzzy]
    assert not catalogue.obsolete


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.parts[-3])
def test_values_and_tags_are_those_of_the_english_sentence(path: Path) -> None:
    for message in read_catalogue(path, path.parts[-3]):
        for english, words in pairs(message) if message.id else ():
            assert set(PLACES.findall(english)) == set(PLACES.findall(words)), english
            assert sorted(TAGS.findall(english)) == sorted(TAGS.findall(words)), english
            # Templates put sentences into attributes as they are: a straight quotation mark would end them.
            assert '"' not in TAGS.sub("", english) + TAGS.sub("", words), english
            assert (english[0], english[-1]).count(" ") == (words[0], words[-1]).count(" "), english


def test_scripts_get_what_they_say_and_no_more(sentences: Catalog) -> None:
    said = script_words("de", "palate.js", "label/")
    for message in sentences:
        english = message.id[0] if message.pluralizable else message.id
        said_by = {file.removeprefix(SCRIPTS) for file, _ in message.locations if file.startswith(SCRIPTS)}
        needed = any(file.startswith(("palate.js", "label/")) for file in said_by)
        assert (english in said) == needed, english
    assert script_words("en", "palate.js", "label/") == {}


def test_every_script_gets_words_for_all_that_it_says(sentences: Catalog) -> None:
    """A page names the scripts whose words it carries; a script that no page names would stay English."""
    named = {"palate.js", "own-keys.js", "playground.js", "label/"}
    stated = "".join((ROOT / "templates" / name).read_text() for name in ("base.html", "label.html"))
    assert all(f'"{name}"' in stated for name in named)
    for message in sentences:
        for file, _ in message.locations:
            if file.startswith(SCRIPTS):
                assert file.removeprefix(SCRIPTS).startswith(tuple(named)), file
