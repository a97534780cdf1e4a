// A receiver in Node: npm install standardwebhooks
//
// WORKER_WEBHOOK_SECRET=whsec_… PORT=8001 node receiver.mjs
import { createServer } from "node:http";
import { Webhook } from "standardwebhooks";

const LARGEST = 4 * 1024 * 1024;
const webhook = new Webhook(process.env.WORKER_WEBHOOK_SECRET);
const seen = new Set(); // in real life a table with a unique column, written with the result in one transaction

const server = createServer(async (request, response) => {
  const parts = [];
  let size = 0;
  for await (const part of request) {
    size += part.length;
    if (size > LARGEST) return response.writeHead(413).end();
    parts.push(part);
  }
  let task;
  try {
    task = webhook.verify(Buffer.concat(parts).toString(), request.headers); // the very bytes that came
  } catch {
    return response.writeHead(401).end();
  }
  const id = request.headers["webhook-id"];
  if (!seen.has(id)) {
    seen.add(id);
    console.log(task.task_id, task.status);
  }
  response.writeHead(204).end(); // answer quickly; do slow work later
});

server.listen(Number(process.env.PORT ?? 8001), "127.0.0.1", () => {
  console.log(`listening on ${server.address().port}`);
});
