-- Cancels a job of this tenant. ARGV: where, id, tenant. Says what there was: unknown, gone, or the job's former state.
local id, tenant = ARGV[2], ARGV[3]
local job = read(id)
if not job then return redis.call('GET', key('gone', id)) == tenant and 'gone' or 'unknown' end
if job.tenant ~= tenant then return 'unknown' end
local state = job.state
move(job, 'cancelled')
return state
