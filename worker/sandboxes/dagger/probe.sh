# Asks the server that runs in this container until it answers well. exec.sh starts it as root beside the command.
# Arguments: the inodes of the sockets that were there before, as words; the command's user; the port to ask
# first; the highest status of a good answer; a port not to ask; the paths.
# Files in /.revalid: "answer" has port, number of the path, status and failed script (- for none) of the last
# answer, and "body" the response. The first good answer counts once the server has held for a second: "up" then
# has its time in centiseconds, and process 1 gets SIGUSR1.
dir=/.revalid before=" $1 " user=$2 first=$3 most=$4 other=$5
shift 5
cd $dir || exit 1

sockets() { # Prints order, port, host and inode of each socket on which a process of the command listens.
  listening=$(cat /proc/net/tcp /proc/net/tcp6 | while read -r _ local _ state _ _ _ _ _ inode _; do
    [ "$state" = 0A ] || continue
    case $before in *" $inode "*) ;; *) echo "$inode $local" ;; esac
  done)
  [ "$listening" ] || return 0
  # The engine listens in this network too, and may begin late. Only the command's user may read the
  # descriptors of its processes.
  set -- ls -ln /proc/[0-9]*/fd
  [ "$user" = 0 ] || set -- chpst -u "$user" "$@"
  owned=$("$@" | grep -o 'socket:\[[0-9]*\]')
  echo "$listening" | while read -r inode local; do
    case $owned in *"socket:[$inode]"*) ;; *) continue ;; esac
    port=$((0x${local#*:})) host=${local%:*}
    [ $port != "$other" ] || continue
    [ $port = "$first" ] && order=0 || order=1
    case $host in
      00000000) address 127.0.0.1 ;;
      00000000000000000000000000000000) address 127.0.0.1 && address ::1 ;;
      00000000000000000000000001000000) address ::1 ;;
      ????????) ipv4 "$host" ;;
      0000000000000000FFFF0000????????) ipv4 "${host#????????????????????????}" ;;
    esac
  done | sort -u | head -n 8
}
address() { echo $order $port $1 $inode; }
ipv4() { address $((0x${1:6:2})).$((0x${1:4:2})).$((0x${1:2:2})).$((0x${1:0:2})); }

ask() { # Sets status to that of the answer; empty without one.
  status=
  # The pipe is closed when the answer begins: a server may take an earlier end for that of the connection,
  # and nc ends only when both sides have ended.
  rm -f question body.new && mkfifo -m 600 question && exec 3<>question || return
  if [ "$3" = tls ]; then
    printf '\026\003\001\000\055\001\000\000\051\003\003' >&3
    printf '................................' >&3
    printf '\000\000\002\300\057\001\000\000\000' >&3
  else
    printf 'GET %s HTTP/1.1\r\nHost: localhost:%s\r\nUser-Agent: revalid\r\n' "$3" "$2" >&3
    printf 'Accept: text/html,application/json;q=0.9,*/*;q=0.8\r\nAccept-Encoding: identity\r\n' >&3
    printf 'Connection: close\r\n\r\n' >&3
  fi
  (
    exec 3>&-
    ulimit -f 128
    exec nc "$1" "$2" <question >body.new
  ) &
  asked=$! waits=0
  while [ $waits -lt 100 ] && kill -0 $asked; do
    sleep 0.05
    waits=$((waits + 1))
    [ -s body.new ] || continue
    exec 3>&-
    read -r version _ <body.new
    case $version in HTTP/*) ;; *) break ;; esac # another protocol may keep the connection
  done
  kill -9 $asked
  wait $asked
  exec 3>&-
  read -r version status _ <body.new
  status=${status%"$cr"}
  case $version in HTTP/1.*) ;; *) status= ;; esac
  case $status in [1-5][0-9][0-9]) ;; *) status= ;; esac
}
cr=$(printf '\r')

ask_paths() { # Asks one socket; succeeds if it answers well.
  host=$1 number=$2
  shift 2
  [ -e answer ] || echo "$number 0 - -" >answer
  path=0
  for target; do
    path=$((path + 1))
    ask "$host" "$number" "$target"
    if [ ! "$status" ]; then
      [ -s body.new ] || ask "$host" "$number" tls
      [ ! -s body.new ] || mv -f body.new body
      return 1
    fi
    [ "$status" != 404 ] || [ $path = $# ] || continue
    page_status=$status
    mv -f body.new page
    # A development server answers with the page even if it cannot compile the scripts.
    for script in $([ "$status" -gt "$most" ] ||
      grep -o '<script[^>]* src="/[A-Za-z0-9_.@][A-Za-z0-9_./@?=&%-]*"' page | head -n 4 | grep -o 'src="[^"]*'); do
      ask "$host" "$number" "${script#src=\"}"
      [ "${status:-0}" -lt 500 ] || answered "$status" "${script#src=\"}" body.new || return 1
    done
    answered "$page_status" - page
    [ "$page_status" -le "$most" ]
    return
  done
}
answered() { # Keeps a port's answer: its status, the script that failed, the response. Fails if one did.
  mv -f "$3" body
  echo "$number $path $1 $2" >answer
  [ "$2" = - ]
}

holds() { # Succeeds if the socket is still there a second later, and answers well again.
  sleep 1
  sockets | grep -qx "$1" && ask "$2" "$3" "$4" && [ "$status" ] && [ "$status" -le "$most" ]
}

while :; do
  found=$(sockets)
  while read -r order number host inode; do
    [ "$inode" ] && ask_paths "$host" "$number" "$@" || continue
    IFS=' .' read -r s c _ </proc/uptime
    eval "target=\${$path}"
    if holds "$order $number $host $inode" "$host" "$number" "$target"; then
      echo $((s * 100 + ${c#0})) >up.new && mv up.new up
      kill -USR1 1
      exit
    fi
  done <<EOF
$found
EOF
  sleep 0.05
done
