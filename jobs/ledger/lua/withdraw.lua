-- ARGV id run: withdraw a run's submit of a job; without other submits, the job is cancelled
local id = ARGV[1]
local state, queue = unpack(call('HMGET', job_key(id), 'state', 'queue'))
if not state then
  return {'UNKNOWN'}
end
local others, same_queue = 0, false
for _, asker in ipairs(call('SMEMBERS', asked_key(id))) do
  local where, run = asker:match('^(%S+) (.*)$')
  if run == ARGV[2] then
    call('SREM', asked_key(id), asker)
  else
    others = others + 1
    same_queue = same_queue or where == queue
  end
end
if others == 0 then
  return {'ENDS', unpack(cancel(id))}
end
local other = not same_queue and queue_of_others(id, queue)
return {'GOES ON', unpack(other and move(id, other) or {})}
