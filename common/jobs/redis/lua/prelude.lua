-- What all scripts begin with. KEYS[1] is the root of every key, ARGV[1] says where messages go: 'stream' or 'outbox'.
-- Time is the server's clock, in milliseconds.
--
--   job:ID       hash: the record            input:ID     what the job works on
--   result:ID    its result                  gone:ID      the tenant, after the record's time to live
--   queue        stream of messages          outbox       jobs whose message is not confirmed, by time
--   waiting      jobs that have been sent, by the time of the last check that their message is there
--   leases       running jobs, by end of lease            deadlines    open jobs, by deadline
--   later        jobs that wait for another attempt, by time
--   order:T:K    open jobs of an ordering key, first to last
--   once:T:K     the job of an idempotency key            list:T       a tenant's jobs, by time of submission
--   bytes        of all inputs of open jobs               counts       moves to each state
local root = KEYS[1]
local in_stream = ARGV[1] == 'stream'
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

local GROUP = 'workers'
local GONE_MS = 86400000 -- for which an id is still known after its record has been deleted
local FINAL = {succeeded = true, failed = true, cancelled = true, expired = true, dead = true}
local MOVES = {
  accepting = {queued = true, failed = true, cancelled = true, expired = true},
  queued = {running = true, cancelled = true, expired = true, dead = true},
  running = {queued = true, succeeded = true, failed = true, cancelled = true, expired = true, dead = true},
}

local function key(...)
  return root .. ':' .. table.concat({...}, ':')
end

local function ms(number)
  return string.format('%.0f', number)
end

local function read(id)
  local flat = redis.call('HGETALL', key('job', id))
  if #flat == 0 then return nil end
  local job = {}
  for i = 1, #flat, 2 do job[flat[i]] = flat[i + 1] end
  return job
end

local function set(job, fields)
  local flat = {}
  for name, value in pairs(fields) do
    job[name] = value
    flat[#flat + 1], flat[#flat + 2] = name, value
  end
  redis.call('HSET', key('job', job.id), unpack(flat))
end

-- A message only wakes a worker, so one too many does no harm: the record decides.
local function acknowledge(message)
  if in_stream and message and message ~= '' then
    redis.call('XACK', key('queue'), GROUP, message)
    redis.call('XDEL', key('queue'), message)
  end
end

local function send(job)
  redis.call('ZADD', key('waiting'), ms(now), job.id)
  if in_stream then
    set(job, {message = redis.call('XADD', key('queue'), '*', 'id', job.id), held = ''})
  else
    redis.call('ZADD', key('outbox'), ms(now), job.id)
    set(job, {held = ''})
  end
end

-- The next job of an ordering key may run once the one before it is over.
local function release_next(job)
  if job.order == '' then return end
  local line = key('order', job.tenant, job.order)
  redis.call('LREM', line, 1, job.id)
  local following = redis.call('LINDEX', line, 0)
  following = following and read(following)
  if following and following.held == '1' and following.state == 'queued' then send(following) end
end

local function close(job)
  local ttl = tonumber(job.ttl)
  redis.call('ZREM', key('deadlines'), job.id)
  redis.call('ZREM', key('later'), job.id)
  redis.call('ZREM', key('outbox'), job.id)
  redis.call('DECRBY', key('bytes'), job.size)
  if job.state == 'dead' then
    redis.call('PEXPIRE', key('input', job.id), ttl) -- for a replay
  else
    redis.call('UNLINK', key('input', job.id))
  end
  redis.call('PEXPIRE', key('job', job.id), ttl)
  redis.call('SET', key('gone', job.id), job.tenant, 'PX', ttl + GONE_MS)
  if job.once ~= '' then redis.call('PEXPIRE', key('once', job.tenant, job.once), ttl) end
  release_next(job)
end

-- The only place where a state changes. False if that move is not allowed.
local function move(job, state, fields)
  local from, message = job.state, job.message
  if not (MOVES[from] and MOVES[from][state]) then return false end
  fields = fields or {}
  fields.state, fields.version = state, job.version + 1
  if FINAL[state] then fields.finished = ms(now) end
  set(job, fields)
  if from == 'running' then
    redis.call('ZREM', key('leases'), job.id)
    acknowledge(message)
  end
  if state ~= 'queued' then redis.call('ZREM', key('waiting'), job.id) end
  if FINAL[state] then close(job) end
  redis.call('HINCRBY', key('counts'), state, 1)
  redis.call('PUBLISH', key('events'), job.id .. ' ' .. job.version .. ' ' .. state)
  return true
end

-- Whether the caller still holds the job: its attempt is the one that runs.
local function holds(job, attempt)
  return job and job.state == 'running' and job.attempt == attempt
end
