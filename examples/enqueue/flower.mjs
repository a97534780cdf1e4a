// Enqueue by Flower's REST API, from Node 18 or newer with nothing to install.
//
// FLOWER=http://127.0.0.1:5555 FLOWER_BASIC_AUTH=me:PASSWORD node flower.mjs TASK_ID MUSIC https://example.com/hook
const [task_id, action, notify_hook] = process.argv.slice(2);

const response = await fetch(`${process.env.FLOWER}/api/task/send-task/suno.enqueue`, {
  method: "POST",
  headers: {
    authorization: `Basic ${Buffer.from(process.env.FLOWER_BASIC_AUTH).toString("base64")}`,
    "content-type": "application/json",
  },
  body: JSON.stringify({ kwargs: { task_id, action, notify_hook } }),
  signal: AbortSignal.timeout(10_000),
});
if (!response.ok) throw new Error(`Flower answered ${response.status}: ${await response.text()}`);
console.log(await response.json());
