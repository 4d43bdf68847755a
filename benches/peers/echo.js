// Echo on Node: each socket is piped into itself. Prints its port.
const net = require("net");

const server = net.createServer({ noDelay: true }, (socket) => {
  socket.on("error", () => {}); // the socket closes by itself
  socket.pipe(socket);
});
server.listen({ port: 0, host: "127.0.0.1", backlog: 4096 }, () => {
  console.log(server.address().port);
});
