-- Takes from all buckets, or from none. The sums are those of `memory.rs`, in whole nanoseconds: numbers are doubles
-- here, which are exact up to 2^53, so a bucket is kept as the microsecond it was last touched at and the nanoseconds
-- until it is empty, not as one point in time.
--
-- `now`: microseconds, set by what stands in front of this. KEYS: the buckets. ARGV: for each of them the interval in
-- nanoseconds, how many units it holds, how many are taken. Returns {0, 0}, or which bucket refuses (from 1) and for how
-- many nanoseconds.
local left, refusing, wait = {}, 0, 0
for i, key in ipairs(KEYS) do
  local interval = tonumber(ARGV[3 * i - 2])
  local max = tonumber(ARGV[3 * i - 1])
  local cost = tonumber(ARGV[3 * i])
  local full = 0
  -- What somebody else put there, of whatever type, is written over like nothing.
  local found = redis.pcall('GET', key)
  local text = type(found) == 'string' and found or ''
  local touched, kept = string.match(text, '^(%d+) (%d+)$')
  if touched then
    -- A clock that was set back costs no more than what would have run out meanwhile.
    local passed = math.max(0, now - tonumber(touched)) * 1000
    full = math.max(0, tonumber(kept) - passed)
  end
  left[i] = full + interval * cost
  local over = left[i] - interval * max
  if over > wait then
    refusing, wait = i, over
  end
end
if refusing > 0 then
  return { refusing, wait }
end
for i, key in ipairs(KEYS) do
  -- Forgotten once it is empty.
  redis.call('SET', key, string.format('%.0f %.0f', now, left[i]), 'PX', math.ceil(left[i] / 1000000) + 1)
end
return { 0, 0 }
