"""`spec.configFrom`: a YAML written for Axolotl or LLaMA-Factory, read as the fields of a FineTuneJob.

Each key of the file ends in one of four places: applied to a field, left alone with the reason, refused with the fix, or
named as unknown. Pure; where the text comes from is `observe/job.py`'s business, and what becomes of a refusal the job loop's.
"""

from serin_operator.decide.recipes.applying import Applying, effective_spec
from serin_operator.decide.recipes.model import Applied, Note, Translation
from serin_operator.decide.recipes.reading import translate

__all__ = ["Applied", "Applying", "Note", "Translation", "effective_spec", "translate"]
