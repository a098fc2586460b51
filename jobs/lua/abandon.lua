-- ARGV worker: a process that has died
local id = call('HGET', HELD, ARGV[1])
if not id then
  return {''}
end
local queue = call('HGET', job_key(id), 'queue')
crashed(id)
return {id, unpack(dispatch(queue))}
