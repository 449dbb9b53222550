"""Socket.IO over WebSocket: authentication, rooms, limits and fan-out."""
