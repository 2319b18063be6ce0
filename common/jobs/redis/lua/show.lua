-- A job of this tenant. ARGV: where, id, tenant. Its record and its result, or only whether it is unknown or gone.
local id, tenant = ARGV[2], ARGV[3]
local flat = redis.call('HGETALL', key('job', id))
if #flat == 0 then return {redis.call('GET', key('gone', id)) == tenant and 'gone' or 'unknown'} end
if redis.call('HGET', key('job', id), 'tenant') ~= tenant then return {'unknown'} end
return {'found', ms(now), flat, redis.call('GET', key('result', id)) or ''}
