"""What the load benchmark computes from its runs. The servers themselves: make bench-serve."""

from __future__ import annotations

import asyncio
import json
import math

import serve
from serve import Peer, Run


def a_run(rate: float, p95: float, *texts: str) -> Run:
    return Run(rate, p95, texts or ("same", "same"))


def test_the_worst_load_counts_beside_the_better_of_the_peers_two_ways() -> None:
    found = serve.summary(
        {
            "serin": {1: a_run(20, 0.05), 16: a_run(100, 0.4)},
            "theirs": {1: a_run(10, 0.10), 16: a_run(20, 0.8)},
            "theirs batched": {1: a_run(5, 0.20), 16: a_run(80, 0.2)},
        }
    )
    assert (found["requestsRatio"], found["p95Ratio"]) == (1.25, 2.0)
    assert [(row["clients"], row["requestsRatio"], row["p95Ratio"]) for row in found["loads"]] == [
        (1, 2.0, 0.5),
        (16, 1.25, 2.0),
    ]
    assert found["identical"] == 1.0


def test_answers_that_differ_are_told() -> None:
    runs = {"serin": {1: a_run(1, 1, "a", "b")}, "theirs": {1: a_run(1, 1, "a", "x")}}
    assert serve.summary(runs)["identical"] == 0.5


def test_the_median_round_counts() -> None:
    found = serve.medians([a_run(1, 9), a_run(100, 0.1), a_run(3, 2)])
    assert (found.rate, found.p95) == (3, 2)


async def test_clients_share_the_requests_and_wait_for_each_answer() -> None:
    """Against a server that answers each prompt with its length, one connection at a time."""
    open_now = most = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal open_now, most
        while head := await reader.readuntil(b"\r\n\r\n"):
            open_now += 1
            most = max(most, open_now)
            length = int(head.decode().lower().split("content-length:")[1].split("\r\n")[0])
            prompt = json.loads(await reader.readexactly(length))["prompt"]
            await asyncio.sleep(0.05)
            body = json.dumps({"choices": [{"text": str(len(prompt))}]}).encode()
            open_now -= 1
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
            if reader.at_eof():
                break

    async def forgiving(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await answer(reader, writer)
        except asyncio.IncompleteReadError:
            writer.close()

    server = await asyncio.start_server(forgiving, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    run = await serve.load_on(Peer("played", [], {}, port, "m"), clients=3, requests=9)
    server.close()
    assert most == 3
    assert [int(text) for text in run.texts] == [len(json.loads(serve.body_of(PEER, n))["prompt"]) for n in range(9)]
    assert 0.05 <= run.p95 < math.inf
    assert run.rate <= 60


PEER = Peer("any", [], {}, 0, "m")
