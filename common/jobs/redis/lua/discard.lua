-- Ends a job that its caller no longer wants, and deletes all of it: its request was answered otherwise, or has gone.
-- ARGV: where, id.
local job = read(ARGV[2])
if job then
  move(job, 'cancelled')
  redis.call('UNLINK', key('job', job.id), key('result', job.id), key('gone', job.id), key('input', job.id))
  redis.call('ZREM', key('list', job.tenant), job.id)
end
return 1
