-- Begins an attempt at each job whose message has arrived, and says of every message what becomes of it.
-- ARGV: where, holder, lease in ms, most attempts, then an id and a message for each.
local holder, lease, most = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local found = {}
for i = 5, #ARGV, 2 do
  local id, message = ARGV[i], ARGV[i + 1]
  local job = read(id)
  if job and job.state == 'accepting' then move(job, 'queued') end
  local answer = {id, message, 'drop'}
  if job and job.state == 'running' and job.message == message then
    answer = {id, message, 'wait'} -- another worker's attempt; the sweep ends it when its lease is over
  elseif job and job.state == 'queued' and job.held == '' and not redis.call('ZSCORE', key('later'), id) then
    if tonumber(job.deadline) <= now then
      move(job, 'expired')
    elseif tonumber(job.attempt) >= most then
      move(job, 'dead')
    else
      move(job, 'running', {attempt = job.attempt + 1, holder = holder, message = message})
      redis.call('ZADD', key('leases'), ms(now + lease), id)
      local flat = redis.call('HGETALL', key('job', id))
      answer = {id, message, 'run', redis.call('GET', key('input', id)) or '', ms(now), flat}
    end
  end
  if answer[3] == 'drop' then acknowledge(message) end
  found[#found + 1] = answer
end
return found
