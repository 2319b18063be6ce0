-- Begins an attempt at each job whose message has arrived, and says of every message what becomes of it.
-- ARGV: where, holder, lease in ms, most attempts, then an id and a message for each.
local holder, lease, most = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])

local function begun(job, message)
  redis.call('ZADD', key('leases'), ms(now + lease), job.id)
  local input = redis.call('GET', key('input', job.id)) or ''
  return {job.id, message, 'run', input, ms(now), redis.call('HGETALL', key('job', job.id))}
end

local found = {}
for i = 5, #ARGV, 2 do
  local id, message = ARGV[i], ARGV[i + 1]
  local job = read(id)
  if job and job.state == 'accepting' then move(job, 'queued') end
  local answer = {id, message, 'drop'}
  if job and job.state == 'running' and job.message == message then
    -- the caller's own attempt, if the answer to its first call was lost; else the sweep ends it with its lease
    answer = job.holder == holder and begun(job, message) or {id, message, 'wait'}
  elseif job and job.state == 'queued' and job.held == '' and not redis.call('ZSCORE', key('later'), id) then
    if tonumber(job.deadline) <= now then
      move(job, 'expired')
    elseif tonumber(job.attempt) >= most then
      move(job, 'dead')
    else
      move(job, 'running', {attempt = job.attempt + 1, holder = holder, message = message})
      answer = begun(job, message)
    end
  end
  if answer[3] == 'drop' then acknowledge(message) end
  found[#found + 1] = answer
end
return found
