"""The Redis script of heartbeats, which also removes killed processes."""

from __future__ import annotations

LOOKED_AT = 8
"""Ids checked by each heartbeat: enough for one killed process per second."""

HEARTBEAT = """
-- KEYS: the heartbeat, the set of the ids of all processes of its kind.
-- ARGV: id, sign, seconds until the process counts as gone, what stands before an id in the name
-- of a sign, how many ids to look at.
redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
redis.call('SADD', KEYS[2], ARGV[1])
for _, id in ipairs(redis.call('SRANDMEMBER', KEYS[2], ARGV[5])) do
  if redis.call('EXISTS', ARGV[4] .. id) == 0 then redis.call('SREM', KEYS[2], id) end
end
"""
