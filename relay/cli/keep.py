"""Commands of whoever keeps a relay: make it match a file, check the way to Clopos, change the keys."""

import asyncio
import dataclasses
import os
import secrets
import sys
import time
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from relay.cli.base import DONE, FAILED, WRONG_USAGE, as_json_option, main, print_json, quit_with, read_settings
from relay.cli.lists import open_api
from relay.core.signing import SECRET_BYTES, new_private_key, new_secret
from relay.settings import Role, Settings
from relay.supervise.data_dir import DataDir
from relay.supervise.up import redis_at_hand


@main.command(
    examples={
        "apply relay.yaml --dry-run": "What would change?",
        "apply relay.yaml": "Make it so; twice changes nothing more.",
        "apply relay.yaml --prune": "And remove the brands and subscriptions that the file lacks.",
        "apply --schema > relay.schema.json": "The JSON Schema of such files, for an editor.",
    }
)
@click.argument("file", required=False, type=click.Path(exists=True, dir_okay=False, readable=True, path_type=Path))
@click.option("--dry-run", is_flag=True, help="Print the difference and change nothing.")
@click.option("--prune", is_flag=True, help="Remove what the file lacks, of the kinds that it speaks of.")
@click.option("--schema", is_flag=True, help="Print the JSON Schema of such files, and do nothing else.")
@as_json_option
def apply(file: Path | None, *, dry_run: bool, prune: bool, schema: bool, as_json: bool) -> None:
    """Make brands and subscriptions match a YAML file."""
    from relay.apply import apply as apply_to
    from relay.apply import describe, file_schema, read_file, summary

    if schema:
        print_json(file_schema(), readable=True)
        return
    if file is None:
        raise click.UsageError("Missing argument 'FILE': the YAML file that says what there should be.")
    wanted = read_file(file, environ=os.environ)

    async def run() -> None:
        rows = []
        try:
            async with open_api() as client, aclosing(apply_to(client, wanted, prune=prune, dry_run=dry_run)) as steps:
                async for done in steps:
                    rows.append(dataclasses.asdict(done))
                    if not as_json:
                        click.secho(describe(done), fg=_COLOURS.get(done.action))
        finally:
            if as_json:
                print_json(rows)
        click.echo(summary([row["action"] for row in rows], dry_run=dry_run), err=True)

    asyncio.run(run())


_COLOURS = {"create": "green", "change": "yellow", "remove": "red"}


@main.command(
    examples={
        "check": "Does Clopos let each brand in, and what does it show?",
        "check openapitest": "One brand.",
        "check --json": "The same for a program; exit 1 where something is wrong.",
    }
)
@click.argument("brand", required=False)
@as_json_option
def check(brand: str | None, *, as_json: bool) -> None:
    """Sign in to Clopos, and say what is wrong. For one brand or all; needs no running relay."""
    from relay.clopos.check import describe

    findings = asyncio.run(_check(brand))
    if as_json:
        print_json([dataclasses.asdict(finding) for finding in findings])
    elif findings:
        click.echo("\n\n".join(map(describe, findings)))
    if not findings:
        quit_with(
            FAILED, "there is no brand to check: put one into a file, and `relay apply FILE` (relay apply --help)"
        )
    sys.exit(FAILED if any(finding.problems for finding in findings) else DONE)


async def _check(name: str | None) -> list[Any]:
    from relay.clopos.check import check_brand
    from relay.clopos.transport import Transport
    from relay.pipeline.poll_context import access_of
    from relay.store.brands import BrandStore
    from relay.store.scripts import Scripts

    async with _open_store() as (settings, redis, vault):
        brands = await BrandStore(redis, Scripts(redis)).all()
        if name is not None and name not in brands:
            quit_with(FAILED, f"no brand {name!r} here; there are: {', '.join(brands) or 'none'}")
        transport = Transport(allow=settings.allow_networks)
        try:
            return [
                await check_brand(
                    transport,
                    access_of(stored, vault=vault, clopos_url=settings.clopos_url),
                    wanted_venues=stored.value.venues,
                    monotonic=time.monotonic,
                )
                for stored in brands.values()
                if name in (None, stored.id)
            ]
        finally:
            await transport.aclose()


@main.command(
    examples={
        "rekey": "After a new key was put before the old one in RELAY_SECRET_KEYS; the old one may go then.",
        "rekey --forget-lost": "Where a key is lost: disable what it sealed, so that the rest can start.",
    }
)
@click.option("--forget-lost", is_flag=True, help="Disable what none of the keys opens, and forget its secrets.")
@as_json_option
def rekey(*, forget_lost: bool, as_json: bool) -> None:
    """Encrypt every stored secret anew. With the first of RELAY_SECRET_KEYS."""
    from relay.store.rekey import describe

    done = asyncio.run(_rekey(forget_lost=forget_lost))
    if as_json:
        print_json(dataclasses.asdict(done))
    else:
        click.echo(describe(done))
    sys.exit(FAILED if done.lost else DONE)


async def _rekey(*, forget_lost: bool) -> Any:
    from relay.store import rekey

    async with _open_store() as (_, redis, vault):
        if forget_lost:
            now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
            for name in await rekey.forget_lost(redis, vault, new_secret=_new_secret, now=now):
                click.echo(f"given up: {name}", err=True)
        return await rekey.rekey(redis, vault)


def _new_secret(signature: str) -> str:
    make = new_private_key if signature == "v1a" else new_secret
    return make(secrets.token_bytes(SECRET_BYTES))


@asynccontextmanager
async def _open_store() -> AsyncIterator[tuple[Settings, Any, Any]]:
    """Open the Redis of the relay on this machine, and what its secrets are sealed with."""
    from relay.store.away import explain
    from relay.store.connection import open_redis
    from relay.store.vault import Vault

    settings = read_settings(Role.COMMAND)
    keys = settings.secret_keys or tuple((DataDir(settings.data_dir).known_secret_keys() or "").split(","))
    if not any(keys):
        quit_with(WRONG_USAGE, f"RELAY_SECRET_KEYS is missing, and {settings.data_dir} holds none")
    async with redis_at_hand(settings, environ=os.environ) as url:
        redis = open_redis(url)
        try:
            yield settings, redis, Vault(keys)
        except Exception as error:
            raise explain(error) or error from error
        finally:
            await redis.aclose()
