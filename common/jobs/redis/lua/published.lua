-- The broker has confirmed the messages of these jobs. ARGV: where, then ids.
for i = 2, #ARGV do
  redis.call('ZREM', key('outbox'), ARGV[i])
  local job = read(ARGV[i])
  if job and job.state == 'accepting' then move(job, 'queued') end
end
return 1
