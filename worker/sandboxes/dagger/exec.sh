# Runs one command inside the container and writes a report on it to /.revalid/report. Its first line:
#   exit code, timed out (0, 1, or 2 if the command was asked to end), duration in centiseconds, bytes of
#   stdout, bytes of stderr, nonce, the limit that ended the command (- for none)
# Then come the head and the tail of stdout and of stderr, each as one line of base64.
# Arguments: start, command, its user as UID:GID (0 for root), time limit and grace in centiseconds, bytes
# kept of each stream, nonce or "reusable" (the nonce is then in a variable), the limits (KiB of memory,
# processes, 512-byte blocks written, CPU seconds of a process or 0), how many bytes of both streams to
# print while the command runs, one more limit (threads), and whether to add reports of tests (0 or 1). A
# printed line has the nonce, the stream, the position of its first byte in the stream, and the bytes in base64.
# For a server, six more: the time in centiseconds within which it must answer, the port to ask first, the
# highest status of a good answer, a port that is not asked, how many centiseconds a visit of another container
# may take (0 for none), and the paths to ask, one argument each. Once it answered well, and the visit has ended,
# it gets SIGTERM. For the visit, /.revalid-stop/NONCE.up names address, port and token of the gate, and the
# server's port; NONCE.seen appears there when it has ended.
# The report then has two more lines:
#   centiseconds until it answered well (- if it did not), port, number of the path, status and failed script of
#   the last answer (- for none), whether the command ended before SIGTERM, whether it had to be killed
# and the response in base64.
# Reports of tests follow a line "reports", each as one line: its path and its content, both in base64.
# The wrapper runs as root and uses no file outside /.revalid-tools, a static busybox.
[ $$ = 1 ] || exit 1 # outside a container of its own, kill -1 would end unrelated processes

# The first part runs with the job's variables and must change none of them. It starts the runner of the
# command, then starts this script again without the variables.
if [ "$1" = start ]; then
  shift
  exec 9>&1 </dev/null >/dev/null 2>&1
  /.revalid-tools/rm -rf /.revalid
  /.revalid-tools/mkdir -m 700 /.revalid || exit 1
  # The command may open /dev/stdout again, so its user may write here. Only root may enter the directory.
  /.revalid-tools/mkfifo -m 622 /.revalid/stdout /.revalid/stderr || exit 1
  /.revalid-tools/mkfifo -m 600 /.revalid/go || exit 1
  exec 5<>/.revalid/stdout 6<>/.revalid/stderr # keeps both pipes open until this shell closes them
  exec 7>/.revalid/status
  # A background process of a shell ignores SIGINT, so the command starts in the foreground. Killing the
  # shell between orphans the runner, so this shell does not wait for it.
  ( (
    read -r _revalid_me _revalid_ _revalid_ _revalid_between _revalid_ </proc/self/stat
    echo "$_revalid_me" >&7
    kill -9 "$_revalid_between"
    unset _revalid_me _revalid_ _revalid_between REVALID_NONCE
    trap : TERM # the runner must survive to report the exit code
    : </.revalid/go
    (
      ulimit -c 0
      ulimit -f "$9"
      [ "${10}" = 0 ] || { ulimit -S -t "${10}" && ulimit -H -t $((${10} + 5)); }
      for _revalid_ in BAGGAGE TRACEPARENT TRACESTATE OTEL_TRACES_EXPORTER OTEL_EXPORTER_OTLP_ENDPOINT \
        OTEL_EXPORTER_OTLP_PROTOCOL OTEL_EXPORTER_OTLP_LOGS_ENDPOINT OTEL_EXPORTER_OTLP_LOGS_PROTOCOL \
        OTEL_EXPORTER_OTLP_METRICS_ENDPOINT OTEL_EXPORTER_OTLP_METRICS_PROTOCOL \
        OTEL_EXPORTER_OTLP_TRACES_ENDPOINT OTEL_EXPORTER_OTLP_TRACES_PROTOCOL OTEL_EXPORTER_OTLP_TRACES_LIVE; do
        unset "$_revalid_" # the engine's
        eval "[ -z \"\${REVALID_OWN_$_revalid_+set}\" ] || export $_revalid_=\"\$REVALID_OWN_$_revalid_\""
        unset "REVALID_OWN_$_revalid_"
      done
      unset _revalid_
      exec >/.revalid/stdout 2>/.revalid/stderr 7>&-
      [ "$2" != 0 ] || exec /bin/sh -c "$1"
      exec /.revalid-tools/setpriv --nnp /.revalid-tools/chpst -u "$2" /bin/sh -c "$1"
    )
    echo $? >&7
    kill -USR1 $$
  ) 5>&- 6>&- 9>&-; :)
  exec /.revalid-tools/env -i PATH=/.revalid-tools NONCE="$REVALID_NONCE" \
    /.revalid-tools/sh "$0" watch "$@"
fi
shift
cd / || exit 1
user=$2 limit=$3 grace=$4 output_bytes=$5 nonce=$6
memory=$7 processes=$8 blocks=$9 cpu=${10} live=${11} threads=${12}
reports=${13} ready_limit=${14:-0} port=${15} most=${16} other_port=${17} visit_limit=${18:-0}
[ "$nonce" != reusable ] || nonce=$NONCE
[ "$ready_limit" = 0 ] || shift 18 # the paths remain
dir=/.revalid

now() { IFS=' .' read -r s c _ </proc/uptime; c=${c#0}; t=$((s * 100 + c)); }

# Keeps a stream in files: its first part and its last two, so that endless output does not fill the
# disk. The command writes to a pipe, because opening /dev/stdout again would truncate a file.
reads=65536
[ $((output_bytes / 2)) -le $reads ] || reads=$((output_bytes / 2)) # a full part holds the whole head or tail
collect() {
  exec <&"$2" 3<&- 4<&- 5>&- 6>&- 9>&-
  trap '' TERM
  part=0
  while
    dd bs=1k count=$reads >$dir/$1.$part 2>$dir/$1.count
    read -r count _ <$dir/$1.count && [ $((${count%+*} + ${count#*+})) -ge $reads ]
  do
    if [ $part = 2 ]; then
      wc -c <$dir/$1.1 >>$dir/$1.cut
      mv -f $dir/$1.2 $dir/$1.1
    else
      part=$((part + 1))
    fi
  done
}
exec 3<$dir/stdout 4<$dir/stderr 7>&-
collect out 3 &
out=$!
collect err 4 &
err=$!

line_break='
'
list_reports() { # Prints times, inode, size and path of what looks like a report of tests; busybox has whole seconds.
  find /tmp /workspace \( -name node_modules -o -name .git -o -name .venv \) -prune -o \
    -type f -size -8193 ! -path "*$line_break*" \
    \( -path '/tmp/revalid-tests.*' -o -path '/workspace/*' \( -name '*junit*.xml' -o -name 'TEST-*.xml' \
    -o -name '*test*result*.xml' -o -name '*test*report*.xml' -o -path '*/test-results/*.xml' \
    -o -path '*/test-reports/*.xml' -o -path '*/surefire-reports/*.xml' -o -name '*ctrf*.json' -o -name '*.tap' \
    \) \) -exec stat -c '%Y %Z %i %s %n' {} + | head -n 10000
}
if [ "$reports" = 1 ]; then
  began=$(stat -c %Y $dir/go)
  { list_reports; echo; } >$dir/known # not empty: it is a file of patterns
fi

# This shell watches the command: it is process 1, which nothing in the container can kill or stop.
exec 8<$dir/status
trap : TERM USR1
read -r runner <&8
prober=
if [ "$ready_limit" != 0 ]; then
  sockets=$(cat /proc/net/tcp /proc/net/tcp6 | while read -r _ _ _ _ _ _ _ _ _ n _; do echo "$n"; done)
  sh /.revalid-tools/probe.sh "$(echo $sockets)" "$user" "$port" "$most" "$other_port" "$@" \
    3<&- 4<&- 5>&- 6>&- 8<&- 9>&- &
  prober=$!
fi
now
start=$t
: >$dir/go
runs() { ! read -r code <&8 && kill -0 "$runner"; }

page=
while read -r key n _; do
  if [ "$key" = KernelPageSize: ]; then page=$n && break; fi
done </proc/self/smaps

check_threads() { # Each thread takes a process id from all others, as a process does.
  sum=0
  for p; do
    read -r stat <"$p/stat" || continue
    set -- ${stat##*) }
    sum=$((sum + ${18}))
  done
  [ "$sum" -le "$threads" ] || over=processes
}

check_memory() { # Sums resident pages, which counts shared pages repeatedly; above the limit, sums exactly.
  sum=0
  for p; do read -r _ n _ <"$p/statm" && sum=$((sum + n)); done
  [ $((sum * page)) -gt "$memory" ] || return 0
  # Only the command's user may read the exact sizes. Nobody may read those of a process that cannot
  # be traced, so its resident pages count. The command can stop or kill the reader, so the wait is
  # bounded, and a reader that does not finish counts as above the limit.
  : >$dir/sizes
  set -- sh -c 'page=$1
    shift
    for p in /proc/[0-9]*; do
      if true <$p/smaps_rollup; then
        set -- "$@" $p/smaps_rollup
      else
        read -r _ n _ <$p/statm && echo "Pss: $((n * page))"
      fi
    done
    [ $# = 0 ] || cat "$@"
    echo end' sh "$page"
  [ "$user" = 0 ] || set -- chpst -u "$user" "$@"
  "$@" >>$dir/sizes &
  reader=$! over=memory p=0
  while [ $p -lt 40 ]; do
    sleep 0.05
    if [ "$(tail -n 1 $dir/sizes)" = end ]; then
      sum=0
      while read -r key n _; do [ "$key" != Pss: ] || sum=$((sum + n)); done <$dir/sizes
      [ "$sum" -gt "$memory" ] || over=
      break
    fi
    p=$((p + 1))
  done
  kill -9 $reader
  wait $reader
}

written() { # Counts blocks of files changed since the start, by ctime, which no process can set.
  now
  n=$(find / \( -path /proc -o -path /sys -o -path /dev -o -path /.revalid-stop \) -prune -o \
    -type f -cmin -$(((t - start) / 6000 + 1)) ! -path "$dir/out.[012]" ! -path "$dir/err.[012]" \
    -exec stat -c %b {} + | (
    sum=0
    while read -r n; do sum=$((sum + n)); done
    echo $sum
  ))
}

free=
check_disk() { # If free space fell by the limit, finds whether this command or another container took it.
  set -- $(stat -f -c '%a %S' /)
  available=$(($1 * ($2 / 512)))
  [ "$free" ] && [ "$free" -gt "$available" ] || free=$available # other containers may free space
  [ $((free - available)) -ge "$blocks" ] || [ $((round % 240)) = 239 ] || return 0
  written
  if [ "$n" -ge "$blocks" ]; then over=disk; else free=$((available + n)); fi
}

print_new() { # Prints up to 2,800 new bytes of a stream: a pipe takes a line of that size whole.
  n=$(($2 - $3))
  [ $n -le 2800 ] || n=2800
  [ $n -le $live ] || n=$live
  [ $n -gt 0 ] || { n=0 && return; }
  echo "$nonce" $1 $3 $(tail -c +$(($3 + 1)) $dir/$1.0 | head -c $n | base64) >&9
  live=$((live - n))
}
print_live() {
  set -- $(stat -c %s $dir/out.0 $dir/err.0)
  [ $# = 2 ] || return 0
  print_new out $1 $printed_out
  printed_out=$((printed_out + n))
  print_new err $2 $printed_err
  printed_err=$((printed_err + n))
}

others() { # Sets others to the processes besides this shell and its collectors.
  others=
  for p in /proc/[0-9]*; do
    read -r stat <"$p/stat" || continue
    p=${p#/proc/}
    stat=${stat##*) }
    case $p in $$ | "$out" | "$err") continue ;; esac
    case $stat in Z* | ?" $out "* | ?" $err "*) continue ;; esac
    others="$others $p"
  done
}

gates=
open_gate() { # Lets another container use the server, and tells it how.
  read -r served _ <$dir/answer
  set -- $(ip -4 addr show scope global | grep -w inet)
  address=${2%/*}
  token=$(head -c 24 /dev/urandom | base64)
  umask 077
  echo "$token" >$dir/token
  for tried in 1 2 3 4 5; do
    gate=$((20000 + RANDOM % 10000))
    nc -ll -p $gate -e sh /.revalid-tools/gate.sh 3<&- 4<&- 5>&- 6>&- 8<&- 9>&- &
    gates=$!
    sleep 0.05
    kill -0 $gates && break
  done
  echo "$address $gate $token $served" >/.revalid-stop/"$nonce".new
  umask 022
  mv /.revalid-stop/"$nonce".new /.revalid-stop/"$nonce".up
}

code= timed_out=0 over= round=0 printed_out=0 printed_err=0
ready=- stopping= ended=1 ignored=0 visit_end=
end=$((start + limit))
while [ "$stopping" ] || runs; do
  sleep 0.25 &
  wait $! # SIGUSR1 ends it at once
  if [ "$stopping" ]; then
    [ "$code" ] || runs
    others
    [ "$others" ] || break
  else
    runs || break
  fi
  now
  if [ "$prober" ] && { [ -e $dir/up ] || [ $((t - start)) -ge "$ready_limit" ]; }; then
    [ ! -e $dir/up ] || { read -r ready <$dir/up && ready=$((ready - start)); }
    kill -9 $prober
    wait $prober
    prober=
    if [ "$ready" != - ] && [ "$visit_limit" != 0 ]; then
      open_gate
      visit_end=$((t + visit_limit))
    else
      visit_end=$t
    fi
  fi
  if [ "$visit_end" ] && { [ -e /.revalid-stop/"$nonce".seen ] || [ $t -ge "$visit_end" ]; }; then
    rm -f /.revalid-stop/"$nonce".up /.revalid-stop/"$nonce".seen
    visit_end= stopping=1 ended=0 end=$((t + grace))
    kill -TERM -1
  fi
  if [ $timed_out = 0 ] && read -r grace </.revalid-stop/"$nonce"; then # a request to end the command
    timed_out=2 end=$((t + grace))
    kill -TERM -1
  fi
  if [ $t -ge $end ]; then
    [ -z "$stopping" ] || { ignored=1 && break; }
    [ $timed_out = 0 ] || break
    timed_out=1 end=$((t + grace))
    kill -TERM -1
  fi
  set -- /proc/[0-9]*
  # Without this shell, the runner, sleep, two for each collector, six for the prober and those of the gate.
  if [ $(($# - 7 ${prober:+- 6} ${gates:+- 64})) -gt "$processes" ]; then
    over=processes
  else
    check_threads "$@"
    [ "$over" ] || check_memory "$@"
    if [ -z "$free" ] || [ $((round % 4)) = 3 ]; then check_disk; fi
  fi
  [ -z "$over" ] || break
  [ "$live" = 0 ] || print_live
  round=$((round + 1))
done
now
duration=$((t - start))
trap '' TERM USR1

kill_all() { # Kills one by one, so that collectors read the pipes to the end; a fork bomb needs kill -1.
  known=' '
  for walk in 1 2 3 4 5; do
    fresh=
    others
    for p in $others; do
      case $known in *" $p "*) continue ;; esac
      kill -9 "$p"
      known="$known$p " fresh=1
    done
    [ "$fresh" ] || return
  done
  kill -9 -1
}
if [ "$over" ]; then kill -9 -1; else kill_all; fi
exec 5>&- 6>&-
collect_rest() { # Reads what remains in the pipe of a collector that was killed.
  part=0
  while [ -e $dir/$1.$((part + 1)) ]; do part=$((part + 1)); done
  cat >>$dir/$1.$part
}
wait $out || collect_rest out <&3
wait $err || collect_rest err <&4

[ "$code" ] || read -r code <&8
case $code in '' | *[!0-9]*) code=137 ;; esac
case $over$code in
  152) [ "$cpu" = 0 ] || over=cpu ;; # SIGXCPU
  153) written && { [ "$n" -lt "$blocks" ] || over=disk; } ;; # SIGXFSZ
  0 | *[!0-9]*) ;;
  *) [ -z "$free" ] || check_disk ;;
esac

size() { # Sets n to the size of a stream; starts no process if it is empty.
  n=0
  for p in $dir/$1.[012]; do [ ! -s "$p" ] || n=$((n + $(wc -c <"$p"))); done
  [ ! -e $dir/$1.cut ] || while read -r p; do n=$((n + p)); done <$dir/$1.cut
}
encode() { base64 | tr -d '\n'; echo; }
ends() {
  if [ "$2" = 0 ]; then
    echo
    echo
  elif [ "$2" -le "$output_bytes" ]; then
    cat $dir/$1.[012] | encode
    echo
  else
    head -c $(((output_bytes + 1) / 2)) $dir/$1.0 | encode
    cat $dir/$1.[012] | tail -c $((output_bytes / 2)) | encode
  fi
}
new_reports() { # Prints each report of tests that the command wrote: its path and its content in base64.
  list_reports | grep -vxF -f $dir/known | (
    left=8388608 n=0
    while IFS= read -r line; do
      [ "${line%% *}" -ge "$began" ] || continue
      p=${line#* * * * } size=${line#* * * } n=$((n + 1))
      left=$((left - ${size%% *}))
      [ "$left" -ge 0 ] && [ $n -le 200 ] || break
      echo "$(echo "$p" | base64 | tr -d '\n') $(base64 "$p" | tr -d '\n')"
    done
  )
}
size out
out=$n
size err
err=$n
read -r answer <$dir/answer
rm -rf $dir/report
[ -d $dir ] && [ ! -h $dir ] || { rm -f $dir && mkdir $dir; }
{
  echo "$code $timed_out $duration $out $err $nonce ${over:--}"
  ends out "$out"
  ends err "$err"
  if [ "$ready_limit" != 0 ]; then
    echo "$ready ${answer:-- - - -} $ended $ignored"
    [ ! -e $dir/body ] || encode <$dir/body
  fi
  if [ "$reports" = 1 ]; then
    echo reports
    new_reports
  fi
} >$dir/report
rm -rf $dir/[!r]* # all but the report
exit 0
