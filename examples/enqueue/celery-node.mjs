// Enqueue with celery-node: npm install celery-node
//
// BROKER_URL=redis://:PASSWORD@localhost:6379/0 node celery-node.mjs TASK_ID MUSIC https://example.com/hook
import { createClient } from "celery-node";

const [task_id, action, notify_hook] = process.argv.slice(2);
const client = createClient(process.env.BROKER_URL, process.env.BROKER_URL, "enqueue");
const result = client.createTask("suno.enqueue").applyAsync([], { task_id, action, notify_hook });
await client.isReady();
await client.disconnect(); // after what was sent
console.log(result.taskId);
