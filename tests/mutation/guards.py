"""Which guards do the scripts have, and who would miss each?  One line or condition, without it, and tests to ask."""

from __future__ import annotations

from dataclasses import dataclass

SIMULATED = frozenset(
    {
        *("commit", "settle", "take", "claim_lanes", "keep_lanes", "drain_lane"),
        *("poll_claim", "poll_note", "poll_release", "quota_acquire", "token_take", "token_keep", "command_begin"),
    }
)
"""Scripts that the simulation runs: it is asked where no test notices."""


@dataclass(frozen=True, slots=True)
class Guard:
    """One guard.

    Attributes:
        script: its name.
        there: the guard, as the script has it.
        gone: what stands there without it.
        tests: files below ``tests/integration``, by their names without ``test_``.
    """

    script: str
    there: str
    gone: str
    tests: tuple[str, ...]


_LANES = ("lane_scripts", "ledger_model", "deliver", "deliver_crashes")

GUARDS = (
    Guard(
        "commit",
        "if fence ~= '' and call('HGET', KEYS[7], 'fence') ~= fence then",
        "if false then",
        ("commit_guards", "poll_store", "poll"),
    ),
    Guard(
        "commit",
        "if (call('GET', KEYS[8]) or '0') ~= epoch then",
        "if false then",
        ("commit_guards", "story", "poll", "lane_corruption", "ledger_model"),
    ),
    Guard(
        "commit",
        "  elseif same then\n    change.result = { 0 }\n",
        "",
        ("commit_guards", "story", "poll", "lane_corruption", "ledger_model"),
    ),
    Guard(
        "commit",
        "elseif current ~= change.expected or (written and tonumber(written) > started) then\n",
        "elseif false then\n",
        ("commit_guards", "story", "poll", "lane_corruption", "ledger_model"),
    ),
    Guard(
        "commit",
        "current ~= change.expected or (written and tonumber(written) > started)",
        "current ~= change.expected",
        ("commit_guards", "story", "poll", "lane_corruption", "ledger_model"),
    ),
    Guard(
        "commit",
        "current ~= change.expected or (written and tonumber(written) > started)",
        "(written and tonumber(written) > started)",
        ("commit_guards", "story", "poll", "lane_corruption", "ledger_model"),
    ),
    Guard(
        "commit",
        "if change.announcement ~= '' and not call('LPOS', KEYS[11], change.announcement) then",
        "if false then",
        ("commit_guards", "deliver_endpoints", "poll_faults", "story"),
    ),
    Guard(
        "commit",
        "stamp = math.max(stamp + 1, now_ms * STAMPS_PER_MS)",
        "stamp = now_ms * STAMPS_PER_MS",
        ("commit_guards", "story", "poll", "lane_corruption", "ledger_model"),
    ),
    Guard(
        "commit",
        "sequence = math.max(now_ms, change.sequence + 1)",
        "sequence = now_ms",
        ("commit_guards", "story", "poll", "lane_corruption", "ledger_model"),
    ),
    Guard(
        "commit",
        "        if not sound then corrupt[#corrupt + 1] = sub end",
        "",
        (
            "commit_guards",
            "lane_corruption",
        ),
    ),
    Guard(
        "commit",
        "if not lane.gate and lane.hold <= now_ms then",
        "if true then",
        ("commit_guards", "story", "poll", "lane_corruption", "ledger_model", "deliver_endpoints"),
    ),
    Guard(
        "commit",
        "if lane.owner and lane.till > now_ms then",
        "if lane.owner then",
        ("late_writes", "commit_guards", "story", "poll", "lane_corruption", "ledger_model", "wake"),
    ),
    Guard(
        "commit",
        "if lane.owner and lane.till > now_ms then",
        "if false then",
        ("late_writes", "commit_guards", "story", "poll", "lane_corruption", "ledger_model", "wake", "deliver"),
    ),
    Guard(
        "commit",
        "call('RPUSH', lane.stem .. ':q:' .. queue, (string.gsub(head, '^-', '')), text(position))",
        "call('RPUSH', lane.stem .. ':q:' .. queue, head, text(position))",
        _LANES,
    ),
    Guard(
        "commit",
        "            if head then\n",
        "            if false then\n",
        _LANES,
    ),
    Guard("commit", "if change.settled then", "if true then", ("retention", "poll")),
    Guard("commit", "if change.settled then", "if false then", ("retention", "poll")),
    Guard("settle", "if tonumber(call('HGET', lane, 'fence') or '-1') ~= fence then", "if false then", _LANES),
    Guard("settle", "    if lists[index][1] ~= position then\n      answers[index] = 2\n    elseif", "    if", _LANES),
    Guard("settle", "    elseif tonumber(attempts) ~= number - 1 then\n      answers[index] = 2\n", "", _LANES),
    Guard(
        "settle",
        "      answers[index] = 2\n      advance(queue, lists[index])\n",
        "      answers[index] = 2\n",
        _LANES,
    ),
    Guard(
        "settle",
        "pcall(write, KEYS[1], sums)",
        "write(KEYS[1], sums)",
        (
            "lane_scripts",
            "lane_corruption",
        ),
    ),
    Guard("settle", "if verdict == 'x' then dead[#dead + 1], dead[#dead + 2] = now_ms, position end", "", _LANES),
    Guard(
        "settle",
        "if announcement ~= '' then announced[#announced + 1] = announcement end",
        "",
        ("lane_scripts", "deliver_endpoints", "deliver", "story"),
    ),
    Guard("settle", "if release then call('HSET', lane, 'flush', '1') end", "", _LANES),
    Guard("take", "if tonumber(state[1]) ~= fence or not owned then", "if not owned then", _LANES),
    Guard("take", "if tonumber(state[1]) ~= fence or not owned then", "if tonumber(state[1]) ~= fence then", _LANES),
    Guard("take", "  if state[2] then return { 'shut', 0, {} } end\n", "", _LANES),
    Guard("take", "if #kept > 0 then mark(retry, kept) end", "", _LANES),
    Guard("take", "    mark(ready, found)\n", "", _LANES),
    Guard("take", "if ENDED[ended] then", "if false then", _LANES),
    Guard("take", "if #waiting < 1000 then call('HDEL', lane, 'flush') end", "", _LANES),
    Guard("claim_lanes", "  if state[1] then\n    call('ZREM', KEYS[1], sub)\n    return\n  end\n", "", _LANES),
    Guard(
        "claim_lanes", "      call('ZADD', lane .. name, string.sub(taken[index + 1], 2), taken[index])\n", "", _LANES
    ),
    Guard(
        "claim_lanes",
        "local fence = call('HINCRBY', lane, 'fence', 1)",
        "local fence = tonumber(call('HGET', lane, 'fence') or '1')",
        _LANES,
    ),
    Guard("claim_lanes", "  call('ZADD', KEYS[1], lease_end, sub)\n", "", _LANES),
    Guard("keep_lanes", "  if tonumber(state[1]) ~= fence then return -1 end\n", "", _LANES),
    Guard("keep_lanes", "    if not state[5] then return -1 end", "    ", _LANES),
    Guard(
        "keep_lanes", "      call('ZADD', lane .. name, string.sub(taken[index + 1], 2), taken[index])\n", "", _LANES
    ),
    Guard(
        "keep_lanes",
        "  if due and hold > due then due = hold end\n",
        "",
        ("lane_scripts", "ledger_model", "deliver", "deliver_crashes", "deliver_endpoints"),
    ),
    Guard("keep_lanes", "if due and not state[2] then", "if due then", _LANES),
    Guard(
        "poll_claim",
        "local fence = call('HINCRBY', lease, 'fence', 1)",
        "local fence = tonumber(call('HGET', lease, 'fence') or '1')",
        ("commit_guards", "poll_store", "poll"),
    ),
    Guard(
        "poll_note",
        "if redis.call('HGET', KEYS[1], 'fence') ~= ARGV[1] then return",
        "if false then return",
        ("commit_guards", "poll_store", "poll"),
    ),
    Guard(
        "poll_release",
        "if redis.call('HGET', KEYS[1], 'fence') ~= ARGV[1] then return",
        "if false then return",
        ("commit_guards", "poll_store", "poll"),
    ),
    Guard(
        "put_document",
        "if expected == 0 and current then",
        "if false then",
        ("commit_guards", "api_brands", "api_subscriptions"),
    ),
    Guard(
        "put_document",
        "if expected ~= version then",
        "if false then",
        ("commit_guards", "api_brands", "api_subscriptions"),
    ),
    Guard(
        "put_document",
        "if owner and owner ~= ARGV[1] then",
        "if false then",
        ("commit_guards", "api_brands", "api_subscriptions"),
    ),
    Guard(
        "put_document",
        "call('INCR', KEYS[2])",
        "",
        ("commit_guards", "api_subscriptions", "deliver_endpoints", "story"),
    ),
    Guard(
        "delete_document",
        "  redis.call('HINCRBY', KEYS[4], 'fence', 1)\n",
        "",
        ("commit_guards", "lane_scripts", "api_subscriptions", "deliver_endpoints"),
    ),
    Guard(
        "delete_document",
        "if ARGV[2] ~= '' and string.match(current, '^(%d+) ') ~= ARGV[2] then return -2 end\n",
        "",
        ("commit_guards", "api_brands", "api_subscriptions"),
    ),
    Guard(
        "reopen",
        "if KEYS[4] ~= '' and call('LINDEX', KEYS[4], 0) ~= ARGV[9] then return { 0, {} } end",
        "",
        ("replay", "the_past_of_a_subscription"),
    ),
    Guard(
        "reopen",
        "if state == 'x' then call('ZREM', lane .. ':dead', position) end",
        "",
        ("replay", "api_deliveries", "ledger_model"),
    ),
    Guard(
        "reopen",
        "      if not queued and ARGV[4] ~= '1' then",
        "      if false then",
        ("replay", "lane_corruption", "api_deliveries"),
    ),
    Guard(
        "drain_lane",
        "if not (owned and score < 0) and",
        "if",
        ("lane_scripts", "retention", "ledger_model", "deliver_endpoints"),
    ),
    Guard(
        "drain_lane",
        "      if not may_end(position, record) then break end\n",
        "",
        ("lane_scripts", "retention", "ledger_model"),
    ),
    Guard("command_begin", "if wait_ms > 0 then return { 'busy', wait_ms } end", "", ("command_locks", "ignore")),
    Guard("command_end", "if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end", "", ("command_locks", "ignore")),
    Guard(
        "token_take",
        "if busy > now then return token or { 'wait', busy - now } end\n",
        "",
        ("lane_scripts", "clopos_client", "quota"),
    ),
    Guard(
        "token_take", "if retry > now then return token or", "if false then return token or", ("clopos_client", "quota")
    ),
    Guard(
        "token_keep",
        "if state[1] ~= ARGV[1] then return 0 end\n",
        "",
        (
            "late_writes",
            "clopos_client",
        ),
    ),
    Guard(
        "quota_acquire", "if mine[1] > now then return { 0, math.ceil(mine[1] - now), 'blocked' } end", "", ("quota",)
    ),
    Guard("quota_acquire", "if left - reserved < 1 or polls >= most_polls then", "if false then", ("quota",)),
    Guard("quota_acquire", "if left < 1 then return { 0, oldest, 'window' } end", "", ("quota",)),
    Guard("quota_acquire", "if early > 0 then return { 0, math.ceil(early), 'pace' } end", "", ("quota",)),
    Guard("quota_sign_in", "if made >= limit then", "if false then", ("quota", "clopos_client")),
    Guard("idempotency_begin", "if known[1] ~= ARGV[1] then return { 'other', 0 } end", "", ("api_requests",)),
    Guard("idempotency_begin", "if left > 0 then return { 'running', left } end", "", ("api_requests",)),
    Guard(
        "idempotency_end",
        "if redis.call('HGET', KEYS[1], 'nonce') ~= ARGV[1] then return 0 end",
        "",
        (
            "late_writes",
            "api_requests",
        ),
    ),
    Guard(
        "retire",
        "    if state == 'p' then\n      stamp",
        "    if false then\n      stamp",
        ("retention", "ledger_model"),
    ),
    Guard(
        "sweep",
        "if holder and holder ~= ARGV[1] then",
        "if false then",
        (
            "slots",
            "wake",
        ),
    ),
    Guard("slot_take", "if queued + running >= living then return 'full' end", "", ("slots",)),
    Guard("slot_start", "if call('ZSCORE', KEYS[2], ARGV[1]) then return 0 end", "", ("slots",)),
    Guard("append_log", "  if known then", "  if false then", ("late_writes", "the_past_of_a_subscription")),
    Guard("replace_record", "if same then redis", "if true then redis", ("late_writes", "forget_customer", "rekey")),
    Guard("swap_log", "if call('GET', KEYS[3]) ~= ARGV[1] then return -1 end", "", ("forget_customer",)),
    Guard("swap_log", "if #rest > most then return 0 end", "", ("forget_customer",)),
)
