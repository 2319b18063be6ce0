-- Prolongs the leases of jobs that the caller holds, and names those that it has lost.
-- ARGV: where, consumer, lease in ms, then an id and an attempt for each.
local lost = {}
for i = 4, #ARGV, 2 do
  local id = ARGV[i]
  local job = read(id)
  if holds(job, ARGV[i + 1]) then
    redis.call('ZADD', key('leases'), ms(now + ARGV[3]), id)
    -- without a group, which a flush deletes, there is no message to keep, and the record alone counts
    if in_stream then redis.pcall('XCLAIM', key('queue'), GROUP, ARGV[2], 0, job.message, 'JUSTID') end
  else
    lost[#lost + 1] = id
  end
end
return lost
