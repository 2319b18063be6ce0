-- Ends attempts without a result: the jobs wait for another one, after a pause if there is one.
-- ARGV: where, most attempts, counted ('1', or '' for an attempt that was no fault of the job), pause in ms, error, then
-- an id and an attempt for each.
local most, counted, pause = tonumber(ARGV[2]), ARGV[3] == '1', tonumber(ARGV[4])
local states = {}
for i = 6, #ARGV, 2 do
  local job = read(ARGV[i])
  if holds(job, ARGV[i + 1]) then
    if counted and tonumber(job.attempt) >= most then
      move(job, 'dead', {error = ARGV[5]})
    elseif move(job, 'queued', {attempt = counted and job.attempt or job.attempt - 1, message = ''}) then
      if pause > 0 then
        redis.call('ZADD', key('later'), ms(now + pause), job.id)
      else
        send(job)
      end
    end
  end
  states[#states + 1] = job and job.state or 'gone'
end
return states
