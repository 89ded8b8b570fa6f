"""The simulated ports: a disk that may kill, a network that may cut, a guard that names the line."""

from __future__ import annotations

import asyncio
import random
import socket
import time
from collections.abc import Callable
from typing import Literal

import pytest

from interlock.testing.sim.guard import RealWorldTouched, sealed
from interlock.testing.sim.loop import Process, SimLoop, run
from interlock.testing.sim.net import Conditions, Network
from interlock.testing.sim.ports import CommitFault, SimClock, SimOffload

SECOND = 1_000_000


class Recorder(asyncio.Protocol):
    """Keeps what happens to it; answers each line with the same line if it is a server."""

    def __init__(self, loop: SimLoop, echo: bool = False) -> None:
        self.echo = echo
        self.seen = b""
        self.pieces = 0
        self.paused: list[Literal["pause", "resume"]] = []
        self.lost: asyncio.Future[Exception | None] = loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.seen += data
        self.pieces += 1
        if self.echo:
            self.transport.write(data)

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(exc)

    def pause_writing(self) -> None:
        self.paused.append("pause")

    def resume_writing(self) -> None:
        self.paused.append("resume")


class Pair:
    """A client and an echo server on two hosts, each in its own process."""

    def __init__(self, loop: SimLoop, conditions: Conditions, *, echo: bool = True) -> None:
        self.network = Network(loop, lambda _host, _port: conditions)
        self.loop = loop
        self.clock = SimClock(loop)
        self.server_process, self.client_process = Process(loop, "server"), Process(loop, "client")
        self.servers: list[Recorder] = []
        self.echo = echo

    def serve(self) -> Recorder:
        self.servers.append(Recorder(self.loop, self.echo))
        return self.servers[-1]

    async def connect(self) -> Recorder:
        server, client = self.network.host("server"), self.network.host("client")
        await self.server_process.spawn(server.listen(self.serve, "0.0.0.0", 80))
        transport = await self.client_process.spawn(client.connect(lambda: Recorder(self.loop), "server", 80))
        protocol = transport.get_protocol()
        assert isinstance(protocol, Recorder)
        return protocol

    async def rest(self, us: int = SECOND) -> None:
        await self.clock.sleep_until(self.loop.now_us + us)


def outcome(conditions: Conditions, act: Callable[[Pair, Recorder], None], *, seed: int = 1) -> tuple[Pair, Recorder]:
    async def main(loop: SimLoop) -> tuple[Pair, Recorder]:
        pair = Pair(loop, conditions)
        client = await pair.connect()
        await pair.rest()
        act(pair, client)
        await pair.rest()
        return pair, client

    return run(main, seed)[0]


def test_bytes_arrive_whole_and_in_order_however_they_are_split() -> None:
    text = bytes(range(256)) * 20
    for seed in range(20):
        pair, client = outcome(Conditions(split=1.0), lambda _, client: client.transport.write(text), seed=seed)
        assert client.seen == text
        assert pair.servers[0].pieces > 1


def test_a_close_lets_what_was_written_arrive_and_ends_both_sides_without_error() -> None:
    def act(pair: Pair, client: Recorder) -> None:
        client.transport.write(b"last words")
        client.transport.close()

    pair, client = outcome(Conditions(), act)
    assert pair.servers[0].seen == b"last words"
    assert (client.lost.result(), pair.servers[0].lost.result()) == (None, None)


def test_a_reset_comes_at_the_byte_it_was_asked_for() -> None:
    pair, client = outcome(Conditions(reset_request_at=4), lambda _, client: client.transport.write(b"abcdefgh"))
    assert pair.servers[0].seen in {b"", b"abcd"}
    assert isinstance(client.lost.result(), ConnectionResetError)
    assert isinstance(pair.servers[0].lost.result(), ConnectionResetError)


def test_an_answer_can_be_lost_after_its_request_took_effect() -> None:
    pair, client = outcome(Conditions(reset_answer_at=0), lambda _, client: client.transport.write(b"effect"))
    assert (pair.servers[0].seen, client.seen) == (b"effect", b"")
    assert isinstance(client.lost.result(), ConnectionResetError)


def test_a_muted_connection_stays_open_and_says_nothing() -> None:
    pair, client = outcome(Conditions(mute_answer_at=0), lambda _, client: client.transport.write(b"hello"))
    assert (pair.servers[0].seen, client.seen, client.lost.done()) == (b"hello", b"", False)


def test_the_connections_of_a_killed_process_are_reset_and_its_listener_is_gone() -> None:
    def act(pair: Pair, client: Recorder) -> None:
        pair.server_process.kill()
        pair.network.drop(pair.server_process)

    pair, client = outcome(Conditions(), act)
    assert isinstance(client.lost.result(), ConnectionResetError)
    assert not pair.servers[0].lost.done()

    async def main(loop: SimLoop) -> None:
        pair = Pair(loop, Conditions())
        await pair.connect()
        pair.network.drop(pair.server_process)
        with pytest.raises(ConnectionRefusedError):
            await pair.network.host("client").connect(lambda: Recorder(loop), "server", 80)

    run(main, 1)


def test_a_stopped_process_reads_nothing_until_it_is_resumed() -> None:
    async def main(loop: SimLoop) -> tuple[bytes, bytes]:
        pair = Pair(loop, Conditions())
        client = await pair.connect()
        await pair.rest()
        pair.server_process.stop()
        client.transport.write(b"hello")
        await pair.rest(60 * SECOND)
        before = pair.servers[0].seen
        pair.server_process.resume()
        await pair.rest()
        return before, client.seen

    assert run(main, 1)[0] == (b"", b"hello")


def test_a_slow_reader_pauses_its_writer_and_resuming_it_loses_nothing() -> None:
    async def main(loop: SimLoop) -> tuple[list[str], int]:
        pair = Pair(loop, Conditions(), echo=False)
        client = await pair.connect()
        await pair.rest()
        pair.servers[0].transport.pause_reading()
        for _ in range(10):
            client.transport.write(bytes(20_000))
        await pair.rest()
        assert client.paused == ["pause"]
        pair.servers[0].transport.resume_reading()
        await pair.rest()
        return list(client.paused), len(pair.servers[0].seen)

    assert run(main, 1)[0] == (["pause", "resume"], 200_000)


@pytest.mark.parametrize(
    ("conditions", "host", "error"),
    [
        (Conditions(refuse=True), "server", ConnectionRefusedError),
        (Conditions(), "nowhere", socket.gaierror),
        (Conditions(vanish=True), "server", TimeoutError),
    ],
)
def test_connecting_fails_as_sockets_do(conditions: Conditions, host: str, error: type[Exception]) -> None:
    async def main(loop: SimLoop) -> None:
        network = Network(loop, lambda _host, _port: conditions)
        net = network.host("client")
        await network.host("server").listen(lambda: Recorder(loop), "0.0.0.0", 80)
        with pytest.raises(error):
            async with SimClock(loop).deadline(loop.now_us + SECOND):
                await net.connect(lambda: Recorder(loop), host, 80)

    run(main, 1)


def offloaded(fault: CommitFault | None) -> tuple[list[str], str]:
    async def main(loop: SimLoop) -> tuple[list[str], str]:
        disk: list[str] = []
        process = Process(loop, "p")
        seen = ["nothing"]

        async def body() -> None:
            offload = SimOffload(loop, lambda: 1_000, lambda: fault)
            try:
                await offload.run(lambda: disk.append("written"))
                seen[0] = "answered"
            except OSError:
                seen[0] = "failed"

        process.spawn(body())
        await SimClock(loop).sleep_until(loop.now_us + SECOND)
        return disk, seen[0]

    return run(main, 1)[0]


@pytest.mark.parametrize(
    ("fault", "disk", "seen"),
    [
        (None, ["written"], "answered"),
        ("killed-before", [], "nothing"),
        ("killed-after", ["written"], "nothing"),
        ("failed-before", [], "failed"),
        ("failed-after", ["written"], "failed"),
    ],
)
def test_a_commit_can_fail_or_kill_before_it_is_durable_or_before_it_is_answered(
    fault: CommitFault | None, disk: list[str], seen: str
) -> None:
    assert offloaded(fault) == (disk, seen)


def test_an_offload_does_one_thing_after_the_other() -> None:
    async def main(loop: SimLoop) -> list[int]:
        order: list[int] = []
        took = iter([5_000, 10, 2_000])
        offload = SimOffload(loop, lambda: next(took))
        await asyncio.gather(*[offload.run(lambda n=n: order.append(n)) for n in range(3)])
        return order

    for seed in range(10):
        assert run(main, seed, "random")[0] == [0, 1, 2]


@pytest.mark.parametrize("touch", [time.time.__name__, "monotonic"])
def test_real_time_in_simulation_is_an_error_that_names_the_line(touch: str) -> None:
    async def main(loop: SimLoop) -> None:
        with pytest.raises(RealWorldTouched, match=rf"time\.{touch} .*test_sim_ports\.py:\d+"):
            getattr(time, touch)()

    with sealed():
        run(main, 1)


def test_a_real_socket_or_chance_in_simulation_is_an_error() -> None:
    async def main(loop: SimLoop) -> None:
        with pytest.raises(RealWorldTouched, match=r"socket\.socket"):
            socket.socket()
        with pytest.raises(RealWorldTouched, match="Random port"):
            random.random()

    with sealed():
        run(main, 1)


def test_outside_a_simulated_loop_nothing_is_refused_and_afterwards_nothing_is_patched() -> None:
    original = time.time
    with sealed():
        assert time.time() > 0
        with socket.socket() as opened:
            assert isinstance(opened, socket.socket)
    assert time.time is original
