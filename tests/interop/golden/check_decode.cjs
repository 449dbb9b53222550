// Decodes with the stock JavaScript packages what this project's encoders wrote, and prints what they understood.
//
//     node tests/interop/golden/check_decode.cjs < packets.json
//
// In:  {"socketio": [{"parser": "json" | "msgpack", "frames": [{"text"} | {"hex"}, ...]}, ...],
//       "engineio": [{"text"} | {"hex"}, ...], "payloads": ["...", ...]}
// Out: the same keys with, for each item, the packet ({"error": message} where a decoder refused); binary is {"$hex": "..."}.
"use strict";

const { createRequire } = require("node:module");
const path = require("node:path");

// Resolved from tests/interop, where the packages are installed, or along NODE_PATH.
const load = createRequire(path.join(__dirname, "..", "package.json"));
const jsonParser = load("socket.io-parser");
const msgpackParser = load("socket.io-msgpack-parser");
const engineParser = load("engine.io-parser");

const data = (frame) => ("text" in frame ? frame.text : Buffer.from(frame.hex, "hex"));

const plain = (value) => {
  if (Buffer.isBuffer(value)) return { $hex: value.toString("hex") };
  if (Array.isArray(value)) return value.map(plain);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, plain(item)]));
};

const decode = ({ parser, frames }) => {
  const decoder = new (parser === "json" ? jsonParser : msgpackParser).Decoder();
  let packet = { error: "incomplete" };
  decoder.on("decoded", (decoded) => { packet = plain(decoded); });
  try {
    for (const frame of frames) decoder.add(data(frame));
  } catch (error) {
    packet = { error: error.message };
  }
  return packet;
};

const input = JSON.parse(require("node:fs").readFileSync(0, "utf8"));
process.stdout.write(JSON.stringify({
  socketio: input.socketio.map(decode),
  engineio: input.engineio.map((frame) => plain(engineParser.decodePacket(data(frame), "nodebuffer"))),
  payloads: input.payloads.map((body) => engineParser.decodePayload(body, "nodebuffer").map(plain)),
}));
