"""The stand-in for Clopos Open API v2; it imports nothing from the rest, so that the two cannot share a mistake.

Three ways in:

- ``relay sandbox`` (``serve.run``) serves it until told to stop, and prints its URLs and credentials;
- ``async with serve.running() as up`` serves it on a free port within a test: ``up.base_url``, ``up.world``,
  ``up.faults``;
- ``World`` with ``Scenario`` alone is the same restaurant without HTTP, in whatever time its clock tells.

The API lies under ``/open-api/v2``: ``POST /auth``, ``GET /venues``, ``GET /orders``, ``GET`` and ``PUT /orders/{id}``,
``GET /stations[/{id}]``, ``GET /receipts[/{id}]``, ``GET /products/stop-list``. Brand ``openapitest`` holds the
documented rows (``documented``); brand ``productiontest`` is a production brand, to meet the mismatch of test and
production.

The control side lies under ``/control`` on the same port, asks for no token, and lists itself at ``GET /control``:

====== ==================================================== =========================================================
method path                                                 does
====== ==================================================== =========================================================
POST   /control/brands/{brand}/venues/{v}/orders            place an order; the body's fields replace made-up ones
POST   /control/brands/{brand}/venues/{v}/orders/bulk       place ``count``, ``spacing_s`` apart, the last one now
GET    /control/orders/{id}                                 the true row (``?brand=&venue_id=`` if ids are shared)
POST   /control/orders/{id}/accept · deliver · ignore       play the clerk
POST   /control/orders/{id}/status/{status}                 any status, known or not
PATCH  /control/orders/{id}                                 edit: row fields, ``payload``, ``merge``, ``touch: false``
PUT    /control/orders/{id}/raw                             the row is the body from now on, verbatim, JSON or not
DELETE /control/orders/{id}                                 it vanishes
POST   /control/stations/{id} (and DELETE)                  change or make a station (make it disappear)
POST   /control/stop-list                                   limit a product
POST   /control/brands · venues · credentials               make or change one; ``DELETE /control/venues/{id}``
POST   /control/integrators/{id}                            ``{active, is_test}``
POST   /control/tokens/expire · change-key                  tokens issued so far are expired · invalid
GET    /control/switches (PUT, DELETE)                      what is unknown of the real service: see ``Switches``
POST   /control/faults (GET, DELETE)                        what goes wrong: see ``faults.Fault`` and ``faults.KINDS``
DELETE /control/limits                                      forget what the rate limits counted
GET    /control/journal (DELETE)                            requests seen, counts, and the rate limits' peaks
GET    /control/history · state                             what truly happened · what exists
====== ==================================================== =========================================================
"""
