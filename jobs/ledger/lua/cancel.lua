-- ARGV id: cancel a job
local state = call('HGET', job_key(ARGV[1]), 'state')
if not state then
  return {'UNKNOWN'}
end
return {state, unpack(cancel(ARGV[1]))}
