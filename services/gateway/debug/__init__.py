"""Where a symbol's updates stop for one client: the ops port's `/debug/path`."""
