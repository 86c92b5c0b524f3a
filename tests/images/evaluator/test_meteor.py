"""METEOR with the image's own NLTK and WordNet has the values that NLTK publishes, and its synonyms are WordNet 3.0's."""

from pathlib import Path

import pytest
from serin_evaluator.meteor import meteor, wordnet, wordnet_folder

pytestmark = pytest.mark.skipif(
    not wordnet_folder().exists() and not Path("/opt/serin/evaluator").exists(),
    reason="a developer's machine without Debian's wordnet-base (SERIN_WORDNET may name its folder)",
)

HYPOTHESIS = "It is a guide to action which ensures that the military always obeys the commands of the party"


@pytest.mark.parametrize(
    ("text", "answer", "published"),
    [
        pytest.param(
            HYPOTHESIS,
            "It is a guide to action that ensures that the military will forever heed Party commands",
            0.6944,
            id="single_meteor_score's docstring",
        ),
        pytest.param("non matching hypothesis", "this is a cat", 0.0, id="the same, without any match"),
        pytest.param("THIS Is a tEST", "this is a test", 0.9921875, id="test_meteor.py"),
        pytest.param("John loves Mary", "The candidate has no alignment to any of the references", 0.0, id="doctest 1"),
        pytest.param("The cat sat on the mat", "The cat sat on the mat", 0.9977, id="doctest 2"),
        pytest.param("on the mat sat the cat", "The cat sat on the mat", 0.5, id="doctest 3"),
        pytest.param("The cat was sat on the mat", "The cat sat on the mat", 0.9654, id="doctest 4"),
        pytest.param(
            "creates or updates a virtual machine scale set", "create or update a vm set", 0.7806, id="doctest 5"
        ),
    ],
)
def test_the_values_of_nltks_documentation(text: str, answer: str, published: float) -> None:
    assert meteor(text, answer) == pytest.approx(published, abs=5e-5)


def test_synonyms_are_those_of_nltks_own_wordnet() -> None:
    """As NLTK's HOWTO of WordNet prints them (nltk.org/howto/wordnet.html)."""
    assert [str(synset) for synset in wordnet().synsets("dog")] == [
        "Synset('dog.n.01')", "Synset('frump.n.01')", "Synset('dog.n.03')", "Synset('cad.n.01')",
        "Synset('frank.n.02')", "Synset('pawl.n.01')", "Synset('andiron.n.01')", "Synset('chase.v.01')",
    ]  # fmt: skip
    assert wordnet().synset("dog.n.01").lemma_names() == ["dog", "domestic_dog", "Canis_familiaris"]
    assert wordnet().morphy("denied", wordnet().VERB) == "deny"
