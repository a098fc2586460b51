-- ARGV id queue most image hook fields...: `most` jobs may be queued; an empty hook is none
local id, queue, most, image, hook = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[5]
local state, reusable, cancel, old, digest =
  unpack(call('HMGET', job_key(id), 'state', 'reusable', 'cancel', 'queue', 'image_digest'))

-- Whether the image is known to be the one that the verdict is of; the local sandbox has none.
local function same_image()
  return not digest or digest == '' or image:find('@sha256:', 1, true)
    or call('GET', image_key(image)) == digest
end

if state == 'running' and cancel then
  return {'cancelling'}
end
if state == 'queued' or state == 'running' then
  if hook ~= '' then -- the first write, for a full Redis to refuse
    call('SADD', hooks_key(id), hook)
  end
  -- Who waits for an interactive job waits on, whoever else asks for it in a batch.
  if old == queue or old == queue:gsub('batch$', 'interactive') then
    return {'joined'}
  end
  local tenant = call('HGET', job_key(id), 'tenant')
  if state == 'running' then
    call('SREM', flight_key(old), id)
    call('SADD', flight_key(queue), id)
    call('SADD', QUEUES, queue)
    call('HSET', job_key(id), 'queue', queue)
    return {'joined'}
  end
  leave(id)
  call('HSET', job_key(id), 'queue', queue)
  wait_for_turn(id, queue, tenant)
  return {'joined', unpack(refill(queue))}
end
if state == 'done' and reusable == '1' and same_image() then
  call('PEXPIRE', job_key(id), kept_ms)
  call('PEXPIRE', 'revalid:events:' .. id, kept_ms)
  if hook ~= '' then
    notify(id, hook)
  end
  return {'reused'}
end
if call('ZCARD', QUEUED) >= most then
  return {'full'}
end
local fields = {'queue', queue}
for at = 6, #ARGV - 3 do
  fields[#fields + 1] = ARGV[at]
end
if state == 'done' and reusable == '1' then -- for a worker to ask the registry, and confirm
  fields[#fields + 1] = 'prior'
  fields[#fields + 1] = call('HGET', job_key(id), 'result')
end
local bells = begin(id, fields)
if hook ~= '' then
  call('SADD', hooks_key(id), hook)
end
return {'new', unpack(bells)}
