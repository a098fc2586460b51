-- ARGV worker: a process that has died
local id = call('HGET', HELD, ARGV[1])
if not id then
  return {''}
end
local queue = call('HGET', job_key(id), 'queue')
if not queue then -- its record is gone
  call('HDEL', HELD, ARGV[1])
  return {''}
end
crashed(id)
return {id, unpack(refill(queue))}
