"""Counts the words of the project's own dialect in each file, and lowers the counts that `tests/docs/test_words.py`
holds.

python scripts/words.py            lower the counts; exit code 1 when one has risen
python scripts/words.py WORD       show each place of a word
"""

from __future__ import annotations

import ast
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COUNTS = ROOT / "tests" / "docs" / "words.json"
WORDS = {
    "mend": re.compile(r"\bmend(?:s|ed|ing)?\b", re.I),
    "told": re.compile(r"\btold\b(?! (?:apart|to)\b)", re.I),
    "ripe": re.compile(r"\b(?:un)?ripe(?:n|ns|ned|ness)?\b", re.I),
    "goes on": re.compile(r"\b(?:go|goes|going|gone|went) on\b(?! the wire)", re.I),
    "is no": re.compile(
        r"(?<!there )\b(?:is|are|was|were) no (?!(?:longer|more|one|further|faster)\b|[a-z]+er"
        r" than\b)[a-z\"`{]",
        re.I,
    ),
}
"""The word, and where it is not good English: "told apart", "is no longer"."""
_KINDS = (".py", ".md", ".html", ".js", ".css", ".sql", ".toml", ".txt")


def texts() -> Iterator[tuple[str, int, str]]:
    """File, line and text of everything that people read; not CONTRIBUTING.md, which has the list of words."""
    found = [*(ROOT / "src").rglob("*"), *(ROOT / "docs").rglob("*.md"), ROOT / "README.md"]
    for path in sorted(path for path in found if path.suffix in _KINDS and "__pycache__" not in path.parts):
        file, text = path.relative_to(ROOT).as_posix(), path.read_text()
        if path.suffix != ".py":
            yield from ((file, number, line) for number, line in enumerate(text.splitlines(), 1))
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield file, node.lineno, " ".join(node.value.split())
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield file, node.lineno, node.name.replace("_", " ")


def counted() -> dict[str, dict[str, int]]:
    """File -> word -> how often, where it is there at all."""
    found: dict[str, Counter[str]] = {}
    for file, _, text in texts():
        for word, pattern in WORDS.items():
            if n := len(pattern.findall(text)):
                found.setdefault(file, Counter())[word] += n
    return {file: dict(sorted(words.items())) for file, words in sorted(found.items())}


def main() -> int:
    if len(sys.argv) > 1:
        pattern = WORDS[" ".join(sys.argv[1:])]
        for file, line, text in texts():
            for found in pattern.finditer(text):
                print(f"{file}:{line}  {' '.join(text[max(0, found.start() - 60) : found.end() + 60].split())}")
        return 0
    before = json.loads(COUNTS.read_text()) if COUNTS.exists() else None
    now = counted()
    risen = [
        f"{file}: {word}"
        for file, words in now.items()
        for word, n in words.items()
        if before is not None and n > before.get(file, {}).get(word, 0)
    ]
    if risen:
        print("more than before:", *risen, sep="\n  ")
        return 1
    COUNTS.write_text(json.dumps(now, indent=1, sort_keys=True) + "\n")
    print(*(f"{word}: {sum(words.get(word, 0) for words in now.values())}" for word in WORDS), sep=", ")
    return 0


if __name__ == "__main__":
    sys.exit(main())
