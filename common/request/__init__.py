"""One request on its way through a service: its context and its deadline."""
