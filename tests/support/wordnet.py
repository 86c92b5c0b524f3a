"""A WordNet of a few words, in the files of the real one (wndb(5WN)): sets of synonyms by kind of word."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

KINDS = {"noun": "n", "verb": "v", "adj": "a", "adv": "r"}
IRREGULAR = {"noun": "men man\n", "verb": "went go\n"}


def write_wordnet(
    folder: Path, synonyms: Mapping[str, Sequence[Sequence[str]]], copyright_of: str = "WordNet 3.0"
) -> Path:
    """The folder, with synonyms such as {"noun": [["car", "auto"]]}."""
    folder.mkdir(parents=True, exist_ok=True)
    for kind, letter in KINDS.items():
        data, places = f"  1 {copyright_of} Copyright 2006 by Princeton University.\n", defaultdict(list)
        for synset in synonyms.get(kind, ()):
            offset = f"{len(data):08}"
            for word in synset:
                places[word].append(offset)
            named = " ".join(f"{word} 0" for word in synset)
            data += (
                f"{offset} 00 {letter} {len(synset):02x} {named} 000 {'00 ' if kind == 'verb' else ''}| of {kind}s\n"
            )
        index = [f"{word} {letter} {len(of)} 0 {len(of)} 0 {' '.join(of)}\n" for word, of in sorted(places.items())]
        (folder / f"data.{kind}").write_text(data)
        (folder / f"index.{kind}").write_text("".join(index))
        (folder / f"{kind}.exc").write_text(IRREGULAR.get(kind, ""))
    return folder
