"""One brand's orders, and the sorted indexes that let a page of 100 000 of them be cut without sorting."""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator
from contextlib import contextmanager
from operator import itemgetter
from typing import Any, TypeAlias

from relay.sandbox.model import Order
from relay.sandbox.query import ListQuery

Key: TypeAlias = tuple[int, float, str]
Entry: TypeAlias = tuple[Key, int, int, int]
"""Sort key, tie-break, venue id, order id."""

_CACHED_LISTS = 8
_AFTER_EVERY_TIME_OF_DAY = "~"


def sort_key(value: Any) -> Key:
    """Make values of any JSON type comparable: null, then numbers, then text."""
    if value is None:
        return (-1, 0.0, "")
    if isinstance(value, int | float):
        return (0, float(value), "")
    return (1, 0.0, str(value))


class OrderBook:
    """Orders by venue and id; rows of one sort key come by id, whichever way the list runs."""

    def __init__(self) -> None:
        self._by_venue: dict[int, dict[int, Order]] = {}
        self._indexes: dict[tuple[int | None, str, bool], list[Entry]] = {}
        self._filtered: dict[tuple[int | None, ListQuery], list[Entry]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._by_venue.values()))

    def get(self, venue_id: int, order_id: int) -> Order | None:
        """The order, if that venue has it."""
        return self._by_venue.get(venue_id, {}).get(order_id)

    def find(self, order_id: int) -> list[Order]:
        """Every venue's order of that id."""
        return [orders[order_id] for orders in self._by_venue.values() if order_id in orders]

    def of_venue(self, venue_id: int) -> Iterator[Order]:
        """That venue's orders, in the order in which they came."""
        return iter(self._by_venue.get(venue_id, {}).values())

    def add(self, order: Order) -> None:
        """Put an order in, in the place of one with the same venue and id."""
        known = self.get(order.venue_id, order.id)
        if known is not None:
            self.remove(known)
        self._by_venue.setdefault(order.venue_id, {})[order.id] = order
        self._filtered.clear()
        for (scope, field, descending), index in self._indexes.items():
            if scope is None or scope == order.venue_id:
                insort(index, _entry(order, field, descending=descending))

    def remove(self, order: Order) -> None:
        """Take an order out."""
        self._unindex(order)
        del self._by_venue[order.venue_id][order.id]

    @contextmanager
    def changing(self, order: Order) -> Iterator[None]:
        """Hold an order still for a change of its fields (not of its id or venue), and index it anew after."""
        self._unindex(order)
        try:
            yield
        finally:
            self._filtered.clear()
            for (scope, field, descending), index in self._indexes.items():
                if scope is None or scope == order.venue_id:
                    insort(index, _entry(order, field, descending=descending))

    def page(self, query: ListQuery, venue_id: int | None) -> tuple[list[Order], int]:
        """Cut one page.

        Args:
            query: what to keep, how to sort, which page.
            venue_id: the venue to look in; None for all.

        Returns:
            The page's orders, and how many there are before paging.
        """
        entries = self._matching(query, venue_id)
        first = (query.page - 1) * query.limit
        length = len(entries)
        if query.descending:
            cut = entries[max(length - first - query.limit, 0) : max(length - first, 0)][::-1]
        else:
            cut = entries[first : first + query.limit]
        return [self._by_venue[venue][order_id] for _, _, venue, order_id in cut], length

    def _matching(self, query: ListQuery, venue_id: int | None) -> list[Entry]:
        if not query.filters_rows:
            return self._index(venue_id, query.sort_field, descending=query.descending)
        cache_key = (venue_id, query.first_page())
        entries = self._filtered.get(cache_key)
        if entries is None:
            entries = [entry for entry in self._candidates(query, venue_id) if query.keeps(self._order(entry))]
            if len(self._filtered) >= _CACHED_LISTS:
                self._filtered.clear()
            self._filtered[cache_key] = entries
        return entries

    def _candidates(self, query: ListQuery, venue_id: int | None) -> list[Entry]:
        if query.date_from is None and query.date_to is None:
            return self._index(venue_id, query.sort_field, descending=query.descending)
        created = self._index(venue_id, "created_at", descending=query.descending)
        key = itemgetter(0)
        low = bisect_left(created, sort_key(query.date_from or ""), key=key)
        high = bisect_right(created, sort_key((query.date_to or "") + _AFTER_EVERY_TIME_OF_DAY), key=key)
        within = created[low:high]
        if query.sort_field == "created_at":
            return within
        orders = map(self._order, within)
        return sorted(_entry(order, query.sort_field, descending=query.descending) for order in orders)

    def _index(self, scope: int | None, field: str, *, descending: bool) -> list[Entry]:
        index = self._indexes.get((scope, field, descending))
        if index is None:
            venues = self._by_venue.values() if scope is None else [self._by_venue.get(scope, {})]
            index = sorted(
                _entry(order, field, descending=descending) for orders in venues for order in orders.values()
            )
            self._indexes[scope, field, descending] = index
        return index

    def _unindex(self, order: Order) -> None:
        self._filtered.clear()
        for (scope, field, descending), index in self._indexes.items():
            if scope is None or scope == order.venue_id:
                at = bisect_left(index, _entry(order, field, descending=descending))
                del index[at]

    def _order(self, entry: Entry) -> Order:
        return self._by_venue[entry[2]][entry[3]]


def _entry(order: Order, field: str, *, descending: bool) -> Entry:
    # A descending list is read from its end, so its ties are stored backwards.
    tie = -order.id if descending else order.id
    return (sort_key(getattr(order, field)), tie, order.venue_id, order.id)
