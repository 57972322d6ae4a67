"""Files, processes, devices, flags: what every command needs, and nothing of CT."""
