-- ARGV tenant digest size most: reserve room in Redis for a project before it is stored. The projects of
-- one tenant may have `most` bytes together; those of all tenants may have half of Redis's maxmemory.
local tenant, digest, size = ARGV[1], ARGV[2], tonumber(ARGV[3])
drop_projects()
local project = tenant .. ' ' .. digest
if call('HEXISTS', holders_key(digest), tenant) == 0 then
  local used, all = unpack(call('HMGET', USAGE, tenant, '*'))
  used, all = tonumber(used or 0), tonumber(all or 0)
  if used + size > tonumber(ARGV[4]) then
    return {'TENANT', used, ARGV[4]}
  end
  local maxmemory = tonumber(call('INFO', 'memory'):match('maxmemory:(%d+)'))
  if maxmemory > 0 and all + size > maxmemory / 2 then
    return {'ALL', all, math.floor(maxmemory / 2)}
  end
  call('HSET', holders_key(digest), tenant, size)
  call('HINCRBY', USAGE, tenant, size)
  call('HINCRBY', USAGE, '*', size)
end
call('ZADD', PROJECTS, 'GT', now + UPLOAD_MS, project)
return {'OK', 0, 0}
