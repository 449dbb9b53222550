// The stock socket.io-client as a process: orders in, what happened out, one JSON object a line.
//
// In:  {do: "open", client, url, namespace, parser, auth, options}
//      {do: "emit", client, args, call?, volatile?}    call: number under which the ack is told
//      {do: "disconnect" | "connect", client}
// Out: {client, event, args, cursor?}   an event of the server; one that asks for an ack is answered with its own
//                                  arguments; the cursor of those that carry one is told apart
//      {client, call, ack}         the ack of an emit, or null when it did not come in time
//      {client, life, args}        connect (with `recovered`), disconnect, connect_error, reconnect
// An auth of {"$turns": [...]} is a function that gives one after another, the last for ever.
// Bytes are {"$hex": "..."} both ways. Ends when standard input does.

"use strict";

const readline = require("node:readline");
const { io } = require("socket.io-client");

const PARSERS = { json: undefined, msgpack: require("socket.io-msgpack-parser") };
const ACK_TIMEOUT_MS = 10_000;
const WITH_CURSOR = new Set(["hello", "cursor", "trade:new", "trade:notification"]);
const clients = new Map();

function toWire(value) {
  if (value instanceof ArrayBuffer) value = new Uint8Array(value);
  if (value instanceof Uint8Array) return { $hex: Buffer.from(value).toString("hex") };
  if (Array.isArray(value)) return value.map(toWire);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, toWire(item)]));
}

function fromWire(value) {
  if (Array.isArray(value)) return value.map(fromWire);
  if (value === null || typeof value !== "object") return value;
  if ("$hex" in value) return Buffer.from(value.$hex, "hex");
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, fromWire(item)]));
}

function tell(message) {
  process.stdout.write(JSON.stringify(message) + "\n");
}

function open({ client, url, namespace, parser, auth, options }) {
  const socket = io(url + namespace, {
    transports: ["websocket"],
    forceNew: true,
    parser: PARSERS[parser],
    auth: auth?.$turns ? (give) => give(auth.$turns.length > 1 ? auth.$turns.shift() : auth.$turns[0]) : (auth ?? undefined),
    ...options,
  });
  clients.set(client, socket);
  socket.on("connect", () => tell({ client, life: "connect", args: [Boolean(socket.recovered)] }));
  socket.on("disconnect", (reason) => tell({ client, life: "disconnect", args: [reason] }));
  socket.on("connect_error", (error) => {
    tell({ client, life: "connect_error", args: [error.message, toWire(error.data ?? null), socket.active] });
  });
  socket.io.on("reconnect", () => tell({ client, life: "reconnect", args: [] }));
  socket.onAny((event, ...args) => {
    const answer = typeof args.at(-1) === "function" ? args.pop() : undefined;
    const cursor = WITH_CURSOR.has(event) && typeof args.at(-1) === "string" ? args.pop() : undefined;
    tell({ client, event, args: toWire(args), cursor });
    answer?.(...args);
  });
}

function emit({ client, args, call, volatile }) {
  const socket = volatile ? clients.get(client).volatile : clients.get(client);
  const event = fromWire(args);
  if (call === undefined) {
    socket.emit(...event);
    return;
  }
  socket.timeout(ACK_TIMEOUT_MS).emit(...event, (error, ...ack) => {
    tell({ client, call, ack: error ? null : toWire(ack) });
  });
}

const ORDERS = {
  open,
  emit,
  connect: ({ client }) => clients.get(client).connect(),
  disconnect: ({ client }) => clients.get(client).disconnect(),
};

const lines = readline.createInterface({ input: process.stdin });
lines.on("line", (line) => {
  const order = JSON.parse(line);
  ORDERS[order.do](order);
});
lines.on("close", () => process.exit(0));
