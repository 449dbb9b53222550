"""What more than one service needs: names, messages, settings, log, identity, bus, health, lifecycle."""
