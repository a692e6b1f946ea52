"""No packet goes where it must not: real listeners as canaries, name servers made up."""

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable, Sequence
from ipaddress import ip_address

import pytest
from aiohttp import ClientOSError, ClientSession

from relay.core.netpolicy import NOWHERE, Address, CheckedUrl, Networks, parse_networks
from relay.egress.exchange import GuardedConnector
from relay.egress.guard import GuardedResolver, SystemLookup
from relay.egress.sender import Attempt, Sender
from tests.integration.senders import checked, post
from tests.integration.sinks import OK, Call, Sink

ONE = parse_networks("127.0.0.1/32")
TWO = parse_networks("127.0.0.2/32")

Names = dict[str, list[list[str]]]


def resolving(names: Names, asked: list[str] | None = None) -> Callable[[str], Awaitable[Sequence[Address]]]:
    """Resolve made-up names: to the first list at the first look-up, and so on; the last one from then on."""

    async def lookup(host: str) -> Sequence[Address]:
        if asked is not None:
            asked.append(host)
        answers = names.get(host)
        if answers is None:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        return [ip_address(text) for text in answer]

    return lookup


def name(host: str, port: int, *, scheme: str = "https", listed_only: bool = False) -> CheckedUrl:
    """Make a URL that passed the check at some time, whatever the rules say now."""
    return CheckedUrl(
        url=f"{scheme}://{host}:{port}/", scheme=scheme, host=host, port=port, address=None, listed_only=listed_only
    )


async def attempt_to(url: CheckedUrl, *, allow: Networks, names: Names) -> Attempt:
    async with Sender(allow=allow, lookup=resolving(names)) as sender:
        return await post(sender, url)


@pytest.mark.parametrize(
    "answers",
    [
        ["127.0.0.1"],
        ["8.8.8.8", "127.0.0.1"],
        ["127.0.0.1", "8.8.8.8"],
        ["::ffff:127.0.0.1"],
        ["::1"],
        ["::127.0.0.1"],
        ["64:ff9b::7f00:1"],
        ["0.0.0.0"],
        ["::"],
        ["::ffff:10.0.0.1"],
        ["169.254.169.254"],
    ],
)
@pytest.mark.parametrize("scheme", ["https", "http"])
async def test_a_name_with_a_forbidden_address_among_its_answers_is_not_called_at_all(
    answers: list[str], scheme: str
) -> None:
    async with Sink(host="127.0.0.1", raw=True) as canary:
        attempt = await attempt_to(
            name("partner.example", canary.port, scheme=scheme), allow=NOWHERE, names={"partner.example": [answers]}
        )
        assert canary.connections == 0
    assert (attempt.status_code, attempt.status_class, attempt.failure) == (None, "refused", "blocked")
    assert attempt.error is not None
    assert attempt.error.startswith("blocked: the address is ")


async def test_a_name_that_turns_inward_between_two_attempts_is_not_called() -> None:
    async def answer(call: Call) -> None:
        await call.send(OK)
        call.hang_up()

    names: Names = {"partner.example": [["127.0.0.2"], ["127.0.0.1"]]}
    async with (
        Sink(answer, host="127.0.0.2") as partner,
        Sink(host="127.0.0.1", port=partner.port, raw=True) as canary,
        Sender(allow=TWO, lookup=resolving(names)) as sender,
    ):
        url = name("partner.example", partner.port, scheme="http", listed_only=True)
        attempts = [await post(sender, url) for _ in range(2)]
        assert canary.connections == 0
    assert [(attempt.status_code, attempt.failure) for attempt in attempts] == [(200, None), (None, "blocked")]
    assert partner.connections == 1


async def test_the_address_that_was_checked_is_the_one_connected_to_without_a_second_look_up() -> None:
    asked: list[str] = []
    names: Names = {"partner.example": [["127.0.0.2"], ["127.0.0.1"]]}
    async with Sink(host="127.0.0.2") as partner, Sender(allow=TWO, lookup=resolving(names, asked)) as sender:
        url = name("partner.example", partner.port, scheme="http", listed_only=True)
        assert (await post(sender, url)).status_code == 200
        assert asked == ["partner.example"]
        assert partner.calls[0].header("host") == f"partner.example:{partner.port}"


async def test_each_connection_is_resolved_anew() -> None:
    async def answer(call: Call) -> None:
        await call.send(OK)
        call.hang_up()

    asked: list[str] = []
    names: Names = {"partner.example": [["127.0.0.2"]]}
    async with Sink(answer, host="127.0.0.2") as partner, Sender(allow=TWO, lookup=resolving(names, asked)) as sender:
        for _ in range(3):
            await post(sender, name("partner.example", partner.port, scheme="http", listed_only=True))
    assert asked == ["partner.example"] * 3


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_an_address_written_in_the_url_meets_the_same_check(scheme: str) -> None:
    async with Sink(host="127.0.0.1", raw=True) as canary:
        for host in ("127.0.0.1", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]"):
            url = CheckedUrl(
                url=f"{scheme}://{host}:{canary.port}/",
                scheme=scheme,
                host=host.strip("[]"),
                port=canary.port,
                address=ip_address(host.strip("[]")),
                listed_only=False,
            )
            async with Sender(allow=TWO) as sender:
                attempt = await post(sender, url)
            assert (attempt.status_class, attempt.failure) == ("refused", "blocked")
        assert canary.connections == 0


async def test_even_a_client_that_made_its_own_socket_would_send_nothing() -> None:
    async with Sink() as canary:
        connector = GuardedConnector(
            resolving({}), allow=TWO, listed_only=False, limit=1, tls=None, lookup_timeout_s=1.0
        )
        connector._socket_factory = None  # noqa: SLF001 - as if aiohttp forgot to ask
        async with ClientSession(connector=connector) as session:
            with pytest.raises(ClientOSError, match="loopback"):
                await session.post(f"http://127.0.0.1:{canary.port}/", data=b"x")
        assert canary.calls == []


@pytest.mark.parametrize("address", ["8.8.8.8", "127.0.0.1", "2606:4700:4700::1111"])
async def test_plain_http_and_private_names_go_to_listed_addresses_only(address: str) -> None:
    attempt = await attempt_to(
        name("partner.example", 9, scheme="http", listed_only=True), allow=TWO, names={"partner.example": [[address]]}
    )
    assert attempt.failure == "blocked"


async def test_a_listed_address_is_called_by_plain_http_on_any_port() -> None:
    async with Sink() as partner, Sender(allow=ONE) as sender:
        assert (await post(sender, checked(f"http://127.0.0.1:{partner.port}/", ONE))).status_code == 200
        assert (
            await post(sender, checked(f"http://localhost:{partner.port}/", parse_networks("127.0.0.1,::1")))
        ).status_code == 200


async def test_all_addresses_of_a_name_are_tried() -> None:
    both = parse_networks("127.0.0.2,127.0.0.3")
    async with Sink(host="127.0.0.3") as partner:
        attempt = await attempt_to(
            name("partner.example", partner.port, scheme="http", listed_only=True),
            allow=both,
            names={"partner.example": [["127.0.0.2", "127.0.0.3"]]},
        )
    assert attempt.status_code == 200


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (socket.gaierror(socket.EAI_NONAME, "x"), "dns: the host name does not resolve to an address"),
        (socket.gaierror(socket.EAI_NODATA, "x"), "dns: the host name does not resolve to an address"),
        (socket.gaierror(socket.EAI_AGAIN, "x"), "dns: the name server failed; this may pass"),
        (socket.gaierror(socket.EAI_FAIL, "x"), "dns: the name server failed; this may pass"),
        (OSError(5, "x"), "dns: the name server failed; this may pass"),
    ],
)
async def test_a_name_that_does_not_resolve_is_a_network_failure(error: OSError, sentence: str) -> None:
    async def lookup(_: str) -> Sequence[Address]:
        raise error

    async with Sender(allow=NOWHERE, lookup=lookup) as sender:
        attempt = await post(sender, "https://partner.example/")
    assert (attempt.status_class, attempt.failure, attempt.error) == ("network", "dns", sentence)


async def test_a_name_without_addresses_is_a_network_failure() -> None:
    attempt = await attempt_to(name("partner.example", 443), allow=NOWHERE, names={"partner.example": [[]]})
    assert (attempt.status_class, attempt.failure) == ("network", "dns")


@pytest.mark.parametrize(
    ("timeout_s", "lookup_timeout_s"), [(0.2, 3600.0), (3600.0, 0.2)], ids=["attempt's", "look-up's"]
)
async def test_a_name_server_that_hangs_costs_a_deadline(timeout_s: float, lookup_timeout_s: float) -> None:
    async def lookup(_: str) -> Sequence[Address]:
        await asyncio.Event().wait()
        raise AssertionError

    async with Sender(allow=NOWHERE, lookup=lookup, lookup_timeout_s=lookup_timeout_s) as sender:
        attempt = await post(sender, "https://partner.example/", timeout_s=timeout_s)
    assert (attempt.status_class, attempt.failure) == ("network", "dns")


async def test_a_flood_of_addresses_is_checked_whole_and_tried_in_part() -> None:
    async def lookup(_: str) -> Sequence[Address]:
        return [ip_address(0x08080000 + number) for number in range(5_000)]

    resolver = GuardedResolver(lookup, allow=NOWHERE, listed_only=False)
    assert len(await resolver.resolve("partner.example", 443)) == 8


class NameServer:
    """A blocking resolver whose answers wait until they are let go."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.hanging: set[str] = set()
        self.let_go = threading.Event()
        self.was_asked = threading.Event()

    def __call__(self, host: str) -> Sequence[str]:
        self.asked.append(host)
        self.was_asked.set()
        if host in self.hanging:
            self.let_go.wait(100)
        return ["127.0.0.1"]


async def test_a_blocking_look_up_does_not_block_others() -> None:
    server = NameServer()
    server.hanging = {"slow.example"}
    lookup = SystemLookup(server)
    stuck = [asyncio.create_task(lookup("slow.example")) for _ in range(20)]
    assert await asyncio.wait_for(lookup("fast.example"), 30) == (ip_address("127.0.0.1"),)
    server.let_go.set()
    assert set(await asyncio.gather(*stuck)) == {(ip_address("127.0.0.1"),)}
    assert server.asked.count("slow.example") == 1


async def test_an_answer_is_not_kept_for_the_next_who_asks() -> None:
    server = NameServer()
    lookup = SystemLookup(server)
    for _ in range(3):
        await lookup("partner.example")
    assert server.asked == ["partner.example"] * 3


async def test_look_ups_beyond_the_limit_wait_their_turn_and_those_given_up_are_skipped() -> None:
    server = NameServer()
    server.hanging = {"a.example", "b.example"}
    lookup = SystemLookup(server, max_threads=2)
    stuck = [asyncio.create_task(lookup(host)) for host in ("a.example", "b.example")]
    await asyncio.sleep(0)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(lookup("given-up.example"), 0.05)
    waiting = asyncio.create_task(lookup("c.example"))
    await asyncio.sleep(0.05)
    assert set(server.asked) == {"a.example", "b.example"}
    server.let_go.set()
    assert await asyncio.wait_for(waiting, 30) == (ip_address("127.0.0.1"),)
    await asyncio.gather(*stuck)
    assert "given-up.example" not in server.asked
    assert await lookup("given-up.example")


async def test_a_look_up_given_up_by_one_goes_on_for_the_others() -> None:
    server = NameServer()
    server.hanging = {"slow.example"}
    lookup = SystemLookup(server)
    patient = asyncio.create_task(lookup("slow.example"))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(lookup("slow.example"), 0.05)
    server.let_go.set()
    assert await patient == (ip_address("127.0.0.1"),)


@pytest.mark.parametrize(
    ("failure", "seen"),
    [
        (socket.gaierror(socket.EAI_NONAME, "x"), socket.gaierror),
        (UnicodeError("label too long"), socket.gaierror),
        (OSError(24, "Too many open files"), OSError),
    ],
)
async def test_a_look_up_that_fails_says_so_to_all_who_asked(failure: Exception, seen: type[OSError]) -> None:
    def fail(_: str) -> Sequence[str]:
        raise failure

    lookup = SystemLookup(fail)
    results = await asyncio.gather(*(lookup("partner.example") for _ in range(3)), return_exceptions=True)
    assert [type(result) for result in results] == [seen] * 3


async def test_look_ups_do_not_keep_the_process_from_ending() -> None:
    server = NameServer()
    server.hanging = {"slow.example"}
    stuck = asyncio.create_task(SystemLookup(server)("slow.example"))
    await asyncio.to_thread(server.was_asked.wait, 30)
    assert [thread.daemon for thread in threading.enumerate() if thread.name == "lookup slow.example"] == [True]
    server.let_go.set()
    await stuck


def test_a_look_up_that_outlives_its_loop_makes_no_noise() -> None:
    server = NameServer()
    server.hanging = {"slow.example"}

    async def give_up() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(SystemLookup(server)("slow.example"), 0.05)

    asyncio.run(give_up())
    server.let_go.set()
    for thread in threading.enumerate():
        if thread.name.startswith("lookup "):
            thread.join(30)


async def test_the_systems_own_look_up_knows_localhost() -> None:
    assert ip_address("127.0.0.1") in await SystemLookup()("localhost")


async def test_the_systems_own_look_up_answers_without_the_network_for_what_cannot_be_a_name() -> None:
    with pytest.raises(OSError, match=r"."):
        await SystemLookup()("a" * 64 + ".example")
