# Leads one connection from another container to a port of this one. exec.sh starts it as root.
# The first line of the connection has the token and the port.
read -r -t 5 token port || exit
read -r own </.revalid/token
[ "$token" = "$own" ] || exit
case $port in '' | *[!0-9]*) exit ;; esac
hex=$(printf ':%04X' "$port")
host=127.0.0.1
while read -r _ local _ state _; do
  [ "$state" = 0A ] || continue
  case $local in
    00000000000000000000000001000000$hex) host=::1 ;;
    00000000$hex | 0100007F$hex) host=127.0.0.1 && break ;;
  esac
done <<END
$(cat /proc/net/tcp6 /proc/net/tcp)
END
exec nc $host "$port"
