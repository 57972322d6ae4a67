"""Commands of a checkout: comparisons, pictures, benchmarks, and those of ich_tf by name."""
