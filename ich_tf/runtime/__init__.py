"""Files, processes, devices, flags and help: what commands share, without anything about CT."""
