-- ARGV id queue most image image_ms hook run projects fields...: submit, join or answer a job
-- most: limit of queued jobs. image_ms: how long the digest of an image's tag is known. hook, run and
-- projects (the tenant, and digests in Redis) are empty if there is none.
local id, queue, most, image, hook = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[6]
local asker = queue .. ' ' .. ARGV[7]
local tenant, digests = ARGV[8]:match('^(%S+) (.+)$')
local state, reusable, cancel, old_queue, digest =
  unpack(call('HMGET', job_key(id), 'state', 'reusable', 'cancel', 'queue', 'image_digest'))

-- Return whether the tag still names the image of the verdict. The digest of a local verdict is that of
-- its worker's programs, and a worker compares it.
local function same_image()
  return not digest or digest == '' or image:find('@' .. digest, 1, true)
    or (call('GET', image_key(image)) == digest
      and call('PTTL', image_key(image)) <= tonumber(ARGV[5])) -- longer: the clock stepped back
end

if state == 'running' and cancel then
  return {'cancelling'}
end
if state == 'queued' or state == 'running' then
  if call('EXISTS', asked_key(id)) == 0 then -- an earlier version may have submitted the job
    call('SADD', asked_key(id), old_queue .. ' ')
  end
  call('SADD', asked_key(id), asker)
  if hook ~= '' then
    call('SADD', hooks_key(id), hook)
  end
  -- An interactive job stays in its lane, even if a batch submits it too.
  if old_queue == queue or old_queue == queue:gsub('batch$', 'interactive') then
    return {'joined'}
  end
  return {'joined', unpack(move(id, queue))}
end
if state == 'done' and reusable == RULES and same_image() then
  call('PEXPIRE', job_key(id), kept_ms)
  call('PEXPIRE', events_key(id), kept_ms)
  if hook ~= '' then
    notify(id, hook)
  end
  return {'reused'}
end
if call('ZCARD', QUEUED) >= most then
  return {'full'}
end
if digests and not are_stored(members(tenant, digests)) then
  return {'not stored'}
end
local fields = {'queue', queue}
if digests then
  fields[3], fields[4] = 'blob', digests
end
for at = 9, #ARGV - 3 do
  fields[#fields + 1] = ARGV[at]
end
if state == 'done' and reusable == RULES then -- a worker resolves the image, and may reuse the result
  fields[#fields + 1] = 'prior'
  fields[#fields + 1] = call('HGET', job_key(id), 'result')
end
local doorbells = begin(id, fields)
call('SADD', asked_key(id), asker)
if hook ~= '' then
  call('SADD', hooks_key(id), hook)
end
return {'new', unpack(doorbells)}
