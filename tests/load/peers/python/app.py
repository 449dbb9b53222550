"""A price server on python-socketio: `REDIS_URL=... uvicorn app:app`. Rooms fed by AsyncRedisManager."""

import os

import socketio

sio = socketio.AsyncServer(async_mode="asgi", client_manager=socketio.AsyncRedisManager(os.environ["REDIS_URL"]))
app = socketio.ASGIApp(sio)


@sio.on("subscribe:price")
async def subscribe(sid, symbols, _options):
    for symbol in symbols:
        await sio.enter_room(sid, f"price:{symbol}")
    return {"ok": True}


@sio.on("unsubscribe:price")
async def unsubscribe(sid, symbols):
    for symbol in symbols:
        await sio.leave_room(sid, f"price:{symbol}")
    return {"ok": True}
