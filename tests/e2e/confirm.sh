#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# confirm.sh - `apply --confirm-timeout` goes back by itself, also when the terminal has died;
# `confirm` keeps the change.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

lab_topology direct 2
lab_nginx r1 r2
lab_service vote '*:8080' 80 | lab_config >"$LAB_DIR/a.yaml"
{
	lab_service vote '*:8080' 80 maglev
	lab_service more '*:8090' 80
} | lab_config >"$LAB_DIR/b.yaml"
lab_meshlb apply -f "$LAB_DIR/a.yaml"
A=$(lab_meshlb export)

is_a() { [[ $(lab_meshlb export) == "$A" ]]; }
is_b() { [[ $(lab_meshlb service ls) == *more* ]]; }

step 'nobody confirms: back after the time, not before'
begin_traffic 8080
lab_meshlb apply --confirm-timeout 3s -f "$LAB_DIR/b.yaml" >"$LAB_DIR/out" 2>&1 &
apply=$!
lab_until 2 is_b
expect 0 lab_meshlb status
expect_text "$OUT" "waits for .meshlb confirm. until .* goes back to /run/meshlb/$LAB.rollback.yaml"
expect_text "$(<"/run/meshlb/$LAB.rollback.yaml")" 'name: "?vote'
! grep more "/run/meshlb/$LAB.rollback.yaml" || fail 'what it goes back to has the change in it'
equal 'confirm in JSON' "$(lab_meshlb -j status | jq -c '.confirm | [.state, .before,
	.deadline > now - 1 and .deadline < now + 4]')" "[\"waiting\",\"/run/meshlb/$LAB.rollback.yaml\",true]"
sleep 1
is_b || fail 'it went back too early'
lab_until 6 is_a
wait $apply || true
cat "$LAB_DIR/out"
expect 0 lab_meshlb verify
expect 0 lab_meshlb status
expect_text "$OUT" 'was not confirmed: it was undone at '
expect 1 lab_meshlb confirm
expect_text "$ERR" 'too late.* was undone at '

step 'nobody reads what apply prints'
mkfifo "$LAB_DIR/fifo"
exec 7<>"$LAB_DIR/fifo"
head -c 65536 /dev/zero >&7 # it is full
lab_meshlb apply --confirm-timeout 3s -f "$LAB_DIR/b.yaml" >"$LAB_DIR/fifo" 2>&1 7<&- &
apply=$!
lab_until 2 is_b
lab_until 6 is_a
kill -0 $apply || fail 'apply was not held up by its reader'
expect 1 lab_meshlb confirm
exec 8<"$LAB_DIR/fifo"
timeout 5 cat <&8 7<&- >"$LAB_DIR/out" &
reader=$!
exec 7<&- 8<&-
status=0
wait $apply || status=$?
equal 'the exit code of an apply that was undone before anybody read of it' $status 1
wait $reader
expect_text "$(tr -d '\0' <"$LAB_DIR/out")" 'not confirmed within 3 s: it has been undone'

step 'the terminal dies'
lab_in node1 "$E2E/terminal.py" 1 "$MESHLB" --instance "$LAB" \
	apply --confirm-timeout 3s -f "$LAB_DIR/b.yaml" &
terminal=$!
lab_until 2 is_b
wait $terminal
is_b || fail 'it went back when the terminal died, not when the time was over'
lab_until 6 is_a
expect 0 lab_meshlb verify

step 'confirmed in time'
lab_meshlb apply --confirm-timeout 3s -f "$LAB_DIR/b.yaml" >"$LAB_DIR/out" 2>&1 &
apply=$!
lab_until 2 is_b
expect 0 lab_meshlb confirm
wait $apply || fail "apply after confirm: $(<"$LAB_DIR/out")"
sleep 4
is_b || fail 'it went back although it was confirmed'

step 'nothing waits: confirm is content'
expect 0 lab_meshlb confirm
expect_text "$ERR" 'no change waits'
expect 0 lab_meshlb apply --confirm-timeout 3s -f "$LAB_DIR/b.yaml"
expect_text "$OUT" 'nothing waits for .meshlb confirm.: nothing was changed'
expect 0 lab_meshlb confirm
equal 'confirm in JSON' "$(lab_meshlb -j confirm | jq -c .waited)" false
end_traffic

step 'a first apply that nobody confirms: who looks for it is told'
expect 0 lab_meshlb down
expect 0 lab_meshlb apply --confirm-timeout 1s -f "$LAB_DIR/a.yaml"
is_gone() { ! lab_meshlb status >/dev/null 2>&1; }
lab_until 6 is_gone
expect 1 lab_meshlb status
expect_text "$ERR" 'there is none'
expect_text "$ERR" 'not confirmed until .*, and has been undone'
expect 0 lab_meshlb down
expect 1 lab_meshlb status
[[ $ERR != *undone* ]] || fail "it was taken down since: $ERR"
