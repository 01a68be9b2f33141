"""The scripts that Redis runs over first receipts: each decides for many units at once.

A script is atomic, so that two processes that ask for one unit at the same moment get one receipt.
"""

from __future__ import annotations

ASK = """
-- KEYS: the mark of completeness, the set of places, the set of aliases; then for every question
-- the shard of its unit and its new shard, and those of the other id if there is one.
-- ARGV: seconds to keep a shard, seconds to keep a new one, most entries of a shard; then for every
-- question: place, experiment, unit, receipt or '', 1 if that is known to be the first, 1 if the
-- first may be in the log alone, other unit or ''.
local FIRST, KNOWN, PROVISIONAL, FULL, UNKNOWN = 0, 1, 2, 3, 4
local is_complete = redis.call('EXISTS', KEYS[1]) == 1
local complete
local idle, new_idle, room = ARGV[1], ARGV[2], tonumber(ARGV[3])

local function keep(place, main, new, unit, receipt, is_sure)
  if not (complete or is_sure) then
    if redis.call('HLEN', new) >= room then return FULL end
    redis.call('HSET', new, unit, receipt)
    redis.call('EXPIRE', new, new_idle)
    return PROVISIONAL
  end
  if redis.call('HLEN', main) >= room then return FULL end
  redis.call('HSET', main, unit, receipt)
  redis.call('EXPIRE', main, idle)
  redis.call('SADD', KEYS[2], place)
  return FIRST
end

local function find(place, main, new, unit)
  local receipt = redis.call('HGET', main, unit)
  if receipt then
    redis.call('EXPIRE', main, idle)
    return receipt, KNOWN
  end
  receipt = redis.call('HGET', new, unit)
  if not receipt then return false, UNKNOWN end
  if not complete then return receipt, PROVISIONAL end
  if keep(place, main, new, unit, receipt, true) == FULL then return receipt, FULL end
  redis.call('HDEL', new, unit)
  return receipt, KNOWN
end

local answers, k, a = {}, 4, 4
while a < #ARGV do
  local place, experiment, unit, receipt = ARGV[a], ARGV[a + 1], ARGV[a + 2], ARGV[a + 3]
  local is_sure, other = ARGV[a + 4] == '1', ARGV[a + 6]
  local main, new = KEYS[k], KEYS[k + 1]
  complete = is_complete and ARGV[a + 5] == '0'
  a, k = a + 7, k + 2
  local found, standing = find(place, main, new, unit)
  if is_sure and standing ~= KNOWN then
    keep(place, main, new, unit, receipt, true)
    found, standing = receipt, KNOWN
  end
  local is_shared = 0
  if other == '' then
    if not found and receipt ~= '' then
      standing = keep(place, main, new, unit, receipt, false)
      found = receipt
    end
  else
    local main2, new2 = KEYS[k], KEYS[k + 1]
    k = k + 2
    local found2, standing2 = find(place, main2, new2, other)
    if not found and found2 then
      found, standing = found2, standing2
      keep(place, main, new, unit, found, standing == KNOWN)
    elseif not found and receipt ~= '' then
      found = receipt
      standing = keep(place, main, new, unit, receipt, false)
    end
    if found and not found2 then
      keep(place, main2, new2, other, found, standing == KNOWN)
      found2 = found
    end
    if found and found == found2 then
      is_shared = 1
      redis.call('SADD', KEYS[3], experiment)
    end
  end
  answers[#answers + 1] = {found or '', standing, is_shared}
end
return answers
"""
"""Finds the first receipts of units, and keeps one for every unit that has none."""

REPLACE = """
-- KEYS: the shard of a unit, and its new shard. ARGV: unit, the receipt it has, another one.
for _, shard in ipairs(KEYS) do
  local found = redis.call('HGET', shard, ARGV[1])
  if found == ARGV[2] then
    redis.call('HSET', shard, ARGV[1], ARGV[3])
    return ARGV[3]
  end
  if found then return found end
end
return ARGV[3]
"""
"""Keeps another receipt for a unit unless it has got another one meanwhile; returns what it has."""

ADD = """
-- KEYS: the shard of every unit. ARGV: seconds to keep a shard, most entries of one; then for every
-- unit: unit, receipt.
local idle, room, added = ARGV[1], tonumber(ARGV[2]), 0
for row, shard in ipairs(KEYS) do
  local unit = ARGV[2 * row + 1]
  if redis.call('HEXISTS', shard, unit) == 0 and redis.call('HLEN', shard) < room then
    redis.call('HSET', shard, unit, ARGV[2 * row + 2])
    redis.call('EXPIRE', shard, idle)
    added = added + 1
  end
end
return added
"""
"""Keeps receipts of units that have none, whether or not the memory is complete."""

DECLARE = """
-- KEYS: the mark, the lease. ARGV: who holds the lease, the server.
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
return 1
"""
"""Declares the memory complete, by the holder of the lease alone."""

KEEP_LEASE = """
-- KEYS: the lease. ARGV: who holds it, for how many seconds.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('EXPIRE', KEYS[1], ARGV[2])
return 1
"""
"""Keeps the lease. If it is gone, so is perhaps what was kept under it: Redis was emptied."""
