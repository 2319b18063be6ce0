-- Some of a tenant's jobs, the newest first. ARGV: where, tenant, the job before the first one or '', most, then states.
-- Gives the time, where the next page begins ('' at the end), and the records. Looks at a thousand jobs at most.
local line, after, most = key('list', ARGV[2]), ARGV[3], tonumber(ARGV[4])
local wanted = {}
for i = 5, #ARGV do wanted[ARGV[i]] = true end
local first = 0
if after ~= '' then
  local rank = redis.call('ZREVRANK', line, after)
  if not rank then return {'unknown'} end
  first = rank + 1
end
local found = {'found', ms(now), ''}
local ids = redis.call('ZREVRANGE', line, first, first + 999)
for i, id in ipairs(ids) do
  local state = redis.call('HGET', key('job', id), 'state')
  if not state then
    redis.call('ZREM', line, id)
  elseif wanted[state] then
    found[#found + 1] = redis.call('HGETALL', key('job', id))
  end
  local full = #found - 3 == most
  if full or i == 1000 then
    if redis.call('ZREVRANK', line, id) and redis.call('ZREVRANGE', line, -1, -1)[1] ~= id then found[3] = id end
    if full then break end
  end
end
return found
