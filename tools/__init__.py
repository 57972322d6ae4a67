"""Commands that prepare and check data."""
