-- ARGV id fence verdict result reusable image_digest failed_step duration_s queued_s: record a result
local id = ARGV[1]
local state, fence, recorded = unpack(call('HMGET', job_key(id), 'state', 'fence', 'recorded'))
if fence ~= ARGV[2] then
  return {'LOST'}
end
if state == 'done' then -- a repeated call, whose reply was lost
  return {recorded and 'OK' or 'LOST'}
end
local queue = call('HGET', job_key(id), 'queue')
finish(id, ARGV[3], nil, {'failed_step', ARGV[7], 'duration_s', ARGV[8], 'queued_s', ARGV[9]})
call('HSET', job_key(id), 'result', ARGV[4], 'reusable', ARGV[5] == '1' and RULES or '0',
  'image_digest', ARGV[6], 'recorded', 1)
return {'OK', unpack(refill(queue))}
