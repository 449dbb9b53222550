"""Socket.IO 5: packets, the two parsers and one client's namespaces."""
