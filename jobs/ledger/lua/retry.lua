-- ARGV id: run a dead job again
local id = ARGV[1]
if not call('ZSCORE', DEAD, id) then
  return {'NOT DEAD'}
end
if not are_stored(projects_of(id)) then
  return {'NOT STORED'}
end
local kept = {'queue', 'tenant', 'strategy', 'limit_s', 'engine_wait_s', 'job', 'signature', 'traceparent',
  'blob'}
local fields = {}
for _, name in ipairs(kept) do
  local value = call('HGET', job_key(id), name)
  if value then
    fields[#fields + 1] = name
    fields[#fields + 1] = value
  end
end
-- If the job waited for one worker, that worker is gone: let any worker take the job.
fields[2] = fields[2] and fields[2]:gsub('^revalid%.%x+%.', 'revalid.')
if #fields == 0 then -- its record was purged
  call('ZREM', DEAD, id)
  return {'NOT DEAD'}
end
return {'QUEUED', unpack(begin(id, fields))}
