#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# goback.sh - the process behind `apply --confirm-timeout` in trouble: signals, closed files, a file
# that somebody spoilt, a way back that is blocked; and programs of others that --force took off.
# hooks: xdp
# guest: full
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

readonly PENDING=/run/meshlb/$LAB.confirm
lab_topology direct 2
lab_nginx r1 r2
lab_service vote '*:8080' 80 | lab_config >"$LAB_DIR/a.yaml"
{
	lab_service vote '*:8080' 80 maglev
	lab_service more '*:8090' 80
} | lab_config >"$LAB_DIR/b.yaml"

is_b() { [[ $(lab_meshlb service ls 2>/dev/null) == *more* ]]; }
is_a() { ! is_b && [[ $(lab_meshlb service ls 2>/dev/null) == *vote* ]]; }
is_none() { [[ ! -e $PINS ]]; }
waiter() { cut -d' ' -f1 "$PENDING"; }
# An init that is slow leaves a zombie for a while.
is_gone() { ! grep -qsP '^State:\t[^ZX]' "/proc/$1/status"; }
state() { lab_meshlb -j status | jq -r '.confirm.state'; }
foreign() { lab_in node1 ip -j link show eth0 | jq '.[0].xdp.prog.id // 0'; }

step 'another program is on eth0; --force takes its place, the way back returns it'
lab_in node1 ip link set eth0 xdp obj "$BUILD/tests/e2e/pass.bpf.o" sec xdp
theirs=$(foreign)
[[ $theirs != 0 ]] || fail 'the other program is not there'
expect 1 lab_meshlb apply -f "$LAB_DIR/a.yaml"
expect 0 lab_meshlb apply --force --confirm-timeout 2s -f "$LAB_DIR/a.yaml"
[[ $(foreign) != "$theirs" ]] || fail 'the other program is still there'
lab_until 5 is_none
lab_until 2 grep -q undone "$PENDING"
equal 'the program on eth0' "$(foreign)" "$theirs"
expect 1 lab_meshlb confirm
lab_in node1 ip link set eth0 xdp off

step 'a second is a second'
lab_meshlb apply -f "$LAB_DIR/a.yaml"
expect 1 test -e "$PENDING"
for ((i = 0; i < 3; i++)); do
	begin=${EPOCHREALTIME/./}
	lab_meshlb apply -q --confirm-timeout 1s -f "$LAB_DIR/b.yaml"
	lab_until 5 is_a
	(((${EPOCHREALTIME/./} - begin) >= 990000)) || fail 'it went back too early'
done

step 'nothing but SIGKILL ends the process'
lab_meshlb apply --confirm-timeout 3s -f "$LAB_DIR/b.yaml"
pid=$(waiter)
kill -TERM "$pid"
kill -HUP "$pid"
kill -INT "$pid"
is_b || fail 'a signal made it go back'
lab_until 6 is_a
lab_until 2 is_gone "$pid"
lab_meshlb apply --confirm-timeout 3s -f "$LAB_DIR/b.yaml"
kill -KILL "$(waiter)"
is_lost() { [[ $(state) == lost ]]; }
lab_until 2 is_lost
expect 0 lab_meshlb apply -f "$LAB_DIR/a.yaml"
expect_text "$ERR" "never confirmed.*/run/meshlb/$LAB.rollback.yaml"
expect 1 test -e "$PENDING"

step 'without standard input, output and error'
status=0
lab_meshlb apply --confirm-timeout 2s -f "$LAB_DIR/b.yaml" <&- >&- 2>&- || status=$?
equal 'the exit code of a change that could not be told of' $status 4
is_b || fail 'nothing was applied'
equal 'the state' "$(state)" waiting
lab_until 5 is_a

step 'the file is spoilt: it goes back all the same, and who reads it says so'
lab_meshlb apply --confirm-timeout 2s -f "$LAB_DIR/b.yaml"
echo nonsense >"$PENDING"
expect 0 lab_meshlb status
expect_text "$OUT" 'garbled'
lab_until 5 is_a
echo nonsense >"$PENDING"
expect 0 lab_meshlb apply -f "$LAB_DIR/b.yaml"
expect_text "$ERR" 'garbled'
expect 1 test -e "$PENDING"
lab_meshlb apply --confirm-timeout 2s -f "$LAB_DIR/a.yaml"
pid=$(waiter)
echo nonsense >"$PENDING"
expect 0 lab_meshlb confirm
lab_until 5 is_gone "$pid"
is_a || fail 'it went back although it was confirmed'

step 'the way back is blocked: status tells'
lab_meshlb apply --confirm-timeout 2s -f "$LAB_DIR/b.yaml"
mv "$PINS/lb_services" "$PINS/hidden"
mkdir "$PINS/lb_services" # a pin that is only gone would be found by the programs
lab_until 5 grep -q failed "$PENDING"
rmdir "$PINS/lb_services"
mv "$PINS/hidden" "$PINS/lb_services"
equal 'the state' "$(state)" failed
expect 0 lab_meshlb status
expect_text "$OUT" "going back to /run/meshlb/$LAB.rollback.yaml failed: ."
expect 0 lab_meshlb apply -f "/run/meshlb/$LAB.rollback.yaml"
is_a || fail 'the old state was not what was kept'

step 'down leaves neither process nor file'
lab_meshlb apply --confirm-timeout 60s -f "$LAB_DIR/b.yaml"
pid=$(waiter)
expect 0 lab_meshlb down
lab_until 2 is_gone "$pid"
equal 'what is left' "$(find /run/meshlb -name "$LAB.*")" ''
