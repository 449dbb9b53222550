"""Engine.IO 4: packets, their codec, polling payloads and the life of one connection."""
