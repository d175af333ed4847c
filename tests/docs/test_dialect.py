"""Words of the project's own dialect, counted in each file; a count may only fall (`python scripts/words.py` lowers
them).

Counted are docs, templates, console pages, and of the code: strings, docstrings and the names of functions. Comments
and tests are not.
"""

from __future__ import annotations

import json

from scripts import script

words = script("words")


def test_no_file_uses_more_words_of_the_dialect_than_before() -> None:
    before = json.loads(words.COUNTS.read_text())
    more = {
        file: {word: n for word, n in found.items() if n > before.get(file, {}).get(word, 0)}
        for file, found in words.counted().items()
    }
    assert {file: found for file, found in more.items() if found} == {}, (
        "write the field's usual word instead: CONTRIBUTING.md has the list"
    )


def test_the_counts_are_those_of_today() -> None:
    """Else what was corrected could come back."""
    assert words.counted() == json.loads(words.COUNTS.read_text()), "python scripts/words.py"


def test_the_patterns_know_good_english() -> None:
    found = {word: [text for text in _GOOD if pattern.search(text)] for word, pattern in words.WORDS.items()}
    assert found == {word: [] for word in words.WORDS}
    assert all(pattern.search(text) for (word, pattern) in words.WORDS.items() for text in _BAD[word])


_GOOD = (
    "there is no such table",
    "There are no rows",
    "it is no longer kept",
    "was no older than the bound",
    "amended",
    "a stripe",
    "recommend",
    "as it goes on the wire",
)
_BAD = {
    "mend": ("mend it", "Mended by hand"),
    "told": ("it was told",),
    "ripe": ("ripe rows", "labels ripen"),
    "goes on": ("the next one goes on", "it is gone on with"),
    "is no": ("it is no event", "these are no rows"),
}
