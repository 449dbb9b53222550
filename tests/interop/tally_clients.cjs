// Many stock clients in one process that count what they get, so that little of it crosses standard output.
//
// First line in: {clients: [{name, url, parser, symbols}]}. Out: {ready} when all are subscribed.
// Each further line asks for a report. Out: {reports: {name: {ends, tallies: {symbol: {...}}}}}; see tally.py.

"use strict";

const readline = require("node:readline");
const { io } = require("socket.io-client");

const PARSERS = { json: undefined, msgpack: require("socket.io-msgpack-parser") };
const PRIME = 4294967291;
const reports = {};

function newTally() {
  return { trades: 0, disorder: 0, hash: 0, last: 0, price: null, seq: 0, gaps: 0 };
}

function takeTrade(tallies, trade) {
  const tally = tallies[trade.symbol];
  const id = Number(trade.id);
  if (id <= tally.last) tally.disorder += 1;
  tally.last = id;
  tally.trades += 1;
  tally.hash = (Math.imul(tally.hash, 31) + (id % PRIME)) >>> 0;
}

function takePrice(tallies, update) {
  const tally = tallies[update.symbol];
  if (!update.snap && tally.seq !== 0 && update.seq - update.n !== tally.seq) tally.gaps += 1;
  tally.seq = update.seq;
  tally.price = update.price;
}

async function start({ name, url, parser, symbols }) {
  const tallies = Object.fromEntries(symbols.map((symbol) => [symbol, newTally()]));
  const report = (reports[name] = { ends: [], tallies });
  const socket = io(url, {
    transports: ["websocket"],
    forceNew: true,
    reconnection: false,
    parser: PARSERS[parser],
  });
  socket.on("trade:new", (trade) => takeTrade(tallies, trade));
  socket.on("price:update", (update) => takePrice(tallies, update));
  socket.on("disconnect", (reason) => report.ends.push(reason));
  socket.on("connect_error", (error) => report.ends.push(error.message));
  for (const what of ["subscribe:price", "subscribe:trades"]) {
    const { results } = await socket.timeout(20_000).emitWithAck(what, symbols);
    for (const result of results) if (!result.ok) report.ends.push(`${what}: ${JSON.stringify(result)}`);
  }
}

function tell(message) {
  process.stdout.write(JSON.stringify(message) + "\n");
}

async function main() {
  const lines = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();
  const { clients } = JSON.parse((await lines.next()).value);
  await Promise.all(clients.map(start));
  tell({ ready: clients.length });
  for (let line = await lines.next(); !line.done; line = await lines.next()) tell({ reports });
  process.exit(0);
}

main();
