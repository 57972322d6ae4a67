"""Networks, the specs that build them again, and the files that hold their weights."""
