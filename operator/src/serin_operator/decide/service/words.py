"""The sentences of the service loop: what happens, with numbers, and what a person can do. Nothing is decided here."""

from serin_operator.api.v1alpha1 import CommandStatus, ModelRevision, RollbackStatus
from serin_operator.decide.service import (
    approvers,
    commands,
    experiment,
    facts,
    failing,
    front,
    gateways,
    hostnames,
    policy,
    preflight,
    ratio,
    resting,
    revisions,
)
from serin_operator.decide.service.slos import Unusable
from serin_operator.decide.service.snapshot import ServiceSnapshot
from serin_operator.decide.steps import Step
from serin_operator.manifests import names

_STAYS_REJECTED = "this model (by its digest) stays rejected"


def no_model(s: ServiceSnapshot) -> str:
    name, count = s.service.metadata.name, len(s.revisions)
    if count == 0:
        return (
            f"waits for a model: no ModelRevision names {name} yet; apply a FineTuneJob with"
            f" rollout.modelServiceRef.name: {name}"
        )
    told = f"waits for a model: {count} {_plural(count, 'ModelRevision')} for {name}, none of which may serve yet"
    held = [(r.metadata.name, why) for r in s.revisions if revisions.passed(r) and (why := policy.objection(s, r))]
    return f"{told}: {held[0][0]} passed, but {held[0][1]}" if held else told


def objected(s: ServiceSnapshot) -> str:
    return f"the candidate {facts.the_candidate(s).revision} goes no further for now: {facts.objection(s)}"


def steps_back(s: ServiceSnapshot, number: int) -> str:
    most = s.limits.max_canary_step_percent if s.limits is not None else None
    name = facts.the_candidate(s).revision
    where = f"goes on from step {number}" if number else "begins its steps anew"
    return f"the candidate {name} {where}: a ClusterEvalPolicy lets a step add at most {most} percent of the traffic"


def too_coarse(s: ServiceSnapshot) -> str:
    """Which step it is, and what would help."""
    candidate, steps, shares = facts.the_candidate(s), facts.steps(s), ratio.splits(s)
    now = max(min(candidate.step, len(steps)), 1)
    number = now if facts.too_coarse(s) else now + 1
    keeps = "gets no traffic" if facts.too_coarse(s) else "keeps its share"
    percent = steps[number - 1].weight_percent
    pods = f"{ratio.most(s)} pods in all (spec.traffic.maxReplicas; twice spec.runtime.replicas when it is not given)"
    why = f"{pods} give no share as small as the {percent} percent of step {number} of {len(steps)}"
    stride = s.limits.max_canary_step_percent if s.limits is not None else None
    before = shares[number - 2] if number > 1 else None
    if percent >= 100 and stride is not None:
        given = f"{float(100 * before.share):.0f}" if before is not None else "0"
        why = (
            f"step {number} of {len(steps)} would take it from about {given} percent, the most that {pods} give before, to"
            f" {percent} at once, and a ClusterEvalPolicy lets a step add {stride} percent"
        )
    return f"{candidate.revision} {keeps}: {why}; maxReplicas: {ratio.enough(s)} gives every step what it asks"


def hostname_taken(s: ServiceSnapshot) -> str:
    ref = s.service.spec.traffic.gateway
    what = f"{s.candidate.revision} goes no further" if s.candidate is not None else "nothing is started"
    return f"{what}: {hostnames.sentence(s.taken, f'{ref.namespace}/{ref.name}')}"


def first_deploying(s: ServiceSnapshot, name: str) -> str:
    return f"first deployment: {name} is being started{_pods(s, name)}"


def first_deployment(s: ServiceSnapshot, first: ModelRevision) -> str:
    name = first.metadata.name
    if revisions.record(first).promoted_at is not None:
        return f"{name} serves again and gets 100 percent: it was promoted before"
    return f"first deployment: nothing to compare with, {name} is ready and gets 100 percent"


def stable_serves(s: ServiceSnapshot) -> str:
    assert s.stable is not None
    sentence = f"{s.stable.revision} serves {s.weight(s.stable.revision)} percent of the traffic{_paused(s)}"
    if s.route is not None and s.route.problem:
        sentence += f"; the route is not in force: {s.route.problem}"
    bad = revisions.last_rejected(s)
    rejection = revisions.record(bad).rejection if bad is not None else None
    if bad is None or rejection is None:
        return sentence
    zero = rejection.weight_zero_at
    gone = f", weight 0 after {max((zero - rejection.at).total_seconds(), 0):.1f} s" if zero is not None else ""
    return f"{sentence}; {bad.metadata.name} was rejected{gone}: {rejection.message}"


def stable_silent(s: ServiceSnapshot, rejected: list[str]) -> str:
    stable = s.stable.revision if s.stable is not None else ""
    sentence = f"no pod of the stable {stable} answers{_pods(s, stable)}"
    if rejected:
        waited = facts.way_back_seconds(s)
        so_far = f", for {waited} s so far" if waited > 0 else ""
        return f"{sentence}; the rejected {rejected[0]} keeps its traffic until the stable is ready{so_far}"
    return f"{sentence}; nothing is moved until it is ready"


def candidate_begins(s: ServiceSnapshot, name: str) -> str:
    sentence = f"{name} passed its gates and is the new candidate; it is started without traffic"
    if s.candidate is None or s.candidate.revision not in s.by_name:
        return sentence
    return f"{sentence}, and {s.candidate.revision} gives way to it"


def candidate_dropped(s: ServiceSnapshot) -> str:
    assert s.candidate is not None
    name = s.candidate.revision
    revision = s.by_name.get(name)
    if revision is None:
        return f"the candidate {name} is gone: its ModelRevision was deleted; all traffic goes to the stable"
    if revisions.rejected(s, revision):
        return f"the candidate {name} was rejected; all traffic goes to the stable"
    return f"the candidate {name} may not go on (its gates no longer say Passed); all traffic goes to the stable"


def unjudgeable(s: ServiceSnapshot, found: Unusable) -> str:
    return f"{facts.the_candidate(s).revision} gets no traffic: {found.message}"


def asks_first(s: ServiceSnapshot) -> str:
    return f"{facts.the_candidate(s).revision} gets no traffic yet: its SLOs are asked whether it can be measured"


def unmeasurable(s: ServiceSnapshot, seconds: int) -> str:
    """Which SLO it is, why, and how long that has been so."""
    name, interval = facts.the_candidate(s).revision, s.service.spec.canary.interval_seconds
    why = "; ".join(f"SLO {row.name}: {row.message}" for row in preflight.holding(s))
    so_far = f", for {seconds} s so far" if seconds else ""
    return f"{name} gets no traffic until it can be measured: {why}; this is asked again every {interval} s{so_far}"


def not_ready(s: ServiceSnapshot) -> str:
    name = facts.trial(s).revision
    if facts.before_traffic(s):
        return f"{name} gets no traffic yet: it is being started{_pods(s, name)}{_blocked(s)}"
    where = f"; {facts.trial(s).refuge} serves meanwhile" if facts.all_to_refuge(s) is not None else ""
    return f"{name} lost its traffic: no pod answers{_pods(s, name)}{where}{_blocked(s)}"


def _blocked(s: ServiceSnapshot) -> str:
    """Only when the pods say why: in their first moments nobody has run them either."""
    view = facts.trial_view(s)
    if not facts.blocked(s) or view is None or not view.trouble:
        return ""
    return "; the cluster has not run it, which does not count against the model: mend that, or say abort/<nonce>"


def routing(s: ServiceSnapshot) -> str:
    trial = facts.trial(s)
    if ratio.by_pods(s):
        return f"{trial.revision} is to get {trial.weight_percent} percent; {front.awaited(s)}"
    wait = f"{trial.revision} is to get {_share(s)}; waiting for the Gateway to take up the route"
    if (trouble := gateways.trouble(s)) is not None:
        return f"{wait}: {trouble[1]}"
    return f"{wait}: {s.route.problem}" if s.route is not None and s.route.problem else wait


def step_begins(s: ServiceSnapshot, number: int) -> str:
    steps, name = facts.steps(s), facts.the_candidate(s).revision
    step, where = steps[number - 1], f"step {number} of {len(steps)}"
    percent = facts.percent_of(s, step)
    if step.approval is not None:
        until = (
            f"until {approvers.who(step.approval)} approves"
            if approvers.named(step)
            else "until a person says approve/<nonce>"
        )
        return f"{name} keeps {percent} percent {until}, {where}{_for_approver(step)}"
    if step.analysis is not None:
        return f"{name} keeps {percent} percent until every SLO has passed for {_hold(step)} s, {where}{_lost(s)}"
    if step.experiment is not None:
        return f"{name} keeps {percent} percent of the users for an experiment, {where}{_lost(s)}"
    if percent == 0:
        return f"{name} gets copies of all requests, and no user its answers, {where}"
    return f"{name} goes to {percent} percent, {where}{_lost(s)}"


def _hold(step: Step) -> int:
    return int(step.hold.total_seconds())


def _for_approver(step: Step | None) -> str:
    said = step.approval.message if step is not None and step.approval is not None else None
    return f" ({said})" if said else ""


def _lost(s: ServiceSnapshot) -> str:
    if not facts.stable_lost(s) or s.stable is None:
        return ""
    return f", since no pod of {s.stable.revision} has answered for {facts.the_candidate(s).stable_silent_seconds} s"


def holding(s: ServiceSnapshot) -> str:
    """The line a person watches: share, step, time, requests, SLOs."""
    trial = facts.trial(s)
    hold = int(trial.hold.total_seconds())
    seconds = min(int(facts.held(s).total_seconds()), hold)
    if facts.baking(s):
        parts = [
            f"{trial.revision} serves all traffic and bakes",
            f"{seconds} of {hold} s watched",
            f"{trial.refuge} is {'stopped, and started when it is needed' if resting.rests(s, trial.refuge) else 'kept ready'}",
            *_waiting(s),
        ]
    else:
        parts = [
            f"{trial.revision} gets {_share(s)}{_lost(s)}",
            f"step {min(facts.the_candidate(s).step, _steps(s))} of {_steps(s)}",
            _awaited(s, seconds, hold),
            *_requests(s),
            *_queue(s),
        ]
    found = ", ".join(
        one.message if one.value is not None else f"{one.name}: {one.message}" for one in facts.verdicts(s)
    )
    rests = ", ".join(facts.not_compared(s))
    alone = f"; {rests} not compared: nobody is on {trial.refuge}, the bounds judge alone" if rests else ""
    return ", ".join(parts) + _paused(s) + (f"; {found}" if found else "") + alone


def _share(s: ServiceSnapshot) -> str:
    trial = facts.trial(s)
    if facts.split_of(s) is not None and trial.weight_percent < 100:
        return front.share(s, trial.weight_percent)
    got = "copies of all requests" if facts.shadowed(s) else f"{trial.weight_percent} percent"
    testers = s.route is not None and names.serving(trial.revision) in s.route.testers
    return f"{got} and what testers ask" if testers else got


def _waiting(s: ServiceSnapshot) -> list[str]:
    """Who is next, when the bake is over."""
    chosen = revisions.next_candidate(s)
    return [f"{chosen.metadata.name} waits until the bake is over"] if chosen is not None else []


def _awaited(s: ServiceSnapshot, seconds: int, hold: int) -> str:
    """What the running step goes on for."""
    if facts.awaits_approval(s):
        step = facts.step_of(s)
        said = approvers.standing(s).message if approvers.named(step) else "waits for a person to say approve/<nonce>"
        return f"{said}{_for_approver(step)}"
    if facts.asks_a_person(s):
        return approvers.standing(s).message if approvers.named(facts.step_of(s)) else "approved"
    if facts.analysing(s):
        return f"every SLO has passed for {seconds} of {hold} s"
    if experiment.running(s):
        return experiment.told(s)
    return f"{seconds} of {hold} s watched"


def delayed(s: ServiceSnapshot) -> str:
    trial, candidate = facts.trial(s), facts.the_candidate(s)
    delay = s.service.spec.canary.initial_delay_seconds
    return (
        f"{trial.revision} gets {trial.weight_percent} percent{_lost(s)}, step {min(candidate.step, _steps(s))} of"
        f" {_steps(s)}, and is judged after {delay} s (spec.canary.initialDelaySeconds){_paused(s)}"
    )


def why_overdue(s: ServiceSnapshot) -> str:
    candidate, step = facts.the_candidate(s), facts.step_of(s)
    if step is not None and facts.step_overdue(s, step):
        return f"its step has taken {candidate.step_seconds} s, and its maxDurationSeconds is {step.max_seconds}"
    most = s.service.spec.canary.max_duration_seconds
    return f"its steps have taken {candidate.rollout_seconds} s, and spec.canary.maxDurationSeconds is {most}"


def overdue(s: ServiceSnapshot) -> str:
    decide = "skip/<nonce>, promote/<nonce> or abort/<nonce> decides"
    return f"{holding(s)}; it goes no further by itself: {why_overdue(s)}; {decide}"


def _queue(s: ServiceSnapshot) -> list[str]:
    """Who waits for the candidate to finish, and what would let it in."""
    later = revisions.in_the_queue(s) if revisions.finishes(s) else ""
    return [f"{later} waits until it has finished (spec.canary.supersedePolicy)"] if later else []


def withdrawn(s: ServiceSnapshot) -> str:
    return (
        f"{facts.the_candidate(s).revision} loses its traffic: it could not be measured {_how_long(s)}"
        f" ({_unmeasured(s)}); it begins anew when there are metrics again"
    )


def _how_long(s: ServiceSnapshot) -> str:
    status = facts.watch_after(s)
    if status.blind_seconds >= s.service.spec.canary.blindness.timeout_seconds:
        return f"for {status.blind_seconds} s"
    return ", ".join(f"at {one.consecutive_errors} looks in a row ({one.name})" for one in facts.erring(s, status))


def holds_blindly(s: ServiceSnapshot) -> str:
    trial = facts.trial(s)
    return (
        f"{trial.revision} keeps {trial.weight_percent} percent and could not be measured"
        f" {_how_long(s)} ({_unmeasured(s)}); it goes on when it can be, and"
        " spec.canary.blindness.action: Withdraw would take its traffic away"
    )


def _unmeasured(s: ServiceSnapshot) -> str:
    return "; ".join(f"{one.name}: {one.message}" for one in facts.verdicts(s) if one.value is None and not one.dry_run)


def awaits_metrics(s: ServiceSnapshot) -> str:
    candidate, pause = facts.the_candidate(s), int(facts.pause(s).total_seconds())
    stable = facts.trial(s).refuge
    if not facts.measured(s):
        return (
            f"{candidate.revision} gets no traffic until the SLOs can be measured again (they are asked for {stable})"
        )
    return f"{candidate.revision} gets no traffic: it begins anew {pause} s after it could not be measured"


def begins_anew(s: ServiceSnapshot) -> str:
    return f"there are metrics again: {facts.the_candidate(s).revision} begins its canary anew"


def baked(s: ServiceSnapshot) -> str:
    trial = facts.trial(s)
    seconds = int(trial.hold.total_seconds())
    after = f"after {seconds} s of bake" if seconds else "since spec.canary.bakeSeconds is 0"
    return f"{trial.revision} stays the stable {after}; {trial.refuge} is no longer kept"


def bake_void(s: ServiceSnapshot) -> str:
    bake = facts.the_bake(s)
    return f"the bake of {bake.revision} ends early: {bake.previous} cannot take over any more (its record is gone)"


def _requests(s: ServiceSnapshot) -> list[str]:
    wanted = facts.requests_wanted(s)
    if wanted == 0 or s.look is None:
        return []
    seen = facts.requests_seen(s)
    if seen is None:
        why = s.look.requests.text if s.look.requests is not None else ""
        return [f"requests could not be counted ({why})"]
    return [f"{seen} requests" if seen >= wanted else f"{seen} of {wanted} requests"]


def breach(s: ServiceSnapshot) -> str:
    return ", ".join(one.message for one in facts.breaches(s))


def most_fail(s: ServiceSnapshot) -> str:
    return f"most requests fail, which no SLO tolerates ({', '.join(failing.found(s))})"


def crashed(s: ServiceSnapshot) -> str:
    view = facts.trial_view(s)
    return (
        f"its server ended by itself under traffic{f' ({view.trouble})' if view is not None and view.trouble else ''}"
    )


def late(s: ServiceSnapshot) -> str:
    deadline = s.service.spec.canary.progress_deadline_seconds
    return f"not ready within {deadline} s{_pods(s, facts.trial(s).revision)}"


def rejection(s: ServiceSnapshot, why: str, may_be_good: bool) -> str:
    """What goes into the revision's record: the numbers, where, and what to do."""
    advice = _let_in_again(facts.trial(s).revision) if may_be_good else _advice(s)
    return f"{why} {_where(s)}; {_STAYS_REJECTED}; {advice}"


def _let_in_again(name: str) -> str:
    return f"the command retry/<nonce>/{name} lets it be tried again"


def _where(s: ServiceSnapshot) -> str:
    trial, seconds = facts.trial(s), int(facts.elapsed(s).total_seconds())
    if facts.baking(s):
        return f"in its bake (100 percent, {seconds} of {int(trial.hold.total_seconds())} s)"
    step = facts.the_candidate(s).step
    if step == 0:
        return "before its first request"
    seen = facts.requests_seen(s)
    counted = f", {seen} requests" if seen is not None else ""
    return f"at step {min(step, _steps(s))} of {_steps(s)} ({trial.weight_percent} percent, {seconds} s{counted})"


def _advice(s: ServiceSnapshot) -> str:
    if facts.breaches(s):
        return "train another model, or change the bound in the ModelService's spec.slos if this is acceptable"
    return "look at its pods, then train another model or give spec.runtime more resources"


def rolling_back(s: ServiceSnapshot, why: str) -> str:
    trial = facts.trial(s)
    if facts.all_to_refuge(s) is not None:
        then = f"all traffic goes back to {trial.refuge}"
    elif resting.rests(s, trial.refuge):
        then = f"{trial.refuge} was stopped (spec.canary.previousRevision) and is started now: traffic moves when it is ready"
    else:
        then = f"but no pod of {trial.refuge} answers, so no traffic is moved yet"
    return f"{trial.revision} is rejected: {why} {_where(s)}; {then}"


def rollback_goes_on(s: ServiceSnapshot, message: str) -> str:
    trial = facts.trial(s)
    return f"{trial.revision} was rejected: {message}; {trial.refuge} is the stable again"


def bake_rolled_back(s: ServiceSnapshot, refuge: str) -> str:
    return f"{facts.trial(s).revision} was rejected while it was watched; {refuge} is the stable again"


def promoted(s: ServiceSnapshot) -> str:
    candidate = facts.the_candidate(s)
    before = s.stable.revision if s.stable is not None else ""
    seen = facts.requests_seen(s)
    counted = f" ({seen} requests in the last)" if seen is not None else ""
    bake = s.service.spec.canary.bake_seconds
    then = f"; it bakes for {bake} s" if bake and before in s.by_name else ""
    if candidate.promotion_request is not None:
        return (
            f"{candidate.revision} is the new stable in place of {before}: a person said"
            f" {candidate.promotion_request}{then}"
        )
    return (
        f"{candidate.revision} passed all {_steps(s)} steps{counted} and is the new stable in place of {before}{then}"
    )


# --- a person's commands ------------------------------------------------------------------------------------------


def heard(command: CommandStatus) -> str:
    """`abort/7 by alice: accepted: ...`."""
    by = commands.who(command.asked_by)
    return f"{command.request[:80]} by {by}: {command.outcome.value.lower()}: {command.message}"


def told(command: CommandStatus) -> str:
    return f"{commands.who(command.asked_by)} said {command.request}"


def _paused(s: ServiceSnapshot) -> str:
    pause = s.service.status.paused
    return f", paused by {commands.who(pause.asked_by)} until resume/<nonce>" if pause is not None else ""


def paused_before_traffic(s: ServiceSnapshot) -> str:
    return f"{facts.the_candidate(s).revision} is ready and gets no traffic{_paused(s)}"


def retried(s: ServiceSnapshot, name: str, command: CommandStatus) -> str:
    return f"{told(command)}: {name} is no longer rejected or passed over, and is tried when its turn comes"


def rollback_waits(s: ServiceSnapshot, back: RollbackStatus) -> str:
    stable = s.stable.revision if s.stable is not None else ""
    why = f"{commands.who(back.asked_by)} said {back.request}"
    return (
        f"{why}: {back.revision} is being started{_pods(s, back.revision)} and then takes over; {stable} serves"
        " meanwhile; abort/<nonce> gives this up"
    )


def rollback_void(s: ServiceSnapshot, back: RollbackStatus) -> str:
    return f"no way back to {back.revision}: it is gone, or its gates no longer say Passed, or it was rejected"


def rolled_back_to(s: ServiceSnapshot, back: RollbackStatus) -> str:
    stable = s.stable.revision if s.stable is not None else ""
    return (
        f"{commands.who(back.asked_by)} said {back.request}: {stable} is rejected, and {back.revision} gets all traffic"
    )


def rejected_by_person(s: ServiceSnapshot, name: str, back: RollbackStatus) -> str:
    return (
        f"{commands.who(back.asked_by)} said {back.request} while it was the stable; {_STAYS_REJECTED};"
        f" {_let_in_again(name)}"
    )


def _steps(s: ServiceSnapshot) -> int:
    return len(facts.steps(s))


def _pods(s: ServiceSnapshot, name: str) -> str:
    """` (0 of 1 pods ready: ...)`."""
    view = s.serving(name)
    if view is None:
        return ""
    trouble = f": {view.trouble}" if view.trouble else ""
    return f" ({view.ready} of {view.wanted} pods ready{trouble})"


def _plural(count: int, noun: str) -> str:
    return noun if count == 1 else f"{noun}s"
