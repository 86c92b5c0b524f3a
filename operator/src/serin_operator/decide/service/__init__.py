"""The service loop: from revisions to traffic. `decide_service(snapshot)` is its door.

snapshot.py what is seen, revisions.py who may serve, slos.py verdicts, comparisons.py and
counters.py those against the stable, facts.py predicates, canary.py the rules,
commands.py and steering.py what a person says by annotation,
children.py and traffic.py the objects, history.py what is forgotten,
words.py the sentences, status.py what people see, loop.py all of it together.
"""

from serin_operator.decide.service.loop import decide_service
from serin_operator.decide.service.snapshot import ServiceSnapshot

__all__ = ["ServiceSnapshot", "decide_service"]
