"""Training: tasks, the step, epochs, runs, and what a run leaves."""
