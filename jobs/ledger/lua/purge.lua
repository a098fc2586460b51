-- ARGV id: delete a dead job
local id = ARGV[1]
if call('ZREM', DEAD, id) == 0 then
  return {'NOT DEAD'}
end
release_projects(id)
call('DEL', job_key(id), events_key(id))
return {'OK'}
