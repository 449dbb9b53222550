// Writes golden.json: the bytes that the stock JavaScript packages put on the wire, with their meaning beside them.
//
//     NODE_PATH=<folder with the packages below> node tests/interop/golden/make_golden.cjs > tests/interop/golden/golden.json
//
// `socketio` holds packets through both official encoders, `foreign` forms that other clients write, `engineio` frames
// and polling payloads. Frames are {text} or {hex}; in `packet`, binary is {"$hex": "..."} and "absent" is left out.
"use strict";

const fs = require("node:fs");
const path = require("node:path");

const jsonParser = require("socket.io-parser");
const msgpackParser = require("socket.io-msgpack-parser");
const engineParser = require("engine.io-parser");
const notepack = require("notepack.io");

const bytes = (...values) => Buffer.from(values);
const frame = (data) => (typeof data === "string" ? { text: data } : { hex: Buffer.from(data).toString("hex") });

const CONNECT = 0, DISCONNECT = 1, EVENT = 2, ACK = 3, CONNECT_ERROR = 4;

// Each packet is built with its keys in the order of socket.io-client 4.8.4 and socket.io 4.8.4.
const packets = [
  ["client", "CONNECT without auth", { type: CONNECT, data: undefined, nsp: "/" }],
  ["client", "CONNECT with auth", { type: CONNECT, data: { token: "t" }, nsp: "/" }],
  ["client", "CONNECT to a namespace", { type: CONNECT, data: undefined, nsp: "/custom" }],
  ["client", "CONNECT with recovery", { type: CONNECT, data: { pid: "p1", offset: "1-0", token: "t" }, nsp: "/" }],
  ["client", "CONNECT with recovery before any offset", { type: CONNECT, data: { pid: "p1", offset: undefined }, nsp: "/" }],
  ["client", "DISCONNECT", { type: DISCONNECT, nsp: "/" }],
  ["client", "DISCONNECT from a namespace", { type: DISCONNECT, nsp: "/custom" }],
  ["client", "EVENT", { type: EVENT, data: ["subscribe:price", "BTC-USDT"], options: { compress: true }, nsp: "/" }],
  ["client", "EVENT without arguments", { type: EVENT, data: ["ping"], options: { compress: true }, nsp: "/" }],
  ["client", "EVENT with ack id", { type: EVENT, data: ["subscribe:price", ["A", "B"]], options: { compress: true }, id: 0, nsp: "/" }],
  ["client", "EVENT in a namespace with ack id", { type: EVENT, data: ["x", { a: null }], options: {}, id: 12, nsp: "/custom" }],
  ["client", "EVENT of all kinds of values", { type: EVENT, data: ["kinds", null, true, false, 0, -1, 1.5, 4294967296, -2147483649, 9007199254740991, "\u20ac\u{1f600}", [], {}, [[1]]], options: {}, nsp: "/" }],
  ["client", "EVENT with undefined", { type: EVENT, data: ["holes", undefined, { a: undefined, b: 1 }, [undefined]], options: {}, nsp: "/" }],
  ["client", "EVENT with a number for a name", { type: EVENT, data: [7, "x"], options: {}, nsp: "/" }],
  ["client", "EVENT with binary", { type: EVENT, data: ["b", bytes(1, 2, 3)], options: {}, nsp: "/" }],
  ["client", "EVENT with nested binary and ack id", { type: EVENT, data: ["b", { x: [bytes(1), { y: bytes(2) }], z: bytes() }], options: {}, id: 3, nsp: "/custom" }],
  ["client", "ACK", { type: ACK, id: 5, data: ["ok", 1], nsp: "/" }],
  ["client", "ACK without arguments", { type: ACK, id: 0, data: [], nsp: "/custom" }],
  ["client", "ACK with binary", { type: ACK, id: 7, data: [bytes(255)], nsp: "/" }],
  ["server", "CONNECT reply", { type: CONNECT, data: { sid: "s1" }, nsp: "/" }],
  ["server", "CONNECT reply in a namespace with recovery", { type: CONNECT, data: { sid: "s1", pid: "p1" }, nsp: "/custom" }],
  ["server", "CONNECT_ERROR", { type: CONNECT_ERROR, data: { message: "Invalid namespace" }, nsp: "/x" }],
  ["server", "CONNECT_ERROR with data", { type: CONNECT_ERROR, data: { message: "Not authorized", data: { code: "E_AUTH" } }, nsp: "/forbidden" }],
  ["server", "DISCONNECT", { type: DISCONNECT, nsp: "/" }],
  ["server", "EVENT", { type: EVENT, data: ["price:update", { symbol: "BTC-USDT", price: 64000.1, ts: 1763800000000, seq: 7, n: 1 }], nsp: "/" }],
  ["server", "EVENT in a namespace", { type: EVENT, data: ["auth", {}], nsp: "/custom" }],
  ["server", "EVENT asking for an ack", { type: EVENT, data: ["question", "why"], id: 0, nsp: "/" }],
  ["server", "EVENT with binary", { type: EVENT, data: ["b", { x: [bytes(1), bytes(2, 3)] }, bytes(4)], nsp: "/" }],
  ["server", "EVENT with many arguments", { type: EVENT, data: ["many", ...Array.from({ length: 20 }, (_, i) => i)], nsp: "/" }],
  ["server", "ACK", { id: 3, type: ACK, data: [{ ok: true }], nsp: "/" }],
  ["server", "ACK without arguments", { id: 9007199254740991, type: ACK, data: [], nsp: "/custom" }],
  ["server", "ACK with binary", { id: 4, type: ACK, data: [bytes(9), "x"], nsp: "/" }],
];

const plain = (value) => {
  if (Buffer.isBuffer(value)) return { $hex: value.toString("hex") };
  if (Array.isArray(value)) return value.map((item) => (item === undefined ? null : plain(item)));
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).filter(([, item]) => item !== undefined).map(([key, item]) => [key, plain(item)]));
};

const socketio = packets.map(([from, meaning, packet]) => ({
  from,
  meaning,
  packet: plain({ type: packet.type, nsp: packet.nsp, id: packet.id, data: packet.data }),
  json: new jsonParser.Encoder().encode({ ...packet }).map(frame),
  msgpack: new msgpackParser.Encoder().encode(packet).map(frame),
}));

// What python-socketio and hand-written clients send and stock JavaScript does not.
const foreign = [
  ["msgpack", "python-socketio CONNECT", notepack.encode({ type: CONNECT, data: {}, nsp: "/" }), { type: CONNECT, nsp: "/", data: {} }],
  ["msgpack", "python-socketio EVENT", notepack.encode({ type: EVENT, data: ["x", 1], nsp: "/" }), { type: EVENT, nsp: "/", data: ["x", 1] }],
  ["msgpack", "python-socketio EVENT with ack id", notepack.encode({ type: EVENT, data: ["x"], nsp: "/", id: 1 }), { type: EVENT, nsp: "/", id: 1, data: ["x"] }],
  ["msgpack", "python-socketio DISCONNECT with nil data", notepack.encode({ type: DISCONNECT, data: null, nsp: "/" }), { type: DISCONNECT, nsp: "/" }],
  ["msgpack", "DISCONNECT with undefined data", notepack.encode({ type: DISCONNECT, data: undefined, nsp: "/" }), { type: DISCONNECT, nsp: "/" }],
  ["json", "python-socketio CONNECT", "0{}", { type: CONNECT, nsp: "/", data: {} }],
  ["json", "CONNECT without a comma behind the namespace", "0/custom", { type: CONNECT, nsp: "/custom" }],
  ["json", "python-socketio CONNECT to a namespace", "0/custom,{}", { type: CONNECT, nsp: "/custom", data: {} }],
  ["json", "DISCONNECT without a comma behind the namespace", "1/custom", { type: DISCONNECT, nsp: "/custom" }],
  ["json", "EVENT with blanks in its JSON", '2[ "x" , 1 ]', { type: EVENT, nsp: "/", data: ["x", 1] }],
].map(([parser, meaning, data, packet]) => ({ parser, meaning, frames: [frame(data)], packet }));

const enginePackets = [
  { type: "close" }, { type: "ping" }, { type: "ping", data: "probe" }, { type: "pong" }, { type: "pong", data: "probe" },
  { type: "message", data: "" }, { type: "message", data: "2[\"\u20ac\"]" }, { type: "message", data: bytes(0, 255, 30) },
  { type: "message", data: bytes() }, { type: "upgrade" }, { type: "noop" },
  { type: "open", data: JSON.stringify({ sid: "s1", upgrades: ["websocket"], pingInterval: 25000, pingTimeout: 20000, maxPayload: 1000000 }) },
];

const engineFrames = enginePackets.map((packet) => {
  const item = { packet: plain(packet) };
  engineParser.encodePacket(packet, true, (data) => { item.frame = frame(data); });
  engineParser.encodePacket(packet, false, (data) => { item.textFrame = frame(data); });
  return item;
});

const payloads = [[], [1], [2, 6, 7], [0, 9, 10]].filter((some) => some.length).map((some) => {
  const item = { packets: some.map((index) => plain(enginePackets[index])) };
  engineParser.encodePayload(some.map((index) => enginePackets[index]), (data) => { item.body = data; });
  return item;
});

// A package may hide its package.json, so look for it above the main file.
const version = (name) => {
  let folder = path.dirname(require.resolve(name));
  for (;;) {
    const file = path.join(folder, "package.json");
    const found = fs.existsSync(file) ? JSON.parse(fs.readFileSync(file, "utf8")) : {};
    if (found.name === name && found.version) return found.version;
    folder = path.dirname(folder);
  }
};
const versions = Object.fromEntries(["socket.io-parser", "socket.io-msgpack-parser", "engine.io-parser", "notepack.io"].map((name) => [name, version(name)]));
process.stdout.write(JSON.stringify({ versions, socketio, foreign, engineio: { frames: engineFrames, payloads } }, null, 1) + "\n");
