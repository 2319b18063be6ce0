"""Models of each framework, exported by the command that users run, in a process of its own."""
