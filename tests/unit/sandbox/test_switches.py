import json
from typing import Any

import pytest

from relay.sandbox.errors import NOT_FOUND
from relay.sandbox.rows import order_text
from relay.sandbox.switches import BadSwitchError, Switches
from relay.sandbox.world import World


def row(world: World, **switches: Any) -> dict[str, Any]:
    return json.loads(order_text(world.order("openapitest", 1, 1), Switches(**switches)))  # type: ignore[no-any-return] # of our own making


def test_a_straight_row_is_the_same_by_either_way_of_writing_it(world: World) -> None:
    order = world.order("openapitest", 1, 1)
    order.extra = {"payment_status": "paid"}

    assert row(world) == order.row()
    assert list(row(world)) == list(order.row())


def test_amounts_become_strings_with_four_decimals_and_ids_do_not(world: World) -> None:
    payload = row(world, numbers_as_strings=True)["payload"]

    assert payload["delivery_fee"] == "2.5000"
    assert payload["products"][0]["meta"]["price"] == "8.5000"
    assert payload["products"][0]["count"] == "2.0000"
    assert payload["customer"]["id"] == 1


def test_booleans_become_numbers(world: World) -> None:
    payload = row(world, booleans_as_numbers=True)["payload"]

    assert payload["auto_order_accept"] == 0
    assert payload["auto_order_accept"] is not False
    assert payload["meta"]["apply_service_charge"] == 1


def test_objects_without_keys_become_lists(world: World) -> None:
    world.edit(world.order("openapitest", 1, 1), payload={"customer": {}, "meta": {}})

    bent = row(world, empty_objects_as_lists=True)

    assert bent["payload"] == {"customer": [], "meta": {"discount": []}}
    assert bent["integration_response"] == []


def test_what_is_missing_is_null(world: World) -> None:
    world.edit(world.order("openapitest", 1, 1), payload={"meta": {"comment": "x"}})

    assert row(world, nulls_for_missing=True)["payload"] == {
        "payload_updated_at": None,
        "delivery_fee": None,
        "customer": None,
        "products": None,
        "meta": {"comment": "x", "discount": None, "orderTotal": None},
        "customer_id": None,
        "sale_type_id": None,
    }


@pytest.mark.parametrize("payload", [None, [], "text", 7, {"meta": None}, {"meta": []}])
@pytest.mark.parametrize("switch", ["nulls_for_missing", "empty_objects_as_lists", "numbers_as_strings"])
def test_a_payload_of_any_type_can_be_bent(world: World, payload: Any, switch: str) -> None:
    world.edit(world.order("openapitest", 1, 1), payload=payload)

    assert row(world, **{switch: True})["id"] == 1


def test_more_keys_come_with_the_row(world: World) -> None:
    extra = set(row(world, extra_fields=True)) - set(row(world))

    assert {"receipt_id", "payment_status", "properties", "deleted_at", "not_in_any_document"} <= extra


def test_a_raw_row_is_written_as_it_is(world: World) -> None:
    order = world.order("openapitest", 1, 1)
    world.write_raw(order, '{"id": NaN,')

    assert order_text(order, Switches(extra_fields=True)) == '{"id": NaN,'


def test_an_error_comes_in_four_shapes() -> None:
    assert NOT_FOUND.body("sentence") == {
        "success": False,
        "error": "resource_not_found",
        "message": "Resource not found",
    }
    assert NOT_FOUND.body("slug")["error"] == "not_found"
    assert NOT_FOUND.body("list") == {
        "success": False,
        "error": [
            {
                "message": "Resource not found",
                "type": "server_side",
                "exception": "NotFoundHttpException",
                "http_code": 404,
            }
        ],
    }
    assert NOT_FOUND.body("details") == {"error": "not_found", "message": "Resource not found", "details": None}


@pytest.mark.parametrize(
    ("wanted", "why"),
    [
        ({"colour": "red"}, "there is no switch 'colour'"),
        ({"error_shape": "round"}, "error_shape is one of"),
        ({"max_limit": "200"}, "max_limit takes a int"),
        ({"max_limit": True}, "max_limit takes a int"),
        ({"ignore_sort": 1}, "ignore_sort takes a bool"),
        ({"latency_ms": -1}, "cannot be negative"),
    ],
)
def test_a_wrong_switch_is_refused_and_none_is_set(wanted: dict[str, Any], why: str) -> None:
    switches = Switches()

    with pytest.raises(BadSwitchError, match=why):
        switches.change({"quota_per_minute": 5} | wanted)

    assert switches == Switches()


def test_resetting_gives_the_defaults_back() -> None:
    switches = Switches()
    switches.change({"quota_per_minute": 5, "error_shape": "list"})
    switches.reset()

    assert switches == Switches()
