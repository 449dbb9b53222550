"""Engine.IO 4 and Socket.IO 5 as pure state machines and codecs: bytes in, packets out, no I/O and no clock."""
