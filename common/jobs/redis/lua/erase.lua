-- Deletes a job of this tenant that is over; its id stays known as gone. ARGV: where, id, tenant.
local id, tenant = ARGV[2], ARGV[3]
local job = read(id)
if not job then return redis.call('GET', key('gone', id)) == tenant and 'gone' or 'unknown' end
if job.tenant ~= tenant then return 'unknown' end
if not FINAL[job.state] then return 'open' end
redis.call('UNLINK', key('job', id), key('result', id), key('input', id))
redis.call('ZREM', key('list', tenant), id)
return 'erased'
