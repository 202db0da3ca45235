// Node's HTTP server as a second opinion: frames of bytes come in (four bytes of length, big-endian), for
// each a line of JSON goes out: the requests that Node makes of these bytes on one connection.
import http from 'node:http';
import { Duplex } from 'node:stream';

const PATIENCE = 5000; // milliseconds after which Node is taken to wait for more

function judge(bytes) {
  return new Promise((resolve) => {
    const requests = [];
    let fault = '';
    const take = (request, response) => {
      const seen = { method: request.method, target: request.url, body: null };
      requests.push(seen);
      const chunks = [];
      request.on('data', (chunk) => chunks.push(chunk));
      request.on('error', () => {});
      request.on('end', () => {
        seen.body = Buffer.concat(chunks).toString('base64');
        response.end();
      });
    };
    const server = http.createServer(take);
    server.on('checkContinue', take);
    server.on('checkExpectation', take);
    server.on('connect', (_request, socket) => socket.destroy());
    server.on('clientError', (error, socket) => {
      fault = error.code ?? 'error';
      socket.destroy();
    });
    const socket = new Duplex({ read() {}, write(_chunk, _encoding, done) { done(); } });
    const timer = setTimeout(() => {
      fault ||= 'waits';
      socket.destroy();
    }, PATIENCE);
    socket.on('error', () => {});
    socket.on('close', () => {
      clearTimeout(timer);
      resolve({ requests, fault });
    });
    server.emit('connection', socket);
    socket.push(bytes);
    socket.push(null);
  });
}

let pending = Buffer.alloc(0);
let work = Promise.resolve();
process.stdin.on('data', (data) => {
  pending = Buffer.concat([pending, data]);
  while (pending.length >= 4 && pending.length >= 4 + pending.readUInt32BE(0)) {
    const end = 4 + pending.readUInt32BE(0);
    const bytes = pending.subarray(4, end);
    pending = pending.subarray(end);
    work = work.then(async () => {
      process.stdout.write(JSON.stringify(await judge(bytes)) + '\n');
    });
  }
});
