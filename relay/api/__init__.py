"""The admin API: Starlette, one table of operations, one file a resource."""
