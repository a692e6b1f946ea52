from pathlib import Path
from typing import Any

import pytest

from relay.apply import Done, FileWrongError, Step, Wanted, describe, plan, read_file

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
    (tmp_path / "courier.secret").write_text("whsec_abc\n")
    wanted = _read(tmp_path, FILE, CLOPOS_SECRET="demo-secret")
    assert wanted["brands"][0].fields["client_secret"] == "demo-secret"
    assert wanted["subscriptions"][0].fields["secret"] == "whsec_abc"
    assert "demo-secret" not in repr(wanted)


def test_all_that_is_wrong_with_a_file_is_told_at_once(tmp_path: Path) -> None:
    told = _problems(tmp_path, FILE + "\n  - name: 7\n  - name: courier\nbrand: []\n")
    for problem in (
        "'brand' is neither",
        "brands, 'openapitest': the environment variable CLOPOS_SECRET is not set",
        "subscriptions, 'courier': the file courier.secret cannot be read",
        "subscriptions, entry 2: `name` is missing",
        "subscriptions, entry 3: 'courier' stands twice",
    ):
        assert problem in told


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
        "subscription courier: change url 'https://courier.example/hooks' → 'https://courier.example/v2'"
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
