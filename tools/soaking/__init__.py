"""The soak of `tools.soak`: load, samples of what it costs, and what is judged."""
