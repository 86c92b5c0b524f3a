"""Two services with one hostname: who came first is left alone, the other says so and stays out of the way."""

from datetime import timedelta
from typing import Any

import pytest
from serin_operator.decide.service import hostnames
from serin_operator.observe.traffic import other_routes
from support.service_world import Json, World, a_neighbour, play, stable_is, with_stable

HOST, SECOND = "bot.example.com", "bot2.example.com"


def neighbour(world: World, *hosts: str, seconds: float = -3600, **changed: Any) -> None:
    """Another service whose route was made so many seconds from now."""
    world.neighbours.append(a_neighbour(list(hosts or [HOST]), world.now + timedelta(seconds=seconds), **changed))


def a_late_service() -> tuple[World, str]:
    """A service without a model, whose hostname another one has."""
    world = World()
    neighbour(world)
    return world, world.passes("a")


def test_who_comes_later_starts_nothing_and_says_who_has_the_hostname() -> None:
    world, _ = a_late_service()
    play(world, 30)
    assert world.running() == set()
    assert ("HTTPRoute", "bot") not in world.objects
    for type_, status in (("RouteProgrammed", "False"), ("Stalled", "True")):
        found = world.condition(type_)
        assert (found["status"], found["reason"]) == (status, "HostnameTaken")
        assert "bot.example.com belongs to ModelService team-b/other" in found["message"]
        assert "give this service another hostname" in found["message"]
    assert world.condition("Ready")["status"] == "False"
    assert "team-b/other" in world.condition("Ready")["message"]


def test_it_goes_on_by_itself_once_the_hostname_is_free() -> None:
    world, name = a_late_service()
    play(world, 20)
    world.neighbours.clear()
    play(world, 20, until=stable_is(name))
    play(world, 3)
    assert world.weights == {name: 100}
    assert world.condition("RouteProgrammed")["status"] == "True"
    assert world.condition("Stalled")["status"] == "False"


def test_it_goes_on_with_another_hostname() -> None:
    world, name = a_late_service()
    play(world, 5)
    world.edit(lambda spec: spec["traffic"].update(hostnames=[SECOND]))
    play(world, 20, until=stable_is(name))
    assert world.objects[("HTTPRoute", "bot")]["spec"]["hostnames"] == [SECOND]


def test_hostnames_that_nobody_has_are_served_meanwhile() -> None:
    world = World()
    world.edit(lambda spec: spec["traffic"].update(hostnames=[HOST, SECOND]))
    neighbour(world)
    name = world.passes("a")
    play(world, 30)
    assert world.objects[("HTTPRoute", "bot")]["spec"]["hostnames"] == [SECOND]
    assert world.weights == {name: 100}
    assert world.condition("Ready")["status"] == "True"
    assert world.condition("Stalled")["status"] == "False"
    assert world.condition("RouteProgrammed")["reason"] == "HostnameTaken"
    world.neighbours.clear()
    play(world, 61)
    assert world.objects[("HTTPRoute", "bot")]["spec"]["hostnames"] == [HOST, SECOND]


@pytest.mark.parametrize("seconds", [0, 60, 3600])
def test_who_came_first_is_left_alone(seconds: float) -> None:
    """However the other's route came to be: the Gateway follows ours."""
    world, stable = with_stable()
    neighbour(world, seconds=seconds)
    name = world.passes("b")
    play(world, 200, until=stable_is(name))
    assert world.weights == {name: 100}
    assert {one["reason"] for one in world.status["conditions"]}.isdisjoint({"HostnameTaken"})
    assert stable not in world.weights


def test_an_edit_takes_no_hostname_from_a_service_whose_route_has_it() -> None:
    """Although our route is the older one, and the Gateway would follow it."""
    world, stable = with_stable()
    neighbour(world, SECOND, seconds=60)
    world.edit(lambda spec: spec["traffic"].update(hostnames=[SECOND]))
    play(world, 10)
    assert world.objects[("HTTPRoute", "bot")]["spec"]["hostnames"] == [HOST]
    assert world.weights == {stable: 100}
    assert world.condition("RouteProgrammed")["reason"] == "HostnameTaken"


def test_an_edit_that_adds_a_taken_one_keeps_the_others() -> None:
    world, _ = with_stable()
    neighbour(world, SECOND, seconds=60)
    world.edit(lambda spec: spec["traffic"].update(hostnames=[SECOND, HOST]))
    play(world, 5)
    assert world.objects[("HTTPRoute", "bot")]["spec"]["hostnames"] == [HOST]


def raced() -> tuple[World, str]:
    """Both routes were written at the same moment, by two looks that knew nothing of each other; ours is the younger."""
    world, stable = with_stable()
    neighbour(world, seconds=-3600)
    return world, stable


def test_of_two_that_were_written_at_once_the_younger_begins_no_canary() -> None:
    world, stable = raced()
    name = world.passes("b")
    play(world, 100)
    assert world.status["candidate"]["step"] == 0
    assert world.weights == {stable: 100}
    assert f"{name} goes no further: bot.example.com belongs to" in world.status["message"]
    world.neighbours.clear()
    play(world, 300, until=stable_is(name))
    assert world.weights == {name: 100}


def test_a_canary_that_lost_its_hostname_holds_and_a_bad_one_is_rolled_back_all_the_same() -> None:
    world, stable = with_stable()
    name = world.passes("b")
    play(world, 100, until=lambda w: w.weights.get(name) == 10)
    neighbour(world, seconds=-3600)
    world.remove("HTTPRoute", "bot")
    world.look()
    play(world, 60)
    assert world.status["candidate"]["step"] <= 1
    assert ("HTTPRoute", "bot") not in world.objects
    world.say("abort/1")
    play(world, 5)
    assert "rejection" in world.rollout(name)
    assert world.status["stable"]["revision"] == stable


@pytest.mark.parametrize(
    "harmless",
    [
        pytest.param(a_neighbour([SECOND], with_stable()[0].now), id="another hostname"),
        pytest.param(a_neighbour([HOST], with_stable()[0].now - timedelta(days=1), gateway="internal"), id="another Gateway"),
        pytest.param(
            {**(one := a_neighbour([HOST], with_stable()[0].now - timedelta(days=1))),
             "metadata": {**one["metadata"], "deletionTimestamp": "2026-06-01T12:00:00Z"}},
            id="on its way out",
        ),
        pytest.param(
            {**(two := a_neighbour([HOST], with_stable()[0].now - timedelta(days=1))),
             "metadata": {**two["metadata"], "namespace": "ml", "name": "bot"}},
            id="our own",
        ),
    ],
)  # fmt: skip
def test_what_is_no_conflict_changes_nothing(harmless: Json) -> None:
    world, stable = with_stable()
    world.neighbours.append(harmless)
    play(world, 5)
    assert world.snapshot().taken == {}
    assert world.weights == {stable: 100}


def test_a_route_is_read_as_what_it_names() -> None:
    (found,) = other_routes([a_neighbour([HOST], with_stable()[0].now)])
    assert (found.namespace, found.name, found.gateway) == ("team-b", "other", ("infra", "public"))
    assert found.hostnames == {HOST}


def test_of_several_the_oldest_is_told_of() -> None:
    world, _ = a_late_service()
    neighbour(world, seconds=-7200, name="first")
    neighbour(world, seconds=-1800, name="third")
    assert world.snapshot().taken == {HOST: "team-b/first"}


def test_the_others_routes_are_not_read_while_a_step_runs() -> None:
    """Looks at a running step come every few seconds; there is a look before each step."""
    world, _ = with_stable()
    assert hostnames.to_be_asked(world.snapshot())
    world.passes("b")
    play(world, 60, until=lambda w: "stepStartedAt" in w.status.get("candidate", {}))
    assert not hostnames.to_be_asked(world.snapshot())
    world.edit(lambda spec: spec["traffic"].update(hostnames=[SECOND]))
    assert hostnames.to_be_asked(world.snapshot())
