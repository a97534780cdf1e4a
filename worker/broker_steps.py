"""What the broker does with a message of a list in one step, so that nobody comes in between.

Each step is a script that the server runs whole. What another worker was first to take is left alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import redis

SEARCHED = 1_000  # messages at the end of a list: what was seen there is still there, or was taken

# Off the end of the list that BRPOP takes from. LREM alone would look through a whole backlog for a message
# that another took: 0.1 s for a million.
_REMOVE = f"""
local function remove(item)
  if not redis.call('LPOS', KEYS[1], item, 'RANK', -1, 'MAXLEN', {SEARCHED}) then
    return 0
  end
  return redis.call('LREM', KEYS[1], -1, item)
end
"""
_REMOVE_ONE = f"{_REMOVE} return remove(ARGV[1])"

# And what kombu would note: when, what, from where.
_TAKE = f"""
{_REMOVE}
local taken = {{}}
for i = 1, #ARGV, 3 do
  table.insert(taken, remove(ARGV[i]))
  if taken[#taken] == 1 then
    redis.call('ZADD', KEYS[2], redis.call('TIME')[1], ARGV[i + 1])
    redis.call('HSET', KEYS[3], ARGV[i + 1], ARGV[i + 2])
  end
end
return taken
"""

Note = tuple[bytes, str, str]  # a list's item, its tag, and what kombu restores it from


def remove(client: redis.Redis, key: str, item: bytes) -> bool:
    """Take an item off the list `key`; False when another was first."""
    return bool(client.eval(_REMOVE_ONE, 1, key, item))


def take(
    client: redis.Redis, key: str, notes: Sequence[Note], *, index_key: str, unacked_key: str
) -> list[bool]:
    """Move items from the list `key` to the unacknowledged; say of each whether it was still there."""
    parts = (part for note in notes for part in note)
    taken = client.eval(_TAKE, 3, key, index_key, unacked_key, *parts)
    return [bool(one) for one in cast("list[int]", taken)]
