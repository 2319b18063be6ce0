-- Moves on what nobody else does: leases and deadlines that are over, pauses that have ended, messages that were lost.
-- ARGV: where, most jobs of each kind, most attempts, the error of a job whose workers stopped, the time in ms after which
-- a message is looked for. Gives the ids of messages that the broker has not confirmed within that time.
local limit, most, patience = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[5])
local function due(name, before)
  return redis.call('ZRANGEBYSCORE', key(name), '-inf', ms(before), 'LIMIT', 0, limit)
end

for _, id in ipairs(due('deadlines', now)) do
  local job = read(id)
  if not (job and move(job, 'expired')) then redis.call('ZREM', key('deadlines'), id) end
end
for _, id in ipairs(due('leases', now)) do
  local job = read(id)
  redis.call('ZREM', key('leases'), id)
  if job and job.state == 'running' then
    if tonumber(job.attempt) >= most then
      move(job, 'dead', {error = ARGV[4]})
    elseif move(job, 'queued', {alone = '1', message = ''}) then
      send(job)
    end
  end
end
for _, id in ipairs(due('later', now)) do
  local job = read(id)
  redis.call('ZREM', key('later'), id)
  if job and job.state == 'queued' then send(job) end
end
for _, id in ipairs(in_stream and due('waiting', now - patience) or {}) do
  local job = read(id)
  if not job or job.state ~= 'queued' then
    redis.call('ZREM', key('waiting'), id)
  elseif #redis.call('XRANGE', key('queue'), job.message, job.message) == 0 then
    send(job) -- the stream has been trimmed or deleted
  else
    redis.call('ZADD', key('waiting'), ms(now), id)
  end
end
return due('outbox', now - patience)
