// Enqueue by writing Celery's message into Redis or Valkey: npm install redis. Any language can do the same; the message
// is one JSON object in the list `enqueue`.
//
// BROKER_URL=redis://:PASSWORD@localhost:6379/0 node redis.mjs TASK_ID MUSIC https://example.com/hook
import { randomUUID } from "node:crypto";
import { createClient } from "redis";

const [task_id, action, notify_hook] = process.argv.slice(2);
const id = randomUUID();
const nothing = { callbacks: null, errbacks: null, chain: null, chord: null };
const body = [[], { task_id, action, notify_hook }, nothing]; // arguments by position, by name, what follows

const message = {
  body: Buffer.from(JSON.stringify(body)).toString("base64"),
  "content-type": "application/json",
  "content-encoding": "utf-8",
  headers: { lang: "js", task: "suno.enqueue", id, root_id: id, parent_id: null, group: null, retries: 0, eta: null, expires: null },
  properties: {
    correlation_id: id,
    delivery_tag: randomUUID(),
    delivery_mode: 2,
    delivery_info: { exchange: "", routing_key: "enqueue" },
    priority: 0,
    body_encoding: "base64",
  },
};

const broker = await createClient({ url: process.env.BROKER_URL }).connect();
await broker.lPush("enqueue", JSON.stringify(message)); // from here on it is as safe as your broker
await broker.close();
console.log(id);
