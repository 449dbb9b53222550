// A price server on Socket.IO for Node: `node app.cjs REDIS_URL PORT`. Rooms `price:{symbol}`, fed through the Redis
// adapter. With what its documentation recommends for speed and memory: native add-ons of ws, no reference to requests.
const { createAdapter } = require("@socket.io/redis-adapter");
const { createClient } = require("redis");
const { Server } = require("socket.io");

async function main(redisUrl, port) {
  const pubClient = createClient({ url: redisUrl });
  const subClient = pubClient.duplicate();
  await Promise.all([pubClient.connect(), subClient.connect()]);
  const io = new Server({ adapter: createAdapter(pubClient, subClient) });

  io.on("connection", (socket) => {
    socket.on("subscribe:price", (symbols, options, ack) => {
      for (const symbol of symbols) socket.join(`price:${symbol}`);
      ack({ ok: true });
    });
    socket.on("unsubscribe:price", (symbols, ack) => {
      for (const symbol of symbols) socket.leave(`price:${symbol}`);
      ack({ ok: true });
    });
  });
  io.listen(port);
  io.engine.on("connection", (rawSocket) => { rawSocket.request = null; });
}

main(process.argv[2], Number(process.argv[3]));
