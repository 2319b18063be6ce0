-- Ends attempts. Of each it says the state that the job has then: another one if the caller no longer held it.
-- ARGV: where, then for each job: id, attempt, state, result, and the number of fields followed by names and values.
local states = {}
local i = 2
while i <= #ARGV do
  local id, attempt, state, result, count = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], tonumber(ARGV[i + 4])
  local fields = {}
  for j = i + 5, i + 4 + 2 * count, 2 do fields[ARGV[j]] = ARGV[j + 1] end
  i = i + 5 + 2 * count
  local job = read(id)
  if holds(job, attempt) and move(job, state, fields) and state == 'succeeded' then
    redis.call('SET', key('result', id), result, 'PX', job.ttl)
  end
  states[#states + 1] = job and job.state or 'gone'
end
return states
