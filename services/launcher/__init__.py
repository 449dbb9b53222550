"""The `tickwire` command: starts services as processes, publishes feeds, watches prices."""
