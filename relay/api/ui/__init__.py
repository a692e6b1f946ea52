"""The page for people: rendered on the server, works without JavaScript, does nothing that the API does not."""
