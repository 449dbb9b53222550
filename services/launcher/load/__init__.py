"""`tickwire load`: many clients at any Socket.IO server, and what that costs the server."""
