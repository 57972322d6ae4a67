"""A gateway beside an archive: studies come by themselves, results go into the same study."""
