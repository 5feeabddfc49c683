#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# drain.sh - `backend drain --wait` returns when the last connection has ended, and not before.
# hooks: tc nft
# guest: full
# guest-full: ipvs
# full: xdp xdp-generic
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

lab_topology direct 2
lab_nginx r1 r2
lab_service vote '*:8080' 80 | lab_config >"$CONFIG"
apply >/dev/null
readonly R1=${LAB_V4[0]}:80
declare -A held=() # by the replica's id
hold() { # NAME...: two of them reach both replicas
	local name
	for name; do
		held[$(hold_open "$name" 4)]=$name
	done
}
drain_in_background() {
	lab_meshlb backend drain vote "$R1" --wait >"$LAB_DIR/out" 2>"$LAB_DIR/err" &
	waiter=$!
	LAB_PIDS+=("$waiter")
	lab_until 5 grep -q '1 connection left' "$LAB_DIR/err"
}

step 'nobody is connected: it returns at once'
expect 0 lab_meshlb backend drain vote "$R1" --wait
expect_text "$ERR" "service \"vote\", backend $R1: drained"
expect_text "$ERR" "backend $R1: 0 connections left after [0-9]+s"
lab_meshlb backend undrain vote "$R1" >/dev/null

step 'one is: it gives up in time, with status 5, and the backend stays drained'
hold h1 h2
mine=${held[$(lab_id r1)]}
expect 5 lab_meshlb backend drain vote "$R1" --wait --timeout 2s
expect_text "$ERR" "backend $R1: 1 connection left after [0-9]+s"
expect_text "$ERR" "error: service \"vote\", backend $R1: after [2-9]s it has 1 connection still; it stays drained"
for _ in 1 2 3; do equal 'who answers' "$(ask 4)" "$(lab_id r2)"; done
equal 'the connection to r1' "$(ask_held "$mine")" "$(lab_id r1)"
expect 5 lab_meshlb -j backend drain vote "$R1" --wait --timeout 1s
equal JSON "$(jq -c '[.changed, .waited >= 1, .connections_left]' <<<"$OUT")" '[false,true,1]'

step 'it returns when that one has ended'
drain_in_background
equal 'the connection to r1' "$(ask_held "$mine")" "$(lab_id r1)"
kill -0 $waiter || fail "it has returned: $(<"$LAB_DIR/err")"
# The client's port is the one that `conn ls` tells.
port=$(lab_meshlb -j conn ls --backend "$R1" | jq -r '.connections[] | select(.state == "established") | .client')
expect_text "$(lab_in node2 ss -K dst $VIP4 sport "= :${port##*:}")" "$VIP4" # or ss cannot end it
wait $waiter || fail "exit code $?: $(<"$LAB_DIR/err")"
expect_text "$(<"$LAB_DIR/err")" "backend $R1: 0 connections left"

step 'no connection begins after the command'"'"'s end, however many come'
lab_meshlb backend undrain vote "$R1" >/dev/null
[[ $HOOK != ipvs ]] || LATE=2.2 # the kernel sums up every two seconds
opened() { lab_meshlb -j service show vote | jq --arg at "$R1" '.backends[] | select(.address == $at).counters.connections'; }
begin_traffic 8080
for _ in 1 2 3; do
	expect 0 lab_meshlb backend drain vote "$R1"
	sleep "${LATE:-0}"
	before=$(opened)
	sleep 0.5
	equal 'connections of the drained one' "$(opened)" "$before"
	expect 0 lab_meshlb backend undrain vote "$R1"
	sleep "${LATE:-0}"
	more() { (($(opened) > before)); }
	lab_until 5 more || fail 'the lab: none came to it while it was not drained'
done
end_traffic

step 'undrained meanwhile: it says so; removed meanwhile: there is nothing to wait for'
lab_meshlb backend undrain vote "$R1" >/dev/null
hold h3 h4
drain_in_background
lab_meshlb backend undrain vote "$R1" >/dev/null
status=0
wait $waiter || status=$?
equal 'exit code' $status 4
expect_text "$(<"$LAB_DIR/err")" "backend $R1: it is not drained any more: its weight is 1"
drain_in_background
grep -v "$R1" "$CONFIG" >"$LAB_DIR/less.yaml"
expect 0 lab_meshlb apply -f "$LAB_DIR/less.yaml"
wait $waiter || fail "exit code $?: $(<"$LAB_DIR/err")"
expect_text "$(<"$LAB_DIR/err")" "backend $R1: it was removed meanwhile"

if [[ $HOOK != ipvs ]]; then # there it is the same destination again
	step 'it comes back: whose connection it was before has none to it'
	expect 0 apply
	equal active "$(lab_meshlb -j service show vote | jq --arg at "$R1" '.backends[] | select(.address == $at).active')" 0
	expect 0 lab_meshlb backend drain vote "$R1" --wait --timeout 2s
fi

expect 2 lab_meshlb backend drain vote "$R1" --timeout 5s
expect_text "$ERR" 'it is of --wait, which is missing'

if [[ $HOOK != nft && $HOOK != ipvs ]]; then # conntrack and IPVS know no doubt
	step 'one that seems to be reset is not waited for; where it gives up that one lives on'
	lab_meshlb backend undrain vote "$R1" >/dev/null
	lab_meshlb conn flush >/dev/null # what it had before it was removed
	mine=()
	for name in d1 d2 d3 d4; do
		[[ $(hold_open $name 4) != "$(lab_id r1)" ]] || mine+=("$name")
	done
	equal 'connections to r1' ${#mine[@]} 2
	at_r1() { # STATE: clients
		lab_meshlb -j conn ls --backend "$R1" | jq -r --arg state "$1" '.connections[] | select(.state == $state).client'
	}
	port=$(at_r1 established | tail -n 1)
	lab_in node2 "$E2E/forge.py" guess $CLIENT4 "${port##*:}" $VIP4 8080
	equal 'what seems to be reset' "$(at_r1 reset)" "$port"
	expect 5 lab_meshlb backend drain vote "$R1" --wait --timeout 1s
	expect_text "$ERR" "backend $R1: after [1-9]s it has 1 connection still; it stays drained"
	for name in "${mine[@]}"; do
		equal "$name" "$(ask_held "$name")" "$(lab_id r1)"
	done
fi
