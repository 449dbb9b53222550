// Stock clients that reconnect by themselves, and listen: socket.io-client with its default options, either parser.
//
// First line in: {clients: [{name, url, parser, transports, symbols, token, prices, cookies, timed}]}. Each further line
// asks for prices. With `cookies` a client keeps the cookies of its balancer, as a browser does.
// Out, one JSON object a line, in the order in which it happened:
//      {connected: name, recovered}                     {hello: name, payload}
//      {subscribed: name}                               {disconnected: name, reason}
//      {failed: name, what}                             connect_error, or a subscription without an ack
//      {trades: {name: [id, ...], ...}}                 what came within `FLUSH_MS`, told before anything else happens
//      {late: {name: [ms, ...]}}                        of `timed` clients: how old each trade was when it came
//      {prices: {name: {symbol: price}}}                the answer to a line
// Ends when standard input does.

"use strict";

const { createRequire } = require("node:module");
const readline = require("node:readline");

const installed = createRequire(require.resolve("../interop/package.json"));
const { io } = installed("socket.io-client");

const PARSERS = { json: undefined, msgpack: installed("socket.io-msgpack-parser") };
const FLUSH_MS = 50;
const ACK_MS = 10_000;
const prices = {};
let trades = {};
let late = {};
let waiting = false;

function write(message) {
  process.stdout.write(JSON.stringify(message) + "\n");
}

function flush() {
  waiting = false;
  if (Object.keys(trades).length === 0) return;
  write({ trades });
  trades = {};
  if (Object.keys(late).length > 0) write({ late });
  late = {};
}

function tell(message) {
  flush();
  write(message);
}

function takeTrade(name, trade) {
  (trades[name] ??= []).push(Number(trade.id));
  if (waiting) return;
  waiting = true;
  setTimeout(flush, FLUSH_MS);
}

function start({ name, url, parser, transports, symbols, token, prices: wantsPrices, cookies, timed }) {
  let subscribed = false;
  const socket = io(url, {
    forceNew: true,
    auth: (answer) => answer({ token }),
    withCredentials: cookies,
    ...(transports && { transports }),
    ...(PARSERS[parser] && { parser: PARSERS[parser] }),
  });
  socket.on("trade:new", (trade) => takeTrade(name, trade));
  if (timed) socket.on("trade:new", (trade) => (late[name] ??= []).push(Date.now() - trade.ts));
  socket.on("hello", (payload) => tell({ hello: name, payload }));
  if (wantsPrices) {
    const shown = (prices[name] = {});
    socket.on("price:batch", (pairs) => pairs.forEach(([symbol, price]) => (shown[symbol] = price)));
  }
  socket.on("disconnect", (reason) => tell({ disconnected: name, reason }));
  socket.on("connect_error", (error) => tell({ failed: name, what: error.message }));
  socket.on("connect", () => {
    tell({ connected: name, recovered: socket.recovered === true });
    if (socket.recovered && subscribed) return;
    // A callback and no promise: what arrives right behind the ack must be told behind it.
    socket.timeout(ACK_MS).emit("subscribe:trades", symbols, (error, answer) => {
      subscribed = !error && answer.ok && answer.results.every(({ ok }) => ok);
      tell(subscribed ? { subscribed: name } : { failed: name, what: `subscribe: ${error ?? JSON.stringify(answer)}` });
    });
  });
}

let begun = false;
const lines = readline.createInterface({ input: process.stdin });
lines.on("line", (line) => {
  if (begun) tell({ prices });
  else JSON.parse(line).clients.forEach(start);
  begun = true;
});
lines.on("close", () => process.exit(0));
