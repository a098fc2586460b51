-- ARGV id run: a run that asked for a job wants it no more; without others who do, the job ends
local id = ARGV[1]
local state, queue = unpack(call('HMGET', job_key(id), 'state', 'queue'))
if not state then
  return {'UNKNOWN'}
end
local others, same_queue = 0, false
for _, asked in ipairs(call('SMEMBERS', asked_key(id))) do
  local where, run = asked:match('^(%S+) (.*)$')
  if run == ARGV[2] then
    call('SREM', asked_key(id), asked)
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
