"""How is a list looked at that is read whole: stations, venues?"""

from relay.pipeline.judge import Rules
from relay.pipeline.look import Pass, look_at_all
from relay.pipeline.one_look import Observer, Target
from relay.pipeline.reading import Reader, Tally
from relay.pipeline.reconcile import see_to_missing
from relay.store.quota import Granted
from relay.store.snapshots import REMOVED


async def look_at_list(
    observer: Observer, target: Target, rules: Rules, *, tally: Tally, grant: Granted | None, now_ms: int
) -> bool:
    """Read a list whole, and see to what is missing from it; False when that failed.

    Args:
        observer: takes the look.
        target: the list.
        rules: how to take its rows.
        tally: what it brings.
        grant: a place in the quota for its first page.
        now_ms: Redis' clock.
    """
    state = target.state

    async def look(reader: Reader) -> Pass:
        done = await look_at_all(reader, state, rules, tally=tally, now_ms=now_ms, grant=grant)
        heads = await reader.snapshots.all_heads(reader.scope)
        known = {thing_id for thing_id, head in heads.items() if REMOVED not in head.flags}
        expected = known if rules.only is None else known & rules.only
        if not rules.silent and not done.cut:
            await see_to_missing(reader, state, rules, tally=tally, expected=expected, asked=False)
        return done

    done = await observer.take(target, tally, look, began_ms=now_ms)
    if done is not None:
        state.looked_ms = now_ms
    return done is not None
