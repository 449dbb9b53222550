"""Redis as the services see it: Pub/Sub for state, Streams for the log."""
