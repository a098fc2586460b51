# Asks the server that runs in this container until it answers. exec.sh starts it as root beside the command.
# Arguments: the inodes of the sockets that were there before, as words; the command's user; the port to ask
# first; the paths.
# Files in /.revalid: "answer" has port, number of the path and status (- for none) of the last answer, and
# "body" the response. At the first answer below 500, "up" appears and process 1 gets SIGUSR1.
dir=/.revalid before=" $1 " user=$2 first=$3
shift 3
cd $dir || exit 1

sockets() { # Prints port and host of each socket on which a process of the command listens.
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
    case $host in
      00000000) echo $port 127.0.0.1 ;;
      00000000000000000000000000000000) echo $port 127.0.0.1 && echo $port ::1 ;;
      00000000000000000000000001000000) echo $port ::1 ;;
      ????????) ipv4 "$host" ;;
      0000000000000000FFFF0000????????) ipv4 "${host#????????????????????????}" ;;
    esac
  done | sort -u | head -n 8
}
ipv4() {
  echo $port $((0x${1:6:2})).$((0x${1:4:2})).$((0x${1:2:2})).$((0x${1:0:2}))
}

ask() { # Sets status to that of the answer; empty without one.
  status=
  # The pipe is closed when the answer begins: a server may take an earlier end for that of the connection,
  # and nc ends only when both sides have ended.
  rm -f question body.new && mkfifo -m 600 question && exec 3<>question || return
  printf 'GET %s HTTP/1.1\r\nHost: localhost:%s\r\nUser-Agent: revalid\r\n' "$3" "$2" >&3
  printf 'Accept: text/html,application/json;q=0.9,*/*;q=0.8\r\nAccept-Encoding: identity\r\n' >&3
  printf 'Connection: close\r\n\r\n' >&3
  (
    exec 3>&-
    ulimit -f 128
    exec nc "$1" "$2" <question >body.new
  ) &
  asked=$! waits=0
  while [ $waits -lt 100 ] && kill -0 $asked; do
    sleep 0.05
    [ ! -s body.new ] || exec 3>&-
    waits=$((waits + 1))
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

while :; do
  found=$(sockets)
  for port in $(echo "$found" | grep "^$first ") $(echo "$found" | grep -v "^$first "); do
    case $port in *[.:]*) host=$port ;; *) number=$port && continue ;; esac
    [ -e answer ] || echo "$number 0 -" >answer
    path=0
    for target; do
      path=$((path + 1))
      ask "$host" "$number" "$target"
      [ "$status" ] || break
      [ "$status" != 404 ] || [ $path = $# ] || continue
      mv -f body.new body
      echo "$number $path $status" >answer
      [ "$status" -lt 500 ] || break
      : >up
      kill -USR1 1
      exit
    done
  done
  sleep 0.05
done
