"""Has the Redis of this machine's relay lost everything since it ran last? Then it is not started as if it were new."""

from datetime import UTC, datetime

from relay.pipeline.installation import remembered_ms
from relay.settings import SettingsError
from relay.store.away import STORE_ERRORS
from relay.store.connection import open_redis
from relay.store.installation import InstallationStore
from relay.store.scripts import Scripts
from relay.supervise.data_dir import DataDir


async def refuse_emptied(redis_url: str, data_dir: DataDir) -> None:
    """Refuse to go on where the data directory remembers more than Redis does.

    A Redis that is away has said nothing: the processes wait for it, and look themselves.

    Raises:
        SettingsError: what to do about it.
    """
    known_ms = remembered_ms(data_dir.installation_file)
    if not known_ms:
        return
    redis = open_redis(redis_url)
    try:
        since_ms = await InstallationStore(Scripts(redis)).since_ms()
    except STORE_ERRORS:
        return
    finally:
        await redis.aclose()
    if not since_ms:
        since = datetime.fromtimestamp(known_ms / 1000, UTC).isoformat(timespec="seconds")
        begin_anew = (
            f"if they are gone: remove {data_dir.installation_file}, start, and `relay apply` your file; "
            "each brand is then looked at as for the first time, and what happened meanwhile is not announced"
        )
        raise SettingsError(
            [
                f"Redis is empty, but {data_dir.path} remembers a relay with brands or subscriptions since {since}",
                "another RELAY_REDIS_URL or database, or a volume that is not there? Put the data back and start again",
                begin_anew,
            ]
        )
