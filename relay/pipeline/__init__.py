"""The story of one change, in order: poll, commit, deliver; and what keeps house."""
