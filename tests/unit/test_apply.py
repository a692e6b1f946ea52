from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml

from relay.apply import Done, FileWrongError, Step, Wanted, describe, file_schema, plan, read_file, summary

FILE = """
brands:
  - brand: openapitest
    client_id: demo-client
    client_secret: {env: CLOPOS_SECRET}
    integrator_id: demo-integrator
subscriptions:
  - name: courier
    url: https://courier.example/hooks
    event_types: ["order.*"]
    secret: {file: courier.secret}
"""
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BRAND = {
    "brand": "openapitest",
    "client_id": "demo-client",
    "integrator_id": "demo-integrator",
    "poll": {"orders": True, "stations": True, "venues": True},
}
COURIER: dict[str, Any] = {
    "id": "sub_1",
    "name": "courier",
    "url": "https://courier.example/hooks",
    "event_types": ["order.*"],
    "max_age": "10m",
}


def _read(tmp_path: Path, text: str, **environ: str) -> dict[str, list[Wanted]]:
    (tmp_path / "relay.yaml").write_text(text)
    return read_file(tmp_path / "relay.yaml", environ=environ)


def _problems(tmp_path: Path, text: str) -> str:
    with pytest.raises(FileWrongError) as wrong:
        _read(tmp_path, text)
    return wrong.value.message


def _plan(
    wanted: dict[str, list[dict[str, Any]]],
    *,
    brands: tuple[dict[str, Any], ...] = (),
    subscriptions: tuple[dict[str, Any], ...] = (),
    prune: bool = False,
) -> list[Step]:
    keys = {"brands": "brand", "subscriptions": "name"}
    return plan(
        {kind: [Wanted(kind, row[keys[kind]], row) for row in rows] for kind, rows in wanted.items()},
        {
            "brands": {f"/v1/brands/{row['brand']}": row for row in brands},
            "subscriptions": {f"/v1/subscriptions/{row['id']}": row for row in subscriptions},
        },
        prune=prune,
    )


def _described(step: Step) -> str:
    return describe(Done(step.action, step.kind, step.name, step.changes))


def test_secrets_are_looked_up_where_the_file_says(tmp_path: Path) -> None:
    (tmp_path / "courier.secret").write_text(f"{SECRET}\n")
    wanted = _read(tmp_path, FILE, CLOPOS_SECRET="demo-secret")
    assert wanted["brands"][0].fields["client_secret"] == "demo-secret"
    assert wanted["subscriptions"][0].fields["secret"] == SECRET
    assert "demo-secret" not in repr(wanted)


def test_a_secret_that_is_a_file_without_end_is_not_read_to_its_end(tmp_path: Path) -> None:
    assert "too large" in _problems(tmp_path, "brands:\n  - {brand: a, client_secret: {file: /dev/zero}}")


def test_a_file_that_grows_as_it_is_read_is_refused(tmp_path: Path) -> None:
    doubling = "".join(f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}\n" for n in range(1, 40))
    assert "line 2" in _problems(tmp_path, f"a0: &a0 {{b: c}}\n{doubling}")


def test_all_that_is_wrong_with_a_file_is_told_at_once_with_its_lines(tmp_path: Path) -> None:
    rest = """
    headers: {x-key: {env: COURIER_KEY}, x-tenant: {env: COURIER_TENANT}}
    event_type: ["order.creatd"]
    max_age: 600
  - name: 7
  - name: courier
  - name: kitchen
    url: null
    event_types: ["order.creatd"]
brand: []
"""
    file = str(tmp_path / "relay.yaml")
    unset = "is not set, or is empty"
    assert _problems(tmp_path, FILE.rstrip() + rest).splitlines() == [
        f"{file}, line {line}: {detail}"
        for line, detail in [
            (5, f"brands, 'openapitest', client_secret: the environment variable CLOPOS_SECRET {unset}"),
            (11, "subscriptions, 'courier', secret: the file courier.secret cannot be read: No such file or directory"),
            (12, f"subscriptions, 'courier', headers.x-key: the environment variable COURIER_KEY {unset}"),
            (12, f"subscriptions, 'courier', headers.x-tenant: the environment variable COURIER_TENANT {unset}"),
            (13, "subscriptions, 'courier', event_type: There is no such field; did you mean event_types?"),
            (14, "subscriptions, 'courier', max_age: Must be a string."),
            (15, "subscriptions, entry 2: `name` is missing or is no text: put it into quotes"),
            (16, "subscriptions, entry 3: 'courier' stands twice"),
            (19, "subscriptions, 'kitchen', event_types.0: Is no event type; did you mean order.created?"),
            (20, "'brand' is neither `brands` nor `subscriptions`"),
        ]
    ]


def test_an_alias_may_stand_for_what_was_written_before(tmp_path: Path) -> None:
    file = "brands:\n  - {brand: a, poll: &all {orders: true}}\n  - {brand: b, poll: *all}\n"
    assert [one.fields["poll"] for one in _read(tmp_path, file)["brands"]] == [{"orders": True}] * 2
    assert "entry 1" in _problems(tmp_path, "brands: &a\n  - *a\n")


def test_the_schema_for_editors_takes_the_file_and_refuses_a_wrong_one() -> None:
    def accepts(text: str) -> bool:
        return bool(jsonschema_rs.is_valid(file_schema(), yaml.safe_load(text)))

    assert accepts(FILE)
    assert accepts("brands: []\nsubscriptions:\n")
    assert not accepts(FILE + "brand: []")
    assert not accepts(FILE.replace("order.*", "order.creatd"))
    assert not accepts(FILE.replace("{env: CLOPOS_SECRET}", "{env: A, file: b}"))
    assert not accepts(FILE.replace("- name: courier", "- partner: courier"))
    assert accepts(FILE + "    headers: {x-a: {env: A}, x-b: text}\n    retry_schedule: [5s, 5m]\n")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("brands: [", "line 1"),
        ("- 1", "must hold"),
        ("", "must hold"),
        ("brands: 7", "brands is not a list"),
        ("brands:\n  - brand: a\n    brand: b", "line 3: the key 'brand' stands twice"),
        ("brands:\n  - {brand: a, client_secret: {env: A, file: b}}", "a secret is"),
        ("brands:\n  - {brand: a, client_secret: 7}", "a secret is"),
        ("a: !!python/object/apply:os.system [id]", "constructor"),
    ],
)
def test_a_file_that_is_not_understood_is_told_with_its_place(tmp_path: Path, text: str, told: str) -> None:
    message = _problems(tmp_path, text)
    assert told in message
    assert "relay.yaml" in message


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileWrongError, match="No such file"):
        read_file(tmp_path / "relay.yaml", environ={})


def test_what_is_not_there_is_created_with_its_secret() -> None:
    (step,) = _plan({"brands": [{**BRAND, "client_secret": "s"}]})
    assert (step.action, step.path) == ("create", "/v1/brands")
    assert step.body == {**BRAND, "client_secret": "s"}
    assert "client_secret" not in step.changes
    assert _described(step).splitlines() == [
        "brand openapitest: create",
        "    brand: openapitest",
        "    client_id: demo-client",
        "    integrator_id: demo-integrator",
        '    poll: {"orders":true,"stations":true,"venues":true}',
    ]


def test_all_of_it_is_counted_in_a_line() -> None:
    assert summary(["keep", "create", "keep"], dry_run=False) == "1 created, 2 unchanged"
    assert summary(["remove", "change"], dry_run=True) == "would be: 1 changed, 1 removed"
    assert summary([], dry_run=False) == "nothing is wanted"


def test_what_differs_is_changed_and_only_that() -> None:
    wanted = {**COURIER, "url": "https://courier.example/v2"}
    del wanted["id"]
    (step,) = _plan({"subscriptions": [wanted]}, subscriptions=(COURIER,))
    assert (step.action, step.path, step.body) == (
        "change",
        "/v1/subscriptions/sub_1",
        {"url": "https://courier.example/v2"},
    )
    assert _described(step) == (
        "subscription courier: change\n    url: https://courier.example/hooks → https://courier.example/v2"
    )


@pytest.mark.parametrize(
    "spelt",
    [
        {"max_age": "600s"},
        {"url": "https://courier.example/hooks/"},
        {"event_types": ["order.*"]},
    ],
)
def test_another_spelling_of_the_same_is_no_difference(spelt: dict[str, Any]) -> None:
    (step,) = _plan({"subscriptions": [{"name": "courier", **spelt}]}, subscriptions=(COURIER,))
    assert (step.action, step.body) == ("keep", {})
    assert _described(step) == "subscription courier: unchanged"


def test_another_spelling_of_the_same_time_is_no_difference() -> None:
    (step,) = _plan(
        {"brands": [{**BRAND, "backfill": "2026-01-01T04:00:00+04:00"}]},
        brands=({**BRAND, "backfill": "2026-01-01T00:00:00.000Z"},),
    )
    assert step.action == "keep"


def test_the_order_of_a_set_is_no_difference() -> None:
    present = {**COURIER, "event_types": ["order.*", "venue.*"]}
    (step,) = _plan(
        {"subscriptions": [{"name": "courier", "event_types": ["venue.*", "order.*"]}]}, subscriptions=(present,)
    )
    assert step.action == "keep"


def test_what_the_file_leaves_out_of_an_object_keeps_what_it_has() -> None:
    (step,) = _plan({"brands": [{**BRAND, "poll": {"stations": True}}]}, brands=(BRAND,))
    assert step.action == "keep"
    (step,) = _plan({"brands": [{**BRAND, "poll": {"stations": False}}]}, brands=(BRAND,))
    assert step.action == "change"


def test_the_secret_of_a_brand_goes_along_though_it_cannot_be_compared() -> None:
    (step,) = _plan({"brands": [{**BRAND, "client_secret": "s"}]}, brands=(BRAND,))
    assert (step.action, step.body) == ("keep", {"client_secret": "s"})
    assert "'s'" not in repr(step)


def test_headers_are_looked_up_like_secrets_and_go_along_without_being_shown(tmp_path: Path) -> None:
    row = "{name: courier, headers: {x-key: {env: KEY}, x-plain: v}}"
    wanted = _read(tmp_path, f"subscriptions:\n  - {row}\n", KEY="hunter2")
    present = {"/v1/subscriptions/sub_1": {**COURIER, "headers": {"x-key": None, "x-plain": None}}}
    (step,) = plan(wanted, {"subscriptions": present}, prune=False)
    assert (step.action, step.body) == ("keep", {"headers": {"x-key": "hunter2", "x-plain": "v"}})
    assert "hunter2" not in repr(step) + repr(wanted)


def test_what_counts_only_at_creation_is_no_difference_later() -> None:
    wanted = {"name": "courier", "start": "open_orders"}
    (step,) = _plan({"subscriptions": [wanted]}, subscriptions=(COURIER,))
    assert step.action == "keep"


def test_what_the_file_lacks_is_removed_only_when_told_to_subscriptions_first() -> None:
    unnamed = {"id": "sub_2", "name": None}
    wanted: dict[str, list[dict[str, Any]]] = {"brands": [], "subscriptions": []}
    assert _plan(wanted, brands=(BRAND,), subscriptions=(COURIER, unnamed)) == []
    steps = _plan(wanted, brands=(BRAND,), subscriptions=(COURIER, unnamed), prune=True)
    assert [(step.action, step.name) for step in steps] == [
        ("remove", "courier"),
        ("remove", "sub_2"),
        ("remove", "openapitest"),
    ]


def test_a_kind_that_the_file_does_not_speak_of_is_left_alone() -> None:
    assert _plan({"brands": [BRAND]}, brands=(BRAND,), subscriptions=(COURIER,), prune=True) == [
        Step("keep", "brands", "openapitest", "/v1/brands/openapitest", {}, {})
    ]
