-- ARGV worker: requeue the job of a process that died
local id = call('HGET', HELD, ARGV[1])
if not id then
  return {''}
end
if call('EXISTS', job_key(id)) == 0 then -- its record is gone
  call('HDEL', HELD, ARGV[1])
  return {''}
end
crashed(id)
return {id, unpack(refill(call('HGET', job_key(id), 'queue')))}
