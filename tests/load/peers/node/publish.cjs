// Publishes ticks with @socket.io/redis-emitter: `node publish.cjs REDIS_URL`. Asked on standard input as
// services/launcher/load/publish.py says; each price is the time of its sending, in seconds.
const readline = require("node:readline");
const { Emitter } = require("@socket.io/redis-emitter");
const { createClient } = require("redis");

const nowUs = () => Math.floor((performance.timeOrigin + performance.now()) * 1000);
const slice = () => new Promise((resolve) => setTimeout(resolve, 1));

async function main(redisUrl) {
  const client = createClient({ url: redisUrl });
  await client.connect();
  const emitter = new Emitter(client);
  const seqs = new Map();
  let turn = 0;

  function tick(symbols) {
    const symbol = symbols[turn++ % symbols.length];
    const us = nowUs();
    const seq = (seqs.get(symbol) ?? 0) + 1;
    seqs.set(symbol, seq);
    emitter.to(`price:${symbol}`).emit("price:update", { symbol, price: us / 1e6, ts: Math.floor(us / 1000), seq, n: 1 });
  }

  for await (const line of readline.createInterface({ input: process.stdin })) {
    const { symbols, per_s: perS, seconds } = JSON.parse(line);
    const total = Math.round(perS * seconds);
    const began = performance.now();
    let published = 0;
    let late = 0;
    while (published < total) {
      const elapsed = (performance.now() - began) / 1000;
      const due = Math.min(Math.floor(elapsed * perS) + 1, total);
      if (due > published) late = Math.max(late, elapsed - published / perS);
      for (; published < due; published++) tick(symbols);
      await slice();
    }
    process.stdout.write(JSON.stringify({ published, cpu_s: 0, late_s: late }) + "\n");
  }
  process.exit(0);
}

main(process.argv[2]);
