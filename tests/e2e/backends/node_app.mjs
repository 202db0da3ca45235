// A Node server that notes each POST in the file that $NOTES names. Its keep-alive is Node's own.
import { appendFileSync } from "node:fs";
import { createServer } from "node:http";

const server = createServer((request, response) => {
  let body = "";
  request.on("data", (piece) => { body += piece; });
  request.on("end", () => {
    if (request.method === "POST") appendFileSync(process.env.NOTES, `${body}\n`);
    response.end("ok");
  });
});
server.listen(0, "127.0.0.1", () => {
  console.log(`listening on http://127.0.0.1:${server.address().port}`);
});
