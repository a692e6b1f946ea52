"""Does a test notice when something that matters is broken?  One thing at a time, in a copy of the repository."""
