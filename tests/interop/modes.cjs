// `driver.cjs` with clients made as applications make them: an option that is null is left out, and where none is left
// the client is made by `io(url)` and nothing else.
//
// Out, beside what `driver.cjs` tells:
//      {client, event: "transport", args: [name]}     once the connection is open, and again when it is upgraded

"use strict";

const library = require("socket.io-client");
const { io } = library;

function report(socket) {
  const tell = (transport) => socket.listenersAny().forEach((listener) => listener("transport", transport.name));
  socket.io.on("open", () => {
    tell(socket.io.engine.transport);
    socket.io.engine.on("upgrade", tell);
  });
}

library.io = (url, options) => {
  const given = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== null && value !== undefined));
  const socket = Object.keys(given).length > 0 ? io(url, given) : io(url);
  report(socket);
  return socket;
};

require("./driver.cjs");
