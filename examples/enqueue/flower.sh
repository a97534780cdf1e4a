#!/bin/sh
# Enqueue by Flower's REST API, from anything that speaks HTTP.
#
# FLOWER=http://me:PASSWORD@127.0.0.1:5555 ./flower.sh TASK_ID MUSIC https://example.com/hook
set -eu
curl --fail --silent --show-error --max-time 10 "$FLOWER/api/task/send-task/suno.enqueue" \
  --header 'content-type: application/json' \
  --data "{\"kwargs\": {\"task_id\": \"$1\", \"action\": \"$2\", \"notify_hook\": \"$3\"}}"
echo
