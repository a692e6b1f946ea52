"""Three sentinels, a primary that dies, a replica that is behind: real processes, under traffic."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.e2e.installations import Traffic, installation
from tests.e2e.rigs import until
from tests.e2e.sentinels import role_is, sentinels

LOST_S = 1.5


async def test_a_failover_to_a_replica_that_is_behind_tells_every_partner_the_truth_in_the_end() -> None:
    with tempfile.TemporaryDirectory(prefix="relay-e2e-") as name:
        folder = Path(name)
        async with sentinels(folder) as group, installation(group.url, folder) as relay:
            async with Traffic(relay.clopos, per_s=20, most_open=60) as traffic:
                await relay.partner.got(20, timeout_s=60)
                took_s = await group.fail_over(lose_s=LOST_S)
                received = len(relay.partner.calls)
                await relay.partner.got(received + 20, timeout_s=60)
                group.primary.start()  # it comes back, and is a replica from now on
                await until(lambda: role_is(group.primary, "slave"), timeout_s=60)
                received = len(relay.partner.calls)
                await relay.partner.got(received + 20, timeout_s=60)
            quiet_s = await relay.quiet()
            figures = relay.judge(went_back=True)
            longest_s = traffic.delays_s(relay.calls())[-1]
            print(  # noqa: T201  the figures are what the test is for
                f"failover {took_s:.1f} s, quiet after {quiet_s:.1f} s, requests {figures.requests}, "
                f"events {figures.events}, repeated {figures.repeated}, longest delay {longest_s:.1f} s"
            )
            assert figures.repeated > 5  # what was lost was seen again, and told again under the same id
            assert longest_s < took_s + LOST_S + 30
            assert all(process.popen.poll() is None for process in relay.processes.values()), relay.tail()
            assert all("p@ss" not in str(line) and "of the sentinels" not in str(line) for line in relay.logs())
