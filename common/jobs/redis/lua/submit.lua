-- Accepts a job, unless it has been accepted already or there are too many.
-- ARGV: where, id, input, most jobs, most bytes, deadline and time to live in ms, fingerprint, then names and values of
-- the record: tenant, order and once among them.
local id, input, most_jobs, most_bytes = ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local job = {id = id, state = 'accepting', attempt = '0', version = '0', created = ms(now), held = '', message = '',
  deadline = ms(now + ARGV[6]), ttl = ARGV[7], fingerprint = ARGV[8], size = #input, alone = ''}
for i = 9, #ARGV, 2 do job[ARGV[i]] = ARGV[i + 1] end

if redis.call('EXISTS', key('job', id)) == 1 then return {'again', id} end -- the answer to the first call was lost
if job.once ~= '' then
  local first = redis.call('GET', key('once', job.tenant, job.once))
  local known = first and read(first)
  if known then return {known.fingerprint == job.fingerprint and 'again' or 'conflict', first} end
end
if redis.call('ZCARD', key('deadlines')) >= most_jobs then return {'full', 'jobs'} end
if tonumber(redis.call('GET', key('bytes')) or 0) + #input > most_bytes then return {'full', 'bytes'} end

set(job, job)
redis.call('SET', key('input', id), input)
redis.call('INCRBY', key('bytes'), #input)
redis.call('ZADD', key('deadlines'), job.deadline, id)
redis.call('ZADD', key('list', job.tenant), ms(now), id)
if job.once ~= '' then redis.call('SET', key('once', job.tenant, job.once), id) end
local first = true
if job.order ~= '' then first = redis.call('RPUSH', key('order', job.tenant, job.order), id) == 1 end
if not first then set(job, {held = '1'}) end
if in_stream or not first then move(job, 'queued') end
if first then send(job) end
return {'new', id}
